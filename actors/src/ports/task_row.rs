//! A task as the store's projection of its events has it.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::event::{Event, NewEvent, Recorded, TaskFailure};
use crate::domain::id::{AgentId, Role, TaskId, Timestamp};
use crate::domain::queue::{QueueState, Standing};
use crate::domain::task::{TaskKind, TaskSpec};

/// Where a task stands, as the store's projection of its events says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskStatus {
    /// Accepted or retried, and not ended.
    Open,
    Completed,
    Failed,
    Cancelled,
    /// It never ran: one that it needs did not complete.
    Skipped,
}

/// What a row says of a task that never ran.
#[must_use]
pub fn skipped_because_of(cause: &TaskId) -> Arc<str> {
    format!("skipped: {cause} did not complete").into()
}

/// What a row says of a task that failed: the class by its name in the journal, then the message.
#[must_use]
pub fn failed_because_of(failure: &TaskFailure) -> Arc<str> {
    let class = serde_json::to_value(failure.class).unwrap_or_default();
    format!("{}: {}", class.as_str().unwrap_or("internal"), failure.message).into()
}

/// One row of the projection of `task/…` streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    pub task: TaskId,
    pub role: Role,
    pub kind: TaskKind,
    pub status: TaskStatus,
    pub run: u32,
    /// Where it stands in the queue while it is open; `None` = it never was there.
    pub queue: Option<QueueState>,
    pub keyed: bool,
    pub content_hash: Arc<str>,
    /// Version of `task/<id>`.
    pub version: u64,
    pub story_id: Option<Arc<str>>,
    /// Of the last run, when it completed.
    pub winner: Option<AgentId>,
    /// Of the last run, when it failed (`class: message`, the class by its name in the journal) or was cancelled (the
    /// reason).
    pub error: Option<Arc<str>>,
    pub duration: Option<Duration>,
    pub accepted_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

impl TaskRow {
    /// A task that was just accepted.
    pub(crate) fn accepted(
        task: &TaskId,
        spec: &TaskSpec,
        content_hash: &Arc<str>,
        keyed: bool,
        at: Timestamp,
    ) -> Self {
        Self {
            task: task.clone(),
            role: spec.role.clone(),
            kind: spec.kind,
            status: TaskStatus::Open,
            run: 1,
            queue: None,
            keyed,
            content_hash: content_hash.clone(),
            version: 1,
            story_id: spec.story_id().map(Into::into),
            winner: None,
            error: None,
            duration: None,
            accepted_at: at,
            ended_at: None,
        }
    }

    /// Takes in a later event of its stream; `standing` is where the queue has it after that event.
    pub(crate) fn take_in(&mut self, recorded: &Recorded, standing: Option<&Standing>) {
        let NewEvent { event, at, .. } = &recorded.event;
        self.version = recorded.version;
        self.queue = standing.map(|standing| standing.state);
        if let Event::TaskAmended { content_hash, spec } = event {
            (self.content_hash, self.role, self.kind) = (content_hash.clone(), spec.role.clone(), spec.kind);
            self.story_id = spec.story_id().map(Into::into);
        }
        let (run, status) = match event {
            Event::TaskRetried { run } | Event::RunSuperseded { run } => (*run, TaskStatus::Open),
            Event::TaskCompleted { run, .. } => (*run, TaskStatus::Completed),
            Event::TaskFailed(failure) => (failure.run, TaskStatus::Failed),
            Event::TaskCancelled { run, .. } => (*run, TaskStatus::Cancelled),
            Event::TaskSkipped { run, .. } => (*run, TaskStatus::Skipped),
            _ => return,
        };
        (self.run, self.status) = (run, status);
        self.ended_at = (status != TaskStatus::Open).then_some(*at);
        (self.winner, self.duration) = match event {
            Event::TaskCompleted { winner, duration, .. } => (Some(winner.clone()), Some(*duration)),
            _ => (None, None),
        };
        self.error = match event {
            Event::TaskFailed(failure) => Some(failed_because_of(failure)),
            Event::TaskCancelled { reason, .. } => Some(reason.clone()),
            Event::TaskSkipped { cause, .. } => Some(skipped_because_of(cause)),
            _ => None,
        };
    }

    /// Why the last run failed.
    #[must_use]
    pub fn failure(&self) -> Option<TaskFailure> {
        let error = self.error.as_deref().filter(|_| self.status == TaskStatus::Failed)?;
        let (class, message) = error.split_once(": ")?;
        let class = serde_json::from_value(class.into()).ok()?;
        Some(TaskFailure { run: self.run, class, message: message.into() })
    }
}
