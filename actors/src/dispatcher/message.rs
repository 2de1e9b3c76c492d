//! What the dispatcher is told, and by whom.

use super::begin::Begun;
use crate::domain::id::{Role, Timestamp};

/// The dispatcher's mailbox. Wakes are many and small; all others are bounded by the runs at work.
#[derive(Debug)]
pub(crate) enum Message {
    /// From whoever changed what may be claimed, and from its own timer. Nobody waits.
    Wake,
    /// From its own round, always: the runs that began, and when the next task's time comes.
    RoundOver {
        begun: Vec<Begun>,
        due: Option<Timestamp>,
    },
    /// From the task that watched a run: the queue and the journal know how it ended.
    Settled {
        role: Role,
    },
    /// From the system; without a role, all.
    Pause {
        role: Option<Role>,
    },
    Resume {
        role: Option<Role>,
    },
    /// From the supervisor, which restarts a dispatcher that does not echo in time.
    Ping {
        beat: u64,
    },
}
