//! The pen of one run: writes its stream in order, and writes again what a full journal refused.
//!
//! Several batches may be on their way at once. When one is refused as too much, those after it are refused as well
//! (their version is not theirs yet); once all have come back, all are handed in again with the same event ids.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{EventId, StreamId};
use crate::ports::{Ack, Append, Batch, Committed, JournalError, Ports};
use crate::running::Running;

/// What an acknowledgement means.
#[derive(Debug)]
pub(super) enum News {
    /// The oldest batch is durable.
    Durable(Arc<[NewEvent]>),
    /// Nothing to do now.
    Wait,
    /// Somebody wrote the run meanwhile, such as the last words of an actor that died.
    Overtaken,
    /// The journal has ended.
    Lost(JournalError),
}

#[derive(Debug)]
struct Page {
    number: u64,
    version: u64,
    events: Arc<[NewEvent]>,
    task: Option<Arc<[NewEvent]>>,
    patient: bool,
}

#[derive(Debug)]
pub(super) struct Pen {
    stream: StreamId,
    task_stream: StreamId,
    task_version: u64,
    correlation: Arc<str>,
    cause: Option<EventId>,
    version: u64,
    /// The number of its first batch: earlier ones belong to the pen before it.
    first: u64,
    next: u64,
    pages: VecDeque<Page>,
    /// Handed in and not answered.
    out: usize,
    stalled: Option<Duration>,
    /// Somebody will call for the rewrite.
    rewriting: bool,
}

impl Pen {
    /// Writes the run's stream from `version` on. `first` numbers its first batch; `cause` is behind its first event.
    pub(super) fn new(running: &Running, version: u64, first: u64, cause: Option<EventId>) -> Self {
        let task = &running.run.task;
        Self {
            stream: StreamId::deliberation(&running.run),
            task_stream: StreamId::task(task),
            task_version: running.row.version,
            correlation: task.as_str().into(),
            cause,
            version,
            first,
            next: first,
            pages: VecDeque::new(),
            out: 0,
            stalled: None,
            rewriting: false,
        }
    }

    /// Appends a decision to the run's stream, and an event to the task's in the same batch. `ack` makes the batch's answer
    /// known.
    pub(super) fn decide(&mut self, ports: &Ports, event: Event, task: Option<Event>, ack: impl FnOnce(u64) -> Ack) {
        let events = [self.stamp(ports, event)].into();
        let task = task.map(|event| [self.stamp(ports, event)].into());
        self.write(ports, Page { number: self.next, version: self.version, events, task, patient: false }, ack);
    }

    /// Appends outcomes to the run's stream; `patient`: their wave waits for others besides.
    pub(super) fn note(&mut self, ports: &Ports, events: Vec<Event>, patient: bool, ack: impl FnOnce(u64) -> Ack) {
        let events = events.into_iter().map(|event| self.stamp(ports, event)).collect();
        self.write(ports, Page { number: self.next, version: self.version, events, task: None, patient }, ack);
    }

    fn write(&mut self, ports: &Ports, page: Page, ack: impl FnOnce(u64) -> Ack) {
        self.next += 1;
        self.version += page.events.len() as u64;
        if self.stalled.is_none() {
            self.out += 1;
            ports.journal.submit(self.batch(&page), ack(page.number));
        }
        self.pages.push_back(page);
    }

    /// Hands in again everything that is not durable.
    pub(super) fn rewrite(&mut self, ports: &Ports, ack: impl Fn(u64) -> Ack) {
        self.stalled = None;
        self.rewriting = false;
        self.out += self.pages.len();
        for page in &self.pages {
            ports.journal.submit(self.batch(page), ack(page.number));
        }
    }

    pub(super) fn answered(&mut self, number: u64, result: Result<Committed, JournalError>) -> News {
        if number < self.first {
            return News::Wait;
        }
        self.out -= 1;
        match result {
            Ok(_) if self.pages.front().is_some_and(|page| page.number == number) => {
                self.pages.pop_front().map_or(News::Wait, |page| News::Durable(page.events))
            }
            Ok(_) => News::Wait,
            Err(JournalError::Busy { retry_after }) => {
                self.stalled.get_or_insert(retry_after);
                News::Wait
            }
            Err(JournalError::Conflict { .. }) if self.stalled.is_some() => News::Wait,
            Err(JournalError::Conflict { .. }) => News::Overtaken,
            Err(error) => News::Lost(error),
        }
    }

    /// When to hand in again what was refused: told once, when all that is on its way has come back.
    pub(super) fn rewrite_after(&mut self) -> Option<Duration> {
        let after = self.stalled.filter(|_| self.out == 0 && !self.rewriting)?;
        self.rewriting = true;
        Some(after)
    }

