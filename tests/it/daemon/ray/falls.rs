//! What a wave runs on falls in its middle: a worker, the supervisor, the head of Ray, the executor itself. Only calls
//! without an answer are made again, and it heals.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moothall::grpc::proto::fleet::orchestrator::v1::DeliberateResponse;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::Stage;
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::super::harness::{Daemon, Home, LIMIT, until};
use super::super::record::Record;
use super::super::request::{authors, task};
use super::executor::Executor;
use super::process;
use super::stand::{
    Stand, assert_complete, assert_healed, deliberate, events, start, tags, until_durable, until_executor_is,
};

type Running = JoinHandle<Result<DeliberateResponse, Status>>;

/// Far longer than an executor takes to start.
const PATIENT: &str = "120";
const IMPATIENT: &str = "1";

mod soak {
    use super::*;

    #[tokio::test]
    async fn each_part_of_ray_falls_three_times() -> Result<()> {
        fall(&["raylet/raylet", "ray::Supervisor", "gcs_server"].repeat(3)).await
    }
}

#[tokio::test]
async fn parts_of_ray_fall_and_what_had_no_answer_is_asked_again() -> Result<()> {
    fall(&["ray::Supervisor", "gcs_server"]).await
}

async fn fall(parts: &[&str]) -> Result<()> {
    let stand = Stand::start(Duration::ZERO).await?;
    let home = stand.home()?.with("MOOTHALL__EXECUTOR__AWAY_LIMIT", PATIENT);
    let daemon = home.start().await?;
    a_worker_falls(&stand, &daemon).await?;
    for (number, part) in parts.iter().enumerate() {
        let id = format!("part-{number}");
        let running = until_half_done(&stand, &daemon, &home, &id).await?;
        strike(&stand, part).await?;
        assert_complete(&timeout(LIMIT, running).await???, 9)?;
        assert_no_told_call_was_made_again(&stand, &id).with_context(|| (*part).to_owned())?;
        assert_healed(&stand, &daemon, &format!("{id}-after")).await?;
    }
    daemon.stop().await?;
    let record = Record::read(home.database()).await?;
    // Each answer is there once, whatever was asked twice.
    record.answered()?;
    // The daemon had nothing to do with what became of the worker: others made its calls.
    for task in ["one", "two", "worker-after"] {
        assert_eq!(submissions(&record, task), 3, "{task}");
    }
    stand.stop().await
}

/// Until another supervisor is there, for whatever falls takes the old one along.
async fn strike(stand: &Stand, part: &str) -> Result<()> {
    let one = |name: &str| match stand.executor.of_ray(name)[..] {
        [only] => Some(only),
        _ => None,
    };
    let old = one("ray::Supervisor");
    let struck = one(part).with_context(|| format!("not one process is {part}"))?;
    process::send(struck, Signal::KILL)?;
    let look = || async { Ok(one("ray::Supervisor").filter(|new| Some(*new) != old).map(drop)) };
    until("there is another supervisor", LIMIT, look).await
}

async fn a_worker_falls(stand: &Stand, daemon: &Daemon) -> Result<()> {
    stand.answer_after(Duration::from_millis(1500))?;
    // There are two workers, and each has the wave of one.
    let both = [start(daemon, "one").await?, start(daemon, "two").await?];
    stand.until_in_flight(6).await?;
    let workers = stand.executor.of_ray("ray::Worker");
    let [struck, _] = workers[..] else { anyhow::bail!("there are {} workers", workers.len()) };
    process::send(struck, Signal::KILL)?;
    stand.answer_after(Duration::ZERO)?;
    for running in both {
        assert_complete(&timeout(LIMIT, running).await???, 9)?;
    }
    let calls: Vec<_> = [stand.calls("one"), stand.calls("two")].into_iter().flatten().collect();
    for (call, count) in &calls {
        assert_eq!((count.finished, count.started), (1, 1 + count.aborted), "{call}");
    }
    assert_eq!(calls.iter().map(|(_, count)| count.aborted).sum::<u64>(), 3, "{calls:?}");
    let look = || async { Ok((stand.executor.of_ray("ray::Worker").len() == 2).then_some(())) };
    until("another has its place", LIMIT, look).await?;
    assert_healed(stand, daemon, "worker-after").await
}

