//! What the dispatcher is told, and by whom.

use std::sync::Arc;

use super::begin::Begun;
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
    /// From its own round, always: the runs that began, and when the next task's time comes.
    RoundOver { begun: Vec<Begun>, due: Option<Timestamp> },
    /// From its own beat, always: how far it is with a queue that others share. The next beat waits for it.
    Kept(Keeping),
    /// From the task that watched a run: the queue and the journal know how it ended.
    Settled { role: Role },
    /// From that task, and from whoever looked at it since: it is carried out by others; when to look at it again.
    Executing { task: TaskId, due: Timestamp },
    /// From whoever looked at it: several have carried it out, and it is to be deliberated on.
    Collected { task: TaskId, role: Role },
    /// From the system: a client who came back for a failed task began its next run itself.
    Overtaken { entry: Box<Entry>, running: Arc<Running> },
    /// From the system, once it is durable: all that is paused since, as of this version of the stream.
    Paused { pauses: Pauses, version: u64 },
    /// From the supervisor, which restarts a dispatcher that does not echo in time.
    Ping { beat: u64 },
}
