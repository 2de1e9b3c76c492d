//! What agents of others carry out, as those see it who wait for it: a winner, or the task itself, each by itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use moothall::grpc::proto::moothall::v1::task_service_client::TaskServiceClient;
use moothall::grpc::proto::moothall::v1::{Execution, GetTaskRequest, Task, TaskStatus, WatchTaskRequest};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::events::{until_well, with_events};
use super::harness::{Home, LIMIT, simulator, until};
use crate::nats::server::Server;

type Tasks = TaskServiceClient<Channel>;

async fn look(tasks: &mut Tasks, task: &str) -> Result<Task> {
    let request = GetTaskRequest { task_id: task.into(), include_results: false };
    tasks.get_task(request).await?.into_inner().task.context("no task")
}

/// The execution, once it is as wanted.
async fn execution(tasks: &Tasks, task: &str, what: &str, is_so: impl Fn(&Execution) -> bool) -> Result<Execution> {
    let found = async || {
        let found = look(&mut tasks.clone(), task).await.ok().and_then(|task| task.execution);
        Ok(found.filter(|execution| is_so(execution)))
    };
    until(what, LIMIT, found).await
}

async fn say(server: &Server, subject: &str, more: Value) -> Result<()> {
    let mut event = json!({"task_id": "carried", "agent_id": agent(1)});
    event.as_object_mut().context("an object")?.extend(more.as_object().cloned().unwrap_or_default());
    server.send(&format!("agent.response.{subject}"), event.to_string()).await.map(drop)
}

fn agent(ordinal: u32) -> String {
    format!("agent-dev-{ordinal:03}")
}

