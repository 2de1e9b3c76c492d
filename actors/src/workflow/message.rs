//! The mailbox of one workflow.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::error::WorkflowError;
use super::state::{Asked, State};
use crate::domain::id::EventId;
use crate::domain::workflow::{Artifact, Workflow};
use crate::ports::{Committed, HubError, InvocationId, JournalError};

/// How it stands once the wish is durable, or why nothing was done. Dropped unsent: nobody looked at it, or whoever did has
/// died; asked again under the same event id it is done once.
pub(crate) type Reply = oneshot::Sender<Result<Arc<Workflow>, WorkflowError>>;

/// A client's wish on its way.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) asked: Arc<Asked>,
    /// Of the first event that it brings about.
    pub(crate) event: EventId,
    pub(crate) reply: Reply,
}

/// Nobody waits for an answer but the sender of `Asked`.
#[derive(Debug)]
pub(crate) enum Message {
    /// From its supervisor, first of all: from here on it is found.
    Begin,
    /// From the system. While something is being written it waits, bounded.
    Asked(Mail),
    /// From its own tasks: what its stream says; `None` = there is no such workflow.
    Loaded(Result<Option<Box<State>>, JournalError>),
    /// From the journal.
    Written(Result<Committed, JournalError>),
    /// From its own tasks: the hub has answered.
    Answered { id: InvocationId, answer: Result<Artifact, HubError> },
    /// From its supervisor: its deadline is over.
    Due,
    /// From its own timer: the journal had no room.
    WriteAgain,
    /// From its supervisor, now and then: whoever has nothing to do goes to rest.
    Look,
}
