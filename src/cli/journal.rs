//! `journal`: read what happened, and look after it; through the daemon, or from a store whose daemon is gone.

use std::collections::VecDeque;
use std::io;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::output::{Output, brief, count, time};
use super::replay;
use super::source::{Query, Source};
use crate::grpc::proto::moothall::v1::JournalEvent;

#[derive(Args, Debug)]
pub(crate) struct JournalArgs {
    /// Read this store instead of asking the daemon: a file, or sqlite:///...
    #[arg(long, global = true, value_name = "STORE")]
    store: Option<String>,
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// The last events, and those to come with --follow
    Tail(TailArgs),
    /// All events of a task, or of one stream such as council/DEV, with their payloads
    Show {
        /// The task's id, or the stream's name
        #[arg(value_name = "TASK|STREAM")]
        name: String,
    },
    /// Tell a task's run again: every prompt, answer and decision as it was; or compare two verdicts
    Replay {
        /// The task's id
        #[arg(required_unless_present = "diff")]
        task: Option<String>,
        /// Which run, from 1; without it the last one
        #[arg(long)]
        run: Option<u32>,
        /// What differs between the verdicts of these two tasks
        #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "task")]
        diff: Option<Vec<String>>,
    },
    /// How big it is
    Stats,
    /// Read every event back and check it
    Verify,
    /// Copy the whole store while the daemon works
    Backup {
        /// File name in the daemon's backup folder; with --store, any path. Without it, one is made up
        name: Option<String>,
    },
}

#[derive(Args, Debug)]
struct TailArgs {
    /// How many
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: usize,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// All events after this place instead
    #[arg(long, value_name = "SEQ", conflicts_with = "lines")]
    after: Option<i64>,
    /// Only streams whose names begin so, such as task/ or council/DEV
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    stream: String,
    /// Only events of this type, such as TaskCompleted; can be given many times
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
}

pub(super) async fn run(args: JournalArgs, server: &str, output: &Output) -> Result<(), Failure> {
    let source = Source::open(args.store.as_deref(), server).await?;
    match args.command {
        JournalCommand::Tail(args) => tail(args, &source, output).await,
        JournalCommand::Show { name } => show(&name, &source, output).await,
        JournalCommand::Replay { task, run, diff } => match (task, diff.as_deref()) {
            (_, Some([first, second])) => replay::diff(first, second, &source, output).await,
            (task, _) => replay::run(&task.unwrap_or_default(), run, &source, output).await,
        },
        JournalCommand::Stats => {
            let stats = source.stats().await?;
            output.message("moothall.v1.StatsResponse", &stats, || {
                let rows = [
                    ["events", &count(stats.events)],
                    ["first seq", &stats.first_seq.to_string()],
                    ["last seq", &stats.last_seq.to_string()],
                    ["streams", &count(stats.streams)],
                    ["tasks", &count(stats.tasks)],
                    ["open tasks", &count(stats.open_tasks)],
                    ["on disk", &indicatif::HumanBytes(u64::try_from(stats.bytes).unwrap_or_default()).to_string()],
                ];
                output.pairs(rows.map(|pair| pair.map(str::to_owned).to_vec()).to_vec())
            })
        }
        JournalCommand::Verify => verify(&source, output).await,
        JournalCommand::Backup { name } => {
            let made = source.backup(name.unwrap_or_default()).await?;
            output.message("moothall.v1.BackupResponse", &made, || {
                let bytes = indicatif::HumanBytes(u64::try_from(made.bytes).unwrap_or_default());
                output.line(&format!("{}: {bytes}, up to event {}", made.file_name, made.last_seq))
            })
        }
    }
}

async fn verify(source: &Source, output: &Output) -> Result<(), Failure> {
    let found = source.verify().await?;
    output.message("moothall.v1.VerifyResponse", &found, || {
        found.problems.iter().try_for_each(|problem| output.line(problem))?;
        let verdict = if found.sound { "sound" } else { "damaged; restore a backup" };
        output.line(&format!("{} events read back: {verdict}", count(found.events)))
    })?;
    if found.sound { Ok(()) } else { Err(Failure::told(Exit::DATA)) }
}

