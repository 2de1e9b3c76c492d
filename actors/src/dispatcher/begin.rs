//! A round: claims as many tasks as there is room for and begins their runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::state::Rooms;
use super::stream::{Told, told};
use super::takeover::{self, Found};
use super::tell::{News, tell};
use super::{collect, execution, settle, stream};
use crate::context::Background;
use crate::council::{self, Made};
use crate::domain::council::Council;
use crate::domain::event::Event;
use crate::domain::id::{Role, RunId, TaskId};
use crate::domain::queue::{Entry, QueueState};
use crate::error::SystemError;
use crate::gate::Permit;
use crate::ports::queue::{Claim, Claimed, Lease, QueueError, Report, Request};
use crate::ports::{TaskRow, TaskStatus};
use crate::running::Running;
use crate::world::World;

/// A round must not wait for what may only come after it.
const WAITS_OF_A_ROUND: usize = 5;

/// A run from the queue that is at work.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) running: Arc<Running>,
    pub(crate) lease: Lease,
}

/// What came of a round.
#[derive(Debug, Default)]
pub(crate) struct Began {
    pub(crate) runs: Vec<Begun>,
    /// Tasks whose agents were asked to carry them out first.
    pub(crate) assigned: Vec<(Role, TaskId)>,
}

impl Began {
    fn add(&mut self, beginning: Beginning) {
        match beginning {
            Beginning::Run(begun) => self.runs.push(begun),
            Beginning::Assigned { role, task } => self.assigned.push((role, task)),
        }
    }
}

/// What became of a claimed task.
enum Beginning {
    Run(Begun),
    Assigned { role: Role, task: TaskId },
}

/// Claims and begins. What cannot begin now goes back to the queue as it was. The roles begin beside each other: a context
/// service that is slow costs the round its deadline once.
pub(super) async fn round(world: &Arc<World>, rooms: Rooms) -> Began {
    let mut beginning = Vec::new();
    // Those that are claimed have no permits yet: they are counted against what was free before.
    let free = world.gate.free_for_queue(world.settings.queue.share_percent);
    for (role, room) in rooms {
        let room = room.min(free.saturating_sub(beginning.len()));
        if room == 0 {
            continue;
        }
        match world.ports.queue.claim(&claim(world, &role, room)).await {
            Ok(claimed) => {
                keep(world, &claimed);
                beginning.extend(begin_all(world, claimed));
            }
            // What others share may be away for a while: whoever keeps up with it says so.
            Err(QueueError::Unavailable { .. }) if world.ports.shared.is_some() => break,
            Err(error) => tracing::warn!(%role, %error, "no task can be claimed now"),
        }
    }
    all_begun(world, beginning).await
}

fn claim(world: &World, role: &Role, most: usize) -> Claim {
    let settings = &world.settings.queue;
    Claim { role: role.clone(), most, most_per_story: settings.per_story, holder: settings.holder.clone() }
}

/// From here on they are kept, until they have ended or are given back.
fn keep(world: &World, claimed: &[Claimed]) {
    if world.ports.shared.is_some() {
        claimed.iter().for_each(|claimed| world.leases.take(claimed.lease.clone()));
    }
}

/// A claimed task on its way to its beginning.
type Apart = (Lease, JoinHandle<Option<Beginning>>);

/// Each of them waits for the disk; all together wait about as long as one. What is on its way there goes on when the
/// dispatcher dies.
fn begin_all(world: &Arc<World>, claimed: Vec<Claimed>) -> impl Iterator<Item = Apart> {
    claimed.into_iter().map(|claimed| (claimed.lease.clone(), begin_apart(world, claimed)))
}

async fn all_begun(world: &World, beginning: Vec<Apart>) -> Began {
    let mut began = Began::default();
    for (lease, beginning) in beginning {
        match beginning.await {
            Ok(beginning) => beginning.into_iter().for_each(|beginning| began.add(beginning)),
            Err(error) => {
                tracing::error!(task = %lease.task, %error, "the beginning of a task broke down");
                give_back(world, &lease).await;
            }
        }
    }
    began
}

fn begin_apart(world: &Arc<World>, claimed: Claimed) -> JoinHandle<Option<Beginning>> {
    let (world, presence) = (world.clone(), world.census.enter());
    Handle::current().spawn(async move {
        let _presence = presence;
        let lease = claimed.lease.clone();
        match begin(&world, &claimed).await {
            Ok(Some(running)) => Some(Beginning::Run(Begun { running, lease })),
            Ok(None) => Some(Beginning::Assigned { role: claimed.entry.role, task: lease.task }),
            Err(error) => {
                tracing::debug!(task = %lease.task, %error, "a claimed task does not begin");
                if let SystemError::UnknownTask { task } = error {
                    leave_alone(&world, &lease, &task).await;
                    return None;
                }
                set_right(&world, claimed).await.map(Beginning::Run)
            }
        }
    })
}

