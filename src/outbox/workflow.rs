//! A workflow's step in the words of its events: which subject, and what is known of the workflow beside it.

use std::sync::Arc;

use jiff::Timestamp;
use moothall_actors::domain::workflow::{Transition, Trigger, WorkflowId, WorkflowStatus, WorkflowType};

use crate::nats::outgoing::{Outgoing, WorkflowNews, WorkflowStep};

/// What never changes of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OfWorkflow {
    pub(super) workflow_type: WorkflowType,
    pub(super) feature_id: Arc<str>,
}

pub(super) fn step(id: WorkflowId, of: &OfWorkflow, step: &Transition, timestamp: Timestamp) -> Outgoing {
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let artifact_hash =
        text(&step.approved).or_else(|| step.artifact.as_ref().map(|artifact| artifact.hash.to_string()));
    Outgoing::Workflow(WorkflowStep {
        news: news(step),
        workflow_id: id.to_string(),
        workflow_type: of.workflow_type.as_str(),
        feature_id: of.feature_id.to_string(),
        from_status: step.from.as_str(),
        status: step.to.as_str(),
        trigger: step.trigger.as_str(),
        phase: step.phase.as_str(),
        attempt: step.attempt,
        actor: text(&step.actor),
        reason: text(&step.reason),
        artifact_hash,
        error: text(&step.error),
        next_workflow_id: step.next.map(|next| next.to_string()),
        timestamp,
    })
}

fn news(step: &Transition) -> WorkflowNews {
    match (step.to, step.trigger) {
        (WorkflowStatus::Failed, _) => WorkflowNews::Failed,
        (WorkflowStatus::Completed, _) => WorkflowNews::Completed,
        (_, Trigger::Start) => WorkflowNews::Created,
        (_, Trigger::AgentComplete) => WorkflowNews::WaitingApproval,
        (_, Trigger::Escalated) => WorkflowNews::Escalated,
        (WorkflowStatus::WaitingApproval, _) => WorkflowNews::Voted,
        (_, Trigger::HumanApproved | Trigger::AutoApproved) => WorkflowNews::Approved,
        (_, Trigger::HumanRejected | Trigger::Expired) => WorkflowNews::Rejected,
        (_, Trigger::Error | Trigger::Cancelled) => WorkflowNews::Failed,
    }
}

#[cfg(test)]
mod tests {
    use moothall_actors::domain::workflow::Phase;

    use super::*;

    #[test]
    fn every_step_has_its_subject() {
        use WorkflowStatus::{Completed, Failed, InProgress, Pending, WaitingApproval};
        let told = [
            (Pending, InProgress, Trigger::Start, "created"),
            (InProgress, WaitingApproval, Trigger::AgentComplete, "waiting_approval"),
            (WaitingApproval, WaitingApproval, Trigger::HumanApproved, "voted"),
            (WaitingApproval, InProgress, Trigger::HumanApproved, "approved"),
            (WaitingApproval, InProgress, Trigger::AutoApproved, "approved"),
            (WaitingApproval, InProgress, Trigger::HumanRejected, "rejected"),
            (WaitingApproval, InProgress, Trigger::Expired, "rejected"),
            (WaitingApproval, WaitingApproval, Trigger::Escalated, "escalated"),
            (WaitingApproval, Completed, Trigger::HumanApproved, "completed"),
            (WaitingApproval, Failed, Trigger::HumanRejected, "failed"),
            (InProgress, Failed, Trigger::Error, "failed"),
            (InProgress, Failed, Trigger::Cancelled, "failed"),
        ];
        let of = OfWorkflow { workflow_type: WorkflowType::Plan, feature_id: "001-sign-in".into() };
        for (from, to, trigger, subject) in told {
            let transition = Transition::plain(from, to, trigger, Phase::One, 1);
            let outgoing = step(WorkflowId([7; 16]), &of, &transition, Timestamp::UNIX_EPOCH);
            assert_eq!(outgoing.subject(), format!("orchestration.workflow.{subject}"));
            assert_eq!(outgoing.ordering_key(), WorkflowId([7; 16]).to_string());
            let payload = outgoing.payload().unwrap();
            assert_eq!((&payload["status"], &payload["event_type"]), (&to.as_str().into(), &outgoing.subject().into()));
        }
    }
}
