//! The task queue: orders and counts tasks, and leases them to those who work. What it is told stands in the journal
//! before; it decides no policy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::id::{Role, TaskId, Timestamp};
use crate::domain::queue::{Entry, Fence, QueueState};

/// What somebody with room for work takes from the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub role: Role,
    /// At most so many.
    pub most: usize,
    /// How many of one story may be in progress, over all claims.
    pub most_per_story: usize,
    /// Who works: the store's id, so that a restart knows its own leases.
    pub holder: Arc<str>,
}

/// The right to work on a run until it is given back, ended, or lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease {
    pub task: TaskId,
    pub run: u32,
    pub fence: Fence,
}

/// A task that a claim brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub entry: Entry,
    pub lease: Lease,
}

/// What is told of a task that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// COMPLETED: what needs it is nearer to its turn.
    Completed,
    /// FAILED for good: what needs it is blocked, skipped, or runs all the same.
    Failed,
    /// CANCELLED: counts as failed for what needs it.
    Cancelled,
    /// QUEUED again under the next run, not before this time.
    Retry { not_before: Timestamp },
    /// QUEUED again as it was: it was claimed in vain.
    Released,
    /// PARKED under the next run until somebody releases it.
    Parked,
    /// DISPATCHED: still held, and its winner is being carried out.
    Dispatched,
}

/// What is asked of a task, whoever holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// CANCELLED, and its lease with it.
    Cancel,
    /// A PARKED task is QUEUED, or BLOCKED if it has to wait.
    Release,
    /// A QUEUED or BLOCKED task is PARKED.
    Park,
}

/// What a change did to another task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consequence {
    pub task: TaskId,
    pub run: u32,
    /// QUEUED, BLOCKED or SKIPPED.
    pub state: QueueState,
    /// The task that brought it about.
    pub cause: TaskId,
}

/// A task as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub entry: Entry,
    pub state: QueueState,
    pub fence: Option<Fence>,
    /// Needed tasks that are not completed.
    pub open_needs: usize,
    /// Those of them that failed.
    pub failed_needs: Vec<TaskId>,
}

/// Which tasks to list, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub state: Option<QueueState>,
    pub role: Option<Role>,
    pub story: Option<Arc<str>>,
    pub plan: Option<Arc<str>>,
    /// Only those behind this one.
    pub after: Option<TaskId>,
    pub limit: usize,
}

/// Why the queue did not do it; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// Somebody else has the task by now, or its run has ended.
    #[error("task {task} is no longer held under fence {fence}")]
    Stale { task: TaskId, fence: Fence },
    #[error("no task {task} is in the queue")]
    Unknown { task: TaskId },
    /// Needed tasks that neither the queue nor whoever asked knows, or that need each other.
    #[error("tasks need others that are not known: {}", names(.0))]
    UnknownNeeds(Vec<TaskId>),
    #[error("task {task} is {state}")]
    WrongState { task: TaskId, state: QueueState },
    #[error("the queue holds {most} tasks, which is its limit")]
    Full { most: usize },
    /// It cannot be reached now, or cannot prove what it knows.
    #[error("the queue cannot be used: {why}")]
    Unavailable { why: Arc<str>, retry_after: Duration },
}

fn names(tasks: &[TaskId]) -> String {
    tasks.iter().map(TaskId::as_str).collect::<Vec<_>>().join(", ")
}

/// How many tasks stand where, by role. Tasks that are over count only as long as the queue knows them.
pub type Counts = BTreeMap<(Role, QueueState), usize>;

/// The queue. Every call is atomic; one that comes again with the same meaning changes nothing.
#[async_trait]
pub trait TaskQueue: Send + Sync + 'static {
    /// Takes all or none. `ended`: needed tasks that are over and that the queue may have forgotten. A run that is there
    /// already is left as it is; a later run takes the place of an earlier one, whatever became of that.
    async fn enqueue(
        &self,
        entries: Vec<Entry>,
        ended: BTreeMap<TaskId, QueueState>,
    ) -> Result<Vec<Consequence>, QueueError>;

    /// Puts a run as it is wanted by now into the place of what waits or is PARKED.
    async fn amend(&self, entry: Entry, ended: BTreeMap<TaskId, QueueState>) -> Result<Vec<Consequence>, QueueError>;

    /// The most urgent tasks of a role, story by story in turn.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, QueueError>;

    /// A new lease on a task that its holder works on since before it started anew, or that is DISPATCHED for it: then it is
    /// IN_PROGRESS again. A task that has moved on is refused.
    async fn adopt(&self, task: &TaskId, run: u32, holder: &Arc<str>) -> Result<Lease, QueueError>;

    /// Gives back all leases of a holder that starts anew; the tasks.
    async fn take_back(&self, holder: &str) -> Result<Vec<TaskId>, QueueError>;

    /// Keeps leases, and says which are lost. A queue of one process has none to lose.
    async fn heartbeat(&self, leases: &[Lease]) -> Result<Vec<Lease>, QueueError>;

    /// What became of a task that is held. An older fence is refused, whatever the report.
    async fn report(&self, lease: &Lease, report: Report) -> Result<Vec<Consequence>, QueueError>;

    async fn request(&self, task: &TaskId, request: Request) -> Result<Vec<Consequence>, QueueError>;

    /// A story has reached a phase: what waited for it may be claimed.
    async fn open_phase(&self, story: &str, phase: &str) -> Result<Vec<TaskId>, QueueError>;

    async fn list(&self, filter: &Filter) -> Result<Vec<Row>, QueueError>;

    async fn counts(&self) -> Result<Counts, QueueError>;

    /// When the next task that waits for its time can be claimed; never a time that has come.
    async fn next_due(&self) -> Result<Option<Timestamp>, QueueError>;
}
