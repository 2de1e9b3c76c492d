//! Ends a run that no actor works on, in the journal first.

use std::sync::Arc;
use std::time::Duration;

use super::load;
use super::state::failure_of;
use crate::domain::answer::Class;
use crate::domain::event::{Event, NewEvent, TaskFailure};
use crate::domain::id::{RunId, StreamId};
use crate::error::SystemError;
use crate::ports::{Append, Batch, JournalError, TaskStatus, commit_patiently, whole_stream};
use crate::running::{Ending, Running};
use crate::world::World;

/// How often another writer may come first, and the first wait for it, which doubles.
const MOST_TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// Why a run ends without its own words.
#[derive(Clone, Debug)]
pub(crate) enum Closing {
    Failed { class: Class, message: Arc<str> },
    Cancelled { reason: Arc<str> },
}

impl Closing {
    fn events(&self, run: u32) -> (Event, Event) {
        match self.clone() {
            Self::Failed { class, message } => (
                Event::TaskFailed(TaskFailure { run, class, message: message.clone() }),
                Event::DeliberationFailed { class, message, missing: Vec::new() },
            ),
            Self::Cancelled { reason } => {
                (Event::TaskCancelled { run, reason: reason.clone() }, Event::DeliberationCancelled { reason })
            }
        }
    }

    fn error(self) -> SystemError {
        match self {
            Self::Failed { class, message } => SystemError::Failed { class, message },
            Self::Cancelled { reason } => SystemError::Cancelled { reason },
        }
    }
}

/// Writes the run's last events at whatever version its streams have by now, and answers how it really ended: somebody
/// may have ended it first.
pub(crate) async fn close(world: &World, running: &Running, closing: Closing) -> Ending {
    let mut wait = FIRST_WAIT;
    for _ in 0..MOST_TRIES {
        match try_close(world, running, &closing).await {
            Ok(None) => return Err(closing.error()),
            Ok(Some(ending)) => return ending,
            Err(JournalError::Conflict { .. }) => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            Err(error) => return Err(SystemError::Unavailable(error.to_string().into())),
        }
    }
    Err(SystemError::Unavailable("somebody else writes the same run".into()))
}

/// `Some`: it had ended before.
async fn try_close(world: &World, running: &Running, closing: &Closing) -> Result<Option<Ending>, JournalError> {
    let journal = &*world.ports.journal;
    let RunId { task, run } = &running.run;
    let stream = StreamId::deliberation(&running.run);
    let events = whole_stream(journal, &stream).await?;
    if let Some(record) = load::fold(&events).filter(|record| record.end.is_some()) {
        return Ok(Some(record.outcome().map(Arc::new).ok_or_else(|| failure_of(&record))));
    }
    let row = journal.task(task).await?.filter(|row| row.run != *run || row.status != TaskStatus::Open);
    if let Some(ended) = row {
        return Ok(Some(Err(ended.ended_without())));
    }
    let stamp = |event| NewEvent {
        id: world.ports.ids.event_id(),
        at: world.ports.clock.now(),
        correlation: Some(task.as_str().into()),
        causation: None,
        event,
    };
    let (task_event, run_event) = closing.events(*run);
    let mut batch = Batch::one(StreamId::task(task), running.row.version, vec![stamp(task_event)]);
    if let Some(last) = events.last() {
        batch.appends.push(Append { stream, expected_version: last.version, events: [stamp(run_event)].into() });
    }
    commit_patiently(journal, batch).await?;
    Ok(None)
}
