//! What a deliberation in flight costs in memory: many at once, none of which is answered.

use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::BenchError;
use super::daemon::Daemon;
use super::measure::{memory, peak_memory};
use crate::process::Process;

/// Longer than the measurement takes.
const SILENCE_MS: &str = "3600000";
/// For all of them to be admitted and asked for.
const MOST_WAIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Agents of the council that is asked: calls of one wave.
const AGENTS: usize = 3;

/// The figures, in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    pub in_flight: usize,
    /// HTTP requests open at the model server; the other calls wait in the daemon for a place.
    pub open_calls: usize,
    /// Resident before the first deliberation.
    pub idle_rss_bytes: u64,
    pub rss_bytes: u64,
    pub peak_rss_bytes: u64,
    /// Resident in all, by deliberations.
    pub bytes_each: u64,
    pub simulated: bool,
}

/// Starts `deliberations` and measures once every call is at the model server or waits for one of its `places`.
pub async fn in_flight(deliberations: usize, places: usize) -> Result<Memory, BenchError> {
    let model =
        Process::start(&["sim", "--port", "0", "--answers", "bench", "--latency", SILENCE_MS, "--no-calls"], &[])
            .await?;
    let (agents_calls, places_text) = (deliberations.to_string(), places.to_string());
    let room = [
        ("MOOTHALL__AGENTS__MAX_CONCURRENT_TASKS", agents_calls.as_str()),
        ("MOOTHALL__MODEL__CALLS_PER_REPLICA", places_text.as_str()),
    ];
    let address = model.told("http")?;
    let daemon = Daemon::start(&[address], false, &room).await?;
    let pid = daemon.pid()?;
    let idle_rss_bytes = memory(pid);
    let mut clients = JoinSet::new();
    for number in 0..deliberations {
        let mut deliberate = daemon.worker(number);
        clients.spawn(async move { deliberate().await });
    }
    let open_calls = places.min(AGENTS * deliberations);
    let until = Instant::now() + MOST_WAIT;
    while daemon.open_tasks().await? < deliberations || calls_at(address).await? < open_calls {
        if let Some(Ok(Err(error))) = clients.try_join_next() {
            return Err(error);
        }
        if Instant::now() > until {
            return Err(BenchError::Call(format!("not all in flight after {} s", MOST_WAIT.as_secs())));
        }
        sleep(LOOK_EVERY).await;
    }
    let rss_bytes = memory(pid);
    Ok(Memory {
        in_flight: deliberations,
        open_calls,
        idle_rss_bytes,
        rss_bytes,
        peak_rss_bytes: peak_memory(pid),
        bytes_each: rss_bytes / deliberations.max(1) as u64,
        simulated: true,
    })
}

async fn calls_at(model: &str) -> Result<usize, BenchError> {
    #[derive(serde::Deserialize)]
    struct Stats {
        in_flight: usize,
    }
    let failed = |error: reqwest::Error| BenchError::Call(error.to_string());
    let answer = reqwest::get(format!("http://{model}/sim/stats")).await.map_err(failed)?;
    Ok(answer.json::<Stats>().await.map_err(failed)?.in_flight)
}
