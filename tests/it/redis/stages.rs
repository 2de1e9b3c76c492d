//! Every story of the queue on a real server, and on one that is killed and started anew between any two calls of a story.

use async_trait::async_trait;
use moothall::redis::{RedisQueue, Settings};
use moothall_actors::ports::queue::TaskQueue;

use crate::queue::{BEGIN, LIMITS, Stage};
use crate::redis::killed::Killed;
use crate::redis::server::{Server, settings, trust};

pub(crate) struct InServer {
    queue: RedisQueue,
    server: Server,
}

pub(crate) async fn fresh() -> InServer {
    let server = Server::start().await;
    server.tell_time(BEGIN).await;
    let own = settings(server.port);
    let own = Settings { age: LIMITS.age, most: LIMITS.most, lease: LIMITS.lease.unwrap(), ..own };
    let queue = RedisQueue::with_told_time(own).unwrap();
    trust(&queue).await;
    InServer { queue, server }
}

pub(crate) async fn fresh_and_killed() -> Killed {
    let InServer { queue, server } = fresh().await;
    Killed::new(queue, server)
}

#[async_trait]
impl Stage for InServer {
    fn queue(&self) -> &dyn TaskQueue {
        &self.queue
    }

    async fn tell_time(&self, now: u64) {
        self.server.tell_time(now).await;
    }
}

#[async_trait]
impl Stage for Killed {
    fn queue(&self) -> &dyn TaskQueue {
        self
    }

    async fn tell_time(&self, now: u64) {
        self.turn_the_clock(now).await;
    }

    async fn end(&self) {
        assert!(self.kills().await > 0);
    }
}

conformance!(of_a_server, crate::redis::stages::fresh);
conformance!(of_a_server_that_is_killed, crate::redis::stages::fresh_and_killed);
