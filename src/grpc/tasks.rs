//! `moothall.v1.TaskService`: what became of each task.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use moothall_actors::domain::id::{MAX_ID_BYTES, Role, TaskId};
use moothall_actors::domain::plan::Change;
use moothall_actors::domain::task::TaskKind;
use moothall_actors::error::SystemError;
use moothall_actors::ports::{TaskQuery, TaskRow, TaskStatus};
use moothall_actors::progress::{Phase, Update};
use moothall_actors::view::{TaskState, TaskView};
use moothall_actors::{Attached, System};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::answer::{self, Finished};
use super::class;
use super::deadline::Deadline;
use super::door::Door;
use super::events::{Event, events};
use super::guard::Guarded;
use super::journal::{self, Cursor, EventQuery, JournalAdmin};
use super::number::{int, long, millis};
use super::orchestrator::parsed;
use super::proto::moothall::v1 as wire;
use super::proto::moothall::v1::task_service_server::TaskService;
use super::{planning, queue};
use crate::error::{journal_status, status};
use crate::http::Stage;

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
        let begun = begun(system.clone(), task.clone(), self.door.readiness.subscribe());
        let attached = match view.state {
            TaskState::Waiting { .. } => stream::once(begun).left_stream(),
            _ => stream::iter([system.attach(&task).await]).right_stream(),
        };
        let told = attached.flat_map(move |attached| match attached {
            Ok(attached) => {
                updates(system.clone(), task.clone(), attached, after, texts.then(|| role.clone())).left_stream()
            }
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

/// How soon whoever watches a task that waits sees that it has begun.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Waits for the turn of a task. A daemon that drains waits for its streams: this one ends itself.
async fn begun(system: System, task: TaskId, mut stage: watch::Receiver<Stage>) -> Result<Attached, SystemError> {
    loop {
        if !matches!(system.task(&task).await?.state, TaskState::Waiting { .. }) {
            return system.attach(&task).await;
        }
        let draining = stage.wait_for(|&stage| stage == Stage::Draining);
        if tokio::time::timeout(LOOK_PAUSE, draining).await.is_ok() {
            return Err(SystemError::Unavailable("the daemon is stopping".into()));
        }
    }
}

/// What happens in a run, after a place in it. `role` = texts are wanted.
fn updates(
    system: System,
    task: TaskId,
    attached: Attached,
    after: u64,
    role: Option<Role>,
) -> impl Stream<Item = Result<wire::TaskUpdate, Status>> + Send + 'static {
    events(attached).filter_map(move |event| {
        let (system, task, role) = (system.clone(), task.clone(), role.clone());
        async move {
            match event {
                Event::Updated(index, _) if index <= after => None,
                Event::Updated(index, update) => Some(Ok(updated(index, &update, role.as_ref()))),
                Event::Ended { index, percent, result } => {
                    Some(ended(&system, &task, index, percent, result, role.is_some()).await)
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

/// The store knows what ended; where an open one is, only the system does.
async fn listed(system: &System, row: TaskRow) -> wire::Task {
    if row.status == TaskStatus::Open
        && let Ok(view) = system.task(&row.task).await
    {
        return shown(&view);
    }
    of_row(&row)
}

/// A task with all that is known of it.
fn shown(view: &TaskView) -> wire::Task {
    let mut task = of_row(&view.row);
    match &view.state {
        TaskState::Pending => at(&mut task, Phase::Pending, 0),
        TaskState::Waiting { entry, reason, .. } => {
            at(&mut task, Phase::Pending, 0);
            task.queue_reason = reason.as_deref().unwrap_or_default().to_owned();
            task.priority = entry.as_ref().map_or(0, |entry| i32::from(entry.priority.get()));
            task.needs = entry.iter().flat_map(|entry| &entry.needs).map(ToString::to_string).collect();
        }
        TaskState::Running { last: None } => at(&mut task, Phase::Generating, 0),
        TaskState::Running { last: Some(update) } => {
            at(&mut task, update.phase, update.percent);
            task.current_step = update.step.to_string();
            used(&mut task, update);
        }
        TaskState::Completed(outcome) => {
            at(&mut task, Phase::Complete, 100);
            let verdict = &outcome.verdict;
            task.status = wire::TaskStatus::Completed.into();
            task.winner_id = verdict.winner().map(|winner| winner.agent.to_string()).unwrap_or_default();
            task.duration_ms = millis(verdict.duration);
            task.ended_at_ms = long(outcome.ended_at.0);
            task.prompt_tokens = long(verdict.usage.prompt);
            task.completion_tokens = long(verdict.usage.completion);
            task.calls = int(verdict.calls);
            task.simulated = outcome.simulated;
            task.error = None;
        }
        TaskState::Ended(error) => {
            at(&mut task, Phase::Failed, 0);
            // One that was skipped never failed: its row says all.
            if view.row.status != TaskStatus::Skipped {
                let (status, error) = failure(error);
                task.status = status.into();
                task.error = Some(error);
            }
        }
    }
    task
}

fn at(task: &mut wire::Task, phase: Phase, percent: u8) {
    phase.as_str().clone_into(&mut task.phase);
    task.progress_percent = i32::from(percent);
}

fn used(task: &mut wire::Task, update: &Update) {
    task.prompt_tokens = long(update.usage.prompt);
    task.completion_tokens = long(update.usage.completion);
}

fn failure(error: &SystemError) -> (wire::TaskStatus, wire::TaskError) {
    match error {
        SystemError::Cancelled { reason } => (wire::TaskStatus::Cancelled, told(wire::ErrorClass::Unspecified, reason)),
        SystemError::Failed { class, message } => (wire::TaskStatus::Failed, told(class::wire(*class), message)),
        other => (wire::TaskStatus::Failed, told(wire::ErrorClass::Internal, &other.to_string())),
    }
}

fn told(class: wire::ErrorClass, message: &str) -> wire::TaskError {
    wire::TaskError { error_class: class.into(), message: message.to_owned() }
}

/// A task as the store has it.
fn of_row(row: &TaskRow) -> wire::Task {
    let (status, phase) = match row.status {
        TaskStatus::Open => (wire::TaskStatus::Open, Phase::Pending),
        TaskStatus::Completed => (wire::TaskStatus::Completed, Phase::Complete),
        TaskStatus::Failed => (wire::TaskStatus::Failed, Phase::Failed),
        TaskStatus::Cancelled => (wire::TaskStatus::Cancelled, Phase::Failed),
        TaskStatus::Skipped => (wire::TaskStatus::Skipped, Phase::Failed),
    };
    let error = match (row.failure(), row.status) {
        (Some(failure), _) => Some(told(class::wire(failure.class), &failure.message)),
        (None, TaskStatus::Failed | TaskStatus::Cancelled | TaskStatus::Skipped) => {
            Some(told(wire::ErrorClass::Unspecified, row.error.as_deref().unwrap_or_default()))
        }
        (None, TaskStatus::Open | TaskStatus::Completed) => None,
    };
    let kind = match row.kind {
        TaskKind::Deliberate => wire::TaskKind::Deliberate,
        TaskKind::Orchestrate => wire::TaskKind::Orchestrate,
    };
    wire::Task {
        task_id: row.task.to_string(),
        status: status.into(),
        run: int(row.run),
        role: row.role.to_string(),
        kind: kind.into(),
        phase: phase.as_str().to_owned(),
        progress_percent: if row.status == TaskStatus::Completed { 100 } else { 0 },
        error,
        winner_id: row.winner.as_ref().map(ToString::to_string).unwrap_or_default(),
        accepted_at_ms: long(row.accepted_at.0),
        ended_at_ms: row.ended_at.map(|at| long(at.0)).unwrap_or_default(),
        duration_ms: row.duration.map(millis).unwrap_or_default(),
        story_id: row.story_id.as_deref().unwrap_or_default().to_owned(),
        keyed: row.keyed,
        queue_state: open_in_queue(row).into(),
        ..Default::default()
    }
}

fn open_in_queue(row: &TaskRow) -> wire::QueueState {
    let state = row.queue.filter(|_| row.status == TaskStatus::Open);
    state.map_or(wire::QueueState::Unspecified, queue::state)
}

/// `role` = texts are wanted.
fn updated(index: u64, update: &Update, role: Option<&Role>) -> wire::TaskUpdate {
    let partial = update.partial.as_ref().zip(role).map(|(partial, role)| answer::partial(partial, role));
    wire::TaskUpdate {
        index: long(index),
        at_ms: long(update.at.0),
        phase: update.phase.as_str().to_owned(),
        progress_percent: i32::from(update.percent),
        current_step: update.step.to_string(),
        current_agent: update.agent.as_ref().map(ToString::to_string).unwrap_or_default(),
        partial_result: partial,
        prompt_tokens: long(update.usage.prompt),
        completion_tokens: long(update.usage.completion),
        ..Default::default()
    }
}

/// The last update. The outcome is what this reader waited for; the row beside it may already be of a later run.
async fn ended(
    system: &System,
    task: &TaskId,
    index: u64,
    percent: u8,
    result: Result<std::sync::Arc<moothall_actors::domain::verdict::Outcome>, SystemError>,
    texts: bool,
) -> Result<wire::TaskUpdate, Status> {
    let row = system.task(task).await.map_err(|error| status(&error))?.row;
    let role = row.role.clone();
    let (state, partial) = match result {
        Ok(outcome) => {
            let winner = texts.then(|| Finished::of(&outcome, &role).results.into_iter().next());
            (TaskState::Completed(outcome), winner.flatten())
        }
        Err(error) => (TaskState::Ended(error), None),
    };
    let task = shown(&TaskView { row, state });
    Ok(wire::TaskUpdate {
        index: long(index),
        at_ms: task.ended_at_ms,
        phase: task.phase.clone(),
        progress_percent: task.progress_percent.max(i32::from(percent)),
        current_step: match &task.error {
            Some(error) => error.message.clone(),
            None => format!("{} wins", task.winner_id),
        },
        current_agent: task.winner_id.clone(),
        partial_result: partial,
        prompt_tokens: task.prompt_tokens,
        completion_tokens: task.completion_tokens,
        r#final: true,
        task: Some(task),
    })
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;
