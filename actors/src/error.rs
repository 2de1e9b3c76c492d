//! Why the system refused or failed: each case names what was wrong and what there is.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::answer::Class;
use crate::domain::id::{AgentId, Role, TaskId};
use crate::domain::problem::Problems;
use crate::domain::queue::QueueState;
use crate::ports::queue::QueueError;
use crate::ports::{ContextError, JournalError, TaskRow, TaskStatus};

/// What a caller of [`crate::System`] may be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SystemError {
    #[error("{0}")]
    Invalid(#[from] Problems),
    /// There is no council at all.
    #[error("No agents configured: create a council first, such as `moothall council create DEV`")]
    NoCouncils,
    #[error("no council has the role {role}; there are: {}", list(existing))]
    UnknownRole { role: Role, existing: Vec<Role> },
    #[error("no task has the id {task}")]
    UnknownTask { task: TaskId },
    #[error("council {role} has no agent {agent}; there are: {}", list(existing))]
    UnknownAgent { agent: AgentId, role: Role, existing: Vec<AgentId> },
    #[error("a council with the role {role} exists")]
    CouncilExists { role: Role },
    #[error("an agent {agent} exists in council {role}")]
    AgentExists { agent: AgentId, role: Role },
    /// The id belongs to a task that asks for something else.
    #[error("task {task} exists with other content; use another id, or send the same content to attach to it")]
    OtherContent { task: TaskId },
    #[error("role {role} is parked: {reason}; `moothall council resume {role}` takes it back to work")]
    Parked { role: Role, reason: Arc<str> },
    /// A message that came again: its effect is there.
    #[error("this was taken in before")]
    Received,
    /// Not possible as things stand; the text says how they stand.
    #[error("{0}")]
    WrongState(Arc<str>),
    /// A bound is reached; nothing was started.
    #[error("{what}; try again in {} ms", retry_after.as_millis())]
    Busy { what: Arc<str>, retry_after: Duration },
    /// The daemon is stopping, or its journal cannot be written now.
    #[error("{0}")]
    Unavailable(Arc<str>),
    /// The run ended without a verdict.
    #[error("{message}")]
    Failed { class: Class, message: Arc<str> },
    /// Nothing was learned of a story.
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error("cancelled: {reason}")]
    Cancelled { reason: Arc<str> },
    /// A bug; `id` is in the log beside the details.
    #[error("internal error {id}; the log says more")]
    Internal { id: Arc<str> },
}

impl From<JournalError> for SystemError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Busy { retry_after } => {
                Self::Busy { what: "the journal has too much to write".into(), retry_after }
            }
            JournalError::Received => Self::Received,
            other => Self::Unavailable(other.to_string().into()),
        }
    }
}

impl From<QueueError> for SystemError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Unavailable { why, retry_after } => Self::Busy { what: why, retry_after },
            QueueError::Unknown { task } => Self::UnknownTask { task },
            other => Self::WrongState(other.to_string().into()),
        }
    }
}

impl TaskRow {
    /// What a task that ended without a verdict tells its clients.
    pub(crate) fn ended_without(&self) -> SystemError {
        match (self.status, self.failure()) {
            (TaskStatus::Failed, Some(failure)) => {
                SystemError::Failed { class: failure.class, message: failure.message }
            }
            (TaskStatus::Cancelled | TaskStatus::Skipped, _) => {
                SystemError::Cancelled { reason: self.error.clone().unwrap_or_else(|| "".into()) }
            }
            (TaskStatus::Open, _) => match self.queue.filter(|state| *state != QueueState::InProgress) {
                Some(state) => {
                    SystemError::WrongState(format!("task {} waits in the queue: {state}", self.task).into())
                }
                None => SystemError::Unavailable(format!("task {} is about to begin; try again", self.task).into()),
            },
            (TaskStatus::Completed | TaskStatus::Failed, _) => {
                SystemError::WrongState(format!("the outcome of task {} cannot be read", self.task).into())
            }
        }
    }
}

fn list<T: std::fmt::Display>(names: &[T]) -> String {
    if names.is_empty() { "none".to_owned() } else { join(names) }
}

fn join<T: std::fmt::Display>(names: &[T]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
