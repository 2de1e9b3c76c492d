//! The journal on disk: SQLite, one file, in the daemon's own process.
//!
//! ```text
//!  callers ── submit: encode ──▶ queue (bounded) ──▶ writer thread: gather, check versions, insert, project, COMMIT
//!     ▲                                                  │
//!     └───────────────────── ack ◀───────────────────────┘        readers: 4 connections beside it
//! ```
//!
//! One writer because SQLite has one; a thread because its calls block; groups because a commit costs the same for one
//! event and for a thousand. What was acknowledged is on the disk (`synchronous=FULL`), in the order of the calls to
//! `submit`. Everything else here follows from that: `writer.rs` says what happens when the disk is full or fails,
//! `prune.rs` how what is too old goes without keeping anybody waiting.

mod backup;
mod checkpoint;
mod chore;
mod connection;
mod error;
mod exchange;
mod fault;
mod foreign;
mod lock;
mod migration;
mod projection;
mod prunable;
mod prune;
mod query;
mod queue;
mod reader;
mod rebuild;
mod restore;
mod retention;
mod row;
mod span;
mod streams;
mod transaction;
mod url;
mod verify;
mod workflow;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use moothall_actors::domain::event::Recorded;
use moothall_actors::domain::id::{StreamId, TaskId, Timestamp};
use moothall_actors::domain::receipt::Receipt;
use moothall_actors::domain::workflow::{Workflow, WorkflowId, WorkflowType};
use moothall_actors::ports::{
    Ack, Batch, Cursor, Journal, JournalError, JournalHealth, JournalStats, Recovery, TaskQuery, TaskRow, WorkflowQuery,
};
use tokio::sync::watch;

use self::checkpoint::Checkpoints;
pub use self::connection::Durability;
pub use self::error::{OpenError, RebuildError, RestoreError, StoreError};
pub use self::fault::{FaultHook, FaultPoint, UnknownFaultPoint};
pub use self::foreign::{Foreign, ForeignWorkflow};
use self::lock::StoreLock;
pub use self::prunable::Retained;
pub use self::query::EventQuery;
use self::queue::{Bounds, Pending, Queue};
pub use self::reader::{FileSizes, StoreReader};
pub use self::restore::Restored;
pub use self::retention::{PruneOrder, Pruned, before};
pub use self::row::StoredEvent;
use self::streams::Streams;
pub use self::url::DatabaseUrl;
pub use self::verify::VerifyReport;
use self::writer::{Shared, Writer};
use crate::folder::TemporaryFolder;

/// What came of making the tables beside the journal anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// That they were made from.
    pub events: u64,
    pub tables: Vec<RebuiltTable>,
}

/// One of these tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuiltTable {
    pub table: &'static str,
    pub rows: u64,
    /// Of them, those that were not there before.
    pub new: u64,
    /// Those that were there before and are not now.
    pub gone: u64,
}

/// How a store behaves. The defaults are the daemon's.
#[derive(Clone)]
pub struct StoreOptions {
    pub durability: Durability,
    /// Most batches that wait to be written; above, `Busy`.
    pub queue_batches: usize,
    /// Most bytes of payload that wait to be written; above, `Busy`.
    pub queue_bytes: usize,
    /// How often a full disk is tried again.
    pub retry_every: Duration,
    /// After so many pages of the write-ahead log it is written back.
    pub checkpoint_pages: u32,
    /// For tests that end the process at a given place.
    pub fault: Option<FaultHook>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            queue_batches: 65_536,
            queue_bytes: 256 << 20,
            retry_every: Duration::from_secs(1),
            checkpoint_pages: checkpoint::CHECKPOINT_PAGES,
            fault: None,
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("durability", &self.durability)
            .field("queue_batches", &self.queue_batches)
            .field("queue_bytes", &self.queue_bytes)
            .field("retry_every", &self.retry_every)
            .field("checkpoint_pages", &self.checkpoint_pages)
            .finish_non_exhaustive()
    }
}

/// The journal in a SQLite file. Dropped, it writes what waits and ends its thread; [`SqliteJournal::close`] does the
/// same without blocking.
pub struct SqliteJournal {
    shared: Arc<Shared>,
    reader: StoreReader,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Held by the one prune that runs.
    pruning: tokio::sync::Mutex<()>,
    /// After the reader: its files are open until then.
    _folder: Option<TemporaryFolder>,
}

