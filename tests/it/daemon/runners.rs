//! Outside agents in councils of the real daemon: they deliberate like the others, and when they fail the council goes on
//! without them and takes them back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use moothall::grpc::proto::fleet::orchestrator::v1::{
    AgentCapabilities, DeliberateResponse, ListCouncilsRequest, RegisterAgentRequest,
};
use moothall::grpc::proto::moothall::v1::run_update::Update;
use moothall::grpc::proto::moothall::v1::{RunResult, RunStage, RunUpdate};
use moothall::sim::SimServer;
use moothall_actors::domain::event::Event;
use tonic::{Code, Status};

use super::harness::{Daemon, Home, LIMIT, simulator, until, until_in_flight};
use super::record::Record;
use super::request::{assert_texts_are_the_models, authors, task};
use crate::runner::stand::{End, Manner, Stand, progress};

const TEXT: &str = "This is what I call the outside way.";

/// Two model agents, to whom an outside one comes; short patience and short pauses between retries.
fn home(sim: &SimServer) -> Result<Home> {
    Ok(Home::new(sim.addr())?
        .with("MOOTHALL__COUNCILS__AGENTS", "2")
        .with("MOOTHALL__RUNNERS__SILENCE_TIMEOUT", "1")
        .with("MOOTHALL__MODEL__RETRY_MIN", "0.02")
        .with("MOOTHALL__MODEL__RETRY_MAX", "0.05")
        .with("RUST_LOG", "error"))
}

async fn join(daemon: &Daemon, endpoint: &str) -> Result<(), Status> {
    let request = RegisterAgentRequest {
        agent_id: "guest".into(),
        role: "DEV".into(),
        endpoint: endpoint.into(),
        ..RegisterAgentRequest::default()
    };
    let client = daemon.client().await;
    client.map_err(|error| Status::unavailable(error.to_string()))?.register_agent(request).await.map(drop)
}

async fn deliberate(daemon: &Daemon, id: &str) -> Result<DeliberateResponse> {
    let answer = daemon.client().await?.deliberate(task(id)).await?.into_inner();
    assert_texts_are_the_models(&answer.results);
    Ok(answer)
}

fn tag<'a>(answer: &'a DeliberateResponse, name: &str) -> &'a str {
    answer.metadata.as_ref().and_then(|metadata| metadata.tags.get(name)).map_or("", String::as_str)
}

/// Asks until all three answer, as a user would.
async fn heals(daemon: &Daemon) -> Result<()> {
    let look = || async { Ok(deliberate(daemon, "").await.ok().filter(|answer| answer.results.len() == 3).map(drop)) };
    until("the seat is back", LIMIT, look).await
}

#[tokio::test]
async fn a_council_of_one_runner_and_two_models_deliberates() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let mut manner = Manner::says(TEXT);
    manner.updates.insert(0, progress("thinking"));
    let stand = Stand::start(manner).await;
    // The models' key is theirs alone, and no proxy is on the way.
    let home = home(&sim)?.with("VLLM_API_KEY", "sk-models").with("http_proxy", "http://127.0.0.1:9");
    let daemon = home.start().await?;
    join(&daemon, &stand.endpoint()).await?;
    let answer = deliberate(&daemon, "T-1").await?;
    let expected = ["agent-dev-001", "agent-dev-002", "guest"];
    assert_eq!(authors(&answer.results).into_iter().collect::<Vec<_>>(), expected);
    assert_eq!((tag(&answer, "calls"), tag(&answer, "missing"), sim.stats().calls), ("9", "", 6));

    let asked = stand.seen(|seen| seen.requests.clone());
    let ids: Vec<_> = asked.iter().map(|request| request.call_id.as_str()).collect();
    assert_eq!(ids, ["T-1/1/propose-0/guest", "T-1/1/critique-1/guest", "T-1/1/revise-1/guest"]);
    let stages: Vec<_> = asked.iter().map(|request| request.stage()).collect();
    assert_eq!(stages, [RunStage::Propose, RunStage::Critique, RunStage::Revise]);
    for request in &asked {
        assert_eq!(request.shared, asked[0].shared, "the shared part of the prompts differs");
        let prompt = format!("{}{}", request.shared, request.ask);
        assert!(prompt.contains("parse a duration") && request.seed.is_some(), "{request:?}");
        for name in ["agent-dev-", "moothall-sim", "guest"] {
            assert!(!prompt.contains(name), "{name} stands in {}", request.call_id);
        }
    }
    assert!(stand.seen(|seen| seen.keys.iter().all(Option::is_none)), "a key was sent");
    let (_, metrics) = daemon.page("/metrics").await?;
    let taken =
        metrics.lines().find(|line| line.starts_with("moothall_runner_progress_total") && line.contains("taken"));
    assert!(taken.is_some_and(|line| line.ends_with(" 3")), "{taken:?}");
    daemon.stop().await
}

