//! A round: claims as many tasks as there is room for and begins their runs.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::state::Rooms;
use crate::council;
use crate::domain::event::Event;
use crate::domain::id::{Role, RunId, StreamId};
use crate::domain::task::TaskSpec;
use crate::error::SystemError;
use crate::ports::queue::{Claim, Claimed, Lease, Report};
use crate::ports::{Journal, TaskStatus};
use crate::running::Running;
use crate::world::World;

/// A run from the queue that is at work.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) running: Arc<Running>,
    pub(crate) lease: Lease,
}

/// Claims and begins. What cannot begin now goes back to the queue as it was.
pub(super) async fn round(world: &Arc<World>, rooms: Rooms) -> Vec<Begun> {
    let mut begun = Vec::new();
    for (role, room) in rooms {
        let room = room.min(world.gate.free_for_queue(world.settings.queue.share_percent));
        if room == 0 {
            continue;
        }
        match world.ports.queue.claim(&claim(world, &role, room)).await {
            Ok(claimed) => begun.extend(begin_all(world, claimed).await),
            Err(error) => tracing::warn!(%role, %error, "no task can be claimed now"),
        }
    }
    begun
}

fn claim(world: &World, role: &Role, most: usize) -> Claim {
    let settings = &world.settings.queue;
    Claim { role: role.clone(), most, most_per_story: settings.per_story, holder: settings.holder.clone() }
}

/// Each of them waits for the disk; all together wait about as long as one.
async fn begin_all(world: &Arc<World>, claimed: Vec<Claimed>) -> Vec<Begun> {
    let mut beginning = JoinSet::new();
    for claimed in claimed {
        let world = world.clone();
        beginning.spawn(async move {
            let lease = claimed.lease.clone();
            match begin(&world, &claimed).await {
                Ok(running) => Some(Begun { running, lease }),
                Err(error) => {
                    tracing::debug!(task = %lease.task, %error, "a claimed task cannot begin now");
                    give_back(&world, &lease).await;
                    None
                }
            }
        });
    }
    beginning.join_all().await.into_iter().flatten().collect()
}

async fn give_back(world: &World, lease: &Lease) {
    if let Err(error) = world.ports.queue.report(lease, Report::Released).await {
        tracing::warn!(task = %lease.task, %error, "a claimed task could not be given back");
    }
}

/// The claim and the beginning of the deliberation are one batch at the version that the task has: of two that claimed it
/// only one begins.
async fn begin(world: &Arc<World>, claimed: &Claimed) -> Result<Arc<Running>, SystemError> {
    let lease = &claimed.lease;
    let council = world.open_council(&claimed.entry.role)?;
    world.check_tokens()?;
    let journal = &*world.ports.journal;
    let row = journal.task(&lease.task).await?.filter(|row| row.status == TaskStatus::Open && row.run == lease.run);
    let (Some(row), Some(spec)) = (row, spec_of(journal, lease).await?) else {
        return Err(SystemError::WrongState(format!("task {} is not open", lease.task).into()));
    };
    let permit = world.gate.try_admit()?;
    let run = RunId { task: lease.task.clone(), run: lease.run };
    let plan = council::plan(world, &council, run.clone(), spec.clone()).map_err(SystemError::Unavailable)?;
    let (plan, now) = (Arc::new(plan), world.ports.clock.now());
    let begun = world.write(&run, row.version, Event::TaskClaimed { run: run.run }, plan.clone(), now).await?;
    let running = Running::new(crate::ports::TaskRow { version: row.version + 1, ..row }, spec);
    running.hold(permit);
    world.launch(&running, plan, begun).await;
    Ok(running)
}

async fn spec_of(journal: &dyn Journal, lease: &Lease) -> Result<Option<Arc<TaskSpec>>, SystemError> {
    let first = journal.stream(&StreamId::task(&lease.task), 0, 1).await?;
    Ok(first.into_iter().find_map(|recorded| match recorded.event.event {
        Event::TaskAccepted { spec, .. } => Some(spec),
        _ => None,
    }))
}
