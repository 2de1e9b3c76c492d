//! A daemon's life: it starts with what it left behind, says how it is, and goes without losing anything.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use moothall::grpc::proto::fleet::orchestrator::v1::{
    CouncilInfo, CreateCouncilRequest, DeleteCouncilRequest, DeliberationStatus, GetDeliberationResultRequest,
    ListCouncilsRequest, RegisterAgentRequest,
};
use moothall::sim::{BehaviourChange, Fault, FaultKind, SimServer};
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::Stage;
use regex::Regex;
use tonic::Code;

use super::harness::{Daemon, Home, LIMIT, Orchestrator, simulator, until, until_in_flight};
use super::record::Record;
use super::request::task;
use crate::store::disk::SmallDisk;

fn hang(sim: &SimServer, stage: Stage) {
    let faults = Some(vec![Fault { stage: Some(stage), ..Fault::always(FaultKind::Hang) }]);
    sim.set(BehaviourChange { faults, ..BehaviourChange::default() });
}

fn behave(sim: &SimServer) {
    sim.set(BehaviourChange { faults: Some(Vec::new()), ..BehaviourChange::default() });
}

/// Until a page answers with this status; its body.
async fn until_page(daemon: &Daemon, path: &str, status: u16) -> Result<String> {
    let look = || async {
        let (code, body) = daemon.page(path).await?;
        Ok((code == status).then_some(body))
    };
    until(&format!("{path} answers {status}"), LIMIT, look).await
}

/// A task that waits for its critiques, three proposals being durable.
async fn stuck_in_critique(sim: &SimServer, daemon: &Daemon, id: &str) -> Result<()> {
    hang(sim, Stage::Critique);
    let mut client = daemon.client().await?;
    let request = task(id);
    tokio::spawn(async move { client.deliberate(request).await });
    let asked = || async { Ok((sim.stats().by_call.len() == 6).then_some(())) };
    until("the critiques are asked for", LIMIT, asked).await
}

/// Sent again, it completes; only what was in flight was asked twice.
async fn goes_on(sim: &SimServer, home: &Home, id: &str) -> Result<()> {
    until_in_flight(sim, 0, LIMIT).await?;
    behave(sim);
    let daemon = home.start().await?;
    assert_eq!(daemon.client().await?.deliberate(task(id)).await?.into_inner().results.len(), 3);
    daemon.stop().await?;
    for (call, count) in sim.stats().by_call {
        let started = if call.contains("/critique-1/") { 2 } else { 1 };
        assert_eq!((count.started, count.finished), (started, 1), "{call}");
    }
    let record = Record::read(home.database()).await?;
    let finals = record.finals();
    ensure!(finals.values().all(|finals| matches!(finals[..], [Event::TaskCompleted { .. }])), "{finals:?}");
    Ok(())
}

#[tokio::test]
async fn on_sigterm_running_work_is_finished_and_new_work_refused() -> Result<()> {
    let sim = simulator(Duration::from_millis(500)).await?;
    let home = Home::new(sim.addr())?;
    let mut daemon = home.start().await?;
    assert_eq!(daemon.page("/ready").await?.0, 200);
    let mut client = daemon.client().await?;
    let running = tokio::spawn(async move { client.deliberate(task("T-1")).await });
    until_in_flight(&sim, 3, LIMIT).await?;
    daemon.terminate()?;
    let body = until_page(&daemon, "/ready", 503).await?;
    assert!(body.contains("draining"), "{body}");
    let refused = daemon.client().await?.deliberate(task("T-2")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("stopping"), "{refused}");
    assert_eq!(running.await??.into_inner().results.len(), 3);
    assert_eq!(daemon.ended().await?.code(), Some(0));
    let record = Record::read(home.database()).await?;
    assert_eq!(record.finals().into_keys().collect::<Vec<_>>(), ["task/T-1"]);
    Ok(())
}

#[tokio::test]
async fn work_that_outlasts_the_drain_is_left_in_the_journal_and_goes_on() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?.with("MOOTHALL__DRAIN__TIMEOUT", "0.2").with("RUST_LOG", "error");
    let daemon = home.start().await?;
    stuck_in_critique(&sim, &daemon, "T-1").await?;
    daemon.stop().await?;
    goes_on(&sim, &home, "T-1").await
}