#[tokio::test]
async fn a_runner_that_is_killed_in_mid_call_is_missing_and_back_after_its_restart() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let stand = Stand::start(Manner::hangs()).await;
    let daemon = home(&sim)?.with("MOOTHALL__RUNNERS__SILENCE_TIMEOUT", "600").start().await?;
    join(&daemon, &stand.endpoint()).await?;
    let mut client = daemon.client().await?;
    let running = tokio::spawn(async move { client.deliberate(task("T-1")).await });
    stand.until("the runner is asked", LIMIT, |seen| seen.in_flight == 1).await?;
    let address = stand.kill();
    let answer = running.await??.into_inner();
    assert_eq!(answer.results.len(), 2);
    ensure!(tag(&answer, "missing.guest.propose-0").starts_with("transient: grpc://"), "{answer:?}");
    // Five failures in a row by now.
    assert_eq!(deliberate(&daemon, "T-2").await?.results.len(), 2);
    let (status, health) = daemon.page("/health").await?;
    ensure!(status == 200 && health.contains("degraded") && health.contains("runners"), "{status} {health}");

    let back = Stand::start_at(address, Manner::says(TEXT)).await;
    heals(&daemon).await?;
    assert!(back.seen(|seen| seen.requests.len()) >= 3);
    daemon.stop().await
}

#[tokio::test]
async fn a_runner_that_answers_wrongly_or_not_at_all_is_missing_and_the_others_go_on() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let stand = Stand::start(Manner::says(TEXT)).await;
    let daemon = home(&sim)?.start().await?;
    join(&daemon, &stand.endpoint()).await?;
    let text = |text: String| {
        let result = RunResult { text, ..RunResult::default() };
        Manner::of(vec![RunUpdate { update: Some(Update::Result(result)) }], End::Ok)
    };
    for (id, manner, class, cause) in [
        ("hung", Manner::hangs(), "timed_out: ", "silent for 1s"),
        ("falls-silent", Manner::of(vec![progress("begun")], End::Hangs), "timed_out: ", "silent for 1s"),
        ("empty", text(String::new()), "transient: ", "its text is empty"),
        ("too-large", text("x".repeat((1 << 20) + 1)), "refused: ", "more than 1048576 bytes"),
        ("ends", Manner::of(Vec::new(), End::Ok), "transient: ", "ended without a result"),
        ("refuses", Manner::fails(Status::permission_denied("not you")), "refused: ", "not you"),
        ("invalid", Manner::fails(Status::invalid_argument("what?")), "invalid: ", "what?"),
    ] {
        for (stage, wave, results) in [(RunStage::Propose, "propose-0", 2), (RunStage::Critique, "critique-1", 3)] {
            stand.set(manner.clone().only(stage));
            let answer = deliberate(&daemon, &format!("{id}-{wave}")).await?;
            let missing = tag(&answer, &format!("missing.guest.{wave}"));
            assert!(missing.starts_with(class) && missing.contains(cause), "{id} {wave}: {missing:?}");
            assert_eq!(answer.results.len(), results, "{id} {wave}");
        }
        stand.set(Manner::says(TEXT));
        heals(&daemon).await.context(id)?;
    }
    daemon.stop().await
}

