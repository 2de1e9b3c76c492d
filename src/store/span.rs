//! Between which places the events of a time stand, so that a day out of years is read as a day.
//!
//! Times nearly grow with places: the clock may be set back. The places are searched by halving, for a time that is
//! [`SLACK`] away from the wanted one, and the rows between them are compared one by one.

use std::time::Duration;

use moothall_actors::domain::id::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use super::error::ReadError;
use super::query::EventQuery;
use super::row::signed;

/// As far as the clock may have been set back without an event being overlooked.
const SLACK: Duration = Duration::from_secs(3_600);

/// Places, both exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) after: i64,
    pub(super) before: i64,
}

/// All that can hold an event which the query takes.
pub(super) fn of(conn: &Connection, query: &EventQuery) -> Result<Span, ReadError> {
    let mut span = Span { after: signed(query.after_seq), before: i64::MAX };
    if query.since.is_none() && query.until.is_none() {
        return Ok(span);
    }
    let last: Option<i64> = conn.query_row("SELECT max(seq) FROM events", [], |row| row.get(0))?;
    span.before = last.unwrap_or(0).saturating_add(1);
    let slack = u64::try_from(SLACK.as_millis()).unwrap_or(u64::MAX);
    if let Some(since) = query.since {
        span.after = halve(conn, span, Timestamp(since.0.saturating_sub(slack)))?.after;
    }
    if let Some(until) = query.until {
        span.before = halve(conn, span, Timestamp(until.0.saturating_add(slack)))?.before;
    }
    Ok(span)
}

/// As SQL compares it; whoever asks for the end of all times means it.
pub(super) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// Two places with no event between them: the first is an event before this time, or where the search began; the second
/// is one of this time or later, or where it ended.
fn halve(conn: &Connection, mut span: Span, at: Timestamp) -> Result<Span, ReadError> {
    let at = millis(at);
    // Numbers may be missing: the next event stands for them.
    let mut next =
        conn.prepare_cached("SELECT seq, at FROM events WHERE seq >= ?1 AND seq < ?2 ORDER BY seq LIMIT 1")?;
    while span.before.saturating_sub(span.after) > 1 {
        let middle = span.after + (span.before - span.after) / 2;
        let found = next.query_row((middle, span.before), |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).optional()?;
        match found {
            Some((seq, time)) if time < at => span.after = seq,
            Some(_) | None => span.before = middle,
        }
    }
    Ok(span)
}
