//! Exactly once in the stream, whatever is lost, by a model of the server without a window for duplicates.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::super::super::cursor::Place;
use super::super::window::{Acked, Item, Limits, Window};
use super::*;

const STREAMS: [&str; 2] = ["A", "B"];

/// A server of two streams that stores whatever comes. Simulated.
#[derive(Clone, Debug, Default)]
struct Model {
    /// The first is sequence 1; foreign messages have no id.
    streams: BTreeMap<&'static str, Vec<Option<Uuid>>>,
    /// How many are aged out at the front.
    aged: BTreeMap<&'static str, u64>,
}

impl Model {
    fn store(&mut self, stream: &'static str, id: Option<Uuid>) -> u64 {
        let messages = self.streams.entry(stream).or_default();
        messages.push(id);
        messages.len() as u64
    }

    fn messages(&self, stream: &str) -> &[Option<Uuid>] {
        self.streams.get(stream).map_or(&[], Vec::as_slice)
    }
}

#[async_trait]
impl Streams for Model {
    async fn extent(&self, stream: &str) -> Result<Option<Extent>, String> {
        let first = self.aged.get(stream).copied().unwrap_or(0) + 1;
        Ok(Some(Extent { first, last: self.messages(stream).len() as u64 }))
    }

    async fn at(&self, stream: &str, sequence: u64) -> Result<Found, String> {
        let found = self.messages(stream).get(usize::try_from(sequence).unwrap() - 1);
        Ok(found.map_or(Found::Nothing, |id| Found::Id(*id)))
    }

    async fn tail(&self, stream: &str, after: u64, last: u64) -> Result<Vec<(u64, Uuid)>, String> {
        let aged = self.aged.get(stream).copied().unwrap_or(0);
        let places = self.messages(stream).iter().zip(1..=last);
        Ok(places.filter(|(_, at)| *at > after.max(aged)).filter_map(|(id, at)| Some((at, (*id)?))).collect())
    }
}

fn look_now(model: &Model, cursor: &Cursor) -> Repair {
    // The model never waits.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(look(model, cursor, &STREAMS)).unwrap()
}

fn id(seq: u64) -> Uuid {
    Uuid::from_u128(seq.into())
}

fn place(sequence: u64, seq: u64) -> Option<Place> {
    Some(Place { sequence, event_id: id(seq) })
}

/// A cursor at `seq`, with ours of that seq last in A.
fn checkpoint(seq: u64, sequence: u64, read_from: u64) -> Checkpoint {
    let mark = Mark { stream: "A".into(), read_from, last: place(sequence, seq) };
    Checkpoint { seq, at_ms: 0, marks: vec![mark] }
}

#[test]
fn each_state_of_a_place_means_what_the_table_says() {
    let mut model = Model::default();
    (1..=5).for_each(|seq| {
        model.store("A", (seq != 3).then(|| id(seq)));
    });
    for (what, seq, sequence, read_from, holds) in [
        ("holds its id", 4, 4, 4, true),
        ("holds another id", 9, 4, 4, false),
        ("holds a foreign message", 3, 3, 3, false),
        ("is beyond the last", 6, 6, 6, false),
        ("a tail that would begin beyond the last", 4, 4, 6, false),
    ] {
        let cursor = Cursor { trail: vec![Checkpoint::default(), checkpoint(seq, sequence, read_from)] };
        let repair = look_now(&model, &cursor);
        assert_eq!(repair.ground.seq == seq, holds, "{what}: {repair:?}");
        assert_eq!(repair.cursor.trail.len(), if holds { 2 } else { 1 }, "{what}");
        assert_eq!(repair.beyond, None, "{what}");
    }
    model.aged.insert("A", 5);
    let cursor = Cursor { trail: vec![checkpoint(9, 4, 4)] };
    assert_eq!(look_now(&model, &cursor).ground.seq, 9, "aged out");
}

#[test]
fn a_server_set_back_beyond_the_trail_is_told_and_its_whole_stream_read() {
    let mut model = Model::default();
    model.store("A", Some(id(3)));
    let cursor = Cursor { trail: vec![checkpoint(2, 8, 8), checkpoint(5, 12, 12)] };
    let repair = look_now(&model, &cursor);
    assert_eq!((repair.beyond.as_deref(), repair.ground.seq), (Some("A"), 2));
    assert!(repair.ground.present.contains_key(&id(3)));
    assert_eq!(repair.cursor, Cursor::default());
}

#[test]
fn the_first_look_takes_nothing_in_the_streams_for_ours() {
    let mut model = Model::default();
    model.store("A", Some(id(1)));
    let repair = look_now(&model, &Cursor::default());
    assert!(repair.ground.present.is_empty());
    assert_eq!(repair.ground.seen["A"], 1);
}

#[derive(Clone, Debug)]
enum Step {
    /// New publications of these keys.
    Happen(Vec<u8>),
    Read(usize),
    /// What becomes of the next one sent.
    Send(Fate),
    /// The oldest, or the youngest, of those stored is acknowledged.
    Ack(bool),
    Refuse,
    Foreign(bool),
    Save(i64),
    /// The daemon starts again from the saved cursor, or the connection does.
    Again,
    /// The server comes back with so many messages less.
    SetBack(bool, usize),
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Stored,
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop::collection::vec(0_u8..4, 1..6).prop_map(Step::Happen),
        3 => (1_usize..8).prop_map(Step::Read),
        8 => Just(Step::Send(Fate::Stored)),
        1 => Just(Step::Send(Fate::Lost)),
        6 => any::<bool>().prop_map(Step::Ack),
        1 => Just(Step::Refuse),
        1 => any::<bool>().prop_map(Step::Foreign),
        3 => (0_i64..40_000).prop_map(Step::Save),
        1 => Just(Step::Again),
        1 => (any::<bool>(), 0_usize..6).prop_map(|(one, count)| Step::SetBack(one, count)),
    ]
}

