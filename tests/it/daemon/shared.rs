//! Daemons with journals of their own that share one queue: each task is done by one of them and told once, whoever falls.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use moothall::grpc::proto::fleet::orchestrator::v1 as fleet;
use moothall::grpc::proto::moothall::v1::task_service_client::TaskServiceClient;
use moothall::grpc::proto::moothall::v1::{GetTaskRequest, SubmitTaskRequest, TaskStatus};
use moothall_actors::domain::event::Event;
use rustix::process::Signal;
use serde_json::Value;
use tonic::transport::Channel;

use super::events::{finals, server_troubles, until_well, with_events};
use super::harness::{Daemon, Home, LIMIT, simulator, until};
use super::record::Record;
use crate::redis::server::Server as Redis;
use crate::{nats, place};

type Tasks = TaskServiceClient<Channel>;

/// Short enough to be waited for, and long enough for a machine under load.
const LEASE: Duration = Duration::from_secs(3);
/// How soon the tasks of a daemon that is gone are at work again, with the lease of every day.
pub(super) const TAKEN_OVER: Duration = Duration::from_secs(60);

fn sharing(home: Home, events: &nats::server::Server, redis: &Redis) -> Home {
    with_events(home, events)
        .with("TASK_QUEUE_URL", format!("redis://{}:{}", place::own(), redis.port))
        .with("MOOTHALL__QUEUE__LEASE", LEASE.as_secs().to_string())
}

async fn tasks(daemon: &Daemon) -> Result<Tasks> {
    Ok(TaskServiceClient::new(daemon.channel().await?))
}

async fn submit(tasks: &mut Tasks, id: &str, needs: &[&str]) -> Result<()> {
    let task_description = format!("parse a duration such as 1h30m (variant {id})");
    let work =
        fleet::OrchestrateRequest { task_id: id.into(), role: "DEV".into(), task_description, ..Default::default() };
    let needs = needs.iter().map(|need| (*need).to_owned()).collect();
    tasks.submit_task(SubmitTaskRequest { work: Some(work), needs, ..Default::default() }).await?;
    Ok(())
}

async fn until_completed(tasks: &Tasks, id: &str) -> Result<()> {
    let look = || {
        let mut tasks = tasks.clone();
        async move {
            let request = GetTaskRequest { task_id: id.into(), include_results: false };
            let task = tasks.get_task(request).await?.into_inner().task.context("no task")?;
            Ok((task.status() == TaskStatus::Completed).then_some(()))
        }
    };
    until(&format!("{id} has completed"), LIMIT, look).await
}

/// How the daemon says its queue is.
pub(super) async fn queue_health(daemon: &Daemon) -> Result<Value> {
    let (_, body) = daemon.page("/health").await?;
    let health: Value = serde_json::from_str(&body)?;
    Ok(health["components"]["queue"].clone())
}

async fn until_queue_is(daemon: &Daemon, status: &str) -> Result<Value> {
    let look = || async { Ok(Some(queue_health(daemon).await?).filter(|health| health["status"] == status)) };
    let found = until(&format!("the queue is {status}"), LIMIT, look).await;
    ensure!(found.is_ok(), "not {status}: {}", queue_health(daemon).await?);
    found
}

async fn until_told(events: &nats::server::Server, ends: usize, limit: Duration) -> Result<()> {
    let look = || async { Ok((finals(events).await?.len() >= ends).then_some(())) };
    until(&format!("the ends of {ends} runs are told"), limit, look).await
}

/// Each of so many tasks ended once, in its first run.
async fn each_completed_once(events: &nats::server::Server, all: usize) -> Result<()> {
    let finals = finals(events).await?;
    let is_odd =
        |((_, run), seen): &(&(String, u64), &Vec<String>)| *run != 1 || **seen != ["orchestration.task.completed"];
    let odd: Vec<_> = finals.iter().filter(is_odd).collect();
    ensure!(odd.is_empty() && finals.len() == all, "{} of {all}: {odd:?}", finals.len());
    Ok(())
}

/// How often each task was begun, by its stream.
fn claims(record: &Record) -> BTreeMap<String, usize> {
    let mut claims = BTreeMap::new();
    for recorded in &record.events {
        if matches!(recorded.event.event, Event::TaskClaimed { .. }) {
            *claims.entry(recorded.stream.to_string()).or_default() += 1;
        }
    }
    claims
}

fn count(record: &Record, is_meant: impl Fn(&Event) -> bool) -> usize {
    record.events.iter().filter(|recorded| is_meant(&recorded.event.event)).count()
}

