//! One model server: its connections, how many calls it has, how it fares and what it serves.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::breaker::{Breaker, BreakerState, Pass, Standing};
use super::catalog::Catalog;
use super::http1::{Connector, Pool, Reply, Request, WireError};
use super::metric::ReplicaMetrics;
use super::settings::VllmSettings;
use super::target::Target;
use super::trouble::{Trouble, excerpt};

/// How long a server may take to say what it serves.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server that does not say it is not asked again.
const UNLISTED_FOR: Duration = Duration::from_secs(30);
/// A list of models is small.
const CATALOG_BYTES: usize = 1024 * 1024;
/// Of an error's body only the begin is read.
const ERROR_BYTES: usize = 64 * 1024;

pub(crate) struct Replica {
    pub(crate) target: Target,
    pool: Pool,
    permits: Semaphore,
    most_waiting: usize,
    waiting: AtomicUsize,
    outstanding: AtomicUsize,
    requests: AtomicU64,
    failures: AtomicU64,
    breaker: Mutex<Breaker>,
    last_failure: Mutex<Option<Arc<str>>>,
    known: Mutex<Known>,
    /// Held by the one that asks what is served; the others wait for its answer.
    learning: tokio::sync::Mutex<()>,
    metrics: ReplicaMetrics,
}

#[derive(Clone)]
enum Known {
    Nothing,
    Served(Arc<Catalog>),
    /// It did not say.
    Unlisted {
        until: Instant,
    },
}

/// How a replica stands, for metrics and health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaState {
    pub url: String,
    /// Calls at it or waiting for it.
    pub outstanding: usize,
    pub waiting: usize,
    pub breaker: BreakerState,
    /// HTTP requests sent, and how many of them brought no answer.
    pub requests: u64,
    pub failures: u64,
    pub last_failure: Option<Arc<str>>,
}

impl Replica {
    pub(crate) fn new(target: Target, connector: Connector, settings: &VllmSettings) -> Self {
        Self {
            pool: Pool::new(connector, target.origin.clone(), settings.idle_timeout),
            permits: Semaphore::new(settings.calls_per_replica.clamp(1, Semaphore::MAX_PERMITS)),
            most_waiting: settings.waiting_per_replica,
            waiting: AtomicUsize::new(0),
            outstanding: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            breaker: Mutex::new(Breaker::new(settings.breaker)),
            last_failure: Mutex::default(),
            known: Mutex::new(Known::Nothing),
            learning: tokio::sync::Mutex::default(),
            metrics: ReplicaMetrics::new(&target.shown),
            target,
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
            url: self.target.shown.clone(),
            outstanding: self.outstanding(),
            waiting: self.waiting.load(Ordering::Relaxed),
            breaker: self.breaker_state(),
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            last_failure: self.last_failure(),
        }
    }

