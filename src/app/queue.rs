//! The task queue: in this process, or in a server that several daemons share.

use std::sync::Arc;

use moothall_actors::ports::Journal;
use moothall_actors::ports::queue::TaskQueue;
use moothall_actors::ports::shared::{QueueHealth, SharedQueue};
use moothall_actors::queue::MemoryQueue;

use super::AppError;
use super::identity::SystemClock;
use super::settings::queue_limits;
use crate::config::Config;
use crate::http::Health;
use crate::redis::{JournalTexts, RedisQueue};

/// The same queue behind both ports.
pub(super) struct Queue {
    pub(super) queue: Arc<dyn TaskQueue>,
    pub(super) shared: Option<Arc<dyn SharedQueue>>,
}

/// Nothing is connected yet. `store`: the id of the journal's store.
pub(super) fn open(config: &Config, journal: Arc<dyn Journal>, store: &str) -> Result<Queue, AppError> {
    let Some(settings) = config.queue.shared.clone() else {
        // The store knows what waits; this orders it.
        let queue = Arc::new(MemoryQueue::new(queue_limits(config), Arc::new(SystemClock)));
        return Ok(Queue { queue, shared: None });
    };
    let queue = RedisQueue::new(settings).map_err(|error| AppError::Configuration(error.to_string()))?;
    let queue = Arc::new(queue.with_texts(Arc::new(JournalTexts::new(journal, store))));
    Ok(Queue { queue: queue.clone(), shared: Some(queue) })
}

/// As its last call found it; the next one that is answered heals it.
pub(super) fn health(queue: &dyn SharedQueue) -> Health {
    match queue.health() {
        QueueHealth::Healthy => Health::Healthy,
        QueueHealth::Degraded { why } => Health::Degraded(why),
    }
}
