//! The questions, in SQL. Each runs on one read-only connection, and in one transaction where it asks twice.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::council::Council;
use moothall_actors::domain::event::Recorded;
use moothall_actors::domain::id::{StreamId, TaskId, Timestamp};
use moothall_actors::domain::queue::{Entry, QueueState, Standing};
use moothall_actors::ports::{JournalStats, Recovery, TaskQuery, TaskRow};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::error::ReadError;
use super::lock::beside;
use super::reader::FileSizes;
use super::row::{
    StoredEvent, TASK_COLUMNS, limit, role_and_kind, signed, status_text, task_row, unexpected, unsigned,
};
use super::span::{self, Span};

/// Up to so many streams are read through the index of streams; more, through the whole journal in order.
const FEW_STREAMS: i64 = 256;

/// Which events to read, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only later ones.
    pub after_seq: u64,
    pub limit: usize,
    /// Only of streams whose names begin so; empty = of any.
    pub stream_prefix: String,
    /// Only of these types; empty = of any.
    pub kinds: Vec<String>,
    /// Only of this time or later.
    pub since: Option<Timestamp>,
    /// Only of earlier times.
    pub until: Option<Timestamp>,
    /// Whether a gap is left unsaid: for those who want what there is, not everything from a place on.
    pub gaps: bool,
}

pub(super) fn decode(events: Vec<StoredEvent>) -> Result<Vec<Recorded>, ReadError> {
    events.into_iter().map(|event| Ok(event.decode()?)).collect()
}

