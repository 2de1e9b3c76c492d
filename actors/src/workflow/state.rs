//! What a wish, an answer or a deadline makes of a workflow: pure, a table of the contract.

use std::sync::Arc;

use serde_json::Value;

use super::error::WorkflowError;
use super::said::Said;
use crate::domain::event::{Event, Recorded};
use crate::domain::id::{EventId, Timestamp};
use crate::domain::json::Json;
use crate::domain::workflow::{
    Artifact, Created, Dispatch, Outputs, Phase, Request, Transition, Trigger, Workflow, WorkflowId,
    WorkflowStatus as Status,
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
    Write { steps: Vec<Transition>, next: Option<Box<Created>> },
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

    pub(super) fn step(&self, trigger: Trigger, to: Status) -> Transition {
        let Workflow { status, phase, attempt, .. } = *self.workflow;
        Transition::plain(status, to, trigger, phase, attempt)
    }

    pub(super) fn asked_step(&self, asked: &Asked, to: Status) -> Transition {
        Transition {
            actor: asked.actor.clone(),
            reason: asked.reason.clone(),
            request: asked.request.clone(),
            ..self.step(asked.wish.trigger(), to)
        }
    }

    pub(super) fn wrong(&self, wish: Wish) -> WorkflowError {
        WorkflowError::WrongState { status: self.workflow.status, trigger: wish.trigger() }
    }

    fn complete(&self, asked: &Asked, now: Timestamp) -> Result<Effect, WorkflowError> {
        match self.workflow.status {
            Status::InProgress => {}
            Status::WaitingApproval => return Ok(Effect::Keep),
            Status::Pending | Status::Completed | Status::Failed => return Err(self.wrong(asked.wish)),
        }
        let content = asked.phase_result.clone().unwrap_or_else(Json::null);
        let said = Said::of(Some(&content));
        let confidence = said.0.get("confidence").and_then(Value::as_f64).filter(|given| (0.0..=100.0).contains(given));
        let artifact = Arc::new(Artifact { confidence, ..Artifact::of(content) });
        let step = self.asked_step(asked, Status::WaitingApproval);
        Ok(write(vec![Transition { artifact: Some(artifact), due: self.deadline(now), ..step }]))
    }

    pub(super) fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let limit = self.workflow.approval.deadline?;
        Some(Timestamp(now.0.saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))))
    }

    fn fail(&self, asked: &Asked) -> Result<Effect, WorkflowError> {
        if !matches!(self.workflow.status, Status::InProgress | Status::WaitingApproval) {
            return Err(self.wrong(asked.wish));
        }
        let said = Said::of(asked.phase_result.as_ref());
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
}

/// The start of a workflow that was just created.
pub(crate) fn beginning(created: Created) -> Vec<Event> {
    let start = Transition::plain(Status::Pending, Status::InProgress, Trigger::Start, Phase::One, 1);
    vec![Event::WorkflowCreated(Arc::new(created)), Event::WorkflowAdvanced(Arc::new(start))]
}

pub(super) fn write(steps: Vec<Transition>) -> Effect {
    Effect::Write { steps, next: None }
}

#[cfg(test)]
#[path = "state_tests/mod.rs"]
mod tests;
