//! Bad input over the wire: every limit at its edge, every problem named, the right code, and nothing started.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moothall::grpc::proto::fleet::orchestrator::v1 as fleet;
use moothall::grpc::proto::fleet::orchestrator::v1::{DeliberateRequest, TaskConstraints};
use moothall::grpc::proto::moothall::v1 as own;
use moothall::grpc::proto::moothall::v1::journal_service_client::JournalServiceClient;
use moothall::grpc::proto::moothall::v1::task_service_client::TaskServiceClient;
use moothall::sim::{BehaviourChange, Fault, FaultKind};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::harness::{Home, LIMIT, Orchestrator, simulator, until_in_flight};
use super::raw;
use super::request::{task, with_metadata};

const DELIBERATE: &str = "/fleet.orchestrator.v1.OrchestratorService/Deliberate";

fn constrained(constraints: TaskConstraints) -> DeliberateRequest {
    DeliberateRequest { constraints: Some(constraints), ..task("T") }
}

/// The fields that a status finds fault with.
fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let found = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    found.into_iter().map(|violation| violation.field).collect()
}

async fn refused(client: &mut Orchestrator, request: DeliberateRequest) -> Result<Status> {
    client.deliberate(request).await.err().context("it was taken")
}

/// One step beyond each limit.
fn beyond() -> Vec<(&'static str, DeliberateRequest)> {
    let limits = TaskConstraints::default;
    let long = |bytes| "x".repeat(bytes);
    let map = |key: String, value: String| BTreeMap::from([(key, value)]);
    vec![
        ("task_id", DeliberateRequest { task_id: long(257), ..task("") }),
        ("task_id", task("bell\u{7}")),
        ("task_id", task(" blank")),
        ("task_description", DeliberateRequest { task_description: String::new(), ..task("T") }),
        ("task_description", DeliberateRequest { task_description: " \n\t ".to_owned(), ..task("T") }),
        ("task_description", DeliberateRequest { task_description: long(256 * 1024 + 1), ..task("T") }),
        ("role", DeliberateRequest { role: String::new(), ..task("T") }),
        ("role", DeliberateRequest { role: "D-E-V".to_owned(), ..task("T") }),
        ("role", DeliberateRequest { role: "1DEV".to_owned(), ..task("T") }),
        ("role", DeliberateRequest { role: long(33), ..task("T") }),
        ("rounds", DeliberateRequest { rounds: 9, ..task("T") }),
        ("rounds", DeliberateRequest { rounds: i32::MIN, ..task("T") }),
        ("num_agents", DeliberateRequest { num_agents: -1, ..task("T") }),
        ("num_agents", DeliberateRequest { num_agents: i32::MAX, ..task("T") }),
        ("constraints.rubric", constrained(TaskConstraints { rubric: long(64 * 1024 + 1), ..limits() })),
        ("constraints.requirements", constrained(TaskConstraints { requirements: vec![long(1); 65], ..limits() })),
        ("constraints.requirements[0]", constrained(TaskConstraints { requirements: vec![" ".into()], ..limits() })),
        ("constraints.requirements[0]", constrained(TaskConstraints { requirements: vec![long(65_537)], ..limits() })),
        ("constraints.max_iterations", constrained(TaskConstraints { max_iterations: 9, ..limits() })),
        ("constraints.max_iterations", constrained(TaskConstraints { max_iterations: -1, ..limits() })),
        ("constraints.timeout_seconds", constrained(TaskConstraints { timeout_seconds: 86_401, ..limits() })),
        ("constraints.timeout_seconds", constrained(TaskConstraints { timeout_seconds: -1, ..limits() })),
        (
            "constraints.metadata",
            constrained(TaskConstraints {
                metadata: (0..129).map(|key| (key.to_string(), String::new())).collect(),
                ..limits()
            }),
        ),
        (
            "constraints.metadata[\"k\"]",
            constrained(TaskConstraints { metadata: map("k".into(), long(65_537)), ..limits() }),
        ),
        ("constraints.metadata.rounds", with_metadata(task("T"), "rounds", "many")),
        ("constraints.metadata.budget_tokens", with_metadata(task("T"), "budget_tokens", "0")),
    ]
}

#[tokio::test]
async fn one_step_beyond_each_limit_is_refused_by_its_field_and_starts_nothing() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let mut client = daemon.client().await?;
    for (field, request) in beyond() {
        let status = refused(&mut client, request).await.context(field)?;
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec![field.to_owned()]), "{status}");
        assert!(status.message().starts_with(field), "{status}");
    }
    let tasks = TaskServiceClient::new(daemon.channel().await?).list_tasks(own::ListTasksRequest::default()).await?;
    assert_eq!(tasks.into_inner().tasks, []);
    assert_eq!(sim.stats().calls, 0);
    daemon.stop().await
}