#[tokio::test]
async fn a_second_sigterm_ends_the_daemon_at_once_and_the_work_goes_on() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?.with("MOOTHALL__DRAIN__TIMEOUT", "600").with("RUST_LOG", "error");
    let mut daemon = home.start().await?;
    stuck_in_critique(&sim, &daemon, "T-1").await?;
    daemon.terminate()?;
    until_page(&daemon, "/ready", 503).await?;
    daemon.terminate()?;
    let status = daemon.ended().await?;
    ensure!(!status.success(), "it did not say that work was left: {status}");
    goes_on(&sim, &home, "T-1").await
}

#[tokio::test]
async fn of_two_daemons_on_one_store_the_second_says_who_has_it() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?;
    let daemon = home.start().await?;
    let (status, words) = home.start_in_vain().await?;
    assert_eq!(status.code(), Some(75), "{words}");
    assert!(words.contains("in use by process"), "{words}");
    daemon.client().await?.deliberate(task("T-1")).await?;
    daemon.stop().await
}

#[tokio::test]
async fn a_wrong_setting_ends_the_start_with_its_name() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?.with("MOOTHALL__MODEL__TIMEOUT", "soon").with("MOOTHALL__LIMITS__CATS", "9");
    let (status, words) = home.start_in_vain().await?;
    assert_eq!(status.code(), Some(64), "{words}");
    assert!(words.contains("model.timeout") && words.contains("limits.cats"), "{words}");
    Ok(())
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_lost_and_with_room_it_heals() -> Result<()> {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: a tmpfs cannot be mounted here");
        return Ok(());
    };
    let sim = simulator(Duration::from_millis(300)).await?;
    let home = Home::new(sim.addr())?.store_in(disk.path()).with("RUST_LOG", "off");
    let daemon = home.start().await?;
    let mut client = daemon.client().await?;
    let running = tokio::spawn(async move { client.deliberate(task("T-1")).await });
    until_in_flight(&sim, 3, LIMIT).await?;
    disk.fill();
    let health = until_page(&daemon, "/health", 503).await?;
    assert!(health.contains("journal"), "{health}");
    assert_eq!(daemon.page("/ready").await?.0, 503);
    let refused = daemon.client().await?.deliberate(task("T-2")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("journal"), "{refused}");
    assert!(!running.is_finished(), "a run went on without its journal");

    disk.make_room();
    until_page(&daemon, "/health", 200).await?;
    assert_eq!(running.await??.into_inner().results.len(), 3);
    daemon.client().await?.deliberate(task("T-2")).await?;
    daemon.stop().await?;
    let repeated: Vec<_> = sim.stats().by_call.into_iter().filter(|(_, count)| count.started != 1).collect();
    assert_eq!(repeated, []);
    let record = Record::read(home.database()).await?;
    assert_eq!((record.finals().len(), record.answered()?.len()), (2, 18));
    Ok(())
}

#[tokio::test]
async fn metrics_are_valid_prometheus_text() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    daemon.client().await?.deliberate(task("T-1")).await?;
    let (status, text) = daemon.page("/metrics").await?;
    assert_eq!(status, 200);
    let comment = Regex::new(
        r"^# (?:HELP [a-zA-Z_:][\w:]* .*|TYPE ([a-zA-Z_:][\w:]*) (?:counter|gauge|histogram|summary|untyped))$",
    )?;
    let label = r#"[a-zA-Z_]\w*="(?:[^"\\]|\\.)*""#;
    let sample = Regex::new(&format!(r"^([a-zA-Z_:][\w:]*)(?:\{{(?:{label}(?:,{label})*)?,?\}})? (\S+)(?: -?\d+)?$"))?;
    let mut types = BTreeSet::new();
    let mut samples = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(found) = comment.captures(line) {
            types.extend(found.get(1).map(|name| name.as_str()));
            continue;
        }
        let found = sample.captures(line).with_context(|| format!("not Prometheus text: {line:?}"))?;
        ensure!(["+Inf", "-Inf", "NaN"].contains(&&found[2]) || found[2].parse::<f64>().is_ok(), "{line:?}");
        let name = found.get(1).context("no name")?.as_str();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        ensure!(types.contains(family) || types.contains(name), "{name} has no type");
        ensure!(samples.insert(line.rsplit_once(' ').unwrap_or_default().0), "{line:?} is there twice");
    }
    ensure!(samples.iter().any(|sample| sample.starts_with("moothall_")), "nothing is measured: {text}");
    daemon.stop().await
}

