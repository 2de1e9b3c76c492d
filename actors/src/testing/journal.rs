//! A journal in memory with the contract of the real one: ordered, versioned, all or nothing, idempotent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::random::Random;
use crate::domain::council::Council;
use crate::domain::event::{Event, Recorded, SCHEMA};
use crate::domain::id::{CallId, EventId, Role, StreamId, TaskId, Timestamp};
use crate::domain::queue::{QueueState, Standing};
use crate::domain::receipt::{Receipt, ReceiptKey};
use crate::domain::task::TaskKind;
use crate::domain::workflow::{Workflow, WorkflowId, WorkflowType};
use crate::ports::{
    AT_THE_END, Ack, Batch, Committed, Cursor, Journal, JournalError, JournalHealth, JournalStats, Recovery, TaskQuery,
    TaskRow, TaskStatus, WorkflowQuery,
};

/// What may go wrong on the way to the disk.
#[derive(Clone, Debug)]
pub struct JournalFaults {
    pub random: Random,
    /// Longest time from a batch to the disk, and from there to its acknowledgement.
    pub delay_ms: u64,
    /// In how many of 100 cases a batch is refused as too much.
    pub busy_percent: u64,
}

/// When the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCut {
    /// As soon as this many events are durable.
    pub after: usize,
    /// Whether their writer still hears of it.
    pub acknowledged: bool,
}

type Told = (Ack, Result<Committed, JournalError>);

