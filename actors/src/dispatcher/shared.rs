//! The end of a run in a queue that several daemons share: the first one that the queue takes counts, and whoever comes
//! second leaves no trace but in its own journal.
//!
//! ```text
//!  verdict in the journal ─▶ finish ─┬─ taken ─────────▶ what follows for others
//!                                    ├─ not to be had ─▶ again, until it is
//!                                    ├─ an old epoch ──▶ again, once the lease is renewed
//!                                    └─ stale ─────────▶ RunSuperseded: another daemon has it
//! ```

use std::sync::Arc;
use std::time::Duration;

use super::ending;
use super::settle::{Follow, record, write_next_run};
use super::stream::{MOST_TRIES, told, write};
use crate::domain::ended::Ended;
use crate::domain::event::Event;
use crate::domain::id::RunId;
use crate::domain::queue::{Entry, QueueState};
use crate::error::SystemError;
use crate::ports::queue::{Consequence, Lease, QueueError, Report};
use crate::ports::shared::{QueueHealth, SharedQueue};
use crate::ports::{JournalError, TaskStatus};
use crate::running::Running;
use crate::supervisor::DeliberationsMessage;
use crate::world::World;

/// The shortest wait before the queue is asked again, and the wait for a lease to be renewed.
const AGAIN: Duration = Duration::from_millis(100);

pub(super) fn run_of(lease: &Lease) -> RunId {
    RunId { task: lease.task.clone(), run: lease.run }
}

/// Asks a shared queue until it answers; one of this process has its only answer at once.
pub(super) async fn patiently<T, F: Future<Output = Result<T, QueueError>>>(
    world: &World,
    mut ask: impl FnMut() -> F,
) -> Result<T, QueueError> {
    loop {
        match ask().await {
            Err(QueueError::Unavailable { retry_after, .. }) if world.ports.shared.is_some() => {
                tokio::time::sleep(retry_after.max(AGAIN)).await;
            }
            answer => return answer,
        }
    }
}

/// How a run's end was taken.
enum Taken {
    Counts(Vec<Consequence>),
    /// Another daemon has the run, or its end was made before.
    Superseded,
    /// The queue will not have it.
    Refused(QueueError),
}

pub(super) async fn carry_out(
    world: &Arc<World>,
    shared: &Arc<dyn SharedQueue>,
    lease: &Lease,
    (follow, ended): (Follow, Option<Ended>),
) {
    let report = match &follow {
        Follow::Nothing => return,
        Follow::Report(report) => report.clone(),
        Follow::Retry(not_before) => Report::Retry { not_before: *not_before },
        Follow::Park(_) => Report::Parked,
    };
    let (run, ended) = (run_of(lease), ended.filter(|_| report != Report::Dispatched));
    if ended.is_none() && !matches!(report, Report::Dispatched | Report::Released) {
        tracing::warn!(%run, ?report, "a run ended in a way that nobody can be told of");
        return world.leases.let_go(lease);
    }
    match tell(world, shared, lease, &report, ended.as_ref()).await {
        Taken::Counts(consequences) => {
            world.leases.let_go(lease);
            if let Some(ended) = &ended {
                keep(world, &run, ended).await;
            }
            record(world, consequences).await;
            if let Err(error) = write_next_run(world, lease, follow).await {
                tracing::warn!(%run, %error, "the next run is in the queue, but not in the journal yet");
            }
        }
        Taken::Superseded => supersede(world, lease).await,
        Taken::Refused(error) => {
            world.leases.let_go(lease);
            tracing::warn!(%run, %error, "the queue does not take the end of a run");
        }
    }
}

/// The end stands in the queue: it is said again should the queue's memory go back, and stands in the journal too.
async fn keep(world: &World, run: &RunId, ended: &Ended) {
    if let Some(kept) = ending::kept(ended) {
        world.leases.ended(run.clone(), kept);
    }
    if let Err(error) = ending::note(world, run, &ended.event).await {
        tracing::warn!(%run, %error, "the end of a run is in the queue, but not in the journal yet");
    }
}

