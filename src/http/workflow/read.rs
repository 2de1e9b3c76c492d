//! `GET /workflows/{id}`: one workflow as it stands.

use axum::extract::State;
use axum::http::header::ETAG;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::super::Door;
use super::super::refusal::{ErrorBody, Refusal};
use super::condition::{etag, is_known};
use super::shown::{Shown, answer};
use super::{IdPart, workflow_id};

/// A workflow as it stands.
#[utoipa::path(get, path = "/workflows/{id}", tag = "workflows",
    params(("id" = String, Path, format = "uuid", description = "A UUID in any form"),
        ("If-None-Match" = Option<String>, Header, description = "Versions that the client has")),
    responses((status = 200, body = Shown, description = "As it stands"),
        (status = 304, description = "The client has it"),
        (status = 400, description = "INVALID_UUID", body = ErrorBody),
        (status = 404, description = "WORKFLOW_NOT_FOUND", body = ErrorBody),
        (status = 503, description = "UNAVAILABLE", body = ErrorBody)))]
pub(super) async fn read(State(door): State<Door>, id: IdPart, headers: HeaderMap) -> Result<Response, Refusal> {
    let door = door.doors.workflows()?;
    let workflow = door.system.workflow(workflow_id(id)?).await?;
    if is_known(&headers, &workflow) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag(workflow.version))]).into_response());
    }
    Ok(answer(StatusCode::OK, &workflow))
}
