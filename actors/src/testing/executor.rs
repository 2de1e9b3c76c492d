//! An executor that outlives the system, as a cluster does: it remembers what was submitted, and its calls go on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::model::FakeModel;
use crate::domain::answer::{Class, Failure};
use crate::domain::id::{CallId, RunId, Wave};
use crate::ports::Model as _;
use crate::ports::executor::{Executor, Followed, NotTaken, Result, Told, WaveCall};

/// Its words when it cannot be reached, and how long waves that it has are waited for then.
const AWAY: &str = "nobody answers there";
const PATIENCE: Duration = Duration::from_secs(2);

/// What it has of a wave: everything that came of its calls so far.
type Results = watch::Sender<Vec<(CallId, Result)>>;

#[derive(Debug)]
struct Taken {
    name: Arc<str>,
    results: Arc<Results>,
    calls: Vec<AbortHandle>,
}

#[derive(Debug, Default)]
struct Seen {
    taken: BTreeMap<(RunId, Wave, u32), Taken>,
    /// How often each name was asked for.
    submits: BTreeMap<Arc<str>, u32>,
    follows: BTreeMap<Arc<str>, u32>,
    cancelled: Vec<Arc<str>>,
    /// The next so many waves are lost as soon as they are taken.
    lose: u32,
}

/// Cheap to clone; clones share what they saw.
#[derive(Clone)]
pub struct FakeExecutor {
    model: FakeModel,
    /// How long it takes to take a wave.
    latency: Duration,
    seen: Arc<Mutex<Seen>>,
    away: Arc<watch::Sender<bool>>,
}

impl FakeExecutor {
    /// Its calls are made by this model.
    #[must_use]
    pub fn new(model: FakeModel) -> Self {
        let away = Arc::new(watch::Sender::new(false));
        Self { model, latency: Duration::from_millis(5), seen: Arc::default(), away }
    }

    /// It cannot be reached from now on, or again.
    pub fn away(&self, away: bool) {
        self.away.send_replace(away);
    }

    /// Loses the next waves that it takes.
    pub fn lose(&self, waves: u32) {
        self.lock().lose = waves;
    }

    /// How often each wave was submitted, by its name.
    #[must_use]
    pub fn submits(&self) -> BTreeMap<Arc<str>, u32> {
        self.lock().submits.clone()
    }

    /// How often each wave was attached to.
    #[must_use]
    pub fn follows(&self) -> BTreeMap<Arc<str>, u32> {
        self.lock().follows.clone()
    }

    #[must_use]
    pub fn cancelled(&self) -> Vec<Arc<str>> {
        self.lock().cancelled.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, wave: &WaveCall) -> Arc<str> {
        let mut seen = self.lock();
        let name: Arc<str> = format!("{}/{}#{}", wave.run, wave.wave, wave.attempt).into();
        *seen.submits.entry(name.clone()).or_default() += 1;
        let key = (wave.run.clone(), wave.wave, wave.attempt);
        if seen.taken.contains_key(&key) {
            return name;
        }
        let results = Arc::new(watch::Sender::new(Vec::new()));
        let is_lost = seen.lose > 0;
        seen.lose = seen.lose.saturating_sub(1);
        let calls =
            if is_lost { Vec::new() } else { wave.calls.iter().map(|call| self.make(call, &results)).collect() };
        if !is_lost {
            seen.taken.insert(key, Taken { name: name.clone(), results, calls });
        }
        name
    }

    fn make(&self, call: &crate::ports::ModelCall, results: &Arc<Results>) -> AbortHandle {
        let (model, call, results) = (self.model.clone(), call.clone(), results.clone());
        // It belongs to the cluster, not to the system.
        let task = Handle::current().spawn(async move {
            let id = call.id.clone();
            let mut worker = JoinSet::new();
            worker.spawn(async move { model.complete(&call).await });
            let made = worker.join_next().await.and_then(|made| made.ok());
            let lost = || Err(Failure::new(Class::Gone, "its worker died"));
            results.send_modify(|all| all.push((id, made.unwrap_or_else(lost))));
        });
        task.abort_handle()
    }

    /// Away for as long as that is put up with.
    async fn gone_for_good(&self) {
        let mut away = self.away.subscribe();
        loop {
            // Its sender is here.
            let _ = away.wait_for(|away| *away).await;
            if tokio::time::timeout(PATIENCE, away.wait_for(|away| !*away)).await.is_err() {
                return;
            }
        }
    }

    fn results(&self, name: &str) -> Option<watch::Receiver<Vec<(CallId, Result)>>> {
        let mut seen = self.lock();
        *seen.follows.entry(name.into()).or_default() += 1;
        seen.taken.values().find(|taken| *taken.name == *name).map(|taken| taken.results.subscribe())
    }
}

#[async_trait]
impl Executor for FakeExecutor {
    async fn submit(&self, wave: &WaveCall) -> std::result::Result<Arc<str>, NotTaken> {
        if *self.away.borrow() {
            tokio::time::sleep(self.latency).await;
            return Err(NotTaken::Away { why: AWAY.into() });
        }
        // It has it before it says so.
        let name = self.take(wave);
        tokio::time::sleep(self.latency).await;
        Ok(name)
    }

    async fn follow(&self, name: &str, wave: &WaveCall, told: mpsc::Sender<Told>) -> Followed {
        let Some(mut results) = self.results(name) else { return Followed::Ended };
        let mut heard = 0;
        let mut left = wave.calls.len();
        while left > 0 {
            let all = results.borrow_and_update().clone();
            for (call, result) in all.into_iter().skip(heard) {
                heard += 1;
                if wave.calls.iter().any(|wanted| wanted.id == call) {
                    left -= 1;
                    drop(told.send(Told { call, result, durable: None }).await);
                }
            }
            if left == 0 {
                break;
            }
            tokio::select! {
                biased;
                changed = results.changed() => if changed.is_err() {
                    break;
                },
                () = self.gone_for_good() => return Followed::Away { why: AWAY.into() },
            }
        }
        Followed::Ended
    }

    async fn cancel(&self, name: &str) {
        let mut seen = self.lock();
        seen.cancelled.push(name.into());
        let taken = seen.taken.values().find(|taken| *taken.name == *name);
        taken.into_iter().flat_map(|taken| &taken.calls).for_each(AbortHandle::abort);
    }
}
