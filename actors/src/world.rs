//! What all actors share: ports, settings, and what many readers look up without asking an actor.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::{DashMap, Entry};
use ractor::ActorRef;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::budget::DailyTokens;
use crate::census::Census;
use crate::deliberation::prompt::Prompts;
use crate::domain::council::Council;
use crate::domain::id::{AgentId, Role, RunId, TaskId};
use crate::domain::task::TaskKind;
use crate::error::SystemError;
use crate::gate::Gate;
use crate::ports::Ports;
use crate::running::Running;
use crate::settings::Settings;
use crate::view::{ActorNode, Sample};
use crate::workflow::Directory;
use crate::{agent, architect, council, dispatcher, supervisor};

/// Finished runs kept for percentiles.
const MOST_SAMPLES: usize = 65_536;

/// Why the process must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An actor neither answered nor died.
    Stuck { actor: Arc<str> },
    /// What supervises all others died too often.
    Meltdown { reason: Arc<str> },
}

pub(crate) struct World {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) prompts: Arc<Prompts>,
    pub(crate) gate: Gate,
    pub(crate) executor_places: Arc<Semaphore>,
    pub(crate) tokens: Mutex<DailyTokens>,
    pub(crate) registry: Registry,
    pub(crate) workflows: Directory,
    /// In a queue that others share.
    pub(crate) leases: dispatcher::Leases,
    pub(crate) census: Census,
    pub(crate) started: Instant,
    pub(crate) draining: AtomicBool,
    /// The actors are gone: what is still open waits for the next start.
    pub(crate) stopped: AtomicBool,
    /// All that was open is known, councils are at work.
    pub(crate) recovered: watch::Sender<bool>,
    pub(crate) fault: watch::Sender<Option<Fault>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub(crate) fn new(ports: Ports, settings: Settings, prompts: Prompts) -> Self {
        Self {
            gate: Gate::new(settings.open_deliberations),
            executor_places: Arc::new(Semaphore::new(settings.executor_waves.clamp(1, Semaphore::MAX_PERMITS))),
            tokens: Mutex::new(DailyTokens::new(settings.tokens_per_day)),
            registry: Registry::default(),
            workflows: Directory::new(settings.workflows.phases),
            leases: dispatcher::Leases::default(),
            census: Census::default(),
            ports,
            settings,
            prompts: Arc::new(prompts),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            recovered: watch::Sender::new(false),
            fault: watch::Sender::new(None),
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn tokens(&self) -> MutexGuard<'_, DailyTokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Tells the clients of all open runs that nobody works on them any more.
    pub(crate) fn leave_open(&self) {
        self.stopped.store(true, Ordering::Release);
        self.registry.all_open().iter().for_each(|running| running.finish(Err(stopping())));
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// What clients of an open run hear when the daemon stops.
pub(crate) fn stopping() -> SystemError {
    SystemError::Unavailable("the daemon is stopping; send the task again with its id".into())
}

/// A council as readers see it.
#[derive(Clone, Debug)]
pub(crate) struct CouncilEntry {
    pub(crate) council: Arc<Council>,
    /// Of its stream.
    pub(crate) version: u64,
    pub(crate) actor: Option<ActorRef<council::Message>>,
    pub(crate) supervisor: ActorRef<supervisor::RoleMessage>,
}

/// Lookups for many readers. No lock is held longer than one lookup, none across an await.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) councils: DashMap<Role, CouncilEntry>,
    /// Tasks that are being admitted or changed: whoever comes second waits for the first.
    admitting: DashMap<TaskId, watch::Receiver<()>>,
    agents: DashMap<(Role, AgentId), agent::Handle>,
    architect: Mutex<Option<ActorRef<architect::Message>>>,
    dispatcher: Mutex<Option<ActorRef<dispatcher::Message>>>,
    pub(crate) deliberations: DashMap<Role, ActorRef<supervisor::DeliberationsMessage>>,
    pub(crate) running: DashMap<TaskId, Arc<Running>>,
    /// Winners that others carry out.
    pub(crate) underway: DashMap<TaskId, dispatcher::Underway>,
    pub(crate) tree: DashMap<String, ActorNode>,
    /// Standing actors by name, for tests that kill them.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) cells: DashMap<String, ractor::ActorCell>,
    pub(crate) counts: DashMap<(Role, TaskKind), Counts>,
    pub(crate) samples: Mutex<VecDeque<Sample>>,
    pub(crate) calls: CallTimes,
}

/// Finished runs of one role and kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Ever.
    pub(crate) completed: u64,
    pub(crate) total: Duration,
    /// Since start.
    pub(crate) completed_now: u64,
    pub(crate) failed_now: u64,
}

/// Finished model calls since start.
#[derive(Debug, Default)]
pub(crate) struct CallTimes {
    pub(crate) count: AtomicU64,
    pub(crate) total_micros: AtomicU64,
}

impl CallTimes {
    pub(crate) fn note(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.total_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn mean(&self) -> Duration {
        let count = self.count.load(Ordering::Relaxed).max(1);
        Duration::from_micros(self.total_micros.load(Ordering::Relaxed) / count)
    }
}

/// The right to admit or change one task, until dropped.
pub(crate) struct Claim<'a> {
    registry: &'a Registry,
    task: TaskId,
    _done: watch::Sender<()>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.registry.admitting.remove(&self.task);
    }
}

