//! The journal: an append-only, ordered log. What it acknowledged is on disk.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{TaskRow, TaskStatus};
use crate::domain::council::Council;
use crate::domain::event::{NewEvent, Recorded};
use crate::domain::id::{Role, StreamId, TaskId, Timestamp};
use crate::domain::queue::Standing;
use crate::domain::receipt::Receipt;
use crate::domain::task::TaskKind;
use crate::domain::workflow::{Workflow, WorkflowId, WorkflowStatus, WorkflowType};

/// In the place of a version: behind whatever stands there. For events that mean the same whatever came before them.
pub const AT_THE_END: u64 = u64::MAX;

/// Events for one stream, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    pub stream: StreamId,
    /// The stream's version before the first of them; 0 = a new stream, [`AT_THE_END`] = any.
    pub expected_version: u64,
    /// Shared with whoever waits for them to be durable.
    pub events: Arc<[NewEvent]>,
}

/// What is written together or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub appends: Vec<Append>,
    /// Of the message whose effect this is: when any of its names is known, nothing of the batch is written.
    pub receipt: Option<Receipt>,
    pub cursor: Option<Cursor>,
    /// Nobody waits for it alone: for a moment it may wait for others to share their commit. It is no less durable.
    pub patient: bool,
}

/// How far somebody has come who must see every event: later ones, and what belongs to them, are not pruned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub name: Arc<str>,
    /// The last event that will not be asked for again.
    pub seq: u64,
    /// What its owner wants to find again.
    pub state: Arc<str>,
}

impl Batch {
    #[must_use]
    pub fn of(appends: Vec<Append>) -> Self {
        Self { appends, ..Self::default() }
    }

    #[must_use]
    pub fn one(stream: StreamId, expected_version: u64, events: Vec<NewEvent>) -> Self {
        Self::of(vec![Append { stream, expected_version, events: events.into() }])
    }
}

/// A batch is durable; its first event's place in the journal (0 = an empty batch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub first_seq: u64,
}

/// Why a batch was not written; nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Somebody else wrote the stream first.
    #[error("stream {stream} is at version {actual}, not {expected}")]
    Conflict { stream: StreamId, expected: u64, actual: u64 },
    /// The batch is the effect of a message that was taken in before.
    #[error("the message was taken in before")]
    Received,
    /// Too much waits to be written; come back then.
    #[error("the journal has too much to write")]
    Busy { retry_after: Duration },
    /// Events up to `first_kept` were pruned.
    #[error("events before {first_kept} were pruned")]
    Pruned { first_kept: u64 },
    /// The store cannot be read or written; the daemon says so and ends.
    #[error("the journal cannot be used: {0}")]
    Unusable(Arc<str>),
    /// The writer has ended.
    #[error("the journal is closed")]
    Closed,
}

type Tell = Box<dyn FnOnce(Result<Committed, JournalError>) + Send>;

/// Told once when a batch is durable or refused. Dropped untold, it tells [`JournalError::Closed`].
pub struct Ack(Option<Tell>);

impl Ack {
    /// `tell` runs on the writer's thread: it hands the news on and returns.
    pub fn new(tell: impl FnOnce(Result<Committed, JournalError>) + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }

    pub fn tell(mut self, result: Result<Committed, JournalError>) {
        if let Some(tell) = self.0.take() {
            tell(result);
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(Err(JournalError::Closed));
        }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ack")
    }
}

/// Which tasks to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct TaskQuery {
    pub status: Option<TaskStatus>,
    pub role: Option<Role>,
    pub story_id: Option<String>,
    /// Only those accepted before this one was.
    pub before: Option<TaskId>,
    pub limit: usize,
}

/// Which workflows to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct WorkflowQuery {
    pub status: Option<WorkflowStatus>,
    pub workflow_type: Option<WorkflowType>,
    pub feature_id: Option<String>,
    /// Only those created before this one was.
    pub before: Option<WorkflowId>,
    pub limit: usize,
}

/// What a start needs to know.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Those that somebody worked on, or that never were in the queue; oldest first.
    pub open_tasks: Vec<TaskRow>,
    /// Those that wait in the queue, and those from it that somebody works on; oldest first.
    pub queued: Vec<Standing>,
    /// With the version of each stream.
    pub councils: Vec<(Council, u64)>,
    /// Finished (completed) tasks per role and kind, with the sum of their durations.
    pub finished: Vec<(Role, TaskKind, u64, Duration)>,
}

