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

/// What an acknowledgement means.
#[derive(Debug)]
pub(super) enum News {
    /// The oldest batch is durable.
    Durable(Vec<NewEvent>),
    /// Nothing to do now.
    Wait,
    /// Hand in again after this time.
    Again(Duration),
    /// The run is not ours any more, or the journal has ended.
    Lost(JournalError),
}

#[derive(Debug)]
struct Page {
    number: u64,
    version: u64,
    events: Vec<NewEvent>,
    task: Option<NewEvent>,
}

#[derive(Debug)]
pub(super) struct Pen {
    stream: StreamId,
    task_stream: StreamId,
    task_version: u64,
    correlation: Arc<str>,
    cause: Option<EventId>,
    version: u64,
    next: u64,
    pages: VecDeque<Page>,
    /// Handed in and not answered.
    out: usize,
    stalled: Option<Duration>,
}

impl Pen {
    pub(super) fn new(stream: StreamId, version: u64, task_stream: StreamId, task_version: u64, task: &str) -> Self {
        Self {
            stream,
            task_stream,
            task_version,
            correlation: task.into(),
            cause: None,
            version,
            next: 0,
            pages: VecDeque::new(),
            out: 0,
            stalled: None,
        }
    }

    /// Appends events to the run's stream, and one to the task's in the same batch. `ack` makes the batch's answer known.
    pub(super) fn write(
        &mut self,
        ports: &Ports,
        events: Vec<Event>,
        task: Option<Event>,
        ack: impl FnOnce(u64) -> Ack,
    ) {
        let events: Vec<_> = events.into_iter().map(|event| self.stamp(ports, event)).collect();
        let task = task.map(|event| self.stamp(ports, event));
        let page = Page { number: self.next, version: self.version, events, task };
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
        self.out += self.pages.len();
        for page in &self.pages {
            ports.journal.submit(self.batch(page), ack(page.number));
        }
    }

    pub(super) fn answered(&mut self, number: u64, result: Result<Committed, JournalError>) -> News {
        self.out -= 1;
        match result {
            Ok(_) if self.pages.front().is_some_and(|page| page.number == number) => {
                self.pages.pop_front().map_or(News::Wait, |page| News::Durable(page.events))
            }
            Ok(_) => News::Wait,
            Err(JournalError::Busy { retry_after }) => {
                self.stalled.get_or_insert(retry_after);
                self.when_all_are_back()
            }
            Err(JournalError::Conflict { .. }) if self.stalled.is_some() => self.when_all_are_back(),
            Err(error) => News::Lost(error),
        }
    }

    fn when_all_are_back(&self) -> News {
        match self.stalled {
            Some(after) if self.out == 0 => News::Again(after),
            _ => News::Wait,
        }
    }

    fn stamp(&mut self, ports: &Ports, event: Event) -> NewEvent {
        let id = ports.ids.event_id();
        let causation = self.cause.replace(id);
        NewEvent { id, at: ports.clock.now(), correlation: Some(self.correlation.clone()), causation, event }
    }

    fn batch(&self, page: &Page) -> Batch {
        let mut batch = Batch::one(self.stream.clone(), page.version, page.events.clone());
        batch.appends.extend(page.task.clone().map(|event| Append {
            stream: self.task_stream.clone(),
            expected_version: self.task_version,
            events: vec![event],
        }));
        batch
    }
}
