//! What a shared queue is told when it may have forgotten something: at a start, when its memory is another one, and when
//! something could not be told.
//!
//! ```text
//!  reassert: what waits, what has ended ─▶ renew: what is held, under new fences ─▶ each run at work has a lease, or is left
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::begin::Begun;
use super::ending;
use super::fill::{PAGE, ended_needs};
use super::settle::record;
use super::shared::{bare, run_of, supersede};
use super::story;
use super::stream::told;
use crate::domain::id::{RunId, TaskId};
use crate::domain::queue::{Entry, QueueState, Standing};
use crate::error::SystemError;
use crate::ports::queue::{Filter, Lease, QueueError, Report};
use crate::ports::shared::{Ending, Reasserted, SharedQueue};
use crate::ports::{TaskRow, TaskStatus};
use crate::world::World;

/// While the daemon works: the epoch in which it was told.
pub(super) async fn refill(world: &Arc<World>, shared: &Arc<dyn SharedQueue>) -> Result<u64, SystemError> {
    world.leases.begin_telling();
    let refilled = async {
        let standings = world.ports.journal.recovery().await?.queued;
        let Reasserted { epoch, changed } = say(world, shared, &standings).await?;
        hold(world, shared, world.leases.all()).await?;
        record(world, changed.into_iter().filter(|news| news.state == QueueState::Skipped).collect()).await;
        tracing::info!(tasks = standings.len(), epoch, "the shared queue was told what the journal knows");
        Ok(epoch)
    };
    let refilled = refilled.await;
    if refilled.is_err() {
        world.leases.could_not_tell();
    }
    refilled
}

/// Says all that the journal knows.
pub(super) async fn say(
    world: &Arc<World>,
    shared: &Arc<dyn SharedQueue>,
    standings: &[Standing],
) -> Result<Reasserted, SystemError> {
    let mut entries: Vec<Entry> = standings.iter().map(Standing::to_entry).collect();
    story::let_go(world, &mut entries).await?;
    let mut ended = world.leases.endings();
    ended.extend(over(world, shared).await?);
    for (task, state) in ended_needs(world, standings).await? {
        // Of one that is only known to have ended no run in the queue is meant.
        let run = world.ports.journal.task(&task).await?.map_or(0, |row| row.run);
        ended.entry(RunId { task, run }).or_insert(Ending { state, event: "".into() });
    }
    Ok(shared.reassert(entries, ended).await?)
}

/// Runs that the queue has open and that ended in the journal. Those whose end is just being told are left to whoever does.
async fn over(world: &World, shared: &Arc<dyn SharedQueue>) -> Result<BTreeMap<RunId, Ending>, SystemError> {
    let (mut over, mut after) = (BTreeMap::new(), None);
    loop {
        let filter = Filter { after, limit: PAGE, ..Filter::default() };
        let rows = shared.list(&filter).await?;
        after = rows.last().map(|row| row.entry.task.clone());
        let is_last = rows.len() < PAGE;
        let open: BTreeMap<TaskId, u32> =
            rows.into_iter().filter(|row| !row.state.is_over()).map(|row| (row.entry.task, row.entry.run)).collect();
        let tasks: Vec<TaskId> = open.keys().cloned().collect();
        for row in world.ports.journal.find(&tasks).await? {
            if open.get(&row.task) == Some(&row.run) && is_over(world, &row) {
                let kept = ending::of_row(world, &row).await?.as_ref().and_then(ending::kept);
                over.extend(kept.map(|kept| (RunId { task: row.task.clone(), run: row.run }, kept)));
            }
        }
        if is_last {
            return Ok(over);
        }
    }
}

/// One that may be tried again is seen to by whoever claims it.
fn is_over(world: &World, row: &TaskRow) -> bool {
    let is_being_told = world.leases.all().iter().any(|lease| lease.task == row.task && lease.run == row.run);
    row.status != TaskStatus::Open && row.queue != Some(QueueState::Failed) && !is_being_told
}

