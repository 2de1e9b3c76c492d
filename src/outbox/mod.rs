//! The way out: what the journal says happened becomes the events that others read, in the journal's order.
//!
//! ```text
//!  journal ─▶ kinds that are published ─▶ wording, ends: subject and fields ─▶ adapter, which remembers how far it came
//!                                            │ facts: of the task, of its plan, of its verdict
//! ```
//! It keeps nothing of its own: asked again for the same place, it says the same.

mod ends;
mod facts;
mod finals;
mod lost;
mod wording;
mod workflow;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use moothall_actors::System;
use moothall_actors::domain::event::{Event, Recorded};
use moothall_actors::domain::id::{StreamId, TaskId};
use moothall_actors::ports::{Batch, Cursor as SavedCursor, Journal, JournalError, whole_stream};
use tokio::sync::watch;

use self::facts::Facts;
pub use self::finals::Finals;
use crate::nats::{Cursor, Outbox, Publication, Unavailable};
use crate::store::{EventQuery, SqliteJournal};

/// The cursor's name in the store.
const CURSOR: &str = "outbox";

/// What stands there while events are switched off.
const OFF: &str = "off";

/// What others are told of.
const KINDS: [&str; 16] = [
    "DeliberationFailed",
    "ExecutionRequested",
    "MessageRejected",
    "PlanApproved",
    "StoryMoved",
    "TaskAssigned",
    "TaskBlocked",
    "TaskCancelled",
    "TaskCompleted",
    "TaskDispatched",
    "TaskFailed",
    "TaskParked",
    "TaskQueued",
    "TaskSkipped",
    "VerdictReached",
    "WorkflowAdvanced",
];

/// The daemon's outbox.
pub struct EventOutbox {
    store: Arc<SqliteJournal>,
    system: System,
    facts: Facts,
    /// Then how tasks of the queue ended is told by the queue, once for all daemons.
    shares_queue: bool,
    /// Places that will never go out, and may still be asked for. Few: each is a misconfigured server or an event that is
    /// too large.
    refused: Mutex<BTreeSet<u64>>,
    looked: Mutex<Looked>,
}

/// Behind `said` there is nothing to publish up to `to`: what others are not told of is passed over once.
#[derive(Clone, Copy, Debug, Default)]
struct Looked {
    said: u64,
    to: u64,
}

impl Looked {
    /// From where to look for what comes behind this place.
    fn start(self, after_seq: u64) -> u64 {
        if self.said == after_seq { self.to.max(after_seq) } else { after_seq }
    }
}

impl EventOutbox {
    /// Reads what will not go out. The place was seen to before: [`keep_place`].
    pub async fn open(store: Arc<SqliteJournal>, system: System, shares_queue: bool) -> Result<Self, JournalError> {
        let refusals = whole_stream(&*store, &StreamId::outbox()).await?;
        let refused = refusals.into_iter().filter_map(|recorded| match recorded.event.event {
            Event::PublishRefused { seq, .. } => Some(seq),
            _ => None,
        });
        let (refused, looked) = (Mutex::new(refused.collect()), Mutex::default());
        Ok(Self { facts: Facts::new(store.clone()), store, system, shares_queue, refused, looked })
    }

    async fn page(&self, after_seq: u64, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        let kinds = KINDS.map(str::to_owned).to_vec();
        let query = EventQuery { after_seq, limit, kinds, gaps: true, ..EventQuery::default() };
        let stored = self.store.reader().select(query).await?;
        let read = stored.into_iter().map(|event| event.decode()).collect::<Result<_, _>>();
        read.map_err(|error| JournalError::Unusable(error.to_string().into()))
    }

    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With a queue that is shared: how a task ended is told by the queue, and that it waits by whoever took it in.
    async fn is_told_elsewhere(&self, recorded: &Recorded) -> Result<bool, JournalError> {
        if !self.shares_queue {
            return Ok(false);
        }
        if matches!(recorded.event.event, Event::TaskQueued(_)) {
            let before = self.store.stream(&recorded.stream, recorded.version.saturating_sub(2), 1).await?;
            let is_elsewhere =
                |event: &Event| matches!(event, Event::TaskTakenOver { .. } | Event::RunSuperseded { .. });
            return Ok(before.first().is_some_and(|before| is_elsewhere(&before.event.event)));
        }
        if !recorded.event.event.is_final() {
            return Ok(false);
        }
        let name = recorded.stream.as_str().strip_prefix("task/").unwrap_or_default();
        let Ok(task) = TaskId::parse("task", name) else { return Ok(false) };
        let queued_since = self.facts.of_task(&task).await?.and_then(|of| of.queued_since);
        Ok(queued_since.zip(wording::run(&recorded.event.event)).is_some_and(|(since, run)| run >= since))
    }

