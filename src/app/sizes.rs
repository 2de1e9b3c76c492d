//! How big the journal is, as metrics: whoever watches them sees a disk fill up weeks before it is full.

use std::sync::Arc;
use std::time::Duration;

use metrics::{describe_gauge, gauge};
use moothall_actors::domain::id::Timestamp;
use moothall_actors::ports::{Clock as _, Journal as _, JournalError};
use tokio::task::JoinHandle;

use super::identity::SystemClock;
use crate::store::SqliteJournal;

/// As often as scrapes usually come. A look costs three reads of single rows.
const EVERY: Duration = Duration::from_secs(15);

const GAUGES: [(&str, &str); 11] = [
    ("moothall_journal_file_bytes", "size of the journal's file"),
    ("moothall_journal_wal_bytes", "size of its write-ahead log"),
    ("moothall_journal_free_bytes", "part of the file that is free for what comes"),
    ("moothall_journal_events", "events in the journal"),
    ("moothall_journal_streams", "streams in the journal"),
    ("moothall_journal_tasks", "tasks that are not pruned"),
    ("moothall_journal_tombstones", "pruned tasks whose outcome is still known"),
    (
        "moothall_journal_oldest_event_age_seconds",
        "age of the first event from which none is missing; 0 = there is none",
    ),
    ("moothall_journal_last_prune_timestamp_seconds", "when the last prune ended, Unix time; 0 = never"),
    ("moothall_journal_last_prune_tasks", "tasks that the last prune took"),
    ("moothall_journal_pruned_tasks", "tasks that were ever pruned"),
];

/// Tells the sizes again and again until it is aborted.
pub(super) fn begin(store: Arc<SqliteJournal>) -> JoinHandle<()> {
    GAUGES.iter().for_each(|(name, what)| describe_gauge!(*name, *what));
    tokio::spawn(async move {
        loop {
            match values(&store).await {
                Ok(values) => GAUGES.iter().zip(values).for_each(|((name, _), value)| gauge!(*name).set(value)),
                Err(error) => tracing::debug!(%error, "the journal's sizes are not known now"),
            }
            tokio::time::sleep(EVERY).await;
        }
    })
}

/// In the order of [`GAUGES`].
async fn values(store: &SqliteJournal) -> Result<[f64; 11], JournalError> {
    let (sizes, stats, kept) =
        (store.reader().file_sizes().await?, store.stats().await?, store.reader().retained().await?);
    let now = SystemClock.now();
    let age = kept.oldest.map_or(0, |oldest| now.0.saturating_sub(oldest.0));
    let seconds = |at: Option<Timestamp>| at.map_or(0, |at| at.0 / 1_000);
    #[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 52 bits")]
    Ok([
        sizes.database,
        sizes.wal,
        sizes.free,
        stats.events,
        stats.streams,
        stats.tasks,
        kept.tombstones,
        age / 1_000,
        seconds(kept.last_prune),
        kept.last_tasks,
        kept.tasks,
    ]
    .map(|value| value as f64))
}
