//! The queue is told what the journal has of tasks that wait.

use std::collections::BTreeMap;
use std::time::Duration;

use super::settle;
use super::shared::is_away;
use super::stream::{came_to, find};
use crate::domain::id::TaskId;
use crate::domain::queue::{Entry, QueueState};
use crate::ports::queue::QueueError;
use crate::world::World;

/// The first wait for a need to be known, which doubles, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// For whoever has nothing else to do: nobody but the next start would tell it.
pub(super) const UNTIL_TOLD: usize = usize::MAX;

pub(super) enum News {
    Enqueued(Vec<Entry>),
    Amended(Entry),
}

/// `ended`: how needed tasks ended that the queue need not know.
///
/// A need that the queue does not know and that is open in the journal is on its way: it has ended in the queue and that is
/// just being written, or it was written and the queue is just being told. Until then this waits, and the tasks with it;
/// after so many waits the next start has to tell it.
pub(super) async fn tell(world: &World, news: News, ended: &mut BTreeMap<TaskId, QueueState>, waits: usize) {
    let queue = &world.ports.queue;
    let (mut waited, mut pause) = (0, FIRST_PAUSE);
    loop {
        if is_away(world) {
            return world.leases.could_not_tell();
        }
        let told = match &news {
            News::Enqueued(entries) => queue.enqueue(entries.clone(), ended.clone()).await,
            News::Amended(entry) => queue.amend(entry.clone(), ended.clone()).await,
        };
        match told {
            Ok(consequences) => return settle::record(world, consequences).await,
            Err(QueueError::UnknownNeeds(needs)) if look_up(world, &needs, ended).await => continue,
            Err(error @ QueueError::UnknownNeeds(_)) if waited < waits && world.check_open().is_ok() => {
                tracing::debug!(%error, "a task waits to be told to the queue");
            }
            Err(error) => {
                world.leases.could_not_tell();
                tracing::warn!(%error, "the queue could not be told of a task; it is told again, at the next start at the latest");
                return;
            }
        }
        waited += 1;
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// How needs ended by now; whether any of it is news.
async fn look_up(world: &World, needs: &[TaskId], ended: &mut BTreeMap<TaskId, QueueState>) -> bool {
    let before = ended.len();
    for need in needs {
        let state = find(world, need).await.ok().flatten().as_ref().and_then(came_to);
        ended.extend(state.map(|state| (need.clone(), state)));
    }
    ended.len() > before
}
