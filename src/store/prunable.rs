//! What may be pruned, and what was: questions to a reader's connection, so that the writer never searches.

use moothall_actors::domain::id::Timestamp;
use rusqlite::Connection;

use super::error::ReadError;
use super::row::{limit, signed, unsigned};

/// Of the streams of messages that nobody could act on, one event each.
const MESSAGES: &str = "message/";

/// Rows looked at in one read.
const PAGE: usize = 1_024;

/// A page of rows, and where the next one begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// The numbers of those that are old enough.
    pub(super) found: Vec<i64>,
    pub(super) last: i64,
    /// Nothing behind it is old enough.
    pub(super) end: bool,
}

/// What was pruned, and what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// From this place on no event is missing.
    pub first_kept: u64,
    /// Of the first event from there on.
    pub oldest: Option<Timestamp>,
    /// Of the last event that is there.
    pub newest: Option<Timestamp>,
    /// Pruned tasks whose ids and outcomes are still known.
    pub tombstones: u64,
    /// When the last prune ended.
    pub last_prune: Option<Timestamp>,
    /// Tasks that it pruned, and all before it.
    pub last_tasks: u64,
    pub tasks: u64,
}

/// Tasks stand in the order of their acceptance, which is that of their age but for long ones and changes of the clock:
/// a whole page without an old one is the end.
pub(super) fn tasks(conn: &Connection, after: i64, ended_before: Timestamp) -> Result<Page, ReadError> {
    let before = signed(ended_before.0);
    let mut rows = conn.prepare_cached(
        "SELECT seq, accepted_at < ?2, coalesce(status <> 'open' AND ended_at < ?2, FALSE) FROM tasks WHERE seq > ?1 ORDER BY seq LIMIT ?3",
    )?;
    page(&mut rows, after, before)
}

/// Tombstones stand in the order of their tasks' acceptance, which is about that of their age.
pub(super) fn tombstones(conn: &Connection, after: i64, pruned_before: Timestamp) -> Result<Page, ReadError> {
    let before = signed(pruned_before.0);
    let mut rows = conn.prepare_cached(
        "SELECT stream, pruned_at < ?2, pruned_at < ?2 FROM tombstones WHERE stream > ?1 ORDER BY stream LIMIT ?3",
    )?;
    page(&mut rows, after, before)
}

fn page(rows: &mut rusqlite::CachedStatement<'_>, after: i64, before: i64) -> Result<Page, ReadError> {
    let mut page = Page { last: after, ..Page::default() };
    let (mut seen, mut old) = (0, 0);
    let mut rows = rows.query((after, before, limit(PAGE)))?;
    while let Some(row) = rows.next()? {
        let (number, is_old, is_due): (i64, bool, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        seen += 1;
        old += usize::from(is_old);
        page.last = number;
        if is_due {
            page.found.push(number);
        }
    }
    page.end = seen < PAGE || old == 0;
    Ok(page)
}

/// Rejected messages that are old enough, by the numbers of their streams, and behind which name the next page begins;
/// `None` = this is the last one. Their names say nothing of their age: all are looked at.
pub(super) fn messages(
    conn: &Connection,
    after: &str,
    rejected_before: Timestamp,
) -> Result<(Vec<i64>, Option<String>), ReadError> {
    let mut rows = conn.prepare_cached(
        "SELECT s.id, s.name, e.at < ?3 FROM streams s CROSS JOIN events e ON e.stream = s.id \
         WHERE s.name > ?1 AND s.name < ?2 ORDER BY s.name LIMIT ?4",
    )?;
    let beyond = format!("{MESSAGES}{}", char::MAX);
    let mut rows = rows.query((after.max(MESSAGES), beyond, signed(rejected_before.0), limit(PAGE)))?;
    let (mut found, mut seen, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        seen += 1;
        if row.get(2)? {
            found.push(row.get(0)?);
        }
        last = Some(row.get(1)?);
    }
    Ok((found, last.filter(|_| seen == PAGE)))
}

/// How many tasks a prune would find now. Looks at every task.
pub(super) fn count(conn: &Connection, ended_before: Timestamp) -> Result<u64, ReadError> {
    let sql = "SELECT count(*) FROM tasks WHERE status <> 'open' AND ended_at < ?1";
    Ok(conn.query_row(sql, [signed(ended_before.0)], |row| row.get(0)).map(unsigned)?)
}

pub(super) fn retained(conn: &Connection) -> Result<Retained, ReadError> {
    let mut statement = conn.prepare_cached(
        "SELECT s.first_kept, (SELECT at FROM events WHERE seq >= s.first_kept ORDER BY seq LIMIT 1), \
         (SELECT at FROM events ORDER BY seq DESC LIMIT 1), p.tombstones, p.at, p.last_tasks, p.tasks FROM store s, pruned p",
    )?;
    let time = |at: Option<i64>| at.map(|at| Timestamp(unsigned(at)));
    Ok(statement.query_row([], |row| {
        Ok(Retained {
            first_kept: unsigned(row.get(0)?),
            oldest: time(row.get(1)?),
            newest: time(row.get(2)?),
            tombstones: unsigned(row.get(3)?),
            last_prune: time(row.get(4)?),
            last_tasks: unsigned(row.get(5)?),
            tasks: unsigned(row.get(6)?),
        })
    })?)
}
