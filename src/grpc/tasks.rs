//! `moothall.v1.TaskService`: what became of each task.

use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use moothall_actors::domain::id::{MAX_ID_BYTES, Role, TaskId};
use moothall_actors::domain::plan::Change;
use moothall_actors::ports::{TaskQuery, TaskStatus};
use moothall_actors::view::TaskState;
use moothall_actors::{Attached, System};
use tonic::{Request, Response, Status};

use super::answer::Finished;
use super::deadline::Deadline;
use super::door::Door;
use super::events::{Event, events};
use super::guard::Guarded;
use super::journal::{self, Cursor, EventQuery, JournalAdmin};
use super::orchestrator::parsed;
use super::proto::moothall::v1 as wire;
use super::proto::moothall::v1::task_service_server::TaskService;
use super::shown::{ended, listed, shown, updated};
use super::waiting::{self, Turn};
use super::{planning, queue};
use crate::error::{journal_status, status};

pub(super) const DEFAULT_PAGE: usize = 100;
pub(super) const MAX_PAGE: i32 = 1000;
const MAX_REASON_BYTES: usize = 1024;

pub(super) struct Tasks {
    pub(super) door: Door,
    pub(super) journal: Arc<dyn JournalAdmin>,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl TaskService for Tasks {
    async fn get_task(&self, request: Request<wire::GetTaskRequest>) -> Answer<wire::GetTaskResponse> {
        let message = request.get_ref();
        let task = parsed(|problems| problems.keep(TaskId::parse("task_id", &message.task_id)))?;
        let view = self.door.system.task(&task).await.map_err(|error| status(&error))?;
        let mut answer = wire::GetTaskResponse { task: Some(shown(&view)), ..Default::default() };
        if let TaskState::Completed(outcome) = &view.state {
            let finished = Finished::of(outcome, &view.row.role);
            answer.metadata = Some(finished.metadata);
            answer.results = if message.include_results { finished.results } else { Vec::new() };
        }
        Ok(Response::new(answer))
    }

    async fn list_tasks(&self, request: Request<wire::ListTasksRequest>) -> Answer<wire::ListTasksResponse> {
        let mut query = query(request.get_ref())?;
        // One more shows whether there is a next page.
        let page = query.limit;
        query.limit += 1;
        let mut rows = self.door.system.tasks(&query).await.map_err(|error| status(&error))?;
        let more = rows.len() > page;
        rows.truncate(page);
        let next_cursor = rows.last().filter(|_| more).map(|row| row.task.to_string()).unwrap_or_default();
        let mut tasks = Vec::with_capacity(rows.len());
        for row in rows {
            tasks.push(listed(&self.door.system, row).await);
        }
        Ok(Response::new(wire::ListTasksResponse { tasks, next_cursor }))
    }

    async fn cancel_task(&self, request: Request<wire::CancelTaskRequest>) -> Answer<wire::CancelTaskResponse> {
        let message = request.get_ref();
        let (task, reason) = named(&message.task_id, &message.reason)?;
        self.door.system.cancel(&task, reason).await.map_err(|error| status(&error))?;
        let view = self.door.system.task(&task).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::CancelTaskResponse { task: Some(shown(&view)) }))
    }

    type WatchTaskStream = Guarded<wire::TaskUpdate>;

    async fn watch_task(&self, request: Request<wire::WatchTaskRequest>) -> Answer<Self::WatchTaskStream> {
        let deadline = request.extensions().get::<Deadline>().copied();
        let message = request.into_inner();
        let (task, after) = parsed(|problems| {
            let task = problems.keep(TaskId::parse("task_id", &message.task_id));
            let after = u64::try_from(message.after_index);
            if after.is_err() {
                problems.push("after_index", format!("is {}; allowed are 0 and above", message.after_index));
            }
            task.zip(after.ok())
        })?;
        let system = self.door.system.clone();
        let view = system.task(&task).await.map_err(|error| status(&error))?;
        let (texts, role) = (message.include_texts, view.row.role);
        let attached = match view.state {
            TaskState::Waiting { .. } => {
                waiting::turns(system.clone(), task.clone(), self.door.readiness.subscribe()).left_stream()
            }
            _ => stream::iter([system.attach(&task).await.map(|attached| Turn::Begun(attached, 0))]).right_stream(),
        };
        let told = attached.flat_map(move |turn| match turn {
            Ok(Turn::Begun(attached, before)) => {
                let place = Place { after, before };
                updates(system.clone(), task.clone(), attached, place, texts.then(|| role.clone())).left_stream()
            }
            Ok(Turn::CarriedOut(update)) => stream::iter([Ok(*update)]).right_stream(),
            Err(error) => stream::iter([Err(status(&error))]).right_stream(),
        });
        Ok(Response::new(self.door.guards.guard(deadline, told)))
    }

    async fn submit_task(&self, request: Request<wire::SubmitTaskRequest>) -> Answer<wire::SubmitTaskResponse> {
        let (metadata, _, message) = request.into_parts();
        let new = queue::new_task(message, &metadata, self.door.intake.settings(), || self.door.system.new_task_id())?;
        let task = new.task.clone();
        self.door.system.check_role(&new.spec.role).map_err(|error| status(&error))?;
        let enqueued = self.door.system.enqueue(vec![new]).await.map_err(|error| status(&error))?;
        let new = enqueued.iter().any(|enqueued| enqueued.change == Change::Added);
        let task = self.now(&task).await?;
        Ok(Response::new(wire::SubmitTaskResponse { task, new }))
    }

    async fn submit_plan(&self, request: Request<wire::SubmitPlanRequest>) -> Answer<wire::SubmitPlanResponse> {
        planning::submit(&self.door.intake, request.into_inner()).await.map(Response::new)
    }

    async fn retry_task(&self, request: Request<wire::RetryTaskRequest>) -> Answer<wire::RetryTaskResponse> {
        let (task, _) = named(&request.get_ref().task_id, "")?;
        self.door.system.retry(&task).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::RetryTaskResponse { task: self.now(&task).await? }))
    }

    async fn park_task(&self, request: Request<wire::ParkTaskRequest>) -> Answer<wire::ParkTaskResponse> {
        let message = request.get_ref();
        let (task, reason) = named(&message.task_id, &message.reason)?;
        self.door.system.park(&task, reason).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::ParkTaskResponse { task: self.now(&task).await? }))
    }

    async fn list_queue(&self, request: Request<wire::ListQueueRequest>) -> Answer<wire::ListQueueResponse> {
        let filter = queue::filter(request.get_ref())?;
        let system = &self.door.system;
        let rows = system.queued(&filter).await.map_err(|error| status(&error))?;
        let counts = system.queue_counts().await.map_err(|error| status(&error))?;
        let pauses = system.pauses().await.map_err(|error| status(&error))?;
        Ok(Response::new(queue::page(rows, filter.limit, counts, pauses)))
    }

    async fn pause_dispatch(
        &self,
        request: Request<wire::PauseDispatchRequest>,
    ) -> Answer<wire::PauseDispatchResponse> {
        let role = role(&request.get_ref().role)?;
        let pauses = self.door.system.pause_dispatch(role).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::PauseDispatchResponse { paused: Some(queue::pauses(pauses)) }))
    }

    async fn resume_dispatch(
        &self,
        request: Request<wire::ResumeDispatchRequest>,
    ) -> Answer<wire::ResumeDispatchResponse> {
        let role = role(&request.get_ref().role)?;
        let pauses = self.door.system.resume_dispatch(role).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::ResumeDispatchResponse { paused: Some(queue::pauses(pauses)) }))
    }

    type WatchTasksStream = Guarded<wire::TaskEvent>;

    async fn watch_tasks(&self, request: Request<wire::WatchTasksRequest>) -> Answer<Self::WatchTasksStream> {
        let deadline = request.extensions().get::<Deadline>().copied();
        let given = request.get_ref().after_seq;
        let after_seq = match u64::try_from(given) {
            Ok(after_seq) => after_seq,
            Err(_) if given == -1 => self.journal.stats().await.map_err(|error| journal_status(&error))?.last_seq,
            Err(_) => {
                let rule = format!("is {given}; allowed are -1 (from now on), 0 (from the start) and above");
                return parsed(|problems| {
                    problems.push("after_seq", rule);
                    None
                });
            }
        };
        let (stream_prefix, gaps) = ("task/".to_owned(), after_seq == 0);
        let query = EventQuery { after_seq, limit: journal::PAGE, stream_prefix, gaps, ..EventQuery::default() };
        let events = Cursor::new(&self.door, &self.journal, query, true).events(queue::told).await?;
        Ok(Response::new(self.door.guards.guard(deadline, events)))
    }
}

