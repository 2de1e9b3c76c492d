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
use moothall::grpc::proto::moothall::v1::executor_order::Order;
use moothall::grpc::proto::moothall::v1::executor_report::Report;
use moothall::grpc::proto::moothall::v1::executor_update::Update;
use moothall::grpc::proto::moothall::v1::{
    ExecutorAgentResult, ExecutorCancelRequest, ExecutorCancelResponse, ExecutorEnd, ExecutorOrder, ExecutorOrders,
    ExecutorRefusal, ExecutorReport, ExecutorReports, ExecutorUpdate, ExecutorWatchRequest,
};
use moothall::line::ServiceAddress;
use moothall::ray::{RayExecutor, RaySettings};
use moothall::vllm::{ContextLength, VllmModel, VllmSettings};
use serde_json::json;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::served::Served;

/// As the executor that comes with the daemon takes it.
const MOST_REQUEST: usize = 8 * 1024 * 1024;

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
    /// Streams of all waves, and messages in them.
    pub(crate) streams: usize,
    pub(crate) messages: usize,
}

/// What an executor knows beyond the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Speaks {
    Contract,
    /// It can be watched, and told to cancel.
    Watch,
    /// All that in one stream, too.
    Attend,
}

#[derive(Clone)]
pub(crate) struct Stand {
    seen: Arc<Mutex<Seen>>,
}

impl Stand {
    pub(crate) fn new() -> Self {
        Self { seen: Arc::default() }
    }

    pub(crate) async fn serve(&self, address: SocketAddr, speaks: Speaks) -> Served {
        let service = RayExecutorServiceServer::new(self.clone()).max_decoding_message_size(MOST_REQUEST);
        let routes = Routes::new(service);
        let control = Control { stand: self.clone(), attends: speaks == Speaks::Attend };
        let routes =
            if speaks == Speaks::Contract { routes } else { routes.add_service(ExecutorControlServer::new(control)) };
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

    /// What is told of a wave.
    fn updates(&self, name: &str) -> Result<BoxStream<'static, Update>, Status> {
        let mut seen = self.seen();
        seen.watches += 1;
        let wave = seen.waves.get(name).map(watch::Sender::subscribe);
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
            Some((update, (wave, told + 1, is_last)))
        });
        Ok(updates.boxed())
    }

    /// All that is reported on one order.
    async fn reports(self, order: Option<Order>) -> BoxStream<'static, Report> {
        self.stand_still().await;
        let updates = match order {
            Some(Order::Watch(request)) => self.updates(&request.deliberation_id),
            Some(Order::Deliberation(request)) => {
                return one(self.execute_deliberation(Request::new(request)).await);
            }
            Some(Order::BacklogReview(request)) => {
                return one(self.execute_backlog_review_deliberation(Request::new(request)).await);
            }
            None => Err(Status::unimplemented("no such order")),
        };
        match updates {
            Err(status) => stream::iter([refused(&status)]).boxed(),
            Ok(updates) => updates
                .map(|update| match update {
                    Update::Result(result) => Report::Result(result),
                    Update::End(end) => Report::End(end),
                })
                .boxed(),
        }
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

fn one(taken: Result<Response<ExecuteDeliberationResponse>, Status>) -> BoxStream<'static, Report> {
    let report = taken.map_or_else(|status| refused(&status), |taken| Report::Taken(taken.into_inner()));
    stream::iter([report]).boxed()
}

fn refused(status: &Status) -> Report {
    Report::Refused(ExecutorRefusal { code: status.code().into(), message: status.message().to_owned() })
}

/// The extension.
#[derive(Clone)]
struct Control {
    stand: Stand,
    attends: bool,
}

#[tonic::async_trait]
impl ExecutorControl for Control {
    async fn cancel(
        &self,
        request: Request<ExecutorCancelRequest>,
    ) -> Result<Response<ExecutorCancelResponse>, Status> {
        self.stand.stand_still().await;
        self.stand.seen().cancelled.push(request.into_inner().deliberation_id);
        Ok(Response::new(ExecutorCancelResponse { status: "cancelled".to_owned() }))
    }

    type WatchStream = BoxStream<'static, Result<ExecutorUpdate, Status>>;

    async fn watch(&self, request: Request<ExecutorWatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let updates = self.stand.updates(&request.get_ref().deliberation_id);
        self.stand.seen().connections.extend(request.remote_addr());
        self.stand.stand_still().await;
        let updates = updates?.map(|update| Ok(ExecutorUpdate { update: Some(update) }));
        Ok(Response::new(updates.boxed()))
    }

    type AttendStream = BoxStream<'static, Result<ExecutorReports, Status>>;

    async fn attend(
        &self,
        request: Request<Streaming<ExecutorOrders>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        if !self.attends {
            return Err(Status::unimplemented("no such method"));
        }
        let stand = self.stand.clone();
        stand.seen().streams += 1;
        let counted = stand.clone();
        let orders = request.into_inner().take_while(|message| std::future::ready(message.is_ok()));
        let orders = orders.filter_map(|message| std::future::ready(message.ok())).flat_map(move |message| {
            counted.seen().messages += 1;
            stream::iter(message.orders)
        });
        let reports = orders.flat_map_unordered(None, move |ExecutorOrder { number, order }| {
            let reports = stream::once(stand.clone().reports(order)).flatten();
            reports.map(move |report| ExecutorReport { number, report: Some(report) }).boxed()
        });
        let messages = reports.ready_chunks(64).map(|reports| Ok(ExecutorReports { reports }));
        Ok(Response::new(messages.boxed()))
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
