//! Why a workflow was not created, or did not go on: each case names how things stand.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::problem::Problems;
use crate::domain::workflow::{Trigger, WorkflowId, WorkflowStatus};
use crate::ports::JournalError;

/// What a caller is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowError {
    #[error("{0}")]
    Invalid(#[from] Problems),
    #[error("no workflow has the id {id}")]
    Unknown { id: WorkflowId },
    #[error("{trigger} is not possible while the workflow is {status}")]
    WrongState { status: WorkflowStatus, trigger: Trigger },
    /// What is approved is not what waits for its approval.
    #[error("the artifact that waits is {actual}, not {given}; read it again before you decide")]
    OtherArtifact { actual: Arc<str>, given: Arc<str> },
    /// Under a quorum: the decision was made without this vote.
    #[error("the vote is closed: the workflow is {status}")]
    VoteClosed { status: WorkflowStatus },
    #[error("{actor:?} may not decide; those who may are {}", allowed.join(", "))]
    NotAnApprover { actor: Arc<str>, allowed: Vec<Arc<str>> },
    /// It went on since the client looked.
    #[error("the workflow is at version {actual}, not {expected}")]
    Stale { actual: u64, expected: u64 },
    #[error("the idempotency key {key:?} was used for another request")]
    KeyReused { key: Arc<str> },
    /// A bound is reached; nothing was done.
    #[error("{what}; try again in {} ms", retry_after.as_millis())]
    Busy { what: Arc<str>, retry_after: Duration },
    /// The daemon is stopping, or its journal cannot be written now.
    #[error("{0}")]
    Unavailable(Arc<str>),
    /// A bug; `id` is in the log beside the details.
    #[error("internal error {id}; the log says more")]
    Internal { id: Arc<str> },
}

impl From<JournalError> for WorkflowError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Busy { retry_after } => {
                Self::Busy { what: "the journal has too much to write".into(), retry_after }
            }
            other => Self::Unavailable(other.to_string().into()),
        }
    }
}
