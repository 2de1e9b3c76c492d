//! What the simulator counted: the proof of how often a call was really made.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dashmap::DashMap;
use serde::{Deserialize, Serialize};

/// The counts as `GET /sim/stats` gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimStats {
    /// Requests for completions.
    pub calls: u64,
    /// Those whose usable answer was handed to the connection whole.
    pub finished: u64,
    /// Those whose client left before.
    pub aborted: u64,
    pub in_flight: u64,
    pub highest_concurrency: u64,
    /// Accepted so far.
    pub connections: u64,
    /// Calls whose system message was in the simulated prefix cache, and those whose was not; both 0 without one.
    #[serde(default)]
    pub prefix_hits: u64,
    #[serde(default)]
    pub prefix_misses: u64,
    /// By the `X-Moothall-Call` header; empty when switched off.
    pub by_call: BTreeMap<String, CallCount>,
    /// By status; 0 = the connection was closed or left hanging instead.
    pub by_status: BTreeMap<u16, u64>,
}

/// One call's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCount {
    pub started: u64,
    pub finished: u64,
    pub aborted: u64,
    /// Since the Unix epoch; 0 = never.
    pub last_finished_at_ms: u64,
    /// Since the Unix epoch.
    #[serde(default)]
    pub first_started_at_us: u64,
}

/// One request, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRequest {
    pub call: String,
    pub path: String,
    /// The header as sent.
    pub authorization: Option<String>,
    pub body: String,
}

/// Statuses up to here are counted one by one.
const STATUSES: usize = 600;

pub(crate) struct Counts {
    calls: AtomicU64,
    finished: AtomicU64,
    aborted: AtomicU64,
    in_flight: AtomicU64,
    highest: AtomicU64,
    pub(crate) connections: AtomicU64,
    prefix_hits: AtomicU64,
    prefix_misses: AtomicU64,
    by_status: Vec<AtomicU64>,
    by_call: Option<DashMap<Arc<str>, CallCount>>,
    records: Option<Mutex<VecDeque<(RecordedHead, Bytes)>>>,
    most_records: usize,
}

/// What is kept of a request beside its body.
pub(crate) struct RecordedHead {
    pub(crate) call: String,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
}

impl Counts {
    pub(crate) fn new(by_call: bool, record: usize) -> Self {
        Self {
            calls: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            highest: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            prefix_hits: AtomicU64::new(0),
            prefix_misses: AtomicU64::new(0),
            by_status: (0..STATUSES).map(|_| AtomicU64::new(0)).collect(),
            by_call: by_call.then(DashMap::new),
            records: (record > 0).then(Mutex::default),
            most_records: record,
        }
    }

    /// Forgets everything but what is in flight.
    pub(crate) fn reset(&self) {
        let prefixes = [&self.prefix_hits, &self.prefix_misses];
        let all = [&self.calls, &self.finished, &self.aborted, &self.connections].into_iter().chain(prefixes);
        for count in all.chain(&self.by_status) {
            count.store(0, Ordering::Relaxed);
        }
        self.highest.store(self.in_flight.load(Ordering::Relaxed), Ordering::Relaxed);
        if let Some(by_call) = &self.by_call {
            by_call.clear();
        }
        if let Some(records) = &self.records {
            records.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    pub(crate) fn snapshot(&self) -> SimStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let by_status = (0..).zip(&self.by_status).map(|(status, count)| (status, read(count)));
        let by_call = self.by_call.iter().flat_map(DashMap::iter);
        SimStats {
            calls: read(&self.calls),
            finished: read(&self.finished),
            aborted: read(&self.aborted),
            in_flight: read(&self.in_flight),
            highest_concurrency: read(&self.highest),
            connections: read(&self.connections),
            prefix_hits: read(&self.prefix_hits),
            prefix_misses: read(&self.prefix_misses),
            by_call: by_call.map(|entry| (entry.key().to_string(), *entry.value())).collect(),
            by_status: by_status.filter(|(_, count)| *count > 0).collect(),
        }
    }

    pub(crate) fn records(&self, limit: usize) -> Vec<RecordedRequest> {
        let Some(records) = &self.records else { return Vec::new() };
        let records = records.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = records.len().saturating_sub(limit);
        let shown = |(head, body): &(RecordedHead, Bytes)| RecordedRequest {
            call: head.call.clone(),
            path: head.path.clone(),
            authorization: head.authorization.clone(),
            body: String::from_utf8_lossy(body).into_owned(),
        };
        records.iter().skip(skipped).map(shown).collect()
    }

    pub(crate) fn recording(&self) -> bool {
        self.records.is_some()
    }

    pub(crate) fn record(&self, head: RecordedHead, body: Bytes) {
        if let Some(records) = &self.records {
            let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
            if records.len() >= self.most_records {
                records.pop_front();
            }
            records.push_back((head, body));
        }
    }

    pub(crate) fn prefix(&self, hit: bool) {
        let count = if hit { &self.prefix_hits } else { &self.prefix_misses };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has come.
    pub(crate) fn begin(self: &Arc<Self>, call: &str) -> Begun {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        if now > self.highest.load(Ordering::Relaxed) {
            self.highest.fetch_max(now, Ordering::Relaxed);
        }
        let name = self.by_call.as_ref().filter(|_| !call.is_empty()).map(|by_call| {
            let name: Arc<str> = call.into();
            let first = || CallCount { first_started_at_us: micros(since_epoch()), ..CallCount::default() };
            by_call.entry(Arc::clone(&name)).or_insert_with(first).started += 1;
            name
        });
        Begun { counts: Arc::clone(self), name, ended: None }
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn micros(of: Duration) -> u64 {
    u64::try_from(of.as_micros()).unwrap_or(u64::MAX)
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Finished,
    Failed,
}

/// One request under way. Dropped without an end: its client left.
pub(crate) struct Begun {
    counts: Arc<Counts>,
    name: Option<Arc<str>>,
    ended: Option<Ended>,
}

impl Begun {
    /// The status that its answer bears; 0 = none.
    pub(crate) fn status(&self, status: u16) {
        if let Some(count) = self.counts.by_status.get(usize::from(status)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn finished(mut self) {
        self.ended = Some(Ended::Finished);
    }

    /// It got what it was meant to get, which is no answer.
    pub(crate) fn failed(mut self) {
        self.ended = Some(Ended::Failed);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let counts = &self.counts;
        counts.in_flight.fetch_sub(1, Ordering::Relaxed);
        match self.ended {
            Some(Ended::Finished) => counts.finished.fetch_add(1, Ordering::Relaxed),
            Some(Ended::Failed) => return,
            None => counts.aborted.fetch_add(1, Ordering::Relaxed),
        };
        let (Some(by_call), Some(name)) = (&counts.by_call, &self.name) else { return };
        let mut count = by_call.entry(Arc::clone(name)).or_default();
        if self.ended.is_some() {
            count.finished += 1;
            count.last_finished_at_ms = micros(since_epoch()) / 1_000;
        } else {
            count.aborted += 1;
        }
    }
}