    fn is_refused(&self, seq: u64) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).contains(&seq)
    }
}

/// Before anything new happens at a start. With events switched on: from where it was, or from the end of what there is
/// when nothing went out before. Switched off: nothing is kept for it, and what happens meanwhile never goes out.
pub async fn keep_place(store: &SqliteJournal, enabled: bool) -> Result<(), JournalError> {
    let saved = store.cursor(CURSOR).await?;
    let is_on = saved.as_ref().map(|saved| &*saved.state != OFF);
    match (enabled, is_on) {
        (true, None | Some(false)) => {
            let seq = store.stats().await?.last_seq;
            save(store, &Cursor::beginning(seq, jiff::Timestamp::now().as_millisecond())).await
        }
        (false, Some(true)) => {
            let beyond_all = SavedCursor { name: CURSOR.into(), seq: i64::MAX.unsigned_abs(), state: OFF.into() };
            store.commit(Batch { cursor: Some(beyond_all), ..Batch::default() }).await.map(drop)
        }
        (true, Some(true)) | (false, None | Some(false)) => Ok(()),
    }
}

async fn save(store: &SqliteJournal, cursor: &Cursor) -> Result<(), JournalError> {
    let state = serde_json::to_string(cursor).map_err(|error| JournalError::Unusable(error.to_string().into()))?;
    let saved = SavedCursor { name: CURSOR.into(), seq: cursor.oldest(), state: state.into() };
    store.commit(Batch { cursor: Some(saved), ..Batch::default() }).await.map(drop)
}

fn unavailable(error: impl std::fmt::Display) -> Unavailable {
    Unavailable::new(error.to_string())
}

#[async_trait]
impl Outbox for EventOutbox {
    async fn cursor(&self) -> Result<Option<Cursor>, Unavailable> {
        let Some(saved) = self.store.cursor(CURSOR).await.map_err(unavailable)? else { return Ok(None) };
        serde_json::from_str(&saved.state).map(Some).map_err(unavailable)
    }

    async fn next(&self, after_seq: u64, limit: usize) -> Result<Vec<Publication>, Unavailable> {
        let (mut publications, mut after) = (Vec::new(), self.looked().start(after_seq));
        // A page may hold events that nobody is told of.
        while publications.len() < limit {
            let wanted = limit - publications.len();
            // What is there before it is asked for is in the answer.
            let head = *self.store.watch_head().borrow();
            let page = self.page(after, wanted).await.map_err(unavailable)?;
            let is_last = page.len() < wanted;
            after = page.last().map_or(after, |last| last.seq);
            if is_last {
                after = after.max(head);
            }
            self.facts.look_up(wording::tasks(&page)).await.map_err(unavailable)?;
            for recorded in page.into_iter().filter(|recorded| !self.is_refused(recorded.seq)) {
                if self.is_told_elsewhere(&recorded).await.map_err(unavailable)? {
                    continue;
                }
                publications.extend(wording::publication(&self.facts, recorded).await.map_err(unavailable)?);
            }
            if is_last {
                break;
            }
        }
        let said = publications.last().map_or(after_seq, |last: &Publication| last.seq);
        *self.looked() = Looked { said, to: after };
        Ok(publications)
    }

    async fn saved(&self, cursor: Cursor) -> Result<(), Unavailable> {
        save(&self.store, &cursor).await.map_err(unavailable)?;
        let oldest = cursor.oldest();
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).retain(|seq| *seq > oldest);
        Ok(())
    }

    async fn refused(&self, seq: u64, why: &str) -> Result<(), Unavailable> {
        self.system.refuse_publishing(seq, why).await.map_err(unavailable)?;
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(seq);
        Ok(())
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.store.watch_head()
    }
}

#[cfg(test)]
mod tests {
    use super::Looked;

    #[test]
    fn only_whoever_goes_on_behind_the_last_publication_passes_over_what_was_looked_at() {
        let looked = Looked { said: 7, to: 90 };
        assert_eq!(looked.start(7), 90);
        assert_eq!(looked.start(3), 3, "a look back finds all of it again");
        assert_eq!(looked.start(95), 95);
        assert_eq!(Looked::default().start(0), 0);
    }
}
