//! Many readers, some of whom stop reading: a council never waits for any of them, and each costs little.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use moothall::grpc::proto::fleet::orchestrator::v1::DeliberationUpdate;
use moothall::sim::{BehaviourChange, Fault, FaultKind, SimServer};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::codec::Streaming;
use tonic::transport::Channel;

use super::harness::{Daemon, Home, LIMIT, Orchestrator, simulator, until_in_flight};
use super::request::{assert_texts_are_the_models, task};

const READERS: usize = 1024;
/// Of them, those who stop.
const IDLE: usize = 100;
/// Four readers each.
const TASKS: usize = READERS / 4;
const CONNECTIONS: usize = 16;
/// A window that one update fills.
const SMALL_WINDOW: u32 = 512;
/// Bytes of the daemon's memory per reader: 8 KiB of our own beyond gRPC's buffers, which take most of it.
const MOST_PER_READER: u64 = 48 << 10;

fn hang(sim: &SimServer) {
    sim.set(BehaviourChange { faults: Some(vec![Fault::always(FaultKind::Hang)]), ..BehaviourChange::default() });
}

async fn open(channel: &Channel, id: &str) -> Result<Streaming<DeliberationUpdate>> {
    Ok(Orchestrator::new(channel.clone()).stream_deliberation(task(id)).await?.into_inner())
}

/// To its end: what a reader is told never falls back, and ends complete.
async fn read(mut stream: Streaming<DeliberationUpdate>) -> Result<()> {
    let (mut percent, mut last) = (0, None);
    while let Some(update) = stream.next().await {
        let update = update?;
        ensure!(update.progress_percent >= percent, "from {percent} to {update:?}");
        percent = update.progress_percent;
        assert_texts_are_the_models(update.partial_result.as_slice());
        last = Some(update.status);
    }
    ensure!(last.as_deref() == Some("complete"), "the last update is {last:?}");
    Ok(())
}

async fn connections(daemon: &Daemon, number: usize, window: u32) -> Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for _ in 0..number {
        channels.push(daemon.endpoint()?.initial_stream_window_size(window).connect().await?);
    }
    Ok(channels)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_end_complete_though_a_hundred_readers_stop() -> Result<()> {
    let sim = simulator(Duration::from_millis(20)).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let attentive = connections(&daemon, CONNECTIONS, 64 << 10).await?;
    let idle = connections(&daemon, CONNECTIONS, SMALL_WINDOW).await?;
    let mut stopped = Vec::new();
    for reader in 0..IDLE {
        let mut stream = open(&idle[reader % CONNECTIONS], &format!("T-{}", reader % TASKS)).await?;
        ensure!(stream.next().await.is_some());
        stopped.push(stream);
    }
    let mut readers = JoinSet::new();
    for reader in IDLE..READERS {
        let channel = attentive[reader % CONNECTIONS].clone();
        readers.spawn(async move { read(open(&channel, &format!("T-{}", reader % TASKS)).await?).await });
    }
    let mut complete = 0;
    while let Some(read) = timeout(LIMIT, readers.join_next()).await.context("readers wait")? {
        read??;
        complete += 1;
    }
    assert_eq!(complete, READERS - IDLE);
    // Each task ran once, whoever read it.
    assert_eq!(sim.stats().finished, u64::try_from(TASKS * 9)?);
    // Who stopped can go on: nothing was skipped meanwhile.
    for stream in stopped {
        timeout(LIMIT, read(stream)).await.context("a reader that came back waits")??;
    }
    daemon.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_reader_costs_a_bounded_piece_of_memory() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    hang(&sim);
    let daemon = Home::new(sim.addr())?.start().await?;
    let channels = connections(&daemon, CONNECTIONS, SMALL_WINDOW).await?;
    let mut streams = Vec::new();
    // What connections and a first reader each cost is no reader's cost.
    for channel in &channels {
        streams.push(open(channel, "T-1").await?);
    }
    until_in_flight(&sim, 3, LIMIT).await?;
    let before = daemon.resident().await?;
    for reader in 0..READERS {
        let mut stream = open(&channels[reader % CONNECTIONS], "T-1").await?;
        ensure!(stream.next().await.is_some());
        streams.push(stream);
    }
    let each = daemon.resident().await?.saturating_sub(before) / u64::try_from(READERS)?;
    eprintln!("{each} bytes per idle reader");
    assert!(each <= MOST_PER_READER, "{each} bytes per idle reader");
    drop(streams);
    drop(channels);
    daemon.kill().await
}

#[tokio::test]
async fn a_cancelled_stream_closes_its_model_connections() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    hang(&sim);
    let daemon = Home::new(sim.addr())?.start().await?;
    let channel = daemon.channel().await?;
    let mut stream = open(&channel, "").await?;
    ensure!(stream.next().await.is_some());
    until_in_flight(&sim, 3, LIMIT).await?;
    drop(stream);
    until_in_flight(&sim, 0, Duration::from_secs(1)).await?;
    assert_eq!(sim.stats().aborted, 3);
    daemon.stop().await
}

/// Nobody but the client that left could have found it: with an id the work goes on.
#[tokio::test]
async fn a_stream_with_an_id_may_be_left_and_read_again() -> Result<()> {
    let sim = simulator(Duration::from_millis(100)).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let channel = daemon.channel().await?;
    let mut stream = open(&channel, "T-1").await?;
    ensure!(stream.next().await.is_some());
    drop(stream);
    timeout(LIMIT, read(open(&channel, "T-1").await?)).await??;
    assert_eq!((sim.stats().calls, sim.stats().finished), (9, 9));
    daemon.stop().await
}
