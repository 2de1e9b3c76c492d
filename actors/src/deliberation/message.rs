//! What a deliberation is told, and by whom.

use tokio::sync::oneshot;

use super::actor::Loaded;
use super::step::Input;
use crate::domain::id::CallId;
use crate::ports::{Committed, JournalError};
use crate::running::Ending;

/// A deliberation's mailbox. Everything in it was asked for by the deliberation itself, so that the calls and appends
/// of one run bound it; cancellation and pings come once each.
#[derive(Debug)]
pub(crate) enum Message {
    /// From agents, timers and checks; and a cancellation, passed on by its supervisor. Nobody waits for an answer.
    Input(Input),
    /// From an errand, before the outcome that it tells of: whoever told it waits until it is durable.
    WhenDurable { call: CallId, durable: oneshot::Sender<()> },
    /// From itself, behind whatever waits here already: what was noted meanwhile is appended.
    Flush,
    /// From the journal's writer: one batch is durable or refused. Without it the run would stand still.
    Written { batch: u64, result: Result<Committed, JournalError> },
    /// The wait for room in the journal is over.
    WriteAgain,
    /// From its own reading task: the run's events so far.
    Loaded(Result<Box<Loaded>, JournalError>),
    /// From its own closing task: the run could not begin, and its end is in the journal.
    Closed(Ending),
    /// From the supervisor, which restarts a deliberation that does not echo in time.
    Ping { beat: u64 },
}
