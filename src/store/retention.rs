//! A prune from its beginning to its end: finds what is too old and has the writer take one small step after the other,
//! with pauses in between. Dropped or killed anywhere, the next one goes on.

use std::time::Duration;

use moothall_actors::domain::id::Timestamp;
use moothall_actors::ports::JournalError;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::SqliteJournal;
use super::chore::Chore;
use super::prunable;
use super::prune::{Done, Step};

/// Tasks or tombstones of one step: each takes a few rows, all together some milliseconds.
const AT_ONCE: usize = 64;

/// What to prune, and how gently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneOrder {
    pub now: Timestamp,
    /// Tasks that ended earlier go, and messages that were rejected earlier; `None` = none does.
    pub ended_before: Option<Timestamp>,
    /// Tombstones made earlier go; `None` = none does.
    pub pruned_before: Option<Timestamp>,
    /// Most events of one transaction.
    pub batch: usize,
    /// The writer's time that it may take, in percent; 100 = no pauses.
    pub share: u8,
}

impl PruneOrder {
    /// Tasks older than `age`, at full speed; tombstones stay.
    #[must_use]
    pub fn older_than(age: Duration, now: Timestamp) -> Self {
        Self { now, ended_before: Some(before(now, age)), pruned_before: None, batch: 256, share: 100 }
    }
}

/// The time so long ago.
#[must_use]
pub fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
}

/// What a prune did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub tasks: u64,
    pub events: u64,
    /// Tombstones taken away.
    pub tombstones: u64,
    /// Given back to the file system, as soon as readers let go.
    pub bytes: u64,
    /// The longest that any of its steps kept the writer.
    pub longest_step: Duration,
}

impl Pruned {
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.tasks + self.events + self.tombstones + self.bytes == 0
    }

    fn add(&mut self, done: Done, page_bytes: u64) {
        self.tasks += done.tasks;
        self.events += done.events;
        self.tombstones += done.tombstones;
        self.bytes += done.pages * page_bytes;
        self.longest_step = self.longest_step.max(done.took);
    }
}

impl SqliteJournal {
    /// Prunes what is too old; one at a time, a second one waits. Writing goes on meanwhile.
    pub async fn prune(&self, order: &PruneOrder) -> Result<Pruned, JournalError> {
        let _alone = self.pruning.lock().await;
        let page_bytes = self.reader.page_bytes().await?;
        let mut run = Run { journal: self, order, page_bytes, pruned: Pruned::default() };
        run.until_done(&Step::Reap { events: order.batch }).await?;
        run.tasks().await?;
        run.messages().await?;
        run.tombstones().await?;
        run.until_done(&Step::Shrink).await?;
        let pruned = run.pruned;
        run.take(Step::Note { now: order.now, tasks: pruned.tasks }).await?;
        Ok(pruned)
    }

    /// How many tasks [`SqliteJournal::prune`] would find now.
    pub async fn prunable(&self, ended_before: Timestamp) -> Result<u64, JournalError> {
        self.reader.prunable(ended_before).await
    }

    async fn take_step(&self, step: Step) -> Result<Done, JournalError> {
        let (tell, told) = oneshot::channel();
        self.shared.queue.push_chore(Chore { step, tell });
        told.await.unwrap_or(Err(JournalError::Closed))
    }
}

struct Run<'j> {
    journal: &'j SqliteJournal,
    order: &'j PruneOrder,
    page_bytes: u64,
    pruned: Pruned,
}

impl Run<'_> {
    async fn tasks(&mut self) -> Result<(), JournalError> {
        let Some(ended_before) = self.order.ended_before else { return Ok(()) };
        let mut after = 0;
        loop {
            let page = self.journal.reader.read(move |conn| prunable::tasks(conn, after, ended_before)).await?;
            for tasks in page.found.chunks(AT_ONCE) {
                self.take(Step::Doom { tasks: tasks.to_vec(), ended_before, now: self.order.now }).await?;
                self.until_done(&Step::Reap { events: self.order.batch }).await?;
            }
            if page.end {
                return Ok(());
            }
            after = page.last;
        }
    }

    /// What nobody could act on is kept as long as what came of the rest.
    async fn messages(&mut self) -> Result<(), JournalError> {
        let Some(rejected_before) = self.order.ended_before else { return Ok(()) };
        let mut after = Some(String::new());
        while let Some(behind) = after {
            let read = move |conn: &Connection| prunable::messages(conn, &behind, rejected_before);
            let (found, next) = self.journal.reader.read(read).await?;
            for messages in found.chunks(AT_ONCE) {
                self.until_done(&Step::Drop { messages: messages.to_vec(), rejected_before }).await?;
            }
            after = next;
        }
        Ok(())
    }

    async fn tombstones(&mut self) -> Result<(), JournalError> {
        let Some(pruned_before) = self.order.pruned_before else { return Ok(()) };
        let mut after = 0;
        loop {
            let page = self.journal.reader.read(move |conn| prunable::tombstones(conn, after, pruned_before)).await?;
            for tombstones in page.found.chunks(AT_ONCE) {
                self.take(Step::Forget { tombstones: tombstones.to_vec(), pruned_before }).await?;
            }
            if page.end {
                return Ok(());
            }
            after = page.last;
        }
    }

    async fn until_done(&mut self, step: &Step) -> Result<(), JournalError> {
        while self.take(step.clone()).await?.more {}
        Ok(())
    }

    /// One step, and the pause that it earned the others.
    async fn take(&mut self, step: Step) -> Result<Done, JournalError> {
        let done = self.journal.take_step(step).await?;
        self.pruned.add(done, self.page_bytes);
        let pause = pause(done.took, self.order.share);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(done)
    }
}

/// As long as the step must be followed by nothing, for it to be that share of the whole.
fn pause(took: Duration, share: u8) -> Duration {
    let share = u32::from(share.clamp(1, 100));
    took * (100 - share) / share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_leaves_the_writer_its_share() {
        let took = Duration::from_millis(4);
        assert_eq!(pause(took, 100), Duration::ZERO);
        assert_eq!(pause(took, 50), took);
        assert_eq!(pause(took, 5), Duration::from_millis(76));
        assert_eq!(pause(took, 0), Duration::from_millis(396));
    }

    #[test]
    fn an_age_beyond_all_time_is_the_beginning_of_time() {
        assert_eq!(before(Timestamp(5), Duration::from_millis(3)), Timestamp(2));
        assert_eq!(before(Timestamp(5), Duration::MAX), Timestamp(0));
    }
}