impl Tasks {
    async fn now(&self, task: &TaskId) -> Result<Option<wire::Task>, Status> {
        self.door.system.task(task).await.map(|view| Some(shown(&view))).map_err(|error| status(&error))
    }
}

/// From where on the updates of a run are wanted.
#[derive(Clone, Copy)]
struct Place {
    /// Only later ones.
    after: u64,
    /// Updates that this reader got before them.
    before: u64,
}

/// What happens in a run, after a place in it. `role` = texts are wanted.
fn updates(
    system: System,
    task: TaskId,
    attached: Attached,
    Place { after, before }: Place,
    role: Option<Role>,
) -> impl Stream<Item = Result<wire::TaskUpdate, Status>> + Send + 'static {
    events(attached).filter_map(move |event| {
        let (system, task, role) = (system.clone(), task.clone(), role.clone());
        async move {
            match event {
                Event::Updated(index, _) if index <= after => None,
                Event::Updated(index, update) => Some(Ok(updated(before + index, &update, role.as_ref()))),
                Event::Ended { index, percent, result } => {
                    Some(ended(&system, &task, before + index, percent, result, role.is_some()).await)
                }
            }
        }
    })
}

/// A task, and why something is to be done with it.
fn named<'r>(task: &str, reason: &'r str) -> Result<(TaskId, &'r str), Status> {
    let task = parsed(|problems| {
        if reason.len() > MAX_REASON_BYTES {
            let given = reason.len();
            problems.push("reason", format!("has {given} bytes; at most {MAX_REASON_BYTES} are allowed"));
        }
        problems.keep(TaskId::parse("task_id", task))
    })?;
    Ok((task, Some(reason.trim()).filter(|reason| !reason.is_empty()).unwrap_or("by request")))
}

