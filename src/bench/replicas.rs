//! Several replicas with a prefix cache each: what keeping a deliberation at one of them is worth.
//!
//! ```text
//!  each round: prefix ─▶ least outstanding, the next one the other way round    (the same model servers for both)
//! ```
//!
//! Every deliberation has a prefix of its own, so at best all its calls but the first find it in a cache: eight of nine.
//! A hit rate is given as a share of that ideal, counted by the servers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::BenchError;
use super::daemon::{Daemon, Work};
use super::floor::{WAVE, WAVES};
use super::measure::Sample;
use super::report::median;
use crate::process::Process;

/// What to measure.
#[derive(Clone, Debug)]
pub struct ReplicaPlan {
    pub replicas: usize,
    pub concurrency: Vec<usize>,
    pub latencies: Vec<Duration>,
    /// What a call takes longer whose prefix is not in the cache.
    pub prefill: Duration,
    /// Calls that one server is asked at once.
    pub places: usize,
    /// Rounds of each row.
    pub rounds: u32,
    /// How long each of the two measurements of a round takes. Several times a deliberation's own time: as many finish in a
    /// shorter one whichever way is chosen, one for each worker.
    pub window: Duration,
    /// Whether proposals are checked.
    pub checks: bool,
}

/// One concurrency and latency: medians over the rounds; ratios are of prefix to least outstanding in the same round.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReplicaRow {
    pub concurrency: usize,
    pub latency_ms: u64,
    pub prefix: ReplicaFigures,
    pub least_outstanding: ReplicaFigures,
    pub throughput_ratio: f64,
    pub throughput_ratio_min: f64,
    pub throughput_ratio_max: f64,
    pub p50_ratio: f64,
    pub p99_ratio: f64,
}

/// Of one way to choose.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ReplicaFigures {
    /// Deliberations.
    pub per_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Hit rate, as a share of the ideal one.
    pub of_ideal: f64,
}

/// All rows and what they were measured on.
#[derive(Clone, Debug, Serialize)]
pub struct ReplicaReport {
    pub version: &'static str,
    pub cores: usize,
    pub simulated: bool,
    pub replicas: usize,
    pub places: usize,
    pub prefill_ms: u64,
    /// The best hit rate there can be.
    pub ideal: f64,
    pub rounds: u32,
    pub window_ms: u64,
    pub rows: Vec<ReplicaRow>,
}

/// All calls of a deliberation but its first, over all of them.
const IDEAL: f64 = (WAVE * WAVES - 1) as f64 / (WAVE * WAVES) as f64;

