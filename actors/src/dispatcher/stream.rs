//! What the dispatcher reads from a task's stream, and writes to it.

use std::sync::Arc;

use crate::domain::event::{Event, NewEvent, Recorded};
use crate::domain::id::{StreamId, TaskId};
use crate::domain::queue::{Entry, QueueState};
use crate::domain::task::TaskSpec;
use crate::ports::{Append, Batch, Journal, JournalError, TaskRow, TaskStatus, commit_patiently, whole_stream};
use crate::world::World;

/// How often somebody else may write the same stream first.
pub(super) const MOST_TRIES: usize = 8;

/// A task's row, or what a pruned one left of it.
pub(super) async fn find(world: &World, task: &TaskId) -> Result<Option<TaskRow>, JournalError> {
    let journal = &world.ports.journal;
    match journal.task(task).await? {
        Some(row) => Ok(Some(row)),
        None => journal.tombstone(task).await,
    }
}

/// How a task ended; `None` = it is open.
pub(super) fn came_to(row: &TaskRow) -> Option<QueueState> {
    match row.status {
        TaskStatus::Open => None,
        TaskStatus::Completed => Some(QueueState::Completed),
        TaskStatus::Failed => Some(QueueState::Failed),
        TaskStatus::Cancelled => Some(QueueState::Cancelled),
        TaskStatus::Skipped => Some(QueueState::Skipped),
    }
}

/// Whether it stands in the queue and nobody works on it.
pub(super) fn waits(row: &TaskRow) -> bool {
    let state = row.queue.filter(|_| row.status == TaskStatus::Open);
    state.is_some_and(|state| state.waits() || state == QueueState::Parked)
}

/// A task as its stream tells it by now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) spec: Option<Arc<TaskSpec>>,
    /// As it was put into the queue last; `None` = never.
    pub(crate) entry: Option<Arc<Entry>>,
    /// Why it is PARKED, or which task it is BLOCKED by.
    pub(crate) reason: Option<Arc<str>>,
}

impl Told {
    fn fold(events: Vec<Recorded>) -> Self {
        events.into_iter().fold(Self::default(), |told, recorded| match recorded.event.event {
            Event::TaskAccepted { spec, .. } | Event::TaskAmended { spec, .. } => Self { spec: Some(spec), ..told },
            Event::TaskQueued(entry) => Self { entry: Some(entry), reason: None, ..told },
            Event::TaskParked { reason, .. } => Self { reason: Some(reason), ..told },
            Event::TaskBlocked { cause, .. } => {
                Self { reason: Some(format!("{cause} did not complete").into()), ..told }
            }
            _ => Self { reason: None, ..told },
        })
    }
}

pub(crate) async fn told(journal: &dyn Journal, task: &TaskId) -> Result<Told, JournalError> {
    whole_stream(journal, &StreamId::task(task)).await.map(Told::fold)
}

/// What it asks for by now.
pub(super) fn last_spec(events: &[Recorded]) -> Option<Arc<TaskSpec>> {
    events.iter().rev().find_map(|recorded| match &recorded.event.event {
        Event::TaskAccepted { spec, .. } | Event::TaskAmended { spec, .. } => Some(spec.clone()),
        _ => None,
    })
}

/// Events for one task, behind what stands there.
pub(super) fn append(world: &World, task: &TaskId, version: u64, events: Vec<Event>) -> Append {
    let at = world.ports.clock.now();
    let mut causation = None;
    let stamp = |event| {
        let id = world.ports.ids.event_id();
        let causation = causation.replace(id);
        NewEvent { id, at, correlation: Some(task.as_str().into()), causation, event }
    };
    let events = events.into_iter().map(stamp).collect();
    Append { stream: StreamId::task(task), expected_version: version, events }
}

pub(super) async fn write(world: &World, row: &TaskRow, events: Vec<Event>) -> Result<(), JournalError> {
    let batch = Batch::of(vec![append(world, &row.task, row.version, events)]);
    commit_patiently(&*world.ports.journal, batch).await.map(drop)
}
