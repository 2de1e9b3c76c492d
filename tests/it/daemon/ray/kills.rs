//! kill -9 of the daemon while its waves are at a real executor: the next daemon attaches to them.
//!
//! Nothing excuses a repetition here. A wave is durable before the executor has it, and the executor keeps what came of
//! it, so that every call is made exactly once, whenever the daemon dies.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use moothall::sim::{BehaviourChange, Latency};
use moothall_actors::domain::event::Event;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::harness::{LIMIT, seed, until};
use super::super::kills::{assert_each_task_completed_once, work};
use super::super::record::Record;
use super::super::request::task;
use super::stand::{Stand, assert_complete, deliberate, start, until_executor_is};

/// Deliberations that run at each kill.
const AT_ONCE: usize = 8;

mod soak {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn fifty_kills_submit_no_wave_twice() -> Result<()> {
        let stand = Stand::start(Duration::ZERO).await?;
        survive(&stand, 50).await?;
        stand.stop().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kills_submit_no_wave_twice() -> Result<()> {
    let stand = Stand::start(Duration::ZERO).await?;
    what_ends_meanwhile_is_told_to_the_next(&stand).await?;
    survive(&stand, 5).await?;
    stand.stop().await
}

async fn survive(stand: &Stand, kills: usize) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed()?);
    stand.sim.reset();
    let before = stand.executor.stats().await?;
    // Answers come one by one, some while the daemon is dead.
    let latency = Latency::Lognormal { median_ms: 300.0, sigma: 0.7 };
    stand.sim.set(BehaviourChange { latency: Some(latency), ..BehaviourChange::default() });
    let home = stand.home()?;
    let mut daemon = home.start().await?;
    let (address, over) = (watch::Sender::new(daemon.channel().await?), watch::Sender::new(false));
    let mut workers = JoinSet::new();
    for worker in 0..AT_ONCE {
        workers.spawn(work(worker, address.subscribe(), over.subscribe()));
    }
    for _ in 0..kills {
        let busy = || async { Ok((stand.sim.stats().in_flight >= AT_ONCE as u64).then_some(())) };
        until("every deliberation runs", LIMIT, busy).await?;
        // The moment itself is what is random.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
        daemon.kill().await?;
        daemon = home.start().await?;
        address.send_replace(daemon.channel().await?);
    }
    over.send_replace(true);
    let mut tasks = 0;
    while let Some(done) = workers.join_next().await {
        tasks += done??;
    }
    until_executor_is(&daemon, "healthy").await?;
    daemon.stop().await?;
    let record = Record::read(home.database()).await?;
    assert_each_task_completed_once(&record, tasks)?;
    assert_eq!(record.answered()?.len(), tasks * 9);
    assert_every_call_was_made_once(stand, tasks)?;
    let waves = assert_each_wave_was_submitted_once(&record)?;
    assert_eq!(waves, tasks * 3);
    let stats = stand.executor.stats().await?;
    let (begun, completed) = (before.total_deliberations, before.completed_deliberations);
    let counted = (stats.total_deliberations - begun, stats.completed_deliberations - completed);
    assert_eq!(counted, (i64::try_from(waves)?, i64::try_from(waves)?));
    Ok(())
}

fn assert_every_call_was_made_once(stand: &Stand, tasks: usize) -> Result<()> {
    let stats = stand.sim.stats();
    assert_eq!(stats.by_call.len(), tasks * 9);
    for (call, count) in stats.by_call {
        ensure!((count.started, count.finished, count.aborted) == (1, 1, 0), "{call}: {count:?}");
    }
    Ok(())
}

/// How many waves there were. Each was an attempt once, whatever died.
fn assert_each_wave_was_submitted_once(record: &Record) -> Result<usize> {
    let (mut submitted, mut resumed) = (BTreeMap::<_, usize>::new(), 0);
    for recorded in &record.events {
        match &recorded.event.event {
            Event::WaveSubmitting { wave, calls, .. } => {
                ensure!(calls.len() == 3, "{} {wave}: {calls:?}", recorded.stream);
                *submitted.entry((recorded.stream.to_string(), wave.to_string())).or_default() += 1;
            }
            Event::DeliberationResumed {} => resumed += 1,
            _ => {}
        }
    }
    for ((stream, wave), times) in &submitted {
        ensure!(*times == 1, "{stream} submitted {wave} {times} times");
    }
    eprintln!("{} waves, {resumed} runs resumed", submitted.len());
    ensure!(resumed > 0, "no kill struck anything");
    Ok(submitted.len())
}

/// What ends at the executor while no daemon lives is told to the next one.
async fn what_ends_meanwhile_is_told_to_the_next(stand: &Stand) -> Result<()> {
    stand.answer_after(Duration::from_secs(1))?;
    let home = stand.home()?;
    let daemon = home.start().await?;
    let waiting = start(&daemon, "T-1").await?;
    stand.until_in_flight(3).await?;
    daemon.kill().await?;
    assert!(waiting.await?.is_err());
    stand.until_in_flight(0).await?;
    stand.assert_each_once("T-1", 3)?;
    stand.answer_after(Duration::ZERO)?;
    let daemon = home.start().await?;
    assert_complete(&deliberate(&daemon, task("T-1")).await?, 9)?;
    stand.assert_each_once("T-1", 9)?;
    daemon.stop().await?;
    assert_each_task_completed_once(&Record::read(home.database()).await?, 1)
}
