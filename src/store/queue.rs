//! What waits to be written: bounded in batches and in bytes, gathered into groups that share one commit.
//!
//! A commit costs the same for one event and for a thousand. So the writer waits a little for more, but only while it
//! pays: a lone caller finds its group complete at once. Callers wake the writer only when a group is complete, since
//! a wake-up for every batch would cost more than the batch. Batches for which nobody waits alone wait for one that
//! somebody does wait for, but not long.
//!
//! A chore, such as a step of pruning, goes between two groups. There is one at a time and its owner pauses before the
//! next, so that groups never wait for more than one.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moothall_actors::domain::event::NewEvent;
use moothall_actors::domain::id::StreamId;
use moothall_actors::domain::receipt::Receipt;
use moothall_actors::ports::{Ack, Append, Batch, Committed, Cursor, JournalError};

use super::chore::Chore;

/// Most batches in one transaction: a bound on its time, and on what a reader waits for.
const MAX_GROUP: usize = 1_024;
/// The longest wait for more batches.
const GATHER: Duration = Duration::from_micros(500);
/// The same under load: a group that is twice as large writes the pages that all groups touch half as often.
const GATHER_UNDER_LOAD: Duration = Duration::from_micros(2_000);
/// The longest wait of batches for which nobody waits alone, such as a wave's answers before the last: those that follow
/// share one commit with them.
const PATIENCE: Duration = Duration::from_micros(2_000);
/// No batch for so long: no more are coming. Not asked under load, where a look costs more than the wait.
const LULL: Duration = Duration::from_micros(100);
/// Groups of so many batches are load…
const LOAD: usize = 16;
/// …when so many followed each other without a pause: a burst after a pause is over sooner than a long wait pays.
const LOAD_GROUPS: u32 = 16;
/// When to come back to a full queue: about the time of some commits.
const BUSY_RETRY: Duration = Duration::from_millis(50);

/// What an event costs the queue beside its payload; for the bound in bytes.
const EVENT_BYTES: usize = 256;

/// A batch, encoded on its caller's thread, and whom to tell.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) appends: Vec<EncodedAppend>,
    pub(super) receipt: Option<Receipt>,
    pub(super) cursor: Option<Cursor>,
    pub(super) ack: Ack,
    patient: bool,
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct EncodedAppend {
    pub(super) stream: StreamId,
    pub(super) expected_version: u64,
    /// Shared with whoever waits for them.
    pub(super) events: Arc<[NewEvent]>,
    /// Of each, as it will be stored.
    payloads: Vec<Vec<u8>>,
}

impl EncodedAppend {
    pub(super) fn encoded(&self) -> impl Iterator<Item = (&NewEvent, &[u8])> {
        self.events.iter().zip(self.payloads.iter().map(Vec::as_slice))
    }
}

