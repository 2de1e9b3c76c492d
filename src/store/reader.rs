//! Reading: some connections beside the writer's, each used by one blocking task at a time. WAL lets them read while
//! the writer writes; they see what was committed when their read began.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use moothall_actors::domain::event::Recorded;
use moothall_actors::domain::id::{StreamId, TaskId, Timestamp};
use moothall_actors::domain::receipt::Receipt;
use moothall_actors::domain::workflow::{Workflow, WorkflowId, WorkflowType};
use moothall_actors::ports::{Cursor, JournalError, JournalStats, Recovery, TaskQuery, TaskRow, WorkflowQuery};
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::error::{OpenError, ReadError, StoreError};
use super::foreign::Foreign;
use super::prunable::{self, Retained};
use super::query::{self, EventQuery};
use super::row::StoredEvent;
use super::verify::{self, VerifyReport};
use super::{backup, connection, exchange, foreign, workflow};

/// Reads at once: more would only wait for the same two cores and the same disk.
const CONNECTIONS: usize = 4;

/// Called when a read finds the file damaged.
type Alarm = Box<dyn Fn(&str) + Send + Sync>;

/// Bytes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSizes {
    pub database: u64,
    /// The write-ahead log.
    pub wal: u64,
    /// Part of `database`: pages that were freed and not given back yet.
    pub free: u64,
}

/// The reading half of a store; stands alone for commands that look into a store whose daemon runs, or is dead.
#[derive(Clone)]
pub struct StoreReader {
    pool: Arc<Pool>,
}

struct Pool {
    path: PathBuf,
    store_id: String,
    permits: Arc<Semaphore>,
    /// Opened when first needed, at most as many as there are permits.
    idle: Mutex<Vec<Connection>>,
    alarm: Option<Alarm>,
    /// Outlives the connections.
    _file: Option<Arc<File>>,
}

