//! What a council is told, and by whom.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::domain::council::{Council, Seat};
use crate::domain::id::AgentId;
use crate::error::SystemError;
use crate::ports::{Committed, JournalError};
use crate::running::Running;

/// A change of the council itself.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Join { seat: Box<Seat> },
    Leave { agent: AgentId },
    Delete,
}

/// Who waits for a change; dropped untold, the waiter learns that the council restarted.
pub(crate) type Reply = oneshot::Sender<Result<Arc<Council>, SystemError>>;

/// A council's mailbox.
#[derive(Debug)]
pub(crate) enum Message {
    /// From the supervisor, with an open run that holds a permit: bounded by the gate. Nobody waits; a run that has not
    /// begun and finds no agent ready is ended with the reason.
    Start { running: Arc<Running> },
    /// From the system. Told through `reply` when it is durable. At most [`super::state::MOST_WAITING`] wait.
    Change { change: Change, reply: Reply },
    /// From its own reading task.
    Loaded(Box<Result<Option<(Council, u64)>, JournalError>>),
    /// From the journal's writer.
    Written(Result<Committed, JournalError>),
    /// From the supervisor.
    Ping { beat: u64 },
}