pub(super) fn stream(
    conn: &Connection,
    stream: &StreamId,
    after_version: u64,
    most: usize,
) -> Result<Vec<StoredEvent>, ReadError> {
    let sql = format!(
        "SELECT {} FROM streams s JOIN events e ON e.stream = s.id WHERE s.name = ?1 AND e.version > ?2 \
         ORDER BY e.version LIMIT ?3",
        StoredEvent::COLUMNS
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map((stream.as_str(), signed(after_version), limit(most)), StoredEvent::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn events(conn: &Connection, query: &EventQuery) -> Result<Vec<StoredEvent>, ReadError> {
    let snapshot = conn.unchecked_transaction()?;
    let first_kept = first_kept(&snapshot)?;
    if !query.gaps && query.after_seq.saturating_add(1) < first_kept {
        return Err(ReadError::Pruned { first_kept });
    }
    let Span { after, before } = span::of(&snapshot, query)?;
    let mut wheres = String::from("e.seq > ? AND e.seq < ?");
    let mut values = vec![Value::from(after), Value::from(before)];
    for (time, compares) in [(query.since, ">="), (query.until, "<")] {
        if let Some(time) = time {
            wheres.push_str(&format!(" AND e.at {compares} ?"));
            values.push(Value::from(span::millis(time)));
        }
    }
    let prefix = query.stream_prefix.as_str();
    if !prefix.is_empty() {
        // `+` keeps the planner to the order of the journal where the streams are many.
        let streams = "stream IN (SELECT id FROM streams WHERE name >= ? AND name < ?)";
        let sign = if few_streams(&snapshot, prefix)? { "" } else { "+" };
        wheres.push_str(&format!(" AND {sign}e.{streams}"));
        values.extend([Value::from(prefix.to_owned()), Value::from(after_all(prefix))]);
    }
    if !query.kinds.is_empty() {
        let marks = vec!["?"; query.kinds.len()].join(", ");
        wheres.push_str(&format!(" AND e.type IN ({marks})"));
        values.extend(query.kinds.iter().cloned().map(Value::from));
    }
    values.push(limit(query.limit).into());
    let sql = format!(
        "SELECT {} FROM events e CROSS JOIN streams s ON s.id = e.stream WHERE {wheres} ORDER BY e.seq LIMIT ?",
        StoredEvent::COLUMNS
    );
    let mut statement = snapshot.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), StoredEvent::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// From here on nothing is missing. Before it stands what is never pruned, and what still runs.
fn first_kept(conn: &Connection) -> rusqlite::Result<u64> {
    conn.query_row("SELECT first_kept FROM store", [], |row| row.get(0)).map(unsigned)
}

fn few_streams(conn: &Connection, prefix: &str) -> rusqlite::Result<bool> {
    let mut statement =
        conn.prepare_cached("SELECT count(*) FROM (SELECT 1 FROM streams WHERE name >= ?1 AND name < ?2 LIMIT ?3)")?;
    let found: i64 = statement.query_row((prefix, after_all(prefix), FEW_STREAMS + 1), |row| row.get(0))?;
    Ok(found <= FEW_STREAMS)
}

/// A text that sorts after every text with this prefix.
fn after_all(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

pub(super) fn task(conn: &Connection, task: &TaskId) -> Result<Option<TaskRow>, ReadError> {
    let sql = format!("SELECT {TASK_COLUMNS} FROM tasks WHERE task = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([task.as_str()], task_row).optional()?)
}

/// The last word on a pruned task, in the form of its row.
pub(super) fn tombstone(conn: &Connection, task: &TaskId) -> Result<Option<TaskRow>, ReadError> {
    let mut statement = conn.prepare_cached(
        "SELECT substr(s.name, 6), b.role, b.kind, b.status, b.run, TRUE, b.content_hash, b.version, NULL, b.winner, \
         b.error, b.duration_ms, b.accepted_at, b.ended_at, NULL \
         FROM streams s JOIN tombstones b ON b.stream = s.id WHERE s.name = ?1",
    )?;
    Ok(statement.query_row([StreamId::task(task).as_str()], task_row).optional()?)
}

pub(super) fn find(conn: &Connection, tasks: &[TaskId]) -> Result<Vec<TaskRow>, ReadError> {
    let mut found = Vec::with_capacity(tasks.len());
    for task in tasks {
        let row = match self::task(conn, task)? {
            None => tombstone(conn, task)?,
            row => row,
        };
        found.extend(row);
    }
    Ok(found)
}

/// A cursor that names no task finds nothing: its task was pruned, and all before it.
pub(super) fn tasks(conn: &Connection, query: &TaskQuery) -> Result<Vec<TaskRow>, ReadError> {
    let mut wheres = vec!["TRUE".to_owned()];
    let mut values = Vec::new();
    if let Some(status) = query.status {
        // Written out, not bound: only so the planner sees that a partial index has all of them.
        wheres.push(format!("status = '{}'", status_text(status)));
    }
    if let Some(role) = &query.role {
        wheres.push("role = ?".to_owned());
        values.push(Value::from(role.as_str().to_owned()));
    }
    if let Some(story) = &query.story_id {
        wheres.push("story_id = ?".to_owned());
        values.push(Value::from(story.clone()));
    }
    if let Some(before) = &query.before {
        wheres.push("seq < (SELECT seq FROM tasks WHERE task = ?)".to_owned());
        values.push(Value::from(before.as_str().to_owned()));
    }
    values.push(limit(query.limit).into());
    let wheres = wheres.join(" AND ");
    let sql = format!("SELECT {TASK_COLUMNS} FROM tasks WHERE {wheres} ORDER BY seq DESC LIMIT ?");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), task_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn recovery(conn: &Connection) -> Result<Recovery, ReadError> {
    let snapshot = conn.unchecked_transaction()?;
    let open = format!(
        "SELECT {TASK_COLUMNS} FROM tasks WHERE status = 'open' AND NOT EXISTS \
         (SELECT 1 FROM queue q WHERE q.seq = tasks.seq AND q.state <> '{}') ORDER BY seq",
        QueueState::InProgress
    );
    let open_tasks = snapshot.prepare(&open)?.query_map([], task_row)?.collect::<Result<_, _>>()?;
    let councils = snapshot
        .prepare("SELECT council, version FROM councils WHERE council IS NOT NULL ORDER BY role")?
        .query_map([], |row| {
            let council: Council = serde_json::from_str(row.get_ref(0)?.as_str()?)
                .map_err(|error| unexpected(0, format!("a council: {error}")))?;
            Ok((council, unsigned(row.get(1)?)))
        })?
        .collect::<Result<_, _>>()?;
    let finished = snapshot
        .prepare("SELECT role, kind, tasks, duration_ms FROM finished WHERE tasks > 0 ORDER BY role, kind")?
        .query_map([], |row| {
            let (role, kind) = role_and_kind(row, 0)?;
            Ok((role, kind, unsigned(row.get(2)?), Duration::from_millis(unsigned(row.get(3)?))))
        })?
        .collect::<Result<_, _>>()?;
    let queued = snapshot
        .prepare("SELECT entry, state FROM queue ORDER BY seq")?
        .query_map([], standing)?
        .collect::<Result<_, _>>()?;
    Ok(Recovery { open_tasks, queued, councils, finished })
}

fn standing(row: &rusqlite::Row<'_>) -> rusqlite::Result<Standing> {
    let entry: Entry = serde_json::from_str(row.get_ref(0)?.as_str()?)
        .map_err(|error| unexpected(0, format!("a task of the queue: {error}")))?;
    let text = row.get_ref(1)?.as_str()?;
    let state = QueueState::named(text).ok_or_else(|| unexpected(1, format!("{text:?} is unknown")))?;
    Ok(Standing { entry: Arc::new(entry), state })
}

/// All but the bytes.
pub(super) fn stats(conn: &Connection) -> Result<JournalStats, ReadError> {
    // Two subqueries: one aggregate with both ends would read the whole table.
    let mut statement = conn.prepare_cached(
        "SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events), events, streams, tasks, open_tasks \
         FROM totals",
    )?;
    let stats = statement.query_row([], |row| {
        Ok(JournalStats {
            first_seq: unsigned(row.get::<_, Option<i64>>(0)?.unwrap_or(0)),
            last_seq: unsigned(row.get::<_, Option<i64>>(1)?.unwrap_or(0)),
            events: unsigned(row.get(2)?),
            streams: unsigned(row.get(3)?),
            tasks: unsigned(row.get(4)?),
            open_tasks: unsigned(row.get(5)?),
            bytes: 0,
        })
    })?;
    Ok(stats)
}

pub(super) fn file_sizes(conn: &Connection, path: &Path) -> Result<FileSizes, ReadError> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(unsigned);
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    Ok(FileSizes {
        database: bytes(path),
        wal: bytes(&beside(path, "-wal")),
        free: pragma("freelist_count")? * pragma("page_size")?,
    })
}