#[tokio::test]
async fn the_limits_themselves_are_taken() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let constraints = TaskConstraints {
        rubric: "r".repeat(64 * 1024),
        requirements: vec!["q".repeat(1024); 64],
        metadata: (0..128).map(|key| (format!("key {key}"), "v".repeat(1024))).collect(),
        max_iterations: 8,
        timeout_seconds: 86_400,
    };
    let request = DeliberateRequest {
        task_id: "ü".repeat(128),
        task_description: "d".repeat(256 * 1024),
        role: "dev".to_owned(),
        constraints: Some(constraints),
        rounds: 8,
        num_agents: 65_535,
    };
    let answer = daemon.client().await?.deliberate(request.clone()).await?.into_inner();
    assert_eq!((answer.task_id, answer.results.len()), (request.task_id, 3));
    let tags = answer.metadata.context("no metadata")?.tags;
    assert_eq!((tags["calls"].as_str(), tags["num_agents.clamped"].as_str()), ("51", "true"));
    daemon.stop().await
}

#[tokio::test]
async fn all_problems_of_a_request_are_named_at_once() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let mut client = daemon.client().await?;
    let constraints = TaskConstraints { timeout_seconds: -1, max_iterations: 99, ..TaskConstraints::default() };
    let bad = DeliberateRequest {
        task_id: "a\u{1}".into(),
        rounds: 99,
        num_agents: -1,
        constraints: Some(constraints),
        ..Default::default()
    };
    let status = refused(&mut client, bad).await?;
    let mut found = fields(&status);
    found.sort();
    let expected = [
        "constraints.max_iterations",
        "constraints.timeout_seconds",
        "num_agents",
        "role",
        "rounds",
        "task_description",
        "task_id",
    ];
    assert_eq!(found, expected);
    expected.iter().for_each(|field| assert!(status.message().contains(field), "{status}"));

    let config = fleet::CouncilConfig {
        deliberation_rounds: -1,
        agent_type: "HUMAN".into(),
        custom_params: BTreeMap::from([("temperature".into(), "hot".into()), ("vllm_url".into(), "ftp://x".into())]),
        ..Default::default()
    };
    let council = fleet::CreateCouncilRequest { role: "no role".into(), num_agents: 33, config: Some(config) };
    let status = client.create_council(council).await.unwrap_err();
    assert_eq!((status.code(), fields(&status).len()), (Code::InvalidArgument, 6), "{status}");
    let agent = fleet::RegisterAgentRequest { endpoint: "nowhere".into(), ..Default::default() };
    let status = client.register_agent(agent).await.unwrap_err();
    assert_eq!(fields(&status), ["agent_id", "role", "endpoint"], "{status}");
    daemon.stop().await
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_clients_fault() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let channel = daemon.channel().await?;
    let valid = task("T").encode_to_vec();
    let table: [(&str, Vec<u8>); 7] = [
        ("nothing at all", Vec::new()),
        ("noise", vec![0xff; 64]),
        ("a message cut in two", valid[..valid.len() / 2 - 1].to_vec()),
        ("a number where a text belongs", vec![0x08, 0x01]),
        ("a text where a number belongs", vec![0x2a, 0x01, b'x']),
        ("a text that is not UTF-8", vec![0x0a, 0x02, 0xc3, 0x28]),
        ("a length beyond the end", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
    ];
    for (what, bytes) in table {
        for path in [DELIBERATE, "/orchestrator.v1.OrchestratorService/Deliberate"] {
            let status = raw::call(&channel, path, bytes.clone()).await.err().context(what)?;
            assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
        }
    }
    // Unknown fields are another version's, not a fault.
    let mut newer = with_metadata(task("T"), "rounds", "none").encode_to_vec();
    newer.extend([0xfa, 0x3f, 0x02, b'h', b'i']);
    raw::call(&channel, DELIBERATE, newer).await?;

    let huge = DeliberateRequest { task_description: "x".repeat(9 << 20), ..task("T") }.encode_to_vec();
    let status = raw::call(&channel, DELIBERATE, huge).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    let status = raw::call(&channel, "/fleet.orchestrator.v1.OrchestratorService/Guess", valid).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
    // And the daemon is well.
    daemon.client().await?.deliberate(task("T-2")).await?;
    daemon.stop().await
}