    /// The number of the next batch.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    fn stamp(&mut self, ports: &Ports, event: Event) -> NewEvent {
        let id = ports.ids.event_id();
        let causation = self.cause.replace(id);
        NewEvent { id, at: ports.clock.now(), correlation: Some(self.correlation.clone()), causation, event }
    }

    fn batch(&self, page: &Page) -> Batch {
        let stream = self.stream.clone();
        let run = Append { stream, expected_version: page.version, events: page.events.clone() };
        let task = page.task.clone().map(|events| Append {
            stream: self.task_stream.clone(),
            expected_version: self.task_version,
            events,
        });
        Batch { patient: page.patient, ..Batch::of([run].into_iter().chain(task).collect()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::*;
    use crate::domain::id::{Role, Timestamp};
    use crate::domain::task::TaskDraft;
    use crate::ports::{Journal, TaskRow, TaskStatus};
    use crate::testing::{FakeChecks, FakeClock, FakeIds, FakeModel, JournalFaults, MemoryJournal, Random};

    const PAGES: usize = 12;

    fn running() -> Arc<Running> {
        let draft = TaskDraft { role: "DEV".into(), description: "d".into(), ..TaskDraft::default() };
        let spec = draft.check().unwrap();
        let row = TaskRow {
            task: crate::domain::id::TaskId::parse("task_id", "t").unwrap(),
            role: Role::parse("role", "DEV").unwrap(),
            kind: spec.kind,
            status: TaskStatus::Open,
            run: 1,
            queue: None,
            keyed: true,
            content_hash: "h".into(),
            version: 0,
            story_id: None,
            winner: None,
            error: None,
            duration: None,
            accepted_at: Timestamp(0),
            ended_at: None,
        };
        Running::new(row, spec.into())
    }

    fn ports(journal: &MemoryJournal) -> Ports {
        Ports {
            executor: None,
            hub: None,
            model: Arc::new(FakeModel::instant()),
            checks: Arc::new(FakeChecks),
            journal: Arc::new(journal.clone()),
            queue: Arc::new(crate::queue::MemoryQueue::new(
                crate::queue::Limits::default(),
                Arc::new(FakeClock::default()),
            )),
            shared: None,
            context: None,
            clock: Arc::new(FakeClock::default()),
            ids: Arc::new(FakeIds::new(Random::new(1))),
        }
    }

    /// Writes some pages at once and some while refusals come back; answers the ids in the order they became durable.
    async fn write_all(seed: u64, busy_percent: u64) -> (Vec<EventId>, Vec<EventId>) {
        let random = Random::new(seed);
        let faults = JournalFaults { random: random.clone(), delay_ms: 9, busy_percent };
        let journal = MemoryJournal::new().with_faults(faults);
        let (ports, mut pen) = (ports(&journal), Pen::new(&running(), 0, 0, None));
        let (told, mut acks) = mpsc::unbounded_channel();
        let ack = |number| {
            let told = told.clone();
            Ack::new(move |result| drop(told.send((number, result))))
        };
        let (mut durable, mut written) = (Vec::new(), 0);
        while durable.len() < PAGES {
            while written < PAGES && random.chance(60) {
                pen.note(&ports, vec![Event::DeliberationResumed {}], random.chance(50), ack);
                written += 1;
            }
            if written == durable.len() {
                continue;
            }
            let (number, result) = acks.recv().await.unwrap();
            if let News::Durable(events) = pen.answered(number, result) {
                durable.extend(events.iter().map(|event| event.id));
            }
            if let Some(after) = pen.rewrite_after() {
                tokio::time::sleep(after).await;
                pen.rewrite(&ports, ack);
            }
        }
        let stored = journal.stream(&StreamId::named("deliberation/t/1"), 0, 100).await.unwrap();
        (durable, stored.iter().map(|recorded| recorded.event.id).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_busy_journal_refused_is_written_again_in_order_with_the_same_ids() {
        for seed in 0..300 {
            let (durable, stored) = write_all(seed, 40).await;
            assert_eq!(durable.len(), PAGES, "seed {seed}");
            assert_eq!(durable, stored, "seed {seed}");
            assert!(durable.is_sorted(), "seed {seed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_elses_event_is_noticed_and_answers_for_an_earlier_pen_are_not_taken_for_ones_own() {
        let journal = MemoryJournal::new();
        let ports = ports(&journal);
        let (told, mut acks) = mpsc::unbounded_channel();
        let ack = |number| {
            let told = told.clone();
            Ack::new(move |result| drop(told.send((number, result))))
        };
        let mut first = Pen::new(&running(), 0, 0, None);
        let mut second = Pen::new(&running(), 0, 0, None);
        first.decide(&ports, Event::DeliberationResumed {}, None, ack);
        second.decide(&ports, Event::DeliberationResumed {}, None, ack);
        let (number, result) = acks.recv().await.unwrap();
        assert!(matches!(first.answered(number, result), News::Durable(_)));
        let (number, result) = acks.recv().await.unwrap();
        assert!(matches!(second.answered(number, result.clone()), News::Overtaken));
        let mut third = Pen::new(&running(), 1, second.next(), None);
        assert!(matches!(third.answered(number, result), News::Wait));
    }
}