impl Pending {
    pub(super) fn encode(batch: Batch, ack: Ack) -> Result<Self, (Ack, JournalError)> {
        let mut bytes = 0;
        let mut appends = Vec::with_capacity(batch.appends.len());
        // One without events asks for nothing.
        for append in batch.appends.into_iter().filter(|append| !append.events.is_empty()) {
            let Append { stream, expected_version, events } = append;
            let mut payloads = Vec::with_capacity(events.len());
            for event in &*events {
                match event.event.encode() {
                    Ok(payload) => {
                        bytes += payload.len() + EVENT_BYTES;
                        payloads.push(payload);
                    }
                    Err(error) => {
                        let why = format!("{} {} cannot be encoded: {error}", event.event.kind(), event.id);
                        return Err((ack, JournalError::Unusable(why.into())));
                    }
                }
            }
            appends.push(EncodedAppend { stream, expected_version, events, payloads });
        }
        bytes += batch.cursor.as_ref().map_or(0, |cursor| cursor.state.len());
        let Batch { receipt, cursor, patient, .. } = batch;
        Ok(Self { appends, receipt, cursor, ack, patient, bytes })
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &NewEvent> {
        self.appends.iter().flat_map(|append| &*append.events)
    }
}

/// How much may wait; what is being written counts until it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) batches: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Queue {
    bounds: Bounds,
    state: Mutex<State>,
    arrived: Condvar,
}

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Turn {
    Group(VecDeque<Pending>),
    Chore(Chore),
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Pending>,
    /// How many of them somebody waits for.
    hurried: usize,
    chore: Option<Chore>,
    held: usize,
    held_bytes: usize,
    /// The writer is to be woken when this many wait, or that somebody waits for one of them.
    wake_at: usize,
    wake_hurried: bool,
    /// Groups since the writer last found nothing to do.
    unbroken: u32,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Open,
    /// Nothing more is taken; what waits is still written.
    Closing,
    /// The writer has ended; this is what callers are told.
    Ended(JournalError),
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            hurried: 0,
            chore: None,
            held: 0,
            held_bytes: 0,
            wake_at: usize::MAX,
            wake_hurried: false,
            unbroken: 0,
            phase: Phase::Open,
        };
        Self { bounds, state: Mutex::new(state), arrived: Condvar::new() }
    }

    /// Takes a batch, or tells at once why not.
    pub(super) fn push(&self, pending: Pending) {
        let mut state = self.lock();
        if let Some(refusal) = state.refusal(pending.bytes, self.bounds) {
            drop(state);
            return pending.ack.tell(Err(refusal));
        }
        state.held += 1;
        state.held_bytes += pending.bytes;
        state.hurried += usize::from(!pending.patient);
        state.waiting.push_back(pending);
        let complete = state.waiting.len() >= state.wake_at || (state.wake_hurried && state.hurried > 0);
        drop(state);
        if complete {
            self.arrived.notify_one();
        }
    }

    /// Dropped untold when the queue is closed, or when another one waits.
    pub(super) fn push_chore(&self, chore: Chore) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Open) && state.chore.is_none() {
            state.chore = Some(chore);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// A chore, or the next group in the order of the pushes; `None` = closed and all written. `last` is the size of
    /// the group before: whoever wrote then is likely to write again, together with those that came during its commit.
    pub(super) fn gather(&self, last: usize) -> Option<Turn> {
        let mut state = self.lock();
        let likely = (last + state.waiting.len()).clamp(1, MAX_GROUP);
        loop {
            if let Some(chore) = state.chore.take() {
                return Some(Turn::Chore(chore));
            }
            if !state.waiting.is_empty() {
                break;
            }
            if !matches!(state.phase, Phase::Open) {
                return None;
            }
            state.wake_at = 1;
            state.unbroken = 0;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state = self.wait_for_hurry(state);
        let loaded = last >= LOAD && state.unbroken >= LOAD_GROUPS;
        let (lull, longest) = if loaded { (GATHER_UNDER_LOAD, GATHER_UNDER_LOAD) } else { (LULL, GATHER) };
        state = self.wait_for(state, likely, lull, longest);
        state.unbroken = state.unbroken.saturating_add(1);
        state.wake_at = usize::MAX;
        let size = state.waiting.len().min(MAX_GROUP);
        let rest = state.waiting.split_off(size);
        state.hurried = rest.iter().filter(|pending| !pending.patient).count();
        Some(Turn::Group(std::mem::replace(&mut state.waiting, rest)))
    }

    /// Waits until somebody waits for one of the batches, a group is full, or it took long enough.
    fn wait_for_hurry<'q>(&'q self, mut state: MutexGuard<'q, State>) -> MutexGuard<'q, State> {
        (state.wake_at, state.wake_hurried) = (MAX_GROUP, true);
        let nobody_waits = |state: &mut State| {
            let is_open = matches!(state.phase, Phase::Open) && state.chore.is_none();
            is_open && state.hurried == 0 && state.waiting.len() < MAX_GROUP
        };
        let waited = self.arrived.wait_timeout_while(state, PATIENCE, nobody_waits);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.wake_hurried = false;
        state
    }

    /// Waits until `likely` batches are there, none came for a while, or it took long enough.
    fn wait_for<'q>(
        &'q self,
        mut state: MutexGuard<'q, State>,
        likely: usize,
        lull: Duration,
        longest: Duration,
    ) -> MutexGuard<'q, State> {
        let until = Instant::now() + longest;
        state.wake_at = likely;
        while state.waiting.len() < likely && matches!(state.phase, Phase::Open) {
            let before = state.waiting.len();
            state = self.arrived.wait_timeout(state, lull).unwrap_or_else(PoisonError::into_inner).0;
            if state.waiting.len() == before || Instant::now() >= until {
                break;
            }
        }
        state
    }

    /// Makes room and tells; after this call nothing is known of the batch.
    pub(super) fn settle(&self, pending: Pending, result: Result<Committed, JournalError>) {
        let mut state = self.lock();
        state.held -= 1;
        state.held_bytes -= pending.bytes;
        drop(state);
        pending.ack.tell(result);
    }

    /// Takes nothing more. What waits is still written.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Open) {
            state.phase = Phase::Closing;
        }
        state.chore = None;
        drop(state);
        self.arrived.notify_all();
    }

    pub(super) fn is_closing(&self) -> bool {
        !matches!(self.lock().phase, Phase::Open)
    }

    /// Waits so long, or until it is closed.
    pub(super) fn pause(&self, time: Duration) {
        let state = self.lock();
        let waited = self.arrived.wait_timeout_while(state, time, |state| matches!(state.phase, Phase::Open));
        drop(waited);
    }

    /// The writer ends: all that wait, and all that come, are told why.
    pub(super) fn end(&self, why: &JournalError) {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Ended(_)) {
            state.phase = Phase::Ended(why.clone());
        }
        let waiting = std::mem::take(&mut state.waiting);
        state.chore = None;
        drop(state);
        self.arrived.notify_all();
        for pending in waiting {
            self.settle(pending, Err(why.clone()));
        }
    }

    /// A thread that panicked here held no half-made state: every change is one statement long.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refusal(&self, bytes: usize, bounds: Bounds) -> Option<JournalError> {
        match &self.phase {
            Phase::Closing => return Some(JournalError::Closed),
            Phase::Ended(why) => return Some(why.clone()),
            Phase::Open => {}
        }
        // One batch over the bound goes in alone: it would be told `Busy` for ever.
        let full = self.held >= bounds.batches || (self.held > 0 && self.held_bytes + bytes > bounds.bytes);
        full.then_some(JournalError::Busy { retry_after: BUSY_RETRY })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { batches: 4_096, bytes: 1 << 20 };

    fn push(queue: &Queue, patient: bool) {
        let batch = Batch { patient, ..Batch::default() };
        queue.push(Pending::encode(batch, Ack::new(|_| ())).map_err(|(_, error)| error).unwrap());
    }

    /// Whether the batches of the next group are patient.
    fn gather(queue: &Queue) -> Vec<bool> {
        match queue.gather(1) {
            Some(Turn::Group(group)) => group.iter().map(|pending| pending.patient).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_batch_for_which_nobody_waits_is_written_all_the_same() {
        let queue = Queue::new(BOUNDS);
        push(&queue, true);
        assert_eq!(gather(&queue), [true]);
    }

    #[test]
    fn a_batch_that_somebody_waits_for_takes_along_those_before_it() {
        let queue = Queue::new(BOUNDS);
        [true, true, false].into_iter().for_each(|patient| push(&queue, patient));
        assert_eq!(gather(&queue), [true, true, false]);
        assert_eq!(queue.lock().hurried, 0);
    }

    #[test]
    fn what_is_left_of_a_full_group_is_still_waited_for() {
        let queue = Queue::new(BOUNDS);
        (0..MAX_GROUP).for_each(|_| push(&queue, true));
        [false, true].into_iter().for_each(|patient| push(&queue, patient));
        assert_eq!(gather(&queue).len(), MAX_GROUP);
        assert_eq!(queue.lock().hurried, 1);
        assert_eq!(gather(&queue), [false, true]);
    }
}
