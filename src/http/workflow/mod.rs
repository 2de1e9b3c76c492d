//! Workflows over HTTP: paths, keys and codes as their clients know them.
//!
//! ```text
//!  body ─▶ (422) ─▶ UUID ─▶ trigger ─▶ limits ─▶ (400) ─▶ System: existence (404), If-Match (412), transition (400)
//! ```
//!
//! Nothing is decided here: a request is read, checked for its shape and its limits, and handed to the system.

mod approval;
mod change;
mod condition;
mod create;
mod list;
mod past;
mod read;
mod shown;
mod slug;
mod stream;
#[cfg(test)]
mod tests;

pub(super) use self::condition::idempotency_key;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use moothall_actors::domain::workflow::WorkflowId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Door;
use super::refusal::{Cause, Refusal};

pub(super) fn routes() -> OpenApiRouter<Door> {
    OpenApiRouter::new()
        .routes(routes!(create::create, list::list))
        .routes(routes!(read::read))
        .routes(routes!(change::advance))
        .routes(routes!(change::cancel))
        .routes(routes!(past::history))
        .routes(routes!(past::artifacts))
        .routes(routes!(stream::events))
}

/// The last part of a path, which may be anything.
type IdPart = Result<Path<String>, PathRejection>;

/// UUIDs are values: in whichever form one is written, it is the same workflow.
fn workflow_id(part: IdPart) -> Result<WorkflowId, Refusal> {
    let text = part.map(|Path(text)| text).unwrap_or_default();
    match Uuid::try_parse(&text) {
        Ok(id) => Ok(WorkflowId(id.into_bytes())),
        Err(_) => Err(Refusal::new(Cause::Uuid, format!("{:?} is not a UUID", crate::error::cut(&text, 64)))),
    }
}
