//! What a wish, an answer or a deadline makes of a workflow: pure, a table of the contract.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::WorkflowError;
use crate::domain::event::{Event, Recorded};
use crate::domain::id::{EventId, Timestamp};
use crate::domain::json::Json;
use crate::domain::problem::Problems;
use crate::domain::workflow::{
    Artifact, Created, Dispatch, FinalApproval, OnDeadline, Origin, Outputs, Phase, Request, Transition, Trigger,
    Workflow, WorkflowId, WorkflowStatus as Status,
};
use crate::ports::{HubError, Invocation, InvocationId};

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It has executed the phase itself.
    Complete,
    Approve,
    Reject,
    Fail,
    Cancel,
}

impl Wish {
    fn trigger(self) -> Trigger {
        match self {
            Self::Complete => Trigger::AgentComplete,
            Self::Approve => Trigger::HumanApproved,
            Self::Reject => Trigger::HumanRejected,
            Self::Fail => Trigger::Error,
            Self::Cancel => Trigger::Cancelled,
        }
    }
}

/// A wish with all that was said with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub wish: Wish,
    /// As the client names itself.
    pub actor: Option<Arc<str>>,
    pub reason: Option<Arc<str>>,
    pub phase_result: Option<Json>,
    /// Of the artifact that is decided on; `None` = of whichever waits.
    pub artifact_hash: Option<Arc<str>>,
    /// Only while it is at this version.
    pub if_match: Option<u64>,
    pub request: Option<Request>,
}

impl Asked {
    #[must_use]
    pub fn plain(wish: Wish) -> Self {
        let (actor, reason, phase_result) = (None, None, None);
        Self { wish, actor, reason, phase_result, artifact_hash: None, if_match: None, request: None }
    }
}

/// What happens to a workflow.
#[derive(Clone, Debug)]
pub(crate) enum Input<'a> {
    Asked { asked: &'a Asked, event: EventId },
    Answered { id: InvocationId, answer: &'a Result<Artifact, HubError> },
    Due,
}

/// What the state may need and cannot make itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    pub(crate) now: Timestamp,
    /// For the next workflow of a chain.
    pub(crate) next: WorkflowId,
}

/// What follows from an input.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Nothing is to be done: it is so already, or it does not concern anybody any more.
    Keep,
    /// These happen together, with the beginning of the next workflow of a chain.
    Write { steps: Vec<Transition>, next: Option<Created> },
}

/// One workflow while somebody works on it.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) outputs: Outputs,
}

