//! Rows and what they mean: the one place that turns columns into values of the domain and back.

use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::event::{Event, NewEvent, Recorded, UnreadableEvent};
use moothall_actors::domain::id::{AgentId, EventId, Role, StreamId, TaskId, Timestamp};
use moothall_actors::domain::problem::Problem;
use moothall_actors::domain::queue::QueueState;
use moothall_actors::domain::task::TaskKind;
use moothall_actors::ports::{TaskRow, TaskStatus};
use rusqlite::Row;
use rusqlite::types::{Type, ValueRef};

/// An event as it is stored, its payload unread: for whoever passes it on, and for finding what cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub seq: u64,
    pub stream: StreamId,
    pub version: u64,
    pub id: EventId,
    pub kind: String,
    pub schema: u32,
    pub at: Timestamp,
    pub correlation: Option<Arc<str>>,
    pub causation: Option<EventId>,
    /// JSON of one variant's fields.
    pub payload: String,
}

impl StoredEvent {
    /// The columns that [`StoredEvent::read`] expects, of `events AS e` joined with `streams AS s`.
    pub(super) const COLUMNS: &'static str =
        "e.seq, s.name, e.version, e.event_id, e.type, e.schema, e.at, e.correlation, e.causation, e.payload";

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: unsigned(row.get(0)?),
            stream: StreamId::named(text(row, 1)?),
            version: unsigned(row.get(2)?),
            id: EventId(row.get(3)?),
            kind: row.get(4)?,
            schema: row.get(5)?,
            at: Timestamp(unsigned(row.get(6)?)),
            correlation: row.get(7)?,
            causation: row.get::<_, Option<[u8; 16]>>(8)?.map(EventId),
            payload: row.get(9)?,
        })
    }

    /// Reads the payload.
    pub fn decode(self) -> Result<Recorded, UnreadableEvent> {
        let event = Event::decode(&self.kind, self.schema, self.payload.as_bytes())?;
        Ok(Recorded {
            seq: self.seq,
            stream: self.stream,
            version: self.version,
            schema: self.schema,
            event: NewEvent {
                id: self.id,
                at: self.at,
                correlation: self.correlation,
                causation: self.causation,
                event,
            },
        })
    }
}

/// The columns that [`task_row`] expects.
pub(super) const TASK_COLUMNS: &str = "task, role, kind, status, run, keyed, content_hash, version, story_id, winner, \
                                       error, duration_ms, accepted_at, ended_at, \
                                       (SELECT q.state FROM queue q WHERE q.seq = tasks.seq)";

pub(super) fn task_row(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    Ok(TaskRow {
        task: parsed(row, 0, |text| TaskId::parse("task", text))?,
        role: parsed(row, 1, |text| Role::parse("role", text))?,
        kind: named(row, 2, kind_named)?,
        status: named(row, 3, status_named)?,
        run: row.get(4)?,
        keyed: row.get(5)?,
        content_hash: row.get(6)?,
        version: unsigned(row.get(7)?),
        story_id: row.get(8)?,
        winner: row
            .get_ref(9)?
            .as_str_or_null()?
            .map(|_| parsed(row, 9, |text| AgentId::parse("winner", text)))
            .transpose()?,
        error: row.get(10)?,
        duration: row.get::<_, Option<i64>>(11)?.map(|ms| Duration::from_millis(unsigned(ms))),
        accepted_at: Timestamp(unsigned(row.get(12)?)),
        ended_at: row.get::<_, Option<i64>>(13)?.map(|ms| Timestamp(unsigned(ms))),
        queue: row.get_ref(14)?.as_str_or_null()?.map(|_| named(row, 14, QueueState::named)).transpose()?,
    })
}

/// A role and a kind, side by side from `column` on.
pub(super) fn role_and_kind(row: &Row<'_>, column: usize) -> rusqlite::Result<(Role, TaskKind)> {
    Ok((parsed(row, column, |text| Role::parse("role", text))?, named(row, column + 1, kind_named)?))
}

pub(super) fn status_text(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Open => "open",
        TaskStatus::Completed => "completed",
        TaskStatus::Failed => "failed",
        TaskStatus::Cancelled => "cancelled",
        TaskStatus::Skipped => "skipped",
    }
}

fn status_named(text: &str) -> Option<TaskStatus> {
    [TaskStatus::Open, TaskStatus::Completed, TaskStatus::Failed, TaskStatus::Cancelled, TaskStatus::Skipped]
        .into_iter()
        .find(|status| status_text(*status) == text)
}

pub(super) fn kind_text(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Deliberate => "deliberate",
        TaskKind::Orchestrate => "orchestrate",
    }
}

fn kind_named(text: &str) -> Option<TaskKind> {
    [TaskKind::Deliberate, TaskKind::Orchestrate].into_iter().find(|kind| kind_text(*kind) == text)
}

/// SQLite knows signed numbers only. The bits stay, so any number comes back as it was.
pub(super) fn signed(number: u64) -> i64 {
    number.cast_signed()
}

pub(super) fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

/// A limit as SQL wants it.
pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn text<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<&'r str> {
    Ok(row.get_ref(column)?.as_str()?)
}

fn parsed<T>(row: &Row<'_>, column: usize, parse: impl Fn(&str) -> Result<T, Problem>) -> rusqlite::Result<T> {
    parse(text(row, column)?).map_err(|problem| unexpected(column, problem.to_string()))
}

fn named<T>(row: &Row<'_>, column: usize, find: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text = text(row, column)?;
    find(text).ok_or_else(|| unexpected(column, format!("{text:?} is unknown")))
}

pub(super) fn unexpected(column: usize, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}

/// JSON is UTF-8: bound as text without looking at it again.
pub(super) fn json(payload: &[u8]) -> rusqlite::types::ToSqlOutput<'_> {
    rusqlite::types::ToSqlOutput::Borrowed(ValueRef::Text(payload))
}
