//! `bench`: rows as they come, the report as one JSON object at the end.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::exit::{Exit, Failure};
use super::output::Output;
use super::watch::interrupted;
use crate::bench::{
    self, BenchError, EventsPlan, ExecutorMemory, Memory, Plan, QueuePlan, Rate, RayPlan, RayReport, RayRow,
    ReplicaPlan, ReplicaRow, RequestRate, Row, WaitingCost, WaveCost, WorkflowsPlan, WorkflowsReport,
};
use crate::telemetry;

#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(group = ArgGroup::new("other").args(["in_flight", "replicas"]))]
pub struct BenchArgs {
    #[command(subcommand)]
    pub other: Option<OtherBench>,
    /// Deliberations at once, a row for each [default: 1,16,64,256,1024; with --replicas 16,64,256]
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    pub concurrency: Vec<NonZeroUsize>,
    /// Latency of the model in milliseconds, a row for each [default: 0,50; with --replicas 50]
    #[arg(long, value_delimiter = ',', value_name = "MS,...")]
    pub latency: Vec<u64>,
    /// Whether proposals are checked
    #[arg(long, value_enum, default_value_t = Switch::Off)]
    pub checks: Switch,
    /// Rounds of each row: floor, daemon, floor; with --replicas both ways to choose one
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub window: u64,
    /// Measure memory instead: so many deliberations at once that nobody answers
    #[arg(long, value_name = "N", conflicts_with_all = ["concurrency", "latency", "checks", "rounds", "window"])]
    pub in_flight: Option<NonZeroUsize>,
    /// Compare the ways to choose among so many replicas instead: by prefix, and by the fewest outstanding calls
    #[arg(long, value_name = "N")]
    pub replicas: Option<NonZeroUsize>,
    /// With --replicas: latency added to a call whose prefix a replica has not read before
    #[arg(long, value_name = "MS", default_value_t = 100, requires = "replicas", value_parser = clap::value_parser!(u64).range(1..))]
    pub prefill: u64,
    /// With --in-flight or --replicas: calls that a model server is asked at once [default: 1024; with --replicas 16]
    #[arg(long, value_name = "N", requires = "other")]
    pub places: Option<NonZeroUsize>,
}

/// What else can be measured.
#[derive(Clone, Debug, Subcommand)]
pub enum OtherBench {
    /// The task queue over the bare store, and how soon work begins
    Queue {
        /// Rounds of the measurements on the store; the one in the middle counts
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// A server (Redis or Valkey) to measure a shared queue on as well, under keys of its own that are deleted afterwards
        #[arg(long, value_name = "URL")]
        redis: Option<String>,
    },
    /// Events in and out over a bare client of the same server, whose streams are emptied
    Events {
        /// A NATS server with JetStream that nothing else uses
        #[arg(long, value_name = "URL")]
        nats: String,
        /// Events that are taken in, each round
        #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000))]
        events: u32,
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
    },
    /// REST workflows over a durable store, and what those that wait cost
    Workflows {
        /// Connections at once
        #[arg(long, default_value = "64", value_name = "N")]
        connections: NonZeroUsize,
        /// How long each measurement takes, in seconds
        #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
        window: u64,
        /// Workflows that wait for their approval
        #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        waiting: u32,
    },
    /// Agents on Ray over direct ones, a bare Python client, and Ray actors as one would use them oneself
    Ray(RayArgs),
}

