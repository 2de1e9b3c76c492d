//! The figures of a run: medians of ratios, with what was dropped and on what they were measured.

use std::time::Duration;

use serde::Serialize;

use super::Plan;
use super::measure::Sample;

/// One concurrency and latency. Rates are deliberations per second, ratios are to the floor of the same round.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    pub concurrency: usize,
    pub latency_ms: u64,
    pub checks: bool,
    pub floor_per_s: f64,
    pub daemon_per_s: f64,
    pub throughput_ratio: f64,
    pub throughput_ratio_min: f64,
    pub throughput_ratio_max: f64,
    pub floor_p50_ms: f64,
    pub floor_p99_ms: f64,
    pub daemon_p50_ms: f64,
    pub daemon_p99_ms: f64,
    pub floor_cpu_us: f64,
    pub daemon_cpu_us: f64,
    pub cpu_ratio: f64,
    pub peak_rss_bytes: u64,
    pub kept: u32,
    /// Rounds whose two floors differed too much.
    pub dropped: u32,
    #[serde(skip)]
    rounds: Vec<Round>,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    floor: Figures,
    daemon: Figures,
}

#[derive(Clone, Copy, Debug)]
struct Figures {
    per_s: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

impl Figures {
    fn of(sample: &Sample) -> Self {
        let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
        Self {
            per_s: sample.per_second(),
            p50: millis(sample.percentile(0.5)),
            p99: millis(sample.percentile(0.99)),
            cpu: sample.cpu_each().as_secs_f64() * 1e6,
        }
    }

    fn mean(a: Self, b: Self) -> Self {
        let mean = |a: f64, b: f64| f64::midpoint(a, b);
        Self {
            per_s: mean(a.per_s, b.per_s),
            p50: mean(a.p50, b.p50),
            p99: mean(a.p99, b.p99),
            cpu: mean(a.cpu, b.cpu),
        }
    }
}

impl Row {
    pub(super) fn new(concurrency: usize, latency: Duration, checks: bool) -> Self {
        let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        Self { concurrency, latency_ms, checks, ..Self::default() }
    }

    pub(super) fn keep(&mut self, before: &Sample, daemon: &Sample, after: &Sample) {
        let floor = Figures::mean(Figures::of(before), Figures::of(after));
        self.rounds.push(Round { floor, daemon: Figures::of(daemon) });
    }

    /// Medians over the rounds that were kept.
    pub(super) fn settle(&mut self) {
        let rounds = std::mem::take(&mut self.rounds);
        let over = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
        self.kept = u32::try_from(rounds.len()).unwrap_or(u32::MAX);
        self.floor_per_s = over(|round| round.floor.per_s);
        self.daemon_per_s = over(|round| round.daemon.per_s);
        self.throughput_ratio = over(|round| round.daemon.per_s / round.floor.per_s);
        let ratios = || rounds.iter().map(|round| round.daemon.per_s / round.floor.per_s);
        self.throughput_ratio_min = ratios().reduce(f64::min).unwrap_or_default();
        self.throughput_ratio_max = ratios().reduce(f64::max).unwrap_or_default();
        self.floor_p50_ms = over(|round| round.floor.p50);
        self.floor_p99_ms = over(|round| round.floor.p99);
        self.daemon_p50_ms = over(|round| round.daemon.p50);
        self.daemon_p99_ms = over(|round| round.daemon.p99);
        self.floor_cpu_us = over(|round| round.floor.cpu);
        self.daemon_cpu_us = over(|round| round.daemon.cpu);
        self.cpu_ratio = over(|round| round.daemon.cpu / round.floor.cpu);
    }
}

/// Zero for an empty list.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    }
}

/// All rows and what they were measured on.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub cores: usize,
    /// How the journal was written.
    pub durability: &'static str,
    pub simulated: bool,
    pub rounds: u32,
    pub window_ms: u64,
    pub rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(plan: &Plan, rows: Vec<Row>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            durability: "SQLite WAL, synchronous=FULL, every call journaled",
            simulated: true,
            rounds: plan.rounds,
            window_ms: u64::try_from(plan.window.as_millis()).unwrap_or(u64::MAX),
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn ratios_are_to_the_mean_of_both_floors() {
        let sample = |count: usize| Sample {
            latencies: vec![Duration::from_millis(1); count],
            elapsed: Duration::from_secs(1),
            cpu: Duration::from_millis(count as u64),
        };
        let mut row = Row::new(64, Duration::ZERO, false);
        row.keep(&sample(90), &sample(50), &sample(110));
        row.settle();
        assert_eq!((row.throughput_ratio, row.kept), (0.5, 1));
    }
}
