//! What nobody wants any more is stopped on the cluster too: its connections are closed within a second.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use moothall::grpc::proto::moothall::v1::CancelTaskRequest;
use moothall::grpc::proto::moothall::v1::task_service_client::TaskServiceClient;
use moothall_actors::domain::id::Stage;
use tonic::Code;

use super::super::harness::{Daemon, LIMIT, until, until_in_flight};
use super::super::request::task;
use super::stand::{Stand, assert_healed, start};

const SOON: Duration = Duration::from_secs(1);
const SEATS: [&str; 3] = ["001", "002", "003"];

#[tokio::test]
async fn what_is_cancelled_closes_its_model_connections_within_a_second() -> Result<()> {
    let stand = Stand::start(Duration::ZERO).await?;
    let daemon = stand.home()?.start().await?;

    stand.hang(Stage::Critique, &SEATS);
    let running = start(&daemon, "asked").await?;
    until_critiques(&stand, "asked").await?;
    let mut tasks = TaskServiceClient::new(daemon.channel().await?);
    let cancel = CancelTaskRequest { task_id: "asked".into(), reason: "too dear".into() };
    let (cancelled, stopped) = tokio::join!(tasks.cancel_task(cancel), until_in_flight(&stand.sim, 0, SOON));
    stopped?;
    cancelled?;
    let status = tokio::time::timeout(LIMIT, running).await??.unwrap_err();
    assert_eq!(status.code(), Code::Cancelled, "{status}");
    assert_aborted(&stand, "asked", 3)?;

    // Without an id it is cancelled when its last client leaves.
    left(&stand, &daemon).await?;

    // The executor knows it too, and nothing of it is asked again.
    let look = || async { Ok(Some(stand.executor.stats().await?).filter(|stats| stats.active_deliberations == 0)) };
    let stats = until("nothing runs there", LIMIT, look).await?;
    // One wave of the first was done before.
    assert_eq!((stats.total_deliberations, stats.completed_deliberations, stats.failed_deliberations), (3, 1, 0));
    let calls = stand.sim.stats().calls;
    assert_healed(&stand, &daemon, "after").await?;
    assert_eq!(stand.sim.stats().calls, calls + 9);
    daemon.stop().await?;
    stand.stop().await
}

async fn left(stand: &Stand, daemon: &Daemon) -> Result<()> {
    stand.hang(Stage::Propose, &SEATS);
    let mut stream = daemon.client().await?.stream_deliberation(task("")).await?.into_inner();
    ensure!(stream.next().await.is_some());
    stand.until_in_flight(3).await?;
    let aborted = stand.sim.stats().aborted;
    drop(stream);
    until_in_flight(&stand.sim, 0, SOON).await?;
    assert_eq!(stand.sim.stats().aborted, aborted + 3);
    Ok(())
}

async fn until_critiques(stand: &Stand, task: &str) -> Result<()> {
    let look = || async { Ok((stand.calls(task).len() == 6).then_some(())) };
    until("the critiques are asked for", LIMIT, look).await
}

fn assert_aborted(stand: &Stand, task: &str, aborted: usize) -> Result<()> {
    let calls = stand.calls(task);
    let count = calls.values().filter(|count| (count.started, count.aborted, count.finished) == (1, 1, 0)).count();
    ensure!(count == aborted, "{calls:?}");
    let last = calls.keys().last().context("no calls")?;
    ensure!(!last.contains("/revise-"), "{last} was asked for after the end");
    Ok(())
}