#[derive(Args, Clone, Debug)]
pub struct RayArgs {
    /// The `bin` folder of the executor's Python environment, as `make ray-env` makes it
    #[arg(long, value_name = "FOLDER", default_value = "target/ray-env/bin")]
    environment: PathBuf,
    /// The script with the peers
    #[arg(long, value_name = "FILE", default_value = "executors/ray/bench/peers.py")]
    peers: PathBuf,
    /// Deliberations at once
    #[arg(long, default_value = "64", value_name = "N")]
    concurrency: NonZeroUsize,
    /// The same for peers on Ray, which take 270 MB for each; 0 leaves them out
    #[arg(long, default_value_t = 64, value_name = "N")]
    actors: usize,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    window: u64,
    /// Over how many deliberations the executor's memory is looked at
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u64).range(10..=10_000_000))]
    deliberations: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl BenchArgs {
    fn concurrency(&self, otherwise: &[usize]) -> Vec<usize> {
        match self.concurrency.as_slice() {
            [] => otherwise.to_vec(),
            given => given.iter().map(|count| count.get()).collect(),
        }
    }

    fn latencies(&self, otherwise: &[u64]) -> Vec<Duration> {
        let given = if self.latency.is_empty() { otherwise } else { &self.latency };
        given.iter().map(|&millis| Duration::from_millis(millis)).collect()
    }

    fn places(&self, otherwise: usize) -> usize {
        self.places.map_or(otherwise, NonZeroUsize::get)
    }

    fn plan(&self) -> Plan {
        Plan {
            concurrency: self.concurrency(&[1, 16, 64, 256, 1024]),
            latencies: self.latencies(&[0, 50]),
            rounds: self.rounds,
            window: Duration::from_secs(self.window),
            checks: self.checks == Switch::On,
        }
    }

    fn replica_plan(&self, replicas: NonZeroUsize) -> ReplicaPlan {
        ReplicaPlan {
            replicas: replicas.get(),
            concurrency: self.concurrency(&[16, 64, 256]),
            latencies: self.latencies(&[50]),
            prefill: Duration::from_millis(self.prefill),
            places: self.places(16),
            rounds: self.rounds,
            window: Duration::from_secs(self.window),
            checks: self.checks == Switch::On,
        }
    }
}

pub(super) async fn run(args: BenchArgs, output: &Output) -> Result<(), Failure> {
    telemetry::raise_open_files()?;
    // Dropped, it ends its processes and removes its folders.
    tokio::select! {
        measured = measure(args, output) => measured,
        () = interrupted() => Err(Failure::told(Exit::INTERRUPTED)),
    }
}

async fn measure(args: BenchArgs, output: &Output) -> Result<(), Failure> {
    if let Some(other) = args.other {
        return other_bench(other, output).await;
    }
    if let Some(deliberations) = args.in_flight {
        return memory(deliberations, args.places(1024), output).await;
    }
    if let Some(count) = args.replicas {
        return replicas(&args.replica_plan(count), output).await;
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

async fn other_bench(other: OtherBench, output: &Output) -> Result<(), Failure> {
    let failed = |error: BenchError| Failure::of(Exit::UNAVAILABLE, &error);
    let internal = |error: serde_json::Error| Failure::of(Exit::INTERNAL, &error);
    let report = match other {
        OtherBench::Queue { rounds, redis } => {
            let report = bench::queue(&QueuePlan { rounds, redis, ..QueuePlan::default() }).await.map_err(failed)?;
            tell_rate(output, "enqueue by 64", "bare store", &report.enqueue)?;
            tell_rate(output, "full cycle", "bare store", &report.cycle)?;
            report.shared.iter().try_for_each(|rate| tell_rate(output, "shared cycle", "bare script", rate))?;
            serde_json::to_value(&report).map_err(internal)?
        }
        OtherBench::Events { nats, events, rounds } => {
            let plan = EventsPlan { server: nats, events: events as usize, rounds };
            let report = bench::events(&plan).await.map_err(failed)?;
            report.intake.iter().try_for_each(|rate| tell_rate(output, "taken in", "pull and ack", rate))?;
            report.outbox.iter().try_for_each(|rate| tell_rate(output, "gone out", "publish and ack", rate))?;
            serde_json::to_value(&report).map_err(internal)?
        }
        OtherBench::Workflows { connections, window, waiting } => {
            let (window, waiting) = (Duration::from_secs(window), waiting as usize);
            let plan = WorkflowsPlan { connections: connections.get(), window, waiting };
            let report = bench::workflows(&plan).await.map_err(failed)?;
            tell_workflows(output, &report)?;
            serde_json::to_value(&report).map_err(internal)?
        }
        OtherBench::Ray(args) => serde_json::to_value(ray(args, output).await?).map_err(internal)?,
    };
    output.document(&report)?;
    Ok(())
}

async fn ray(args: RayArgs, output: &Output) -> Result<RayReport, Failure> {
    let plan = RayPlan {
        environment: args.environment,
        peers: args.peers,
        concurrency: args.concurrency.get(),
        actors: args.actors,
        rounds: args.rounds,
        window: Duration::from_secs(args.window),
        deliberations: args.deliberations,
    };
    let tell = |row: &RayRow| {
        if !output.is_json() {
            let RayRow { concurrency, latency_ms, ray_per_s, aiohttp_per_s, of_aiohttp, .. } = row;
            let mut text = format!(
                "{concurrency} at once, model {latency_ms} ms: {ray_per_s:.0}/s, {of_aiohttp:.2} of aiohttp ({aiohttp_per_s:.0}/s)"
            );
            for peer in &row.peers {
                text += &format!(", {:.1} x {} ({:.1}/s)", ray_per_s / peer.per_s, peer.kind, peer.per_s);
            }
            // A row that cannot be shown now is in the report.
            let _ = output.line(&text);
        }
    };
    let report = bench::ray(&plan, tell).await.map_err(|error| Failure::of(Exit::UNAVAILABLE, &error))?;
    if !output.is_json() {
        let WaveCost { direct_p50_ms, direct_p99_ms, added_p50_ms, added_p99_ms, .. } = report.wave;
        output.line(&format!(
            "one wave: directly p50 {direct_p50_ms:.1}, p99 {direct_p99_ms:.1} ms; through Ray {added_p50_ms:+.1}, {added_p99_ms:+.1} ms"
        ))?;
        let ExecutorMemory { deliberations, early_mib, late_mib } = report.memory;
        output.line(&format!(
            "executor after {} deliberations {early_mib} MiB, after {deliberations} {late_mib} MiB",
            deliberations * 4 / 10
        ))?;
    }
    Ok(report)
}

fn tell_workflows(output: &Output, report: &WorkflowsReport) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(());
    }
    for (what, rate) in [("GET", &report.get), ("create and advance", &report.create_and_advance)] {
        let RequestRate { per_s, p50_ms, p99_ms, cpu_us } = rate;
        output.line(&format!(
            "{what:>18}: {per_s:>6.0} requests/s, p50 {p50_ms:.1}, p99 {p99_ms:.1} ms, {cpu_us:.0} µs of CPU"
        ))?;
    }
    let WaitingCost { workflows, start_ms, empty_start_ms, bytes_each, .. } = &report.waiting;
    let waiting = format!("{start_ms:.0} ms to start (empty {empty_start_ms:.0}), {bytes_each:.0} bytes each");
    output.line(&format!("{workflows:>10} waiting: {waiting}"))?;
    let WaitingCost { with_deadline_start_ms, with_deadline_bytes_each, .. } = &report.waiting;
    let waiting = format!("{with_deadline_start_ms:.0} ms to start, {with_deadline_bytes_each:.0} bytes each");
    Ok(output.line(&format!("    with deadlines: {waiting}"))?)
}

