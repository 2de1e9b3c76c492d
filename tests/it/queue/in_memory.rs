//! The queue of one process on a stage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use moothall_actors::domain::id::Timestamp;
use moothall_actors::ports::Clock;
use moothall_actors::ports::queue::TaskQueue;
use moothall_actors::queue::MemoryQueue;

use super::{BEGIN, LIMITS, Stage};

struct Told(AtomicU64);

impl Clock for Told {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct InMemory {
    queue: MemoryQueue,
    clock: Arc<Told>,
}

pub(crate) async fn fresh() -> InMemory {
    let clock = Arc::new(Told(AtomicU64::new(BEGIN)));
    InMemory { queue: MemoryQueue::new(LIMITS, clock.clone()), clock }
}

#[async_trait]
impl Stage for InMemory {
    fn queue(&self) -> &dyn TaskQueue {
        &self.queue
    }

    async fn tell_time(&self, now: u64) {
        self.clock.0.store(now, Ordering::SeqCst);
    }
}