#[tokio::test]
async fn a_cancelled_task_reaches_the_runner_within_a_second() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let stand = Stand::start(Manner::hangs()).await;
    let daemon = home(&sim)?.with("MOOTHALL__RUNNERS__SILENCE_TIMEOUT", "600").start().await?;
    join(&daemon, &stand.endpoint()).await?;
    let mut stream = daemon.client().await?.stream_deliberation(task("")).await?.into_inner();
    ensure!(stream.next().await.is_some());
    stand.until("the runner is asked", LIMIT, |seen| seen.in_flight == 1).await?;
    // Without an id it is cancelled when its last client leaves.
    drop(stream);
    stand.until("the runner is told", Duration::from_secs(1), |seen| seen.cancelled == 1).await?;
    daemon.stop().await
}

#[tokio::test]
async fn an_endpoint_that_is_not_allowed_is_refused_with_the_key_to_change() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = home(&sim)?.start().await?;
    for endpoint in ["grpc://10.0.0.1:7000", "grpcs://runner.example.com:443", "grpc://localhost.evil.com:1"] {
        let refused = join(&daemon, endpoint).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains("agents.allowed_endpoints"), "{refused}");
    }
    for endpoint in ["grpc://localhost", "grpc://user:pw@localhost:1", "grpc://localhost:1/path"] {
        assert_eq!(join(&daemon, endpoint).await.unwrap_err().code(), Code::InvalidArgument, "{endpoint}");
    }
    daemon.stop().await
}

#[tokio::test]
async fn a_profile_may_be_a_runner_with_a_key_of_its_own() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let stand = Stand::start(Manner::says(TEXT)).await;
    let profiles = format!(r#"{{"reviewer": {{"url": "{}", "api_key": "sk-runner"}}}}"#, stand.endpoint());
    let daemon = home(&sim)?.with("MOOTHALL__MODEL__PROFILES", profiles).start().await?;
    let capabilities = AgentCapabilities { model_profile: "reviewer".into(), ..AgentCapabilities::default() };
    let request = RegisterAgentRequest {
        agent_id: "guest".into(),
        role: "DEV".into(),
        capabilities: Some(capabilities),
        ..RegisterAgentRequest::default()
    };
    daemon.client().await?.register_agent(request).await?;
    assert_eq!(deliberate(&daemon, "T-1").await?.results.len(), 3);
    let keys = stand.seen(|seen| seen.keys.clone());
    // Describe once, and three calls.
    assert_eq!(keys, vec![Some("Bearer sk-runner".to_owned()); 4]);
    daemon.stop().await
}

#[tokio::test]
async fn a_seat_of_a_runner_outlives_the_daemon_and_its_open_call_is_repeated_byte_for_byte() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let stand = Stand::start(Manner::hangs()).await;
    let home = home(&sim)?.with("MOOTHALL__RUNNERS__SILENCE_TIMEOUT", "600");
    let daemon = home.start().await?;
    join(&daemon, &stand.endpoint()).await?;
    let mut client = daemon.client().await?;
    let running = tokio::spawn(async move { client.deliberate(task("T-1")).await });
    stand.until("the runner is asked", LIMIT, |seen| seen.in_flight == 1).await?;
    until_in_flight(&sim, 0, LIMIT).await?;
    daemon.kill().await?;
    ensure!(running.await?.is_err());
    stand.until("the runner is told", LIMIT, |seen| seen.in_flight == 0).await?;

    stand.set(Manner::says(TEXT));
    let daemon = home.start().await?;
    let councils = ListCouncilsRequest { include_agents: true, ..ListCouncilsRequest::default() };
    let councils = daemon.client().await?.list_councils(councils).await?.into_inner().councils;
    assert_eq!(councils[0].agents.len(), 3);
    assert_eq!(deliberate(&daemon, "T-1").await?.results.len(), 3);
    daemon.stop().await?;
    let mut asked = stand.seen(|seen| seen.requests.clone());
    asked.iter_mut().for_each(|request| request.timeout_ms = 0);
    assert_eq!((asked.len(), &asked[0]), (4, &asked[1]));
    let record = Record::read(home.database()).await?;
    assert_eq!(record.answered()?.len(), 9);
    let joined = record.events.iter().find_map(|recorded| match &recorded.event.event {
        Event::SeatJoined { seat } => Some(seat.endpoint.clone()),
        _ => None,
    });
    assert_eq!(joined, Some(moothall_actors::domain::council::Endpoint::Runner(stand.endpoint().into())));
    Ok(())
}
