//! Agents on Ray: what a wave costs more than one asked directly, and how the daemon with its executor stands beside what one
//! would write oneself.
//!
//! ```text
//!  one wave at a time, each round:  directly ─▶ through the executor      (two daemons, one model server)
//!  many at once, each round:        bare aiohttp ─▶ through the executor ─▶ bare aiohttp
//!  the same graph once:             three standing Ray actors for each deliberation; or three new ones
//! ```

mod executor;
mod peers;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use self::executor::Executor;
pub use self::peers::Peer;
use self::peers::Peers;
use super::BenchError;
use super::daemon::{Daemon, Work};
use super::measure::Sample;
use super::report::median;
use crate::process::Process;

/// What to measure, and with which programs.
#[derive(Clone, Debug)]
pub struct RayPlan {
    /// The `bin` folder of the executor's Python environment.
    pub environment: PathBuf,
    /// The script with the peers.
    pub peers: PathBuf,
    /// Deliberations at once.
    pub concurrency: usize,
    /// The same for peers on Ray, each of whose actors is a process of 90 MB; 0 = those are left out.
    pub actors: usize,
    pub rounds: u32,
    /// How long each measurement takes.
    pub window: Duration,
    /// Over how many deliberations the executor's memory is looked at.
    pub deliberations: u64,
}

/// Everything, and on what it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct RayReport {
    pub version: &'static str,
    pub cores: usize,
    pub simulated: bool,
    pub rounds: u32,
    pub window_ms: u64,
    pub wave: WaveCost,
    pub rows: Vec<RayRow>,
    pub memory: ExecutorMemory,
}

/// One wave of three calls at a time, at 50 ms model latency: medians over the rounds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct WaveCost {
    pub direct_p50_ms: f64,
    pub direct_p99_ms: f64,
    pub ray_p50_ms: f64,
    pub ray_p99_ms: f64,
    /// Medians of the differences within a round.
    pub added_p50_ms: f64,
    pub added_p99_ms: f64,
}

/// Deliberations of three waves, many at once.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RayRow {
    pub concurrency: usize,
    pub latency_ms: u64,
    pub ray_per_s: f64,
    pub ray_p50_ms: f64,
    pub ray_p99_ms: f64,
    pub aiohttp_per_s: f64,
    /// To the mean of the two of the same round.
    pub of_aiohttp: f64,
    /// Peers on Ray, where they were measured.
    pub peers: Vec<Peer>,
}

/// Resident memory of the executor and all that it started, in MiB.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ExecutorMemory {
    pub deliberations: u64,
    /// After four tenths of them, and after all.
    pub early_mib: u64,
    pub late_mib: u64,
}

const WAVE_LATENCY: Duration = Duration::from_millis(50);
const LATENCIES: [Duration; 2] = [Duration::ZERO, WAVE_LATENCY];

/// Measures all of it; `tell` hears of each row.
pub async fn ray(plan: &RayPlan, mut tell: impl FnMut(&RayRow)) -> Result<RayReport, BenchError> {
    let wave = wave_cost(plan).await?;
    let mut rows = Vec::new();
    for latency in LATENCIES {
        let row = row(plan, latency).await?;
        tell(&row);
        rows.push(row);
    }
    Ok(RayReport {
        version: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        simulated: true,
        rounds: plan.rounds,
        window_ms: u64::try_from(plan.window.as_millis()).unwrap_or(u64::MAX),
        wave,
        rows,
        memory: memory(plan).await?,
    })
}

async fn model(latency: Duration) -> Result<Process, BenchError> {
    let millis = latency.as_millis().to_string();
    let arguments = ["sim", "--port", "0", "--answers", "bench", "--no-calls", "--latency", &millis];
    Ok(Process::start(&arguments, &[]).await?)
}

async fn through(executor: &Executor, model: &Process) -> Result<Daemon, BenchError> {
    let more = [("AGENT_TYPE", "RAY_VLLM"), ("EXECUTOR_ADDRESS", executor.address()?)];
    Daemon::start(&[model.told("http")?], false, &more).await
}

async fn wave_cost(plan: &RayPlan) -> Result<WaveCost, BenchError> {
    let model = model(WAVE_LATENCY).await?;
    let executor = Executor::start(plan, model.told("http")?).await?;
    let ray = through(&executor, &model).await?.doing(Work::OneWave);
    let direct = Daemon::start(&[model.told("http")?], false, &[]).await?.doing(Work::OneWave);
    ray.warm_up().await?;
    direct.warm_up().await?;
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let (direct, ray) = (direct.measure(1, plan.window).await?, ray.measure(1, plan.window).await?);
        rounds.push([millis(&direct, 0.5), millis(&direct, 0.99), millis(&ray, 0.5), millis(&ray, 0.99)]);
    }
    executor.stop().await?;
    let of = |figure: fn(&[f64; 4]) -> f64| median(rounds.iter().map(figure).collect());
    Ok(WaveCost {
        direct_p50_ms: of(|round| round[0]),
        direct_p99_ms: of(|round| round[1]),
        ray_p50_ms: of(|round| round[2]),
        ray_p99_ms: of(|round| round[3]),
        added_p50_ms: of(|round| round[2] - round[0]),
        added_p99_ms: of(|round| round[3] - round[1]),
    })
}

fn millis(sample: &Sample, share: f64) -> f64 {
    sample.percentile(share).as_secs_f64() * 1e3
}

async fn row(plan: &RayPlan, latency: Duration) -> Result<RayRow, BenchError> {
    let model = model(latency).await?;
    let peers = Peers::new(plan, model.told("http")?);
    let executor = Executor::start(plan, model.told("http")?).await?;
    let daemon = through(&executor, &model).await?;
    daemon.warm_up().await?;
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let before = peers.measure("aiohttp", plan.concurrency).await?.per_s;
        let ray = daemon.measure(plan.concurrency, plan.window).await?;
        let after = peers.measure("aiohttp", plan.concurrency).await?.per_s;
        let (per_s, floor) = (ray.per_second(), f64::midpoint(before, after));
        rounds.push([per_s, millis(&ray, 0.5), millis(&ray, 0.99), floor, per_s / floor]);
    }
    drop(daemon);
    executor.stop().await?;
    let mut on_ray = Vec::new();
    if plan.actors > 0 {
        for kind in ["standing", "actors"] {
            on_ray.push(peers.measure(kind, plan.actors).await?);
        }
    }
    let of = |figure: usize| median(rounds.iter().map(|round| round[figure]).collect());
    Ok(RayRow {
        concurrency: plan.concurrency,
        latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
        ray_per_s: of(0),
        ray_p50_ms: of(1),
        ray_p99_ms: of(2),
        aiohttp_per_s: of(3),
        of_aiohttp: of(4),
        peers: on_ray,
    })
}

async fn memory(plan: &RayPlan) -> Result<ExecutorMemory, BenchError> {
    let model = model(Duration::ZERO).await?;
    let executor = Executor::start(plan, model.told("http")?).await?;
    let daemon = through(&executor, &model).await?;
    // The executor keeps as many ended waves as it may: it is full then, with the default numbers of both.
    let early = plan.deliberations * 4 / 10;
    daemon.repeat(plan.concurrency, early).await?;
    let early_mib = executor.memory_mib();
    daemon.repeat(plan.concurrency, plan.deliberations - early).await?;
    let late_mib = executor.memory_mib();
    drop(daemon);
    executor.stop().await?;
    Ok(ExecutorMemory { deliberations: plan.deliberations, early_mib, late_mib })
}
