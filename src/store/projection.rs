//! What the journal's readers ask for most, kept beside it: tasks, councils and sums. Changed in the transaction of the
//! events themselves, so it can never say something else than they do.

use std::collections::BTreeMap;
use std::time::Duration;

use moothall_actors::domain::council::Council;
use moothall_actors::domain::event::{Event, NewEvent};
use moothall_actors::domain::id::{StreamId, TaskId, Timestamp};
use moothall_actors::domain::queue::QueueState;
use moothall_actors::domain::task::TaskSpec;
use moothall_actors::ports::{TaskStatus, failed_because_of, skipped_because_of};
use rusqlite::{Connection, OptionalExtension as _};

use super::row::{kind_text, signed, status_text, unexpected};
use super::workflow;

/// Differences that a transaction makes, added to the tables once at its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    events: i64,
    streams: i64,
    tasks: i64,
    open_tasks: i64,
    /// Per role and kind: completed tasks and their milliseconds.
    finished: BTreeMap<(String, String), (i64, i64)>,
}

pub(super) struct Projection<'c> {
    conn: &'c Connection,
    sums: Sums,
}

/// A task's row before a change.
struct Before {
    seq: i64,
    role: String,
    kind: String,
    status: String,
    duration_ms: Option<i64>,
}

/// What a change makes of it; the rest of the row stays.
struct After<'e> {
    status: TaskStatus,
    run: u32,
    winner: Option<&'e str>,
    error: Option<String>,
    duration: Option<Duration>,
    ended_at: Option<Timestamp>,
    may_heal: bool,
}

impl<'e> After<'e> {
    fn of(event: &'e NewEvent) -> Option<Self> {
        let ended = |status, run| {
            let (winner, error, duration, ended_at) = (None, None, None, Some(event.at));
            Self { status, run, winner, error, duration, ended_at, may_heal: false }
        };
        Some(match &event.event {
            Event::TaskRetried { run } | Event::RunSuperseded { run } => {
                Self { ended_at: None, ..ended(TaskStatus::Open, *run) }
            }
            Event::TaskCompleted { run, winner, duration } => {
                Self { winner: Some(winner.as_str()), duration: Some(*duration), ..ended(TaskStatus::Completed, *run) }
            }
            Event::TaskFailed(failure) => {
                let (error, may_heal) = (Some(failed_because_of(failure).to_string()), failure.class.may_heal());
                Self { error, may_heal, ..ended(TaskStatus::Failed, failure.run) }
            }
            Event::TaskCancelled { run, reason } => {
                Self { error: Some(reason.to_string()), ..ended(TaskStatus::Cancelled, *run) }
            }
            Event::TaskSkipped { run, cause } => {
                Self { error: Some(skipped_because_of(cause).to_string()), ..ended(TaskStatus::Skipped, *run) }
            }
            _ => return None,
        })
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl<'c> Projection<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Self { conn, sums: Sums::default() }
    }

    /// Most events are of deliberations, which have no rows here.
    pub(super) fn apply(
        &mut self,
        stream: &StreamId,
        version: u64,
        seq: i64,
        event: &NewEvent,
    ) -> rusqlite::Result<()> {
        self.sums.events += 1;
        if let Some(task) = stream.as_str().strip_prefix("task/") {
            return self.task(task, version, seq, event);
        }
        if let Some(role) = stream.as_str().strip_prefix("council/") {
            return self.council(role, version, &event.event);
        }
        match stream.as_str().strip_prefix("workflow/") {
            Some(id) => workflow::project(self.conn, id, stream, (version, seq), event),
            None => Ok(()),
        }
    }

    pub(super) fn count_stream(&mut self) {
        self.sums.streams += 1;
    }

    pub(super) fn sums(&self) -> Sums {
        self.sums.clone()
    }

    pub(super) fn take_back(&mut self, sums: Sums) {
        self.sums = sums;
    }

    fn task(&mut self, name: &str, version: u64, seq: i64, event: &NewEvent) -> rusqlite::Result<()> {
        if let Event::TaskAccepted { task, content_hash, keyed, spec } = &event.event {
            let new = Accepted { task, content_hash, keyed: *keyed, spec, at: event.at };
            return self.accept(&new, version, seq);
        }
        if let Event::TaskAmended { content_hash, spec } = &event.event {
            return self.amend(name, version, content_hash, spec);
        }
        match After::of(event) {
            Some(after) => self.change(name, version, &after),
            None => {
                let mut step = self.conn.prepare_cached("UPDATE tasks SET version = ?2 WHERE task = ?1")?;
                step.execute((name, signed(version)))?;
                self.queue(name, &event.event)
            }
        }
    }

    fn amend(&mut self, task: &str, version: u64, content_hash: &str, spec: &TaskSpec) -> rusqlite::Result<()> {
        let mut update = self.conn.prepare_cached(
            "UPDATE tasks SET version = ?2, content_hash = ?3, role = ?4, kind = ?5, story_id = ?6 WHERE task = ?1",
        )?;
        let (role, kind) = (spec.role.as_str(), kind_text(spec.kind));
        update.execute((task, signed(version), content_hash, role, kind, spec.story_id())).map(drop)
    }

