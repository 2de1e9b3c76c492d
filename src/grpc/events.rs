//! A run as a stream: its updates from the first, then how it ended. A cursor over the run's own list, polled by the
//! connection itself: no task, no channel.

use std::sync::Arc;

use futures::{Stream, stream};
use moothall_actors::Attached;
use moothall_actors::domain::verdict::Outcome;
use moothall_actors::error::SystemError;
use moothall_actors::progress::{Phase, Update, Updates};

/// One thing to tell a reader.
pub(super) enum Event {
    /// Counted from 1.
    Updated(u64, Arc<Update>),
    /// Once, last.
    Ended { index: u64, percent: u8, result: Result<Arc<Outcome>, SystemError> },
}

struct Reader {
    attached: Attached,
    updates: Updates,
    index: u64,
    percent: u8,
    ended: bool,
}

/// Dropping the stream lets go of `attached`.
pub(super) fn events(attached: Attached) -> impl Stream<Item = Event> + Send + 'static {
    let updates = attached.updates();
    let reader = Reader { attached, updates, index: 0, percent: 0, ended: false };
    stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((event, reader))
    })
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        while let Some(update) = self.updates.next().await {
            self.index += 1;
            self.percent = update.percent;
            // How it ended is told from the outcome, which is durable.
            if !matches!(update.phase, Phase::Complete | Phase::Failed) {
                return Some(Event::Updated(self.index, update));
            }
        }
        let result = self.attached.outcome().await;
        self.ended = true;
        Some(Event::Ended { index: self.index + 1, percent: self.percent, result })
    }
}