/// Its own memory is gone with it: what it had not told yet is lost, and asked again. What was told is durable.
#[tokio::test]
async fn an_executor_is_killed_and_each_daemon_does_as_it_was_told() -> Result<()> {
    let stand = Stand::start(Duration::ZERO).await?;
    let home = |limit: &str, fallback: &str| {
        let home = stand.home()?.with("MOOTHALL__EXECUTOR__AWAY_LIMIT", limit);
        anyhow::Ok(home.with("MOOTHALL__EXECUTOR__RAY_FALLBACK", fallback))
    };
    let (patient, none, direct) = (home(PATIENT, "direct")?, home(IMPATIENT, "none")?, home(IMPATIENT, "direct")?);
    let daemons = [patient.start().await?, none.start().await?, direct.start().await?];
    let mut running = Vec::new();
    for (daemon, home, id) in [(0, &patient, "patient"), (1, &none, "none"), (2, &direct, "direct")]
        .map(|(place, home, id)| (&daemons[place], home, id))
    {
        running.push(until_half_done(&stand, daemon, home, id).await?);
    }
    let [waiting, named, alone] =
        <[Running; 3]>::try_from(running).map_err(|_| anyhow::anyhow!("three are started"))?;

    let Stand { sim, executor } = stand;
    let address = executor.kill().await?;
    let answer = timeout(LIMIT, named).await???;
    assert_seats_are_named(&answer, &address.to_string())?;
    let nobody = deliberate(&daemons[1], task("nobody")).await.unwrap_err().downcast::<Status>()?;
    assert_eq!(nobody.code(), Code::Unavailable, "{nobody}");
    ensure!(nobody.message().contains(&format!("executor http://{address}")), "{nobody}");
    assert_complete(&timeout(LIMIT, alone).await???, 9)?;
    for daemon in &daemons {
        until_executor_is(daemon, "degraded").await?;
    }
    ensure!(!waiting.is_finished(), "it does not wait");

    let stand = Stand { sim, executor: Executor::start_at(address).await? };
    assert_complete(&timeout(LIMIT, waiting).await???, 9)?;
    assert_only_open_calls_were_made_again(&stand, "patient")?;
    assert_only_open_calls_were_made_again(&stand, "direct")?;
    assert_eq!(stand.through_ray("patient").len(), 11);
    assert_eq!(stand.through_ray("direct").len(), 6, "the first two waves");
    for (daemon, id) in daemons.iter().zip(["patient-after", "none-after", "direct-after"]) {
        assert_healed(&stand, daemon, id).await?;
        assert_eq!(stand.through_ray(id).len(), 9, "{id}");
    }
    for daemon in daemons {
        daemon.stop().await?;
    }
    assert_left(&direct, "direct", true).await?;
    assert_left(&patient, "patient", false).await?;
    assert_left(&none, "none", false).await?;
    stand.stop().await
}

/// Until one critique is durable, and the other two are at the model server without an answer. From now on it answers all.
async fn until_half_done(stand: &Stand, daemon: &Daemon, home: &Home, id: &str) -> Result<Running> {
    let before = stand.sim.stats().in_flight;
    stand.hang(Stage::Critique, &["002", "003"]);
    let running = start(daemon, id).await?;
    stand.until_in_flight(before + 2).await?;
    until_durable(home, &[&format!("{id}/1/critique-1/agent-dev-001")]).await?;
    stand.misbehave(Vec::new());
    Ok(running)
}

/// Whose answers are durable by then.
fn was_told(call: &str) -> bool {
    call.contains("/propose-0/") || call.ends_with("/critique-1/agent-dev-001")
}

/// Ray does not fall at once: for a second or two workers may still take what others of them had, and even the next wave.
/// What the model server answers them then may be lost with the supervisor, and only that is asked twice.
fn assert_no_told_call_was_made_again(stand: &Stand, id: &str) -> Result<()> {
    let calls = stand.calls(id);
    assert_eq!(calls.len(), 9, "{calls:?}");
    for (call, count) in calls {
        let is_right = match was_told(&call) {
            true => (count.started, count.finished) == (1, 1),
            false => count.finished > 0 && count.started == count.finished + count.aborted,
        };
        ensure!(is_right, "{call}: {count:?}");
    }
    Ok(())
}

fn assert_only_open_calls_were_made_again(stand: &Stand, id: &str) -> Result<()> {
    let calls = stand.calls(id);
    assert_eq!(calls.len(), 9, "{calls:?}");
    for (call, count) in calls {
        let was_open = call.contains("/critique-1/") && !was_told(&call);
        let expected = if was_open { (2, 1, 1) } else { (1, 1, 0) };
        assert_eq!((count.started, count.finished, count.aborted), expected, "{call}");
    }
    Ok(())
}

/// Whoever had proposed is in the answer; who was not heard any more is named, with the executor.
fn assert_seats_are_named(answer: &DeliberateResponse, executor: &str) -> Result<()> {
    assert_eq!(authors(&answer.results).len(), 3, "{answer:?}");
    let tags = tags(answer)?;
    ensure!(!tags.contains_key("missing.agent-dev-001.critique-1"), "{tags:?}");
    for seat in ["agent-dev-002.critique-1", "agent-dev-003.critique-1"] {
        let why = tags.get(&format!("missing.{seat}"));
        ensure!(why.is_some_and(|why| why.contains(executor)), "{seat}: {tags:?}");
    }
    Ok(())
}

fn submissions(record: &Record, task: &str) -> usize {
    events(record, task).filter(|event| matches!(event, Event::WaveSubmitting { .. })).count()
}

/// Whether the run left the executor, and its verdict says so.
async fn assert_left(home: &Home, task: &str, expected: bool) -> Result<()> {
    let record = Record::read(home.database()).await?;
    let left = events(&record, task).filter(|event| matches!(event, Event::ExecutorLeft { .. })).count();
    assert_eq!(left, usize::from(expected), "{task}");
    let verdict = events(&record, task).find_map(|event| match event {
        Event::VerdictReached(verdict) => Some(verdict),
        _ => None,
    });
    ensure!(verdict.is_some_and(|verdict| verdict.executor_left.is_some() == expected), "{task}: {verdict:?}");
    Ok(())
}
