//! A journal in memory with the contract of the real one: ordered, versioned, all or nothing, idempotent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::random::Random;
use crate::domain::council::Council;
use crate::domain::event::{Event, Recorded, SCHEMA};
use crate::domain::id::{CallId, Role, StreamId, TaskId};
use crate::domain::task::TaskKind;
use crate::ports::{
    Ack, Batch, Committed, Journal, JournalError, JournalHealth, JournalStats, Recovery, TaskQuery, TaskRow, TaskStatus,
};

/// What may go wrong on the way to the disk.
#[derive(Clone, Debug)]
pub struct JournalFaults {
    pub random: Random,
    /// Longest time from a batch to its acknowledgement.
    pub delay_ms: u64,
    /// In how many of 100 cases a batch is refused as too much.
    pub busy_percent: u64,
}

type Untold = VecDeque<(Ack, Result<Committed, JournalError>)>;

/// The log that several handles share: a handle per life of the daemon.
#[derive(Clone, Debug)]
pub struct MemoryJournal {
    log: Arc<Mutex<Log>>,
    /// The life this handle belongs to.
    life: u64,
    acks: Arc<Mutex<Untold>>,
    faults: Option<JournalFaults>,
}

#[derive(Debug, Default)]
struct Log {
    life: u64,
    health: Option<Arc<str>>,
    events: Vec<Recorded>,
    versions: BTreeMap<StreamId, u64>,
    tasks: BTreeMap<TaskId, (u64, TaskRow)>,
    councils: BTreeMap<Role, (Council, u64)>,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryJournal {
    #[must_use]
    pub fn new() -> Self {
        Self { log: Arc::default(), life: 0, acks: Arc::default(), faults: None }
    }

    #[must_use]
    pub fn with_faults(self, faults: JournalFaults) -> Self {
        Self { faults: Some(faults), ..self }
    }

    /// A crash: earlier handles write nothing any more, what they were not told stays untold.
    #[must_use]
    pub fn crash(&self) -> Self {
        let mut log = self.lock();
        log.life += 1;
        Self { log: self.log.clone(), life: log.life, acks: Arc::default(), faults: self.faults.clone() }
    }

    /// Everything that is durable, in order.
    #[must_use]
    pub fn events(&self) -> Vec<Recorded> {
        self.lock().events.clone()
    }

    /// Whether a call's answer is durable.
    #[must_use]
    pub fn has_answer(&self, id: &CallId) -> bool {
        let stream = StreamId::deliberation(&id.run);
        self.lock()
            .events
            .iter()
            .filter(|recorded| recorded.stream == stream)
            .any(|recorded| matches!(&recorded.event.event, Event::CallAnswered { call, .. } if call == id))
    }

    /// Makes the journal say that it is stalled, or healthy again.
    pub fn stall(&self, why: Option<&str>) {
        self.lock().health = why.map(Into::into);
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_later(&self, ack: Ack, result: Result<Committed, JournalError>, delay: Duration) {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner).push_back((ack, result));
        let (acks, log, life) = (self.acks.clone(), self.log.clone(), self.life);
        tokio::runtime::Handle::current().spawn(async move {
            tokio::time::sleep(delay).await;
            let next = acks.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let alive = log.lock().unwrap_or_else(PoisonError::into_inner).life == life;
            if let Some((ack, result)) = next {
                ack.tell(if alive { result } else { Err(JournalError::Closed) });
            }
        });
    }
}

impl Log {
    fn append(&mut self, batch: Batch) -> Result<Committed, JournalError> {
        if let Some(first_seq) = self.retried(&batch) {
            return Ok(Committed { first_seq });
        }
        for append in &batch.appends {
            let actual = self.versions.get(&append.stream).copied().unwrap_or(0);
            if actual != append.expected_version {
                let (stream, expected) = (append.stream.clone(), append.expected_version);
                return Err(JournalError::Conflict { stream, expected, actual });
            }
        }
        let first_seq = self.events.len() as u64 + 1;
        for append in batch.appends {
            for event in append.events {
                let version = self.versions.entry(append.stream.clone()).or_default();
                *version += 1;
                let (seq, version) = (self.events.len() as u64 + 1, *version);
                let recorded = Recorded { seq, stream: append.stream.clone(), version, schema: SCHEMA, event };
                self.project(&recorded);
                self.events.push(recorded);
            }
        }
        Ok(Committed { first_seq })
    }

    fn retried(&self, batch: &Batch) -> Option<u64> {
        let first = batch.appends.first()?.events.first()?.id;
        self.events.iter().rev().take(4_096).find(|recorded| recorded.event.id == first).map(|recorded| recorded.seq)
    }

