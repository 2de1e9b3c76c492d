//! `journal`: read what happened, and look after it; through the daemon, or from a store whose daemon is gone.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::config::ConfigArgs;
use super::exit::{Exit, Failure};
use super::export;
use super::moment::{Moment, age};
use super::output::{Output, brief, count, time};
use super::replay;
use super::source::{self, Query, Source};
use super::state;
use crate::grpc::proto::moothall::v1::{JournalEvent, PruneResponse};
use crate::store::{DatabaseUrl, RebuiltTable, SqliteJournal};

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
    /// What a task, one of its deliberations or a council was at an earlier place
    State(state::StateArgs),
    /// How big it is
    Stats,
    /// Read every event back and check it
    Verify,
    /// Copy the whole store while the daemon works
    Backup {
        /// File name in the daemon's backup folder; with --store, any path. Without it, one is made up
        name: Option<String>,
    },
    /// Write events to a file, one JSON document a line; docs/journal.md says what is in them
    Export(export::ExportArgs),
    /// Delete tasks that ended long ago, and give their room back
    Prune {
        /// How long ago, such as 30d, 12h, 90m or 45s; without it, as the daemon is configured
        #[arg(long, value_name = "AGE", value_parser = age)]
        older_than: Option<Duration>,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
    },
    /// Put a backup in the store's place; no daemon may run on it
    Restore(RestoreArgs),
    /// Make the tables of tasks, councils and workflows anew from the events; no daemon may run on the store
    Rebuild(RebuildArgs),
}

