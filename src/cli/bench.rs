//! `bench`: rows as they come, the report as one JSON object at the end.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::exit::{Exit, Failure};
use super::output::Output;
use crate::bench::{self, Memory, Plan, Row};
use crate::telemetry;

#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Deliberations at once, a row for each
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256,1024", value_name = "N,...")]
    pub concurrency: Vec<NonZeroUsize>,
    /// Latency of the model in milliseconds, a row for each
    #[arg(long, value_delimiter = ',', default_value = "0,50", value_name = "MS,...")]
    pub latency: Vec<u64>,
    /// Whether proposals are checked
    #[arg(long, value_enum, default_value_t = Switch::Off)]
    pub checks: Switch,
    /// Rounds of each row: floor, daemon, floor
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub window: u64,
    /// Measure memory instead: so many deliberations at once that nobody answers
    #[arg(long, value_name = "N", conflicts_with_all = ["concurrency", "latency", "checks", "rounds", "window"])]
    pub in_flight: Option<NonZeroUsize>,
    /// With --in-flight: calls that the model server is asked at once
    #[arg(long, value_name = "N", default_value = "1024", requires = "in_flight")]
    pub places: NonZeroUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl BenchArgs {
    fn plan(&self) -> Plan {
        Plan {
            concurrency: self.concurrency.iter().map(|count| count.get()).collect(),
            latencies: self.latency.iter().map(|&millis| Duration::from_millis(millis)).collect(),
            rounds: self.rounds,
            window: Duration::from_secs(self.window),
            checks: self.checks == Switch::On,
        }
    }
}

pub(super) async fn run(args: BenchArgs, output: &Output) -> Result<(), Failure> {
    telemetry::raise_open_files()?;
    if let Some(deliberations) = args.in_flight {
        return memory(deliberations, args.places, output).await;
    }
    if !output.is_json() {
        output.line(&line(&HEADERS.map(str::to_owned)))?;
    }
    // A row that cannot be shown now is in the report.
    let tell = |row: &Row| {
        if !output.is_json() {
            let _ = output.line(&line(&cells(row)));
        }
    };
    let report = bench::run(&args.plan(), tell).await.map_err(|error| Failure::of(Exit::UNAVAILABLE, &error))?;
    let report = serde_json::to_value(&report).map_err(|error| Failure::of(Exit::INTERNAL, &error))?;
    output.document(&report)?;
    Ok(())
}

async fn memory(deliberations: NonZeroUsize, places: NonZeroUsize, output: &Output) -> Result<(), Failure> {
    let measured = bench::in_flight(deliberations.get(), places.get()).await;
    let measured = measured.map_err(|error| Failure::of(Exit::UNAVAILABLE, &error))?;
    let Memory { in_flight, open_calls, bytes_each, .. } = &measured;
    if !output.is_json() {
        output
            .line(&format!("{in_flight} in flight, {open_calls} calls at the model server: {bytes_each} bytes each"))?;
    }
    let report = serde_json::to_value(&measured).map_err(|error| Failure::of(Exit::INTERNAL, &error))?;
    output.document(&report)?;
    Ok(())
}

const HEADERS: [&str; 10] =
    ["C", "model ms", "floor/s", "daemon/s", "ratio", "(min-max)", "p50 ms +", "p99 ms +", "CPU x", "RSS MiB"];

fn cells(row: &Row) -> [String; 10] {
    [
        row.concurrency.to_string(),
        row.latency_ms.to_string(),
        format!("{:.0}", row.floor_per_s),
        format!("{:.0}", row.daemon_per_s),
        format!("{:.1} %", row.throughput_ratio * 100.0),
        format!("({:.0}-{:.0})", row.throughput_ratio_min * 100.0, row.throughput_ratio_max * 100.0),
        format!("{:+.2}", row.daemon_p50_ms - row.floor_p50_ms),
        format!("{:+.2}", row.daemon_p99_ms - row.floor_p99_ms),
        format!("{:.2}", row.cpu_ratio),
        (row.peak_rss_bytes >> 20).to_string(),
    ]
}

/// Columns of one width, so that rows can be shown one by one.
fn line(cells: &[String; 10]) -> String {
    cells.iter().map(|cell| format!("{cell:>10}")).collect::<Vec<_>>().join(" ")
}
