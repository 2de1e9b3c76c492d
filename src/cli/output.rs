//! What commands print: tables and lines for people, JSON for programs, and nothing that could drive a terminal.
//!
//! Answers go to standard output, everything else to standard error. Colour is for terminals, and `NO_COLOR` ends it.
//! Texts come from models and clients: control characters in them are dropped before a person's terminal sees them.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::exit::{Exit, Failure};
use crate::grpc::proto::DESCRIPTORS;

/// Where a command's answer goes, and in which form.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    json: bool,
    terminal: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, terminal }
    }

    /// Whether a program reads it.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// One JSON value on one line, so that many are JSON Lines.
    pub(crate) fn document(&self, value: &Value) -> io::Result<()> {
        write_line(&value.to_string())
    }

    /// A line, or several, for people.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        write_line(&printable(text))
    }

    /// A text for another program, byte for byte; on a terminal without what would steer it.
    pub(crate) fn exact(&self, text: &str) -> io::Result<()> {
        let shown = if io::stdout().is_terminal() { printable(text).into() } else { Cow::Borrowed(text) };
        io::stdout().lock().write_all(shown.as_bytes())
    }

    pub(crate) fn heading(&self, text: &str) -> io::Result<()> {
        let text = printable(text);
        write_line(&if self.terminal { format!("\x1b[1m{text}\x1b[0m") } else { text })
    }

    /// Columns without borders, so that other tools can read them too.
    pub(crate) fn table(&self, headers: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
        self.rows(Some(headers), rows)
    }

    fn rows(&self, headers: Option<&[&str]>, rows: Vec<Vec<String>>) -> io::Result<()> {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        if self.terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic).enforce_styling();
        } else {
            table.force_no_tty();
        }
        if let Some(headers) = headers {
            table.set_header(headers.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        }
        for row in rows {
            table.add_row(row.iter().map(|text| cell(text)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().try_for_each(|line| write_line(line.trim_end()))
    }

    /// Names and values, a line each.
    pub(crate) fn pairs(&self, rows: Vec<Vec<String>>) -> io::Result<()> {
        self.rows(None, rows)
    }

    /// A proto message as JSON or through `human`.
    pub(crate) fn message<M: Message>(
        &self,
        name: &str,
        message: &M,
        human: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), Failure> {
        if self.json {
            self.document(&json(name, message)?)?
        } else {
            human()?
        }
        Ok(())
    }
}

fn write_line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn cell(text: &str) -> Cell {
    let text = printable(text);
    let color = match text.split_whitespace().next().unwrap_or_default() {
        "healthy" | "ready" | "idle" | "running" | "completed" | "passed" | "ok" => Some(Color::Green),
        "degraded" | "busy" | "active" | "open" | "restarting" | "note" => Some(Color::Yellow),
        "unhealthy" | "failed" | "cancelled" | "parked" | "offline" | "wrong" => Some(Color::Red),
        _ => None,
    };
    let cell = Cell::new(text);
    color.map_or(cell.clone(), |color| cell.fg(color))
}

/// Without control characters, line ends and tabs excepted.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// A message as its proto says, fields under their own names.
pub(crate) fn json<M: Message>(name: &str, message: &M) -> Result<Value, Failure> {
    let bug = |error: &dyn std::error::Error| Failure::of(Exit::INTERNAL, error);
    let pool = DescriptorPool::decode(DESCRIPTORS).map_err(|error| bug(&error))?;
    let Some(descriptor) = pool.get_message_by_name(name) else {
        return Err(Failure::new(Exit::INTERNAL, format!("no message is called {name}")));
    };
    let dynamic =
        DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map_err(|error| bug(&error))?;
    let options =
        SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false).skip_default_fields(false);
    dynamic.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| bug(&error))
}

/// `1.2 s`, `850 ms`, `3m 05s`, `2h 03m`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// The same from the wire; negative counts as none.
pub(crate) fn millis(millis: i64) -> String {
    duration(Duration::from_millis(u64::try_from(millis).unwrap_or_default()))
}

/// A point in time, UTC, to the second; empty for none.
pub(crate) fn time(millis: i64) -> String {
    if millis <= 0 {
        return String::new();
    }
    let seconds = prost_types::Timestamp { seconds: millis / 1000, nanos: 0 };
    seconds.to_string().replace('T', " ").replace('Z', "")
}

/// A number with its thousands apart.
pub(crate) fn count(number: i64) -> String {
    indicatif::HumanCount(u64::try_from(number).unwrap_or_default()).to_string()
}

/// The first line, cut to so many characters.
pub(crate) fn brief(text: &str, most: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= most && !text.trim_end().contains('\n') {
        return line.to_owned();
    }
    let cut: String = line.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::moothall::v1::{Task, TaskStatus};

    #[test]
    fn messages_become_json_under_their_own_names() {
        let task = Task { task_id: "t".into(), status: TaskStatus::Open.into(), accepted_at_ms: 5, ..Task::default() };
        let value = json("moothall.v1.Task", &task).unwrap();
        assert_eq!(value["task_id"], "t");
        assert_eq!(value["status"], "TASK_STATUS_OPEN");
        assert_eq!(value["accepted_at_ms"], 5);
        assert_eq!(value["keyed"], false);
    }

    #[test]
    fn nothing_drives_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb\r\nc\td\u{9b}"), "a[2Jb\nc\td");
    }

    #[test]
    fn durations_and_times_read_well() {
        let table =
            [(850, "850 ms"), (1_200, "1.2 s"), (185_000, "3m 05s"), (7_380_000, "2h 03m"), (90_000_000, "1d 01h")];
        for (given, text) in table {
            assert_eq!(millis(given), text);
        }
        assert_eq!(time(1_795_246_200_123), "2026-11-21 07:30:00");
        assert_eq!(time(0), "");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(brief("one\ntwo", 10), "one…");
        assert_eq!(brief("0123456789", 5), "0123…");
    }
}