impl State {
    /// As its stream tells it; `None` = it does not begin with a workflow.
    pub(crate) fn of<'e>(events: impl IntoIterator<Item = &'e Recorded>) -> Option<Self> {
        let (mut workflow, mut outputs) = (None, Outputs::default());
        for recorded in events {
            workflow = Workflow::fold(workflow, recorded);
            outputs.take_in(&recorded.event.event);
        }
        workflow.map(|workflow| Self { workflow: Arc::new(workflow), outputs })
    }

    pub(crate) fn take_in(&mut self, recorded: &Recorded) {
        self.outputs.take_in(&recorded.event.event);
        if let Some(after) = Workflow::fold(Some(Workflow::clone(&self.workflow)), recorded) {
            self.workflow = Arc::new(after);
        }
    }

    /// What the hub is to execute now.
    pub(crate) fn invocation(&self) -> Option<Invocation> {
        let workflow = &*self.workflow;
        if workflow.status != Status::InProgress || workflow.dispatch != Dispatch::Auto {
            return None;
        }
        let is_again = workflow.attempt > 1;
        Some(Invocation {
            id: InvocationId { workflow: workflow.id, phase: workflow.phase, attempt: workflow.attempt },
            workflow_type: workflow.workflow_type,
            feature_id: workflow.feature_id.clone(),
            description: workflow.description.clone(),
            context: workflow.context.clone(),
            origin: self.outputs.origin.clone(),
            previous: self.outputs.approved.clone(),
            rejected: self.outputs.current.clone().filter(|_| is_again),
            rejection_reason: self.outputs.rejection.clone().filter(|_| is_again),
        })
    }

    pub(crate) fn decide(&self, input: &Input<'_>, drawn: Drawn) -> Result<Effect, WorkflowError> {
        match input {
            Input::Asked { asked, event } => self.asked(asked, *event, drawn),
            Input::Answered { id, answer } => Ok(self.answered(*id, answer, drawn)),
            Input::Due => Ok(self.due(drawn.now)),
        }
    }

    fn asked(&self, asked: &Asked, event: EventId, drawn: Drawn) -> Result<Effect, WorkflowError> {
        let workflow = &self.workflow;
        if workflow.has_event(event) {
            return Ok(Effect::Keep);
        }
        if let Some(request) = &asked.request
            && let Some(earlier) = workflow.request(&request.key)
        {
            let is_same = earlier.content == request.content;
            return if is_same { Ok(Effect::Keep) } else { Err(WorkflowError::KeyReused { key: request.key.clone() }) };
        }
        if let Some(expected) = asked.if_match.filter(|expected| *expected != workflow.version) {
            return Err(WorkflowError::Stale { actual: workflow.version, expected });
        }
        match asked.wish {
            Wish::Complete => self.complete(asked, drawn.now),
            Wish::Approve => self.approve(asked, drawn),
            Wish::Reject => self.reject(asked),
            Wish::Fail => self.fail(asked),
            Wish::Cancel => self.cancel(asked),
        }
    }

    fn step(&self, trigger: Trigger, to: Status) -> Transition {
        let Workflow { status, phase, attempt, .. } = *self.workflow;
        Transition {
            from: status,
            to,
            trigger,
            phase,
            attempt,
            actor: None,
            reason: None,
            metadata: None,
            artifact: None,
            approved: None,
            result: None,
            error: None,
            due: None,
            next: None,
            request: None,
        }
    }

    fn asked_step(&self, asked: &Asked, to: Status) -> Transition {
        Transition {
            actor: asked.actor.clone(),
            reason: asked.reason.clone(),
            request: asked.request.clone(),
            ..self.step(asked.wish.trigger(), to)
        }
    }

    fn wrong(&self, wish: Wish) -> WorkflowError {
        WorkflowError::WrongState { status: self.workflow.status, trigger: wish.trigger() }
    }

    fn complete(&self, asked: &Asked, now: Timestamp) -> Result<Effect, WorkflowError> {
        match self.workflow.status {
            Status::InProgress => {}
            Status::WaitingApproval => return Ok(Effect::Keep),
            Status::Pending | Status::Completed | Status::Failed => return Err(self.wrong(asked.wish)),
        }
        let content = asked.phase_result.clone().unwrap_or_else(nothing);
        let said = Fields::of(Some(&content));
        let confidence = said.0.get("confidence").and_then(Value::as_f64).filter(|given| (0.0..=100.0).contains(given));
        let artifact = Arc::new(Artifact { confidence, ..Artifact::of(content) });
        let step = self.asked_step(asked, Status::WaitingApproval);
        Ok(write(vec![Transition { artifact: Some(artifact), due: self.deadline(now), ..step }]))
    }

    fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let limit = self.workflow.approval.deadline?;
        Some(Timestamp(now.0.saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))))
    }

    /// Whether this caller may decide on what waits.
    fn check_decision(&self, asked: &Asked) -> Result<(), WorkflowError> {
        let workflow = &*self.workflow;
        let rule = &workflow.approval;
        if workflow.status != Status::WaitingApproval {
            let was_voted_on = rule.quorum > 1 && workflow.decided;
            let closed = WorkflowError::VoteClosed { status: workflow.status };
            return Err(if was_voted_on { closed } else { self.wrong(asked.wish) });
        }
        match &asked.actor {
            None if rule.wants_names() => {
                let mut problems = Problems::default();
                problems.push("actor", "is missing; this workflow asks who decides");
                return Err(problems.into());
            }
            Some(actor) if !rule.admits(actor, workflow.escalated) => {
                let also = rule.escalate_to.iter().filter(|_| workflow.escalated);
                let allowed = rule.approvers.iter().chain(also).cloned().collect();
                return Err(WorkflowError::NotAnApprover { actor: actor.clone(), allowed });
            }
            _ => {}
        }
        let actual = workflow.artifact.as_ref().map(|artifact| artifact.hash.clone()).unwrap_or_default();
        match &asked.artifact_hash {
            Some(given) if *given != actual => Err(WorkflowError::OtherArtifact { actual, given: given.clone() }),
            _ => Ok(()),
        }
    }

    fn approve(&self, asked: &Asked, drawn: Drawn) -> Result<Effect, WorkflowError> {
        self.check_decision(asked)?;
        let workflow = &*self.workflow;
        let Some(current) = &self.outputs.current else { return Err(self.wrong(asked.wish)) };
        let mut said = Fields::of(asked.phase_result.as_ref());
        let edited = said.0.remove("content").and_then(|content| edited(current, content));
        let votes = if edited.is_some() { &[][..] } else { &workflow.votes[..] };
        if votes.iter().any(|vote| Some(&vote.actor) == asked.actor.as_ref()) {
            return Ok(Effect::Keep);
        }
        let artifact = edited.clone().unwrap_or_else(|| current.clone());
        let metadata = if edited.is_some() { said.json() } else { asked.phase_result.clone() };
        let step = Transition {
            metadata,
            artifact: edited,
            approved: Some(artifact.hash.clone()),
            ..self.asked_step(asked, Status::WaitingApproval)
        };
        if votes.len() + 1 < usize::from(workflow.approval.quorum) {
            return Ok(write(vec![Transition { due: workflow.due, ..step }]));
        }
        Ok(self.approved(step, &artifact, drawn, Vec::new()))
    }

    /// The artifact is accepted: on to the next phase, or to the end.
    fn approved(&self, step: Transition, artifact: &Artifact, drawn: Drawn, mut before: Vec<Transition>) -> Effect {
        let step = Transition { from: Status::WaitingApproval, due: None, ..step };
        if self.workflow.phase == Phase::One {
            before.push(Transition { to: Status::InProgress, ..step });
            return Effect::Write { steps: before, next: None };
        }
        let next = self.next(artifact, drawn.next);
        let result = Some(result(artifact, &step, drawn.now));
        let to = Status::Completed;
        before.push(Transition { to, result, next: next.as_ref().map(|next| next.workflow), ..step });
        Effect::Write { steps: before, next }
    }

    /// The workflow that follows in the chain, with what came of this one.
    fn next(&self, artifact: &Artifact, id: WorkflowId) -> Option<Created> {
        let workflow = &*self.workflow;
        let (first, rest) = workflow.chain.split_first()?;
        Some(Created {
            workflow: id,
            workflow_type: *first,
            feature_id: workflow.feature_id.clone(),
            description: workflow.description.clone(),
            context: workflow.context.clone(),
            dispatch: workflow.dispatch,
            approval: workflow.approval.clone(),
            chain: rest.to_vec(),
            origin: Some(Arc::new(Origin {
                workflow: workflow.id,
                workflow_type: workflow.workflow_type,
                artifact: artifact.content.clone(),
            })),
            request: None,
        })
    }

    fn reject(&self, asked: &Asked) -> Result<Effect, WorkflowError> {
        self.check_decision(asked)?;
        let said = Fields::of(asked.phase_result.as_ref());
        let reason = asked.reason.clone().or_else(|| said.text(&["reason", "feedback", "comment"]));
        let metadata = asked.phase_result.clone();
        let step = Transition { reason, metadata, ..self.asked_step(asked, Status::InProgress) };
        Ok(self.rejected(step))
    }

    fn rejected(&self, step: Transition) -> Effect {
        let Workflow { phase, attempt, .. } = *self.workflow;
        if attempt <= self.workflow.approval.max_rework {
            return write(vec![Transition { to: Status::InProgress, ..step }]);
        }
        let why = step.reason.as_deref().unwrap_or("no reason was given");
        let error = format!("{phase} was rejected {attempt} times, the last time: {why}").into();
        write(vec![Transition { to: Status::Failed, error: Some(error), ..step }])
    }

    fn fail(&self, asked: &Asked) -> Result<Effect, WorkflowError> {
        if !matches!(self.workflow.status, Status::InProgress | Status::WaitingApproval) {
            return Err(self.wrong(asked.wish));
        }
        let said = Fields::of(asked.phase_result.as_ref());
        let error = asked.reason.clone().or_else(|| said.text(&["error", "message", "reason"]));
        let error = Some(error.unwrap_or_else(|| "a client reported an error and did not say which".into()));
        let metadata = asked.phase_result.clone();
        Ok(write(vec![Transition { error, metadata, ..self.asked_step(asked, Status::Failed) }]))
    }

    fn cancel(&self, asked: &Asked) -> Result<Effect, WorkflowError> {
        if self.workflow.status.is_over() {
            return Err(self.wrong(asked.wish));
        }
        let error = Some("cancelled".into());
        Ok(write(vec![Transition { error, ..self.asked_step(asked, Status::Failed) }]))
    }

    /// An answer that nobody waits for any more changes nothing.
    fn answered(&self, id: InvocationId, answer: &Result<Artifact, HubError>, drawn: Drawn) -> Effect {
        if self.invocation().is_none_or(|invocation| invocation.id != id) {
            return Effect::Keep;
        }
        let artifact = match answer {
            Ok(artifact) => Arc::new(artifact.clone()),
            Err(HubError::Stopping) => return Effect::Keep,
            Err(HubError::Failed(error)) => {
                let step = self.step(Trigger::Error, Status::Failed);
                return write(vec![Transition { actor: Some("agent-hub".into()), error: Some(error.clone()), ..step }]);
            }
        };
        let step = self.step(Trigger::AgentComplete, Status::WaitingApproval);
        let arrived = Transition {
            actor: Some("agent-hub".into()),
            artifact: Some(artifact.clone()),
            due: self.deadline(drawn.now),
            ..step
        };
        match self.rule_that_approves(&artifact) {
            None => write(vec![arrived]),
            Some(rule) => {
                let step = self.step(Trigger::AutoApproved, Status::WaitingApproval);
                let (actor, approved) = (Some("rule".into()), Some(artifact.hash.clone()));
                let step = Transition { actor, reason: Some(rule), approved, ..step };
                self.approved(step, &artifact, drawn, vec![Transition { due: None, ..arrived }])
            }
        }
    }

    /// In words; `None` = a human decides.
    fn rule_that_approves(&self, artifact: &Artifact) -> Option<Arc<str>> {
        let least = self.workflow.approval.auto_approve?;
        let confidence = artifact.confidence.filter(|confidence| *confidence >= least)?;
        let is_checked = artifact.checks_passed == Some(true);
        is_checked
            .then(|| format!("auto_approve: confidence {confidence} is at least {least}, all checks passed").into())
    }

    fn due(&self, now: Timestamp) -> Effect {
        let workflow = &*self.workflow;
        let Some(limit) = workflow.approval.deadline else { return Effect::Keep };
        if workflow.status != Status::WaitingApproval || workflow.due.is_none_or(|due| due > now) {
            return Effect::Keep;
        }
        let reason: Arc<str> = format!("nobody decided within {} s", limit.as_secs_f64()).into();
        let said = |trigger, to| Transition { reason: Some(reason.clone()), ..self.step(trigger, to) };
        match workflow.approval.on_deadline {
            OnDeadline::Escalate => write(vec![said(Trigger::Escalated, Status::WaitingApproval)]),
            OnDeadline::Reject => self.rejected(said(Trigger::Expired, Status::InProgress)),
            OnDeadline::Fail => {
                let step = said(Trigger::Expired, Status::Failed);
                write(vec![Transition { error: Some(format!("{}: {reason}", workflow.phase).into()), ..step }])
            }
        }
    }
}

