//! Events over a real server: what others publish takes effect once, what happens is published once, whoever falls.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use moothall::grpc::proto::moothall::v1::CancelTaskRequest;
use moothall::grpc::proto::moothall::v1::task_service_client::TaskServiceClient;
use moothall::sim::{BehaviourChange, Fault, FaultKind};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::harness::{Daemon, Home, LIMIT, simulator, until};
use super::python;
use super::record::Record;
use crate::nats::server::Server;

pub(super) fn with_events(home: Home, server: &Server) -> Home {
    home.with("ENABLE_NATS", "true").with("NATS_URL", server.url()).with("MOOTHALL__QUEUE__RETRY_MIN", "0.05")
}

/// How the daemon says it is with events.
async fn events_health(daemon: &Daemon) -> Result<Value> {
    let (_, body) = daemon.page("/health").await?;
    let health: Value = serde_json::from_str(&body)?;
    Ok(health["components"]["nats"].clone())
}

pub(super) async fn until_well(daemon: &Daemon) -> Result<()> {
    let look = || async { Ok((events_health(daemon).await?["status"] == "healthy").then_some(())) };
    let well = until("events are healthy", LIMIT, look).await;
    ensure!(well.is_ok(), "{}", events_health(daemon).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_of_every_format_are_worked_through_and_others_see_it_all() -> Result<()> {
    let (sim, server) = (simulator(Duration::ZERO).await?, Server::start().await?);
    let home = with_events(Home::new(sim.addr())?, &server);
    let daemon = home.start().await?;
    until_well(&daemon).await?;
    let seen = python::events(&server.url(), "formats").await?;
    let count = |subject: &str| seen["seen"][subject].as_u64().unwrap_or_default();
    assert_eq!(count("orchestration.plan.approved"), 19, "{seen}");
    assert_eq!((count("agent.cmd.execute"), count("orchestration.task.dispatched")), (1, 1), "{seen}");
    assert_eq!((count("orchestration.phase.changed"), count("orchestration.task.parked")), (1, 1), "{seen}");
    // Two of each plan, but for one of each that holds nothing usable, the one that was held and two carried out.
    assert_eq!(count("orchestration.task.completed"), 2 * (7 * 2 + 1) + 2 + 1, "{seen}");
    for (task, finals) in seen["finals"].as_object().context("no finals")? {
        assert_eq!(finals, &json!([["orchestration.task.completed", 1]]), "{task}");
    }
    daemon.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_see_what_fails_and_what_that_does_to_the_rest() -> Result<()> {
    let (sim, server) = (simulator(Duration::ZERO).await?, Server::start().await?);
    let daemon = with_events(Home::new(sim.addr())?, &server).start().await?;
    until_well(&daemon).await?;
    sim.set(BehaviourChange {
        faults: Some(vec![Fault::always(FaultKind::status(400))]),
        ..BehaviourChange::default()
    });
    let mut tasks = TaskServiceClient::new(daemon.channel().await?);
    let cancelling = async {
        let look = || async {
            let seen = server.all("ORCHESTRATOR_EVENTS").await?;
            Ok(seen.iter().any(|stored| stored.subject == "orchestration.task.blocked").then_some(()))
        };
        until("a task is blocked by a failed one", LIMIT, look).await?;
        let request = CancelTaskRequest { task_id: "blocked".into(), reason: "no more".into() };
        tasks.cancel_task(request).await?;
        anyhow::Ok(())
    };
    let url = server.url();
    let (seen, ()) = tokio::try_join!(python::events(&url, "troubles"), cancelling)?;
    let expected: BTreeMap<&str, u64> = [
        ("orchestration.plan.approved", 1),
        ("orchestration.task.queued", 3),
        ("orchestration.deliberation.failed", 1),
        ("orchestration.task.failed", 1),
        ("orchestration.task.blocked", 1),
        ("orchestration.task.skipped", 1),
        ("orchestration.task.cancelled", 1),
    ]
    .into();
    assert_eq!(seen["seen"], json!(expected), "{seen}");
    daemon.stop().await
}

pub(super) fn plan(name: &str, tasks: usize) -> Value {
    let task = |place: usize| {
        // Waves of five: each but the first waits for one of the wave before.
        let needs: Vec<String> = place.checked_sub(5).map(|before| format!("{name}-{before}")).into_iter().collect();
        json!({
            "id": format!("{name}-{place}"), "role": "DEV", "description": "do it", "depends_on": needs,
            "requires_pre_deliberation": false,
        })
    };
    let tasks: Vec<Value> = (0..tasks).map(task).collect();
    json!({"story_id": format!("story-{name}"), "plan_id": name, "tasks": tasks})
}

/// The finals that stand in the stream, by task and run.
pub(super) async fn finals(server: &Server) -> Result<BTreeMap<(String, u64), Vec<String>>> {
    let mut finals: BTreeMap<(String, u64), Vec<String>> = BTreeMap::new();
    for stored in server.all("ORCHESTRATOR_EVENTS").await? {
        let is_final = ["completed", "failed", "cancelled", "skipped"]
            .iter()
            .any(|word| stored.subject == format!("orchestration.task.{word}"));
        if is_final {
            let event: Value = serde_json::from_slice(&stored.payload)?;
            let task = event["payload"]["task_id"].as_str().context("no task")?.to_owned();
            let run = event["payload"]["run"].as_u64().context("no run")?;
            finals.entry((task, run)).or_default().push(stored.subject);
        }
    }
    Ok(finals)
}

/// Plans flow in, everything that happens flows out, and the daemon is killed again and again.
async fn kills(plans: usize, of_a_plan: usize, kills: usize) -> Result<()> {
    let (sim, mut server) = (simulator(Duration::from_millis(20)).await?, Server::start().await?);
    let home = with_events(Home::new(sim.addr())?, &server);
    let mut daemon = home.start().await?;
    until_well(&daemon).await?;
    let all = plans * of_a_plan;
    for number in 0..plans {
        server.send("planning.plan.approved", plan(&format!("p{number}"), of_a_plan).to_string()).await?;
        // What is published is published again: another place, the same words.
        server.send("planning.plan.approved", plan(&format!("p{number}"), of_a_plan).to_string()).await?;
    }
    for kill in 1..=kills {
        let enough = kill * all / (kills + 2);
        let look = || async { Ok((finals(&server).await?.len() >= enough).then_some(())) };
        until(&format!("{enough} of {all} have ended"), LIMIT * 3, look).await?;
        daemon.kill().await?;
        if kill == 2 {
            // The server falls as well, and rises beside the daemon.
            server.kill().await?;
            daemon = home.start().await?;
            ensure!(events_health(&daemon).await?["status"] == "degraded", "it says that its events are cut off");
            server.run().await?;
            until_well(&daemon).await?;
        } else {
            daemon = home.start().await?;
        }
    }
    let look = || async { Ok((finals(&server).await?.len() >= all).then_some(())) };
    until(&format!("all {all} have ended"), LIMIT * 3, look).await?;
    daemon.stop().await?;
    let finals = finals(&server).await?;
    let odd: Vec<_> = finals.iter().filter(|(_, seen)| **seen != ["orchestration.task.completed"]).collect();
    assert!(odd.is_empty() && finals.len() == all, "{} of {all}: {odd:?}", finals.len());
    let record = Record::read(home.database()).await?;
    record.answered()?;
    assert_eq!(record.finals().len(), all);
    assert!(record.finals().values().all(|finals| finals.len() == 1), "one final for each in the journal");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_final_is_published_once_whatever_is_killed() -> Result<()> {
    kills(20, 25, 5).await
}

mod soak {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_final_of_500_tasks_is_published_once_after_100_kills() -> anyhow::Result<()> {
        super::kills(20, 25, 100).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_that_stands_still_for_30_s_loses_and_doubles_nothing() -> anyhow::Result<()> {
        super::server_troubles(std::time::Duration::from_secs(30), super::with_events).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_act_on_becomes_one_dead_letter_and_delays_nobody() -> Result<()> {
    let (sim, server) = (simulator(Duration::ZERO).await?, Server::start().await?);
    let home = with_events(Home::new(sim.addr())?, &server);
    let daemon = home.start().await?;
    until_well(&daemon).await?;
    let huge = json!({"story_id": "s", "plan_id": "huge", "plan": "x".repeat(10 << 20)}).to_string();
    let cyclic = json!({"story_id": "s", "plan_id": "cyclic", "tasks": [
        {"id": "a", "role": "DEV", "description": "d", "depends_on": ["b", "nobody"]},
        {"id": "b", "role": "DEV", "description": "", "depends_on": ["a"]},
        {"id": "b", "role": "DEV", "description": "d"},
    ]});
    for poison in ["no json".to_owned(), json!({"story_id": "s"}).to_string(), huge, cyclic.to_string()] {
        server.send("planning.plan.approved", poison).await?;
    }
    server.send("planning.plan.approved", plan("good", 2).to_string()).await?;
    let look = || async { Ok((finals(&server).await?.len() == 2).then_some(())) };
    until("the good plan is through", LIMIT, look).await?;
    let look = || async { Ok(Some(server.all("MOOTHALL_DLQ").await?).filter(|letters| letters.len() >= 4)) };
    let mut reasons: Vec<String> = until("four dead letters", LIMIT, look)
        .await?
        .iter()
        .map(|letter| letter.header("Moothall-Reason").unwrap_or_default().to_owned())
        .collect();
    reasons.sort();
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    for part in ["cycle", "nobody", "description"] {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "all problems at once: {reasons:?}");
    }
    assert!(reasons.iter().any(|reason| reason.contains("plan_id")), "{reasons:?}");
    server.settled("PLANNING_EVENTS", "moothall-plan-approved").await?;
    daemon.stop().await?;
    let record = Record::read(home.database()).await?;
    assert_eq!(record.finals().len(), 2, "nothing of a refused plan is queued");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_work_goes_on_and_what_happened_goes_out_later() -> Result<()> {
    let (sim, mut server) = (simulator(Duration::ZERO).await?, Server::prepare("")?);
    let home = with_events(Home::new(sim.addr())?, &server);
    let daemon = home.start().await?;
    ensure!(daemon.page("/ready").await?.0 == 200, "it takes work");
    let health = events_health(&daemon).await?;
    ensure!(health["status"] == "degraded" && health.to_string().contains("connection"), "{health}");
    let reply = python::call(
        daemon.grpc,
        python::NEWER,
        "Orchestrate",
        json!({
            "task_id": "early", "role": "DEV", "task_description": "parse a duration",
        }),
    );
    reply.await?.answer()?;
    server.run().await?;
    until_well(&daemon).await?;
    let look = || async { Ok((finals(&server).await?.len() == 1).then_some(())) };
    until("it is published", LIMIT, look).await?;
    daemon.stop().await
}

/// Until each of these tasks has one final in the stream.
async fn until_published(server: &Server, tasks: usize) -> Result<()> {
    let look = || async { Ok((finals(server).await?.len() >= tasks).then_some(())) };
    until(&format!("{tasks} have ended"), LIMIT, look).await?;
    let odd: Vec<_> = finals(server).await?.into_iter().filter(|(_, seen)| seen.len() != 1).collect();
    ensure!(odd.is_empty(), "{odd:?}");
    Ok(())
}

/// The server stands still, dies, and comes back with data of some time ago; its daemon lives in such a home.
pub(super) async fn server_troubles(still: Duration, home: impl FnOnce(Home, &Server) -> Home) -> Result<()> {
    let (sim, mut server) = (simulator(Duration::ZERO).await?, Server::start().await?);
    let home = home(Home::new(sim.addr())?, &server);
    let daemon = home.start().await?;
    until_well(&daemon).await?;
    server.send("planning.plan.approved", plan("before", 3).to_string()).await?;
    until_published(&server, 3).await?;

    server.signal(Signal::STOP)?;
    tokio::time::sleep(still).await;
    server.signal(Signal::CONT)?;
    server.send("planning.plan.approved", plan("still", 3).to_string()).await?;
    until_published(&server, 6).await?;

    server.kill().await?;
    let earlier = server.snapshot()?;
    server.run().await?;
    until_well(&daemon).await?;
    server.send("planning.plan.approved", plan("later", 3).to_string()).await?;
    until_published(&server, 9).await?;
    server.settled("PLANNING_EVENTS", "moothall-plan-approved").await?;

    server.kill().await?;
    let look = || async { Ok((events_health(&daemon).await?["status"] == "degraded").then_some(())) };
    until("it says that its events are cut off", LIMIT, look).await?;
    server.restore(&earlier)?;
    server.run().await?;
    until_well(&daemon).await?;
    // What the server has lost is there again, and what comes under a place that was there before is something new.
    until_published(&server, 9).await?;
    server.send("planning.plan.approved", plan("anew", 3).to_string()).await?;
    until_published(&server, 12).await?;
    daemon.stop().await?;
    let record = Record::read(home.database()).await?;
    assert!(record.finals().len() == 12 && record.finals().values().all(|finals| finals.len() == 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_dies_or_forgets_loses_and_doubles_nothing() -> Result<()> {
    server_troubles(Duration::from_secs(1), with_events).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_decided_about_a_story_is_told_to_its_later_tasks_once() -> Result<()> {
    let (sim, server) = (simulator(Duration::ZERO).await?, Server::start().await?);
    let daemon = with_events(Home::new(sim.addr())?, &server).start().await?;
    until_well(&daemon).await?;
    let decision = json!({"story_id": "s-1", "decision_id": "d-1", "decision_type": "ARCHITECTURE"}).to_string();
    let milestone = json!({"story_id": "s-1", "milestone_id": "m-1", "milestone_name": "Beta"}).to_string();
    for _ in 0..2 {
        server.send("context.decision.added", decision.clone()).await?;
        server.send("context.milestone.reached", milestone.clone()).await?;
    }
    server.settled("CONTEXT", "moothall-context-decision").await?;
    server.settled("CONTEXT", "moothall-context-milestone").await?;
    let work = json!({
        "task_id": "t", "role": "DEV", "task_description": "parse a duration",
        "constraints": {"metadata": {"story_id": "s-1"}},
    });
    python::call(daemon.grpc, python::NEWER, "Deliberate", work).await?.answer()?;
    let asked: Vec<_> = sim.recorded().into_iter().filter(|recorded| !recorded.call.is_empty()).collect();
    ensure!(asked.len() == 9, "{} calls", asked.len());
    for body in asked.into_iter().map(|recorded| recorded.body) {
        for line in ["decision d-1 (ARCHITECTURE)", "milestone m-1: Beta"] {
            assert_eq!(body.matches(line).count(), 1, "{line} in {body}");
        }
    }
    daemon.stop().await
}