async fn tail(args: TailArgs, source: &Source, output: &Output) -> Result<(), Failure> {
    let last = source.stats().await?.last_seq;
    let filtered = !args.stream.is_empty() || !args.types.is_empty();
    // With a filter nobody knows where the last ones stand: all are read, the last are kept.
    let lines = i64::try_from(args.lines).unwrap_or(i64::MAX);
    let after = args.after.unwrap_or_else(|| if filtered { 0 } else { last.saturating_sub(lines).max(0) });
    let most = if args.after.is_some() { usize::MAX } else { args.lines };
    let query = Query { after, stream: args.stream, types: args.types, follow: false };
    let mut kept = VecDeque::new();
    source
        .each(&query, |event| {
            // What came in meanwhile belongs to what follows.
            if event.seq <= last || !args.follow {
                kept.push_back(event);
            }
            if kept.len() > most {
                kept.pop_front();
            }
            Ok(())
        })
        .await?;
    kept.iter().try_for_each(|event| line(event, output))?;
    if !args.follow {
        return Ok(());
    }
    let query = Query { after: last.max(after), follow: true, ..query };
    tokio::select! {
        ended = source.each(&query, |event| Ok(line(&event, output)?)) => ended,
        () = super::watch::interrupted() => Ok(()),
    }
}

async fn show(name: &str, source: &Source, output: &Output) -> Result<(), Failure> {
    // A task's id may have slashes; a stream's name begins with what it is of.
    let is_stream = ["task/", "deliberation/", "council/", "prompts/"].iter().any(|kind| name.starts_with(kind));
    let own = if is_stream { name.to_owned() } else { format!("task/{name}") };
    let below = if is_stream { format!("{name}/") } else { format!("deliberation/{name}/") };
    let mut events = Vec::new();
    for stream in [own.clone(), below.clone()] {
        let query = Query { stream, ..Query::default() };
        source
            .each(&query, |event| {
                if event.stream == own || event.stream.starts_with(&below) {
                    events.push(event);
                }
                Ok(())
            })
            .await?;
    }
    if events.is_empty() {
        return Err(Failure::new(Exit::NO_INPUT, format!("the journal has no event of {name}")));
    }
    events.sort_by_key(|event| event.seq);
    events.dedup_by_key(|event| event.seq);
    for event in &events {
        line(event, output)?;
        if !output.is_json() {
            payload(event, output)?;
        }
    }
    Ok(())
}

fn line(event: &JournalEvent, output: &Output) -> io::Result<()> {
    if output.is_json() {
        return output.document(&document(event));
    }
    let (seq, kind, stream, version) = (event.seq, &event.r#type, &event.stream, event.version);
    output.line(&format!("{seq:>8}  {}  {kind:<20} {stream} #{version}  {}", time(event.at_ms), gist(event)))
}

/// The event with its payload as JSON, not as bytes.
fn document(event: &JournalEvent) -> Value {
    json!({
        "seq": event.seq,
        "event_id": event.event_id,
        "stream": event.stream,
        "version": event.version,
        "type": event.r#type,
        "schema": event.schema,
        "at_ms": event.at_ms,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
        "payload": value(event),
    })
}

fn value(event: &JournalEvent) -> Value {
    serde_json::from_slice(&event.payload)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&event.payload).into_owned()))
}

/// The one thing that tells an event from others of its type.
fn gist(event: &JournalEvent) -> String {
    let value = value(event);
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        // A call is told by its wave and its agent; the task stands in the stream's name.
        Value::Object(call) => {
            let wave = call.get("wave")?;
            let (stage, round) = (wave.get("stage")?.as_str()?, wave.get("round")?);
            Some(format!("{stage}-{round} {}", call.get("agent")?.as_str()?))
        }
        _ => None,
    };
    let fields = ["call", "agent", "winner", "reason", "message", "role"];
    let found = fields.iter().find_map(|name| value.get(name).and_then(text));
    brief(&found.unwrap_or_default(), 80)
}

fn payload(event: &JournalEvent, output: &Output) -> io::Result<()> {
    let pretty = serde_json::to_string_pretty(&value(event))?;
    pretty.lines().try_for_each(|text| output.line(&format!("          {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_in_json_and_text_when_it_is_none() {
        let event = |payload: &str| JournalEvent { payload: payload.to_owned().into(), ..JournalEvent::default() };
        assert_eq!(document(&event(r#"{"agent":"a"}"#))["payload"]["agent"], "a");
        assert_eq!(document(&event("{"))["payload"], "{");
        assert_eq!(gist(&event(r#"{"run":1,"reason":"by request"}"#)), "by request");
    }
}
