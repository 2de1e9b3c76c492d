//! The daemon prunes by itself, beside its work, and says how much is left.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use moothall::grpc::proto::fleet::orchestrator::v1::{DeliberationStatus, GetDeliberationResultRequest};
use moothall::grpc::proto::moothall::v1::journal_service_client::JournalServiceClient;
use moothall::grpc::proto::moothall::v1::{PruneRequest, ReadRequest, StatsRequest};
use moothall::store::{SqliteJournal, StoreOptions};
use moothall_actors::ports::Journal as _;
use tonic::Code;

use super::harness::{Daemon, Home, LIMIT, simulator, until};
use super::request::task;
use crate::store::sample::{accepted, completed, on_task};

/// The value of a metric, once it is told.
async fn metric(daemon: &Daemon, name: &str) -> Result<Option<f64>> {
    let (_, text) = daemon.page("/metrics").await?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    Ok(line.map(|value| value.parse()).transpose()?)
}

#[tokio::test]
async fn old_tasks_go_by_themselves_and_young_ones_stay() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?.with("MOOTHALL__RETENTION__EVERY", "1");
    let store = SqliteJournal::open(home.database(), StoreOptions::default())?;
    for name in ["old-1", "old-2"] {
        store.commit(on_task(name, 0, [accepted(name, "DEV", None), completed(1)])).await?;
    }
    store.close().await;
    // Writes its councils: from then on the journal's last event is of today.
    home.start().await?.stop().await?;
    let daemon = home.start().await?;
    daemon.client().await?.deliberate(task("young")).await?;
    let mut journal = JournalServiceClient::new(daemon.channel().await?);
    let look = || {
        let mut journal = journal.clone();
        async move {
            let stats = journal.stats(StatsRequest {}).await?.into_inner();
            Ok((stats.last_prune_tasks == 2).then_some(stats))
        }
    };
    let stats = until("both old tasks are pruned", LIMIT, look).await?;
    assert_eq!((stats.tasks, stats.tombstones, stats.first_kept), (1, 2, 5));
    ensure!(stats.last_prune_at_ms > 0 && stats.oldest_at_ms > 0, "{stats:?}");

    let read = |after_seq| ReadRequest { after_seq, ..ReadRequest::default() };
    let refused = journal.read(read(2)).await.err().context("it was read")?;
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    ensure!(refused.message().contains("events before 5"), "{refused}");
    let first = journal.read(read(0)).await?.into_inner().message().await?.context("nothing is left")?;
    ensure!(first.seq >= 5, "{first:?}");
    let again = journal.prune(PruneRequest { older_than_seconds: None, dry_run: true }).await?.into_inner();
    assert_eq!(again.tasks, 0);

    let told = || async { Ok(metric(&daemon, "moothall_journal_file_bytes").await?.filter(|&bytes| bytes > 0.0)) };
    until("the sizes are told", LIMIT, told).await?;
    for name in ["events", "streams", "tasks", "wal_bytes", "last_prune_timestamp_seconds", "tombstones"] {
        let name = format!("moothall_journal_{name}");
        ensure!(metric(&daemon, &name).await?.is_some(), "{name}");
    }
    daemon.stop().await
}

#[tokio::test]
async fn a_pruned_task_is_completed_without_results_and_its_id_is_taken() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?.with("MOOTHALL__RETENTION__DAYS", "0");
    let daemon = home.start().await?;
    let mut client = daemon.client().await?;
    let first = client.deliberate(task("T-1")).await?.into_inner();
    let asked = sim.stats().by_call.len();
    let mut journal = JournalServiceClient::new(daemon.channel().await?);
    let for_ever = journal.prune(PruneRequest::default()).await.err().context("it pruned")?;
    assert_eq!(for_ever.code(), Code::FailedPrecondition, "{for_ever}");
    // Tasks that ended in this very millisecond stay.
    let prune = || {
        let mut journal = journal.clone();
        let request = PruneRequest { older_than_seconds: Some(0), dry_run: false };
        async move { Ok(Some(journal.prune(request).await?.into_inner()).filter(|pruned| pruned.tasks == 1)) }
    };
    let pruned = until("the task is pruned", LIMIT, prune).await?;
    ensure!(pruned.events > 10, "{pruned:?}");

    let again = client.deliberate(task("T-1")).await?.into_inner();
    ensure!(again.results.is_empty() && again.winner_id == first.winner_id, "{again:?}");
    let tags = again.metadata.context("no metadata")?.tags;
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), [("pruned".to_owned(), "true".to_owned())]);
    let request = GetDeliberationResultRequest { task_id: "T-1".into() };
    let result = client.get_deliberation_result(request).await?.into_inner();
    assert_eq!((result.status(), result.winner_id), (DeliberationStatus::Completed, first.winner_id));
    let mut other = task("T-1");
    other.task_description = "something else".into();
    assert_eq!(client.deliberate(other).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(sim.stats().by_call.len(), asked);
    daemon.stop().await?;

    // And in the next life.
    let daemon = home.start().await?;
    let again = daemon.client().await?.deliberate(task("T-1")).await?.into_inner();
    ensure!(again.results.is_empty() && !again.winner_id.is_empty(), "{again:?}");
    daemon.stop().await
}

#[tokio::test]
async fn a_clock_that_stands_long_after_the_last_event_prunes_nothing_by_itself() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?.with("MOOTHALL__RETENTION__EVERY", "1").logged();
    let store = SqliteJournal::open(home.database(), StoreOptions::default())?;
    store.commit(on_task("old", 0, [accepted("old", "DEV", None), completed(1)])).await?;
    store.close().await;
    let daemon = home.start().await?;
    let told = || async { Ok(home.log()?.contains("the clock leapt forward").then_some(())) };
    until("it says that it waits", LIMIT, told).await?;
    let mut journal = JournalServiceClient::new(daemon.channel().await?);
    let stats = journal.stats(StatsRequest {}).await?.into_inner();
    assert_eq!((stats.tasks, stats.tombstones), (1, 0));
    // Whoever asks for it knows what time it is.
    let pruned = journal.prune(PruneRequest { older_than_seconds: None, dry_run: false }).await?.into_inner();
    assert_eq!(pruned.tasks, 1);
    daemon.stop().await
}