/// What the queue takes for ready did not begin: it is at work, it is over, or it has to wait a little longer.
async fn set_right(world: &Arc<World>, claimed: Claimed) -> Option<Begun> {
    let lease = claimed.lease;
    let running = world.registry.running.get(&lease.task).map(|running| running.clone());
    if let Some(running) = running.filter(|running| running.run.run == lease.run && !running.has_ended()) {
        return Some(Begun { running, lease });
    }
    match world.ports.journal.task(&lease.task).await {
        Ok(Some(row)) if row.run == lease.run && row.status != TaskStatus::Open => {
            settle::see_to(world, &lease, &row).await;
        }
        Ok(Some(row)) if row.run == lease.run && execution::is_dispatched(&row) => {
            execution::hand_over(world, &lease).await;
        }
        Ok(Some(row)) if row.run == lease.run && row.queue == Some(QueueState::Parked) => {
            give_back(world, &lease).await;
            park(world, &lease).await;
        }
        Ok(Some(row)) if row.run == lease.run && row.queue.is_some_and(QueueState::waits) => {
            give_back(world, &lease).await;
            bring_up_to_date(world, &claimed.entry).await;
        }
        Ok(Some(row)) if row.run > lease.run => {
            // The queue is behind: it is told anew.
            world.leases.could_not_tell();
            give_back(world, &lease).await;
        }
        _ => give_back(world, &lease).await,
    }
    None
}

/// It was parked just when it was claimed: the queue could not hear of it then.
async fn park(world: &World, lease: &Lease) {
    if let Err(error) = world.ports.queue.request(&lease.task, Request::Park).await {
        tracing::warn!(task = %lease.task, %error, "the queue does not know that a task is parked");
    }
}

/// It was amended just when it was claimed: the queue could not hear of it then. A queue that others share is told anew of all
/// that it could not hear.
async fn bring_up_to_date(world: &Arc<World>, claimed: &Entry) {
    if world.ports.shared.is_some() {
        return;
    }
    match told(&*world.ports.journal, &claimed.task).await {
        Ok(Told { entry: Some(entry), .. }) if needs_more(&entry, claimed) => {
            tell(world, News::Amended(Entry::clone(&entry)), &mut BTreeMap::new(), WAITS_OF_A_ROUND).await;
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(task = %claimed.task, %error, "what a task needs by now is not known"),
    }
}

/// Whether a task has to wait for something by now that the queue did not know of when it gave it out.
pub(super) fn needs_more(entry: &Entry, claimed: &Entry) -> bool {
    let known: BTreeSet<&TaskId> = claimed.needs.iter().collect();
    entry.needs.iter().any(|need| !known.contains(need))
}

/// Another daemon took it in, and the queue has nothing of what it is about.
async fn leave_alone(world: &World, lease: &Lease, task: &TaskId) {
    tracing::warn!(%task, "the shared queue does not say what a task is about: it is parked there");
    give_back(world, lease).await;
    park(world, lease).await;
}

async fn give_back(world: &World, lease: &Lease) {
    world.leases.let_go(lease);
    if let Err(error) = world.ports.queue.report(lease, Report::Released).await {
        tracing::warn!(task = %lease.task, %error, "a claimed task could not be given back");
    }
}

/// `None` = its agents were asked to carry it out first.
async fn begin(world: &Arc<World>, claimed: &Claimed) -> Result<Option<Arc<Running>>, SystemError> {
    let lease = &claimed.lease;
    let council = world.open_council(&claimed.entry.role)?;
    world.check_tokens()?;
    let found = match &world.ports.shared {
        Some(shared) => takeover::shared(world, shared, claimed).await,
        None => takeover::own(world, claimed).await,
    };
    let found = found?;
    let made = match found.spec.collective && found.resumes.is_none() {
        false => Made::default(),
        true => match collect::claimed(world, &council, lease, &found).await? {
            Some(made) => made,
            None => return Ok(None),
        },
    };
    let permit = world.gate.try_admit()?;
    start(world, &council, (found, permit), made).await.map(Some)
}

/// The claim and the beginning of the deliberation are one batch at the version that the task has: of two that claimed it
/// only one begins.
pub(super) async fn start(
    world: &Arc<World>,
    council: &Council,
    (found, permit): (Found, Permit),
    made: Made,
) -> Result<Arc<Running>, SystemError> {
    let Found { row, mut events, spec, resumes } = found;
    let run = RunId { task: row.task.clone(), run: row.run };
    events.push(Event::TaskClaimed { run: run.run });
    let version = row.version + events.len() as u64;
    if let Some(plan) = resumes {
        stream::write(world, &row, events).await?;
        let running = Running::new(TaskRow { version, ..row }, spec);
        running.hold(permit);
        world.launch(&running, plan, None).await;
        return Ok(running);
    }
    let background = (Background::of(world, &spec).await, made);
    let plan =
        council::plan(world, council, (run.clone(), spec.clone()), background).map_err(SystemError::Unavailable)?;
    let (plan, now) = (Arc::new(plan), world.ports.clock.now());
    let begun = world.write(&run, row.version, events, plan.clone(), now).await?;
    let running = Running::new(TaskRow { version, ..row }, spec);
    running.hold(permit);
    world.launch(&running, plan, Some(begun)).await;
    Ok(running)
}
