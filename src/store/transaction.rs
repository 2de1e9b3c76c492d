//! One group of batches in one transaction. Each batch is checked whole before anything of it is written, so a refused
//! one touches nothing and costs its neighbours nothing.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use moothall_actors::domain::event::{NewEvent, SCHEMA};
use moothall_actors::ports::{AT_THE_END, Committed, JournalError};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _};

use super::error::Cure;
use super::exchange;
use super::projection::Projection;
use super::queue::{EncodedAppend, Pending};
use super::row::{json, signed, unsigned};
use super::streams::Streams;

/// What one batch is told once the transaction holds.
pub(super) type Outcome = Result<Committed, JournalError>;

/// What a transaction did, as soon as it holds.
pub(super) struct Written {
    /// One for each batch.
    pub(super) outcomes: Vec<Outcome>,
    /// The place of its last event; `None` = it has none.
    pub(super) last: Option<u64>,
}

/// Whether a batch that breaks a rule of the tables may be refused alone. That takes a savepoint for each, so it is
/// done only after the group failed without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    Quick,
    Sift,
}

/// Writes the group between BEGIN and COMMIT, which are the caller's. No statement is left open: a checkpoint inside
/// the commit would have to leave pages behind.
pub(super) fn write(
    conn: &Connection,
    streams: &mut Streams,
    group: &VecDeque<Pending>,
    care: Care,
) -> rusqlite::Result<Written> {
    let mut work = Work {
        conn,
        streams,
        insert_event: conn.prepare_cached(
            "INSERT INTO events (stream, version, event_id, type, schema, at, correlation, causation, payload) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?,
        projection: Projection::new(conn),
        now: now(),
        last: None,
    };
    let mut outcomes = Vec::with_capacity(group.len());
    for pending in group {
        work.streams.trim();
        outcomes.push(match care {
            Care::Quick => work.batch(pending)?,
            Care::Sift => work.batch_alone(pending)?,
        });
    }
    work.projection.save()?;
    Ok(Written { outcomes, last: work.last.map(unsigned) })
}

/// In milliseconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

struct Work<'c> {
    conn: &'c Connection,
    streams: &'c mut Streams,
    insert_event: CachedStatement<'c>,
    projection: Projection<'c>,
    now: i64,
    last: Option<i64>,
}

