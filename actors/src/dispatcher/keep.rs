//! Keeping what is held in a shared queue, and hearing what became of tasks elsewhere.

use std::sync::Arc;

use super::ending;
use super::refill::refill;
use super::shared::{leave, supersede};
use crate::domain::ended::Ended;
use crate::domain::id::TaskId;
use crate::error::SystemError;
use crate::ports::shared::{Final, SharedQueue};
use crate::ports::{TaskRow, TaskStatus};
use crate::world::World;

/// Ends heard of at once.
const PAGE: usize = 256;

/// How far this daemon is with the queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keeping {
    /// The epoch in which the queue was told what the journal knows; 0 = none yet.
    pub(super) said: u64,
    /// The last end that was heard of.
    pub(super) heard: u64,
    /// Whether the last beat went well.
    pub(super) is_well: bool,
}

impl Keeping {
    pub(super) fn is_behind(&self, shared: &dyn SharedQueue) -> bool {
        shared.epoch() != self.said
    }
}

/// Keeps the leases, puts the queue right when its memory is another one, and writes down how others' runs ended.
pub(super) async fn beat(world: &Arc<World>, shared: &Arc<dyn SharedQueue>, before: Keeping) -> Keeping {
    let mut keeping = before;
    match try_beat(world, shared, &mut keeping).await {
        Ok(()) => keeping.is_well = true,
        Err(error) => {
            tracing::debug!(%error, "the shared queue cannot be kept up with now");
            keeping.is_well = false;
        }
    }
    keeping
}

async fn try_beat(world: &Arc<World>, shared: &Arc<dyn SharedQueue>, keeping: &mut Keeping) -> Result<(), SystemError> {
    let lost = shared.heartbeat(&world.leases.all()).await?;
    if keeping.is_behind(&**shared) || world.leases.is_untold() {
        keeping.heard = 0;
        hear(world, shared, keeping).await?;
        keeping.said = refill(world, shared).await?;
        return Ok(());
    }
    for lease in lost {
        // It may have been given back or ended since it was asked for.
        if world.leases.now(&lease).as_ref() == Some(&lease) {
            supersede(world, &lease).await;
        }
    }
    hear(world, shared, keeping).await
}

/// Ends of tasks that this journal knows and others have brought about.
pub(super) async fn hear(
    world: &Arc<World>,
    shared: &Arc<dyn SharedQueue>,
    keeping: &mut Keeping,
) -> Result<(), SystemError> {
    loop {
        let ends = shared.ends(keeping.heard, PAGE).await?;
        let tasks: Vec<TaskId> = ends.iter().map(|end| end.run.task.clone()).collect();
        let known = world.ports.journal.find(&tasks).await?;
        for end in &ends {
            if known.iter().any(|row| row.task == end.run.task && is_news(row, end)) {
                take_in(world, end).await?;
            }
            keeping.heard = keeping.heard.max(end.place);
        }
        if ends.len() < PAGE {
            return Ok(());
        }
    }
}

fn is_news(row: &TaskRow, end: &Final) -> bool {
    row.run < end.run.run || (row.run == end.run.run && row.status == TaskStatus::Open)
}

async fn take_in(world: &Arc<World>, end: &Final) -> Result<(), SystemError> {
    let Some(ended) = Ended::read(&end.event) else {
        tracing::warn!(run = %end.run, "an end is kept in the queue in words that are not understood");
        return Ok(());
    };
    if let Some(running) = ending::at_work(world, &end.run) {
        if ended.by == world.settings.queue.holder {
            return Ok(());
        }
        leave(world, &running);
    }
    Ok(ending::note(world, &end.run, &ended.event).await?)
}
