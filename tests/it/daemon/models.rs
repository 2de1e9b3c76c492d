//! Model servers as they are: down, slow, full, talking nonsense. What comes of it is a part of the answer with the
//! missing seats named, or an error with its cause; never a text that no model wrote. And it heals by itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moothall::grpc::proto::fleet::orchestrator::v1::{DeliberateRequest, DeliberateResponse, TaskConstraints};
use moothall::grpc::proto::moothall::v1::GetSystemStatusRequest;
use moothall::grpc::proto::moothall::v1::council_service_client::CouncilServiceClient;
use moothall::sim::{Answers, Behaviour, BehaviourChange, Fault, FaultKind, Latency, SimServer, SimSettings};
use moothall_actors::domain::id::Stage;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::net::TcpSocket;
use tonic::{Code, Status};

use super::harness::{Daemon, Home, LIMIT, Orchestrator, seed, simulator, until, until_in_flight};
use super::request::{assert_texts_are_the_models, authors, task};

/// How soon an answer must come once the model servers are well again.
const HEALED: Duration = Duration::from_secs(10);

fn misbehave(sim: &SimServer, faults: Vec<Fault>) {
    sim.set(BehaviourChange { faults: Some(faults), ..BehaviourChange::default() });
}

fn answer_after(sim: &SimServer, fixed_ms: u64) {
    sim.set(BehaviourChange { latency: Some(Latency::Fixed { fixed_ms }), ..BehaviourChange::default() });
}

fn busy(retry_after: u64) -> FaultKind {
    FaultKind::Status { status: 429, retry_after: Some(retry_after), location: None, message: None }
}

/// Short pauses between retries and a short patience, so that the test is short; breakers are as they are.
fn impatient(model: std::net::SocketAddr) -> Result<Home> {
    Ok(Home::new(model)?
        .with("VLLM_TIMEOUT", "1.5")
        .with("MOOTHALL__MODEL__RETRY_MIN", "0.02")
        .with("MOOTHALL__MODEL__RETRY_MAX", "0.05")
        .with("RUST_LOG", "error"))
}

async fn deliberate(client: &mut Orchestrator, request: DeliberateRequest) -> Result<DeliberateResponse, Status> {
    let answer = client.deliberate(request).await?.into_inner();
    assert_texts_are_the_models(&answer.results);
    Ok(answer)
}

/// Asks until three agents answer, as a user would.
async fn heals(daemon: &Daemon) -> Result<()> {
    let client = daemon.client().await?;
    let look = || async {
        let answer = deliberate(&mut client.clone(), task("")).await;
        Ok(answer.ok().filter(|answer| answer.results.len() == 3).map(drop))
    };
    until("it heals", HEALED, look).await
}

#[tokio::test]
async fn a_model_server_that_comes_after_the_daemon_is_found() -> Result<()> {
    // Bound and not listening: the port is ours, and whoever connects is refused.
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind("127.0.0.1:0".parse()?)?;
    let listen = socket.local_addr()?;
    let daemon = impatient(listen)?.start().await?;
    let mut client = daemon.client().await?;
    let refused = deliberate(&mut client, task("T-1")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("agent-dev-001"), "{refused}");
    assert!(refused.message().contains("refused"), "the cause is missing: {refused}");

    let (status, health) = daemon.page("/health").await?;
    ensure!(status == 200 && health.contains("degraded") && health.contains("model"), "{status} {health}");

    let behaviour = Behaviour { answers: Answers::Prose, ..Behaviour::default() };
    let _sim = SimServer::start(SimSettings { listen, behaviour, ..SimSettings::default() }).await?;
    heals(&daemon).await?;
    // The task that failed is worth another run under its own id.
    assert_eq!(deliberate(&mut client, task("T-1")).await?.results.len(), 3);
    daemon.stop().await
}