/// Gets new leases for what is at work; what somebody else has by now is left to them. The leases that are held since.
pub(super) async fn hold(
    world: &Arc<World>,
    shared: &Arc<dyn SharedQueue>,
    at_work: Vec<Lease>,
) -> Result<Vec<Lease>, SystemError> {
    let holder = &world.settings.queue.holder;
    let mut renewed: BTreeMap<RunId, Lease> = BTreeMap::new();
    for claimed in shared.renew(holder).await? {
        renewed.insert(run_of(&claimed.lease), claimed.lease);
    }
    let mut held = Vec::new();
    for lease in at_work {
        match renewed.remove(&run_of(&lease)) {
            Some(lease) => {
                world.leases.take(lease.clone());
                held.push(lease);
            }
            None => held.extend(regain(world, shared, &lease).await?),
        }
    }
    for lease in renewed.into_values() {
        give_back(world, shared, &lease).await?;
    }
    Ok(held)
}

/// A run whose lease is not there any more: nobody has it, the queue has forgotten it, or somebody else works on it.
pub(super) async fn regain(
    world: &Arc<World>,
    shared: &Arc<dyn SharedQueue>,
    lease: &Lease,
) -> Result<Option<Lease>, SystemError> {
    let holder = &world.settings.queue.holder;
    let mut adopted = shared.adopt(&lease.task, lease.run, holder).await;
    if matches!(adopted, Err(QueueError::Unknown { .. }))
        && let Some(entry) = told(&*world.ports.journal, &lease.task).await?.entry
    {
        shared.enqueue(vec![bare(&entry, lease.run)], BTreeMap::new()).await?;
        adopted = shared.adopt(&lease.task, lease.run, holder).await;
    }
    match adopted {
        Ok(lease) => {
            world.leases.take(lease.clone());
            Ok(Some(lease))
        }
        Err(QueueError::Unknown { .. } | QueueError::WrongState { .. }) => {
            supersede(world, lease).await;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What is held and nobody works on: claimed in vain, failed and to be tried again, or carried out by others.
async fn give_back(world: &World, shared: &Arc<dyn SharedQueue>, lease: &Lease) -> Result<(), SystemError> {
    let row = world.ports.journal.task(&lease.task).await?.filter(|row| row.run == lease.run);
    match row {
        Some(row) if row.queue == Some(QueueState::Dispatched) => drop(shared.report(lease, Report::Dispatched).await?),
        _ => drop(shared.report(lease, Report::Released).await?),
    }
    Ok(())
}

/// At a start: the runs that are at work here, each under a lease.
pub(super) async fn begin_again(
    world: &Arc<World>,
    shared: &Arc<dyn SharedQueue>,
    standings: &[Standing],
) -> Result<Vec<Begun>, SystemError> {
    let at_work = standings.iter().filter(|standing| standing.state == QueueState::InProgress);
    let mut running: BTreeMap<RunId, _> = BTreeMap::new();
    for standing in at_work {
        let run = RunId { task: standing.entry.task.clone(), run: standing.entry.run };
        running.extend(ending::at_work(world, &run).map(|found| (run, found)));
    }
    let unknown = |run: &RunId| Lease { task: run.task.clone(), run: run.run, fence: NO_FENCE };
    let leases = running.keys().map(unknown).collect();
    let held = hold(world, shared, leases).await?;
    let begun = held.into_iter().filter_map(|lease| Some(Begun { running: running.remove(&run_of(&lease))?, lease }));
    Ok(begun.collect())
}

/// At a start: a winner that others carry out stands so in the queue too, unless another daemon has the run by now.
pub(super) async fn hand_over(
    world: &Arc<World>,
    shared: &Arc<dyn SharedQueue>,
    entry: &Entry,
) -> Result<bool, SystemError> {
    let lease = Lease { task: entry.task.clone(), run: entry.run, fence: NO_FENCE };
    let Some(lease) = regain(world, shared, &lease).await? else { return Ok(false) };
    world.leases.let_go(&lease);
    shared.report(&lease, Report::Dispatched).await?;
    Ok(true)
}

/// Of no lease at all: the one from before the start is not known any more.
pub(super) const NO_FENCE: crate::domain::queue::Fence = crate::domain::queue::Fence { epoch: 0, number: 0 };