/// Daemon and server, without anything between them but what a step loses.
struct World {
    model: Model,
    journal: Vec<Item>,
    refused: BTreeSet<u64>,
    window: Window,
    cursor: Cursor,
    now: i64,
    /// Sent in this window: where it was stored, if it was.
    flights: Vec<(u64, Option<(&'static str, u64)>)>,
}

impl World {
    fn new() -> Self {
        let limits = Limits { in_flight: 3, ahead: 8 };
        let model = Model::default();
        let repair = look_now(&model, &Cursor::default());
        let window = Window::new(limits, repair.ground);
        let mut world = Self {
            model,
            window,
            journal: Vec::new(),
            refused: BTreeSet::new(),
            cursor: Cursor::default(),
            now: 0,
            flights: Vec::new(),
        };
        // Saved before anything is sent.
        world.save(0);
        world
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Happen(keys) => keys.iter().for_each(|key| self.happen(*key)),
            Step::Read(limit) => self.read(*limit),
            Step::Send(fate) => self.send(*fate),
            Step::Ack(oldest) => self.ack(*oldest),
            Step::Refuse => self.refuse(),
            Step::Foreign(one) => {
                self.model.store(STREAMS[usize::from(*one)], None);
            }
            Step::Save(after) => self.save(*after),
            Step::Again => self.again(),
            Step::SetBack(one, count) => self.set_back(STREAMS[usize::from(*one)], *count),
        }
    }

    fn happen(&mut self, key: u8) {
        let seq = self.journal.last().map_or(2, |item| item.seq + 1 + u64::from(key % 2));
        self.journal.push(Item { seq, event_id: id(seq), key: key.to_string() });
    }

    fn read(&mut self, limit: usize) {
        let limit = limit.min(self.window.room());
        let after = self.window.read_to();
        let open = self.journal.iter().filter(|item| item.seq > after && !self.refused.contains(&item.seq));
        let items: Vec<Item> = open.take(limit).cloned().collect();
        let exhausted = items.len() < limit;
        self.window.read(items, exhausted);
    }

    /// Odd keys go to the one stream, even ones to the other.
    fn send(&mut self, fate: Fate) {
        let Some(seq) = self.window.send() else { return };
        let item = self.journal.iter().find(|item| item.seq == seq).unwrap();
        let stream = STREAMS[item.key.parse::<usize>().unwrap() % 2];
        let event_id = item.event_id;
        let stored = match fate {
            Fate::Stored => Some((stream, self.model.store(stream, Some(event_id)))),
            Fate::Lost => None,
        };
        self.flights.push((seq, stored));
    }

    fn ack(&mut self, oldest: bool) {
        let mut stored = self.flights.iter().enumerate().filter(|(_, (_, stored))| stored.is_some()).map(|(at, _)| at);
        let Some(at) = (if oldest { stored.next() } else { stored.next_back() }) else { return };
        let (seq, stored) = self.flights.remove(at);
        let (stream, sequence) = stored.unwrap();
        assert_eq!(self.window.acked(seq, stream, sequence, false), Acked::Well);
    }

    fn refuse(&mut self) {
        let Some(at) = self.flights.iter().position(|(_, stored)| stored.is_none()) else { return };
        let (seq, _) = self.flights.remove(at);
        self.refused.insert(seq);
        self.window.refused(seq);
    }

    fn save(&mut self, after: i64) {
        self.now += after;
        self.cursor.push(self.window.checkpoint(self.now));
    }

    fn again(&mut self) {
        self.flights.clear();
        let repair = look_now(&self.model, &self.cursor);
        assert_eq!(repair.beyond, None);
        self.cursor = repair.cursor;
        self.window = Window::new(Limits { in_flight: 3, ahead: 8 }, repair.ground);
        self.save(0);
    }

    /// Not beyond the oldest checkpoint, which nothing could repair.
    fn set_back(&mut self, stream: &'static str, count: usize) {
        let marks = self.cursor.trail[0].marks.iter().filter(|mark| mark.stream == stream);
        let least = marks.map(|mark| mark.read_from.max(mark.last.map_or(0, |last| last.sequence))).max().unwrap_or(0);
        let messages = self.model.streams.entry(stream).or_default();
        let left = messages.len().saturating_sub(count).max(usize::try_from(least).unwrap()).min(messages.len());
        messages.truncate(left);
        self.again();
    }

    /// No more troubles: everything goes out.
    fn settle(&mut self) {
        self.again();
        for _ in 0..10_000 {
            self.read(8);
            self.send(Fate::Stored);
            self.ack(true);
            if self.window.is_idle()
                && self.journal.iter().all(|item| item.seq <= self.window.read_to() || self.refused.contains(&item.seq))
            {
                return;
            }
        }
        panic!("never idle: {:?}", self.window);
    }

    fn check(&self) {
        let mut by_key: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for stream in STREAMS {
            for event_id in self.model.messages(stream).iter().flatten() {
                let item = self.journal.iter().find(|item| item.event_id == *event_id).unwrap();
                by_key.entry(&item.key).or_default().push(item.seq);
            }
        }
        for item in &self.journal {
            let times = by_key.get(item.key.as_str()).map_or(0, |seqs| seqs.iter().filter(|s| **s == item.seq).count());
            let refused = self.refused.contains(&item.seq);
            assert!(times == 1 || refused && times <= 1, "{} stands {times} times", item.seq);
        }
        for (key, seqs) in by_key {
            assert!(seqs.is_sorted(), "{key}: {seqs:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn everything_stands_in_the_streams_exactly_once_and_in_order(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        world.settle();
        world.check();
    }
}
