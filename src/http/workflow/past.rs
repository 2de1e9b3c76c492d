//! What happened to a workflow: every step, and everything that its phases brought forth.

use axum::Json as Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use moothall_actors::domain::event::{Event, Recorded};
use moothall_actors::domain::id::Timestamp;
use moothall_actors::domain::json::Json;
use moothall_actors::domain::workflow::{Past, Transition, WorkflowStatus};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Door;
use super::super::refusal::{ErrorBody, Refusal};
use super::shown::time;
use super::{IdPart, workflow_id};

/// One step.
#[derive(Serialize, ToSchema)]
#[schema(as = Step)]
pub(super) struct Step<'a> {
    /// Of the workflow, once it was done.
    pub(super) version: u64,
    #[schema(required)]
    pub(super) from: Option<&'a str>,
    pub(super) to: &'a str,
    pub(super) trigger: &'a str,
    /// In which it happened.
    #[schema(required)]
    pub(super) phase: Option<&'static str>,
    /// Of that phase, from 1.
    #[schema(required)]
    pub(super) attempt: Option<u32>,
    /// As the caller names itself, or the rule that decided.
    #[schema(required)]
    pub(super) actor: Option<&'a str>,
    #[schema(required)]
    pub(super) reason: Option<&'a str>,
    /// What the caller sent along.
    #[schema(value_type = Option<serde_json::Value>, required)]
    pub(super) metadata: Option<&'a Json>,
    /// Of what it brought forth, or decided on.
    #[schema(required)]
    pub(super) artifact_hash: Option<&'a str>,
    /// Why it failed.
    #[schema(required)]
    pub(super) error: Option<&'a str>,
    #[schema(format = DateTime)]
    pub(super) at: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = History)]
struct History<'a> {
    workflow_id: String,
    /// In order.
    history: Vec<Step<'a>>,
}

/// What a phase brought forth.
#[derive(Serialize, ToSchema)]
#[schema(as = Artifact)]
struct Artifact<'a> {
    /// Of the workflow, since it is there.
    version: u64,
    phase: &'static str,
    attempt: u32,
    /// SHA-256 of the content, in hex.
    hash: &'a str,
    /// Any JSON, as it came.
    #[schema(value_type = serde_json::Value)]
    content: &'a Json,
    /// How sure whoever made it is, 0 to 100.
    #[schema(required)]
    confidence: Option<f64>,
    #[schema(required)]
    checks_passed: Option<bool>,
    #[schema(value_type = Option<serde_json::Value>, required)]
    metadata: Option<&'a Json>,
    /// Whether an approver made it out of the one before.
    edited: bool,
    #[schema(required)]
    actor: Option<&'a str>,
    #[schema(format = DateTime)]
    at: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Artifacts)]
struct Artifacts<'a> {
    workflow_id: String,
    /// In order; an edited one follows the one that it was made of.
    artifacts: Vec<Artifact<'a>>,
}

/// Every step of a workflow, in order.
#[utoipa::path(get, path = "/workflows/{id}/history", tag = "workflows",
    params(("id" = String, Path, format = "uuid", description = "A UUID in any form")),
    responses((status = 200, body = History, description = "Every step"),
        (status = 400, description = "INVALID_UUID", body = ErrorBody),
        (status = 404, description = "WORKFLOW_NOT_FOUND", body = ErrorBody),
        (status = 503, description = "UNAVAILABLE", body = ErrorBody)))]
pub(super) async fn history(State(door): State<Door>, id: IdPart) -> Result<Response, Refusal> {
    let door = door.doors.workflows()?;
    let id = workflow_id(id)?;
    let events = door.system.workflow_past(id).await?;
    let history = events.iter().flat_map(steps).collect();
    Ok(Body(History { workflow_id: id.to_string(), history }).into_response())
}

/// Everything that the phases of a workflow brought forth, per phase and attempt.
#[utoipa::path(get, path = "/workflows/{id}/artifacts", tag = "workflows",
    params(("id" = String, Path, format = "uuid", description = "A UUID in any form")),
    responses((status = 200, body = Artifacts, description = "All of them"),
        (status = 400, description = "INVALID_UUID", body = ErrorBody),
        (status = 404, description = "WORKFLOW_NOT_FOUND", body = ErrorBody),
        (status = 503, description = "UNAVAILABLE", body = ErrorBody)))]
pub(super) async fn artifacts(State(door): State<Door>, id: IdPart) -> Result<Response, Refusal> {
    let door = door.doors.workflows()?;
    let id = workflow_id(id)?;
    let events = door.system.workflow_past(id).await?;
    let artifacts = events.iter().filter_map(artifact).collect();
    Ok(Body(Artifacts { workflow_id: id.to_string(), artifacts }).into_response())
}

/// The steps that an event tells of: one, or those that another program had kept.
fn steps(recorded: &Recorded) -> Vec<Step<'_>> {
    let version = recorded.version;
    match &recorded.event.event {
        Event::WorkflowAdvanced(transition) => vec![Step::of(transition, version, recorded.event.at)],
        Event::WorkflowImported(imported) => imported.history.iter().map(|past| Step::before(past, version)).collect(),
        _ => Vec::new(),
    }
}

impl<'a> Step<'a> {
    pub(super) fn of(step: &'a Transition, version: u64, at: Timestamp) -> Self {
        Self {
            version,
            from: Some(step.from.as_str()),
            to: step.to.as_str(),
            trigger: step.trigger.as_str(),
            phase: Some(step.phase.as_str()),
            attempt: Some(step.attempt),
            actor: step.actor.as_deref(),
            reason: step.reason.as_deref(),
            metadata: step.metadata.as_ref(),
            artifact_hash: step.artifact.as_ref().map(|artifact| &*artifact.hash).or(step.approved.as_deref()),
            error: step.error.as_deref(),
            at: time(at),
        }
    }

    /// The first of a workflow: it is there.
    pub(super) fn first(to: WorkflowStatus, version: u64, at: Timestamp) -> Self {
        Self {
            version,
            from: None,
            to: to.as_str(),
            trigger: "created",
            phase: None,
            attempt: None,
            actor: None,
            reason: None,
            metadata: None,
            artifact_hash: None,
            error: None,
            at: time(at),
        }
    }

    fn before(past: &'a Past, version: u64) -> Self {
        let to_pending = Self::first(WorkflowStatus::Pending, version, past.at);
        Self {
            from: Some(&past.from),
            to: &past.to,
            trigger: &past.trigger,
            metadata: past.metadata.as_ref(),
            ..to_pending
        }
    }
}

fn artifact(recorded: &Recorded) -> Option<Artifact<'_>> {
    let Event::WorkflowAdvanced(step) = &recorded.event.event else { return None };
    let artifact = step.artifact.as_ref()?;
    Some(Artifact {
        version: recorded.version,
        phase: step.phase.as_str(),
        attempt: step.attempt,
        hash: &artifact.hash,
        content: &artifact.content,
        confidence: artifact.confidence,
        checks_passed: artifact.checks_passed,
        metadata: artifact.metadata.as_ref(),
        edited: step.from == WorkflowStatus::WaitingApproval,
        actor: step.actor.as_deref(),
        at: time(recorded.event.at),
    })
}