fn tell_rate(output: &Output, what: &str, floor: &str, rate: &Rate) -> Result<(), Failure> {
    if !output.is_json() {
        let Rate { per_s, floor_per_s, ratio } = rate;
        output.line(&format!("{what:>14}: {per_s:>8.0}/s, {ratio:.2} of {floor} ({floor_per_s:.0}/s)"))?;
    }
    Ok(())
}

async fn memory(deliberations: NonZeroUsize, places: usize, output: &Output) -> Result<(), Failure> {
    let measured = bench::in_flight(deliberations.get(), places).await;
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

async fn replicas(plan: &ReplicaPlan, output: &Output) -> Result<(), Failure> {
    if !output.is_json() {
        output.line(&line(&REPLICA_HEADERS.map(str::to_owned)))?;
    }
    let tell = |row: &ReplicaRow| {
        if !output.is_json() {
            let _ = output.line(&line(&replica_cells(row)));
        }
    };
    let report = bench::replicas(plan, tell).await.map_err(|error| Failure::of(Exit::UNAVAILABLE, &error))?;
    let report = serde_json::to_value(&report).map_err(|error| Failure::of(Exit::INTERNAL, &error))?;
    output.document(&report)?;
    Ok(())
}

/// Hit rates are shares of the ideal one; the last four compare choosing by prefix with the fewest outstanding calls.
const REPLICA_HEADERS: [&str; 10] =
    ["C", "model ms", "hits", "hits least", "prefix/s", "least/s", "ratio", "(min-max)", "p50 x", "p99 x"];

fn replica_cells(row: &ReplicaRow) -> [String; 10] {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    [
        row.concurrency.to_string(),
        row.latency_ms.to_string(),
        percent(row.prefix.of_ideal),
        percent(row.least_outstanding.of_ideal),
        format!("{:.1}", row.prefix.per_s),
        format!("{:.1}", row.least_outstanding.per_s),
        format!("{:.2}", row.throughput_ratio),
        format!("({:.2}-{:.2})", row.throughput_ratio_min, row.throughput_ratio_max),
        format!("{:.2}", row.p50_ratio),
        format!("{:.2}", row.p99_ratio),
    ]
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