#[tokio::test]
async fn unknown_and_taken_names_are_told_with_those_there_are() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.with("MOOTHALL__COUNCILS__ROLES", "DEV,QA").start().await?;
    let mut client = daemon.client().await?;
    let status = refused(&mut client, DeliberateRequest { role: "COOK".into(), ..task("T-1") }).await?;
    assert_eq!(status.code(), Code::NotFound);
    assert!(["COOK", "DEV", "QA"].iter().all(|role| status.message().contains(role)), "{status}");

    let again = fleet::CreateCouncilRequest { role: "dev".into(), ..Default::default() };
    let status = client.create_council(again).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    assert!(status.message().contains("DEV"), "{status}");
    let twice =
        fleet::RegisterAgentRequest { agent_id: "agent-dev-001".into(), role: "DEV".into(), ..Default::default() };
    let status = client.register_agent(twice).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");

    client.deliberate(task("T-1")).await?;
    let calls = sim.stats().calls;
    let other = DeliberateRequest { task_description: "something else".into(), ..task("T-1") };
    let status = refused(&mut client, other).await?;
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    assert!(status.message().contains("T-1"), "{status}");
    // The same content is the same task: it is answered without a call.
    assert_eq!(client.deliberate(task("T-1")).await?.into_inner().results.len(), 3);
    assert_eq!(sim.stats().calls, calls);

    let nobody = fleet::UnregisterAgentRequest { agent_id: "agent-dev-009".into(), role: "DEV".into() };
    let status = client.unregister_agent(nobody).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("agent-dev-001"), "{status}");
    let unknown = fleet::GetDeliberationResultRequest { task_id: "T-9".into() };
    assert_eq!(client.get_deliberation_result(unknown).await.unwrap_err().code(), Code::NotFound);
    let review = client.deliberate_for_backlog_review(task("T-3")).await.unwrap_err();
    assert_eq!((review.code(), fields(&review)), (Code::InvalidArgument, vec!["task_id".to_owned()]));
    daemon.stop().await
}

#[tokio::test]
async fn what_is_not_allowed_or_not_there_says_which_setting_it_needs() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let mut client = daemon.client().await?;
    let council = |agent_type: &str| fleet::CreateCouncilRequest {
        role: "QA".into(),
        config: Some(fleet::CouncilConfig { agent_type: agent_type.into(), ..Default::default() }),
        ..Default::default()
    };
    let status = client.create_council(council("MOCK")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("ALLOW_MOCK_AGENTS"), "{status}");
    // The executor need not be there yet.
    client.create_council(council("RAY_VLLM")).await?;
    let agent = |endpoint: &str| fleet::RegisterAgentRequest {
        agent_id: "guest".into(),
        role: "DEV".into(),
        endpoint: endpoint.into(),
        ..Default::default()
    };
    let status = client.register_agent(agent("http://models.example.com:8000")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("agents.allowed_endpoints"), "{status}");
    let status = client.register_agent(agent("grpc://agents.example.com:1")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("agents.allowed_endpoints"), "{status}");

    let metrics = fleet::GetMetricsRequest { metric_type: "weather".into(), time_range_ms: -1 };
    let status = client.get_metrics(metrics).await.unwrap_err();
    assert_eq!((status.code(), fields(&status).len()), (Code::InvalidArgument, 2), "{status}");
    let mut journal = JournalServiceClient::new(daemon.channel().await?);
    let backup = own::BackupRequest { file_name: "../outside.db".into() };
    assert_eq!(journal.backup(backup).await.unwrap_err().code(), Code::InvalidArgument);
    let read = own::ReadRequest { types: vec!["Rumour".into()], ..Default::default() };
    let status = journal.read(read).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("TaskAccepted"), "{status}");
    daemon.stop().await
}

#[tokio::test]
async fn without_any_council_there_is_nobody_to_ask() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.with("INIT_DEFAULT_COUNCILS", "false").start().await?;
    let status = refused(&mut daemon.client().await?, task("T-1")).await?;
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("No agents configured"), "{status}");
    daemon.stop().await
}

#[tokio::test]
async fn one_deliberation_too_many_is_told_when_to_come_back() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let hang = Fault::first(3, FaultKind::Hang);
    sim.set(BehaviourChange { faults: Some(vec![hang]), ..BehaviourChange::default() });
    let daemon = Home::new(sim.addr())?.with("MOOTHALL__LIMITS__OPEN_DELIBERATIONS", "1").start().await?;
    let mut client = daemon.client().await?;
    let first = client.stream_deliberation(task("")).await?;
    until_in_flight(&sim, 3, LIMIT).await?;
    let status = refused(&mut client, task("T-2")).await?;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let retry = status.get_error_details().retry_info().and_then(|info| info.retry_delay);
    ensure!(retry.is_some_and(|after| !after.is_zero() && after < Duration::from_secs(600)), "{retry:?}");
    // Nothing was started: once there is room the same task is new.
    drop(first);
    let look = || async { Ok(client.clone().deliberate(task("T-2")).await.ok()) };
    super::harness::until("there is room", LIMIT, look).await?;
    daemon.stop().await
}