/// Measures every row; `tell` hears of each as soon as it is there.
pub async fn replicas(plan: &ReplicaPlan, mut tell: impl FnMut(&ReplicaRow)) -> Result<ReplicaReport, BenchError> {
    let mut rows = Vec::new();
    for &latency in &plan.latencies {
        for &concurrency in &plan.concurrency {
            let row = measure_row(plan, latency, concurrency).await?;
            tell(&row);
            rows.push(row);
        }
    }
    Ok(ReplicaReport {
        version: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        simulated: true,
        replicas: plan.replicas,
        places: plan.places,
        prefill_ms: millis(plan.prefill),
        ideal: IDEAL,
        rounds: plan.rounds,
        window_ms: millis(plan.window),
        rows,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn measure_row(plan: &ReplicaPlan, latency: Duration, concurrency: usize) -> Result<ReplicaRow, BenchError> {
    let servers = Servers::start(plan, latency).await?;
    let prefix = servers.daemon(plan, "prefix").await?;
    let least = servers.daemon(plan, "least_outstanding").await?;
    let mut rounds = Vec::new();
    for round in 0..plan.rounds {
        let measure = async |daemon| servers.measure(daemon, concurrency, plan.window).await;
        rounds.push(if round.is_multiple_of(2) {
            let prefix = measure(&prefix).await?;
            (prefix, measure(&least).await?)
        } else {
            let least = measure(&least).await?;
            (measure(&prefix).await?, least)
        });
    }
    Ok(row(concurrency, latency, &rounds))
}

type Round = (ReplicaFigures, ReplicaFigures);

fn row(concurrency: usize, latency: Duration, rounds: &[Round]) -> ReplicaRow {
    let over = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let throughput = |(prefix, least): &Round| prefix.per_s / least.per_s;
    let ratios = || rounds.iter().map(throughput);
    ReplicaRow {
        concurrency,
        latency_ms: millis(latency),
        prefix: ReplicaFigures {
            per_s: over(|round| round.0.per_s),
            p50_ms: over(|round| round.0.p50_ms),
            p99_ms: over(|round| round.0.p99_ms),
            of_ideal: over(|round| round.0.of_ideal),
        },
        least_outstanding: ReplicaFigures {
            per_s: over(|round| round.1.per_s),
            p50_ms: over(|round| round.1.p50_ms),
            p99_ms: over(|round| round.1.p99_ms),
            of_ideal: over(|round| round.1.of_ideal),
        },
        throughput_ratio: median(ratios().collect()),
        throughput_ratio_min: ratios().reduce(f64::min).unwrap_or_default(),
        throughput_ratio_max: ratios().reduce(f64::max).unwrap_or_default(),
        p50_ratio: over(|round| round.0.p50_ms / round.1.p50_ms),
        p99_ratio: over(|round| round.0.p99_ms / round.1.p99_ms),
    }
}

/// The simulated replicas, each a process of its own.
struct Servers(Vec<Process>);

/// What a server counted of its prefix cache.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Hits {
    prefix_hits: u64,
    prefix_misses: u64,
}

impl Servers {
    async fn start(plan: &ReplicaPlan, latency: Duration) -> Result<Self, BenchError> {
        let (latency, prefill) = (millis(latency).to_string(), millis(plan.prefill).to_string());
        let pace = ["--latency", &latency, "--prefill", &prefill];
        let arguments = [&["sim", "--port", "0", "--answers", "bench", "--no-calls"], &pace[..]].concat();
        let mut servers = Vec::new();
        for _ in 0..plan.replicas {
            servers.push(Process::start(&arguments, &[]).await?);
        }
        Ok(Self(servers))
    }

    fn addresses(&self) -> Result<Vec<&str>, BenchError> {
        self.0.iter().map(|server| Ok(server.told("http")?)).collect()
    }

    /// A daemon over all of them. The prefixes of one are never those of another.
    async fn daemon(&self, plan: &ReplicaPlan, balance: &'static str) -> Result<Daemon, BenchError> {
        let places = plan.places.to_string();
        let more = [("MOOTHALL__MODEL__BALANCE", balance), ("MOOTHALL__MODEL__CALLS_PER_REPLICA", &places)];
        let daemon = Daemon::start(&self.addresses()?, plan.checks, &more).await?.doing(Work::Prefixes(balance));
        daemon.warm_up().await?;
        Ok(daemon)
    }

    async fn measure(
        &self,
        daemon: &Daemon,
        concurrency: usize,
        window: Duration,
    ) -> Result<ReplicaFigures, BenchError> {
        self.reset().await?;
        let sample = daemon.measure(concurrency, window).await?;
        Ok(figures(&sample, self.hits().await?))
    }

    async fn reset(&self) -> Result<(), BenchError> {
        let client = reqwest::Client::new();
        for address in self.addresses()? {
            let answer = client.post(format!("http://{address}/sim/reset")).send().await;
            answer.and_then(reqwest::Response::error_for_status).map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    async fn hits(&self) -> Result<Hits, BenchError> {
        let mut all = Hits::default();
        for address in self.addresses()? {
            let answer = reqwest::get(format!("http://{address}/sim/stats")).await.map_err(|error| failed(&error))?;
            let one: Hits = answer.json().await.map_err(|error| failed(&error))?;
            all.prefix_hits += one.prefix_hits;
            all.prefix_misses += one.prefix_misses;
        }
        Ok(all)
    }
}

fn failed(error: &reqwest::Error) -> BenchError {
    BenchError::Call(error.to_string())
}

fn figures(sample: &Sample, hits: Hits) -> ReplicaFigures {
    let millis = |share| sample.percentile(share).as_secs_f64() * 1e3;
    let calls = (hits.prefix_hits + hits.prefix_misses).max(1);
    ReplicaFigures {
        per_s: sample.per_second(),
        p50_ms: millis(0.5),
        p99_ms: millis(0.99),
        of_ideal: hits.prefix_hits as f64 / calls as f64 / IDEAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_hits_of_nine_calls_are_all_that_can_be() {
        let figures = figures(&Sample::default(), Hits { prefix_hits: 80, prefix_misses: 10 });
        assert!((figures.of_ideal - 1.0).abs() < 1e-9);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let figures = |per_s| ReplicaFigures { per_s, p50_ms: 1.0, p99_ms: 1.0, of_ideal: 1.0 };
        let rounds = [(12.0, 10.0), (30.0, 20.0), (9.0, 10.0)].map(|(prefix, least)| (figures(prefix), figures(least)));
        let row = row(16, Duration::from_millis(50), &rounds);
        assert_eq!((row.throughput_ratio, row.throughput_ratio_min, row.throughput_ratio_max), (1.2, 0.9, 1.5));
        assert_eq!((row.prefix.per_s, row.least_outstanding.per_s), (12.0, 10.0));
    }
}
