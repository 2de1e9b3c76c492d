//! One model server: its connections, its load and what it serves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::breaker::Standing;
use super::catalog::Catalog;
use super::choice::{Candidate, Name};
use super::http1::{Connector, Pool, Reply, Request, WireError};
use super::load::{Load, ReplicaState};
use super::metric::PrefixMetrics;
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
    pub(crate) load: Load,
    pub(crate) prefix: PrefixMetrics,
    name: Name,
    pool: Pool,
    known: Mutex<Known>,
    /// Held by the one that asks what is served; the others wait for its answer.
    learning: tokio::sync::Mutex<()>,
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

impl Replica {
    pub(crate) fn new(target: Target, connector: Connector, settings: &VllmSettings) -> Self {
        Self {
            pool: Pool::new(connector, target.origin.clone(), settings.idle_timeout),
            load: Load::new(
                &target.shown,
                (settings.calls_per_replica, settings.waiting_per_replica),
                settings.breaker,
            ),
            prefix: PrefixMetrics::new(&target.shown),
            name: Name::of(&target.shown),
            known: Mutex::new(Known::Nothing),
            learning: tokio::sync::Mutex::default(),
            target,
        }
    }

    /// As the choice between replicas sees it.
    pub(crate) fn candidate(&self, now: Instant) -> Candidate {
        Candidate { name: self.name, outstanding: self.load.outstanding(), admits: self.load.admits(now) }
    }

    pub(crate) fn state(&self) -> ReplicaState {
        ReplicaState { prefix: self.prefix.counts(), ..self.load.state() }
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
