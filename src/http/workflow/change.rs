//! `POST /workflows/{id}/advance` and `/cancel`: what a client wants of a workflow that exists.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::workflow::{MAX_ACTOR_BYTES, MAX_PAYLOAD_BYTES, MAX_REASON_BYTES, WorkflowId};
use moothall_actors::{Asked, Wish};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::Door;
use super::super::body::Body;
use super::super::doors::WorkflowDoor;
use super::super::refusal::{Cause, ErrorBody, Refusal};
use super::condition::{self, IfMatch};
use super::shown::{Shown, answer};
use super::{IdPart, workflow_id};

const TRIGGERS: [(&str, Wish); 4] = [
    ("agent_complete", Wish::Complete),
    ("human_approved", Wish::Approve),
    ("human_rejected", Wish::Reject),
    ("error", Wish::Fail),
];

/// Length of an artifact's hash: SHA-256, in hex. Anything longer is none.
const MAX_HASH_BYTES: usize = 64;

/// As clients send it; read field by field, so that every misfit is told at once.
#[derive(ToSchema)]
#[schema(as = Advance)]
#[expect(dead_code, reason = "it is only described")]
struct AdvanceBody {
    /// One of agent_complete, human_approved, human_rejected, error.
    #[schema(example = "human_approved", pattern = "^(agent_complete|human_approved|human_rejected|error)$")]
    trigger: String,
    /// agent_complete: what came of the phase; human_approved: `content` takes the artifact's place. At most 1 MiB.
    phase_result: Option<Map<String, Value>>,
    /// Who asks, as they name themselves; at most 256 bytes.
    actor: Option<String>,
    /// At most 16 KiB; of a rejection it is handed to the agents.
    reason: Option<String>,
    /// Of the artifact that is decided on; refused if another one waits by now.
    artifact_hash: Option<String>,
}

/// As clients send it, if they send anything.
#[derive(ToSchema)]
#[schema(as = Cancel)]
#[expect(dead_code, reason = "it is only described")]
struct CancelBody {
    /// Who asks, as they name themselves; at most 256 bytes.
    actor: Option<String>,
    /// At most 16 KiB.
    reason: Option<String>,
}

/// Takes a workflow one step on.
///
/// A repeated agent_complete that finds the phase waiting answers 200 with the workflow as it is.
#[utoipa::path(post, path = "/workflows/{id}/advance", tag = "workflows", request_body = AdvanceBody,
    params(("id" = String, Path, format = "uuid", description = "A UUID in any form"),
        ("If-Match" = Option<String>, Header, pattern = "^(\\*|\"[0-9]+\")$", description = "Only at one of these versions"),
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$", description = "1 to 255 visible ASCII characters")),
    responses((status = 200, description = "As it stands now", body = Shown),
        (status = 400, body = ErrorBody,
            description = "INVALID_UUID, INVALID_TRIGGER, VALIDATION_ERROR, INVALID_STATE_TRANSITION"),
        (status = 403, description = "NOT_AN_APPROVER", body = ErrorBody),
        (status = 404, description = "WORKFLOW_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "VOTE_CLOSED", body = ErrorBody),
        (status = 412, description = "PRECONDITION_FAILED", body = ErrorBody),
        (status = 413, description = "PAYLOAD_TOO_LARGE", body = ErrorBody),
        (status = 422, description = "VALIDATION_ERROR, IDEMPOTENCY_KEY_REUSED", body = ErrorBody),
        (status = 503, description = "BUSY, UNAVAILABLE", body = ErrorBody)))]
pub(super) async fn advance(
    State(door): State<Door>,
    id: IdPart,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let door = door.doors.workflows()?;
    let mut body = Body::read(&body?)?;
    let trigger = body.text("trigger");
    let phase_result = body.maybe_object("phase_result").map(|passing| passing.raw);
    let artifact_hash = body.maybe_text("artifact_hash").filter(|hash| !hash.trim().is_empty());
    let (actor, reason) = (said(&mut body, "actor"), said(&mut body, "reason"));
    body.check()?;
    let id = workflow_id(id)?;
    let Some((_, wish)) = TRIGGERS.into_iter().find(|(name, _)| *name == trigger) else {
        let names = TRIGGERS.map(|(name, _)| name).join(", ");
        let given = crate::error::cut(&trigger, 64);
        return Err(Refusal::new(Cause::Trigger, format!("trigger is {given:?}; allowed are {names}")));
    };
    let mut problems = Problems::default();
    let payload = phase_result.as_ref().map_or("", |result| result.as_str());
    check_length("phase_result", payload, MAX_PAYLOAD_BYTES, &mut problems);
    check_length("artifact_hash", artifact_hash.as_deref().unwrap_or_default(), MAX_HASH_BYTES, &mut problems);
    let artifact_hash = artifact_hash.map(Arc::from);
    let asked = Asked { actor, reason, phase_result, artifact_hash, ..Asked::plain(wish) };
    let request = condition::request(&headers, ("advance", body.whole()), &mut problems);
    carry_out(door, id, &headers, (Asked { request, ..asked }, problems)).await
}

