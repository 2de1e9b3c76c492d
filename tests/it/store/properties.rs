//! Any batches, right and wrong, against the simplest thing that keeps the contract; with crashes in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moothall::store::{Durability, FaultHook, SqliteJournal, StoreOptions};
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::{EventId, StreamId};
use moothall_actors::ports::{Ack, Append, Batch, Committed, Journal, JournalError, TaskQuery, TaskStatus};
use proptest::prelude::*;
use tokio::sync::oneshot;

use super::sample::{accepted, call_failed, cancelled, completed, failed, new, task_stream};

const TASKS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    /// Appends to some streams: which, how far off the version is, and what kinds of event.
    Write(Vec<(usize, i8, Vec<u8>)>),
    /// Some batch of before once more, in the same words.
    Again(prop::sample::Index),
    /// Waits for all acknowledgements so far.
    Settle,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let off_by = prop_oneof![6 => Just(0i8), 1 => Just(-1), 1 => Just(1)];
    let append = (0..TASKS.len(), off_by, prop::collection::vec(0..6u8, 0..4));
    let step = prop_oneof![
        8 => prop::collection::vec(append, 0..3).prop_map(Step::Write),
        2 => any::<prop::sample::Index>().prop_map(Step::Again),
        1 => Just(Step::Settle),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

fn event(task: &str, kind: u8) -> Event {
    match kind {
        0 => accepted(task, "DEV", None),
        1 => Event::TaskRetried { run: 2 },
        2 => completed(1),
        3 => failed(1),
        4 => cancelled(1),
        _ => call_failed(1),
    }
}

/// The contract in its plainest form.
#[derive(Default)]
struct Plain {
    events: Vec<(StreamId, u64, EventId, Event)>,
    status: BTreeMap<&'static str, (TaskStatus, u64)>,
}

impl Plain {
    fn version(&self, stream: &StreamId) -> u64 {
        self.events.iter().filter(|(of, ..)| of == stream).count() as u64
    }

    fn append(&mut self, batch: &Batch) -> Result<Committed, JournalError> {
        let mut ahead: BTreeMap<&StreamId, u64> = BTreeMap::new();
        for append in batch.appends.iter().filter(|append| !append.events.is_empty()) {
            let actual = ahead.get(&append.stream).copied().unwrap_or_else(|| self.version(&append.stream));
            if actual != append.expected_version {
                let (stream, expected) = (append.stream.clone(), append.expected_version);
                return self.first_of(batch).ok_or(JournalError::Conflict { stream, expected, actual });
            }
            ahead.insert(&append.stream, actual + append.events.len() as u64);
        }
        let first_seq = self.events.len() as u64 + 1;
        for append in &batch.appends {
            for (version, event) in (append.expected_version + 1..).zip(&*append.events) {
                self.project(&append.stream, version, &event.event);
                self.events.push((append.stream.clone(), version, event.id, event.event.clone()));
            }
        }
        let wrote = batch.appends.iter().any(|append| !append.events.is_empty());
        Ok(Committed { first_seq: if wrote { first_seq } else { 0 } })
    }

    fn first_of(&self, batch: &Batch) -> Option<Committed> {
        let ids: Vec<_> = batch.appends.iter().flat_map(|append| &*append.events).map(|event| event.id).collect();
        let place = |id: &EventId| self.events.iter().position(|(_, _, stored, _)| stored == id);
        let places: Option<Vec<_>> = ids.iter().map(place).collect();
        Some(Committed { first_seq: *places?.first()? as u64 + 1 })
    }

    fn project(&mut self, stream: &StreamId, version: u64, event: &Event) {
        let task = *TASKS.iter().find(|task| task_stream(task) == *stream).unwrap();
        let status = match event {
            Event::TaskAccepted { .. } => {
                self.status.entry(task).or_insert((TaskStatus::Open, version));
                return;
            }
            Event::TaskRetried { .. } => Some(TaskStatus::Open),
            Event::TaskCompleted { .. } => Some(TaskStatus::Completed),
            Event::TaskFailed(_) => Some(TaskStatus::Failed),
            Event::TaskCancelled { .. } => Some(TaskStatus::Cancelled),
            _ => None,
        };
        if let Some(row) = self.status.get_mut(task) {
            *row = (status.unwrap_or(row.0), version);
        }
    }
}

type Answer = oneshot::Receiver<Result<Committed, JournalError>>;

struct Run {
    folder: tempfile::TempDir,
    journal: Option<SqliteJournal>,
    fault: FaultHook,
    plain: Plain,
    sent: Vec<Batch>,
    unsettled: Vec<(Answer, Result<Committed, JournalError>)>,
}

impl Run {
    fn new(faults: u64) -> Self {
        // Once in a while the writer panics: far enough apart that it is never lost.
        let (count, panicked) = (AtomicU64::new(0), AtomicU64::new(0));
        let fault: FaultHook = Arc::new(move |_| {
            let due =
                count.fetch_add(1, Ordering::Relaxed) % 13 == faults && panicked.fetch_add(1, Ordering::Relaxed) < 3;
            assert!(!due, "a fault on purpose");
        });
        let mut run = Self {
            folder: tempfile::tempdir().unwrap(),
            journal: None,
            fault,
            plain: Plain::default(),
            sent: Vec::new(),
            unsettled: Vec::new(),
        };
        run.open();
        run
    }

    fn open(&mut self) {
        self.journal = None;
        let options = StoreOptions {
            durability: Durability::Off,
            retry_every: Duration::from_millis(1),
            fault: Some(self.fault.clone()),
            ..StoreOptions::default()
        };
        self.journal = Some(SqliteJournal::open(&self.folder.path().join("a.db"), options).unwrap());
    }

    fn journal(&self) -> &SqliteJournal {
        self.journal.as_ref().unwrap()
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Write(appends) => {
                let batch = Batch::of(appends.into_iter().map(|append| self.append(append)).collect());
                self.send(batch);
            }
            Step::Again(index) if !self.sent.is_empty() => self.send(index.get(&self.sent).clone()),
            Step::Again(_) => {}
            Step::Settle => self.settle().await,
            Step::Reopen => {
                self.open();
                self.settle().await;
            }
        }
    }

    fn append(&self, (task, off_by, kinds): (usize, i8, Vec<u8>)) -> Append {
        let stream = task_stream(TASKS[task]);
        let expected_version = self.plain.version(&stream).saturating_add_signed(off_by.into());
        let events = kinds.into_iter().map(|kind| new(event(TASKS[task], kind))).collect();
        Append { stream, expected_version, events }
    }

    fn send(&mut self, batch: Batch) {
        let expected = self.plain.append(&batch);
        let (tell, told) = oneshot::channel();
        self.journal().submit(batch.clone(), Ack::new(move |result| drop(tell.send(result))));
        self.sent.push(batch);
        self.unsettled.push((told, expected));
    }

    async fn settle(&mut self) {
        for (told, expected) in self.unsettled.drain(..) {
            assert_eq!(told.await.unwrap(), expected);
        }
    }

    async fn compare(&mut self) {
        self.settle().await;
        let stored = self.journal().read(0, 10_000).await.unwrap();
        let stored: Vec<_> =
            stored.into_iter().map(|e| (e.seq, (e.stream, e.version, e.event.id, e.event.event))).collect();
        let expected: Vec<_> = (1..).zip(self.plain.events.iter().cloned()).collect();
        assert_eq!(stored, expected);
        let rows = self.journal().tasks(&TaskQuery { limit: 10, ..TaskQuery::default() }).await.unwrap();
        let rows: BTreeMap<_, _> = rows.iter().map(|row| (row.task.as_str(), (row.status, row.version))).collect();
        assert_eq!(rows, self.plain.status);
        let open = self.plain.status.values().filter(|(status, _)| *status == TaskStatus::Open).count() as u64;
        assert_eq!(self.journal().stats().await.unwrap().open_tasks, open);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_batches_end_as_the_contract_says(steps in steps(), faults in 0..13u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new(faults);
            for step in steps {
                run.take(step).await;
            }
            run.compare().await;
        });
    }
}