#[tokio::test]
async fn a_server_that_always_fails_is_an_error_with_its_cause_and_heals() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = impatient(sim.addr())?.start().await?;
    let mut client = daemon.client().await?;
    let table = [
        ("internal-error", FaultKind::status(500), Code::Unavailable, "500"),
        ("bad-gateway", FaultKind::status(502), Code::Unavailable, "502"),
        ("garbage", FaultKind::Garbage, Code::Unavailable, "not a completion"),
        ("half-json", FaultKind::HalfJson, Code::Unavailable, "not a completion"),
        ("no-choice", FaultKind::EmptyChoices, Code::Unavailable, "choice"),
        ("no-content", FaultKind::NoContent, Code::Unavailable, "text is empty"),
        ("dropped", FaultKind::Drop, Code::Unavailable, "connection"),
        ("cut", FaultKind::Cut, Code::Unavailable, "connection"),
        ("hanging", FaultKind::Hang, Code::DeadlineExceeded, "no answer within"),
        ("bad-request", FaultKind::status(400), Code::FailedPrecondition, "400"),
        ("unknown-model", FaultKind::status(404), Code::FailedPrecondition, "404"),
    ];
    let mut wrong = Vec::new();
    for (id, fault, code, cause) in table {
        misbehave(&sim, vec![Fault::always(fault)]);
        match deliberate(&mut client, task(id)).await {
            Err(status) if status.code() == code && status.message().contains(cause) => {}
            other => wrong.push(format!("{id}: {code:?} with {cause:?} was expected: {other:?}")),
        }
        misbehave(&sim, Vec::new());
        heals(&daemon).await.context(id)?;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    daemon.stop().await
}

#[tokio::test]
async fn a_seat_that_gets_no_answer_is_named_and_the_others_go_on() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = impatient(sim.addr())?.start().await?;
    let mut client = daemon.client().await?;
    let faults = [
        ("failing", FaultKind::status(503), "transient: "),
        ("garbage", FaultKind::Garbage, "transient: "),
        ("hanging", FaultKind::Hang, "timed_out: "),
        ("refused", FaultKind::status(400), "refused: "),
    ];
    for (id, fault, class) in faults {
        let second = |stage| Fault { stage: Some(stage), seat: Some("002".into()), ..Fault::always(fault.clone()) };
        // Without a proposal it is out of the ring.
        misbehave(&sim, vec![second(Stage::Propose)]);
        let answer = deliberate(&mut client, task(&format!("{id}-propose"))).await?;
        assert_eq!(authors(&answer.results).into_iter().collect::<Vec<_>>(), ["agent-dev-001", "agent-dev-003"]);
        assert_missing(&answer, "missing.agent-dev-002.propose-0", class)?;
        // Without its critique the one whom it reviews keeps the proposal; nobody else is touched.
        misbehave(&sim, vec![second(Stage::Critique)]);
        let answer = deliberate(&mut client, task(&format!("{id}-critique"))).await?;
        assert_eq!(answer.results.len(), 3);
        assert_missing(&answer, "missing.agent-dev-002.critique-1", class)?;
        misbehave(&sim, Vec::new());
        heals(&daemon).await.context(id)?;
    }
    daemon.stop().await
}

fn assert_missing(answer: &DeliberateResponse, tag: &str, class: &str) -> Result<()> {
    let tags = &answer.metadata.as_ref().context("no metadata")?.tags;
    assert_eq!(tags.get("missing").map(String::as_str), Some("1"), "{tags:?}");
    ensure!(tags.get(tag).is_some_and(|why| why.starts_with(class)), "{tag} is not {class:?}: {tags:?}");
    Ok(())
}

