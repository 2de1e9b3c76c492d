//! What the dispatcher is told, and by whom.

use std::sync::Arc;

use super::begin::Began;
use super::keep::Keeping;
use super::pause::Pauses;
use crate::domain::id::{Role, TaskId, Timestamp};
use crate::domain::queue::Entry;
use crate::running::Running;

/// The dispatcher's mailbox. Wakes are many and small; all others are bounded by the runs at work.
#[derive(Debug)]
pub(crate) enum Message {
    /// From whoever changed what may be claimed, and from its own timer. Nobody waits.
    Wake,
    /// From its own round, always: what began, and when the next task's time comes.
    RoundOver { began: Began, due: Option<Timestamp> },
    /// From its own beat, always: how far it is with a queue that others share. The next beat waits for it.
    Kept(Keeping),
    /// From the task that watched a run: the queue and the journal know how it ended.
    Settled { role: Role },
    /// From that task, and from whoever looked at it since: it is carried out by others; when to look at it again.
    /// `of`: the role whose agents do so, each by itself.
    Executing { task: TaskId, due: Timestamp, of: Option<Role> },
    /// From whoever looked at it: it is not carried out any more.
    CarriedOut { task: TaskId },
    /// From whoever looked at it: several have carried it out, and it is to be deliberated on.
    Collected { task: TaskId, role: Role },
    /// From the system: a client who came back for a failed task began its next run itself.
    Overtaken { entry: Box<Entry>, running: Arc<Running> },
    /// From the system, once it is durable: all that is paused since, as of this version of the stream.
    Paused { pauses: Pauses, version: u64 },
    /// From the supervisor, which restarts a dispatcher that does not echo in time.
    Ping { beat: u64 },
}
