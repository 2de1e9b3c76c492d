//! `GET /workflows/{id}/events`: every step as it happens, as server-sent events that go on where a client left off.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use moothall_actors::domain::event::{Event, Recorded};
use moothall_actors::domain::json::Json;
use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::workflow::{WorkflowId, WorkflowStatus};
use moothall_actors::{Following, System};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::ToSchema;

use super::super::Door;
use super::super::doors::MAX_STREAMS;
use super::super::refusal::{Cause, ErrorBody, Refusal};
use super::past::Step;
use super::{IdPart, workflow_id};

/// Between two comments that keep an idle connection open: proxies close what is silent for a minute, or half of one.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Largest `metadata` in an event, in bytes; a larger one stands in the history.
const MAX_METADATA_BYTES: usize = 16 * 1024;
/// When to come back when too many streams are open.
const BUSY_RETRY: Duration = Duration::from_secs(5);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
struct Told<'a> {
    workflow_id: &'a str,
    #[serde(flatten)]
    step: Step<'a>,
}

/// Every step of a workflow as it happens.
///
/// `id` is the version, `event` the trigger (`created` first), `data` the step as in the history with `workflow_id`. It
/// ends when the workflow is over.
#[utoipa::path(get, path = "/workflows/{id}/events", tag = "workflows",
    params(("id" = String, Path, format = "uuid", description = "A UUID in any form"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Only what happened after this version")),
    responses((status = 200, description = "Server-sent events", body = Told, content_type = "text/event-stream"),
        (status = 204, description = "The workflow is over and the client has seen it all: do not come again"),
        (status = 400, description = "INVALID_UUID, VALIDATION_ERROR", body = ErrorBody),
        (status = 404, description = "WORKFLOW_NOT_FOUND", body = ErrorBody),
        (status = 503, description = "BUSY, UNAVAILABLE", body = ErrorBody)))]
pub(super) async fn events(State(door): State<Door>, id: IdPart, headers: HeaderMap) -> Result<Response, Refusal> {
    let system = &door.doors.workflows()?.system;
    let id = workflow_id(id)?;
    let last = last_seen(&headers)?;
    let place = door.doors.streams.clone().try_acquire_owned();
    let place = place.map_err(|_| Refusal::busy(format!("{MAX_STREAMS} streams are open"), BUSY_RETRY))?;
    // Followed first, then read: what happens in between is not lost.
    let following = system.follow_workflow(id);
    let workflow = system.workflow(id).await?;
    if workflow.status.is_over() && last >= workflow.version {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let telling = Telling {
        system: system.clone(),
        id,
        after: last.min(workflow.version),
        following,
        closing: door.doors.closing(),
        read: VecDeque::new(),
        is_over: false,
        _place: place,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    Ok(Sse::new(telling.stream()).keep_alive(keep_alive).into_response())
}

/// 0 = nothing yet.
fn last_seen(headers: &HeaderMap) -> Result<u64, Refusal> {
    let Some(given) = headers.get(LAST_EVENT_ID) else { return Ok(0) };
    let given = given.to_str().unwrap_or_default().trim();
    if given.is_empty() {
        return Ok(0);
    }
    given.parse().map_err(|_| {
        let mut problems = Problems::default();
        problems.push("Last-Event-ID", "is no version of a workflow");
        Refusal::because(Cause::Invalid, &problems)
    })
}

/// One open stream.
struct Telling {
    system: System,
    id: WorkflowId,
    /// The version that was told last, or read last.
    after: u64,
    following: Following,
    closing: watch::Receiver<bool>,
    read: VecDeque<Recorded>,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

impl Telling {
    fn stream(self) -> impl Stream<Item = Result<Sent, Infallible>> + Send {
        stream::unfold(self, async |mut telling| {
            let event = telling.next().await?;
            Some((Ok(event), telling))
        })
    }

    /// `None` = it is over, the server stops, or the journal cannot be read: the client comes again where it left off.
    async fn next(&mut self) -> Option<Sent> {
        while !self.is_over {
            if let Some(recorded) = self.read.pop_front() {
                self.after = recorded.version;
                match self.sent(&recorded) {
                    None => continue,
                    sent => return sent,
                }
            }
            let events = self.system.workflow_events(self.id, self.after).await;
            self.read = events.inspect_err(|error| tracing::debug!(%error, "a stream of events ends")).ok()?.into();
            if self.read.is_empty() {
                tokio::select! {
                    () = self.following.news() => {}
                    () = closed(&mut self.closing) => return None,
                }
            }
        }
        None
    }

    fn sent(&mut self, recorded: &Recorded) -> Option<Sent> {
        let (version, at) = (recorded.version, recorded.event.at);
        let (mut step, is_over) = match &recorded.event.event {
            Event::WorkflowCreated(_) => (Step::first(WorkflowStatus::Pending, version, at), false),
            Event::WorkflowImported(imported) => (Step::first(imported.status, version, at), imported.status.is_over()),
            Event::WorkflowAdvanced(transition) => (Step::of(transition, version, at), transition.to.is_over()),
            _ => return None,
        };
        self.is_over = is_over;
        step.metadata = step.metadata.filter(|metadata| metadata.as_str().len() <= MAX_METADATA_BYTES);
        let trigger = step.trigger;
        let told = Json::of(&Told { workflow_id: &self.id.to_string(), step }).ok()?;
        Some(Sent::default().id(version.to_string()).event(trigger).data(one_line(told.as_str())))
    }
}

async fn closed(closing: &mut watch::Receiver<bool>) {
    // A sender that is gone has closed too.
    drop(closing.wait_for(|is_closing| *is_closing).await);
}

/// Line ends stand only between the values of JSON, never within: there a blank says the same.
fn one_line(json: &str) -> String {
    json.replace(['\r', '\n'], " ")
}