    /// Where a task of the queue stands by now.
    fn queue(&self, task: &str, event: &Event) -> rusqlite::Result<()> {
        let Some(state) = QueueState::after(event) else { return Ok(()) };
        if let Event::TaskQueued(entry) = event {
            let entry = serde_json::to_string(entry).map_err(|error| unexpected(0, format!("task {task}: {error}")))?;
            let mut put = self.conn.prepare_cached(
                "INSERT OR REPLACE INTO queue (seq, state, entry) SELECT seq, ?2, ?3 FROM tasks WHERE task = ?1",
            )?;
            return put.execute((task, state.as_str(), entry)).map(drop);
        }
        let mut turn = self
            .conn
            .prepare_cached("UPDATE queue SET state = ?2 WHERE seq = (SELECT seq FROM tasks WHERE task = ?1)")?;
        turn.execute((task, state.as_str())).map(drop)
    }

    fn accept(&mut self, new: &Accepted<'_>, version: u64, seq: i64) -> rusqlite::Result<()> {
        let mut insert = self.conn.prepare_cached(
            "INSERT INTO tasks (seq, task, role, kind, status, run, keyed, content_hash, version, story_id, accepted_at) \
             VALUES (?1, ?2, ?3, ?4, 'open', 1, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (task) DO NOTHING",
        )?;
        let added = insert.execute((
            seq,
            new.task.as_str(),
            new.spec.role.as_str(),
            kind_text(new.spec.kind),
            new.keyed,
            new.content_hash,
            signed(version),
            new.spec.story_id(),
            signed(new.at.0),
        ))?;
        if added > 0 {
            self.sums.tasks += 1;
            self.sums.open_tasks += 1;
        }
        Ok(())
    }

    fn change(&mut self, task: &str, version: u64, after: &After<'_>) -> rusqlite::Result<()> {
        let Some(before) = self.before(task)? else { return Ok(()) };
        let mut update = self.conn.prepare_cached(
            "UPDATE tasks SET status = ?2, run = ?3, version = ?4, winner = ?5, error = ?6, duration_ms = ?7, \
             ended_at = ?8 WHERE seq = ?1",
        )?;
        update.execute((
            before.seq,
            status_text(after.status),
            after.run,
            signed(version),
            after.winner,
            after.error.as_deref(),
            after.duration.map(millis),
            after.ended_at.map(|at| signed(at.0)),
        ))?;
        // The run that waited or worked is over; it stays in the queue only if it may be tried again.
        let step = match after.may_heal {
            true => "UPDATE queue SET state = 'FAILED' WHERE seq = ?1",
            false => "DELETE FROM queue WHERE seq = ?1",
        };
        self.conn.prepare_cached(step)?.execute([before.seq])?;
        self.sums.change(before, after);
        Ok(())
    }

    fn before(&self, task: &str) -> rusqlite::Result<Option<Before>> {
        self.conn
            .prepare_cached("SELECT seq, role, kind, status, duration_ms FROM tasks WHERE task = ?1")?
            .query_row([task], |row| {
                Ok(Before {
                    seq: row.get(0)?,
                    role: row.get(1)?,
                    kind: row.get(2)?,
                    status: row.get(3)?,
                    duration_ms: row.get(4)?,
                })
            })
            .optional()
    }

    fn council(&self, role: &str, version: u64, event: &Event) -> rusqlite::Result<()> {
        let stored: Option<Option<String>> = self
            .conn
            .prepare_cached("SELECT council FROM councils WHERE role = ?1")?
            .query_row([role], |row| row.get(0))
            .optional()?;
        let unreadable = |error: serde_json::Error| unexpected(0, format!("council {role}: {error}"));
        let current: Option<Council> =
            stored.flatten().map(|json| serde_json::from_str(&json)).transpose().map_err(unreadable)?;
        let next = Council::fold(current, event);
        let json = next.map(|council| serde_json::to_string(&council)).transpose().map_err(unreadable)?;
        self.conn
            .prepare_cached(
                "INSERT INTO councils (role, version, council) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (role) DO UPDATE SET version = excluded.version, council = excluded.council",
            )?
            .execute((role, signed(version), json))
            .map(drop)
    }

    /// Once per transaction.
    pub(super) fn save(self) -> rusqlite::Result<()> {
        let sums = self.sums;
        if sums.events == 0 {
            return Ok(());
        }
        self.conn
            .prepare_cached(
                "UPDATE totals SET events = events + ?1, streams = streams + ?2, tasks = tasks + ?3, \
                 open_tasks = open_tasks + ?4",
            )?
            .execute((sums.events, sums.streams, sums.tasks, sums.open_tasks))?;
        for ((role, kind), (tasks, duration_ms)) in sums.finished {
            self.conn
                .prepare_cached(
                    "INSERT INTO finished (role, kind, tasks, duration_ms) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (role, kind) DO UPDATE SET tasks = tasks + excluded.tasks, \
                     duration_ms = duration_ms + excluded.duration_ms",
                )?
                .execute((role, kind, tasks, duration_ms))?;
        }
        Ok(())
    }
}

struct Accepted<'e> {
    task: &'e TaskId,
    content_hash: &'e str,
    keyed: bool,
    spec: &'e TaskSpec,
    at: Timestamp,
}

impl Sums {
    /// A completed task that is tried again counts no more, until it completes again.
    fn change(&mut self, before: Before, after: &After<'_>) {
        let open = status_text(TaskStatus::Open);
        let completed = status_text(TaskStatus::Completed);
        self.open_tasks += i64::from(after.status == TaskStatus::Open) - i64::from(before.status == open);
        let gone = (before.status == completed).then(|| (-1, -before.duration_ms.unwrap_or(0)));
        let come = (after.status == TaskStatus::Completed).then(|| (1, after.duration.map_or(0, millis)));
        for (tasks, duration_ms) in [gone, come].into_iter().flatten() {
            let sum = self.finished.entry((before.role.clone(), before.kind.clone())).or_default();
            sum.0 += tasks;
            sum.1 += duration_ms;
        }
    }
}
