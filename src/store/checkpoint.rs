//! Checkpoints: what the WAL has gathered is written back to the store's file.
//!
//! Inside a commit that would hold up every batch for as long as a thousand pages take. So a thread copies them while
//! commits go on and waits until the disk has them, and the writer writes back only what came meanwhile: then nothing is
//! left, and the next commit begins the WAL anew.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

use super::connection::{self, Durability};
use super::lock::beside;

/// A checkpoint begins after so many pages (32 MiB): often enough to keep the WAL small, seldom enough that the pages of
/// the indexes are written back once for many inserts.
pub(super) const CHECKPOINT_PAGES: u32 = 4_096;

/// Above this size of the WAL file the writer waits for readers to let go of it. Usually checkpoints keep it well below.
const WAL_LIMIT: u64 = 96 << 20;
/// How often the file's size is looked at, in turns of the writer.
const WAL_CHECK_TURNS: u32 = 256;

/// How long the writer waits for readers: batches wait meanwhile.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

pub(super) struct Checkpoints {
    path: PathBuf,
    /// The store's file, only to wait for the disk. It must stay open longer than every connection of this process: a
    /// process that closes any handle of a file loses all its locks on it, and those are SQLite's.
    file: Arc<File>,
    durability: Durability,
    every: u32,
    /// Pages in the WAL as of the last commit, and as of the last look.
    pages: Arc<AtomicU32>,
    seen: u32,
    /// So many pages ask for the next checkpoint.
    due: u32,
    /// The thread that copies.
    under_way: Option<JoinHandle<rusqlite::Result<()>>>,
    turns: u32,
}

impl Checkpoints {
    pub(super) fn new(path: &Path, file: Arc<File>, durability: Durability, every: u32) -> Self {
        let (path, pages) = (path.to_owned(), Arc::default());
        Self { path, file, durability, every, pages, seen: 0, due: every, under_way: None, turns: 0 }
    }

    /// Counts what this connection commits.
    pub(super) fn count(&self, conn: &mut Connection) -> rusqlite::Result<()> {
        let pages = self.pages.clone();
        conn.wal_hook(Some(move |_: &mut _, count: i32| {
            pages.store(count.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))
    }

    /// Between two turns of the writer, with its connection.
    pub(super) fn tend(&mut self, conn: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.seen {
            self.due = self.every;
        }
        self.seen = pages;
        if let Some(copied) = self.under_way.take_if(|thread| thread.is_finished()) {
            tell(copied.join().unwrap_or(Ok(())).and_then(|()| connection::write_back(conn)));
            // A reader that still looks at old pages keeps the WAL from being begun anew: it goes on behind them.
            self.due = pages + self.every;
        } else if self.under_way.is_none() && pages >= self.due {
            self.begin(conn);
        }
        self.keep_small(conn);
    }

    fn begin(&mut self, conn: &Connection) {
        let (path, file, durability) = (self.path.clone(), self.file.clone(), self.durability);
        let copy = move || {
            connection::write_back(&connection::reopen(&path, durability)?)?;
            // SQLite itself waits for the disk when nothing is left, which is the writer's part. This takes most of that
            // wait; it promises nothing, so that a failure is of no account.
            let _ = (durability == Durability::Full).then(|| file.sync_data());
            Ok(())
        };
        match thread::Builder::new().name("checkpoint".to_owned()).spawn(copy) {
            Ok(thread) => self.under_way = Some(thread),
            Err(error) => {
                tracing::warn!(%error, "no thread for a checkpoint: the writer does it");
                tell(connection::write_back(conn));
                self.due = self.seen + self.every;
            }
        }
    }

    /// These checkpoints wait for nobody. When readers follow each other without a gap the file would grow for ever:
    /// then the writer waits for them, but not long, and looks again later.
    fn keep_small(&mut self, conn: &Connection) {
        self.turns = self.turns.wrapping_add(1);
        if !self.turns.is_multiple_of(WAL_CHECK_TURNS) || self.under_way.is_some() {
            return;
        }
        let bytes = fs::metadata(beside(&self.path, "-wal")).map_or(0, |file| file.len());
        if bytes > WAL_LIMIT {
            match connection::empty_wal(conn, PATIENCE) {
                Ok(emptied) => tracing::debug!(bytes, emptied, "the write-ahead log was to be emptied"),
                Err(error) => tell(Err(error)),
            }
        }
    }

    /// Until no thread copies any more.
    pub(super) fn settle(&mut self) {
        if let Some(copied) = self.under_way.take() {
            tell(copied.join().unwrap_or(Ok(())));
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Nothing is lost by a checkpoint that fails: the pages stay in the WAL, and the next one comes.
fn tell(done: rusqlite::Result<()>) {
    if let Err(error) = done {
        tracing::warn!(%error, "the write-ahead log cannot be written back now");
    }
}
