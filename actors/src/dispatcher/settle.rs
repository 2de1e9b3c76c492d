//! What the end of a run means: for the task, and for those that wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::begin::Begun;
use super::shared::patiently;
use super::stream::{MOST_TRIES, told, write};
use super::{ending, shared};
use crate::domain::ended::Ended;
use crate::domain::event::Event;
use crate::domain::id::{TaskId, Timestamp};
use crate::domain::queue::{Entry, QueueState};
use crate::error::SystemError;
use crate::ports::queue::{Consequence, Lease, QueueError, Report};
use crate::ports::{JournalError, TaskRow, TaskStatus};
use crate::running::Running;
use crate::world::World;

/// A retry waits twice as long as the one before, up to so many times.
const MOST_DOUBLINGS: u32 = 16;

/// Waits for the end of a run, and sees to what follows. The run's own last event is in the journal by then. Whether its
/// winner is still to be carried out.
pub(super) async fn watch(world: &Arc<World>, Begun { running, lease }: Begun) -> bool {
    let (mut dispatched, to_be_executed) = (false, running.spec.awaits_execution());
    let ended = running.ended().await;
    let last = ending::of_running(world, &running, &ended);
    let follow = match ended {
        Ok(_) if to_be_executed => {
            dispatched = true;
            Follow::Report(Report::Dispatched)
        }
        Ok(_) => Follow::Report(Report::Completed),
        Err(error) => after_error(world, &lease, &error),
    };
    carry_out(world, &lease, (follow, last)).await;
    dispatched
}

/// A run that came past the queue: the queue is told of it, and then of its end.
pub(super) async fn overtaken(world: &Arc<World>, entry: Entry, running: Arc<Running>) -> bool {
    let (task, run) = (entry.task.clone(), entry.run);
    let queue = &world.ports.queue;
    let adopted = match patiently(world, || queue.enqueue(vec![entry.clone()], BTreeMap::new())).await {
        Ok(consequences) => {
            record(world, consequences).await;
            patiently(world, || queue.adopt(&task, run, &world.settings.queue.holder)).await
        }
        Err(error) => Err(error),
    };
    match adopted {
        Ok(lease) => {
            world.leases.take(lease.clone());
            watch(world, Begun { running, lease }).await
        }
        Err(error) => {
            tracing::warn!(%task, %error, "the queue does not know of a run; the next start tells it");
            false
        }
    }
}

/// A run that ended while nobody watched it.
pub(super) async fn see_to(world: &Arc<World>, lease: &Lease, row: &TaskRow) {
    let follow = match row.status {
        TaskStatus::Completed => Follow::Report(Report::Completed),
        _ => after_error(world, lease, &row.ended_without()),
    };
    let last = match world.ports.shared {
        None => None,
        Some(_) => ending::of_row(world, row).await.unwrap_or_else(|error| {
            tracing::warn!(task = %row.task, %error, "how a run ended cannot be read");
            None
        }),
    };
    carry_out(world, lease, (follow, last)).await;
}

async fn carry_out(world: &Arc<World>, lease: &Lease, (follow, last): (Follow, Option<Ended>)) {
    if let Some(queue) = &world.ports.shared {
        return shared::carry_out(world, queue, lease, (follow, last)).await;
    }
    let told = match follow {
        Follow::Nothing => return,
        Follow::Report(report) => world.ports.queue.report(lease, report).await,
        Follow::Retry(not_before) => next_run(world, lease, Next::At(not_before)).await,
        Follow::Park(reason) => next_run(world, lease, Next::Parked(reason)).await,
    };
    match told {
        Ok(consequences) => record(world, consequences).await,
        // Its next run took its place.
        Err(error @ QueueError::Stale { .. }) => tracing::debug!(task = %lease.task, %error, "a run ended late"),
        Err(error) => tracing::warn!(task = %lease.task, %error, "the queue does not know how a run ended"),
    }
}

pub(super) enum Follow {
    /// The daemon stops; the run goes on at the next start.
    Nothing,
    Report(Report),
    Retry(Timestamp),
    Park(Arc<str>),
}

/// When a failed task's next run may begin.
enum Next {
    At(Timestamp),
    /// Not before somebody releases it.
    Parked(Arc<str>),
}

fn after_error(world: &World, lease: &Lease, error: &SystemError) -> Follow {
    let settings = &world.settings.queue;
    match error {
        SystemError::Unavailable(_) => Follow::Nothing,
        SystemError::Cancelled { .. } => Follow::Report(Report::Cancelled),
        SystemError::Failed { class, .. } if class.may_heal() && lease.run <= settings.retries => {
            let doublings = lease.run.saturating_sub(1).min(MOST_DOUBLINGS);
            let pause = settings.retry_min.saturating_mul(1 << doublings).min(settings.retry_max);
            Follow::Retry(later(world.ports.clock.now(), pause))
        }
        SystemError::Failed { class, message } if class.may_heal() => {
            Follow::Park(format!("it failed {} times, last: {message}", lease.run).into())
        }
        _ => Follow::Report(Report::Failed),
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}

/// The next run stands in the journal before the queue hears of it.
async fn next_run(world: &World, lease: &Lease, next: Next) -> Result<Vec<Consequence>, QueueError> {
    let report = match &next {
        Next::At(not_before) => Report::Retry { not_before: *not_before },
        Next::Parked(_) => Report::Parked,
    };
    match write_run(world, lease, next).await? {
        true => world.ports.queue.report(lease, report).await,
        // A client was faster: the next run is there, and the queue was told of it.
        false => Ok(Vec::new()),
    }
}

/// The queue has the next run already; the journal hears of it.
pub(super) async fn write_next_run(world: &World, lease: &Lease, follow: Follow) -> Result<bool, QueueError> {
    match follow {
        Follow::Retry(not_before) => write_run(world, lease, Next::At(not_before)).await,
        Follow::Park(reason) => write_run(world, lease, Next::Parked(reason)).await,
        Follow::Nothing | Follow::Report(_) => Ok(false),
    }
}

/// `false` = it is there, or a later one.
async fn write_run(world: &World, lease: &Lease, next: Next) -> Result<bool, QueueError> {
    let unavailable = |error: JournalError| QueueError::Unavailable {
        why: error.to_string().into(),
        retry_after: world.settings.queue.retry_min,
    };
    // What is written first is told first.
    let _claim = world.registry.claimed(&lease.task).await;
    let found = world.ports.journal.task(&lease.task).await.map_err(unavailable)?;
    let Some(row) = found.filter(|row| row.run == lease.run && row.status == TaskStatus::Failed) else {
        return Ok(false);
    };
    let Some(entry) = told(&*world.ports.journal, &lease.task).await.map_err(unavailable)?.entry else {
        return Err(QueueError::Unknown { task: lease.task.clone() });
    };
    let run = lease.run + 1;
    let not_before = if let Next::At(not_before) = next { Some(not_before) } else { None };
    let entry = Entry { run, not_before, needs: Vec::new(), hold: None, ..Entry::clone(&entry) };
    let mut events = vec![Event::TaskRetried { run }, Event::TaskQueued(Arc::new(entry))];
    if let Next::Parked(reason) = next {
        events.push(Event::TaskParked { run, reason });
    }
    write(world, &row, events).await.map_err(unavailable)?;
    Ok(true)
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
        // Somebody has claimed, parked or ended it since: then this is no news any more.
        if !row.queue.is_some_and(QueueState::waits) || row.run != consequence.run {
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
        _ => Event::TaskReleased { run, cause },
    }
}
