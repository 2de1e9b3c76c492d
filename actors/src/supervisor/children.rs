//! The book a supervisor keeps of one child: its beats, its deaths, whether it hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{ActorCell, ActorId};

use super::policy::{Deaths, Policy, Verdict};
use crate::view::ActorNode;
use crate::world::{Fault, World};

/// Pings that may stay unanswered before the child counts as stuck: with the default period, ten seconds.
const MISSED_BEATS: u64 = 2;

/// A supervised actor, alive or about to be.
#[derive(Debug)]
pub(super) struct Child {
    /// In the tree, such as `agent/DEV/agent-dev-001`.
    name: String,
    parent: String,
    cell: Option<ActorCell>,
    pub(super) deaths: Deaths,
    pub(super) heartbeat: Arc<AtomicU64>,
    beat: u64,
    /// Killed because it hung, at this beat.
    killed: Option<u64>,
}

impl Child {
    /// One that is shown in the tree from the start.
    pub(super) fn standing(world: &World, name: String, parent: String) -> Self {
        let child = Self::passing(name, parent);
        child.show(world, "restarting", None);
        child
    }

    /// One of many that come and go; shown in the tree once it has died.
    pub(super) fn passing(name: String, parent: String) -> Self {
        let (deaths, heartbeat) = (Deaths::default(), Arc::default());
        Self { name, parent, cell: None, deaths, heartbeat, beat: 0, killed: None }
    }

    pub(super) fn is(&self, id: ActorId) -> bool {
        self.cell.as_ref().is_some_and(|cell| cell.get_id() == id)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.cell.is_some()
    }

    pub(super) fn lives(&mut self, world: &World, cell: ActorCell) {
        #[cfg(any(test, feature = "testing"))]
        world.registry.cells.insert(self.name.clone(), cell.clone());
        self.cell = Some(cell);
        self.killed = None;
        self.heartbeat.store(self.beat, Ordering::Relaxed);
        if world.registry.tree.contains_key(&self.name) {
            self.show(world, "running", None);
        }
    }

    /// Notes a death and decides; the caller arranges for the restart.
    pub(super) fn died(&mut self, world: &World, policy: &Policy, reason: &str) -> Verdict {
        self.cell = None;
        tracing::warn!(actor = %self.name, reason, "an actor died");
        let verdict = self.deaths.note(policy, world.uptime());
        let state = if verdict == Verdict::Meltdown { "parked" } else { "restarting" };
        self.show(world, state, Some(reason.into()));
        verdict
    }

    /// Stops it for good and forgets it.
    pub(super) fn leave(&mut self, world: &World) {
        if let Some(cell) = self.cell.take() {
            cell.stop(None);
        }
        #[cfg(any(test, feature = "testing"))]
        world.registry.cells.remove(&self.name);
        world.registry.tree.remove(&self.name);
    }

    /// The next beat to send; kills a child that missed too many, and reports one that survives even that.
    pub(super) fn next_beat(&mut self, world: &World) -> Option<u64> {
        let cell = self.cell.as_ref()?;
        let missed = self.beat.saturating_sub(self.heartbeat.load(Ordering::Relaxed));
        self.beat += 1;
        match self.killed {
            Some(at) if self.beat > at => {
                world.fault.send_replace(Some(Fault::Stuck { actor: self.name.clone().into() }));
            }
            Some(_) => {}
            None if missed >= MISSED_BEATS => {
                tracing::error!(actor = %self.name, "an actor hangs and is killed");
                self.killed = Some(self.beat);
                cell.kill();
            }
            None => {}
        }
        Some(self.beat)
    }

    fn show(&self, world: &World, state: &'static str, reason: Option<Arc<str>>) {
        let mut node = world.registry.tree.entry(self.name.clone()).or_insert_with(|| ActorNode {
            name: self.name.clone(),
            parent: Some(self.parent.clone()),
            state,
            restarts: 0,
            reason: None,
        });
        node.state = state;
        node.restarts = self.deaths.total();
        if reason.is_some() {
            node.reason = reason;
        }
    }
}

/// Sends `message` to an actor after a while, unless that actor is gone by then.
pub(super) fn later<M: ractor::Message>(
    to: &ractor::ActorRef<M>,
    after: Duration,
    message: impl FnOnce() -> M + Send + 'static,
) {
    drop(to.send_after(after, message));
}

/// The book entry of an exit: who, and how.
pub(super) fn exit_of(event: ractor::SupervisionEvent) -> Option<(ActorId, String)> {
    use ractor::SupervisionEvent as Event;
    match event {
        Event::ActorFailed(cell, error) => Some((cell.get_id(), error.to_string())),
        Event::ActorTerminated(cell, _, reason) => {
            Some((cell.get_id(), reason.unwrap_or_else(|| "stopped".to_owned())))
        }
        Event::ActorStarted(_) | Event::ProcessGroupChanged(_) => None,
    }
}