impl SqliteJournal {
    /// Opens the store for writing, makes folder, file and schema where they are missing. Blocks for some
    /// milliseconds; for seconds where a migration rewrites the file.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let path = connection::place(path)?;
        let lock = StoreLock::take(&path)?;
        Self::start(path, options, lock, None)
    }

    /// A store in a fresh folder that is removed when this is dropped: what `memory://` means. It is handed to the
    /// operating system, not to the disk (`synchronous=OFF`), so nothing of it survives the process.
    pub fn temporary() -> Result<Self, OpenError> {
        let folder = TemporaryFolder::new().map_err(OpenError::io(std::env::temp_dir(), "making a folder"))?;
        let path = folder.path().join("journal.db");
        let lock = StoreLock::take(&path)?;
        let options = StoreOptions { durability: Durability::Off, ..StoreOptions::default() };
        Self::start(path, options, lock, Some(folder))
    }

    /// Opens what a daemon, running or dead, has written. Changes nothing in it and takes no lock.
    pub fn open_read_only(path: &Path) -> Result<StoreReader, OpenError> {
        StoreReader::open(path)
    }

    /// Puts a backup in a store's place; refuses while somebody holds the store, when the backup is not sound, and where
    /// there is a store unless it may be replaced. Blocks for as long as the backup is big.
    pub fn restore(from: &Path, to: &Path, replace: bool) -> Result<Restored, RestoreError> {
        restore::restore(from, to, replace)
    }

    /// Makes the tables beside the journal anew, from its events; refuses while somebody holds the store. Blocks for as long
    /// as the journal is big. `keep`: nothing is changed, it is only told what would be.
    pub fn rebuild(path: &Path, keep: bool) -> Result<Rebuilt, RebuildError> {
        rebuild::rebuild(path, keep)
    }

    fn start(
        path: PathBuf,
        options: StoreOptions,
        lock: StoreLock,
        folder: Option<TemporaryFolder>,
    ) -> Result<Self, OpenError> {
        let mut conn = connection::create(&path, options.durability)?;
        let store_id = connection::store_id(&conn).map_err(OpenError::sqlite(&path))?;
        let bounds = Bounds { batches: options.queue_batches, bytes: options.queue_bytes };
        let head = connection::head(&conn).map_err(OpenError::sqlite(&path))?;
        let (health, head) = (watch::Sender::new(JournalHealth::Writable), watch::Sender::new(head));
        let shared = Arc::new(Shared { queue: Queue::new(bounds), health, head });
        let alarmed = shared.clone();
        let alarm = Box::new(move |why: &str| alarmed.lose(why, error::EXIT_DATA));
        let opened = Arc::new(File::open(&path).map_err(OpenError::io(&path, "opening the file"))?);
        let reader = StoreReader::new(path.clone(), store_id, Some(alarm), Some(opened.clone()));
        let file = connection::identity(&path).map_err(OpenError::io(&path, "finding the file"))?;
        let checkpoints = Checkpoints::new(&path, opened, options.durability, options.checkpoint_pages);
        checkpoints.count(&mut conn).map_err(OpenError::sqlite(&path))?;
        let writer = Writer {
            shared: shared.clone(),
            path: path.clone(),
            file,
            durability: options.durability,
            retry_every: options.retry_every,
            fault: options.fault,
            conn: Some(conn),
            streams: Streams::default(),
            decided: VecDeque::new(),
            reopenings: VecDeque::new(),
            checkpoints,
            lock: Some(lock),
        };
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::io(path, "starting the writer"))?;
        Ok(Self { shared, reader, thread: Mutex::new(Some(thread)), pruning: Default::default(), _folder: folder })
    }

    /// Tells every change of [`Journal::health`].
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<JournalHealth> {
        self.shared.health.subscribe()
    }

    /// Tells the last event's place whenever there are new ones.
    #[must_use]
    pub fn watch_head(&self) -> watch::Receiver<u64> {
        self.shared.head.subscribe()
    }

    /// The reading half, with more questions than the port has.
    #[must_use]
    pub fn reader(&self) -> &StoreReader {
        &self.reader
    }

    /// The UUID that the first migration gave the store.
    #[must_use]
    pub fn store_id(&self) -> &str {
        self.reader.store_id()
    }

    /// Looks at everything; takes seconds on a large store, and writing goes on meanwhile.
    pub async fn verify(&self) -> Result<VerifyReport, JournalError> {
        self.reader.verify().await
    }

    /// Writes a copy to a new file; refuses one that exists. Writing goes on meanwhile.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.reader.backup(to).await
    }

    /// Takes nothing more, writes what waits, leaves one file, and frees the lock. On a full disk what waits is told
    /// `Closed`: it was never acknowledged.
    pub async fn close(&self) {
        self.shared.queue.close();
        self.reader.rest();
        if let Some(thread) = self.take_thread() {
            // The writer catches its panics; one that got out is in the log already.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    fn take_thread(&self) -> Option<JoinHandle<()>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.reader.rest();
        if let Some(thread) = self.take_thread() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for SqliteJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteJournal").field("path", &self.reader.path()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    fn submit(&self, batch: Batch, ack: Ack) {
        match Pending::encode(batch, ack) {
            Ok(pending) => self.shared.queue.push(pending),
            Err((ack, error)) => ack.tell(Err(error)),
        }
    }

    async fn stream(&self, stream: &StreamId, after_version: u64, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        self.reader.stream(stream, after_version, limit).await
    }

    async fn read(&self, after_seq: u64, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        self.reader.events(after_seq, limit).await
    }

    async fn task(&self, task: &TaskId) -> Result<Option<TaskRow>, JournalError> {
        self.reader.task(task).await
    }

    async fn tombstone(&self, task: &TaskId) -> Result<Option<TaskRow>, JournalError> {
        self.reader.tombstone(task).await
    }

    async fn received(&self, receipt: &Receipt) -> Result<bool, JournalError> {
        self.reader.received(receipt).await
    }

    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, JournalError> {
        self.reader.cursor(name).await
    }

    async fn find(&self, tasks: &[TaskId]) -> Result<Vec<TaskRow>, JournalError> {
        self.reader.find(tasks).await
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>, JournalError> {
        self.reader.tasks(query).await
    }

    async fn workflow(&self, workflow: WorkflowId) -> Result<Option<Workflow>, JournalError> {
        self.reader.workflow(workflow).await
    }

    async fn workflows(&self, query: &WorkflowQuery) -> Result<Vec<Workflow>, JournalError> {
        self.reader.workflows(query).await
    }

    async fn waking(&self) -> Result<Vec<(WorkflowId, Timestamp)>, JournalError> {
        self.reader.waking().await
    }

    async fn feature_numbers(&self) -> Result<Vec<(WorkflowType, u64)>, JournalError> {
        self.reader.feature_numbers().await
    }

    async fn recovery(&self) -> Result<Recovery, JournalError> {
        self.reader.recovery().await
    }

    async fn stats(&self) -> Result<JournalStats, JournalError> {
        self.reader.stats().await
    }

    fn health(&self) -> JournalHealth {
        self.shared.health.borrow().clone()
    }
}
