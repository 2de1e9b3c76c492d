//! A start: the queue is told what the journal knows, and what is at work is watched again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::begin::Begun;
use super::keep::{Keeping, hear};
use super::pause::{self, Pauses};
use super::stream::{came_to, find};
use super::{execution, refill, settle, story};
use crate::domain::id::TaskId;
use crate::domain::queue::{Entry, QueueState, Standing};
use crate::error::SystemError;
use crate::ports::queue::{Consequence, Filter};
use crate::ports::shared::{Reasserted, SharedQueue};
use crate::world::World;

/// Rows compared at once.
pub(super) const PAGE: usize = 1_024;

/// What a start found.
pub(super) struct Filled {
    pub(super) begun: Vec<Begun>,
    /// Tasks whose winners others carry out.
    pub(super) executing: Vec<TaskId>,
    pub(super) pauses: Pauses,
    /// Of their stream.
    pub(super) version: u64,
    /// How far it is with a queue that others share.
    pub(super) keeping: Keeping,
}

/// Fills the queue and answers the runs that are at work. Safe to be done again at any time.
pub(super) async fn fill(world: &Arc<World>) -> Result<Filled, SystemError> {
    let (pauses, version) = pause::read(&*world.ports.journal).await?;
    if let Some(shared) = world.ports.shared.clone() {
        return fill_shared(world, &shared, (pauses, version)).await;
    }
    let standings = world.ports.journal.recovery().await?.queued;
    let (changed, mut begun, keeping) = fill_own(world, &standings).await?;
    let mut executing = Vec::new();
    for Standing { entry, .. } in standings.iter().filter(|standing| standing.state == QueueState::Dispatched) {
        let _claim = world.registry.claimed(&entry.task).await;
        match take_up(world, entry).await? {
            // It was just to be deliberated on.
            Some(running) => begun.push(running),
            None if execution::take_up(world, &entry.task, entry.run).await? => executing.push(entry.task.clone()),
            None => {}
        }
    }
    settle::record(world, changed.into_iter().filter(|news| news.state == QueueState::Skipped).collect()).await;
    settle::record(world, differences(world, &standings).await?).await;
    Ok(Filled { begun, executing, pauses, version, keeping })
}

type Begin = (Vec<Consequence>, Vec<Begun>, Keeping);

async fn fill_own(world: &Arc<World>, standings: &[Standing]) -> Result<Begin, SystemError> {
    let ended = ended_needs(world, standings).await?;
    // What was claimed and has not begun is claimed anew; what has begun is taken up below.
    world.ports.queue.take_back(&world.settings.queue.holder).await?;
    let mut entries: Vec<Entry> = standings.iter().map(Standing::to_entry).collect();
    story::let_go(world, &mut entries).await?;
    let changed = world.ports.queue.enqueue(entries, ended).await?;
    let mut begun = Vec::new();
    for standing in standings.iter().filter(|standing| standing.state == QueueState::InProgress) {
        begun.extend(take_up(world, &standing.entry).await?);
    }
    Ok((changed, begun, Keeping::default()))
}

/// What ended elsewhere meanwhile is written down first, so that nothing of it is said to wait.
async fn fill_shared(
    world: &Arc<World>,
    shared: &Arc<dyn SharedQueue>,
    (pauses, version): (Pauses, u64),
) -> Result<Filled, SystemError> {
    let mut keeping = Keeping { is_well: true, ..Keeping::default() };
    world.leases.forget();
    world.leases.begin_telling();
    hear(world, shared, &mut keeping).await?;
    let standings = world.ports.journal.recovery().await?.queued;
    let Reasserted { epoch, changed } = refill::say(world, shared, &standings).await?;
    keeping.said = epoch;
    let mut begun = refill::begin_again(world, shared, &standings).await?;
    let mut executing = Vec::new();
    for Standing { entry, .. } in standings.iter().filter(|standing| standing.state == QueueState::Dispatched) {
        let _claim = world.registry.claimed(&entry.task).await;
        if let Some(running) = take_up(world, entry).await? {
            world.leases.take(running.lease.clone());
            begun.push(running);
        } else if refill::hand_over(world, shared, entry).await? {
            executing.push(entry.task.clone());
        }
    }
    settle::record(world, changed.into_iter().filter(|news| news.state == QueueState::Skipped).collect()).await;
    settle::record(world, differences(world, &standings).await?).await;
    Ok(Filled { begun, executing, pauses, version, keeping })
}

/// How those ended that are needed and not in the queue any more.
pub(super) async fn ended_needs(
    world: &World,
    standings: &[Standing],
) -> Result<BTreeMap<TaskId, QueueState>, SystemError> {
    let known: BTreeSet<&TaskId> = standings.iter().map(|standing| &standing.entry.task).collect();
    let needs: BTreeSet<&TaskId> = standings.iter().flat_map(|standing| &standing.entry.needs).collect();
    let mut ended = BTreeMap::new();
    for need in needs.difference(&known) {
        let row = find(world, need).await?;
        // Whose tombstone is gone as well ended long ago; whoever waited for it would have been told.
        let state = row.as_ref().map_or(Some(QueueState::Completed), came_to);
        ended.extend(state.map(|state| ((*need).clone(), state)));
    }
    Ok(ended)
}

/// The run goes on by itself; from here on its end is seen to again.
async fn take_up(world: &Arc<World>, entry: &Entry) -> Result<Option<Begun>, SystemError> {
    let running = world.registry.running.get(&entry.task).map(|running| running.clone());
    let Some(running) = running.filter(|running| running.run.run == entry.run) else { return Ok(None) };
    let lease = world.ports.queue.adopt(&entry.task, entry.run, &world.settings.queue.holder).await?;
    Ok(Some(Begun { running, lease }))
}

/// Tasks that stand otherwise in the queue than the journal says: a crash came between.
async fn differences(world: &World, standings: &[Standing]) -> Result<Vec<Consequence>, SystemError> {
    let journaled: BTreeMap<&TaskId, QueueState> =
        standings.iter().map(|standing| (&standing.entry.task, standing.state)).collect();
    let (mut differences, mut after) = (Vec::new(), None);
    loop {
        let filter = Filter { after, limit: PAGE, ..Filter::default() };
        let rows = world.ports.queue.list(&filter).await?;
        after = rows.last().map(|row| row.entry.task.clone());
        let is_last = rows.len() < PAGE;
        for row in rows.into_iter().filter(|row| row.state.waits()) {
            let Some(before) = journaled.get(&row.entry.task).filter(|before| **before != row.state) else { continue };
            let cause = row.failed_needs.first().unwrap_or(&row.entry.task).clone();
            if before.waits() {
                let (task, run) = (row.entry.task, row.entry.run);
                differences.push(Consequence { task, run, state: row.state, cause });
            }
        }
        if is_last {
            return Ok(differences);
        }
    }
}
