//! The cache with what is under way: many who ask the same at once ask the service once.
//!
//! ```text
//!              kept
//!  query ─▶ ┌─────────▶ answer
//!           │ under way
//!           ├─────────▶ wait with the others ─┐
//!           │ neither                         ├─▶ answer to all, kept unless an event made it doubtful
//!           └─────────▶ fetch ────────────────┘
//! ```
//!
//! A fetch is driven by those who wait for it, no matter which of them, and ends when the last one leaves. An event about
//! its story parts it from the shelf: who waits gets its answer, who comes later starts another.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use moothall_actors::domain::answer::Class;
use moothall_actors::ports::{Context, ContextError, ContextQuery};
use tokio::time::Instant;

use super::cache::{Cache, Limits};

type Outcome = Result<Context, ContextError>;
type Fetch = BoxFuture<'static, Outcome>;

/// Everything that is known or asked.
#[derive(Clone)]
pub(super) struct Shelf {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    cache: Cache,
    /// All that are under way, parted ones too. As many as there are callers at most.
    flights: BTreeMap<u64, Flight>,
    /// Those that a new caller joins.
    current: HashMap<Arc<ContextQuery>, u64>,
    started: u64,
}

struct Flight {
    query: Arc<ContextQuery>,
    /// Weak, so that it ends when nobody waits any more.
    answer: WeakShared<Fetch>,
    doubt: Doubt,
}

/// What events that came during a fetch make of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Doubt {
    /// No event came.
    None,
    /// All of them named this version: only an answer of this version is kept.
    Unless(Arc<str>),
    /// They named none, or several: which is the newest cannot be told.
    Certain,
}

impl Doubt {
    fn after(self, version: Option<&str>) -> Self {
        match (self, version) {
            (Self::None, Some(version)) => Self::Unless(version.into()),
            (Self::Unless(before), Some(version)) if *before == *version => Self::Unless(before),
            (Self::None | Self::Unless(_) | Self::Certain, _) => Self::Certain,
        }
    }

    fn keeps(&self, version: &str) -> bool {
        match self {
            Self::None => true,
            Self::Unless(named) => **named == *version,
            Self::Certain => false,
        }
    }
}

impl Shelf {
    pub(super) fn new(limits: Limits) -> Self {
        let (flights, current) = (BTreeMap::new(), HashMap::new());
        Self { inner: Arc::new(Mutex::new(Inner { cache: Cache::new(limits), flights, current, started: 0 })) }
    }

    /// The context that is kept, or that is under way, or that `fetch` brings. `address` is named if that one dies.
    pub(super) async fn get<F>(&self, query: &ContextQuery, address: &Arc<str>, fetch: impl FnOnce() -> F) -> Outcome
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let answer = {
            let mut inner = self.lock();
            if let Some(context) = inner.cache.get(query, Instant::now()) {
                return Ok(context);
            }
            match inner.joined(query) {
                Some(answer) => answer,
                None => self.start(&mut inner, query, Arc::clone(address), fetch()),
            }
        };
        answer.await
    }

    /// Drops what is kept of a story, and doubts what is under way, unless it has that version already.
    pub(super) fn invalidate(&self, story_id: &str, version: Option<&str>) {
        let mut inner = self.lock();
        let Inner { cache, flights, current, .. } = &mut *inner;
        cache.invalidate(story_id, version);
        for flight in flights.values_mut().filter(|flight| *flight.query.story_id == *story_id) {
            flight.doubt = std::mem::replace(&mut flight.doubt, Doubt::None).after(version);
        }
        current.retain(|query, _| *query.story_id != *story_id);
    }

    fn start<F>(&self, inner: &mut Inner, query: &ContextQuery, address: Arc<str>, fetch: F) -> Shared<Fetch>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let query = Arc::new(query.clone());
        inner.started += 1;
        let landing = Landing { shelf: self.clone(), id: inner.started };
        let fetched = async move {
            // Those who wait are not to die of one another's turn to drive it.
            let outcome = AssertUnwindSafe(fetch).catch_unwind().await.unwrap_or_else(|_| Err(gone(&address)));
            landing.keep(&outcome);
            outcome
        };
        let answer = fetched.boxed().shared();
        if let Some(weak) = answer.downgrade() {
            inner.current.insert(Arc::clone(&query), inner.started);
            inner.flights.insert(inner.started, Flight { query, answer: weak, doubt: Doubt::None });
        }
        answer
    }

    /// Whatever died with it: each step leaves the shelf whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn joined(&self, query: &ContextQuery) -> Option<Shared<Fetch>> {
        self.flights.get(self.current.get(query)?)?.answer.upgrade()
    }

    fn part(&mut self, id: u64) -> Option<(Flight, bool)> {
        let flight = self.flights.remove(&id)?;
        let is_current = self.current.get(&flight.query) == Some(&id);
        if is_current {
            self.current.remove(&flight.query);
        }
        Some((flight, is_current))
    }
}

/// Takes a fetch off the list when it has ended or nobody waits any more.
struct Landing {
    shelf: Shelf,
    id: u64,
}

impl Landing {
    fn keep(&self, outcome: &Outcome) {
        let mut inner = self.shelf.lock();
        let Some((flight, is_current)) = inner.part(self.id) else { return };
        let Ok(context) = outcome else { return };
        // A parted one may be older than what has been kept since.
        let is_newest = is_current || !inner.cache.contains(&flight.query);
        if is_newest && flight.doubt.keeps(&context.version) {
            inner.cache.insert(flight.query, context.clone(), Instant::now());
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.shelf.lock().part(self.id);
    }
}

fn gone(address: &str) -> ContextError {
    let message = format!("context service {address}: the call died of a bug; the log has more").into();
    ContextError { class: Class::Gone, message }
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;