impl StoreReader {
    /// Opens a store that somebody else may be writing. Changes nothing in it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let conn = connection::read_only_checked(path)?;
        let store_id = connection::store_id(&conn).map_err(OpenError::sqlite(path))?;
        Ok(Self::new(path.to_owned(), store_id, None, None))
    }

    pub(super) fn new(path: PathBuf, store_id: String, alarm: Option<Alarm>, file: Option<Arc<File>>) -> Self {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        Self { pool: Arc::new(Pool { path, store_id, permits, idle: Mutex::default(), alarm, _file: file }) }
    }

    /// The UUID that its first migration gave it.
    #[must_use]
    pub fn store_id(&self) -> &str {
        &self.pool.store_id
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.pool.path
    }

    /// One stream in order.
    pub async fn stream(
        &self,
        stream: &StreamId,
        after_version: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, JournalError> {
        let stream = stream.clone();
        self.read(move |conn| query::decode(query::stream(conn, &stream, after_version, limit)?)).await
    }

    /// All streams in order.
    pub async fn events(&self, after_seq: u64, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        let query = EventQuery { after_seq, limit, ..EventQuery::default() };
        self.read(move |conn| query::decode(query::events(conn, &query)?)).await
    }

    /// Events as stored, by place, stream, type and time. Of what was written before the clock was set back by more than
    /// an hour, a query by time may miss some; it never finds one of another time.
    pub async fn select(&self, query: EventQuery) -> Result<Vec<StoredEvent>, JournalError> {
        self.read(move |conn| query::events(conn, &query)).await
    }

    pub async fn task(&self, task: &TaskId) -> Result<Option<TaskRow>, JournalError> {
        let task = task.clone();
        self.read(move |conn| query::task(conn, &task)).await
    }

    /// The last word on a pruned task.
    pub async fn tombstone(&self, task: &TaskId) -> Result<Option<TaskRow>, JournalError> {
        let task = task.clone();
        self.read(move |conn| query::tombstone(conn, &task)).await
    }

    /// Rows or tombstones of several tasks, read at once.
    pub async fn find(&self, tasks: &[TaskId]) -> Result<Vec<TaskRow>, JournalError> {
        let tasks = tasks.to_vec();
        self.read(move |conn| query::find(conn, &tasks)).await
    }

    pub async fn received(&self, receipt: &Receipt) -> Result<bool, JournalError> {
        let receipt = receipt.clone();
        self.read(move |conn| Ok(exchange::is_received(conn, &receipt)?)).await
    }

    pub async fn cursor(&self, name: &str) -> Result<Option<Cursor>, JournalError> {
        let name = name.to_owned();
        self.read(move |conn| Ok(exchange::cursor(conn, &name)?)).await
    }

    /// What was pruned, and what is left of it.
    pub async fn retained(&self) -> Result<Retained, JournalError> {
        self.read(prunable::retained).await
    }

    /// How many tasks a prune would find now.
    pub async fn prunable(&self, ended_before: Timestamp) -> Result<u64, JournalError> {
        self.read(move |conn| prunable::count(conn, ended_before)).await
    }

    /// When its first migration ran.
    pub async fn created_at(&self) -> Result<Timestamp, JournalError> {
        let read = |conn: &Connection| Ok(conn.query_row("SELECT created_at FROM store", [], |row| row.get(0))?);
        self.read(read).await.map(|ms: i64| Timestamp(super::row::unsigned(ms)))
    }

    pub(super) async fn page_bytes(&self) -> Result<u64, JournalError> {
        self.read(|conn| Ok(conn.pragma_query_value(None, "page_size", |row| row.get(0)).map(super::row::unsigned)?))
            .await
    }

    pub async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>, JournalError> {
        let query = query.clone();
        self.read(move |conn| query::tasks(conn, &query)).await
    }

    pub async fn workflow(&self, workflow: WorkflowId) -> Result<Option<Workflow>, JournalError> {
        self.read(move |conn| workflow::one(conn, workflow)).await
    }

    pub async fn workflows(&self, query: &WorkflowQuery) -> Result<Vec<Workflow>, JournalError> {
        let query = query.clone();
        self.read(move |conn| workflow::list(conn, &query)).await
    }

    /// What the program before left in this file.
    pub async fn foreign(&self) -> Result<Foreign, JournalError> {
        self.read(foreign::read).await
    }

    pub async fn waking(&self) -> Result<Vec<(WorkflowId, Timestamp)>, JournalError> {
        self.read(workflow::waking).await
    }

    pub async fn feature_numbers(&self) -> Result<Vec<(WorkflowType, u64)>, JournalError> {
        self.read(workflow::feature_numbers).await
    }

    pub async fn recovery(&self) -> Result<Recovery, JournalError> {
        self.read(query::recovery).await
    }

    pub async fn stats(&self) -> Result<JournalStats, JournalError> {
        let path = self.pool.path.clone();
        self.read(move |conn| {
            let sizes = query::file_sizes(conn, &path)?;
            Ok(JournalStats { bytes: sizes.database + sizes.wal, ..query::stats(conn)? })
        })
        .await
    }

    pub async fn file_sizes(&self) -> Result<FileSizes, JournalError> {
        let path = self.pool.path.clone();
        self.read(move |conn| query::file_sizes(conn, &path)).await
    }

    /// Looks at everything; takes seconds on a large store.
    pub async fn verify(&self) -> Result<VerifyReport, JournalError> {
        self.read(verify::verify).await
    }

    /// Writes a copy to a new file; refuses one that exists.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let to = to.to_owned();
        self.read(move |conn| Ok(backup::backup(conn, &to))).await?
    }

    /// Closes what nobody uses: the last connection to a store should be its writer's, which leaves one file behind.
    pub(super) fn rest(&self) {
        self.pool.idle().clear();
    }

    /// Runs `job` where it may block, with a connection of its own.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let permit = self.pool.permits.clone().acquire_owned().await.map_err(|_| JournalError::Closed)?;
        let pool = self.pool.clone();
        let work = tokio::task::spawn_blocking(move || {
            let result = pool.with_connection(job);
            // Given back by the task itself: a caller that stopped waiting did not stop the read.
            drop(permit);
            result
        });
        Ok(work.await.unwrap_or(Err(ReadError::Interrupted))?)
    }
}

impl Pool {
    fn with_connection<T>(&self, job: impl FnOnce(&Connection) -> Result<T, ReadError>) -> Result<T, ReadError> {
        let idle = self.idle().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => connection::read_only(&self.path)?,
        };
        let result = job(&conn);
        if let (Err(error), Some(alarm)) = (&result, &self.alarm)
            && error.is_damage()
        {
            alarm(&super::error::chain(error));
        }
        self.idle().push(conn);
        result
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
