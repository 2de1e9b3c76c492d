//! Whether a store is sound: the file, the order of every stream, every payload, and what is projected from them.

use moothall_actors::domain::event::Event;
use rusqlite::{Connection, Row};

use super::error::ReadError;
use super::row::{StoredEvent, unsigned};

/// Problems that are told in words; the others are only counted.
const TOLD: usize = 20;

/// What a look at everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub events: u64,
    pub streams: u64,
    pub tasks: u64,
    /// How many problems there are.
    pub problems: u64,
    /// The first of them, a line each.
    pub first_problems: Vec<String>,
}

impl VerifyReport {
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems == 0
    }

    fn tell(&mut self, problem: String) {
        self.problems += 1;
        if self.first_problems.len() < TOLD {
            self.first_problems.push(problem);
        }
    }

    /// Each row is a problem in words.
    fn tell_all(&mut self, conn: &Connection, sql: &str) -> Result<(), ReadError> {
        let mut statement = conn.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.tell(row.get(0)?);
        }
        Ok(())
    }
}

/// Streams whose versions do not run from 1 without gaps; only one that is just being deleted begins later.
const GAPS: &str = "SELECT 'stream ' || coalesce(s.name, e.stream) || ' has ' || count(*) || ' events with versions ' \
     || min(e.version) || ' to ' || max(e.version) \
     FROM events e LEFT JOIN streams s ON s.id = e.stream GROUP BY e.stream \
     HAVING count(*) <> max(e.version) - min(e.version) + 1 \
     OR (min(e.version) <> 1 AND NOT EXISTS (SELECT 1 FROM doomed d JOIN streams t ON t.id = d.stream \
     WHERE s.name IN (t.name, 'deliberation/' || substr(t.name, 6) || '/' || d.run)))";

/// Tombstones stand alone, each under the name of its task.
const TOMBSTONES: &str = "SELECT 'tombstone ' || b.stream || ' is of no task' FROM tombstones b \
     WHERE NOT EXISTS (SELECT 1 FROM streams s WHERE s.id = b.stream AND s.name LIKE 'task/%') UNION ALL \
     SELECT 'task ' || t.task || ' is there, and its tombstone' FROM tasks t JOIN streams s ON s.name = 'task/' || t.task \
     JOIN tombstones b ON b.stream = s.id UNION ALL \
     SELECT 'stream ' || d.stream || ' is to be deleted without a tombstone' FROM doomed d \
     WHERE NOT EXISTS (SELECT 1 FROM tombstones b WHERE b.stream = d.stream) UNION ALL \
     SELECT s.name || ' has a tombstone, and ' || count(*) || ' events' FROM tombstones b \
     JOIN streams s ON s.id = b.stream JOIN events e ON e.stream = b.stream \
     WHERE NOT EXISTS (SELECT 1 FROM doomed d WHERE d.stream = b.stream) GROUP BY b.stream";

const NAMELESS: &str = "SELECT count(*) || ' events belong to no stream' FROM events e \
     WHERE NOT EXISTS (SELECT 1 FROM streams s WHERE s.id = e.stream) HAVING count(*) > 0";

const FINALS: &str = "SELECT e.stream, json_extract(e.payload, '$.run') AS run FROM events e \
     WHERE e.type IN ('TaskCompleted', 'TaskFailed', 'TaskCancelled') AND json_valid(e.payload)";

/// Ends of a run that were taken back, since another daemon had it.
const SUPERSEDED: &str = "SELECT count(*) FROM events o WHERE o.stream = f.stream AND o.type = 'RunSuperseded' \
     AND json_extract(o.payload, '$.run') = f.run";

/// Other runs of the task ended in the journal of another daemon.
const ELSEWHERE: &str = "SELECT 1 FROM events o WHERE o.stream = s.id AND o.type IN ('RunSuperseded', 'TaskTakenOver')";

