//! What all services share: the system behind them, and how work is handed to it.

use std::sync::Arc;

use moothall_actors::domain::id::{Role, TaskId};
use moothall_actors::domain::problem::Problems;
use moothall_actors::{Attached, Hold, System};
use tonic::metadata::{BinaryMetadataValue, MetadataMap, MetadataValue};
use tonic::{Response, Status};

use super::answer::Finished;
use super::guard::Guards;
use super::request::Work;
use super::server::GrpcSettings;
use crate::error::{invalid, status};
use crate::http::Readiness;
use crate::intake::Intake;
use crate::vllm::ReplicaState;

/// The task's id, in the initial metadata of every answer to a call that starts work: a client whose connection is
/// cut can find its work again.
const TASK_ID: &str = "moothall-task-id";
/// The same for ids that are not ASCII, which a plain header cannot hold.
const TASK_ID_BIN: &str = "moothall-task-id-bin";

/// How the model servers stand now; asks none of them.
pub type ModelServers = Arc<dyn Fn() -> Vec<ReplicaState> + Send + Sync>;

/// One per service, cheap to clone.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) system: System,
    pub(super) readiness: Arc<Readiness>,
    pub(super) models: ModelServers,
    pub(super) guards: Arc<Guards>,
    pub(super) settings: Arc<GrpcSettings>,
    pub(super) intake: Intake,
}

impl Door {
    /// Durable when it returns.
    pub(super) async fn submit(&self, work: Result<Work, Problems>, hold: Hold) -> Result<(Attached, Role), Status> {
        let Work { task, spec } = work.map_err(|problems| invalid(&problems))?;
        let role = spec.role.clone();
        let attached = self.system.submit(task, spec, hold).await.map_err(|error| status(&error))?;
        Ok((attached, role))
    }

    /// Submits and waits. HTTP/2 sends a unary answer's headers with the answer, so that here the id goes out late: who
    /// needs it early names the task or streams.
    pub(super) async fn finish(&self, work: Result<Work, Problems>) -> Result<(Finished, TaskId), Status> {
        let (attached, role) = self.submit(work, Hold::Call).await?;
        let task = attached.task().clone();
        match attached.outcome().await {
            Ok(outcome) => Ok((Finished::of(&outcome, &role), task)),
            Err(error) => {
                let mut status = status(&error);
                name(status.metadata_mut(), &task);
                Err(status)
            }
        }
    }
}

/// An answer that names its task.
pub(super) fn named<T>(message: T, task: &TaskId) -> Response<T> {
    let mut response = Response::new(message);
    name(response.metadata_mut(), task);
    response
}

fn name(metadata: &mut MetadataMap, task: &TaskId) {
    let id = task.as_str();
    match MetadataValue::try_from(id).ok().filter(|_| id.is_ascii()) {
        Some(value) => drop(metadata.insert(TASK_ID, value)),
        None => drop(metadata.insert_bin(TASK_ID_BIN, BinaryMetadataValue::from_bytes(id.as_bytes()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_can_be_sent() {
        let sent = |id: &str| named((), &TaskId::parse("task_id", id).unwrap()).metadata().clone();
        assert_eq!(sent("T-1").get(TASK_ID).unwrap(), "T-1");
        let metadata = sent("tâche-1");
        assert!(metadata.get(TASK_ID).is_none());
        assert_eq!(&metadata.get_bin(TASK_ID_BIN).unwrap().to_bytes().unwrap()[..], "tâche-1".as_bytes());
    }
}
