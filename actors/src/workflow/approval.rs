//! Decisions: who may make them, what a vote comes to, and what follows from an approval, a rejection, or silence.

use std::sync::Arc;

use super::error::WorkflowError;
use super::said::{Said, edited, result};
use super::state::{Asked, Drawn, Effect, State, write};
use crate::domain::id::Timestamp;
use crate::domain::json::Json;
use crate::domain::problem::Problems;
use crate::domain::workflow::{
    Artifact, Created, OnDeadline, Origin, Phase, Transition, Trigger, Workflow, WorkflowId, WorkflowStatus as Status,
};

impl State {
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

    pub(super) fn approve(&self, asked: &Asked, drawn: Drawn) -> Result<Effect, WorkflowError> {
        self.check_decision(asked)?;
        let workflow = &*self.workflow;
        // What another program began may wait without one.
        let current = self.outputs.current.clone().unwrap_or_else(|| Arc::new(Artifact::of(Json::null())));
        let mut said = Said::of(asked.phase_result.as_ref());
        let edited = said.0.remove("content").and_then(|content| edited(&current, content));
        let votes = if edited.is_some() { &[][..] } else { &workflow.votes[..] };
        if votes.iter().any(|vote| Some(&vote.actor) == asked.actor.as_ref()) {
            return Ok(Effect::Keep);
        }
        let artifact = edited.clone().unwrap_or(current);
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
    pub(super) fn approved(
        &self,
        step: Transition,
        artifact: &Artifact,
        drawn: Drawn,
        mut before: Vec<Transition>,
    ) -> Effect {
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
    fn next(&self, artifact: &Artifact, id: WorkflowId) -> Option<Box<Created>> {
        let workflow = &*self.workflow;
        let (first, rest) = workflow.chain.split_first()?;
        Some(Box::new(Created {
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
        }))
    }

    pub(super) fn reject(&self, asked: &Asked) -> Result<Effect, WorkflowError> {
        self.check_decision(asked)?;
        let said = Said::of(asked.phase_result.as_ref());
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

    /// In words; `None` = a human decides.
    pub(super) fn rule_that_approves(&self, artifact: &Artifact) -> Option<Arc<str>> {
        let least = self.workflow.approval.auto_approve?;
        let confidence = artifact.confidence.filter(|confidence| *confidence >= least)?;
        let is_checked = artifact.checks_passed == Some(true);
        is_checked
            .then(|| format!("auto_approve: confidence {confidence} is at least {least}, all checks passed").into())
    }

    pub(super) fn due(&self, now: Timestamp) -> Effect {
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
