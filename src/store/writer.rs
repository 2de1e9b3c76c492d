//! The one thread that writes. It keeps a group until it is durable or refused, whatever happens in between:
//!
//! ```text
//!            ┌── no room, or locked: wait a second ──┐
//!  gather ─▶ write ─▶ commit ─▶ tell ─▶ gather …     │
//!   ▲        └── device failed, thread panicked: reopen (3 in 10 s, then lost, 74)
//!   └─────────── damaged: lost, 65
//! ```
//!
//! Writing a group again is safe at every point: what is there already is recognised by its event ids. Between two
//! groups it takes a step of pruning, when one is wanted (`chore.rs`).

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moothall_actors::ports::{JournalError, JournalHealth};
use rusqlite::Connection;
use tokio::sync::watch;

use super::checkpoint::{self, Checkpoints};
use super::connection::{self, Durability, FileIdentity};
use super::error::{Cure, EXIT_DATA, EXIT_IO, chain, is_corrupt};
use super::fault::{FaultHook, FaultPoint};
use super::lock::{StoreLock, beside};
use super::queue::{Pending, Queue, Turn};
use super::streams::Streams;
use super::transaction::{self, Care, Outcome, Written};

/// So many reopenings within [`REOPEN_WINDOW`]; one more and the store is lost.
const REOPENINGS: usize = 3;
const REOPEN_WINDOW: Duration = Duration::from_secs(10);
/// Between a failure and the reopening.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// What the callers' side and the writer share.
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) health: watch::Sender<JournalHealth>,
    /// The last event's place.
    pub(super) head: watch::Sender<u64>,
}

impl Shared {
    /// For good: whoever waits or comes is told why.
    pub(super) fn lose(&self, why: &str, exit_code: u8) {
        tracing::error!(why, exit_code, "the journal is lost");
        self.health.send_replace(JournalHealth::Lost { why: why.into(), exit_code });
        self.queue.end(&JournalError::Unusable(why.into()));
    }

    fn is_lost(&self) -> bool {
        matches!(*self.health.borrow(), JournalHealth::Lost { .. })
    }

    fn stall(&self, why: &str) {
        let stalled = JournalHealth::Stalled { why: why.into() };
        let news = self.health.send_if_modified(|health| {
            let news = *health == JournalHealth::Writable;
            if !matches!(health, JournalHealth::Lost { .. }) {
                *health = stalled;
            }
            news
        });
        if news {
            tracing::error!(why, "the journal cannot be written now; everything is kept and tried again");
        }
    }

    fn heal(&self) {
        let healed = self.health.send_if_modified(|health| {
            let stalled = matches!(health, JournalHealth::Stalled { .. });
            if stalled {
                *health = JournalHealth::Writable;
            }
            stalled
        });
        if healed {
            tracing::info!("the journal can be written again");
        }
    }
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) path: PathBuf,
    pub(super) file: FileIdentity,
    pub(super) durability: Durability,
    pub(super) retry_every: Duration,
    pub(super) fault: Option<FaultHook>,
    /// `None` = to be opened anew.
    pub(super) conn: Option<Connection>,
    pub(super) streams: Streams,
    /// What a group that is durable is to be told, as far as it is not: a panic meanwhile changes nothing of it.
    pub(super) decided: VecDeque<Outcome>,
    pub(super) reopenings: VecDeque<Instant>,
    pub(super) checkpoints: Checkpoints,
    /// `None` = a store that nobody else can find.
    pub(super) lock: Option<StoreLock>,
}

/// What stopped a group.
pub(super) enum Trouble {
    Sqlite(rusqlite::Error),
    Panicked,
    /// There is no file at the path any more.
    Gone(io::Error),
    /// There is another one.
    Replaced,
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Trouble {
    pub(super) fn cure(&self) -> Cure {
        match self {
            Self::Sqlite(error) => Cure::of(error),
            Self::Panicked | Self::Gone(_) => Cure::Reopen,
            Self::Replaced => Cure::GiveUp,
        }
    }

    pub(super) fn why(&self) -> String {
        match self {
            Self::Sqlite(error) => chain(error),
            Self::Panicked => "the writer panicked".to_owned(),
            Self::Gone(error) => format!("its file is gone: {error}"),
            Self::Replaced => "another file stands in its place".to_owned(),
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Sqlite(error) if is_corrupt(error) => EXIT_DATA,
            _ => EXIT_IO,
        }
    }
}

impl Writer {
    /// Until the queue is closed and empty, or the store is lost.
    pub(super) fn run(mut self) {
        let mut last = 1;
        while let Some(turn) = self.shared.queue.gather(last) {
            match turn {
                Turn::Group(mut group) => {
                    last = group.len();
                    self.see_through(&mut group);
                }
                Turn::Chore(chore) => self.do_chore(chore),
            }
            if self.shared.is_lost() {
                return;
            }
            if let Some(conn) = &self.conn {
                self.checkpoints.tend(conn);
            }
        }
        self.finish();
    }

    /// Every batch of the group is told when this returns.
    fn see_through(&mut self, group: &mut VecDeque<Pending>) {
        while !group.is_empty() {
            let attempt = catch_unwind(AssertUnwindSafe(|| self.attempt(group)));
            let trouble = match attempt {
                Ok(Ok(())) => continue,
                Ok(Err(trouble)) => trouble,
                Err(_) => Trouble::Panicked,
            };
            if let Some(refusal) = self.treat(&trouble) {
                for pending in group.drain(..) {
                    self.shared.queue.settle(pending, Err(refusal.clone()));
                }
            }
        }
    }

