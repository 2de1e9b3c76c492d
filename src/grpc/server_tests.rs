//! The services as clients see them: a real connection, the real actor system, a model that answers as told.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use moothall_actors::domain::id::TaskId;
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
use crate::http::{Components, Stage};

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
        let serving = serve(listener, system, journal, readiness.clone(), settings, async {
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
                TaskState::Pending | TaskState::Running { .. } => tokio::time::sleep(Duration::from_millis(5)).await,
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

#[tokio::test]
async fn a_council_deliberates_over_the_wire() {
    let house = House::usual().await;
    let answer = house.orchestrator().await.deliberate(request("T-1")).await.unwrap();
    assert_eq!(answer.metadata().get("moothall-task-id").unwrap(), "T-1");
    let answer = answer.into_inner();
    assert_eq!((answer.task_id.as_str(), answer.results.len()), ("T-1", 3));
    assert_eq!(answer.results.iter().map(|result| result.rank).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(answer.winner_id, answer.results[0].proposal.as_ref().unwrap().author_id);
    assert_eq!(answer.metadata.unwrap().tags["calls"], "9");
    assert_eq!(answer.results[0].proposal.as_ref().unwrap().revisions.len(), 1);
    house.close().await;
}

#[tokio::test]
async fn the_same_id_gets_the_same_answer_and_other_content_is_refused() {
    let house = House::usual().await;
    let mut client = house.orchestrator().await;
    let first = client.deliberate(request("T-1")).await.unwrap().into_inner();
    let again = client.deliberate(request("T-1")).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(house.story.model.asks().len(), 9);
    let other = fleet::DeliberateRequest { rounds: 2, ..request("T-1") };
    assert_eq!(client.deliberate(other).await.unwrap_err().code(), Code::AlreadyExists);
    house.close().await;
}

#[tokio::test]
async fn the_idempotency_key_stands_for_the_task_id() {
    let house = House::usual().await;
    let mut keyed = Request::new(request(""));
    keyed.metadata_mut().insert("idempotency-key", "K-1".parse().unwrap());
    let answer = house.orchestrator().await.deliberate(keyed).await.unwrap();
    assert_eq!(answer.into_inner().task_id, "K-1");
    house.close().await;
}

#[tokio::test]
async fn both_packages_orchestrate_alike() {
    let house = House::usual().await;
    let newer = fleet::OrchestrateRequest {
        task_id: "T-1".into(),
        task_description: "parse a duration".into(),
        role: "DEV".into(),
        ..Default::default()
    };
    let first = house.orchestrator().await.orchestrate(newer).await.unwrap().into_inner();
    assert_eq!((first.winner.as_ref().unwrap().rank, first.candidates.len()), (1, 2));
    let mut client = OlderClient::new(house.channel().await);
    let same = older::OrchestrateRequest {
        task_id: "T-1".into(),
        task_description: "parse a duration".into(),
        role: "DEV".into(),
        ..Default::default()
    };
    assert_eq!(client.orchestrate(same).await.unwrap().into_inner(), first);
    let deliberate = older::DeliberateRequest {
        task_description: "parse a duration".into(),
        role: "dev".into(),
        num_agents: 2,
        ..Default::default()
    };
    let answer = client.deliberate(deliberate).await.unwrap();
    assert!(answer.metadata().get("moothall-task-id").is_some());
    assert_eq!(answer.into_inner().results.len(), 2);
    let status = client.get_status(fleet::GetStatusRequest { include_stats: true }).await.unwrap().into_inner();
    let stats = status.stats.unwrap();
    assert_eq!((stats.total_deliberations, stats.total_orchestrations), (1, 1));
    house.close().await;
}

#[tokio::test]
async fn a_stream_tells_everything_and_ends_with_the_winner() {
    let house = House::usual().await;
    let answer = house.orchestrator().await.stream_deliberation(request("T-1")).await.unwrap();
    assert_eq!(answer.metadata().get("moothall-task-id").unwrap(), "T-1");
    let updates: Vec<_> = answer.into_inner().map(Result::unwrap).collect().await;
    let words = ["generating", "reviewing", "revising", "scoring", "selecting", "complete"];
    assert!(updates.iter().all(|update| words.contains(&update.status.as_str())), "{updates:?}");
    assert!(updates.is_sorted_by_key(|update| update.progress_percent), "{updates:?}");
    let last = updates.last().unwrap();
    assert_eq!((last.status.as_str(), last.partial_result.as_ref().unwrap().rank), ("complete", 1));
    assert_eq!(updates.iter().filter(|update| update.status == "complete").count(), 1);
    let texts = updates.iter().filter(|update| update.partial_result.is_some()).count();
    assert!(texts >= 7, "three proposals, three revisions and a winner: {texts}");
    house.close().await;
}

#[tokio::test]
async fn a_stream_that_nobody_can_find_again_ends_its_run_when_it_is_dropped() {
    let house = House::silent().await;
    let answer = house.orchestrator().await.stream_deliberation(request("")).await.unwrap();
    let task = answer.metadata().get("moothall-task-id").unwrap().to_str().unwrap().to_owned();
    drop(answer);
    house.until_cancelled(&task).await;
    house.close().await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_closed_and_lets_go_of_its_run() {
    let long: Arc<str> = "x".repeat(64 * 1024).into();
    let scenario = Scenario::new().council("DEV", 3).reacts(move |call, _| match call.id.agent.as_str() {
        "agent-dev-003" => (Duration::ZERO, Reaction::Hang),
        _ => (Duration::ZERO, Reaction::Answer(long.clone())),
    });
    let settings = GrpcSettings { patience: Duration::from_millis(80), ..GrpcSettings::default() };
    let house = House::with(scenario, settings).await;
    let narrow = house.endpoint().initial_stream_window_size(1024).initial_connection_window_size(1024);
    let mut client = OrchestratorServiceClient::new(narrow.connect().await.unwrap());
    let answer = client.stream_deliberation(request("")).await.unwrap();
    let task = answer.metadata().get("moothall-task-id").unwrap().to_str().unwrap().to_owned();
    // The council waits for its third agent; only the reader's absence can end the run.
    house.until_cancelled(&task).await;
    let mut updates = answer.into_inner();
    let ended = loop {
        match updates.next().await.expect("it ends with an error") {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::ResourceExhausted, "{ended:?}");
    house.close().await;
}

#[tokio::test]
async fn a_backlog_review_answers_at_once_and_the_result_comes_later() {
    let house = House::usual().await;
    let mut client = house.orchestrator().await;
    let id = "ceremony-1:story-2:role-DEV";
    let answer = client.deliberate_for_backlog_review(request(id)).await.unwrap().into_inner();
    assert_eq!((answer.task_id.as_str(), answer.results.len()), (id, 0));
    house.ending(id).await.unwrap();
    let result = fleet::GetDeliberationResultRequest { task_id: id.into() };
    let result = client.get_deliberation_result(result).await.unwrap().into_inner();
    assert_eq!((result.status(), result.results.len()), (fleet::DeliberationStatus::Completed, 3));
    house.close().await;
}

#[tokio::test]
async fn a_cancelled_task_says_why_everywhere() {
    let house = House::silent().await;
    let (mut client, mut tasks) = (house.orchestrator().await, house.tasks().await);
    let id = "ceremony-1:story-2:role-DEV";
    client.deliberate_for_backlog_review(request(id)).await.unwrap();
    let get = wire::GetTaskRequest { task_id: id.into(), include_results: true };
    let open = tasks.get_task(get.clone()).await.unwrap().into_inner().task.unwrap();
    assert_eq!(open.status(), wire::TaskStatus::Open);
    let cancel = wire::CancelTaskRequest { task_id: id.into(), reason: "too dear".into() };
    let ended = tasks.cancel_task(cancel.clone()).await.unwrap().into_inner().task.unwrap();
    assert_eq!((ended.status(), ended.error.unwrap().message.as_str()), (wire::TaskStatus::Cancelled, "too dear"));
    assert_eq!(tasks.cancel_task(cancel).await.unwrap_err().code(), Code::FailedPrecondition);
    let result = fleet::GetDeliberationResultRequest { task_id: id.into() };
    let result = client.get_deliberation_result(result).await.unwrap().into_inner();
    assert_eq!(result.status(), fleet::DeliberationStatus::Failed);
    assert_eq!(result.error_message, "cancelled: too dear");
    house.close().await;
}

#[tokio::test]
async fn a_watcher_sees_a_run_from_any_place_and_a_finished_one_at_its_end() {
    let house = House::silent().await;
    let (mut client, mut tasks) = (house.orchestrator().await, house.tasks().await);
    let id = "ceremony-1:story-2:role-DEV";
    client.deliberate_for_backlog_review(request(id)).await.unwrap();
    let watch = |after_index| wire::WatchTaskRequest { task_id: id.into(), after_index, include_texts: true };
    let mut running = tasks.watch_task(watch(0)).await.unwrap().into_inner();
    let first = running.next().await.unwrap().unwrap();
    assert_eq!((first.index, first.r#final), (1, false));
    tasks.cancel_task(wire::CancelTaskRequest { task_id: id.into(), reason: String::new() }).await.unwrap();
    let rest: Vec<_> = running.map(Result::unwrap).collect().await;
    let last = rest.last().unwrap();
    assert!(last.r#final);
    assert_eq!(last.task.as_ref().unwrap().error.as_ref().unwrap().message, "by request");
    let late: Vec<_> = tasks.watch_task(watch(1_000)).await.unwrap().into_inner().map(Result::unwrap).collect().await;
    assert_eq!(late.len(), 1);
    assert_eq!((late[0].r#final, late[0].phase.as_str()), (true, "failed"));
    house.close().await;
}

#[tokio::test]
async fn tasks_are_listed_newest_first_page_by_page() {
    let house = House::usual().await;
    let mut client = house.orchestrator().await;
    for number in 1..=5 {
        client.deliberate(request(&format!("T-{number}"))).await.unwrap();
    }
    let mut tasks = house.tasks().await;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = wire::ListTasksRequest { limit: 2, cursor, ..Default::default() };
        let page = tasks.list_tasks(page).await.unwrap().into_inner();
        seen.extend(page.tasks.into_iter().map(|task| (task.task_id, task.phase)));
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    let expected: Vec<_> = (1..=5).rev().map(|number| (format!("T-{number}"), "complete".to_owned())).collect();
    assert_eq!(seen, expected);
    house.close().await;
}

#[tokio::test]
async fn councils_and_agents_come_and_go() {
    let settings = GrpcSettings {
        agents: AgentSettings {
            agent_type: "VLLM".into(),
            allowed_endpoints: ["localhost".parse().unwrap()].into_iter().collect(),
            ..AgentSettings::default()
        },
        ..GrpcSettings::default()
    };
    let house = House::with(Scenario::new(), settings).await;
    let mut client = house.orchestrator().await;
    let nobody = client.deliberate(request("T-1")).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unimplemented);
    assert!(nobody.message().starts_with("No agents configured"), "{nobody}");
    let create = fleet::CreateCouncilRequest { role: "dev".into(), num_agents: 2, config: None };
    let made = client.create_council(create.clone()).await.unwrap().into_inner();
    assert_eq!(
        (made.council_id.as_str(), made.agent_ids),
        ("council-dev", vec!["agent-dev-001".into(), "agent-dev-002".into()])
    );
    assert_eq!(client.create_council(create).await.unwrap_err().code(), Code::AlreadyExists);
    let stranger = fleet::DeliberateRequest { role: "QA".into(), ..request("T-1") };
    let unknown = client.deliberate(stranger).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("DEV"), "{unknown}");
    let join = fleet::RegisterAgentRequest {
        agent_id: "guest-1".into(),
        role: "DEV".into(),
        endpoint: "http://localhost:1".into(),
        ..Default::default()
    };
    assert_eq!(client.register_agent(join).await.unwrap().into_inner().council_id, "council-dev");
    let list = fleet::ListCouncilsRequest { role_filter: "dev".into(), include_agents: true };
    let listed = client.list_councils(list).await.unwrap().into_inner().councils;
    assert_eq!((listed.len(), listed[0].num_agents, listed[0].agents.len()), (1, 3, 3));
    let leave = fleet::UnregisterAgentRequest { agent_id: "guest-1".into(), role: "DEV".into() };
    assert!(client.unregister_agent(leave.clone()).await.unwrap().into_inner().success);
    assert_eq!(client.unregister_agent(leave).await.unwrap_err().code(), Code::NotFound);
    let metrics = client.get_metrics(fleet::GetMetricsRequest::default()).await.unwrap().into_inner();
    assert_eq!(metrics.agents.unwrap().total_agents, 2);
    let delete = fleet::DeleteCouncilRequest { role: "DEV".into() };
    assert_eq!(client.delete_council(delete).await.unwrap().into_inner().agents_removed, 2);
    house.close().await;
}

#[tokio::test]
async fn what_is_missing_says_so() {
    let house = House::usual().await;
    let mut client = house.orchestrator().await;
    let statuses = [
        client.process_planning_event(fleet::PlanningEventRequest::default()).await.unwrap_err(),
        client.derive_subtasks(fleet::DeriveSubtasksRequest::default()).await.unwrap_err(),
        client.get_task_context(fleet::GetTaskContextRequest::default()).await.unwrap_err(),
    ];
    for status in statuses {
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains("this version lacks"), "{status}");
    }
    house.close().await;
}

#[tokio::test]
async fn every_problem_of_a_request_is_in_the_details() {
    let house = House::usual().await;
    let bad = fleet::DeliberateRequest { task_id: " x".into(), rounds: 99, num_agents: -1, ..Default::default() };
    let status = house.orchestrator().await.deliberate(bad).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let fields: Vec<_> = details.bad_request().unwrap().field_violations.iter().map(|found| &found.field[..]).collect();
    assert_eq!(fields, ["task_id", "role", "task_description", "rounds", "num_agents"]);
    house.close().await;
}

#[tokio::test]
async fn the_system_shows_its_tree_and_its_journal() {
    let house = House::usual().await;
    house.orchestrator().await.deliberate(request("T-1")).await.unwrap();
    let mut councils = CouncilServiceClient::new(house.channel().await);
    let tree = councils.get_tree(wire::GetTreeRequest {}).await.unwrap().into_inner().actors;
    assert!(tree.iter().any(|actor| actor.name.contains("agent-dev-001")), "{tree:?}");
    let status = councils.get_system_status(wire::GetSystemStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.status.as_str(), status.councils, status.open), ("healthy", 1, 0));
    let resume = wire::ResumeCouncilRequest { role: "DEV".into() };
    assert_eq!(councils.resume_council(resume).await.unwrap().into_inner().council_id, "council-dev");
    let nobody = wire::ResumeCouncilRequest { role: "QA".into() };
    assert_eq!(councils.resume_council(nobody).await.unwrap_err().code(), Code::NotFound);
    let mut journal = JournalServiceClient::new(house.channel().await);
    let read = wire::ReadRequest { stream_prefix: "task/".into(), ..Default::default() };
    let events: Vec<_> = journal.read(read).await.unwrap().into_inner().map(Result::unwrap).collect().await;
    let kinds: Vec<_> = events.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(kinds, ["TaskAccepted", "TaskCompleted"]);
    assert!(journal.verify(wire::VerifyRequest {}).await.unwrap().into_inner().sound);
    let path = wire::BackupRequest { file_name: "../x.db".into() };
    assert_eq!(journal.backup(path).await.unwrap_err().code(), Code::InvalidArgument);
    house.close().await;
}

#[tokio::test]
async fn health_follows_the_daemon_and_its_parts() {
    let house = House::usual().await;
    let mut client = HealthClient::new(house.channel().await);
    let service = "fleet.orchestrator.v1.OrchestratorService".to_owned();
    let mut watch = client.watch(HealthCheckRequest { service }).await.unwrap().into_inner();
    while watch.message().await.unwrap().unwrap().status() != Serving::Serving {}
    house.readiness.observe(|| Components::from([("nats".to_owned(), Health::Degraded("no connection".into()))]));
    house.readiness.enter(Stage::Draining);
    while watch.message().await.unwrap().unwrap().status() != Serving::NotServing {}
    let part = client.check(HealthCheckRequest { service: "nats".into() }).await.unwrap().into_inner();
    assert_eq!(part.status(), Serving::NotServing);
    drop(watch);
    house.close().await;
}

#[tokio::test]
async fn reflection_lists_every_service_in_both_versions() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
    let house = House::usual().await;
    let ask = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut client = ServerReflectionClient::new(house.channel().await);
    let mut answers = client.server_reflection_info(tokio_stream::once(ask.clone())).await.unwrap().into_inner();
    let answer: ServerReflectionResponse = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else { panic!("{answer:?}") };
    let names: BTreeSet<_> = listed.service.into_iter().map(|service| service.name).collect();
    for service in routes::NAMES.into_iter().chain(["grpc.health.v1.Health"]) {
        assert!(names.contains(service), "{service} in {names:?}");
    }
    // The older version is the same on the wire but for its name.
    let path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
    let (status, _) = raw(house.address, path, &ask.encode_to_vec(), None).await;
    assert_eq!(status, 0);
    house.close().await;
}

/// One call made by hand, without a gRPC client's own checks and timers: its code, and its answer's bytes.
async fn raw(address: SocketAddr, path: &str, message: &[u8], timeout: Option<&str>) -> (i32, Bytes) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    let mut request = http::Request::post(format!("http://{address}{path}")).header("content-type", "application/grpc");
    if let Some(timeout) = timeout {
        request = request.header("grpc-timeout", timeout);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(frame))).unwrap()).await.unwrap();
    let early = response.headers().get("grpc-status").cloned();
    let body = response.into_body().collect().await.unwrap();
    let late = body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned());
    let status = early.or(late).unwrap().to_str().unwrap().parse().unwrap();
    connection.abort();
    (status, body.to_bytes())
}

const DELIBERATE: &str = "/fleet.orchestrator.v1.OrchestratorService/Deliberate";

#[tokio::test]
async fn a_message_that_is_none_is_the_clients_fault() {
    let house = House::usual().await;
    let description_is_not_utf8 = [0x12, 2, 0xc3, 0x28];
    let cut_off = [0x12, 200, 1];
    let wrong_type = [0x10, 1];
    for bytes in [&description_is_not_utf8[..], &cut_off, &wrong_type] {
        assert_eq!(raw(house.address, DELIBERATE, bytes, None).await.0, Code::InvalidArgument as i32, "{bytes:?}");
    }
    let oversize = vec![0; MAX_REQUEST_BYTES + 1];
    assert_eq!(raw(house.address, DELIBERATE, &oversize, None).await.0, Code::OutOfRange as i32);
    house.close().await;
}

#[tokio::test]
async fn past_the_clients_deadline_the_answer_is_late_and_keyed_work_goes_on() {
    let house = House::silent().await;
    let id = "ceremony-1:story-2:role-DEV";
    house.orchestrator().await.deliberate_for_backlog_review(request(id)).await.unwrap();
    let message = request(id).encode_to_vec();
    let stream = DELIBERATE.replace("Deliberate", "StreamDeliberation");
    for path in [DELIBERATE, &stream] {
        let (status, _) = raw(house.address, path, &message, Some("50m")).await;
        assert_eq!(status, Code::DeadlineExceeded as i32, "{path}");
    }
    let get = wire::GetTaskRequest { task_id: id.into(), include_results: false };
    let task = house.tasks().await.get_task(get).await.unwrap().into_inner().task.unwrap();
    assert_eq!(task.status(), wire::TaskStatus::Open);
    house.close().await;
}