async fn tell(
    world: &World,
    shared: &Arc<dyn SharedQueue>,
    of: &Lease,
    report: &Report,
    ended: Option<&Ended>,
) -> Taken {
    loop {
        let Some(lease) = world.leases.now(of) else { return Taken::Superseded };
        let told = match ended {
            Some(ended) => shared.finish(&lease, report.clone(), ended).await,
            None => shared.report(&lease, report.clone()).await,
        };
        match told {
            Ok(consequences) => return Taken::Counts(consequences),
            Err(QueueError::Unavailable { retry_after, .. }) => tokio::time::sleep(retry_after.max(AGAIN)).await,
            Err(QueueError::Stale { .. }) if is_to_be_renewed(world, shared, &lease) => tokio::time::sleep(AGAIN).await,
            Err(QueueError::Stale { .. }) => match is_own(world, shared, &run_of(&lease)).await {
                Ok(true) => return Taken::Counts(Vec::new()),
                Ok(false) => return Taken::Superseded,
                Err(_) => tokio::time::sleep(AGAIN).await,
            },
            Err(error) => return Taken::Refused(error),
        }
    }
}

/// Its epoch is over, or it was just renewed.
fn is_to_be_renewed(world: &World, shared: &Arc<dyn SharedQueue>, lease: &Lease) -> bool {
    lease.fence.epoch < shared.epoch() || world.leases.now(lease).is_some_and(|now| now != *lease)
}

/// Whether the end that stands there is the one that was told from here, before the queue's memory or this process ended.
async fn is_own(world: &World, shared: &Arc<dyn SharedQueue>, run: &RunId) -> Result<bool, QueueError> {
    let made = shared.final_of(run).await?;
    let by = made.and_then(|made| Ended::read(&made.event)).map(|ended| ended.by);
    Ok(by.is_some_and(|by| by == world.settings.queue.holder))
}

/// Whether a shared queue is known to be away: it is told later, and nobody waits for it now.
pub(super) fn is_away(world: &World) -> bool {
    let health = world.ports.shared.as_ref().map(|shared| shared.health());
    health.is_some_and(|health| health != QueueHealth::Healthy)
}

/// Another daemon has the run: nobody works on it here any more, and what was made of it counts no more. Unless the end that
/// stands in the queue is the own one, whose answer was lost.
pub(super) async fn supersede(world: &Arc<World>, lease: &Lease) {
    world.leases.let_go(lease);
    let run = run_of(lease);
    if let Some(shared) = &world.ports.shared
        && is_own(world, shared, &run).await.unwrap_or_default()
    {
        return;
    }
    if let Some(running) = ending::at_work(world, &run) {
        leave(world, &running);
    }
    match note_superseded(world, &run).await {
        Ok(true) => {
            tracing::info!(%run, "another daemon has the run: it ends here without a word to others");
            // Its end may have been heard of already, and was no news then.
            world.leases.could_not_tell();
        }
        Ok(false) => {}
        Err(error) => tracing::warn!(%run, %error, "that another daemon has the run is not written"),
    }
}

/// Its actor goes without its last words: the run may come back, and then goes on where it was.
pub(super) fn leave(world: &World, running: &Arc<Running>) {
    let text = format!("task {} is worked on by another daemon; ask for it again", running.run.task);
    running.finish(Err(SystemError::Unavailable(text.into())));
    let role = &running.spec.role;
    world.registry.withdraw(role, &running.run);
    let deliberations = world.registry.deliberations.get(role).map(|entry| entry.value().clone());
    if let Some(deliberations) = deliberations {
        drop(deliberations.cast(DeliberationsMessage::Leave { running: running.clone() }));
    }
}

/// Whether there was anything to take back.
async fn note_superseded(world: &World, run: &RunId) -> Result<bool, JournalError> {
    let _claim = world.registry.claimed(&run.task).await;
    for _ in 0..MOST_TRIES {
        let Some(row) = world.ports.journal.task(&run.task).await? else { return Ok(false) };
        let waits = row.status == TaskStatus::Open && row.queue.is_some_and(QueueState::waits);
        if row.run != run.run || waits {
            return Ok(false);
        }
        let entry = told(&*world.ports.journal, &run.task).await?.entry;
        let entry = entry.map(|entry| Event::TaskQueued(Arc::new(bare(&entry, run.run))));
        let events = [Event::RunSuperseded { run: run.run }].into_iter().chain(entry).collect();
        match write(world, &row, events).await {
            Err(JournalError::Conflict { .. }) => {}
            written => return written.map(|()| true),
        }
    }
    Ok(false)
}

/// As an entry that waits for nothing: whoever claimed it had it without.
pub(super) fn bare(entry: &Entry, run: u32) -> Entry {
    Entry { run, needs: Vec::new(), hold: None, not_before: None, parked: false, ..entry.clone() }
}
