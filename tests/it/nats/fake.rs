//! The daemon's side, in memory. Simulated: it keeps what it was told and answers as a test says.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use moothall::nats::{
    Body, Cursor, Delivery, Handled, Inbox, InboxKey, Outbox, Publication, Rejection, Unavailable, dead_letter,
};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::locked;

/// Answers a delivery; the number is how often it came, from 1.
type Answer = Arc<dyn Fn(&Delivery, usize) -> Handled + Send + Sync>;

pub(crate) struct FakeInbox {
    answer: Mutex<Answer>,
    pub(crate) deliveries: Mutex<Vec<Delivery>>,
    /// How many are being handled, and how many were at most.
    busy: Mutex<(usize, usize)>,
    /// In the order of their ends.
    pub(crate) ended: Mutex<Vec<InboxKey>>,
    pub(crate) rejections: Mutex<Vec<Rejection>>,
    /// Whether the journal is there for rejections.
    pub(crate) up: AtomicBool,
    /// Handlings wait until this is set.
    pub(crate) held: watch::Sender<bool>,
    outbox: Arc<FakeOutbox>,
    pub(crate) told: Notify,
}

impl FakeInbox {
    pub(crate) fn new(outbox: &Arc<FakeOutbox>) -> Self {
        Self {
            answer: Mutex::new(Arc::new(|_, _| Handled::Done)),
            deliveries: Mutex::default(),
            busy: Mutex::default(),
            ended: Mutex::default(),
            rejections: Mutex::default(),
            up: AtomicBool::new(true),
            held: watch::Sender::new(false),
            outbox: Arc::clone(outbox),
            told: Notify::new(),
        }
    }

    pub(crate) fn answer(&self, answer: impl Fn(&Delivery, usize) -> Handled + Send + Sync + 'static) {
        *locked(&self.answer) = Arc::new(answer);
    }

    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    pub(crate) fn count(&self) -> usize {
        locked(&self.deliveries).len()
    }

    /// The most handlings that ran at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        locked(&self.busy).1
    }

    fn begun(&self) {
        let mut busy = locked(&self.busy);
        busy.0 += 1;
        busy.1 = busy.1.max(busy.0);
    }

    /// How often each message came.
    pub(crate) fn times(&self) -> BTreeMap<InboxKey, usize> {
        let mut times = BTreeMap::new();
        for delivery in locked(&self.deliveries).iter() {
            *times.entry(delivery.key.clone()).or_default() += 1;
        }
        times
    }

    pub(crate) fn rejected(&self) -> Vec<Rejection> {
        locked(&self.rejections).clone()
    }
}

#[async_trait]
impl Inbox for FakeInbox {
    async fn receive(&self, delivery: Delivery) -> Handled {
        let times = {
            let mut deliveries = locked(&self.deliveries);
            deliveries.push(delivery.clone());
            deliveries.iter().filter(|other| other.key == delivery.key).count()
        };
        self.begun();
        let _ = self.held.subscribe().wait_for(|held| !held).await;
        // So that another one has the chance to begin.
        tokio::task::yield_now().await;
        // Not under the lock: an answer may panic.
        let answer = Arc::clone(&locked(&self.answer));
        let handled = catch_unwind(AssertUnwindSafe(|| answer(&delivery, times)));
        locked(&self.busy).0 -= 1;
        let handled = handled.unwrap_or_else(|told| resume_unwind(told));
        locked(&self.ended).push(delivery.key);
        handled
    }

    async fn rejected(&self, rejection: Rejection) -> Result<(), Unavailable> {
        self.told.notify_one();
        if !self.up.load(Ordering::Relaxed) {
            return Err(Unavailable::new("the journal is down"));
        }
        locked(&self.rejections).push(rejection.clone());
        self.outbox.push(|seq| dead_letter(seq, Uuid::now_v7(), Timestamp::now(), &rejection));
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct FakeOutbox {
    pub(crate) journal: Mutex<Vec<Publication>>,
    pub(crate) cursor: Mutex<Option<Cursor>>,
    pub(crate) refused: Mutex<BTreeMap<u64, String>>,
    pub(crate) up: AtomicBool,
    news: watch::Sender<u64>,
}

impl Default for FakeOutbox {
    fn default() -> Self {
        Self {
            journal: Mutex::default(),
            cursor: Mutex::default(),
            refused: Mutex::default(),
            up: AtomicBool::new(true),
            news: watch::Sender::new(0),
        }
    }
}

impl FakeOutbox {
    /// With a gap before each, as other events make them.
    pub(crate) fn push(&self, make: impl FnOnce(u64) -> Publication) {
        let mut journal = locked(&self.journal);
        let seq = journal.last().map_or(1, |last| last.seq + 2);
        journal.push(make(seq));
        self.news.send_replace(seq);
    }

    pub(crate) fn event(&self, subject: &str, key: &str, payload: Value) {
        self.push(|seq| Publication {
            seq,
            event_id: Uuid::now_v7(),
            subject: subject.into(),
            ordering_key: key.into(),
            body: Body::Event(payload),
            correlation_id: Some("c-1".into()),
            causation_id: None,
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            time: Timestamp::now(),
        });
    }

    /// So many events of so many tasks.
    pub(crate) fn events(&self, count: usize, keys: usize) {
        for number in 0..count {
            let key = format!("t-{}", number % keys);
            self.event("orchestration.task.queued", &key, json!({"task_id": key, "number": number}));
        }
    }

    pub(crate) fn is_through(&self) -> bool {
        let head = locked(&self.journal).last().map_or(0, |last| last.seq);
        let refused = locked(&self.refused).keys().next_back().copied().unwrap_or(0);
        locked(&self.cursor).as_ref().map_or(0, Cursor::seq).max(refused) >= head
    }

    fn check(&self) -> Result<(), Unavailable> {
        if self.up.load(Ordering::Relaxed) { Ok(()) } else { Err(Unavailable::new("the journal is down")) }
    }
}

#[async_trait]
impl Outbox for FakeOutbox {
    async fn cursor(&self) -> Result<Option<Cursor>, Unavailable> {
        self.check()?;
        Ok(locked(&self.cursor).clone())
    }

    async fn next(&self, after_seq: u64, limit: usize) -> Result<Vec<Publication>, Unavailable> {
        self.check()?;
        let refused = locked(&self.refused);
        let journal = locked(&self.journal);
        let open = journal.iter().filter(|one| one.seq > after_seq && !refused.contains_key(&one.seq));
        Ok(open.take(limit).cloned().collect())
    }

    async fn saved(&self, cursor: Cursor) -> Result<(), Unavailable> {
        self.check()?;
        *locked(&self.cursor) = Some(cursor);
        Ok(())
    }

    async fn refused(&self, seq: u64, why: &str) -> Result<(), Unavailable> {
        self.check()?;
        locked(&self.refused).insert(seq, why.into());
        Ok(())
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}