/// The start of a workflow that was just created.
pub(crate) fn beginning(created: Created) -> Vec<Event> {
    let (from, to, trigger) = (Status::Pending, Status::InProgress, Trigger::Start);
    let start = Transition {
        from,
        to,
        trigger,
        phase: Phase::One,
        attempt: 1,
        actor: None,
        reason: None,
        metadata: None,
        artifact: None,
        approved: None,
        result: None,
        error: None,
        due: None,
        next: None,
        request: None,
    };
    vec![Event::WorkflowCreated(Arc::new(created)), Event::WorkflowAdvanced(Arc::new(start))]
}

fn write(steps: Vec<Transition>) -> Effect {
    Effect::Write { steps, next: None }
}

fn nothing() -> Json {
    Json::parse("null").unwrap_or_else(|_| unreachable!("null is JSON"))
}

/// The output of the last phase, and how it was approved.
fn result(artifact: &Artifact, step: &Transition, now: Timestamp) -> Json {
    #[derive(serde::Serialize)]
    struct Result<'a> {
        output: &'a Json,
        approval: FinalApproval,
    }
    let approval = FinalApproval {
        trigger: step.trigger,
        actor: step.actor.clone(),
        reason: step.reason.clone(),
        phase_result: step.metadata.clone(),
        artifact_hash: artifact.hash.clone(),
        at: now,
    };
    Json::of(&Result { output: &artifact.content, approval }).unwrap_or_else(|_| artifact.content.clone())
}

/// The artifact with the approver's text in the place of its own; `None` = it says the same.
fn edited(current: &Artifact, content: Value) -> Option<Arc<Artifact>> {
    let mut whole = Fields::of(Some(&current.content));
    let content = match whole.0.contains_key("content") {
        true => {
            whole.0.insert("content".to_owned(), content);
            Json::of(&whole.0)
        }
        false => Json::of(&content),
    };
    let content = content.ok().filter(|content| *content != current.content)?;
    Some(Arc::new(Artifact::of(content)))
}

/// The fields of an object; of anything else there are none.
struct Fields(Map<String, Value>);

impl Fields {
    fn of(json: Option<&Json>) -> Self {
        Self(json.and_then(|json| json.read().ok()).unwrap_or_default())
    }

    /// The first of these that is a text.
    fn text(&self, names: &[&str]) -> Option<Arc<str>> {
        names.iter().find_map(|name| self.0.get(*name)?.as_str()).map(Into::into)
    }

    fn json(&self) -> Option<Json> {
        Some(&self.0).filter(|fields| !fields.is_empty()).and_then(|fields| Json::of(fields).ok())
    }
}
