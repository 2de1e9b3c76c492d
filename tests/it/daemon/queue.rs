//! The queue over the wire: plans are worked through in their order whatever is killed, and waiting tasks can be changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use moothall::grpc::proto::fleet::orchestrator::v1 as fleet;
use moothall::grpc::proto::moothall::v1::council_service_client::CouncilServiceClient;
use moothall::grpc::proto::moothall::v1::task_service_client::TaskServiceClient;
use moothall::grpc::proto::moothall::v1::{
    CancelTaskRequest, GetSystemStatusRequest, GetTaskRequest, ListQueueRequest, OnDependencyFailure, ParkTaskRequest,
    PauseDispatchRequest, QueueState, ResumeDispatchRequest, RetryTaskRequest, SubmitPlanRequest, SubmitTaskRequest,
    Task, TaskEvent, TaskStatus, WatchTaskRequest, WatchTasksRequest,
};
use moothall_actors::domain::event::Event;
use tonic::Code;
use tonic::transport::Channel;

use super::harness::{Daemon, Home, LIMIT, simulator, until};
use super::record::Record;

type Tasks = TaskServiceClient<Channel>;

async fn tasks(daemon: &Daemon) -> Result<Tasks> {
    Ok(TaskServiceClient::new(daemon.channel().await?))
}

fn work(id: &str) -> fleet::OrchestrateRequest {
    let task_description = format!("parse a duration such as 1h30m (variant {id})");
    fleet::OrchestrateRequest { task_id: id.into(), role: "DEV".into(), task_description, ..Default::default() }
}

fn submission(id: &str, needs: &[&str]) -> SubmitTaskRequest {
    let needs = needs.iter().map(|need| (*need).to_owned()).collect();
    SubmitTaskRequest { work: Some(work(id)), needs, ..Default::default() }
}

async fn get(tasks: &mut Tasks, id: &str) -> Result<Task> {
    let request = GetTaskRequest { task_id: id.into(), include_results: false };
    tasks.get_task(request).await?.into_inner().task.context("no task")
}

async fn until_ended(tasks: &Tasks, id: &str) -> Result<Task> {
    let look = || {
        let mut tasks = tasks.clone();
        async move { Ok(Some(get(&mut tasks, id).await?).filter(|task| task.status() != TaskStatus::Open)) }
    };
    until(&format!("{id} has ended"), LIMIT, look).await
}

const WAVES: usize = 4;
const OF_A_WAVE: usize = 6;

/// Each task needs two of the wave before.
fn plan() -> String {
    let mut text = String::from("story_id: S-1\ntasks:\n");
    for wave in 0..WAVES {
        for place in 0..OF_A_WAVE {
            let needs = match wave {
                0 => String::new(),
                _ => format!(", depends_on: [t{}-{place}, t{}-{}]", wave - 1, wave - 1, (place + 1) % OF_A_WAVE),
            };
            text += &format!(
                "- {{id: t{wave}-{place}, role: DEV, description: do it, requires_pre_deliberation: false{needs}}}\n"
            );
        }
    }
    text
}

