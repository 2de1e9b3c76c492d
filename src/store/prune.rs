//! The steps of pruning, on the writer's thread: each is one transaction and takes some milliseconds, however much there
//! is to do. A stop between two of them, of any kind, leaves a sound store.
//!
//! ```text
//!  doom: tombstone for the row, named as doomed ─▶ reap: its events, oldest run last ─▶ shrink: pages to the file system
//!                                                                                 later: forget the tombstone
//! ```
//!
//! First the tombstone, then the events: at no time may a task's id be free, or its answer be half of what it was.

use std::time::{Duration, Instant};

use moothall_actors::domain::id::{StreamId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use super::row::{limit, signed, unsigned};
use super::streams::Streams;

/// A step ends when it took so long, even if it could do more: appends wait meanwhile.
const PATIENCE: Duration = Duration::from_millis(4);
/// Events that are looked up at once.
const LOOKED_UP: usize = 16;
/// Longest error of a tombstone, in characters.
const ERROR_CHARACTERS: i64 = 1_024;
/// One page in so many may stay free: what is written next needs it, and moving pages costs as much as writing them.
const SPARE: i64 = 20;

/// One step to take.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Ended tasks, by the seq of their acceptance, become tombstones; those that ended later are left alone.
    Doom { tasks: Vec<i64>, ended_before: Timestamp, now: Timestamp },
    /// Deletes events of doomed tasks, so many at most.
    Reap { events: usize },
    /// Deletes rejected messages, by their streams; those that came later, or that some reader has not seen, stay.
    Drop { messages: Vec<i64>, rejected_before: Timestamp },
    /// Takes away tombstones, by their streams; those made later are left alone.
    Forget { tombstones: Vec<i64>, pruned_before: Timestamp },
    /// Gives free pages back.
    Shrink,
    /// Notes that a prune has ended.
    Note { now: Timestamp, tasks: u64 },
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) tasks: u64,
    pub(super) events: u64,
    pub(super) tombstones: u64,
    pub(super) pages: u64,
    /// The same step would find more to do.
    pub(super) more: bool,
    /// How long it kept the writer.
    pub(super) took: Duration,
}

/// Between BEGIN and COMMIT, which are the caller's.
pub(super) fn take(conn: &Connection, streams: &mut Streams, step: &Step) -> rusqlite::Result<Done> {
    match step {
        Step::Doom { tasks, ended_before, now } => doom(conn, streams, tasks, *ended_before, *now),
        Step::Reap { events } => reap(conn, streams, *events),
        Step::Drop { messages, rejected_before } => drop_messages(conn, streams, messages, *rejected_before),
        Step::Forget { tombstones, pruned_before } => forget(conn, streams, tombstones, *pruned_before),
        Step::Shrink => shrink(conn),
        Step::Note { now, tasks } => {
            let mut note = conn.prepare_cached("UPDATE pruned SET at = ?1, last_tasks = ?2")?;
            note.execute((signed(now.0), signed(*tasks)))?;
            Ok(Done::default())
        }
    }
}

/// No row where the task is open again, ended too late, or has an event that some reader has not seen.
const BURY: &str = "INSERT INTO tombstones (stream, version, role, kind, status, run, content_hash, winner, error, \
     duration_ms, accepted_at, ended_at, pruned_at) \
     SELECT s.id, t.version, t.role, t.kind, t.status, t.run, t.content_hash, t.winner, substr(t.error, 1, ?4), \
     t.duration_ms, t.accepted_at, t.ended_at, ?3 \
     FROM tasks t JOIN streams s ON s.name = 'task/' || t.task \
     WHERE t.seq = ?1 AND t.status <> 'open' AND t.ended_at < ?2 AND NOT EXISTS ( \
     SELECT 1 FROM cursors c JOIN events e ON e.seq > c.seq WHERE e.stream IN (s.id, \
     (SELECT d.id FROM streams d WHERE d.name = 'deliberation/' || t.task || '/' || t.run))) \
     RETURNING stream, run, status = 'completed'";

