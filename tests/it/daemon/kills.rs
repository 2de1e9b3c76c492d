//! kill -9: nothing that was promised is lost, and nothing that was paid for is paid again.
//!
//! The simulator counts each call by its id. An answer that left it less than [`GRACE_MS`] before a kill may not have
//! been durable yet, and only then may its call be finished once more.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use moothall::grpc::proto::fleet::orchestrator::v1::{DeliberateRequest, DeliberateResponse};
use moothall::sim::{
    Answers, Behaviour, BehaviourChange, CallCount, Fault, FaultKind, Latency, SimServer, SimSettings,
};
use moothall::store::FaultPoint;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::Stage;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Channel;

use super::harness::{Daemon, Home, LIMIT, Orchestrator, seed, simulator, until, until_in_flight};
use super::record::Record;
use super::request::{assert_texts_are_the_models, authors, task};

const GRACE_MS: u64 = 200;
/// Deliberations that run at each kill.
const AT_ONCE: usize = 50;
/// More commits than any run of one deliberation makes.
const MOST_POINTS: u64 = 64;

mod soak {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_hundred_kills_lose_nothing_and_repeat_nothing() -> Result<()> {
        survive(200).await
    }

    #[tokio::test]
    async fn a_kill_at_any_boundary_of_the_journal_in_four_rounds_loses_nothing() -> Result<()> {
        for point in FaultPoint::OF_A_GROUP {
            abort_everywhere(point, 4).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kills_lose_nothing_and_repeat_nothing() -> Result<()> {
    survive(5).await
}

#[tokio::test]
async fn a_kill_before_any_commit_loses_nothing() -> Result<()> {
    abort_everywhere(FaultPoint::BeforeCommit, 1).await
}

#[tokio::test]
async fn a_kill_after_any_commit_loses_nothing() -> Result<()> {
    abort_everywhere(FaultPoint::AfterCommit, 1).await
}

#[tokio::test]
async fn a_kill_before_any_acknowledgement_loses_nothing() -> Result<()> {
    abort_everywhere(FaultPoint::BeforeAck, 1).await
}

/// Answers come one by one, so that each is a commit of its own.
async fn uneven_simulator(median_ms: f64) -> Result<SimServer> {
    let latency = Latency::Lognormal { median_ms, sigma: 0.7 };
    let behaviour = Behaviour { latency, answers: Answers::Prose, ..Behaviour::default() };
    Ok(SimServer::start(SimSettings { behaviour, ..SimSettings::default() }).await?)
}

fn now_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// What the simulator had counted when a daemon was dead.
struct Death {
    at_ms: u64,
    calls: BTreeMap<String, CallCount>,
}

async fn survive(kills: usize) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed()?);
    let sim = uneven_simulator(150.0).await?;
    let home = Home::new(sim.addr())?;
    let mut daemon = home.start().await?;
    let address = watch::Sender::new(daemon.channel().await?);
    let over = watch::Sender::new(false);
    let mut workers = JoinSet::new();
    for worker in 0..AT_ONCE {
        workers.spawn(work(worker, address.subscribe(), over.subscribe()));
    }
    let mut deaths = Vec::new();
    for _ in 0..kills {
        let busy = || async { Ok((sim.stats().in_flight >= AT_ONCE as u64).then_some(())) };
        until("every deliberation runs", LIMIT, busy).await?;
        // The moment itself is what is random.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
        let at_ms = now_ms()?;
        daemon.kill().await?;
        until_in_flight(&sim, 0, LIMIT).await?;
        deaths.push(Death { at_ms, calls: sim.stats().by_call });
        daemon = home.start().await?;
        address.send_replace(daemon.channel().await?);
    }
    over.send_replace(true);
    let mut tasks = 0;
    while let Some(done) = workers.join_next().await {
        tasks += done??;
    }
    daemon.stop().await?;
    assert_repeats_are_excused(&deaths, &sim.stats().by_call)?;
    let record = Record::read(home.database()).await?;
    assert_each_task_completed_once(&record, tasks)?;
    assert_eq!(record.answered()?.len(), tasks * 9);
    Ok(())
}

/// One client: a task after the other, each sent again until it is answered. How many there were.
pub(super) async fn work(
    worker: usize,
    mut address: watch::Receiver<Channel>,
    over: watch::Receiver<bool>,
) -> Result<usize> {
    let mut number = 0;
    while !*over.borrow() {
        let request = task(&format!("worker-{worker}-task-{number}"));
        let answer = loop {
            let mut client = Orchestrator::new(address.borrow_and_update().clone());
            match client.deliberate(request.clone()).await {
                Ok(answer) => break answer.into_inner(),
                // Only a kill excuses an error: then there is a new daemon soon.
                Err(status) => timeout(LIMIT, address.changed()).await.with_context(|| status.to_string())??,
            }
        };
        assert_complete(&answer);
        assert_eq!(answer.task_id, request.task_id);
        number += 1;
    }
    Ok(number)
}

fn assert_complete(answer: &DeliberateResponse) {
    assert_eq!(authors(&answer.results).len(), 3, "{answer:?}");
    assert_texts_are_the_models(&answer.results);
    let tags = &answer.metadata.as_ref().unwrap().tags;
    assert_eq!((tags["calls"].as_str(), tags.get("missing")), ("9", None));
}

/// Every finish of a call but the last must have come too late to be durable.
fn assert_repeats_are_excused(deaths: &[Death], last: &BTreeMap<String, CallCount>) -> Result<()> {
    let mut repeated = 0;
    for (call, count) in last.iter().filter(|(_, count)| count.finished != 1) {
        ensure!(count.finished > 1, "{call} never finished: {count:?}");
        let mut seen = 0;
        for death in deaths {
            let Some(then) = death.calls.get(call) else { continue };
            ensure!(then.finished <= seen + 1, "{call} finished twice in one life: {then:?}");
            if then.finished > seen && then.finished < count.finished {
                let before = death.at_ms.saturating_sub(then.last_finished_at_ms);
                ensure!(before < GRACE_MS, "{call} finished {before} ms before a kill and was asked again: {count:?}");
                repeated += 1;
            }
            seen = then.finished;
        }
        ensure!(count.finished <= seen + 1, "{call} finished twice in the last life: {count:?}");
    }
    eprintln!("{} calls, {repeated} of them finished again", last.len());
    Ok(())
}

pub(super) fn assert_each_task_completed_once(record: &Record, tasks: usize) -> Result<()> {
    let finals = record.finals();
    assert_eq!(finals.len(), tasks);
    for (task, finals) in finals {
        ensure!(matches!(finals[..], [Event::TaskCompleted { run: 1, .. }]), "{task} ended with {finals:?}");
    }
    Ok(())
}

/// One deliberation for each boundary there is: the daemon dies at the first, the next one at the second, and so on,
/// until one lives through it all.
async fn abort_everywhere(point: FaultPoint, rounds: i32) -> Result<()> {
    let sim = uneven_simulator(15.0).await?;
    let home = Home::new(sim.addr())?.with("RUST_LOG", "error");
    // Councils and prompts are there: what is written is the deliberation's.
    home.start().await?.stop().await?;
    for number in 1..=MOST_POINTS {
        let id = format!("{}-{number}", point.as_str());
        let request = DeliberateRequest { rounds, ..task(&id) };
        let fault = format!("{}:{number}", point.as_str());
        // At the very first boundary it dies before it is ready.
        let daemon = home.start_with(&[("MOOTHALL_FAULT_POINT", &fault)]).await.ok();
        if let Some(daemon) = daemon
            && outlived(daemon, request.clone()).await?
        {
            // Accepted, started, a wave or more with three answers each, verdict; answers may share a commit.
            ensure!(number > 6, "only {} boundaries of kind {} were found", number - 1, point.as_str());
            eprintln!("{} boundaries of kind {}", number - 1, point.as_str());
            return assert_each_task_completed_once(&Record::read(home.database()).await?, usize::try_from(number)?);
        }
        until_in_flight(&sim, 0, LIMIT).await?;
        let durable = Record::read(home.database()).await?.answered()?;
        let before = sim.stats().by_call;
        let daemon = home.start().await?;
        let answer = daemon.client().await?.deliberate(request).await?.into_inner();
        assert_eq!(authors(&answer.results).len(), 3, "{answer:?}");
        daemon.stop().await?;
        let after = sim.stats().by_call;
        for call in durable {
            assert_eq!(before[&call], after[&call], "{call} was durable and asked again after {fault}");
        }
    }
    anyhow::bail!("the daemon dies after more than {MOST_POINTS} boundaries")
}

/// Whether the daemon answered instead of dying.
async fn outlived(mut daemon: Daemon, request: DeliberateRequest) -> Result<bool> {
    // It may die while it is connected to.
    let mut client = Orchestrator::new(daemon.endpoint()?.connect_lazy());
    match timeout(LIMIT, client.deliberate(request)).await.context("neither dead nor done")? {
        Ok(_) => {
            daemon.stop().await?;
            Ok(true)
        }
        Err(_) => {
            ensure!(!daemon.ended().await?.success(), "it refused, and went");
            Ok(false)
        }
    }
}

#[tokio::test]
async fn a_task_sent_again_after_a_kill_is_the_same_task_for_all_its_clients() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let hang = Fault { stage: Some(Stage::Critique), ..Fault::always(FaultKind::Hang) };
    sim.set(BehaviourChange { faults: Some(vec![hang]), ..BehaviourChange::default() });
    let home = Home::new(sim.addr())?;
    let daemon = home.start().await?;
    let mut client = daemon.client().await?;
    let waiting = tokio::spawn(async move { client.deliberate(task("T-1")).await });
    until_in_flight(&sim, 3, LIMIT).await?;
    let critiques = || async { Ok((sim.stats().by_call.len() == 6).then_some(())) };
    until("the critiques are asked for", LIMIT, critiques).await?;
    daemon.kill().await?;
    assert!(waiting.await?.is_err());
    until_in_flight(&sim, 0, LIMIT).await?;

    sim.set(BehaviourChange { faults: Some(Vec::new()), ..BehaviourChange::default() });
    let daemon = home.start().await?;
    let (mut one, mut two) = (daemon.client().await?, daemon.client().await?);
    let (one, two) = tokio::join!(one.deliberate(task("T-1")), two.deliberate(task("T-1")));
    let (one, two) = (one?.into_inner(), two?.into_inner());
    assert_complete(&one);
    assert_eq!(one, two);
    for (call, count) in sim.stats().by_call {
        let started = if call.contains("/critique-1/") { 2 } else { 1 };
        assert_eq!((count.started, count.finished), (started, 1), "{call}");
    }
    daemon.stop().await?;
    assert_each_task_completed_once(&Record::read(home.database()).await?, 1)
}