/// Counts that the writer keeps, and what they should be.
const SUMS: &str = "SELECT 'the count of ' || name || ' is ' || kept || ', there are ' || counted FROM ( \
     SELECT 'events' AS name, events AS kept, (SELECT count(*) FROM events) AS counted FROM totals UNION ALL \
     SELECT 'streams', streams, (SELECT count(*) FROM streams) - (SELECT count(*) FROM tombstones) FROM totals UNION ALL \
     SELECT 'tasks', tasks, (SELECT count(*) FROM tasks) FROM totals UNION ALL \
     SELECT 'open tasks', open_tasks, (SELECT count(*) FROM tasks WHERE status = 'open') FROM totals UNION ALL \
     SELECT 'tombstones', tombstones, (SELECT count(*) FROM tombstones) FROM pruned UNION ALL \
     SELECT 'completed tasks', (SELECT coalesce(sum(tasks), 0) FROM finished) - (SELECT completed FROM pruned), \
     (SELECT count(*) FROM tasks WHERE status = 'completed')) WHERE kept <> counted";

pub(super) fn verify(conn: &Connection) -> Result<VerifyReport, ReadError> {
    let snapshot = conn.unchecked_transaction()?;
    let mut report = VerifyReport::default();
    check_file(&snapshot, &mut report)?;
    report.tell_all(&snapshot, GAPS)?;
    report.tell_all(&snapshot, NAMELESS)?;
    report.tell_all(&snapshot, TOMBSTONES)?;
    check_payloads(&snapshot, &mut report)?;
    check_finals(&snapshot, &mut report)?;
    report.tell_all(&snapshot, SUMS)?;
    let count = |sql| snapshot.query_row(sql, [], |row: &Row<'_>| row.get(0)).map(unsigned);
    report.streams = count("SELECT (SELECT count(*) FROM streams) - (SELECT count(*) FROM tombstones)")?;
    report.tasks = count("SELECT count(*) FROM tasks")?;
    Ok(report)
}

fn check_file(conn: &Connection, report: &mut VerifyReport) -> Result<(), ReadError> {
    let mut statement = conn.prepare("PRAGMA integrity_check(100)")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        if said != "ok" {
            report.tell(format!("the file: {said}"));
        }
    }
    Ok(())
}

fn check_payloads(conn: &Connection, report: &mut VerifyReport) -> Result<(), ReadError> {
    let sql =
        format!("SELECT {} FROM events e CROSS JOIN streams s ON s.id = e.stream ORDER BY e.seq", StoredEvent::COLUMNS);
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        report.events += 1;
        let event = match StoredEvent::read(row) {
            Ok(event) => event,
            Err(error) => {
                report.tell(format!("event {}: {error}", row.get::<_, i64>(0)?));
                continue;
            }
        };
        if let Err(error) = Event::decode(&event.kind, event.schema, event.payload.as_bytes()) {
            report.tell(format!("event {}: {}", event.seq, super::error::chain(&error)));
        }
    }
    Ok(())
}

/// Every ended run of a task has exactly one final event, and no other run has one.
fn check_finals(conn: &Connection, report: &mut VerifyReport) -> Result<(), ReadError> {
    report.tell_all(
        conn,
        &format!(
            "SELECT s.name || ' has ' || count(*) || ' final events of run ' || f.run \
             FROM ({FINALS}) f JOIN streams s ON s.id = f.stream GROUP BY f.stream, f.run \
             HAVING count(*) > 1 AND count(*) > 1 + ({SUPERSEDED})"
        ),
    )?;
    report.tell_all(
        conn,
        &format!(
            "SELECT 'task ' || t.task || ' is ' || t.status || ' in run ' || t.run || ' and has ' || count(f.run) \
             || ' final events' \
             FROM tasks t JOIN streams s ON s.name = 'task/' || t.task LEFT JOIN ({FINALS}) f ON f.stream = s.id \
             GROUP BY t.seq \
             HAVING count(f.run) <> t.run - (t.status = 'open') AND NOT EXISTS ({ELSEWHERE})"
        ),
    )
}