/// Ends a workflow that is not over: it has failed, with the error `cancelled`.
#[utoipa::path(post, path = "/workflows/{id}/cancel", tag = "workflows", request_body = Option<CancelBody>,
    params(("id" = String, Path, format = "uuid", description = "A UUID in any form"),
        ("If-Match" = Option<String>, Header, pattern = "^(\\*|\"[0-9]+\")$", description = "Only at one of these versions"),
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$", description = "1 to 255 visible ASCII characters")),
    responses((status = 200, description = "As it stands now", body = Shown),
        (status = 400, body = ErrorBody, description = "INVALID_UUID, VALIDATION_ERROR, INVALID_STATE_TRANSITION"),
        (status = 404, description = "WORKFLOW_NOT_FOUND", body = ErrorBody),
        (status = 412, description = "PRECONDITION_FAILED", body = ErrorBody),
        (status = 413, description = "PAYLOAD_TOO_LARGE", body = ErrorBody),
        (status = 422, description = "VALIDATION_ERROR, IDEMPOTENCY_KEY_REUSED", body = ErrorBody),
        (status = 503, description = "BUSY, UNAVAILABLE", body = ErrorBody)))]
pub(super) async fn cancel(
    State(door): State<Door>,
    id: IdPart,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let door = door.doors.workflows()?;
    let mut body = Body::maybe(&body?)?.unwrap_or_else(Body::empty);
    let (actor, reason) = (said(&mut body, "actor"), said(&mut body, "reason"));
    body.check()?;
    let id = workflow_id(id)?;
    let mut problems = Problems::default();
    let request = condition::request(&headers, ("cancel", body.whole()), &mut problems);
    carry_out(door, id, &headers, (Asked { actor, reason, request, ..Asked::plain(Wish::Cancel) }, problems)).await
}

async fn carry_out(
    door: &WorkflowDoor,
    id: WorkflowId,
    headers: &HeaderMap,
    (asked, mut problems): (Asked, Problems),
) -> Result<Response, Refusal> {
    check_length("actor", asked.actor.as_deref().unwrap_or_default(), MAX_ACTOR_BYTES, &mut problems);
    check_length("reason", asked.reason.as_deref().unwrap_or_default(), MAX_REASON_BYTES, &mut problems);
    if !problems.0.is_empty() {
        return Err(Refusal::because(Cause::Invalid, &problems));
    }
    let if_match = IfMatch::read(headers).expected(&door.system, id, asked.request.as_ref()).await?;
    let workflow = door.system.advance_workflow(id, Asked { if_match, ..asked }).await?;
    Ok(answer(StatusCode::OK, &workflow))
}

/// A text without the blanks around it: two spellings of one name would count as two votes. A blank one counts as none.
fn said(body: &mut Body, name: &'static str) -> Option<Arc<str>> {
    let text = body.maybe_text(name)?;
    Some(text.trim()).filter(|text| !text.is_empty()).map(Arc::from)
}

fn check_length(field: &str, text: &str, most: usize, problems: &mut Problems) {
    if text.len() > most {
        problems.push(field, format!("has {} bytes; at most {most} are allowed", text.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_text_counts_as_none() {
        let mut body = Body::read(br#"{"a": " ", "b": null, "c": " ann\n"}"#).ok().unwrap();
        assert_eq!([said(&mut body, "a"), said(&mut body, "b"), said(&mut body, "d")], [None, None, None]);
        assert_eq!(said(&mut body, "c").as_deref(), Some("ann"));
    }

    #[test]
    fn lengths_are_held_to_their_edges() {
        let problems = |text: &str| {
            let mut problems = Problems::default();
            check_length("actor", text, 3, &mut problems);
            problems.to_string()
        };
        assert_eq!(problems("ann"), "");
        assert_eq!(problems("anna"), "actor has 4 bytes; at most 3 are allowed");
    }
}
