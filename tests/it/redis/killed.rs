//! A queue whose server is killed and started anew before every call. A restart makes a new epoch, so that the journal (in
//! which a story has nothing that the queue has not) is said anew and leases are renewed; to a story its leases seem to be
//! the ones that it was given.
//!
//! A renewed lease is whole again, so that nothing is killed any more once a story turns the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use moothall::redis::RedisQueue;
use moothall_actors::domain::id::{TaskId, Timestamp};
use moothall_actors::domain::queue::{Entry, Fence, QueueState};
use moothall_actors::ports::queue::{
    Claim, Claimed, Consequence, Counts, Filter, Lease, QueueError, Report, Request, Row, TaskQueue,
};
use moothall_actors::ports::shared::SharedQueue;
use tokio::sync::{Mutex, MutexGuard};

use super::server::{Server, is_unavailable, trust};
use crate::queue::told::request;

pub(crate) struct Killed {
    queue: RedisQueue,
    world: Mutex<World>,
}

struct World {
    server: Server,
    kills: usize,
    is_clock_turned: bool,
    holders: BTreeSet<Arc<str>>,
    /// What a lease became by being renewed.
    leases: Vec<(Lease, Fence)>,
}

impl World {
    fn now(&self, lease: &Lease) -> Lease {
        let known = self.leases.iter().find(|(given, _)| given == lease);
        Lease { fence: known.map_or(lease.fence, |(_, fence)| *fence), ..lease.clone() }
    }
}

impl Killed {
    pub(crate) fn new(queue: RedisQueue, server: Server) -> Self {
        let world = World { server, kills: 0, is_clock_turned: false, holders: BTreeSet::new(), leases: Vec::new() };
        Self { queue, world: Mutex::new(world) }
    }

    pub(crate) async fn kills(&self) -> usize {
        self.world.lock().await.kills
    }

    pub(crate) async fn turn_the_clock(&self, now: u64) {
        let mut world = self.world.lock().await;
        world.is_clock_turned = true;
        world.server.tell_time(now).await;
    }

    async fn kill(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().await;
        if world.is_clock_turned {
            return world;
        }
        world.server.kill();
        world.server.run().await;
        world.kills += 1;
        let refused = self.queue.claim(&request("nobody", 0)).await;
        assert!(is_unavailable(&refused), "claimed before anybody said what is known: {refused:?}");
        trust(&self.queue).await;
        for holder in world.holders.clone() {
            for renewed in self.queue.renew(&holder).await.unwrap() {
                let same = |(given, _): &&mut (Lease, Fence)| {
                    given.task == renewed.lease.task && given.run == renewed.lease.run
                };
                let (_, fence) = world.leases.iter_mut().rfind(same).unwrap();
                assert!(*fence < renewed.lease.fence);
                *fence = renewed.lease.fence;
            }
        }
        world
    }
}

#[async_trait]
impl TaskQueue for Killed {
    async fn enqueue(
        &self,
        entries: Vec<Entry>,
        ended: BTreeMap<TaskId, QueueState>,
    ) -> Result<Vec<Consequence>, QueueError> {
        let _world = self.kill().await;
        self.queue.enqueue(entries, ended).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, QueueError> {
        let mut world = self.kill().await;
        world.holders.insert(claim.holder.clone());
        let claimed = self.queue.claim(claim).await?;
        world.leases.extend(claimed.iter().map(|claimed| (claimed.lease.clone(), claimed.lease.fence)));
        Ok(claimed)
    }

    async fn amend(&self, entry: Entry, ended: BTreeMap<TaskId, QueueState>) -> Result<Vec<Consequence>, QueueError> {
        let _world = self.kill().await;
        self.queue.amend(entry, ended).await
    }

    async fn adopt(&self, task: &TaskId, run: u32, holder: &Arc<str>) -> Result<Lease, QueueError> {
        let mut world = self.kill().await;
        world.holders.insert(holder.clone());
        let lease = self.queue.adopt(task, run, holder).await?;
        world.leases.push((lease.clone(), lease.fence));
        Ok(lease)
    }

    async fn take_back(&self, holder: &str) -> Result<Vec<TaskId>, QueueError> {
        let _world = self.kill().await;
        self.queue.take_back(holder).await
    }

    async fn heartbeat(&self, leases: &[Lease]) -> Result<Vec<Lease>, QueueError> {
        let world = self.kill().await;
        let now: Vec<Lease> = leases.iter().map(|lease| world.now(lease)).collect();
        let lost = self.queue.heartbeat(&now).await?;
        let pairs = leases.iter().zip(now);
        Ok(pairs.filter(|(_, now)| lost.contains(now)).map(|(lease, _)| lease.clone()).collect())
    }

    async fn report(&self, lease: &Lease, report: Report) -> Result<Vec<Consequence>, QueueError> {
        let world = self.kill().await;
        let answer = self.queue.report(&world.now(lease), report).await;
        answer.map_err(|error| match error {
            QueueError::Stale { task, .. } => QueueError::Stale { task, fence: lease.fence },
            error => error,
        })
    }

    async fn request(&self, task: &TaskId, request: Request) -> Result<Vec<Consequence>, QueueError> {
        let _world = self.kill().await;
        self.queue.request(task, request).await
    }

    async fn open_phase(&self, story: &str, phase: &str) -> Result<Vec<TaskId>, QueueError> {
        let _world = self.kill().await;
        self.queue.open_phase(story, phase).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Row>, QueueError> {
        let world = self.kill().await;
        let mut rows = self.queue.list(filter).await?;
        for fence in rows.iter_mut().filter_map(|row| row.fence.as_mut()) {
            *fence = world.leases.iter().rfind(|(_, now)| now == fence).unwrap().0.fence;
        }
        Ok(rows)
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        let _world = self.kill().await;
        self.queue.counts().await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, QueueError> {
        let _world = self.kill().await;
        self.queue.next_due().await
    }
}