    fn attempt(&mut self, group: &mut VecDeque<Pending>) -> Result<(), Trouble> {
        if self.decided.is_empty() {
            match self.write(group, Care::Quick) {
                Err(Trouble::Sqlite(error)) if Cure::of(&error) == Cure::Sift => self.write(group, Care::Sift)?,
                written => written?,
            }
        }
        self.shared.heal();
        while !self.decided.is_empty() {
            self.reach(FaultPoint::BeforeAck);
            // Taken out before it is told: a panic in the telling must not tell it twice.
            if let (Some(outcome), Some(pending)) = (self.decided.pop_front(), group.pop_front()) {
                self.shared.queue.settle(pending, outcome);
            }
        }
        Ok(())
    }

    fn write(&mut self, group: &VecDeque<Pending>, care: Care) -> Result<(), Trouble> {
        self.with_connection(|writer, conn| writer.transact(conn, group, care))
    }

    /// Runs what begins and commits a transaction; takes back what it left.
    pub(super) fn with_connection<T>(
        &mut self,
        job: impl FnOnce(&mut Self, &Connection) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.find_file()?;
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.reopen()?,
        };
        let done = job(self, &conn);
        if done.is_err() {
            self.streams.forget();
            // A failed rollback leaves a connection of unknown state: it is dropped, the next one starts clean.
            if !conn.is_autocommit() && conn.execute_batch("ROLLBACK").is_err() {
                return done;
            }
        }
        self.conn = Some(conn);
        done
    }

    fn reopen(&self) -> rusqlite::Result<Connection> {
        let mut conn = connection::reopen(&self.path, self.durability)?;
        self.checkpoints.count(&mut conn)?;
        Ok(conn)
    }

    fn transact(&mut self, conn: &Connection, group: &VecDeque<Pending>, care: Care) -> Result<(), Trouble> {
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let Written { outcomes, last } = transaction::write(conn, &mut self.streams, group, care)?;
        self.reach(FaultPoint::BeforeCommit);
        conn.prepare_cached("COMMIT")?.execute([])?;
        self.decided = outcomes.into();
        if let Some(last) = last {
            self.shared.head.send_replace(last);
        }
        self.reach(FaultPoint::AfterCommit);
        Ok(())
    }

    /// Waits as long as the trouble asks for; what the group is told when nothing helps.
    fn treat(&mut self, trouble: &Trouble) -> Option<JournalError> {
        let why = trouble.why();
        match trouble.cure() {
            Cure::Wait => self.wait(&why),
            Cure::Reopen if self.no_room() => self.wait(&why),
            Cure::GiveUp => Some(self.lose(&why, trouble.exit_code())),
            Cure::Reopen | Cure::Sift => {
                // After a panic the rollback did not run, and what was noted in memory is not so.
                self.conn = None;
                self.streams.forget();
                let now = Instant::now();
                self.reopenings.retain(|at| now.duration_since(*at) < REOPEN_WINDOW);
                if self.reopenings.len() >= REOPENINGS {
                    return Some(self.lose(&why, trouble.exit_code()));
                }
                self.reopenings.push_back(now);
                tracing::warn!(why, "the store is opened anew");
                self.shared.queue.pause(REOPEN_PAUSE.min(self.retry_every));
                None
            }
        }
    }

    fn wait(&mut self, why: &str) -> Option<JournalError> {
        self.shared.stall(why);
        if self.shared.queue.is_closing() {
            tracing::error!(why, "the journal is closed with batches unwritten; none of them was acknowledged");
            return Some(JournalError::Closed);
        }
        self.shared.queue.pause(self.retry_every);
        // Pages that stand in the WAL many times need less room once they are written back.
        if let Some(conn) = &self.conn {
            let _ = connection::empty_wal(conn, checkpoint::PATIENCE);
        }
        None
    }

    pub(super) fn lose(&self, why: &str, exit_code: u8) -> JournalError {
        self.shared.lose(why, exit_code);
        JournalError::Unusable(why.into())
    }

    /// An open file can be written after it was removed or moved away. SQLite would not notice, and what was
    /// acknowledged would be gone with the process: so this looks, once per group.
    fn find_file(&self) -> Result<(), Trouble> {
        let found = connection::identity(&self.path).map_err(Trouble::Gone)?;
        if found == self.file { Ok(()) } else { Err(Trouble::Replaced) }
    }

    /// Some file systems report a full disk as a failed write: ask them once more, in plain words.
    fn no_room(&self) -> bool {
        let probe = beside(&self.path, ".probe");
        let written = File::create(&probe).and_then(|mut file| {
            file.write_all(&[0; 64 << 10])?;
            file.sync_all()
        });
        let _ = fs::remove_file(&probe);
        written.is_err_and(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    pub(super) fn reach(&self, point: FaultPoint) {
        if let Some(hook) = &self.fault {
            hook(point);
        }
    }

    /// Leaves one file behind, and the lock free.
    fn finish(mut self) {
        self.checkpoints.settle();
        if let Some(conn) = self.conn.take() {
            if let Err(error) = connection::empty_wal(&conn, checkpoint::PATIENCE) {
                tracing::warn!(%error, "the last checkpoint failed; the next start makes up for it");
            }
            drop(conn);
        }
        drop(self.lock.take());
    }
}

impl Drop for Writer {
    /// However the thread ends, nobody waits for it any longer.
    fn drop(&mut self) {
        self.shared.queue.end(&JournalError::Closed);
    }
}
