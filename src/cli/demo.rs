//! `demo`: a whole deliberation before your eyes, and a crash in the middle of it.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::live::Live;
use super::output::{Output, json as as_json};
use super::verdict::Verdict;
use super::watch::interrupted;
use crate::config::{LogConfig, LogFormat};
use crate::demo::{Audience, Demo, DemoError, Summary, TASK};
use crate::grpc::proto::moothall::v1::TaskUpdate;
use crate::telemetry;

#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// End after the deliberation, as it does without a terminal
    #[arg(long)]
    pub exit: bool,
    /// Have the calls made on a Ray of its own, by this executor (`make ray-env` makes it)
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, default_missing_value = "target/ray-env/bin/ray-executor")]
    pub ray: Option<PathBuf>,
}

/// Shows everything on standard error; the answer alone goes to standard output.
struct Screen(Live);

impl Audience for Screen {
    fn hear(&mut self, line: &str) {
        self.0.note(line);
    }

    fn see(&mut self, update: &TaskUpdate) {
        self.0.show(update);
    }
}

pub(super) async fn run(args: DemoArgs, output: &Output) -> Result<(), Failure> {
    let log = LogConfig { format: LogFormat::Text, filter: "warn".to_owned() };
    telemetry::init(&log).map_err(|error| Failure::of(Exit::INTERNAL, &error))?;
    let real = std::env::var("VLLM_URL").ok().filter(|urls| !urls.is_empty());
    let mut demo = Demo::start(real, args.ray.as_deref()).await.map_err(failed)?;
    if !output.is_json() {
        begin(&demo, output)?;
    }
    let mut screen = Screen(Live::new(output.is_json()));
    let played = tokio::select! {
        played = demo.play(&mut screen) => played.map_err(failed),
        () = interrupted() => Err(Failure::told(Exit::INTERRUPTED)),
    };
    screen.0.finish();
    let summary = played?;
    match output.is_json() {
        true => output.document(&document(&demo, &summary)?)?,
        false => end(&demo, &summary, output)?,
    }
    if io::stdout().is_terminal() && !args.exit && !output.is_json() {
        output.line("\nThe daemon stays up for you; Ctrl-C ends it.")?;
        interrupted().await;
    }
    demo.end().await.map_err(failed)
}

fn failed(error: DemoError) -> Failure {
    Failure::of(Exit::UNAVAILABLE, &error)
}

fn begin(demo: &Demo, output: &Output) -> io::Result<()> {
    match demo.is_simulated() {
        true => {
            output.heading("SIMULATED: all answers are scripted, no model writes them")?;
            output.line("For a real model: VLLM_URL=http://localhost:8000 moothall demo")?;
        }
        false => output.line("Answers come from the model servers of VLLM_URL.")?,
    }
    if demo.is_on_ray() {
        output.line("The calls are made on a Ray of its own: those in flight go on when the daemon dies.")?;
    }
    output.line("Three agents propose how to parse a duration such as 1h30m, review each other and revise.\n")
}

fn end(demo: &Demo, summary: &Summary, output: &Output) -> Result<(), Failure> {
    verdict(summary).show(TASK, output)?;
    output.line("")?;
    if let Some(finished) = summary.finished_before {
        output.line(&format!("The daemon was killed with SIGKILL when {finished} calls had finished."))?;
    }
    output.heading(&summary.promise())?;
    if demo.is_simulated() {
        output.heading("SIMULATED: these answers were scripted, no model wrote them")?;
    }
    let server = demo.server().map_err(failed)?;
    output.line("\nTo type next, from another terminal while the demo is up:")?;
    for command in [format!("task get {TASK}"), "journal tail".to_owned(), "council list".to_owned()] {
        output.line(&format!("  moothall --server {server} {command}"))?;
    }
    Ok(())
}

fn verdict(summary: &Summary) -> Verdict<'_> {
    static NO_TAGS: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let answer = &summary.answer;
    Verdict {
        results: answer.results.iter().collect(),
        duration_ms: answer.duration_ms,
        tags: answer.metadata.as_ref().map_or(&NO_TAGS, |metadata| &metadata.tags),
    }
}

fn document(demo: &Demo, summary: &Summary) -> Result<serde_json::Value, Failure> {
    Ok(json!({
        "simulated": demo.is_simulated(),
        "finished_calls_repeated": summary.repeated,
        "calls_asked_again": summary.asked_again,
        "calls_finished_at_kill": summary.finished_before,
        "answer": as_json("fleet.orchestrator.v1.DeliberateResponse", &summary.answer)?,
    }))
}
