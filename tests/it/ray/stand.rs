//! An executor for tests: takes waves, says of them what the test says, and can be killed like a process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use moothall::backoff::Backoff;
use moothall::grpc::proto::fleet::ray_executor::v1::ray_executor_service_server::{
    RayExecutorService, RayExecutorServiceServer,
};
use moothall::grpc::proto::fleet::ray_executor::v1::{
    DeliberationResult, ExecuteBacklogReviewDeliberationRequest, ExecuteDeliberationRequest,
    ExecuteDeliberationResponse, GetActiveJobsRequest, GetActiveJobsResponse, GetDeliberationStatusRequest,
    GetDeliberationStatusResponse, GetStatusRequest, GetStatusResponse,
};
use moothall::grpc::proto::moothall::v1::executor_control_server::{ExecutorControl, ExecutorControlServer};
use moothall::grpc::proto::moothall::v1::executor_update::Update;
use moothall::grpc::proto::moothall::v1::{
    ExecutorAgentResult, ExecutorCancelRequest, ExecutorCancelResponse, ExecutorEnd, ExecutorUpdate,
    ExecutorWatchRequest,
};
use moothall::line::ServiceAddress;
use moothall::ray::{RayExecutor, RaySettings};
use moothall::vllm::{ContextLength, VllmModel, VllmSettings};
use serde_json::json;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::served::Served;

/// What there is of a wave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wave {
    results: Vec<ExecutorAgentResult>,
    end: Option<&'static str>,
}

/// What the test sees and sets.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) submits: Vec<ExecuteDeliberationRequest>,
    pub(crate) backlogs: usize,
    pub(crate) watches: usize,
    pub(crate) looks: usize,
    pub(crate) cancelled: Vec<String>,
    /// Where watches came from.
    pub(crate) connections: BTreeSet<SocketAddr>,
    /// By name; a restart forgets them unless they are handed on.
    pub(crate) waves: BTreeMap<String, watch::Sender<Wave>>,
    /// What the next submits are answered with.
    pub(crate) refusals: VecDeque<Status>,
    /// Nothing is answered at all, as by a process that stands still.
    pub(crate) hangs: bool,
}

#[derive(Clone)]
pub(crate) struct Stand {
    seen: Arc<Mutex<Seen>>,
}

impl Stand {
    pub(crate) fn new() -> Self {
        Self { seen: Arc::default() }
    }

    /// `control`: whether it serves the extension.
    pub(crate) async fn serve(&self, address: SocketAddr, control: bool) -> Served {
        let routes = Routes::new(RayExecutorServiceServer::new(self.clone()));
        let routes = if control { routes.add_service(ExecutorControlServer::new(self.clone())) } else { routes };
        Served::start(address, routes).await
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// One agent of a wave has answered.
    pub(crate) fn answers(&self, wave: &str, agent: &str, text: &str) {
        self.results(
            wave,
            ExecutorAgentResult {
                agent_id: agent.to_owned(),
                status: "completed".to_owned(),
                content: text.to_owned(),
                model: "m".to_owned(),
                finish_reason: "stop".to_owned(),
                attempts: 1,
                ..ExecutorAgentResult::default()
            },
        );
    }

    pub(crate) fn results(&self, wave: &str, result: ExecutorAgentResult) {
        self.seen().waves[wave].send_modify(|wave| wave.results.push(result));
    }

    pub(crate) fn ends(&self, wave: &str, status: &'static str) {
        self.seen().waves[wave].send_modify(|wave| wave.end = Some(status));
    }

    fn take(&self, request: ExecuteDeliberationRequest) -> Result<Response<ExecuteDeliberationResponse>, Status> {
        let mut seen = self.seen();
        let attempt = request.constraints.as_ref().map_or("", |constraints| &constraints.metadata["attempt"]);
        let name = format!("{}#{attempt}", request.task_id);
        let task_id = request.task_id.clone();
        seen.submits.push(request);
        if let Some(refusal) = seen.refusals.pop_front() {
            return Err(refusal);
        }
        seen.waves.entry(name.clone()).or_insert_with(|| watch::Sender::new(Wave::default()));
        let status = "submitted".to_owned();
        Ok(Response::new(ExecuteDeliberationResponse { task_id, deliberation_id: name, status, ..Default::default() }))
    }

    async fn stand_still(&self) {
        if self.seen().hangs {
            std::future::pending::<()>().await;
        }
    }
}

#[tonic::async_trait]
impl RayExecutorService for Stand {
    async fn execute_deliberation(
        &self,
        request: Request<ExecuteDeliberationRequest>,
    ) -> Result<Response<ExecuteDeliberationResponse>, Status> {
        self.stand_still().await;
        self.take(request.into_inner())
    }

