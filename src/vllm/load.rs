//! How many calls a server has and how it fares: places, breaker and counts, whatever language it speaks.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::breaker::{Breaker, BreakerState, Pass, Standing};
use super::metric::{PrefixCounts, ReplicaMetrics};
use super::settings::BreakerSettings;
use super::trouble::Trouble;

pub(crate) struct Load {
    shown: String,
    permits: Semaphore,
    most_waiting: usize,
    waiting: AtomicUsize,
    outstanding: AtomicUsize,
    requests: AtomicU64,
    failures: AtomicU64,
    breaker: Mutex<Breaker>,
    last_failure: Mutex<Option<Arc<str>>>,
    metrics: ReplicaMetrics,
}

/// How a replica stands, for metrics and health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaState {
    pub url: String,
    /// Calls at it or waiting for it.
    pub outstanding: usize,
    pub waiting: usize,
    pub breaker: BreakerState,
    /// Requests sent, and how many of them brought no answer.
    pub requests: u64,
    pub failures: u64,
    pub last_failure: Option<Arc<str>>,
    /// Of its prefix cache; an outside agent has none.
    pub prefix: PrefixCounts,
}

impl Load {
    /// Of the server that is shown so: calls at once, and calls that may wait.
    pub(crate) fn new(shown: &str, (at_once, most_waiting): (usize, usize), breaker: BreakerSettings) -> Self {
        Self {
            permits: Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS)),
            most_waiting,
            waiting: AtomicUsize::new(0),
            outstanding: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            breaker: Mutex::new(Breaker::new(breaker)),
            last_failure: Mutex::default(),
            metrics: ReplicaMetrics::new(shown),
            shown: shown.to_owned(),
        }
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    pub(crate) fn admits(&self, now: Instant) -> bool {
        lock(&self.breaker).admits(now)
    }

    pub(crate) fn breaker_state(&self) -> BreakerState {
        lock(&self.breaker).state()
    }

    pub(crate) fn last_failure(&self) -> Option<Arc<str>> {
        lock(&self.last_failure).clone()
    }

    pub(crate) fn state(&self) -> ReplicaState {
        ReplicaState {
            url: self.shown.clone(),
            outstanding: self.outstanding(),
            waiting: self.waiting.load(Ordering::Relaxed),
            breaker: self.breaker_state(),
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            last_failure: self.last_failure(),
            prefix: PrefixCounts::default(),
        }
    }

    /// Counts a call as this server's until the guard is dropped.
    pub(crate) fn enter(&self) -> Outstanding<'_> {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        self.metrics.outstanding.increment(1.0);
        Outstanding(self)
    }

    /// Waits for a free place, if not too many do.
    pub(crate) async fn place(&self, deadline: tokio::time::Instant) -> Result<SemaphorePermit<'_>, Trouble> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(self);
        if before >= self.most_waiting {
            return Err(Trouble::queue_full(before));
        }
        place_of(&self.permits, deadline).await
    }

    /// Leave to send one request, if the server is not left alone.
    pub(crate) fn trial(&self) -> Result<Trial<'_>, Trouble> {
        match lock(&self.breaker).pass(Instant::now()) {
            Some(pass) => {
                self.requests.fetch_add(1, Ordering::Relaxed);
                Ok(Trial { load: self, pass, standing: Standing::Unknown })
            }
            None => Err(self.left_alone()),
        }
    }

    pub(crate) fn left_alone(&self) -> Trouble {
        Trouble::left_alone(self.last_failure().as_deref().unwrap_or("unknown"))
    }
}

/// A place among these, as soon as one is free.
pub(crate) async fn place_of(
    places: &Semaphore,
    deadline: tokio::time::Instant,
) -> Result<SemaphorePermit<'_>, Trouble> {
    match tokio::time::timeout_at(deadline, places.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_closed)) => Err(Trouble::internal("its places are closed")),
        Err(_) => Err(Trouble::out_of_time(Standing::Unknown, "no place came free in time")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One call at this server, or waiting for it.
pub(crate) struct Outstanding<'a>(&'a Load);

impl Drop for Outstanding<'_> {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.outstanding.decrement(1.0);
    }
}

struct Waiting<'a>(&'a Load);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request under way. Dropped without an outcome (the caller left), it says nothing of the server.
pub(crate) struct Trial<'a> {
    load: &'a Load,
    pass: Pass,
    standing: Standing,
}

impl Trial<'_> {
    pub(crate) fn ended<T>(mut self, outcome: &Result<T, Trouble>) {
        let load = self.load;
        match outcome {
            Ok(_) => {
                self.standing = Standing::Well;
                load.metrics.answered.increment(1);
            }
            Err(trouble) => {
                self.standing = trouble.standing;
                load.failures.fetch_add(1, Ordering::Relaxed);
                load.metrics.failed.increment(1);
                *lock(&load.last_failure) = Some(trouble.what.as_str().into());
            }
        }
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        let mut breaker = lock(&self.load.breaker);
        let before = breaker.state();
        breaker.tell(self.pass, self.standing, Instant::now());
        let after = breaker.state();
        drop(breaker);
        if before != after {
            let open = if after == BreakerState::Closed { 0.0 } else { 1.0 };
            self.load.metrics.breaker_open.set(open);
        }
    }
}