/// Empty = all.
fn role(text: &str) -> Result<Option<Role>, Status> {
    match text {
        "" => Ok(None),
        text => parsed(|problems| problems.keep(Role::parse("role", text)).map(Some)),
    }
}

pub(super) fn query(message: &wire::ListTasksRequest) -> Result<TaskQuery, Status> {
    parsed(|problems| {
        let status = match wire::TaskStatus::try_from(message.status) {
            Ok(wire::TaskStatus::Unspecified) => None,
            Ok(wire::TaskStatus::Open) => Some(TaskStatus::Open),
            Ok(wire::TaskStatus::Completed) => Some(TaskStatus::Completed),
            Ok(wire::TaskStatus::Failed) => Some(TaskStatus::Failed),
            Ok(wire::TaskStatus::Cancelled) => Some(TaskStatus::Cancelled),
            Ok(wire::TaskStatus::Skipped) => Some(TaskStatus::Skipped),
            Err(_) => {
                problems.push("status", format!("is {}; it is none of TaskStatus", message.status));
                None
            }
        };
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let role = given(&message.role).and_then(|role| problems.keep(Role::parse("role", &role)));
        let before = given(&message.cursor).and_then(|cursor| problems.keep(TaskId::parse("cursor", &cursor)));
        if message.story_id.len() > MAX_ID_BYTES {
            let bytes = message.story_id.len();
            problems.push("story_id", format!("has {bytes} bytes; at most {MAX_ID_BYTES} are allowed"));
        }
        if !(0..=MAX_PAGE).contains(&message.limit) {
            let rule = format!("is {}; allowed are 0 (= {DEFAULT_PAGE}) to {MAX_PAGE}", message.limit);
            problems.push("limit", rule);
        }
        let limit = usize::try_from(message.limit).ok().filter(|&limit| limit > 0).unwrap_or(DEFAULT_PAGE);
        Some(TaskQuery { status, role, story_id: given(&message.story_id), before, limit })
    })
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;
