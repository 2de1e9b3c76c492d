//! One measurement: many workers, a window of time, what they did in it and what it cost.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::BenchError;

/// What was done in one window.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// Of each deliberation, sorted.
    pub(super) latencies: Vec<Duration>,
    pub(super) elapsed: Duration,
    /// CPU of the measured process in that time.
    pub(super) cpu: Duration,
}

impl Sample {
    pub(super) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    pub(super) fn percentile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let place = (share * last as f64).round() as usize;
        self.latencies.get(place).copied().unwrap_or_default()
    }

    pub(super) fn cpu_each(&self) -> Duration {
        let count = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX).max(1);
        self.cpu / count
    }
}

/// Before anything counts: connections open, caches fill, and workers that started together drift apart. Without it
/// the slowest of a hundred is one of the first, all of which began in the same instant.
const WARM_UP: Duration = Duration::from_secs(1);

/// Lets `concurrency` workers repeat one deliberation, and counts what ends within the window. `pid`: whose CPU counts.
pub(super) async fn measure<W, F>(
    concurrency: usize,
    window: Duration,
    pid: u32,
    worker: impl Fn(usize) -> W,
) -> Result<Sample, BenchError>
where
    W: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<(), BenchError>> + Send + 'static,
{
    let phase = Arc::new(AtomicU8::new(WARMING));
    let mut workers = JoinSet::new();
    for number in 0..concurrency {
        workers.spawn(repeat(worker(number), phase.clone()));
    }
    tokio::time::sleep(WARM_UP).await;
    let (start, cpu_before) = (Instant::now(), cpu_of(pid));
    phase.store(COUNTING, Ordering::Relaxed);
    tokio::time::sleep(window).await;
    phase.store(OVER, Ordering::Relaxed);
    let mut sample =
        Sample { elapsed: start.elapsed(), cpu: cpu_of(pid).saturating_sub(cpu_before), ..Sample::default() };
    while let Some(done) = workers.join_next().await {
        let latencies = done.map_err(|error| BenchError::Call(error.to_string()))??;
        sample.latencies.extend(latencies);
    }
    sample.latencies.sort_unstable();
    Ok(sample)
}

const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

async fn repeat<F>(mut deliberate: impl FnMut() -> F, phase: Arc<AtomicU8>) -> Result<Vec<Duration>, BenchError>
where
    F: Future<Output = Result<(), BenchError>>,
{
    let mut latencies = Vec::new();
    while phase.load(Ordering::Relaxed) != OVER {
        let began = Instant::now();
        deliberate().await?;
        if phase.load(Ordering::Relaxed) == COUNTING {
            latencies.push(began.elapsed());
        }
    }
    Ok(latencies)
}

/// User and system time that a process has used, from `/proc`; zero where there is none.
fn cpu_of(pid: u32) -> Duration {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return Duration::ZERO };
    // The name in parentheses may hold anything, so fields are counted from behind it.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|&place| fields.get(place)?.parse::<u64>().ok()).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The most memory that a process ever had resident, in bytes.
pub(super) fn peak_memory(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

/// The memory that a process has resident, in bytes.
pub(super) fn memory(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// A process and all that came of it, by their parents; nothing where there is no `/proc`.
pub(super) fn descendants(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u64)> = all.map(|pid| (pid, number(pid, "PPid:"))).collect();
    let mut found = vec![pid];
    let mut looked_at = 0;
    while let Some(parent) = found.get(looked_at).copied() {
        looked_at += 1;
        found.extend(parents.iter().filter(|(_, of)| *of == u64::from(parent)).map(|(pid, _)| *pid));
    }
    found
}

fn status(pid: u32, field: &str) -> u64 {
    number(pid, field) * 1024
}

fn number(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_taken_from_the_sorted_list() {
        let latencies: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let sample = Sample { latencies, elapsed: Duration::from_secs(2), cpu: Duration::from_secs(1) };
        assert_eq!(sample.percentile(0.5), Duration::from_millis(51));
        assert_eq!(sample.percentile(0.99), Duration::from_millis(99));
        assert_eq!(sample.per_second(), 50.0);
        assert_eq!(sample.cpu_each(), Duration::from_millis(10));
    }

    #[test]
    fn this_process_has_memory_and_a_process_that_is_not_has_none() {
        assert!(peak_memory(std::process::id()) > 1 << 20);
        assert_eq!((peak_memory(u32::MAX), cpu_of(u32::MAX)), (0, Duration::ZERO));
    }
}
