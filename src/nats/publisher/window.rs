//! What is on its way out: which publication may be sent now, and how far everything is out.
//!
//! Pure: publications are read, sent, acknowledged, refused; each input changes the state and nothing waits. At most one
//! of each key is in flight, others go on, so that acknowledgements come out of order; `done_to` follows the gapless part.
//!
//! ```text
//!   done_to            read_to
//!  ────┼─ ✓ ─ ✈ ─ ✓ ─ · ─┼──── journal ────▶      ✓ settled   ✈ in flight   · waits for its key
//! ```
//! Each one sent remembers the last sequences known then (its floors): it can only stand beyond them. The least of them
//! is where a later look at the stream begins, and an acknowledgement at or before a floor shows a server set back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::super::cursor::{Checkpoint, Mark, Place};

/// Sequences by stream.
pub(super) type Floors = BTreeMap<String, u64>;

/// Most of what may be open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) in_flight: usize,
    pub(super) ahead: usize,
}

/// One publication, as far as this matters here.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) seq: u64,
    pub(super) event_id: Uuid,
    pub(super) key: String,
}

/// Where to begin after a look at the streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ground {
    /// Everything up to here is out.
    pub(super) seq: u64,
    /// The last sequence of each stream.
    pub(super) seen: Floors,
    /// Where the look began.
    pub(super) read_from: Floors,
    /// The last of ours up to `seq`.
    pub(super) last: BTreeMap<String, Place>,
    /// What stands in the tails.
    pub(super) present: BTreeMap<Uuid, (String, u64)>,
}

/// What an acknowledgement showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acked {
    Well,
    /// The server gave a sequence that it had given before.
    SetBack,
}

#[derive(Debug)]
pub(super) struct Window {
    limits: Limits,
    done_to: u64,
    read_to: u64,
    open: BTreeMap<u64, Entry>,
    /// By key: those not settled, the first of them being the key's turn.
    lanes: BTreeMap<String, VecDeque<u64>>,
    /// First of their keys and not in flight.
    ready: BTreeSet<u64>,
    in_flight: usize,
    seen: Arc<Floors>,
    last: BTreeMap<String, Place>,
    /// Of the last look, until everything that can have been sent before it was read again.
    present: BTreeMap<Uuid, (String, u64)>,
    base: Option<Arc<Floors>>,
}

#[derive(Debug)]
struct Entry {
    item: Item,
    /// Known when it was sent first.
    floors: Option<Arc<Floors>>,
    settled: bool,
    ack: Option<(String, u64)>,
}

impl Window {
    pub(super) fn new(limits: Limits, ground: Ground) -> Self {
        Self {
            limits,
            done_to: ground.seq,
            read_to: ground.seq,
            open: BTreeMap::new(),
            lanes: BTreeMap::new(),
            ready: BTreeSet::new(),
            in_flight: 0,
            seen: Arc::new(ground.seen),
            last: ground.last,
            present: ground.present,
            base: Some(Arc::new(ground.read_from)),
        }
    }

    pub(super) fn read_to(&self) -> u64 {
        self.read_to
    }

    pub(super) fn done_to(&self) -> u64 {
        self.done_to
    }

    /// How many more may be read.
    pub(super) fn room(&self) -> usize {
        self.limits.ahead.saturating_sub(self.open.len())
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes what was read, and tells which of it stands in the stream already. `exhausted` = there is no more now.
    pub(super) fn read(&mut self, items: Vec<Item>, exhausted: bool) -> Vec<u64> {
        let mut found = Vec::new();
        for item in items.into_iter().filter(|item| item.seq > self.read_to).collect::<Vec<_>>() {
            self.read_to = item.seq;
            if let Some(ack) = self.present.remove(&item.event_id) {
                found.push(item.seq);
                let entry = Entry { item, floors: self.base.clone(), settled: true, ack: Some(ack) };
                self.open.insert(entry.item.seq, entry);
            } else {
                self.wait(item);
            }
        }
        if exhausted {
            // Whatever stands there else is not ours.
            self.present.clear();
            self.base = None;
        }
        self.advance();
        found
    }

    fn wait(&mut self, item: Item) {
        let lane = self.lanes.entry(item.key.clone()).or_default();
        lane.push_back(item.seq);
        if lane.len() == 1 {
            self.ready.insert(item.seq);
        }
        self.open.insert(item.seq, Entry { item, floors: None, settled: false, ack: None });
    }

    /// The oldest that may go now; it is in flight from here on.
    pub(super) fn send(&mut self) -> Option<u64> {
        if self.in_flight >= self.limits.in_flight {
            return None;
        }
        let seq = self.ready.pop_first()?;
        let entry = self.open.get_mut(&seq)?;
        entry.floors = Some(Arc::clone(&self.seen));
        self.in_flight += 1;
        Some(seq)
    }

    pub(super) fn acked(&mut self, seq: u64, stream: &str, sequence: u64, duplicate: bool) -> Acked {
        let floors = self.open.get(&seq).and_then(|entry| entry.floors.as_ref());
        let floor = floors.and_then(|floors| floors.get(stream)).copied().unwrap_or_default();
        if !duplicate && sequence <= floor {
            return Acked::SetBack;
        }
        if self.seen.get(stream).is_none_or(|&seen| seen < sequence) {
            Arc::make_mut(&mut self.seen).insert(stream.to_owned(), sequence);
        }
        self.settle(seq, Some((stream.to_owned(), sequence)));
        Acked::Well
    }

    /// It will never go out.
    pub(super) fn refused(&mut self, seq: u64) {
        self.settle(seq, None);
    }

    fn settle(&mut self, seq: u64, ack: Option<(String, u64)>) {
        let Some(entry) = self.open.get_mut(&seq).filter(|entry| !entry.settled) else { return };
        entry.settled = true;
        entry.ack = ack;
        self.in_flight -= 1;
        if let Some(lane) = self.lanes.get_mut(&entry.item.key) {
            lane.pop_front();
            match lane.front() {
                Some(&next) => {
                    self.ready.insert(next);
                }
                None => {
                    self.lanes.remove(&entry.item.key);
                }
            }
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(first) = self.open.first_entry().filter(|first| first.get().settled) {
            let Entry { item, ack, .. } = first.remove();
            self.done_to = item.seq;
            let Some((stream, sequence)) = ack else { continue };
            let place = Place { sequence, event_id: item.event_id };
            let last = self.last.entry(stream).or_insert(place);
            if last.sequence < sequence {
                *last = place;
            }
        }
    }

    pub(super) fn checkpoint(&self, at_ms: i64) -> Checkpoint {
        let mark = |(stream, &seen): (&String, &u64)| Mark {
            stream: stream.clone(),
            read_from: self.sent_floors().map(|floors| floors.get(stream).copied().unwrap_or(0)).fold(seen, u64::min),
            last: self.last.get(stream).copied(),
        };
        Checkpoint { seq: self.done_to, at_ms, marks: self.seen.iter().map(mark).collect() }
    }

    /// Of all that may stand in a stream beyond `done_to`.
    fn sent_floors(&self) -> impl Iterator<Item = &Floors> {
        self.open.values().filter_map(|entry| entry.floors.as_deref()).chain(self.base.as_deref())
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