async fn councils(client: &mut Orchestrator) -> Result<Vec<CouncilInfo>> {
    let all = ListCouncilsRequest { include_agents: true, ..ListCouncilsRequest::default() };
    Ok(client.list_councils(all).await?.into_inner().councils)
}

#[tokio::test]
async fn councils_and_agents_outlive_a_kill_and_defaults_are_made_only_when_there_is_none() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?.with("MOOTHALL__COUNCILS__ROLES", "DEV,QA");
    let daemon = home.start().await?;
    let mut client = daemon.client().await?;
    let made = councils(&mut client).await?;
    assert_eq!(made.iter().map(|council| council.role.as_str()).collect::<Vec<_>>(), ["DEV", "QA"]);
    client.delete_council(DeleteCouncilRequest { role: "DEV".into() }).await?;
    let data = CreateCouncilRequest { role: "data".into(), num_agents: 2, ..Default::default() };
    client.create_council(data).await?;
    let endpoint = format!("http://{}/v1", sim.addr());
    let guest = RegisterAgentRequest {
        agent_id: "guest".into(),
        role: "QA".into(),
        endpoint,
        ..RegisterAgentRequest::default()
    };
    client.register_agent(guest).await?;
    let before = councils(&mut client).await?;
    daemon.kill().await?;

    let daemon = home.start().await?;
    let mut client = daemon.client().await?;
    assert_eq!(councils(&mut client).await?, before);
    let agents: Vec<_> = before.iter().map(|council| (council.role.as_str(), council.num_agents)).collect();
    assert_eq!(agents, [("DATA", 2), ("QA", 4)]);
    // The one who joined works like the others.
    let mut request = task("T-1");
    request.role = "QA".into();
    assert_eq!(client.deliberate(request).await?.into_inner().results.len(), 4);
    daemon.stop().await
}

#[tokio::test]
async fn an_answer_outlives_its_daemon() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?;
    let daemon = home.start().await?;
    let answer = daemon.client().await?.deliberate(task("T-1")).await?.into_inner();
    daemon.kill().await?;
    let daemon = home.start().await?;
    let mut client = daemon.client().await?;
    assert_eq!(client.deliberate(task("T-1")).await?.into_inner(), answer);
    let asked = GetDeliberationResultRequest { task_id: "T-1".into() };
    let stored = client.get_deliberation_result(asked).await?.into_inner();
    assert_eq!((stored.status(), stored.results), (DeliberationStatus::Completed, answer.results));
    assert_eq!(sim.stats().calls, 9);
    daemon.stop().await
}

#[tokio::test]
async fn a_task_that_nobody_can_find_again_is_interrupted_by_a_kill() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    hang(&sim, Stage::Propose);
    let home = Home::new(sim.addr())?;
    let daemon = home.start().await?;
    let mut client = daemon.client().await?;
    let answer = client.stream_deliberation(task("")).await?;
    let id = answer.metadata().get("moothall-task-id").context("no id")?.to_str()?.to_owned();
    let mut stream = answer.into_inner();
    ensure!(stream.next().await.is_some());
    until_in_flight(&sim, 3, LIMIT).await?;
    daemon.kill().await?;
    until_in_flight(&sim, 0, LIMIT).await?;
    behave(&sim);

    let daemon = home.start().await?;
    let asked = GetDeliberationResultRequest { task_id: id.clone() };
    let ended = daemon.client().await?.get_deliberation_result(asked).await?.into_inner();
    assert_eq!(ended.status(), DeliberationStatus::Failed);
    assert!(ended.error_message.contains("interrupted"), "{}", ended.error_message);
    daemon.stop().await?;
    assert_eq!(sim.stats().calls, 3, "work that nobody waits for was done");
    let record = Record::read(home.database()).await?;
    let finals = record.finals();
    ensure!(matches!(finals[&format!("task/{id}")][..], [Event::TaskFailed(_)]), "{finals:?}");
    Ok(())
}