fn plan_request(plan: &str) -> SubmitPlanRequest {
    SubmitPlanRequest { plan: plan.to_owned().into(), plan_id: "P-1".into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_worked_through_in_its_order_whatever_is_killed() -> Result<()> {
    let sim = simulator(Duration::from_millis(150)).await?;
    let home = Home::new(sim.addr())?.with("MOOTHALL__QUEUE__PER_ROLE", "3").with("MOOTHALL__QUEUE__RETRY_MIN", "0.05");
    let all = WAVES * OF_A_WAVE;
    let mut daemon = home.start().await?;
    let answer = tasks(&daemon).await?.submit_plan(plan_request(&plan())).await?.into_inner();
    ensure!(answer.new && answer.tasks.len() == all, "{answer:?}");
    let mut seen: Vec<TaskEvent> = Vec::new();
    for kill in 1..=5 {
        // A bit further each time, so that kills fall into every wave.
        watch(&daemon, &mut seen, kill * all / 7).await?;
        daemon.kill().await?;
        daemon = home.start().await?;
        let again = tasks(&daemon).await?.submit_plan(plan_request(&plan())).await?.into_inner();
        ensure!(!again.new, "{again:?}");
    }
    watch(&daemon, &mut seen, all).await?;
    daemon.stop().await?;
    let record = Record::read(home.database()).await?;
    for (task, finals) in record.finals() {
        ensure!(matches!(finals[..], [Event::TaskCompleted { .. }]), "{task}: {finals:?}");
    }
    assert_eq!(record.finals().len(), all);
    assert_in_order(&seen);
    let seqs: Vec<i64> = seen.iter().map(|event| event.seq).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "no event twice");
    assert_eq!(seen.iter().filter(|event| event.r#type == "TaskAccepted").count(), all, "none is left out");
    Ok(())
}

/// Goes on behind what was seen, until so many tasks have completed.
async fn watch(daemon: &Daemon, seen: &mut Vec<TaskEvent>, completed: usize) -> Result<()> {
    let after_seq = seen.last().map_or(0, |event| event.seq);
    let mut events = tasks(daemon).await?.watch_tasks(WatchTasksRequest { after_seq }).await?.into_inner();
    while seen.iter().filter(|event| event.r#type == "TaskCompleted").count() < completed {
        let event = tokio::time::timeout(LIMIT, events.message()).await.context("nothing happens any more")??;
        seen.push(event.context("the stream ended")?);
    }
    Ok(())
}

fn assert_in_order(seen: &[TaskEvent]) {
    let mut completed = BTreeSet::new();
    for event in seen {
        let (wave, place) = event.task_id.trim_start_matches('t').split_once('-').unwrap();
        let (wave, place): (usize, usize) = (wave.parse().unwrap(), place.parse().unwrap());
        match event.r#type.as_str() {
            "TaskCompleted" => drop(completed.insert((wave, place))),
            "TaskClaimed" if wave > 0 => {
                let needs = [(wave - 1, place), (wave - 1, (place + 1) % OF_A_WAVE)];
                assert!(needs.iter().all(|need| completed.contains(need)), "{event:?}");
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn tasks_that_wait_can_be_listed_parked_cancelled_and_retried() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let mut tasks = tasks(&daemon).await?;
    let paused = tasks.pause_dispatch(PauseDispatchRequest { role: String::new() }).await?.into_inner();
    ensure!(paused.paused.is_some_and(|paused| paused.all), "all is paused");
    let mut councils = CouncilServiceClient::new(daemon.channel().await?);
    let status = councils.get_system_status(GetSystemStatusRequest {}).await?.into_inner();
    ensure!(status.paused.is_some_and(|paused| paused.all), "the system's status says so");
    for (id, needs) in [("a", vec![]), ("b", vec!["a"]), ("c", vec![])] {
        let answer = tasks.submit_task(submission(id, &needs)).await?.into_inner();
        ensure!(answer.new, "{answer:?}");
    }
    ensure!(!tasks.submit_task(submission("a", &[])).await?.into_inner().new, "it was there");
    let park = ParkTaskRequest { task_id: "c".into(), reason: "not now".into() };
    let parked = tasks.park_task(park).await?.into_inner().task.context("no task")?;
    assert_eq!((parked.queue_state(), parked.queue_reason.as_str()), (QueueState::Parked, "not now"));
    let list = tasks.list_queue(ListQueueRequest { limit: 2, ..Default::default() }).await?.into_inner();
    let states: Vec<_> = list.tasks.iter().map(|task| (task.task_id.as_str(), task.state())).collect();
    assert_eq!(states, [("a", QueueState::Queued), ("b", QueueState::Blocked)]);
    let rest = ListQueueRequest { limit: 2, cursor: list.next_cursor, ..Default::default() };
    let rest = tasks.list_queue(rest).await?.into_inner();
    assert_eq!((rest.tasks.len(), rest.tasks[0].task_id.as_str(), rest.next_cursor.as_str()), (1, "c", ""));
    let counts: BTreeMap<_, _> = rest.counts.iter().map(|count| (count.state(), count.tasks)).collect();
    assert_eq!(counts, [(QueueState::Queued, 1), (QueueState::Blocked, 1), (QueueState::Parked, 1)].into());

    let cancel = CancelTaskRequest { task_id: "a".into(), reason: "too dear".into() };
    let cancelled = tasks.cancel_task(cancel).await?.into_inner().task.context("no task")?;
    assert_eq!((cancelled.status(), cancelled.run), (TaskStatus::Cancelled, 1));
    assert_eq!(get(&mut tasks, "b").await?.queue_state(), QueueState::Blocked);
    let request = WatchTaskRequest { task_id: "b".into(), ..Default::default() };
    let mut updates = tasks.watch_task(request).await?.into_inner();
    for id in ["a", "c"] {
        tasks.retry_task(RetryTaskRequest { task_id: id.into() }).await?;
    }
    tasks.resume_dispatch(ResumeDispatchRequest { role: String::new() }).await?;
    for (id, run) in [("a", 2), ("b", 1), ("c", 1)] {
        let task = until_ended(&tasks, id).await?;
        assert_eq!((task.status(), task.run), (TaskStatus::Completed, run), "{id}");
    }
    let mut last = None;
    while let Some(update) = updates.message().await? {
        last = Some(update);
    }
    let watched = last.and_then(|update| update.task).context("it was not watched to its end")?;
    assert_eq!(watched.status(), TaskStatus::Completed);
    daemon.stop().await
}

#[tokio::test]
async fn what_cannot_be_queued_is_refused_with_its_reason() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.with("MOOTHALL__QUEUE__MAX_TASKS", "2").start().await?;
    let mut tasks = tasks(&daemon).await?;
    tasks.pause_dispatch(PauseDispatchRequest { role: "dev".into() }).await?;
    tasks.submit_task(submission("a", &[])).await?;
    let refused = async |request: SubmitTaskRequest| tasks.clone().submit_task(request).await.unwrap_err();
    let mut other = work("a");
    other.task_description = "something else".into();
    let other = SubmitTaskRequest { work: Some(other), ..Default::default() };
    assert_eq!(refused(other).await.code(), Code::AlreadyExists);
    assert_eq!(refused(submission("b", &["nobody"])).await.code(), Code::InvalidArgument);
    let mut unknown = work("c");
    unknown.role = "NOBODY".into();
    let unknown = SubmitTaskRequest { work: Some(unknown), ..Default::default() };
    assert_eq!(refused(unknown).await.code(), Code::NotFound);
    let wrong = SubmitTaskRequest { priority: "URGENT".into(), on_dependency_failure: 9, ..Default::default() };
    let told = refused(wrong).await;
    ensure!(told.code() == Code::InvalidArgument, "{told:?}");
    for field in ["priority", "on_dependency_failure", "work.role", "work.task_description"] {
        ensure!(told.message().contains(field), "{field}: {told}");
    }
    tasks.submit_task(submission("d", &["a"])).await?;
    assert_eq!(tasks.submit_task(submission("e", &[])).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(tasks.submit_plan(plan_request(&plan())).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(tasks.submit_plan(plan_request("tasks: 7")).await.unwrap_err().code(), Code::InvalidArgument);
    let nameless = SubmitPlanRequest { plan_id: String::new(), ..plan_request(&plan()) };
    assert_eq!(tasks.submit_plan(nameless).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(tasks.watch_tasks(WatchTasksRequest { after_seq: -2 }).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown = PauseDispatchRequest { role: "NOBODY".into() };
    assert_eq!(tasks.pause_dispatch(unknown).await.unwrap_err().code(), Code::NotFound);
    let retry = |id: &str| RetryTaskRequest { task_id: id.into() };
    assert_eq!(tasks.retry_task(retry("a")).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(tasks.retry_task(retry("nobody")).await.unwrap_err().code(), Code::NotFound);
    daemon.stop().await
}

#[tokio::test]
async fn a_plan_comes_by_an_event_is_held_until_its_phase_and_parks_what_nobody_can_do() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.with("MOOTHALL__PLANS__HOLD_UNTIL_PHASE", "BUILD").start().await?;
    let (mut client, mut tasks) = (daemon.client().await?, tasks(&daemon).await?);
    let plan = "## DEV Tasks\n- [ ] A: first\n- [ ] B: second\n  - Depends on: A\n## OPS Tasks\n- [ ] C: third\n";
    let approved = fleet::PlanningEventRequest {
        event_type: "planning.plan.approved".into(),
        case_id: "S-1".into(),
        plan_id: "P-1".into(),
        metadata: BTreeMap::from([("plan".to_owned(), plan.to_owned())]),
        ..Default::default()
    };
    let answer = client.process_planning_event(approved.clone()).await?.into_inner();
    assert_eq!((answer.processed, answer.derived_task_ids), (true, vec!["A".to_owned(), "B".into(), "C".into()]));
    let again = client.process_planning_event(approved).await?.into_inner();
    ensure!(again.message.contains("before"), "{again:?}");
    assert_eq!(get(&mut tasks, "A").await?.queue_state(), QueueState::Blocked);
    let parked = get(&mut tasks, "C").await?;
    ensure!(parked.queue_state() == QueueState::Parked && parked.queue_reason.contains("OPS"), "{parked:?}");

    let strategy = fleet::DerivationStrategy { parallel_execution: false, ..Default::default() };
    let derive = fleet::DeriveSubtasksRequest {
        plan_id: "P-1".into(),
        case_id: "S-1".into(),
        strategy: Some(strategy),
        ..Default::default()
    };
    let derived = client.derive_subtasks(derive).await?.into_inner();
    let chain: Vec<_> = derived.tasks.iter().map(|task| (task.task_id.as_str(), task.dependencies.join(","))).collect();
    assert_eq!(chain, [("A", String::new()), ("B", "A".into()), ("C", "B".into())]);
    let roles = vec!["DEV".to_owned(), "QA".into()];
    let unknown = fleet::DeriveSubtasksRequest { plan_id: "P-2".into(), roles, ..Default::default() };
    assert_eq!(client.derive_subtasks(unknown).await?.into_inner().total_tasks, 2);

    let moved = fleet::PlanningEventRequest {
        event_type: "planning.story.transitioned".into(),
        case_id: "S-1".into(),
        from_state: "DESIGN".into(),
        to_state: "BUILD".into(),
        ..Default::default()
    };
    let answer = client.process_planning_event(moved).await?.into_inner();
    assert_eq!(answer.derived_task_ids, ["A", "B"]);
    assert_eq!(until_ended(&tasks, "B").await?.status(), TaskStatus::Completed);
    let other = fleet::PlanningEventRequest { event_type: "planning.story.created".into(), ..Default::default() };
    ensure!(!client.process_planning_event(other).await?.into_inner().processed, "nothing comes of it");
    daemon.stop().await
}

#[tokio::test]
async fn a_failed_need_skips_or_lets_run_what_waits() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let mut tasks = tasks(&daemon).await?;
    tasks.pause_dispatch(PauseDispatchRequest::default()).await?;
    tasks.submit_task(submission("a", &[])).await?;
    for (id, on_failure) in [("skipped", OnDependencyFailure::Skip), ("runs", OnDependencyFailure::Run)] {
        let request = SubmitTaskRequest { on_dependency_failure: on_failure.into(), ..submission(id, &["a"]) };
        tasks.submit_task(request).await?;
    }
    tasks.cancel_task(CancelTaskRequest { task_id: "a".into(), reason: String::new() }).await?;
    tasks.resume_dispatch(ResumeDispatchRequest::default()).await?;
    assert_eq!(until_ended(&tasks, "skipped").await?.status(), TaskStatus::Skipped);
    assert_eq!(until_ended(&tasks, "runs").await?.status(), TaskStatus::Completed);
    daemon.stop().await
}
