//! `orchestrator.v1`: the older numbering. Requests become the newer ones, so that both behave alike.

use tonic::{Request, Response, Status};

use super::door::{Door, named};
use super::orchestrator::{orchestrated, overall};
use super::proto::fleet::orchestrator::v1 as fleet;
use super::proto::orchestrator::v1 as older;
use super::proto::orchestrator::v1::orchestrator_service_server::OrchestratorService;
use super::request;

pub(super) struct Legacy(pub(super) Door);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl OrchestratorService for Legacy {
    async fn deliberate(&self, request: Request<older::DeliberateRequest>) -> Answer<older::DeliberateResponse> {
        let (metadata, _, message) = request.into_parts();
        let (finished, task) = self.0.finish(request::deliberate(message.into(), &metadata)).await?;
        let answer = older::DeliberateResponse {
            results: finished.results,
            winner_id: finished.winner_id,
            duration_ms: finished.duration_ms,
            metadata: Some(finished.metadata),
        };
        Ok(named(answer, &task))
    }

    async fn orchestrate(&self, request: Request<older::OrchestrateRequest>) -> Answer<fleet::OrchestrateResponse> {
        let (metadata, _, message) = request.into_parts();
        let (finished, task) = self.0.finish(request::orchestrate(message.into(), &metadata)).await?;
        Ok(named(orchestrated(finished), &task))
    }

    async fn get_status(&self, request: Request<fleet::GetStatusRequest>) -> Answer<fleet::GetStatusResponse> {
        Ok(Response::new(overall(&self.0, request.get_ref().include_stats)))
    }
}

impl From<older::DeliberateRequest> for fleet::DeliberateRequest {
    fn from(older: older::DeliberateRequest) -> Self {
        Self {
            task_id: String::new(),
            task_description: older.task_description,
            role: older.role,
            constraints: older.constraints,
            rounds: older.rounds,
            num_agents: older.num_agents,
        }
    }
}

impl From<older::OrchestrateRequest> for fleet::OrchestrateRequest {
    fn from(older: older::OrchestrateRequest) -> Self {
        Self {
            task_id: older.task_id,
            task_description: older.task_description,
            role: older.role,
            constraints: older.constraints,
            options: older.options,
            ..Self::default()
        }
    }
}
