//! The agent hub: executes a phase of a workflow and answers with what came of it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::json::Json;
use crate::domain::workflow::{Artifact, Origin, Phase, WorkflowId, WorkflowType};

/// One attempt at one phase. Asked again after a crash it is the same, whatever the hub made of it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvocationId {
    pub workflow: WorkflowId,
    pub phase: Phase,
    /// From 1.
    pub attempt: u32,
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.workflow, self.phase, self.attempt)
    }
}

/// What is to be executed, with all that is known by then.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    pub id: InvocationId,
    pub workflow_type: WorkflowType,
    pub feature_id: Arc<str>,
    pub description: Arc<str>,
    /// As the client sent it when it created the workflow.
    pub context: Option<Json>,
    /// The workflow before this one in its chain.
    pub origin: Option<Arc<Origin>>,
    /// Of the first phase, as it was approved.
    pub previous: Option<Arc<Artifact>>,
    /// Of the attempt before this one, and why it was rejected.
    pub rejected: Option<Arc<Artifact>>,
    pub rejection_reason: Option<Arc<str>>,
}

/// Why a phase has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// The hub says so, or cannot be asked however often one tries: the workflow fails with these words.
    #[error("{0}")]
    Failed(Arc<str>),
    /// This daemon is stopping: the phase goes on at the next start.
    #[error("the daemon is stopping")]
    Stopping,
}

/// Whoever executes phases.
#[async_trait]
pub trait Hub: Send + Sync + 'static {
    /// Asks until there is an answer, with retries and limits of its own. Dropped when nobody wants the answer any more.
    async fn invoke(&self, invocation: Arc<Invocation>) -> Result<Artifact, HubError>;

    /// Nobody wants this answer any more: what still works on it may stop. Returns at once.
    fn withdraw(&self, id: InvocationId);
}