impl Work<'_> {
    fn batch(&mut self, pending: &Pending) -> rusqlite::Result<Outcome> {
        // What asks for no version finds no conflict either: only its events tell that it was written before.
        let is_bound = !pending.appends.iter().any(|append| append.expected_version == AT_THE_END);
        if !is_bound && let Some(first_seq) = self.first_seq_of_all(pending)? {
            return Ok(Ok(Committed { first_seq }));
        }
        let bases = match self.claim(&pending.appends)? {
            Ok(bases) => bases,
            Err(conflict) => {
                return Ok(match self.first_seq_of_all(pending)? {
                    Some(first_seq) => Ok(Committed { first_seq }),
                    None => Err(conflict),
                });
            }
        };
        if let Some(receipt) = &pending.receipt {
            if exchange::is_received(self.conn, receipt)? {
                self.disclaim(&pending.appends, &bases)?;
                return Ok(Err(JournalError::Received));
            }
            exchange::note(self.conn, receipt, self.now)?;
        }
        if let Some(cursor) = &pending.cursor {
            exchange::save(self.conn, cursor)?;
        }
        let mut first_seq = None;
        for (append, base) in pending.appends.iter().zip(bases) {
            let seq = self.append(append, base)?;
            first_seq = first_seq.or(seq);
        }
        Ok(Ok(Committed { first_seq: first_seq.unwrap_or(0) }))
    }

    /// Notes the versions that the batch will make, or none of them. The version before each append.
    fn claim(&mut self, appends: &[EncodedAppend]) -> rusqlite::Result<Result<Vec<u64>, JournalError>> {
        let mut bases = Vec::with_capacity(appends.len());
        for append in appends {
            let (stream, expected) = (append.stream.clone(), append.expected_version);
            let standing = match expected {
                0 | AT_THE_END => self.streams.standing_of_new(self.conn, &stream)?,
                _ => self.streams.standing(self.conn, &stream)?,
            };
            let actual = standing.as_ref().map_or(0, |standing| standing.version);
            let is_expected = actual == expected || expected == AT_THE_END;
            match standing {
                Some(standing) if is_expected && !standing.pruned => {
                    standing.version += append.events.len() as u64;
                    if std::mem::take(&mut standing.new) {
                        self.projection.count_stream();
                    }
                    bases.push(actual);
                }
                _ => {
                    self.disclaim(appends, &bases)?;
                    return Ok(Err(JournalError::Conflict { stream, expected, actual }));
                }
            }
        }
        Ok(Ok(bases))
    }

    /// As many as there are bases.
    fn disclaim(&mut self, claimed: &[EncodedAppend], bases: &[u64]) -> rusqlite::Result<()> {
        for (append, base) in claimed.iter().zip(bases).rev() {
            if let Some(standing) = self.streams.standing(self.conn, &append.stream)? {
                standing.version = *base;
            }
        }
        Ok(())
    }

    /// A batch that comes again was written before: all of its events are there.
    fn first_seq_of_all(&self, pending: &Pending) -> rusqlite::Result<Option<u64>> {
        let mut find = self.conn.prepare_cached("SELECT seq FROM events WHERE event_id = ?1")?;
        let mut first = None;
        for event in pending.events() {
            let seq: Option<i64> = find.query_row([event.id.0], |row| row.get(0)).optional()?;
            let Some(seq) = seq else { return Ok(None) };
            first = first.or(Some(unsigned(seq)));
        }
        Ok(first)
    }

    /// The seq of its first event.
    fn append(&mut self, append: &EncodedAppend, base: u64) -> rusqlite::Result<Option<u64>> {
        let standing = self.streams.standing(self.conn, &append.stream)?;
        let stream = standing.ok_or(rusqlite::Error::QueryReturnedNoRows)?.id;
        let mut first = None;
        for (version, (event, payload)) in (base + 1..).zip(append.encoded()) {
            let seq = self.insert(stream, version, event, payload)?;
            self.projection.apply(&append.stream, version, seq, event)?;
            first = first.or(Some(unsigned(seq)));
        }
        Ok(first)
    }

    fn insert(&mut self, stream: i64, version: u64, event: &NewEvent, payload: &[u8]) -> rusqlite::Result<i64> {
        self.insert_event.execute((
            stream,
            signed(version),
            event.id.0,
            event.event.kind(),
            SCHEMA,
            signed(event.at.0),
            event.correlation.as_deref(),
            event.causation.map(|id| id.0),
            json(payload),
        ))?;
        let seq = self.conn.last_insert_rowid();
        self.last = Some(seq);
        Ok(seq)
    }

    fn batch_alone(&mut self, pending: &Pending) -> rusqlite::Result<Outcome> {
        let sums = self.projection.sums();
        self.conn.execute_batch("SAVEPOINT batch")?;
        let outcome = match self.batch(pending) {
            Err(error) if Cure::of(&error) == Cure::Sift => {
                self.conn.execute_batch("ROLLBACK TO batch")?;
                self.streams.forget();
                self.projection.take_back(sums);
                Err(self.refusal(pending, &error)?)
            }
            outcome => outcome?,
        };
        self.conn.execute_batch("RELEASE batch")?;
        Ok(outcome)
    }

    /// An event id that is there already, in another place or beside new ones: somebody wrote first.
    fn refusal(&mut self, pending: &Pending, error: &rusqlite::Error) -> rusqlite::Result<JournalError> {
        let Some(append) = pending.appends.first().filter(|_| is_repeat(error)) else {
            return Ok(JournalError::Unusable(format!("a batch was refused: {error}").into()));
        };
        let standing = self.streams.standing(self.conn, &append.stream)?;
        let actual = standing.map_or(0, |standing| standing.version);
        Ok(JournalError::Conflict { stream: append.stream.clone(), expected: append.expected_version, actual })
    }
}

fn is_repeat(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}
