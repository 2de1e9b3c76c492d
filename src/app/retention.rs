//! What is too old goes by itself: a little at a time, beside the work.

use std::sync::Arc;
use std::time::Duration;

use moothall_actors::ports::{Clock as _, JournalError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::identity::SystemClock;
use super::leap::LeapWatch;
use crate::config::RetentionConfig;
use crate::store::{PruneOrder, SqliteJournal, before};

/// The first look after a start: a daemon that is restarted every hour prunes too, and the start is over by then.
const FIRST_LOOK: Duration = Duration::from_secs(60);

/// What is to be pruned now. `age` takes the place of the configured one.
pub(super) fn order(config: &RetentionConfig, age: Option<Duration>) -> PruneOrder {
    let now = SystemClock.now();
    PruneOrder {
        now,
        ended_before: age.or(config.tasks).map(|age| before(now, age)),
        pruned_before: config.tombstones.map(|age| before(now, age)),
        batch: config.batch,
        share: config.share,
    }
}

/// To be asked before this process writes: when the last event before it was.
pub(super) async fn watch_clock(store: &SqliteJournal) -> Result<LeapWatch, JournalError> {
    let newest = store.reader().retained().await?.newest;
    Ok(LeapWatch::new(newest, SystemClock.now(), Instant::now()))
}

/// Prunes again and again until it is aborted, which may happen at any time.
pub(super) fn begin(store: Arc<SqliteJournal>, config: RetentionConfig, mut clock: LeapWatch) -> JoinHandle<()> {
    tokio::spawn(async move {
        tokio::time::sleep(FIRST_LOOK.min(config.every)).await;
        loop {
            let order = order(&config, None);
            if !clock.is_even(order.now, Instant::now()) {
                tracing::warn!(
                    "the clock leapt forward; nothing is pruned by itself until it has gone evenly for a day"
                );
                tokio::time::sleep(config.every).await;
                continue;
            }
            match store.prune(&order).await {
                Ok(pruned) if pruned.is_nothing() => {}
                Ok(pruned) => {
                    let (tasks, events, bytes) = (pruned.tasks, pruned.events, pruned.bytes);
                    tracing::info!(tasks, events, bytes, "what is too old was pruned");
                }
                Err(error) => tracing::warn!(%error, "pruning stopped; it goes on at the next time"),
            }
            tokio::time::sleep(config.every).await;
        }
    })
}