/// Sizes of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    pub first_seq: u64,
    pub last_seq: u64,
    pub events: u64,
    pub streams: u64,
    pub tasks: u64,
    pub open_tasks: u64,
    pub bytes: u64,
}

/// Whether it can be written now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalHealth {
    Writable,
    /// Waiting for room or a device; it retries every second. Admission is closed meanwhile.
    Stalled {
        why: Arc<str>,
    },
    /// The writer is gone for good: the process must end with this exit code.
    Lost {
        why: Arc<str>,
        exit_code: u8,
    },
}

/// The journal. Batches are written in the order of the calls to `submit`.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Hands a batch to the writer and returns at once; never blocks. When the bounded queue is full, `ack` is told
    /// `Busy` before this returns. A batch whose event ids are all there already is acknowledged again, unchanged.
    fn submit(&self, batch: Batch, ack: Ack);

    /// Reads one stream in order, from `after_version` (exclusive).
    async fn stream(&self, stream: &StreamId, after_version: u64, limit: usize) -> Result<Vec<Recorded>, JournalError>;

    /// Reads all streams in order, from `after_seq` (exclusive).
    async fn read(&self, after_seq: u64, limit: usize) -> Result<Vec<Recorded>, JournalError>;

    async fn task(&self, task: &TaskId) -> Result<Option<TaskRow>, JournalError>;

    /// The last word on a task that was pruned: its row without a story, nothing else of it is there. A journal that
    /// never prunes has none.
    async fn tombstone(&self, task: &TaskId) -> Result<Option<TaskRow>, JournalError> {
        let _ = task;
        Ok(None)
    }

    /// Whether any name of a message is known.
    async fn received(&self, receipt: &Receipt) -> Result<bool, JournalError>;

    /// What the owner of a cursor left.
    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, JournalError>;

    /// What is known of each of these tasks, as its row or its tombstone; those that are not known are left out.
    async fn find(&self, tasks: &[TaskId]) -> Result<Vec<TaskRow>, JournalError> {
        let mut found = Vec::with_capacity(tasks.len());
        for task in tasks {
            let row = match self.task(task).await? {
                None => self.tombstone(task).await?,
                row => row,
            };
            found.extend(row);
        }
        Ok(found)
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>, JournalError>;

    /// A workflow as its stream tells it by now.
    async fn workflow(&self, workflow: WorkflowId) -> Result<Option<Workflow>, JournalError>;

    async fn workflows(&self, query: &WorkflowQuery) -> Result<Vec<Workflow>, JournalError>;

    /// Workflows that somebody must look at, and when: [`Workflow::wake_at`]. Soonest first.
    async fn waking(&self) -> Result<Vec<(WorkflowId, Timestamp)>, JournalError>;

    /// The last number that was drawn for a feature, of each type that has one.
    async fn feature_numbers(&self) -> Result<Vec<(WorkflowType, u64)>, JournalError>;

    /// Read once, before anything is written.
    async fn recovery(&self) -> Result<Recovery, JournalError>;

    async fn stats(&self) -> Result<JournalStats, JournalError>;

    fn health(&self) -> JournalHealth;

    /// Writes a batch and waits until it is durable.
    async fn commit(&self, batch: Batch) -> Result<Committed, JournalError> {
        let (told, answer) = tokio::sync::oneshot::channel();
        self.submit(batch, Ack::new(move |result| drop(told.send(result))));
        answer.await.unwrap_or(Err(JournalError::Closed))
    }
}

/// Writes a batch, and waits for room as often as it takes.
pub(crate) async fn commit_patiently(journal: &dyn Journal, batch: Batch) -> Result<Committed, JournalError> {
    loop {
        match journal.commit(batch.clone()).await {
            Err(JournalError::Busy { retry_after }) => tokio::time::sleep(retry_after).await,
            told => return told,
        }
    }
}

/// Waits until all that was submitted before is durable or refused, such as the last words of an actor that died.
pub(crate) async fn settled(journal: &dyn Journal) -> Result<(), JournalError> {
    commit_patiently(journal, Batch::default()).await.map(drop)
}

/// Events of one stream read at once.
const PAGE: usize = 512;

/// Reads one stream to its end.
pub async fn whole_stream(journal: &dyn Journal, stream: &StreamId) -> Result<Vec<Recorded>, JournalError> {
    let mut events: Vec<Recorded> = Vec::new();
    loop {
        let page = journal.stream(stream, events.last().map_or(0, |last| last.version), PAGE).await?;
        let ended = page.len() < PAGE;
        events.extend(page);
        if ended {
            return Ok(events);
        }
    }
}