    /// Counts a call as this replica's until the guard is dropped.
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
        match tokio::time::timeout_at(deadline, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(Trouble::internal("its places are closed")),
            Err(_) => Err(Trouble::out_of_time(Standing::Unknown, "no place came free in time")),
        }
    }

    /// Leave to send one request, if the server is not left alone.
    pub(crate) fn trial(&self) -> Result<Trial<'_>, Trouble> {
        match lock(&self.breaker).pass(Instant::now()) {
            Some(pass) => {
                self.requests.fetch_add(1, Ordering::Relaxed);
                Ok(Trial { replica: self, pass, standing: Standing::Unknown })
            }
            None => Err(self.left_alone()),
        }
    }

    pub(crate) fn left_alone(&self) -> Trouble {
        Trouble::left_alone(self.last_failure().as_deref().unwrap_or("unknown"))
    }

    /// Sends a request. A server that was away may come back with another model.
    pub(crate) async fn send(&self, request: &Request) -> Result<Reply, WireError> {
        let reply = self.pool.send(request).await;
        if matches!(reply, Err(WireError::Connect(_))) {
            *lock(&self.known) = Known::Nothing;
        }
        reply
    }

    /// What the server serves; `None` = it does not say, which is remembered for a while unless `needed`.
    pub(crate) async fn catalog(&self, needed: bool) -> Result<Option<Arc<Catalog>>, Trouble> {
        if let Some(known) = self.known(needed) {
            return Ok(known);
        }
        let _one = self.learning.lock().await;
        if let Some(known) = self.known(needed) {
            return Ok(known);
        }
        Box::pin(self.learn()).await.map(Some).or_else(|trouble| {
            // Whoever cannot be reached will not answer the call either.
            if needed || trouble.standing == Standing::Failed { Err(trouble) } else { Ok(None) }
        })
    }

    fn known(&self, needed: bool) -> Option<Option<Arc<Catalog>>> {
        match &*lock(&self.known) {
            Known::Served(catalog) => Some(Some(Arc::clone(catalog))),
            Known::Unlisted { until } if !needed && Instant::now() < *until => Some(None),
            Known::Nothing | Known::Unlisted { .. } => None,
        }
    }

    /// Asks what is served, whatever was known.
    pub(crate) async fn learn(&self) -> Result<Arc<Catalog>, Trouble> {
        let asked = tokio::time::timeout(CATALOG_TIMEOUT, self.fetch()).await;
        let outcome = asked.unwrap_or_else(|_| {
            Err(Trouble { standing: Standing::Unknown, ..Trouble::silent("does not say in time what it serves") })
        });
        let mut known = lock(&self.known);
        match &outcome {
            Ok(catalog) => *known = Known::Served(Arc::clone(catalog)),
            // What it said before still holds: a server under load may be slow to say it again.
            Err(_) if matches!(*known, Known::Served(_)) => {}
            Err(trouble) if trouble.standing == Standing::Failed => *known = Known::Nothing,
            Err(_) => *known = Known::Unlisted { until: Instant::now() + UNLISTED_FOR },
        }
        drop(known);
        outcome
    }

    async fn fetch(&self) -> Result<Arc<Catalog>, Trouble> {
        let request = self.target.list();
        let reply = match self.pool.send(&request).await {
            Err(WireError::Stale) => self.pool.send(&request).await?,
            other => other?,
        };
        if !reply.head.status.is_success() {
            let trouble = self.refusal(reply).await;
            let standing = Standing::Unknown;
            return Err(Trouble { standing, what: format!("does not list its models, {}", trouble.what), ..trouble });
        }
        let body = reply.whole(CATALOG_BYTES).await?;
        Catalog::parse(&body).map(Arc::new).map_err(|error| Trouble {
            standing: Standing::Unknown,
            ..Trouble::transient(format!("its list of models is not one: {error}"))
        })
    }

    /// An answer that is no success, with what it says.
    pub(crate) async fn refusal(&self, mut reply: Reply) -> Trouble {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = reply.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > ERROR_BYTES {
                break;
            }
        }
        let key = self.target.key.as_ref().map(crate::config::Secret::reveal);
        let trouble = Trouble::status(reply.head.status, &reply.head.headers(), &excerpt(&body, key));
        reply.finish();
        trouble
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One call at this replica, or waiting for it.
pub(crate) struct Outstanding<'a>(&'a Replica);

impl Drop for Outstanding<'_> {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.outstanding.decrement(1.0);
    }
}

struct Waiting<'a>(&'a Replica);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request under way. Dropped without an outcome (the caller left), it says nothing of the server.
pub(crate) struct Trial<'a> {
    replica: &'a Replica,
    pass: Pass,
    standing: Standing,
}

impl Trial<'_> {
    pub(crate) fn answered(mut self) {
        self.standing = Standing::Well;
        self.replica.metrics.answered.increment(1);
    }

    pub(crate) fn failed(mut self, trouble: &Trouble) {
        self.standing = trouble.standing;
        let replica = self.replica;
        replica.failures.fetch_add(1, Ordering::Relaxed);
        replica.metrics.failed.increment(1);
        *lock(&replica.last_failure) = Some(trouble.what.as_str().into());
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        let mut breaker = lock(&self.replica.breaker);
        let before = breaker.state();
        breaker.tell(self.pass, self.standing, Instant::now());
        let after = breaker.state();
        drop(breaker);
        if before != after {
            let open = if after == BreakerState::Closed { 0.0 } else { 1.0 };
            self.replica.metrics.breaker_open.set(open);
        }
    }
}
