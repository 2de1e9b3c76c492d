//! `journal export`: events as JSON Lines, for other programs and other times. One event is in memory at a time, however
//! long the journal is. `docs/journal.md` says what a line holds: that is a promise.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::exit::{Exit, Failure};
use super::output::{Output, count};
use super::source::{Query, Source};
use crate::grpc::proto::moothall::v1::JournalEvent;

/// Of zstd: the default, as fast as the disk and a fifth of the size.
const LEVEL: i32 = 3;

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Only this task, with its deliberations
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// From this event on
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
    from: Option<i64>,
    /// Up to this event, and it too
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
    until: Option<i64>,
    /// A new file, packed with zstd when its name ends in .zst; - is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Pack it whatever its name
    #[arg(long)]
    zstd: bool,
}

/// One line. The names are those of `journal tail --json`; what an event lacks is null.
#[derive(Serialize)]
struct Line<'e> {
    seq: i64,
    event_id: &'e str,
    stream: &'e str,
    version: i64,
    r#type: &'e str,
    schema: i32,
    at_ms: i64,
    correlation_id: Option<&'e str>,
    causation_id: Option<&'e str>,
    payload: Box<RawValue>,
}

impl<'e> Line<'e> {
    fn of(event: &'e JournalEvent) -> serde_json::Result<Self> {
        let given = |text: &'e String| Some(text.as_str()).filter(|text| !text.is_empty());
        Ok(Self {
            seq: event.seq,
            event_id: &event.event_id,
            stream: &event.stream,
            version: event.version,
            r#type: &event.r#type,
            schema: event.schema,
            at_ms: event.at_ms,
            correlation_id: given(&event.correlation_id),
            causation_id: given(&event.causation_id),
            payload: payload(&event.payload)?,
        })
    }
}

/// As it is stored, number for number; a damaged one is a text.
fn payload(stored: &[u8]) -> serde_json::Result<Box<RawValue>> {
    let is_one_line = !stored.contains(&b'\n');
    match serde_json::from_slice::<Box<RawValue>>(stored) {
        Ok(raw) if is_one_line => Ok(raw),
        Ok(raw) => to_raw_value(&serde_json::from_str::<serde_json::Value>(raw.get())?),
        Err(_) => to_raw_value(&String::from_utf8_lossy(stored)),
    }
}

/// Where lines go.
enum Sink {
    Plain(Box<dyn Write + Send>),
    Packed(zstd::Encoder<'static, Box<dyn Write + Send>>),
}

impl Sink {
    fn new(to: Box<dyn Write + Send>, packed: bool) -> io::Result<Self> {
        Ok(match packed {
            true => Self::Packed(zstd::Encoder::new(to, LEVEL)?),
            false => Self::Plain(to),
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(to) => to.write_all(line),
            Self::Packed(to) => to.write_all(line),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut to) => to.flush(),
            Self::Packed(to) => to.finish()?.flush(),
        }
    }
}

/// A file that is removed again unless it is whole.
struct Claim {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Claim {
    fn new(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let file = File::create_new(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::new(Exit::EXISTS, format!("{shown} exists already")),
            _ => Failure::new(Exit::IO, format!("writing {shown} failed: {error}")),
        })?;
        Ok(Self { path: path.to_owned(), file, kept: false })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

pub(super) async fn run(args: ExportArgs, source: &Source, output: &Output) -> Result<(), Failure> {
    let packed = args.zstd || args.out.extension().is_some_and(|extension| extension == "zst");
    if args.out.as_os_str() == "-" {
        let mut sink = Sink::new(Box::new(io::stdout()), packed)?;
        write(&args, source, &mut sink).await?;
        return Ok(sink.finish()?);
    }
    let mut claim = Claim::new(&args.out)?;
    let mut sink = Sink::new(Box::new(BufWriter::new(claim.file.try_clone()?)), packed)?;
    let (events, last_seq) = write(&args, source, &mut sink).await?;
    sink.finish()?;
    claim.file.sync_all()?;
    claim.kept = true;
    let (file, bytes) = (args.out.display().to_string(), claim.file.metadata()?.len());
    if output.is_json() {
        return Ok(output.document(&json!({ "file": file, "events": events, "bytes": bytes, "last_seq": last_seq }))?);
    }
    Ok(output.line(&format!("{file}: {} events, {}", count(events), indicatif::HumanBytes(bytes)))?)
}

/// How many events, and the last one's place.
async fn write(args: &ExportArgs, source: &Source, sink: &mut Sink) -> Result<(i64, i64), Failure> {
    let (mut events, mut last_seq) = (0, 0);
    let after = args.from.map_or(0, |from| from - 1);
    for stream in streams(args.task.as_deref()) {
        let query = Query { after, until: args.until, stream, ..Query::default() };
        let take = |event: JournalEvent| {
            if args.task.as_deref().is_none_or(|task| is_of(task, &event.stream)) {
                let mut line =
                    serde_json::to_vec(&Line::of(&event).map_err(io::Error::from)?).map_err(io::Error::from)?;
                line.push(b'\n');
                sink.write(&line)?;
                events += 1;
                last_seq = last_seq.max(event.seq);
            }
            Ok(())
        };
        source.each(&query, take).await?;
    }
    match &args.task {
        Some(task) if events == 0 => Err(Failure::new(Exit::NO_INPUT, format!("the journal has no event of {task}"))),
        _ => Ok((events, last_seq)),
    }
}

/// Prefixes to read: the task's own events stand before those of its deliberations.
fn streams(task: Option<&str>) -> Vec<String> {
    match task {
        Some(task) => vec![format!("task/{task}"), format!("deliberation/{task}/")],
        None => vec![String::new()],
    }
}

/// Ids may have slashes: `deliberation/a/1/1` is of the task `a/1`, not of `a`.
fn is_of(task: &str, stream: &str) -> bool {
    let run = stream.strip_prefix("deliberation/").and_then(|rest| rest.strip_prefix(task)?.strip_prefix('/'));
    stream.strip_prefix("task/") == Some(task)
        || run.is_some_and(|run| !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_payload_as_it_is_stored() {
        let event = JournalEvent {
            seq: 7,
            event_id: "01".into(),
            stream: "task/t".into(),
            version: 2,
            r#type: "TaskRetried".into(),
            schema: 1,
            at_ms: 5,
            correlation_id: "t".into(),
            payload: br#"{"run":2,"salt":18446744073709551615,"score":0.1}"#.to_vec().into(),
            ..JournalEvent::default()
        };
        let line = serde_json::to_string(&Line::of(&event).unwrap()).unwrap();
        let expected = concat!(
            r#"{"seq":7,"event_id":"01","stream":"task/t","version":2,"type":"TaskRetried","schema":1,"at_ms":5,"#,
            r#""correlation_id":"t","causation_id":null,"payload":{"run":2,"salt":18446744073709551615,"score":0.1}}"#
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn whatever_is_stored_is_one_line() {
        assert_eq!(payload(b"{\n \"a\": 1\n}").unwrap().get(), r#"{"a":1}"#);
        assert_eq!(payload(b"{oops\n").unwrap().get(), r#""{oops\n""#);
    }

    #[test]
    fn a_task_has_its_own_streams_and_no_others() {
        for own in ["task/a", "deliberation/a/1", "deliberation/a/12"] {
            assert!(is_of("a", own), "{own}");
        }
        for other in ["task/ab", "task/a/1", "deliberation/a/", "deliberation/a/1/1", "deliberation/ab/1", "council/A"]
        {
            assert!(!is_of("a", other), "{other}");
        }
        assert!(is_of("a/1", "deliberation/a/1/1"));
    }
}