/// Each knows nothing of the other but what the queue says.
pub(super) struct Pair {
    pub(super) events: nats::server::Server,
    pub(super) redis: Redis,
    pub(super) homes: [Home; 2],
    pub(super) daemons: [Daemon; 2],
    _sim: moothall::sim::SimServer,
}

pub(super) async fn pair(latency: Duration, per_role: usize) -> Result<Pair> {
    let (sim, events, redis) = (simulator(latency).await?, nats::server::Server::start().await?, Redis::start().await);
    let home = || -> Result<Home> {
        let home = sharing(Home::new(sim.addr())?, &events, &redis);
        Ok(home.with("MOOTHALL__QUEUE__PER_ROLE", per_role.to_string()))
    };
    let homes = [home()?, home()?];
    let daemons = [homes[0].start().await?, homes[1].start().await?];
    for daemon in &daemons {
        until_well(daemon).await?;
        until_queue_is(daemon, "healthy").await?;
    }
    Ok(Pair { events, redis, homes, daemons, _sim: sim })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_share_a_plan_and_each_task_is_begun_and_told_once() -> Result<()> {
    const TASKS: usize = 24;
    let Pair { events, homes, daemons, redis: _redis, _sim } = pair(Duration::from_millis(150), 3).await?;
    let mut first = tasks(&daemons[0]).await?;
    for number in 0..TASKS {
        // Waves of eight: each but the first waits for one of the wave before.
        let needs = number.checked_sub(8).map(|before| format!("t{before}"));
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        submit(&mut first, &format!("t{number}"), &needs).await?;
    }
    until_told(&events, TASKS, LIMIT * 2).await?;
    for number in 0..TASKS {
        // Whoever took them in knows how they ended elsewhere.
        until_completed(&first, &format!("t{number}")).await?;
    }
    for daemon in daemons {
        daemon.stop().await?;
    }
    each_completed_once(&events, TASKS).await?;
    let (one, two) = (Record::read(homes[0].database()).await?, Record::read(homes[1].database()).await?);
    let (of_one, of_two) = (claims(&one), claims(&two));
    assert_eq!(of_one.len() + of_two.len(), TASKS);
    assert!(of_one.values().chain(of_two.values()).all(|times| *times == 1), "{of_one:?} {of_two:?}");
    assert!(!of_one.is_empty() && !of_two.is_empty(), "they share the work: {of_one:?} {of_two:?}");
    assert_eq!(one.finals().len(), TASKS);
    assert!(one.finals().values().all(|finals| finals.len() == 1), "it knows how all of its tasks ended");
    let taken_over = count(&two, |event| matches!(event, Event::TaskTakenOver { run: 1, .. }));
    assert_eq!(taken_over, of_two.len(), "what it heard of from the queue alone");
    Ok(())
}

/// Both at work on half of the tasks, which take so long that one of them can be lost meanwhile.
async fn both_at_work(pair: &Pair, each: usize) -> Result<()> {
    let mut first = tasks(&pair.daemons[0]).await?;
    for number in 0..2 * each {
        submit(&mut first, &format!("t{number}"), &[]).await?;
    }
    for home in &pair.homes {
        let look = || async { Ok((claims(&Record::read(home.database()).await?).len() >= each).then_some(())) };
        until("it is at work", LIMIT, look).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_daemon_held_is_taken_over_and_it_comes_back_to_nothing() -> Result<()> {
    const EACH: usize = 3;
    let pair = pair(Duration::from_millis(1_500), EACH).await?;
    both_at_work(&pair, EACH).await?;
    let Pair { events, homes, daemons: [one, two], redis: _redis, _sim } = pair;
    two.kill().await?;
    until_told(&events, 2 * EACH, TAKEN_OVER).await?;
    let two = homes[1].start().await?;
    until_queue_is(&two, "healthy").await?;
    let back = tasks(&two).await?;
    let record = Record::read(homes[1].database()).await?;
    let held: Vec<String> = claims(&record).into_keys().collect();
    assert!(!held.is_empty());
    for task in &held {
        until_completed(&back, task.strip_prefix("task/").context("no task")?).await?;
    }
    one.stop().await?;
    two.stop().await?;
    each_completed_once(&events, 2 * EACH).await?;
    let record = Record::read(homes[0].database()).await?;
    let from = count(&record, |event| matches!(event, Event::TaskTakenOver { run: 1, .. }));
    assert_eq!(from, held.len(), "what the other one had held");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_stood_still_for_longer_than_its_leases_is_refused_with_its_results() -> Result<()> {
    const EACH: usize = 2;
    let pair = pair(Duration::from_millis(2_000), EACH).await?;
    both_at_work(&pair, EACH).await?;
    let Pair { events, homes, daemons: [one, two], redis: _redis, _sim } = pair;
    two.signal(Signal::STOP)?;
    until_told(&events, 2 * EACH, TAKEN_OVER).await?;
    two.signal(Signal::CONT)?;
    let record = Record::read(homes[1].database()).await?;
    let held: Vec<String> = claims(&record).into_keys().collect();
    assert!(!held.is_empty());
    let back = tasks(&two).await?;
    for task in &held {
        until_completed(&back, task.strip_prefix("task/").context("no task")?).await?;
    }
    one.stop().await?;
    two.stop().await?;
    each_completed_once(&events, 2 * EACH).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_stands_still_dies_or_goes_back_in_time_loses_and_doubles_nothing() -> Result<()> {
    const OF_A_WAVE: usize = 8;
    let (sim, events) = (simulator(Duration::from_millis(100)).await?, nats::server::Server::start().await?);
    let mut redis = Redis::start().await;
    let home = sharing(Home::new(sim.addr())?, &events, &redis).with("MOOTHALL__QUEUE__PER_ROLE", "3");
    let daemon = home.start().await?;
    until_well(&daemon).await?;
    until_queue_is(&daemon, "healthy").await?;
    let mut client = tasks(&daemon).await?;
    let mut wave = 0;
    let mut more = async || -> Result<usize> {
        for number in 0..OF_A_WAVE {
            submit(&mut client, &format!("w{wave}-{number}"), &[]).await?;
        }
        wave += 1;
        Ok(wave * OF_A_WAVE)
    };
    let all = more().await?;
    until_told(&events, 2, LIMIT).await?;
    redis.stop();
    until_queue_is(&daemon, "degraded").await?;
    redis.go_on();
    until_queue_is(&daemon, "healthy").await?;
    until_told(&events, all - 2, LIMIT).await?;
    redis.kill();
    let all = more().await?;
    let health = until_queue_is(&daemon, "degraded").await?;
    ensure!(health["why"].as_str().is_some_and(|why| !why.is_empty()), "it does not say why: {health}");
    redis.run().await;
    until_queue_is(&daemon, "healthy").await?;
    until_told(&events, all - OF_A_WAVE / 2, LIMIT).await?;
    redis.kill();
    let copy = redis.copy_data();
    redis.run().await;
    until_queue_is(&daemon, "healthy").await?;
    let all = more().await?;
    until_told(&events, all - OF_A_WAVE / 2, LIMIT).await?;
    redis.kill();
    redis.put_back(&copy);
    redis.run().await;
    until_queue_is(&daemon, "healthy").await?;
    until_told(&events, all, LIMIT).await?;
    daemon.stop().await?;
    each_completed_once(&events, all).await?;
    let record = Record::read(home.database()).await?;
    record.answered()?;
    assert_eq!(record.finals().len(), all);
    assert!(record.finals().values().all(|finals| finals.len() == 1), "one final for each in the journal");
    Ok(())
}

/// How runs ended is in the queue's memory, and not in what the journal still has to publish.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_of_events_forgets_of_ends_in_a_shared_queue_is_told_again() -> Result<()> {
    let redis = Redis::start().await;
    server_troubles(Duration::from_secs(1), |home, events| sharing(home, events, &redis)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_starts_and_takes_tasks_without_its_queue_and_works_when_that_comes() -> Result<()> {
    let (sim, events) = (simulator(Duration::ZERO).await?, nats::server::Server::start().await?);
    let mut redis = Redis::start().await;
    redis.kill();
    let home = sharing(Home::new(sim.addr())?, &events, &redis);
    let daemon = home.start().await?;
    let mut client = tasks(&daemon).await?;
    submit(&mut client, "a", &[]).await?;
    submit(&mut client, "b", &["a"]).await?;
    until_queue_is(&daemon, "degraded").await?;
    daemon.kill().await?;
    let daemon = home.start().await?;
    let client = tasks(&daemon).await?;
    redis.run().await;
    for id in ["a", "b"] {
        until_completed(&client, id).await?;
    }
    until_queue_is(&daemon, "healthy").await?;
    until_told(&events, 2, LIMIT).await?;
    daemon.stop().await?;
    each_completed_once(&events, 2).await
}