/// The payloads under a subject, as they stand in a stream.
async fn payloads(server: &Server, stream: &str, subject: &str) -> Result<Vec<Value>> {
    let stored = server.all(stream).await?.into_iter().filter(|stored| stored.subject == subject);
    stored.map(|stored| Ok(serde_json::from_slice::<Value>(&stored.payload)?["payload"].clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_sees_how_far_an_execution_is_and_when_it_is_stalled() -> Result<()> {
    let (sim, server) = (simulator(Duration::ZERO).await?, Server::start().await?);
    let home = with_events(Home::new(sim.addr())?, &server).with("MOOTHALL__QUEUE__STALL", "1");
    let daemon = home.start().await?;
    until_well(&daemon).await?;
    let task = json!({"id": "carried", "role": "DEV", "description": "do it", "await_execution": true});
    let plan = json!({"story_id": "s", "plan_id": "p", "tasks": [task]});
    server.send("planning.plan.approved", plan.to_string()).await?;
    let mut tasks = TaskServiceClient::new(daemon.channel().await?);
    let asked = execution(&tasks, "carried", "somebody is asked", |_| true).await?;
    ensure!(asked.attempt == 1 && asked.agent_id.starts_with("agent-dev-"), "{asked:?}");
    let request = WatchTaskRequest { task_id: "carried".into(), ..WatchTaskRequest::default() };
    let mut updates = tasks.watch_task(request).await?.into_inner();
    let first = updates.message().await?.context("the stream ended")?;
    assert_eq!((first.index, first.phase.as_str(), first.progress_percent), (1, "executing", 0));

    say(&server, "progress", json!({"progress_pct": 41.7, "message": "tests run"})).await?;
    let told = updates.message().await?.context("the stream ended")?;
    assert_eq!((told.index, told.progress_percent, told.current_step.as_str()), (2, 41, "tests run"));
    execution(&tasks, "carried", "it is stalled", |execution| execution.stalled).await?;
    // It is heard of again; a stream's percentage never falls.
    say(&server, "progress", json!({"progress_pct": 12, "message": "once more"})).await?;
    let told = updates.message().await?.context("the stream ended")?;
    assert_eq!((told.index, told.progress_percent, told.current_step.as_str()), (3, 41, "once more"));
    let heard = execution(&tasks, "carried", "it goes on", |execution| execution.message == "once more").await?;
    assert_eq!((heard.progress_percent, heard.said_by.as_str()), (12, "agent-dev-001"));

    say(&server, "completed", json!({"checks_passed": true})).await?;
    let last = updates.message().await?.context("the stream ended")?;
    assert_eq!((last.index, last.r#final, last.phase.as_str()), (4, true, "complete"));
    let task = look(&mut tasks, "carried").await?;
    assert_eq!((task.status(), task.execution), (TaskStatus::Completed, None));
    daemon.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_several_have_carried_out_is_deliberated_on_and_survives_kill_9() -> Result<()> {
    let (sim, server) = (simulator(Duration::ZERO).await?, Server::start().await?);
    let home = with_events(Home::new(sim.addr())?, &server);
    let daemon = home.start().await?;
    until_well(&daemon).await?;
    let task = json!({"id": "carried", "role": "DEV", "description": "do it", "requires_deliberation": true});
    let plan = json!({"story_id": "s", "plan_id": "p", "tasks": [task]});
    server.send("planning.plan.approved", plan.to_string()).await?;
    let commands = async || {
        let commands = payloads(&server, "AGENT_COMMANDS", "agent.cmd.execute").await?;
        Ok(Some(commands).filter(|commands| commands.len() == 3))
    };
    let commands = until("each agent is asked", LIMIT, commands).await?;
    for (ordinal, command) in (1..).zip(&commands) {
        let told = [&command["agent_id"], &command["proposal"], &command["task_id"], &command["story_id"]];
        assert_eq!(told, [&json!(agent(ordinal)), &json!("do it"), &json!("carried"), &json!("s")]);
    }
    let dispatched = payloads(&server, "ORCHESTRATOR_EVENTS", "orchestration.task.dispatched").await?;
    let agents: Vec<_> = dispatched.iter().map(|event| event["agent_id"].as_str().unwrap_or_default()).collect();
    assert_eq!(agents, [agent(1), agent(2), agent(3)]);

    say(&server, "completed", json!({"output": "the first work", "checks_passed": true})).await?;
    let tasks = TaskServiceClient::new(daemon.channel().await?);
    execution(&tasks, "carried", "one has answered", |execution| execution.answered == 1).await?;
    daemon.kill().await?;
    let daemon = home.start().await?;
    until_well(&daemon).await?;
    let mut tasks = TaskServiceClient::new(daemon.channel().await?);
    let known = execution(&tasks, "carried", "it is known", |_| true).await?;
    assert_eq!((known.answered, known.agents, known.agent_id), (1, 3, agent(2)));
    say(&server, "failed", json!({"agent_id": agent(2), "error": "it does not compile", "error_type": "build"}))
        .await?;
    say(&server, "completed", json!({"agent_id": agent(3), "output": {"files": 2}, "checks_passed": true})).await?;
    let decided = async || {
        let events = payloads(&server, "ORCHESTRATOR_EVENTS", "orchestration.deliberation.completed").await?;
        Ok(events.into_iter().next())
    };
    let decided = until("it is decided", LIMIT, decided).await?;
    let mut authors: Vec<_> = decided["decisions"].as_array().context("decisions")?.iter().collect();
    authors.sort_by_key(|decision| decision["agent_id"].to_string());
    let authors: Vec<_> = authors.into_iter().map(|decision| decision["agent_id"].as_str()).collect();
    assert_eq!(authors, [Some(&*agent(1)), Some(&*agent(3))]);
    let ended = async || {
        let events = payloads(&server, "ORCHESTRATOR_EVENTS", "orchestration.task.completed").await?;
        Ok(Some(events).filter(|events| !events.is_empty()))
    };
    let ended = until("it has ended", LIMIT, ended).await?;
    assert_eq!((ended.len(), &ended[0]["agent_id"], &ended[0]["run"]), (1, &decided["winner_id"], &json!(1)));
    assert_eq!(payloads(&server, "AGENT_COMMANDS", "agent.cmd.execute").await?.len(), 3, "nobody was asked twice");

    let request = GetTaskRequest { task_id: "carried".into(), include_results: true };
    let answer = tasks.get_task(request).await?.into_inner();
    let mut texts: Vec<_> = answer.results.iter().filter_map(|result| result.proposal.as_ref()).collect();
    texts.sort_by_key(|proposal| proposal.content.len());
    let texts: Vec<_> = texts.into_iter().map(|proposal| &*proposal.content).collect();
    assert_eq!(texts, [r#"{"files":2}"#, "the first work"]);
    let calls = sim.stats().by_call;
    assert!(calls.len() == 2 && calls.keys().all(|call| call.contains("/critique-1/")), "{calls:?}");
    daemon.stop().await
}
