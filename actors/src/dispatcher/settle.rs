//! What the end of a run means: for the task, and for those that wait for it.

use std::sync::Arc;
use std::time::Duration;

use super::begin::Begun;
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{StreamId, TaskId, Timestamp};
use crate::domain::queue::{Entry, QueueState};
use crate::error::SystemError;
use crate::ports::queue::{Consequence, Lease, QueueError, Report, Request};
use crate::ports::{Batch, JournalError, TaskRow, TaskStatus, commit_patiently, whole_stream};
use crate::running::Ending;
use crate::world::World;

/// How often somebody else may write the same task first.
const MOST_TRIES: usize = 8;
/// A retry waits twice as long as the one before, up to so many times.
const MOST_DOUBLINGS: u32 = 16;

/// Waits for the end of a run, and sees to what follows. The run's own final event is in the journal by then.
pub(super) async fn watch(world: &Arc<World>, Begun { running, lease }: Begun) {
    let ending = running.ended().await;
    let told = match what_follows(world, &lease, &ending) {
        Follow::Nothing => return,
        Follow::Report(report) => world.ports.queue.report(&lease, report).await,
        Follow::Cancel => world.ports.queue.request(&lease.task, Request::Cancel).await,
        Follow::Retry(not_before) => retry(world, &lease, not_before).await,
    };
    match told {
        Ok(consequences) => record(world, consequences).await,
        Err(error) => tracing::warn!(task = %lease.task, %error, "the queue does not know how a run ended"),
    }
}

enum Follow {
    /// The daemon stops; the run goes on at the next start.
    Nothing,
    Report(Report),
    Cancel,
    Retry(Timestamp),
}

fn what_follows(world: &World, lease: &Lease, ending: &Ending) -> Follow {
    let settings = &world.settings.queue;
    match ending {
        Ok(_) => Follow::Report(Report::Completed),
        Err(SystemError::Unavailable(_)) => Follow::Nothing,
        Err(SystemError::Cancelled { .. }) => Follow::Cancel,
        Err(SystemError::Failed { class, .. }) if class.may_heal() && lease.run <= settings.retries => {
            let doublings = lease.run.saturating_sub(1).min(MOST_DOUBLINGS);
            let pause = settings.retry_min.saturating_mul(1 << doublings).min(settings.retry_max);
            Follow::Retry(later(world.ports.clock.now(), pause))
        }
        Err(_) => Follow::Report(Report::Failed),
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}

/// The next run stands in the journal before the queue hears of it.
async fn retry(world: &World, lease: &Lease, not_before: Timestamp) -> Result<Vec<Consequence>, QueueError> {
    let unavailable = |error: JournalError| QueueError::Unavailable {
        why: error.to_string().into(),
        retry_after: world.settings.queue.retry_min,
    };
    let found = world.ports.journal.task(&lease.task).await.map_err(unavailable)?;
    let Some(row) = found.filter(|row| row.run == lease.run && row.status == TaskStatus::Failed) else {
        // A client was faster: the next run is its own.
        return world.ports.queue.request(&lease.task, Request::Cancel).await;
    };
    let Some(entry) = last_entry(world, &lease.task).await.map_err(unavailable)? else {
        return Err(QueueError::Unknown { task: lease.task.clone() });
    };
    let run = lease.run + 1;
    let entry = Entry { run, not_before: Some(not_before), needs: Vec::new(), hold: None, ..entry };
    let events = vec![Event::TaskRetried { run }, Event::TaskQueued(Arc::new(entry))];
    write(world, &row, events).await.map_err(unavailable)?;
    world.ports.queue.report(lease, Report::Retry { not_before }).await
}

/// As it was put into the queue last.
async fn last_entry(world: &World, task: &TaskId) -> Result<Option<Entry>, JournalError> {
    let events = whole_stream(&*world.ports.journal, &StreamId::task(task)).await?;
    Ok(events.into_iter().rev().find_map(|recorded| match recorded.event.event {
        Event::TaskQueued(entry) => Some(Entry::clone(&entry)),
        _ => None,
    }))
}

/// Writes what a change of the queue did to other tasks. Standing follows from the needs, so that one that is not written
/// now is found at the next start.
pub(super) async fn record(world: &World, consequences: Vec<Consequence>) {
    for consequence in consequences {
        if let Err(error) = record_one(world, &consequence).await {
            let task = &consequence.task;
            tracing::warn!(%task, %error, "what became of a task that waits is not written; the next start does it");
        }
    }
}

async fn record_one(world: &World, consequence: &Consequence) -> Result<(), JournalError> {
    for _ in 0..MOST_TRIES {
        let Some(row) = world.ports.journal.task(&consequence.task).await? else { return Ok(()) };
        if row.status != TaskStatus::Open || row.run != consequence.run {
            return Ok(());
        }
        match write(world, &row, vec![event(consequence)]).await {
            Err(JournalError::Conflict { .. }) => {}
            told => return told,
        }
    }
    Ok(())
}

fn event(Consequence { run, state, cause, .. }: &Consequence) -> Event {
    let (run, cause): (u32, TaskId) = (*run, cause.clone());
    match state {
        QueueState::Skipped => Event::TaskSkipped { run, cause },
        QueueState::Blocked => Event::TaskBlocked { run, cause },
        _ => Event::TaskReleased { run, cause: Some(cause) },
    }
}

async fn write(world: &World, row: &TaskRow, events: Vec<Event>) -> Result<(), JournalError> {
    let at = world.ports.clock.now();
    let stamp = |event| NewEvent {
        id: world.ports.ids.event_id(),
        at,
        correlation: Some(row.task.as_str().into()),
        causation: None,
        event,
    };
    let events = events.into_iter().map(stamp).collect();
    let batch = Batch::one(StreamId::task(&row.task), row.version, events);
    commit_patiently(&*world.ports.journal, batch).await.map(drop)
}