#[tokio::test]
async fn a_full_server_is_asked_again_when_it_said() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = impatient(sim.addr())?.start().await?;
    let mut client = daemon.client().await?;
    misbehave(&sim, vec![Fault::first(3, busy(1))]);
    let answer = deliberate(&mut client, task("T-1")).await?;
    let tags = answer.metadata.context("no metadata")?.tags;
    assert_eq!((tags["calls"].as_str(), tags["attempts"].as_str(), tags.get("missing")), ("9", "12", None));
    // A second is what it said; a retry without that would have come after some milliseconds.
    assert!(answer.duration_ms >= 1000, "{} ms", answer.duration_ms);

    misbehave(&sim, vec![Fault::always(busy(1))]);
    let constraints = TaskConstraints { timeout_seconds: 3, ..TaskConstraints::default() };
    let hurried = DeliberateRequest { constraints: Some(constraints), ..task("T-2") };
    let full = deliberate(&mut client, hurried).await.unwrap_err();
    assert!(matches!(full.code(), Code::Unavailable | Code::DeadlineExceeded), "{full}");
    misbehave(&sim, Vec::new());
    heals(&daemon).await?;
    daemon.stop().await
}

#[tokio::test]
async fn a_slow_server_is_given_up_when_the_time_is_over_and_its_calls_are_dropped() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = impatient(sim.addr())?.start().await?;
    let mut client = daemon.client().await?;
    answer_after(&sim, 600_000);
    let late = deliberate(&mut client, task("T-1")).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    assert!(late.message().contains("no answer within"), "{late}");
    until_in_flight(&sim, 0, LIMIT).await?;
    answer_after(&sim, 0);
    heals(&daemon).await?;
    daemon.stop().await
}

#[tokio::test]
async fn a_server_that_fails_now_and_then_never_makes_an_answer_that_no_model_gave() -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed()?);
    let sim = simulator(Duration::ZERO).await?;
    let daemon = impatient(sim.addr())?.start().await?;
    let mut client = daemon.client().await?;
    let mut answered = 0;
    for number in 0..25 {
        let faults: Vec<_> = (0..3).map(|_| some_fault(&mut random)).collect();
        misbehave(&sim, faults.clone());
        match deliberate(&mut client, task(&format!("T-{number}"))).await {
            Ok(answer) => {
                answered += 1;
                let tags = &answer.metadata.as_ref().context("no metadata")?.tags;
                let whole = answer.results.len() == 3 || tags.contains_key("missing");
                assert!(whole, "a seat is missing and not named: {tags:?} after {faults:?}");
            }
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status} after {faults:?}"),
        }
    }
    assert!(answered > 0, "retries helped nobody");
    misbehave(&sim, Vec::new());
    heals(&daemon).await?;
    daemon.stop().await
}

/// Often few enough for retries to make up for it, sometimes too many.
fn some_fault(random: &mut StdRng) -> Fault {
    let kinds = [FaultKind::Drop, FaultKind::Garbage, FaultKind::HalfJson, FaultKind::Cut, FaultKind::status(500)];
    let stages = [Stage::Propose, Stage::Critique, Stage::Revise];
    Fault {
        stage: Some(stages[random.random_range(0..stages.len())]),
        seat: Some(format!("00{}", random.random_range(1..=3))),
        ..Fault::first(random.random_range(1..=5), kinds[random.random_range(0..kinds.len())].clone())
    }
}

#[tokio::test]
async fn the_status_says_what_each_server_got_and_how_much_of_it_its_cache_had() -> Result<()> {
    let behaviour = Behaviour { prefill_ms: 1, ..Behaviour::default() };
    let sim = SimServer::start(SimSettings { behaviour, ..SimSettings::default() }).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    daemon.client().await?.deliberate(task("T-1")).await?;
    let mut councils = CouncilServiceClient::new(daemon.channel().await?);
    let servers = councils.get_system_status(GetSystemStatusRequest {}).await?.into_inner().model_servers;
    let [server] = &servers[..] else { anyhow::bail!("{servers:?}") };
    assert_eq!((&*server.url, &*server.breaker), (&*format!("http://{}", sim.addr()), "closed"));
    assert_eq!((server.requests, server.failures, server.outstanding), (9, 0, 0));
    ensure!(server.cached_tokens > 0 && server.cached_tokens < server.prompt_tokens, "{server:?}");
    daemon.stop().await
}