/// The log that several handles share: a handle per life of the daemon.
#[derive(Clone, Debug)]
pub struct MemoryJournal {
    log: Arc<Mutex<Log>>,
    /// The life this handle belongs to.
    life: u64,
    /// On their way to the disk, and on their way back; each in order.
    batches: Arc<Mutex<VecDeque<(Batch, Ack)>>>,
    acks: Arc<Mutex<VecDeque<Told>>>,
    faults: Option<JournalFaults>,
    cut: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Log {
    life: u64,
    health: Option<Arc<str>>,
    power_cut: Option<PowerCut>,
    events: Vec<Recorded>,
    /// Places in `events`, in order.
    streams: BTreeMap<StreamId, Vec<usize>>,
    ids: BTreeMap<EventId, u64>,
    answered: BTreeSet<CallId>,
    tasks: BTreeMap<TaskId, (u64, TaskRow)>,
    queued: BTreeMap<TaskId, Standing>,
    councils: BTreeMap<Role, (Council, u64)>,
    /// By the place of their creation.
    workflows: BTreeMap<WorkflowId, (u64, Workflow)>,
    feature_numbers: BTreeMap<WorkflowType, u64>,
    receipts: BTreeSet<ReceiptKey>,
    cursors: BTreeMap<Arc<str>, Cursor>,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryJournal {
    #[must_use]
    pub fn new() -> Self {
        let (batches, acks) = Default::default();
        Self { log: Arc::default(), life: 0, batches, acks, faults: None, cut: watch::Sender::new(false) }
    }

    #[must_use]
    pub fn with_faults(self, faults: JournalFaults) -> Self {
        Self { faults: Some(faults), ..self }
    }

    /// Loses power at a given place; [`MemoryJournal::power_is_cut`] tells when.
    pub fn cut_power(&self, cut: PowerCut) {
        self.lock().power_cut = Some(cut);
    }

    /// Waits until the power was cut in this life.
    pub async fn power_is_cut(&self) {
        drop(self.cut.subscribe().wait_for(|cut| *cut).await);
    }

    /// A crash: earlier handles write nothing any more, what they were not told stays untold.
    #[must_use]
    pub fn crash(&self) -> Self {
        let mut log = self.lock();
        log.life += 1;
        log.power_cut = None;
        let (life, log, faults) = (log.life, self.log.clone(), self.faults.clone());
        let (batches, acks) = Default::default();
        Self { log, life, batches, acks, faults, cut: watch::Sender::new(false) }
    }

    /// Everything that is durable, in order.
    #[must_use]
    pub fn events(&self) -> Vec<Recorded> {
        self.lock().events.clone()
    }

    /// What became durable after so many events.
    #[must_use]
    pub fn events_after(&self, count: usize) -> Vec<Recorded> {
        self.lock().events.get(count..).unwrap_or_default().to_vec()
    }

    /// Whether a call's answer is durable.
    #[must_use]
    pub fn has_answer(&self, id: &CallId) -> bool {
        self.lock().answered.contains(id)
    }

    /// Makes the journal say that it is stalled, or healthy again.
    pub fn stall(&self, why: Option<&str>) {
        self.lock().health = why.map(Into::into);
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes at once, unless this life is over.
    fn write(&self, batch: Batch) -> Result<Committed, JournalError> {
        let mut log = self.lock();
        if log.life != self.life {
            return Err(JournalError::Closed);
        }
        let result = log.append(batch);
        if let Some(cut) = log.power_cut.filter(|cut| log.events.len() >= cut.after) {
            log.life += 1;
            log.power_cut = None;
            self.cut.send_replace(true);
            return if cut.acknowledged { result } else { Err(JournalError::Closed) };
        }
        result
    }

    /// Writes after a while and tells of it after another, all in the order they came in.
    fn write_later(&self, batch: Batch, ack: Ack, faults: &JournalFaults) {
        let delays = (faults.random.millis(faults.delay_ms), faults.random.millis(faults.delay_ms));
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push_back((batch, ack));
        let journal = self.clone();
        tokio::runtime::Handle::current().spawn(async move {
            tokio::time::sleep(delays.0).await;
            let next = journal.batches.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some((batch, ack)) = next {
                let told = (ack, journal.write(batch));
                journal.acks.lock().unwrap_or_else(PoisonError::into_inner).push_back(told);
            }
            tokio::time::sleep(delays.1).await;
            let next = journal.acks.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some((ack, result)) = next {
                ack.tell(if journal.lock().life == journal.life { result } else { Err(JournalError::Closed) });
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
            let actual = self.version(&append.stream);
            if actual != append.expected_version && append.expected_version != AT_THE_END {
                let (stream, expected) = (append.stream.clone(), append.expected_version);
                return Err(JournalError::Conflict { stream, expected, actual });
            }
        }
        if let Some(receipt) = batch.receipt {
            if self.knows(&receipt) {
                return Err(JournalError::Received);
            }
            self.receipts.extend(receipt.keys);
        }
        self.cursors.extend(batch.cursor.map(|cursor| (cursor.name.clone(), cursor)));
        let first_seq = self.events.len() as u64 + 1;
        for append in batch.appends {
            for event in append.events.iter().cloned() {
                let seq = self.events.len() as u64 + 1;
                self.ids.insert(event.id, seq);
                if let Event::CallAnswered { call, .. } = &event.event {
                    self.answered.insert(call.clone());
                }
                let places = self.streams.entry(append.stream.clone()).or_default();
                places.push(self.events.len());
                let version = places.len() as u64;
                let recorded = Recorded { seq, stream: append.stream.clone(), version, schema: SCHEMA, event };
                self.project(&recorded);
                self.events.push(recorded);
            }
        }
        Ok(Committed { first_seq })
    }

    fn retried(&self, batch: &Batch) -> Option<u64> {
        self.ids.get(&batch.appends.first()?.events.first()?.id).copied()
    }

    fn knows(&self, receipt: &Receipt) -> bool {
        receipt.keys.iter().any(|key| self.receipts.contains(key))
    }

    fn version(&self, stream: &StreamId) -> u64 {
        self.streams.get(stream).map_or(0, |places| places.len() as u64)
    }

    fn project(&mut self, recorded: &Recorded) {
        let at = recorded.event.at;
        if let Event::TaskAccepted { task, content_hash, keyed, spec } = &recorded.event.event {
            let row = TaskRow::accepted(task, spec, content_hash, *keyed, at);
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
        if let Some(name) = recorded.stream.as_str().strip_prefix("workflow/") {
            let Some(id) = WorkflowId::parse(name) else { return };
            return self.project_workflow(id, recorded);
        }
        let Some(name) = recorded.stream.as_str().strip_prefix("task/") else { return };
        let Ok(task) = TaskId::parse("task", name) else { return };
        let Some((_, row)) = self.tasks.get_mut(&task) else { return };
        let standing = Standing::fold(self.queued.remove(&task), &recorded.event.event);
        row.take_in(recorded, standing.as_ref());
        self.queued.extend(standing.map(|standing| (task.clone(), standing)));
    }

    fn project_workflow(&mut self, id: WorkflowId, recorded: &Recorded) {
        let (seq, before) = match self.workflows.remove(&id) {
            Some((seq, before)) => (seq, Some(before)),
            None => (recorded.seq, None),
        };
        let Some(after) = Workflow::fold(before, recorded) else { return };
        for workflow_type in after.chain.iter().copied().chain([after.workflow_type]) {
            let last = self.feature_numbers.entry(workflow_type).or_default();
            *last = after.number().max(*last);
        }
        self.workflows.insert(id, (seq, after));
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    fn submit(&self, batch: Batch, ack: Ack) {
        match &self.faults {
            _ if self.lock().life != self.life => ack.tell(Err(JournalError::Closed)),
            None => ack.tell(self.write(batch)),
            Some(faults) if faults.random.chance(faults.busy_percent) => {
                ack.tell(Err(JournalError::Busy { retry_after: Duration::from_millis(20) }));
            }
            Some(faults) => self.write_later(batch, ack, faults),
        }
    }

    async fn stream(&self, stream: &StreamId, after_version: u64, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        let log = self.lock();
        let after = usize::try_from(after_version).unwrap_or(usize::MAX);
        let places = log.streams.get(stream).map(Vec::as_slice).unwrap_or_default();
        Ok(places.iter().skip(after).take(limit).map(|&place| log.events[place].clone()).collect())
    }

    async fn read(&self, after_seq: u64, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        Ok(self.lock().events.iter().filter(|e| e.seq > after_seq).take(limit).cloned().collect())
    }

    async fn task(&self, task: &TaskId) -> Result<Option<TaskRow>, JournalError> {
        Ok(self.lock().tasks.get(task).map(|(_, row)| row.clone()))
    }

    async fn received(&self, receipt: &Receipt) -> Result<bool, JournalError> {
        Ok(self.lock().knows(receipt))
    }

    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, JournalError> {
        Ok(self.lock().cursors.get(name).cloned())
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

    async fn workflow(&self, workflow: WorkflowId) -> Result<Option<Workflow>, JournalError> {
        Ok(self.lock().workflows.get(&workflow).map(|(_, workflow)| workflow.clone()))
    }

    async fn workflows(&self, query: &WorkflowQuery) -> Result<Vec<Workflow>, JournalError> {
        let log = self.lock();
        let before = query.before.map_or(u64::MAX, |id| log.workflows.get(&id).map_or(0, |(seq, _)| *seq));
        let wanted = |seq: u64, workflow: &Workflow| {
            seq < before
                && query.status.is_none_or(|status| status == workflow.status)
                && query.workflow_type.is_none_or(|of| of == workflow.workflow_type)
                && query.feature_id.as_ref().is_none_or(|id| **id == *workflow.feature_id)
        };
        let mut found: Vec<_> = log.workflows.values().filter(|(seq, workflow)| wanted(*seq, workflow)).collect();
        found.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        Ok(found.into_iter().map(|(_, workflow)| workflow.clone()).take(query.limit).collect())
    }

    async fn waking(&self) -> Result<Vec<(WorkflowId, Timestamp)>, JournalError> {
        let log = self.lock();
        let due = log.workflows.iter().filter_map(|(id, (_, workflow))| Some((*id, workflow.wake_at()?)));
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(id, at)| (*at, *id));
        Ok(due)
    }

    async fn feature_numbers(&self) -> Result<Vec<(WorkflowType, u64)>, JournalError> {
        Ok(self.lock().feature_numbers.iter().map(|(of, last)| (*of, *last)).collect())
    }

    async fn recovery(&self) -> Result<Recovery, JournalError> {
        let log = self.lock();
        let at_work = |row: &TaskRow| {
            row.status == TaskStatus::Open && row.queue.is_none_or(|state| state == QueueState::InProgress)
        };
        let mut open: Vec<_> = log.tasks.values().filter(|(_, row)| at_work(row)).cloned().collect();
        open.sort_by_key(|(seq, _)| *seq);
        let mut queued: Vec<_> = log.queued.iter().map(|(task, standing)| (log.tasks[task].0, standing)).collect();
        queued.sort_by_key(|(seq, _)| *seq);
        let queued = queued.into_iter().map(|(_, standing)| standing.clone()).collect();
        let mut finished: BTreeMap<(Role, TaskKind), (u64, Duration)> = BTreeMap::new();
        for (_, row) in log.tasks.values().filter(|(_, row)| row.status == TaskStatus::Completed) {
            let sum = finished.entry((row.role.clone(), row.kind)).or_default();
            *sum = (sum.0 + 1, sum.1 + row.duration.unwrap_or_default());
        }
        Ok(Recovery {
            open_tasks: open.into_iter().map(|(_, row)| row).collect(),
            queued,
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
            streams: log.streams.len() as u64,
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