fn doom(
    conn: &Connection,
    streams: &mut Streams,
    tasks: &[i64],
    ended_before: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<Done> {
    let mut bury = conn.prepare_cached(BURY)?;
    let mut mark = conn.prepare_cached("INSERT INTO doomed (stream, run) VALUES (?1, ?2)")?;
    let mut remove = conn.prepare_cached("DELETE FROM tasks WHERE seq = ?1 RETURNING task")?;
    let (mut doomed, mut completed) = (0_i64, 0_i64);
    for seq in tasks {
        let buried = bury
            .query_row((seq, signed(ended_before.0), signed(now.0), ERROR_CHARACTERS), |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })
            .optional()?;
        let Some((stream, run, is_completed)) = buried else { continue };
        mark.execute((stream, run))?;
        let task: String = remove.query_row([seq], |row| row.get(0))?;
        streams.forget_one(&StreamId::named(&format!("task/{task}")));
        doomed += 1;
        completed += is_completed;
    }
    conn.prepare_cached("UPDATE totals SET tasks = tasks - ?1, streams = streams - ?1")?.execute([doomed])?;
    conn.prepare_cached(
        "UPDATE pruned SET tasks = tasks + ?1, completed = completed + ?2, tombstones = tombstones + ?1",
    )?
    .execute((doomed, completed))?;
    Ok(Done { tasks: unsigned(doomed), ..Done::default() })
}

/// One step of deleting, and how far it got.
struct Reaper<'c> {
    conn: &'c Connection,
    streams: &'c mut Streams,
    begun: Instant,
    most: usize,
    /// Events deleted, and runs that had none: they cost time too.
    work: usize,
    events: i64,
    /// Streams of which nothing is left.
    emptied: i64,
    highest: i64,
}

fn reap(conn: &Connection, streams: &mut Streams, most: usize) -> rusqlite::Result<Done> {
    let mut reaper = Reaper::new(conn, streams, most.max(1));
    let mut more = true;
    while more && !reaper.is_tired() {
        more = reaper.next_stream()?;
    }
    reaper.count()?;
    Ok(Done { events: unsigned(reaper.events), more, ..Done::default() })
}

/// Each is one event of up to a megabyte. Asked for again, those that are gone are none.
fn drop_messages(
    conn: &Connection,
    streams: &mut Streams,
    messages: &[i64],
    rejected_before: Timestamp,
) -> rusqlite::Result<Done> {
    let mut reaper = Reaper::new(conn, streams, messages.len());
    for (place, stream) in messages.iter().enumerate() {
        reaper.drop_message(*stream, rejected_before)?;
        if reaper.is_tired() && place + 1 < messages.len() {
            reaper.count()?;
            return Ok(Done { events: unsigned(reaper.events), more: true, ..Done::default() });
        }
    }
    reaper.count()?;
    Ok(Done { events: unsigned(reaper.events), ..Done::default() })
}

impl<'c> Reaper<'c> {
    fn new(conn: &'c Connection, streams: &'c mut Streams, most: usize) -> Self {
        Self { conn, streams, begun: Instant::now(), most, work: 0, events: 0, emptied: 0, highest: 0 }
    }

    fn drop_message(&mut self, stream: i64, rejected_before: Timestamp) -> rusqlite::Result<()> {
        let mut delete = self.conn.prepare_cached(
            "DELETE FROM events WHERE stream = ?1 AND at < ?2 \
             AND NOT EXISTS (SELECT 1 FROM cursors c WHERE c.seq < events.seq) RETURNING seq",
        )?;
        let seq: Option<i64> = delete.query_row((stream, signed(rejected_before.0)), |row| row.get(0)).optional()?;
        let Some(seq) = seq else { return Ok(()) };
        let mut free = self.conn.prepare_cached("DELETE FROM streams WHERE id = ?1 RETURNING name")?;
        let name: String = free.query_row([stream], |row| row.get(0))?;
        self.streams.forget_one(&StreamId::named(&name));
        self.work += 1;
        self.events += 1;
        self.emptied += 1;
        self.highest = self.highest.max(seq);
        Ok(())
    }

    fn is_tired(&self) -> bool {
        self.work >= self.most || (self.work > 0 && self.begun.elapsed() >= PATIENCE)
    }