impl Registry {
    pub(crate) fn agent(&self, role: &Role, agent: &AgentId) -> Option<agent::Handle> {
        self.agents.get(&(role.clone(), agent.clone())).map(|handle| handle.clone())
    }

    pub(crate) fn put_agent(&self, role: &Role, agent: &AgentId, handle: agent::Handle) {
        self.agents.insert((role.clone(), agent.clone()), handle);
    }

    pub(crate) fn drop_agent(&self, role: &Role, agent: &AgentId) {
        self.agents.remove(&(role.clone(), agent.clone()));
    }

    /// Hands a ballot to the architect. One that is just restarting loses it, and the reply says so.
    pub(crate) fn vote(&self, paper: architect::Paper, reply: agent::Reply) {
        if let Some(architect) = &*self.architect.lock().unwrap_or_else(PoisonError::into_inner) {
            drop(architect.cast(architect::Message::Vote { paper: Box::new(paper), reply }));
        }
    }

    pub(crate) fn ping_architect(&self, beat: u64) {
        if let Some(architect) = &*self.architect.lock().unwrap_or_else(PoisonError::into_inner) {
            drop(architect.cast(architect::Message::Ping { beat }));
        }
    }

    pub(crate) fn put_architect(&self, actor: Option<ActorRef<architect::Message>>) {
        *self.architect.lock().unwrap_or_else(PoisonError::into_inner) = actor;
    }

    /// Something may be claimed that could not be before. A dispatcher that is just restarting looks by itself.
    pub(crate) fn wake_dispatcher(&self) {
        self.tell_dispatcher(dispatcher::Message::Wake);
    }

    pub(crate) fn tell_dispatcher(&self, message: dispatcher::Message) {
        if let Some(dispatcher) = &*self.dispatcher.lock().unwrap_or_else(PoisonError::into_inner) {
            drop(dispatcher.cast(message));
        }
    }

    pub(crate) fn put_dispatcher(&self, actor: Option<ActorRef<dispatcher::Message>>) {
        *self.dispatcher.lock().unwrap_or_else(PoisonError::into_inner) = actor;
    }

    /// Nothing of a role is found any more.
    pub(crate) fn forget(&self, role: &Role) {
        self.councils.remove(role);
        self.deliberations.remove(role);
        self.agents.retain(|(of, _), _| of != role);
        let supervisor = format!("role/{role}");
        self.tree.retain(|name, node| *name != supervisor && node.parent.as_ref() != Some(&supervisor));
    }

    /// The right to change a task, as soon as nobody else does.
    pub(crate) async fn claimed(&self, task: &TaskId) -> Claim<'_> {
        loop {
            match self.claim(task) {
                Ok(claim) => return claim,
                Err(mut earlier) => drop(earlier.changed().await),
            }
        }
    }

    /// Who comes second gets to know when the first is done.
    fn claim<'a>(&'a self, task: &TaskId) -> Result<Claim<'a>, watch::Receiver<()>> {
        match self.admitting.entry(task.clone()) {
            Entry::Occupied(first) => Err(first.get().clone()),
            Entry::Vacant(free) => {
                let (done, waits) = watch::channel(());
                free.insert(waits);
                Ok(Claim { registry: self, task: task.clone(), _done: done })
            }
        }
    }

    /// All agents of a role stop working for a run.
    pub(crate) fn withdraw(&self, role: &Role, run: &RunId) {
        let of_role = self.agents.iter().filter(|entry| entry.key().0 == *role);
        let mut agents: Vec<_> = of_role.map(|entry| (entry.key().1.clone(), entry.value().clone())).collect();
        agents.sort_by(|(a, _), (b, _)| a.cmp(b));
        agents.iter().for_each(|(_, handle)| handle.withdraw(run));
    }

    /// Open runs of a role, by task id.
    pub(crate) fn open_runs(&self, role: &Role) -> Vec<Arc<Running>> {
        let mut runs: Vec<_> = self
            .running
            .iter()
            .filter(|running| running.spec.role == *role && !running.has_ended())
            .map(|running| running.clone())
            .collect();
        runs.sort_by(|a, b| a.run.cmp(&b.run));
        runs
    }

    /// Open runs of all roles, oldest first.
    pub(crate) fn all_open(&self) -> Vec<Arc<Running>> {
        let open = self.running.iter().filter(|running| !running.has_ended());
        let mut runs: Vec<_> = open.map(|running| running.clone()).collect();
        runs.sort_by(|a, b| (a.row.accepted_at, &a.run).cmp(&(b.row.accepted_at, &b.run)));
        runs
    }

    /// A run ended: it counts, and nobody finds it here any more.
    pub(crate) fn finished(&self, running: &Running, uptime: Duration) {
        if self.running.remove_if(&running.run.task, |_, current| current.run == running.run).is_none() {
            return;
        }
        let (role, kind) = (running.spec.role.clone(), running.spec.kind);
        let outcome = running.ending().and_then(Result::ok);
        let mut counts = self.counts.entry((role, kind)).or_default();
        match &outcome {
            Some(outcome) => {
                counts.completed += 1;
                counts.completed_now += 1;
                counts.total += outcome.verdict.duration;
            }
            None => counts.failed_now += 1,
        }
        drop(counts);
        if let Some(outcome) = outcome {
            let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
            if samples.len() == MOST_SAMPLES {
                samples.pop_front();
            }
            samples.push_back(Sample { at: uptime, kind, took: outcome.verdict.duration });
        }
    }
}
