//! A workflow as clients see it: the ten keys that are always there, then more.

use axum::Json as Body;
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use moothall_actors::domain::id::Timestamp;
use moothall_actors::domain::json::Json;
use moothall_actors::domain::workflow::{Workflow, WorkflowStatus};
use serde::Serialize;
use utoipa::ToSchema;

use super::condition::etag;

/// RFC 3339 in UTC, to the millisecond.
pub(super) fn time(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX))
}

/// An answer that is one workflow; its tag is its version.
pub(super) fn answer(status: StatusCode, workflow: &Workflow) -> Response {
    (status, [(ETAG, etag(workflow.version))], Body(Shown::of(workflow))).into_response()
}

#[derive(Serialize, ToSchema)]
#[schema(as = Workflow)]
pub(super) struct Shown<'a> {
    #[schema(format = "uuid")]
    id: String,
    #[schema(example = "specify")]
    workflow_type: &'static str,
    /// pending, in_progress, waiting_approval, completed or failed.
    #[schema(example = "waiting_approval")]
    status: &'static str,
    /// A number and a readable part; the number is the workflow type's next.
    #[schema(pattern = r"^\d{3,}-[a-z0-9-]+$", example = "001-users-log-in")]
    feature_id: &'a str,
    #[schema(example = "phase_1")]
    current_phase: &'static str,
    /// Once it has completed: `output` of the last phase and its `approval`.
    #[schema(value_type = Option<Object>, required)]
    result: Option<&'a Json>,
    /// Why it failed.
    #[schema(required)]
    error: Option<&'a str>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    #[schema(format = DateTime, required)]
    completed_at: Option<String>,
    feature_description: &'a str,
    /// As its client sent it.
    #[schema(value_type = Option<Object>, required)]
    context: Option<&'a Json>,
    /// What its phase is about, such as draft or clarify.
    phase_title: &'static str,
    /// Of the phase, from 1.
    attempt: u32,
    /// Who executes its phases: auto = the agent hub, manual = a client.
    dispatch: &'static str,
    /// The types of the workflows that follow.
    #[schema(value_type = Vec<String>)]
    chain: Vec<&'static str>,
    /// The workflow before it in its chain, and the one after it.
    #[schema(required)]
    previous: Option<String>,
    #[schema(required)]
    next: Option<String>,
    /// Every step raises it; it is the ETag too.
    version: u64,
    /// What is to be decided on; null when nothing waits.
    #[schema(required)]
    approval: Option<Waiting<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Approval)]
struct Waiting<'a> {
    /// Approvals of different people that it takes.
    quorum: u16,
    /// Approvals that do not decide yet.
    votes: Vec<Voted<'a>>,
    /// Those who may decide now; empty = anyone.
    #[schema(value_type = Vec<String>)]
    approvers: Vec<&'a str>,
    /// Whether nobody decided in time, so that others may decide too.
    escalated: bool,
    #[schema(format = DateTime, required)]
    due_at: Option<String>,
    /// SHA-256 of what is decided on, in hex.
    #[schema(required)]
    artifact_hash: Option<&'a str>,
    /// How sure whoever made it is, 0 to 100.
    #[schema(required)]
    confidence: Option<f64>,
    /// Whether that is under the threshold: to be looked at twice.
    below_threshold: bool,
    #[schema(required)]
    checks_passed: Option<bool>,
    /// Whether an approver changed it.
    edited: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Vote)]
struct Voted<'a> {
    actor: &'a str,
    #[schema(format = DateTime)]
    at: String,
}

impl<'a> Shown<'a> {
    pub(super) fn of(workflow: &'a Workflow) -> Self {
        Self {
            id: workflow.id.to_string(),
            workflow_type: workflow.workflow_type.as_str(),
            status: workflow.status.as_str(),
            feature_id: &workflow.feature_id,
            current_phase: workflow.phase.as_str(),
            result: workflow.result.as_ref(),
            error: workflow.error.as_deref(),
            created_at: time(workflow.created_at),
            updated_at: time(workflow.updated_at),
            completed_at: workflow.completed_at.map(time),
            feature_description: &workflow.description,
            context: workflow.context.as_ref(),
            phase_title: workflow.workflow_type.title(workflow.phase),
            attempt: workflow.attempt,
            dispatch: workflow.dispatch.as_str(),
            chain: workflow.chain.iter().map(|of| of.as_str()).collect(),
            previous: workflow.previous.map(|id| id.to_string()),
            next: workflow.next.map(|id| id.to_string()),
            version: workflow.version,
            approval: (workflow.status == WorkflowStatus::WaitingApproval).then(|| Waiting::of(workflow)),
        }
    }
}

impl<'a> Waiting<'a> {
    fn of(workflow: &'a Workflow) -> Self {
        let (rule, artifact) = (&workflow.approval, workflow.artifact.as_ref());
        let confidence = artifact.and_then(|artifact| artifact.confidence);
        let admits_more = workflow.escalated && !rule.approvers.is_empty();
        let others = rule.escalate_to.iter().filter(|name| admits_more && !rule.approvers.contains(name));
        Self {
            quorum: rule.quorum,
            votes: workflow.votes.iter().map(|vote| Voted { actor: &vote.actor, at: time(vote.at) }).collect(),
            approvers: rule.approvers.iter().chain(others).map(|name| &**name).collect(),
            escalated: workflow.escalated,
            due_at: workflow.due.map(time),
            artifact_hash: artifact.map(|artifact| &*artifact.hash),
            confidence,
            below_threshold: confidence.is_some_and(|confidence| confidence < rule.confidence_threshold),
            checks_passed: artifact.and_then(|artifact| artifact.checks_passed),
            edited: artifact.is_some_and(|artifact| artifact.edited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_a_z() {
        assert_eq!(time(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(Timestamp(1_767_225_600_250)), "2026-01-01T00:00:00.250Z");
        assert!(time(Timestamp(u64::MAX)).ends_with('Z'));
    }
}
