//! What only a queue has that several daemons share: leases that can be lost, memory that can be lost, and the ends of
//! runs that others worked on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::queue::{Claimed, Consequence, Lease, QueueError, Report, TaskQueue};
use crate::domain::ended::Ended;
use crate::domain::id::{EventId, RunId, TaskId};
use crate::domain::queue::{Entry, Fence, QueueState};

/// The end of a run as the queue keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    /// Its place among all ends; later ones have higher ones as long as the queue's memory is whole.
    pub place: u64,
    /// Of its event, the same whoever publishes it.
    pub id: EventId,
    pub run: RunId,
    /// Under which the run ended; 0.0 = nobody held it.
    pub fence: Fence,
    pub state: QueueState,
    /// An [`Ended`] as JSON.
    pub event: Arc<str>,
}

/// Ends that nobody has said to be published, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpublished {
    /// Of the queue's memory that had them; 0 = it has none yet.
    pub epoch: u64,
    pub finals: Vec<Final>,
}

/// An end that is out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub run: RunId,
    /// Of its event.
    pub id: EventId,
    /// Where it stands in the stream of events; 0 = nobody is told of ends.
    pub sequence: u64,
}

/// What a run of a journal's came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub state: QueueState,
    /// An [`Ended`] as JSON.
    pub event: Arc<str>,
}

/// What a queue has of a task for whoever has not heard of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What is to be done: a `TaskSpec` as JSON.
    pub text: Arc<str>,
    /// The store in whose journal it was accepted.
    pub journal: Arc<str>,
    /// Who lost its lease on the same run, if anybody did.
    pub lost_by: Option<Arc<str>>,
}

/// What came of a journal's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasserted {
    /// In which all of it was said; a later one has to be told anew.
    pub epoch: u64,
    /// Tasks of others that changed with it.
    pub changed: Vec<Consequence>,
}

/// How a queue is, as a status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueHealth {
    Healthy,
    Degraded { why: Arc<str> },
}

/// What tasks are about, asked by a queue that keeps it for other daemons.
#[async_trait]
pub trait Texts: Send + Sync + 'static {
    /// A `TaskSpec` as JSON; `None` = nobody here knows the task.
    async fn text(&self, task: &TaskId) -> Option<Arc<str>>;

    /// The store in whose journal these tasks are.
    fn journal(&self) -> Arc<str>;
}

/// A queue that outlives the daemon and is not its alone. Every call may come again.
#[async_trait]
pub trait SharedQueue: TaskQueue {
    /// Says what a journal knows: all that is not over, and how those runs ended that the queue has open. What is missing
    /// is put back, what stands otherwise becomes as it is said, and then claims of this daemon are answered. What somebody
    /// holds in this epoch is left alone, and so is a later run.
    async fn reassert(&self, entries: Vec<Entry>, ended: BTreeMap<RunId, Ending>) -> Result<Reasserted, QueueError>;

    /// A holder that works on gets back what it held, under new fences, unless somebody has taken it over. DISPATCHED tasks
    /// stay so.
    async fn renew(&self, holder: &Arc<str>) -> Result<Vec<Claimed>, QueueError>;

    /// Ends a run that is held, or has it tried again, and keeps its end for all. The same lease is answered the same.
    async fn finish(&self, lease: &Lease, report: Report, end: &Ended) -> Result<Vec<Consequence>, QueueError>;

    /// Ends a run whoever holds it, unless it has ended.
    async fn end(&self, run: &RunId, ending: Ending) -> Result<Vec<Consequence>, QueueError>;

    /// How a run ended, as long as that is kept.
    async fn final_of(&self, run: &RunId) -> Result<Option<Final>, QueueError>;

    /// Ends behind a place, the oldest first.
    async fn ends(&self, behind: u64, limit: usize) -> Result<Vec<Final>, QueueError>;

    /// Two daemons may get the same ones.
    async fn unpublished(&self, limit: usize) -> Result<Unpublished, QueueError>;

    /// Ends that are out, of those that were unpublished in this epoch. In another one it changes nothing: a queue that was
    /// told of an end anew, since its data went back, has it published anew, as what it was published to may have gone back
    /// with it.
    async fn published(&self, epoch: u64, ends: &[Published]) -> Result<(), QueueError>;

    /// Of the ends that went out in the last ten minutes, the one so many before the last in the stream of events.
    async fn published_before(&self, last: usize) -> Result<Option<Published>, QueueError>;

    /// The stream of events has lost what stood behind this place: those ends are unpublished again. So many were.
    async fn unpublish(&self, behind: u64) -> Result<usize, QueueError>;

    async fn origin(&self, task: &TaskId) -> Result<Option<Origin>, QueueError>;

    /// How it was at the last call.
    fn health(&self) -> QueueHealth;

    /// Of its memory, as far as is known here. A lease of an earlier one is worth nothing until it is renewed.
    fn epoch(&self) -> u64;

    /// How often leases are to be kept.
    fn heartbeat_every(&self) -> Duration;
}