#[derive(Args, Debug)]
struct RebuildArgs {
    /// Change nothing, only tell what would be changed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args, Debug)]
struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// Replace the store that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args, Debug)]
struct TailArgs {
    /// How many [default: 20]
    #[arg(short = 'n', long)]
    lines: Option<usize>,
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
    /// Only events of this time or later, such as 2026-11-22T07:30:00Z, or of the last 15m, 2h or 3d; all of them
    /// unless --lines is given
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// Only events before this time, given in the same way
    #[arg(long, value_name = "TIME", value_parser = Moment::parse, conflicts_with = "follow")]
    until: Option<Moment>,
}

/// The last so many, unless it is said from where on.
const LINES: usize = 20;

pub(super) async fn run(args: JournalArgs, server: &str, output: &Output) -> Result<(), Failure> {
    let store = args.store.as_deref();
    match args.command {
        JournalCommand::Prune { older_than, dry_run } => {
            let pruned = source::prune(store, server, older_than, dry_run).await?;
            show_pruned(&pruned, dry_run, output)
        }
        JournalCommand::Restore(args) => restore(args, store, output).await,
        JournalCommand::Rebuild(args) => rebuild(args, store, output).await,
        command => look(command, &Source::open(store, server).await?, output).await,
    }
}

/// What can be done beside whoever writes.
async fn look(command: JournalCommand, source: &Source, output: &Output) -> Result<(), Failure> {
    match command {
        JournalCommand::Export(args) => export::run(args, source, output).await,
        JournalCommand::Prune { .. } | JournalCommand::Restore(_) | JournalCommand::Rebuild(_) => Ok(()),
        JournalCommand::Tail(args) => tail(args, source, output).await,
        JournalCommand::Show { name } => show(&name, source, output).await,
        JournalCommand::Replay { task, run, diff } => match (task, diff.as_deref()) {
            (_, Some([first, second])) => replay::diff(first, second, source, output).await,
            (task, _) => replay::run(&task.unwrap_or_default(), run, source, output).await,
        },
        JournalCommand::State(args) => state::run(&args, source, output).await,
        JournalCommand::Stats => {
            let stats = source.stats().await?;
            output.message("moothall.v1.StatsResponse", &stats, || {
                let rows = [
                    ["events", &count(stats.events)],
                    ["first seq", &stats.first_seq.to_string()],
                    ["last seq", &stats.last_seq.to_string()],
                    ["whole from seq", &stats.first_kept.to_string()],
                    ["streams", &count(stats.streams)],
                    ["tasks", &count(stats.tasks)],
                    ["open tasks", &count(stats.open_tasks)],
                    ["tombstones", &count(stats.tombstones)],
                    ["last prune", &when(stats.last_prune_at_ms)],
                    ["on disk", &indicatif::HumanBytes(u64::try_from(stats.bytes).unwrap_or_default()).to_string()],
                ];
                output.pairs(rows.map(|pair| pair.map(str::to_owned).to_vec()).to_vec())
            })
        }
        JournalCommand::Verify => verify(source, output).await,
        JournalCommand::Backup { name } => {
            let made = source.backup(name.unwrap_or_default()).await?;
            output.message("moothall.v1.BackupResponse", &made, || {
                let bytes = indicatif::HumanBytes(u64::try_from(made.bytes).unwrap_or_default());
                output.line(&format!("{}: {bytes}, up to event {}", made.file_name, made.last_seq))
            })
        }
    }
}

fn show_pruned(pruned: &PruneResponse, dry_run: bool, output: &Output) -> Result<(), Failure> {
    output.message("moothall.v1.PruneResponse", pruned, || {
        let tasks = count(pruned.tasks);
        if dry_run {
            return output.line(&format!("{tasks} tasks would be pruned"));
        }
        let bytes = indicatif::HumanBytes(u64::try_from(pruned.bytes).unwrap_or_default());
        output.line(&format!("{tasks} tasks pruned, {} events deleted, {bytes} given back", count(pruned.events)))
    })
}

async fn restore(args: RestoreArgs, store: Option<&str>, output: &Output) -> Result<(), Failure> {
    let to = place(store, args.config)?;
    let shown = to.display().to_string();
    let work = tokio::task::spawn_blocking(move || SqliteJournal::restore(&args.file, &to, args.force));
    let restored = work.await.map_err(|error| Failure::of(Exit::INTERNAL, &error))??;
    if output.is_json() {
        let (events, tasks, last_seq) = (restored.events, restored.tasks, restored.last_seq);
        return Ok(output.document(&json!({ "store": shown, "events": events, "tasks": tasks, "last_seq": last_seq }))?);
    }
    let (events, last_seq) = (restored.events, restored.last_seq);
    Ok(output.line(&format!("{shown}: restored with {events} events, up to event {last_seq}"))?)
}

/// The store that is named, else the configured one.
fn place(store: Option<&str>, config: ConfigArgs) -> Result<PathBuf, Failure> {
    match store {
        Some(store) => source::file(store),
        None => match config.load()?.config.store.url {
            DatabaseUrl::File(path) => Ok(path),
            DatabaseUrl::Memory => Err(Failure::usage("a store in memory is gone with its daemon; name a file")),
        },
    }
}

async fn rebuild(args: RebuildArgs, store: Option<&str>, output: &Output) -> Result<(), Failure> {
    let (path, dry_run) = (place(store, args.config)?, args.dry_run);
    let work = tokio::task::spawn_blocking(move || SqliteJournal::rebuild(&path, dry_run));
    let rebuilt = work.await.map_err(|error| Failure::of(Exit::INTERNAL, &error))??;
    let table = |of: &RebuiltTable| json!({ "table": of.table, "rows": of.rows, "new": of.new, "gone": of.gone });
    if output.is_json() {
        let tables: Vec<_> = rebuilt.tables.iter().map(table).collect();
        return Ok(output.document(&json!({ "events": rebuilt.events, "dry_run": dry_run, "tables": tables }))?);
    }
    for RebuiltTable { table, rows, new, gone } in &rebuilt.tables {
        let changed = if (*new, *gone) == (0, 0) { "as before".to_owned() } else { format!("{new} new, {gone} gone") };
        output.line(&format!("{table:<17} {:>10} rows, {changed}", rows))?;
    }
    let done = if dry_run { "nothing was changed" } else { "done" };
    Ok(output.line(&format!("{} events read: {done}", rebuilt.events))?)
}

fn when(at_ms: i64) -> String {
    if at_ms == 0 { "never".to_owned() } else { time(at_ms) }
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
    let stats = source.stats().await?;
    let (last, kept_after) = (stats.last_seq, stats.first_kept.saturating_sub(1));
    let times = (args.since.map(Moment::millis), args.until.map(Moment::millis));
    let filtered = !args.stream.is_empty() || !args.types.is_empty() || times != (None, None);
    let from_a_place = args.after.is_some() || args.since.is_some();
    let most = args.lines.unwrap_or(if from_a_place { usize::MAX } else { LINES });
    // With a filter nobody knows where the last ones stand: all are read, the last are kept.
    let lines = i64::try_from(most).unwrap_or(i64::MAX);
    let after =
        args.after.unwrap_or_else(|| if filtered { 0 } else { last.saturating_sub(lines).max(kept_after).max(0) });
    let query =
        Query { after, stream: args.stream, types: args.types, since: times.0, before: times.1, ..Query::default() };
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
