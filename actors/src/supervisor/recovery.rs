//! Reads back what was open and standing, when the daemon starts or its councils' supervisor does.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::deliberation::{self, Closing};
use crate::domain::answer::Class;
use crate::domain::council::Seat;
use crate::domain::event::Event;
use crate::domain::id::StreamId;
use crate::error::SystemError;
use crate::ports::{JournalError, Recovery, TaskRow, settled, whole_stream};
use crate::running::Running;
use crate::world::World;

/// What was open or standing when the daemon, or only this actor, ended.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The daemon has just started.
    pub(super) first: bool,
    pub(super) recovery: Recovery,
    /// With the seats that its run began with, where it had begun.
    pub(super) open: Vec<(Arc<Running>, Vec<Seat>)>,
}

pub(super) async fn recover(world: &Arc<World>) -> Result<Recovered, JournalError> {
    let first = !*world.recovered.borrow();
    if !first {
        settled(&*world.ports.journal).await?;
    }
    let recovery = world.ports.journal.recovery().await?;
    if !first {
        let running = world.registry.all_open().into_iter().map(|running| (running, Vec::new()));
        return Ok(Recovered { first, recovery, open: running.collect() });
    }
    let mut open = Vec::with_capacity(recovery.open_tasks.len());
    let mut interrupted = JoinSet::new();
    for row in &recovery.open_tasks {
        let Some(found) = reopen(world, row).await? else { continue };
        if row.keyed {
            open.push(found);
        } else {
            interrupted.spawn(interrupt(world.clone(), found.0));
        }
    }
    while interrupted.join_next().await.is_some() {}
    Ok(Recovered { first, recovery, open })
}

/// Its client is gone with the connection, and nobody else knows its id.
async fn interrupt(world: Arc<World>, running: Arc<Running>) {
    let closing = Closing::Failed { class: Class::Gone, message: "interrupted by a restart of the daemon".into() };
    if let Err(SystemError::Unavailable(why)) = deliberation::close(&world, &running, closing).await {
        tracing::warn!(run = %running.run, %why, "the interrupted run stays open until the next start");
    }
}

/// An open task as it was accepted, with the seats of its run.
async fn reopen(world: &World, row: &TaskRow) -> Result<Option<(Arc<Running>, Vec<Seat>)>, JournalError> {
    let journal = &*world.ports.journal;
    let accepted = whole_stream(journal, &StreamId::task(&row.task)).await?;
    let spec = accepted.iter().find_map(|recorded| match &recorded.event.event {
        Event::TaskAccepted { spec, .. } => Some(spec.clone()),
        _ => None,
    });
    let Some(spec) = spec else { return Ok(None) };
    let running = Running::new(row.clone(), spec);
    let first = journal.stream(&StreamId::deliberation(&running.run), 0, 1).await?;
    let seats = first.into_iter().find_map(|recorded| match recorded.event.event {
        Event::DeliberationStarted(plan) => Some(plan.seats.clone()),
        _ => None,
    });
    Ok(Some((running, seats.unwrap_or_default())))
}
