//! `sim`: the simulated model server in the foreground.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::exit::{Exit, Failure};
use crate::config::{LogConfig, LogFormat};
use crate::sim::{Answers, Behaviour, Fault, FaultKind, Latency, MODEL, Script, SimServer, SimSettings};
use crate::{process, telemetry};

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("pace").args(["latency", "median"]))]
pub(crate) struct SimArgs {
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// Port to listen on; 0 = any free one, which is printed
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Fixed latency of an answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Lognormal latency: its median
    #[arg(long, value_name = "MS")]
    median: Option<f64>,
    /// Lognormal latency: its spread
    #[arg(long, default_value_t = 0.5, requires = "median")]
    sigma: f64,
    /// Latency added to a call whose system message is not in the simulated prefix cache; 0 = no such cache
    #[arg(long, value_name = "MS", default_value_t = 0)]
    prefill: u64,
    /// System messages that the simulated prefix cache holds
    #[arg(long, value_name = "N", default_value = "4096", requires = "prefill")]
    prefixes: NonZeroUsize,
    /// Share of requests that fail, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    fail: f64,
    /// How they fail: garbage, half-json, empty-choices, no-content, drop, cut, hang, or a status such as 500
    #[arg(long, value_name = "KIND", default_value = "500", value_parser = fault, requires = "fail")]
    fail_with: FaultKind,
    /// What it answers: bench (1 KB with code), prose, demo, or a script file (TOML or JSON)
    #[arg(long, value_name = "KIND|FILE", default_value = "prose")]
    answers: String,
    /// Between the pieces of a streamed answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    piece: u64,
    /// Model that it serves; can be given many times
    #[arg(long, value_name = "NAME", default_value = MODEL)]
    model: Vec<String>,
    /// Answer 404 for other models, as real servers do
    #[arg(long)]
    strict_model: bool,
    /// Keep the last request bodies for /sim/bodies
    #[arg(long, value_name = "N", default_value_t = 0)]
    record: usize,
    /// Do not count each call by its id: for benchmarks
    #[arg(long)]
    no_calls: bool,
}

fn fault(text: &str) -> Result<FaultKind, String> {
    Ok(match text {
        "garbage" => FaultKind::Garbage,
        "half-json" => FaultKind::HalfJson,
        "empty-choices" => FaultKind::EmptyChoices,
        "no-content" => FaultKind::NoContent,
        "drop" => FaultKind::Drop,
        "cut" => FaultKind::Cut,
        "hang" => FaultKind::Hang,
        status => match status.parse() {
            Ok(status @ 300..=599) => FaultKind::status(status),
            _ => return Err("is no kind of failure".to_owned()),
        },
    })
}

impl SimArgs {
    fn settings(self) -> Result<SimSettings, Failure> {
        if !(0.0..=1.0).contains(&self.fail) {
            return Err(Failure::usage(format!("--fail {}: must be 0 to 1", self.fail)));
        }
        let latency = match self.median {
            Some(median_ms) => Latency::Lognormal { median_ms, sigma: self.sigma },
            None => Latency::Fixed { fixed_ms: self.latency },
        };
        let fault = Fault { rate: self.fail, ..Fault::always(self.fail_with) };
        let behaviour = Behaviour {
            latency,
            prefill_ms: self.prefill,
            piece_ms: self.piece,
            answers: answers(&self.answers)?,
            faults: if self.fail > 0.0 { vec![fault] } else { Vec::new() },
        };
        Ok(SimSettings {
            listen: SocketAddr::new(self.bind, self.port),
            behaviour,
            record: self.record,
            by_call: !self.no_calls,
            models: self.model,
            strict_model: self.strict_model,
            prefixes: self.prefixes.get(),
            ..SimSettings::default()
        })
    }
}

fn answers(name: &str) -> Result<Answers, Failure> {
    let script = match name {
        "bench" => return Ok(Answers::Bench),
        "prose" => return Ok(Answers::Prose),
        "demo" => Script::demo(),
        file => {
            let text = std::fs::read_to_string(PathBuf::from(file)).map_err(|error| {
                Failure::new(
                    Exit::NO_INPUT,
                    format!("--answers {file} is neither bench, prose, demo nor a file: {error}"),
                )
            })?;
            Script::parse(&text)
        }
    };
    script.map(Answers::Script).map_err(|error| Failure::of(Exit::USAGE, &error))
}

pub(super) async fn run(args: SimArgs) -> Result<(), Failure> {
    let settings = args.settings()?;
    let log = LogConfig { format: LogFormat::Text, filter: "warn".to_owned() };
    telemetry::init(&log).map_err(|error| Failure::of(Exit::INTERNAL, &error))?;
    telemetry::raise_open_files()?;
    let listen = settings.listen;
    let server = SimServer::start(settings).await.map_err(|error| {
        Failure::new(Exit::UNAVAILABLE, format!("the simulator cannot listen on {listen}: {error}"))
    })?;
    let mut out = io::stdout();
    writeln!(out, "simulated model server: its answers are scripted\n{} http={}", process::READY, server.addr())?;
    out.flush()?;
    super::watch::interrupted().await;
    server.shutdown().await;
    Ok(())
}
