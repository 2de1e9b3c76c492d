//! The daemon as its users have it: how soon a task begins, and how soon after kill -9.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tonic::Streaming;
use tonic::transport::Channel;

use super::super::BenchError;
use super::super::home::Home;
use super::{QueuePlan, Starts, failed};
use crate::grpc::proto::fleet::orchestrator::v1::OrchestrateRequest;
use crate::grpc::proto::moothall::v1::task_service_client::TaskServiceClient;
use crate::grpc::proto::moothall::v1::{
    PauseDispatchRequest, ResumeDispatchRequest, SubmitPlanRequest, SubmitTaskRequest, TaskEvent, WatchTasksRequest,
};
use crate::process::Process;
use crate::sim::SimStats;

/// The longest wait for an event that must come.
const LIMIT: Duration = Duration::from_secs(60);
/// A model that does not answer while anything is measured.
const SILENT_MS: &str = "600000";

pub(super) async fn starts(plan: &QueuePlan) -> Result<Starts, BenchError> {
    let Waits { asked, queued, seen } = idle(plan.starts).await?;
    let restart_ms = restart(plan.restart_waiting, 0).await?;
    let restart_with_running_ms = restart(plan.restart_waiting, plan.restart_running).await?;
    Ok(Starts {
        p50_ms: percentile(&asked, 0.5),
        p99_ms: percentile(&asked, 0.99),
        queued_p50_ms: percentile(&queued, 0.5),
        queued_p99_ms: percentile(&queued, 0.99),
        seen_p50_ms: percentile(&seen, 0.5),
        seen_p99_ms: percentile(&seen, 0.99),
        restart_ms,
        restart_with_running_ms,
    })
}

async fn start(home: &Home) -> Result<(Process, TaskServiceClient<Channel>), BenchError> {
    let (roles, runs) = (("MOOTHALL__COUNCILS__ROLES", "DEV,QA"), "500");
    let limits = [("MOOTHALL__QUEUE__PER_ROLE", runs), ("MOOTHALL__QUEUE__PER_STORY", runs)];
    let daemon = home.start(&[&[roles], &limits[..]].concat()).await?;
    let client = TaskServiceClient::connect(format!("http://{}", daemon.told("grpc")?)).await.map_err(failed)?;
    Ok((daemon, client))
}

/// In milliseconds, of waits in their order.
fn percentile(waits: &[Duration], share: f64) -> f64 {
    let place = (waits.len().saturating_sub(1) as f64 * share).round() as usize;
    waits.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3
}

/// Sorted.
struct Waits {
    /// From the request to the first model call.
    asked: Vec<Duration>,
    /// From the answer to the first model call.
    queued: Vec<Duration>,
    /// From the request until a client that watches sees the claim.
    seen: Vec<Duration>,
}

/// One task after the other, each when the one before has completed.
async fn idle(tasks: usize) -> Result<Waits, BenchError> {
    let home = Home::counting("0").await?;
    let (_daemon, mut client) = start(&home).await?;
    let mut events = watch(&mut client, 0).await?;
    let (mut requests, mut seen) = (Vec::with_capacity(tasks), Vec::with_capacity(tasks));
    for number in 0..tasks {
        let id = idle_task(number);
        let work = OrchestrateRequest {
            task_id: id.clone(),
            role: "DEV".to_owned(),
            task_description: "Write a function that parses a duration.".to_owned(),
            ..OrchestrateRequest::default()
        };
        let (began, asked_at) = (Instant::now(), SystemTime::now());
        client.submit_task(SubmitTaskRequest { work: Some(work), ..Default::default() }).await.map_err(failed)?;
        requests.push((asked_at, SystemTime::now()));
        until(&mut events, "TaskClaimed", &id).await?;
        seen.push(began.elapsed());
        until(&mut events, "TaskCompleted", &id).await?;
    }
    let first_calls = first_calls(&home.stats().await?, tasks)?;
    let since = |from: SystemTime, call: &SystemTime| call.duration_since(from).unwrap_or_default();
    let calls = || first_calls.iter().zip(&requests);
    let mut asked: Vec<_> = calls().map(|(call, (asked, _))| since(*asked, call)).collect();
    let mut queued: Vec<_> = calls().map(|(call, (_, answered))| since(*answered, call)).collect();
    [&mut asked, &mut queued, &mut seen].into_iter().for_each(|waits| waits.sort_unstable());
    Ok(Waits { asked, queued, seen })
}

fn idle_task(number: usize) -> String {
    format!("idle-{number}")
}

/// When the first call of each task came to the model server.
fn first_calls(stats: &SimStats, tasks: usize) -> Result<Vec<SystemTime>, BenchError> {
    let first = |number: usize| {
        let of_task = format!("{}/", idle_task(number));
        let calls = stats.by_call.iter().filter(|(call, _)| call.starts_with(&of_task));
        let first = calls.map(|(_, count)| count.first_started_at_us).min();
        first.map(|at| UNIX_EPOCH + Duration::from_micros(at)).ok_or_else(|| failed(format!("no call of {of_task}")))
    };
    (0..tasks).map(first).collect()
}

/// Milliseconds from the start of the process to the first claim.
async fn restart(waiting: usize, running: usize) -> Result<f64, BenchError> {
    let home = Home::new(SILENT_MS).await?;
    let (daemon, mut client) = start(&home).await?;
    let pause = PauseDispatchRequest { role: "QA".to_owned() };
    client.pause_dispatch(pause).await.map_err(failed)?;
    let mut events = watch(&mut client, 0).await?;
    submit(&mut client, "DEV", running).await?;
    for _ in 0..running {
        until(&mut events, "TaskClaimed", "").await?;
    }
    submit(&mut client, "QA", waiting).await?;
    daemon.kill().await?;
    let began = Instant::now();
    let (_daemon, mut client) = start(&home).await?;
    // What was before is not what is waited for.
    let mut events = watch(&mut client, -1).await?;
    client.resume_dispatch(ResumeDispatchRequest { role: "QA".to_owned() }).await.map_err(failed)?;
    until(&mut events, "TaskClaimed", "QA-").await?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

async fn submit(client: &mut TaskServiceClient<Channel>, role: &str, tasks: usize) -> Result<(), BenchError> {
    if tasks == 0 {
        return Ok(());
    }
    let task = |number: usize| json!({"id": format!("{role}-{number}"), "role": role, "description": "do it"});
    let tasks: Vec<_> = (0..tasks).map(task).collect();
    let plan = json!({"plan_id": format!("plan-{role}"), "story_id": "bench", "tasks": tasks}).to_string();
    client.submit_plan(SubmitPlanRequest { plan: plan.into(), ..Default::default() }).await.map_err(failed)?;
    Ok(())
}

async fn watch(client: &mut TaskServiceClient<Channel>, after_seq: i64) -> Result<Streaming<TaskEvent>, BenchError> {
    let answer = client.watch_tasks(WatchTasksRequest { after_seq }).await.map_err(failed)?;
    Ok(answer.into_inner())
}

/// The first event of this kind on a task whose name begins so.
async fn until(events: &mut Streaming<TaskEvent>, kind: &str, task: &str) -> Result<(), BenchError> {
    let found = async {
        loop {
            match events.message().await.map_err(failed)? {
                Some(event) if event.r#type == kind && event.task_id.starts_with(task) => return Ok(()),
                Some(_) => {}
                None => return Err(failed("the stream of events ended")),
            }
        }
    };
    tokio::time::timeout(LIMIT, found).await.map_err(|_| failed(format!("no {kind} within {LIMIT:?}")))?
}