    /// Deletes events of the stream whose turn it is; `false` = nothing is doomed.
    fn next_stream(&mut self) -> rusqlite::Result<bool> {
        let mut first = self.conn.prepare_cached(
            "SELECT d.stream, d.run, s.name FROM doomed d JOIN streams s ON s.id = d.stream ORDER BY d.stream LIMIT 1",
        )?;
        let found = first
            .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?)))
            .optional()?;
        let Some((task, run, name)) = found else { return Ok(false) };
        if run == 0 {
            if self.delete_events(task)? {
                self.conn.prepare_cached("DELETE FROM doomed WHERE stream = ?1")?.execute([task])?;
            }
            return Ok(true);
        }
        let name = format!("deliberation/{}/{run}", name.strip_prefix("task/").unwrap_or(&name));
        let mut find = self.conn.prepare_cached("SELECT id FROM streams WHERE name = ?1")?;
        let deliberation: Option<i64> = find.query_row([&name], |row| row.get(0)).optional()?;
        if let Some(deliberation) = deliberation {
            if !self.delete_events(deliberation)? {
                return Ok(true);
            }
            self.conn.prepare_cached("DELETE FROM streams WHERE id = ?1")?.execute([deliberation])?;
            self.streams.forget_one(&StreamId::named(&name));
            self.emptied += 1;
        }
        self.conn.prepare_cached("UPDATE doomed SET run = run - 1 WHERE stream = ?1")?.execute([task])?;
        self.work += 1;
        Ok(true)
    }

    /// Whether none is left of the stream.
    fn delete_events(&mut self, stream: i64) -> rusqlite::Result<bool> {
        let mut find =
            self.conn.prepare_cached("SELECT seq FROM events WHERE stream = ?1 ORDER BY version LIMIT ?2")?;
        let mut delete = self.conn.prepare_cached("DELETE FROM events WHERE seq = ?1")?;
        loop {
            let seqs: Vec<i64> =
                find.query_map((stream, limit(LOOKED_UP)), |row| row.get(0))?.collect::<Result<_, _>>()?;
            for seq in &seqs {
                if self.is_tired() {
                    return Ok(false);
                }
                delete.execute([seq])?;
                self.work += 1;
                self.events += 1;
                self.highest = self.highest.max(*seq);
            }
            if seqs.len() < LOOKED_UP {
                return Ok(true);
            }
        }
    }

    fn count(&self) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached("UPDATE totals SET events = events - ?1, streams = streams - ?2")?
            .execute((self.events, self.emptied))?;
        self.conn.prepare_cached("UPDATE pruned SET events = events + ?1")?.execute([self.events])?;
        let mut keep = self.conn.prepare_cached("UPDATE store SET first_kept = ?1 WHERE first_kept < ?1")?;
        keep.execute([self.highest + 1]).map(drop)
    }
}

fn forget(
    conn: &Connection,
    streams: &mut Streams,
    tombstones: &[i64],
    pruned_before: Timestamp,
) -> rusqlite::Result<Done> {
    let mut remove = conn.prepare_cached(
        "DELETE FROM tombstones WHERE stream = ?1 AND pruned_at < ?2 \
         AND NOT EXISTS (SELECT 1 FROM doomed d WHERE d.stream = ?1)",
    )?;
    let mut free = conn.prepare_cached("DELETE FROM streams WHERE id = ?1 RETURNING name")?;
    let mut forgotten = 0_i64;
    for stream in tombstones {
        if remove.execute((stream, signed(pruned_before.0)))? == 0 {
            continue;
        }
        let name: Option<String> = free.query_row([stream], |row| row.get(0)).optional()?;
        name.iter().for_each(|name| streams.forget_one(&StreamId::named(name)));
        forgotten += 1;
    }
    conn.prepare_cached("UPDATE pruned SET tombstones = tombstones - ?1")?.execute([forgotten])?;
    Ok(Done { tombstones: unsigned(forgotten), ..Done::default() })
}

/// Each row that the pragma gives is a page that moved or went.
fn shrink(conn: &Connection) -> rusqlite::Result<Done> {
    let begun = Instant::now();
    let pages = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (free, all) = (pages("freelist_count")?, pages("page_count")?);
    let surplus = free - all / SPARE;
    if surplus <= 0 {
        return Ok(Done::default());
    }
    let mut vacuum = conn.prepare(&format!("PRAGMA incremental_vacuum({surplus})"))?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() && begun.elapsed() < PATIENCE {}
    drop(steps);
    let freed = free - pages("freelist_count")?;
    Ok(Done { pages: unsigned(freed.max(0)), more: freed > 0 && freed < surplus, ..Done::default() })
}
