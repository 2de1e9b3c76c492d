//! `moothall bench`: what the daemon costs over the same calls made by a bare client in the same run.
//!
//! ```text
//!  capture: one deliberation against a recording model ─▶ the nine bodies, byte for byte
//!  each round: floor ─▶ daemon ─▶ floor        (the same model server for all three)
//! ```
//!
//! Machines change their speed within a run, so only ratios to a floor measured right before and after mean anything: a
//! round whose two floors differ by more than 15 % is dropped and said so.

mod daemon;
mod events;
mod floor;
mod home;
mod measure;
mod memory;
mod queue;
mod ray;
mod replicas;
mod report;
mod workflows;

use std::time::Duration;

use crate::process::{Process, ProcessError};

pub use self::events::{EventsPlan, EventsReport, events};
pub use self::memory::{Memory, in_flight};
pub use self::queue::{QueuePlan, QueueReport, Rate, queue};
pub use self::ray::{ExecutorMemory, Peer, RayPlan, RayReport, RayRow, WaveCost, ray};
pub use self::replicas::{ReplicaFigures, ReplicaPlan, ReplicaReport, ReplicaRow, replicas};
pub use self::report::{Report, Row};
pub use self::workflows::{RequestRate, WaitingCost, WorkflowsPlan, WorkflowsReport, workflows};

use self::daemon::Daemon;
use self::floor::{Bodies, Floor};
use self::measure::Sample;

/// Two floors of one round may differ by this share.
const MOST_DRIFT: f64 = 0.15;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    pub concurrency: Vec<usize>,
    pub latencies: Vec<Duration>,
    /// Rounds of each row.
    pub rounds: u32,
    /// How long each of the three measurements of a round takes.
    pub window: Duration,
    /// Whether proposals are checked.
    pub checks: bool,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("the model simulator or the daemon failed: {0}")]
    Call(String),
    #[error("a temporary folder cannot be made")]
    Folder(#[from] std::io::Error),
}

/// Measures every row; `tell` hears of each as soon as it is there.
pub async fn run(plan: &Plan, mut tell: impl FnMut(&Row)) -> Result<Report, BenchError> {
    let bodies = capture(plan).await?;
    let mut rows = Vec::new();
    for &latency in &plan.latencies {
        for &concurrency in &plan.concurrency {
            let row = measure_row(plan, &bodies, latency, concurrency).await?;
            tell(&row);
            rows.push(row);
        }
    }
    Ok(Report::new(plan, rows))
}

/// The bodies that the daemon sends for one deliberation, in the order of its waves.
async fn capture(plan: &Plan) -> Result<Bodies, BenchError> {
    let model = Process::start(&["sim", "--port", "0", "--answers", "bench", "--record", "64"], &[]).await?;
    let daemon = Daemon::start(&[model.told("http")?], plan.checks, &[]).await?;
    daemon.warm_up().await?;
    Bodies::of(model.told("http")?).await
}

async fn measure_row(plan: &Plan, bodies: &Bodies, latency: Duration, concurrency: usize) -> Result<Row, BenchError> {
    let millis = latency.as_millis().to_string();
    let model =
        Process::start(&["sim", "--port", "0", "--answers", "bench", "--latency", &millis, "--no-calls"], &[]).await?;
    let address = model.told("http")?;
    let floor = Floor::new(address, bodies.clone())?;
    let daemon = Daemon::start(&[address], plan.checks, &[]).await?;
    daemon.warm_up().await?;
    let mut row = Row::new(concurrency, latency, plan.checks);
    for _ in 0..plan.rounds {
        let before = floor.measure(concurrency, plan.window).await?;
        let middle = daemon.measure(concurrency, plan.window).await?;
        let after = floor.measure(concurrency, plan.window).await?;
        match steady(&before, &after) {
            true => row.keep(&before, &middle, &after),
            false => row.dropped += 1,
        }
    }
    row.peak_rss_bytes = daemon.peak_memory();
    row.settle();
    Ok(row)
}

fn steady(before: &Sample, after: &Sample) -> bool {
    let (a, b) = (before.per_second(), after.per_second());
    (a - b).abs() <= MOST_DRIFT * a.max(b)
}
