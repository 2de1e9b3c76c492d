//! kill -9 in the middle of a prune: what must stay stays, what is gone is known to be, and the next prune ends it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use moothall::grpc::proto::moothall::v1::journal_service_client::JournalServiceClient;
use moothall::grpc::proto::moothall::v1::{PruneRequest, StatsRequest, StatsResponse};
use moothall::sim::SimServer;
use moothall::store::{FaultPoint, SqliteJournal, StoreOptions, StoreReader};
use moothall_actors::domain::id::StreamId;
use moothall_actors::ports::{Batch, Journal as _};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::harness::{Daemon, Home, LIMIT, seed, simulator, until};
use super::request::{authors, task};
use crate::store::sample::{accepted, completed, large, new, on_task};

/// More steps than a prune of a few tasks takes.
const MOST_STEPS: u64 = 64;
/// Answers of one old deliberation.
const ANSWERS: usize = 9;

/// Finished long ago, each with the stream of its deliberation.
async fn fill(home: &Home, tasks: usize) -> Result<()> {
    let store = SqliteJournal::open(home.database(), StoreOptions::default())?;
    for number in 0..tasks {
        let name = format!("old-{number}");
        store.commit(on_task(&name, 0, [accepted(&name, "DEV", None), completed(1)])).await?;
        let answers = (0..ANSWERS).map(|_| new(large(1_000))).collect();
        let stream = StreamId::named(&format!("deliberation/{name}/1"));
        store.commit(Batch::one(stream, 0, answers)).await?;
    }
    store.close().await;
    Ok(())
}

async fn stats(daemon: &Daemon) -> Result<StatsResponse> {
    Ok(JournalServiceClient::new(daemon.channel().await?).stats(StatsRequest {}).await?.into_inner())
}

async fn prune(daemon: &Daemon) -> Result<()> {
    let request = PruneRequest { older_than_seconds: Some(86_400), dry_run: false };
    JournalServiceClient::new(daemon.channel().await?).prune(request).await?;
    Ok(())
}

async fn assert_sound(home: &Home) -> Result<()> {
    let report = StoreReader::open(home.database())?.verify().await?;
    ensure!(report.is_sound(), "{:#?}", report.first_problems);
    Ok(())
}

/// Asks for each old task again: none is worked on, whether it is still there or a tombstone.
async fn assert_known(daemon: &Daemon, sim: &SimServer, tasks: usize) -> Result<usize> {
    let (mut client, before) = (daemon.client().await?, sim.stats().by_call.len());
    let mut pruned = 0;
    for number in 0..tasks {
        let mut request = task(&format!("old-{number}"));
        // What the sample's tasks ask for.
        request.task_description = "parse a duration".into();
        let answer = client.deliberate(request).await.map(tonic::Response::into_inner);
        let tags = answer.with_context(|| format!("old-{number}"))?.metadata.context("no metadata")?.tags;
        pruned += usize::from(tags.contains_key("pruned"));
    }
    assert_eq!(sim.stats().by_call.len(), before, "an old task was worked on");
    Ok(pruned)
}

/// The daemon dies at the first step, the next one at the second, and so on, until a prune lives through it all.
async fn abort_at_every_step(point: FaultPoint) -> Result<()> {
    const TASKS: usize = 3;
    let sim = simulator(Duration::ZERO).await?;
    for number in 1..=MOST_STEPS {
        let home = Home::new(sim.addr())?.with("RUST_LOG", "error").with("MOOTHALL__RETENTION__BATCH", "4");
        fill(&home, TASKS).await?;
        let daemon = home.start().await?;
        let young = daemon.client().await?.deliberate(task(&format!("young-{number}"))).await?.into_inner();
        daemon.stop().await?;
        let fault = format!("{}:{number}", point.as_str());
        let mut daemon = home.start_with(&[("MOOTHALL_FAULT_POINT", &fault)]).await?;
        let outlived = prune(&daemon).await.is_ok();
        if !outlived {
            ensure!(!daemon.ended().await?.success(), "it refused, and went");
            assert_sound(&home).await?;
            daemon = home.start().await?;
            assert_eq!(daemon.client().await?.deliberate(task(&format!("young-{number}"))).await?.into_inner(), young);
            prune(&daemon).await?;
        }
        assert_eq!(assert_known(&daemon, &sim, TASKS).await?, TASKS, "{fault}");
        let stats = stats(&daemon).await?;
        assert_eq!((stats.tasks, stats.tombstones), (1, 3), "{fault}");
        daemon.stop().await?;
        assert_sound(&home).await?;
        if outlived {
            // A task's tombstone, its events in pages of four, the end.
            ensure!(number > 5, "only {} steps", number - 1);
            return Ok(());
        }
    }
    anyhow::bail!("the daemon dies after more than {MOST_STEPS} steps")
}

#[tokio::test]
async fn a_kill_before_any_step_of_a_prune_is_durable_loses_nothing() -> Result<()> {
    abort_at_every_step(FaultPoint::BeforePrune).await
}

#[tokio::test]
async fn a_kill_after_any_step_of_a_prune_loses_nothing() -> Result<()> {
    abort_at_every_step(FaultPoint::AfterPrune).await
}

/// Beside work, at any moment, again and again.
#[tokio::test]
async fn kills_beside_work_in_mid_prune_lose_nothing_and_the_prune_ends() -> Result<()> {
    const TASKS: usize = 240;
    const KILLS: usize = 5;
    let mut random = StdRng::seed_from_u64(seed()?);
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?
        .with("MOOTHALL__RETENTION__EVERY", "1")
        .with("MOOTHALL__RETENTION__BATCH", "16")
        .with("RUST_LOG", "error");
    fill(&home, TASKS).await?;
    home.start().await?.stop().await?;
    let mut in_the_middle = 0;
    for number in 0..KILLS {
        let daemon = home.start().await?;
        let mut client = daemon.client().await?;
        assert_eq!(authors(&client.deliberate(task(&format!("young-{number}"))).await?.into_inner().results).len(), 3);
        let before = stats(&daemon).await?.tombstones;
        let begun =
            || async { Ok(Some(stats(&daemon).await?).filter(|now| now.tombstones != before || now.tasks <= 5)) };
        until("the prune goes on", LIMIT, begun).await?;
        // The moment itself is what is random.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..50))).await;
        daemon.kill().await?;
        assert_sound(&home).await?;
        let left = StoreReader::open(home.database())?.stats().await?.tasks;
        in_the_middle += usize::from(left > KILLS as u64);
    }
    ensure!(in_the_middle > 0, "no kill was in the middle of a prune");
    let daemon = home.start().await?;
    let done = || async { Ok((stats(&daemon).await?.tombstones == TASKS as i64).then_some(())) };
    until("all old tasks are pruned", LIMIT, done).await?;
    for number in 0..KILLS {
        let again = daemon.client().await?.deliberate(task(&format!("young-{number}"))).await?.into_inner();
        assert_eq!(authors(&again.results).len(), 3, "young-{number}");
    }
    assert_eq!(assert_known(&daemon, &sim, TASKS).await?, TASKS);
    daemon.stop().await?;
    assert_sound(&home).await
}
