//! A winner that an agent of others carries out, as those see it who wait for it.

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
    let mut event = json!({"task_id": "carried", "agent_id": "agent-dev-001"});
    event.as_object_mut().context("an object")?.extend(more.as_object().cloned().unwrap_or_default());
    server.send(&format!("agent.response.{subject}"), event.to_string()).await.map(drop)
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
