//! The services as clients see them: a real connection, the real actor system, a model that answers as told.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use moothall_actors::domain::id::TaskId;
use moothall_actors::domain::queue::OnDependencyFailure;
use moothall_actors::error::SystemError;
use moothall_actors::testing::{Reaction, Scenario, Stage as Story};
use moothall_actors::view::TaskState;
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Serving;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use super::super::codec::MAX_REQUEST_BYTES;
use super::super::proto::fleet::orchestrator::v1 as fleet;
use super::super::proto::fleet::orchestrator::v1::orchestrator_service_client::OrchestratorServiceClient;
use super::super::proto::moothall::v1 as wire;
use super::super::proto::moothall::v1::council_service_client::CouncilServiceClient;
use super::super::proto::moothall::v1::journal_service_client::JournalServiceClient;
use super::super::proto::moothall::v1::task_service_client::TaskServiceClient;
use super::super::proto::orchestrator::v1 as older;
use super::super::proto::orchestrator::v1::orchestrator_service_client::OrchestratorServiceClient as OlderClient;
use super::*;
use crate::config::{PlansConfig, UnknownRole};
use crate::http::{Components, Stage};
use crate::intake::{Intake, IntakeSettings};

mod context;
mod councils;
mod house;
mod past;
mod tasks;
mod work;

/// A running server with its system; both end with it.
struct House {
    story: Story,
    readiness: Arc<Readiness>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), ServeError>>,
}

impl House {
    async fn of(scenario: Scenario) -> Self {
        Self::with(scenario, GrpcSettings::default()).await
    }

    async fn with(scenario: Scenario, settings: GrpcSettings) -> Self {
        let story = scenario.start().await;
        let readiness = Arc::new(Readiness::default());
        readiness.enter(Stage::Ready);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (system, journal) = (story.system().clone(), Arc::new(story.journal.clone()));
        let standing: (_, ModelServers) = (readiness.clone(), Arc::new(Vec::new));
        let plans = PlansConfig {
            max_tasks: 9,
            unknown_role: UnknownRole::Park,
            hold_until_phase: None,
            on_dependency_failure: OnDependencyFailure::Block,
        };
        let intake = Intake::new(system.clone(), IntakeSettings { plans, council: None });
        let serving = serve(listener, (system, intake), journal, standing, settings, async {
            let _ = stopped.await;
        });
        Self { story, readiness, address, stop, server: tokio::spawn(serving) }
    }

    /// Three agents that answer at once.
    async fn usual() -> Self {
        Self::of(Scenario::new().council("DEV", 3)).await
    }

    /// Agents that never answer.
    async fn silent() -> Self {
        Self::of(Scenario::new().council("DEV", 3).reacts(|_, _| (Duration::ZERO, Reaction::Hang))).await
    }

    async fn channel(&self) -> Channel {
        self.endpoint().connect().await.unwrap()
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap()
    }

    async fn orchestrator(&self) -> OrchestratorServiceClient<Channel> {
        OrchestratorServiceClient::new(self.channel().await)
    }

    async fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel().await)
    }

    /// How the run ended; waits for it.
    async fn ending(&self, task: &str) -> Result<(), SystemError> {
        let task = TaskId::parse("task_id", task).unwrap();
        self.story.system().attach(&task).await?.outcome().await.map(drop)
    }

    /// Waits without attaching, which would hold the run.
    async fn until_cancelled(&self, task: &str) {
        let task = TaskId::parse("task_id", task).unwrap();
        loop {
            match self.story.system().task(&task).await.unwrap().state {
                TaskState::Ended(SystemError::Cancelled { .. }) => return,
                TaskState::Completed(_) | TaskState::Ended(_) => panic!("task {task} ended otherwise"),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn close(self) {
        drop(self.stop);
        self.story.system().drain(Duration::from_millis(1)).await;
        self.server.await.unwrap().unwrap();
    }
}

fn request(task_id: &str) -> fleet::DeliberateRequest {
    fleet::DeliberateRequest {
        task_id: task_id.into(),
        task_description: "parse a duration".into(),
        role: "DEV".into(),
        ..Default::default()
    }
}
