//! `moothall bench queue`: what the queue costs over the bare store, and how soon work begins.
//!
//! ```text
//!  enqueue   System::enqueue in batches of 64   over   the same events committed by themselves
//!  cycle     enqueue, claim, complete           over   the same
//!  claim     100,000 waiting                    over   100 waiting
//!  shared    the same in Redis or Valkey        over   a bare script that puts a record
//!  start     SubmitTask ─▶ first model call     an idle daemon
//!  restart   kill -9 ─▶ TaskClaimed             10,000 waiting, then 500 running besides
//! ```

mod board;
mod daemon;
mod shared;
mod work;

use serde::Serialize;

use super::BenchError;
use crate::folder::TemporaryFolder;

/// How much to do: enough for steady figures, and for a bench that ends within a minute or two.
#[derive(Clone, Debug)]
pub struct QueuePlan {
    /// Tasks of the measurements on the store.
    pub tasks: usize,
    pub rounds: u32,
    /// Tasks that wait at the claims and the restarts.
    pub waiting: usize,
    pub restart_waiting: usize,
    pub restart_running: usize,
    /// Tasks that are submitted one after the other to an idle daemon.
    pub starts: usize,
    /// A server for a queue that daemons share; `None` = that is not measured.
    pub redis: Option<String>,
}

impl Default for QueuePlan {
    fn default() -> Self {
        let (waiting, restart_waiting, restart_running) = (100_000, 10_000, 500);
        Self { tasks: 25_600, rounds: 3, waiting, restart_waiting, restart_running, starts: 300, redis: None }
    }
}

/// Tasks in a second, and in the same round the bare store's.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Rate {
    pub per_s: f64,
    pub floor_per_s: f64,
    pub ratio: f64,
}

/// Claiming and giving back, per task, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ClaimCost {
    pub at_100_us: f64,
    pub at_many_us: f64,
    pub ratio: f64,
    /// Resident memory for each that waits, beyond its texts.
    pub bytes_each: f64,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Starts {
    /// From the request to the first model call, as the model server saw it: two commits between them.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// The same from the answer on: the task is in the queue.
    pub queued_p50_ms: f64,
    pub queued_p99_ms: f64,
    /// From the request until a client that watches tasks sees the claim, beside the deliberation.
    pub seen_p50_ms: f64,
    pub seen_p99_ms: f64,
    /// From the start of the process after kill -9 to the first task that is claimed.
    pub restart_ms: f64,
    pub restart_with_running_ms: f64,
}

/// All of it; rates are those of the median round.
#[derive(Clone, Debug, Serialize)]
pub struct QueueReport {
    pub version: &'static str,
    pub cores: usize,
    pub tasks: usize,
    pub waiting: usize,
    pub rounds: u32,
    pub enqueue: Rate,
    pub cycle: Rate,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<Rate>,
    pub claim: ClaimCost,
    pub starts: Starts,
}

/// Measures everything, one after the other.
pub async fn queue(plan: &QueuePlan) -> Result<QueueReport, BenchError> {
    // First: memory that others gave back would hide what it takes.
    let claim = board::claims(plan.waiting).await?;
    let (mut enqueue, mut cycle, mut shared) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let folder = TemporaryFolder::new()?;
        enqueue.push(work::enqueue(folder.path(), plan.tasks).await?);
        cycle.push(work::cycle(folder.path(), plan.tasks).await?);
        if let Some(server) = &plan.redis {
            shared.push(shared::cycle(server, plan.tasks).await?);
        }
    }
    Ok(QueueReport {
        version: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        tasks: plan.tasks,
        waiting: plan.waiting,
        rounds: plan.rounds,
        enqueue: median(enqueue),
        cycle: median(cycle),
        shared: plan.redis.is_some().then(|| median(shared)),
        claim,
        starts: daemon::starts(plan).await?,
    })
}

/// The round in the middle, by its ratio.
fn median(mut rates: Vec<Rate>) -> Rate {
    rates.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

pub(super) fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Call(error.to_string())
}