    fn project(&mut self, recorded: &Recorded) {
        let at = recorded.event.at;
        if let Event::TaskAccepted { task, content_hash, keyed, spec } = &recorded.event.event {
            let row = TaskRow {
                task: task.clone(),
                role: spec.role.clone(),
                kind: spec.kind,
                status: TaskStatus::Open,
                run: 1,
                keyed: *keyed,
                content_hash: content_hash.clone(),
                version: 1,
                story_id: spec.story_id().map(Into::into),
                winner: None,
                error: None,
                duration: None,
                accepted_at: at,
                ended_at: None,
            };
            self.tasks.insert(task.clone(), (recorded.seq, row));
            return;
        }
        if let Some(name) = recorded.stream.as_str().strip_prefix("council/") {
            let Ok(role) = Role::parse("role", name) else { return };
            let before = self.councils.remove(&role).map(|(council, _)| council);
            if let Some(after) = Council::fold(before, &recorded.event.event) {
                self.councils.insert(role, (after, recorded.version));
            }
            return;
        }
        let Some(name) = recorded.stream.as_str().strip_prefix("task/") else { return };
        let Ok(task) = TaskId::parse("task", name) else { return };
        let Some((_, row)) = self.tasks.get_mut(&task) else { return };
        row.version = recorded.version;
        (row.winner, row.error, row.duration, row.ended_at) = (None, None, None, Some(at));
        match &recorded.event.event {
            Event::TaskRetried { run } => {
                (row.run, row.status, row.ended_at) = (*run, TaskStatus::Open, None);
            }
            Event::TaskCompleted { winner, duration, .. } => {
                (row.status, row.winner, row.duration) = (TaskStatus::Completed, Some(winner.clone()), Some(*duration));
            }
            Event::TaskFailed(failure) => {
                let class = serde_json::to_value(failure.class).unwrap_or_default();
                let text = format!("{}: {}", class.as_str().unwrap_or_default(), failure.message);
                (row.status, row.error) = (TaskStatus::Failed, Some(text.into()));
            }
            Event::TaskCancelled { reason, .. } => {
                (row.status, row.error) = (TaskStatus::Cancelled, Some(reason.clone()));
            }
            _ => {}
        }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    fn submit(&self, batch: Batch, ack: Ack) {
        let mut log = self.lock();
        if log.life != self.life {
            drop(log);
            return ack.tell(Err(JournalError::Closed));
        }
        let busy = self.faults.as_ref().is_some_and(|faults| faults.random.chance(faults.busy_percent));
        let result = match busy {
            true => Err(JournalError::Busy { retry_after: Duration::from_millis(20) }),
            false => log.append(batch),
        };
        drop(log);
        match &self.faults {
            Some(faults) if !busy => self.tell_later(ack, result, faults.random.millis(faults.delay_ms)),
            _ => ack.tell(result),
        }
    }

    async fn stream(&self, stream: &StreamId, after_version: u64, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        let log = self.lock();
        let found = log.events.iter().filter(|e| e.stream == *stream && e.version > after_version);
        Ok(found.take(limit).cloned().collect())
    }

    async fn read(&self, after_seq: u64, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        Ok(self.lock().events.iter().filter(|e| e.seq > after_seq).take(limit).cloned().collect())
    }

    async fn task(&self, task: &TaskId) -> Result<Option<TaskRow>, JournalError> {
        Ok(self.lock().tasks.get(task).map(|(_, row)| row.clone()))
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>, JournalError> {
        let log = self.lock();
        let before = query.before.as_ref().and_then(|task| log.tasks.get(task)).map_or(u64::MAX, |(seq, _)| *seq);
        let wanted = |seq: u64, row: &TaskRow| {
            seq < before
                && query.status.is_none_or(|status| status == row.status)
                && query.role.as_ref().is_none_or(|role| *role == row.role)
                && query.story_id.as_ref().is_none_or(|story| row.story_id.as_deref() == Some(story))
        };
        let mut rows: Vec<_> = log.tasks.values().filter(|(seq, row)| wanted(*seq, row)).cloned().collect();
        rows.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        Ok(rows.into_iter().map(|(_, row)| row).take(query.limit).collect())
    }

    async fn recovery(&self) -> Result<Recovery, JournalError> {
        let log = self.lock();
        let mut open: Vec<_> = log.tasks.values().filter(|(_, row)| row.status == TaskStatus::Open).cloned().collect();
        open.sort_by_key(|(seq, _)| *seq);
        let mut finished: BTreeMap<(Role, TaskKind), (u64, Duration)> = BTreeMap::new();
        for (_, row) in log.tasks.values().filter(|(_, row)| row.status == TaskStatus::Completed) {
            let sum = finished.entry((row.role.clone(), row.kind)).or_default();
            *sum = (sum.0 + 1, sum.1 + row.duration.unwrap_or_default());
        }
        Ok(Recovery {
            open_tasks: open.into_iter().map(|(_, row)| row).collect(),
            councils: log.councils.values().cloned().collect(),
            finished: finished.into_iter().map(|((role, kind), (count, sum))| (role, kind, count, sum)).collect(),
        })
    }

    async fn stats(&self) -> Result<JournalStats, JournalError> {
        let log = self.lock();
        let events = log.events.len() as u64;
        Ok(JournalStats {
            first_seq: events.min(1),
            last_seq: events,
            events,
            streams: log.versions.len() as u64,
            tasks: log.tasks.len() as u64,
            open_tasks: log.tasks.values().filter(|(_, row)| row.status == TaskStatus::Open).count() as u64,
            bytes: 0,
        })
    }

    fn health(&self) -> JournalHealth {
        match self.lock().health.clone() {
            Some(why) => JournalHealth::Stalled { why },
            None => JournalHealth::Writable,
        }
    }
}