    async fn execute_backlog_review_deliberation(
        &self,
        request: Request<ExecuteBacklogReviewDeliberationRequest>,
    ) -> Result<Response<ExecuteDeliberationResponse>, Status> {
        self.seen().backlogs += 1;
        let request = request.into_inner();
        self.take(ExecuteDeliberationRequest {
            task_id: request.task_id,
            agents: request.agents,
            constraints: request.constraints.map(|constraints| {
                moothall::grpc::proto::fleet::ray_executor::v1::TaskConstraints {
                    metadata: constraints.metadata,
                    ..Default::default()
                }
            }),
            ..Default::default()
        })
    }

    async fn get_deliberation_status(
        &self,
        request: Request<GetDeliberationStatusRequest>,
    ) -> Result<Response<GetDeliberationStatusResponse>, Status> {
        self.stand_still().await;
        let mut seen = self.seen();
        seen.looks += 1;
        let wave = seen.waves.get(&request.get_ref().deliberation_id).map(|wave| wave.borrow().clone());
        let Some(wave) = wave else {
            let status = "not_found".to_owned();
            return Ok(Response::new(GetDeliberationStatusResponse { status, ..Default::default() }));
        };
        let list: Vec<_> = wave.results.iter().map(listed).collect();
        let metadata = [("results".to_owned(), json!(list).to_string())].into();
        Ok(Response::new(GetDeliberationStatusResponse {
            status: wave.end.unwrap_or("running").to_owned(),
            result: Some(DeliberationResult { metadata, ..Default::default() }),
            ..Default::default()
        }))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        self.stand_still().await;
        Ok(Response::new(GetStatusResponse { status: "healthy".to_owned(), ..Default::default() }))
    }

    async fn get_active_jobs(
        &self,
        _: Request<GetActiveJobsRequest>,
    ) -> Result<Response<GetActiveJobsResponse>, Status> {
        Ok(Response::new(GetActiveJobsResponse::default()))
    }
}

/// As the contract lists a result: without what only the extension says.
fn listed(result: &ExecutorAgentResult) -> serde_json::Value {
    let ExecutorAgentResult { agent_id, role, status, content, reasoning, model, error, error_type, .. } = result;
    json!({
        "agent_id": agent_id, "role": role, "status": status, "content": content, "reasoning": reasoning, "model": model,
        "prompt_tokens": 0, "completion_tokens": 0, "duration_ms": 1, "error": error, "error_type": error_type,
    })
}

#[tonic::async_trait]
impl ExecutorControl for Stand {
    async fn cancel(
        &self,
        request: Request<ExecutorCancelRequest>,
    ) -> Result<Response<ExecutorCancelResponse>, Status> {
        self.stand_still().await;
        self.seen().cancelled.push(request.into_inner().deliberation_id);
        Ok(Response::new(ExecutorCancelResponse { status: "cancelled".to_owned() }))
    }

    type WatchStream = BoxStream<'static, Result<ExecutorUpdate, Status>>;

    async fn watch(&self, request: Request<ExecutorWatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let wave = {
            let mut seen = self.seen();
            seen.watches += 1;
            seen.connections.extend(request.remote_addr());
            seen.waves.get(&request.get_ref().deliberation_id).map(watch::Sender::subscribe)
        };
        self.stand_still().await;
        let wave = wave.ok_or_else(|| Status::not_found("no such deliberation"))?;
        let updates = stream::unfold((wave, 0, false), |(mut wave, told, over)| async move {
            if over {
                return None;
            }
            let now = wave.wait_for(|wave| wave.results.len() > told || wave.end.is_some()).await.ok()?.clone();
            let (update, is_last) = match now.results.get(told) {
                Some(result) => (Update::Result(result.clone()), false),
                None => (Update::End(ExecutorEnd { status: now.end?.to_owned(), ..Default::default() }), true),
            };
            Some((Ok(ExecutorUpdate { update: Some(update) }), (wave, told + 1, is_last)))
        });
        Ok(Response::new(updates.boxed()))
    }
}

/// As fast as tests want it, and patient.
pub(crate) fn settings() -> RaySettings {
    RaySettings {
        retry: Backoff { first: Duration::from_millis(10), most: Duration::from_millis(50) },
        poll: Backoff { first: Duration::from_millis(10), most: Duration::from_millis(50) },
        ..RaySettings::default()
    }
}

/// A client whose waves name a model server that nobody needs to reach.
pub(crate) fn client(address: SocketAddr, settings: RaySettings) -> Arc<RayExecutor> {
    let address = ServiceAddress::parse(&address.to_string()).unwrap().unwrap();
    let servers = vec!["http://gpu:8000".parse().unwrap()];
    let model = VllmSettings { model: "m".into(), context: ContextLength::Unlimited, ..VllmSettings::new(servers) };
    Arc::new(RayExecutor::new(address, settings, Arc::new(VllmModel::new(model).unwrap())).unwrap())
}
