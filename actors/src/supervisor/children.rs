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

#[cfg(test)]
mod tests {
    use ractor::{Actor, ActorProcessingErr, ActorRef, ActorStatus};

    use super::*;
    use crate::deliberation::prompt::Prompts;
    use crate::ports::Ports;
    use crate::settings::Settings;
    use crate::testing::{FakeChecks, FakeClock, FakeIds, FakeModel, MemoryJournal, Random, embedded_prompts};

    /// Answers no ping: its first message never ends.
    struct Stuck;

    impl Actor for Stuck {
        type Msg = u64;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<u64>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle(&self, _: ActorRef<u64>, _: u64, (): &mut ()) -> Result<(), ActorProcessingErr> {
            std::future::pending().await
        }
    }

    fn world() -> World {
        let ports = Ports {
            executor: None,
            hub: None,
            model: Arc::new(FakeModel::instant()),
            checks: Arc::new(FakeChecks),
            journal: Arc::new(MemoryJournal::new()),
            queue: Arc::new(crate::queue::MemoryQueue::new(
                crate::queue::Limits::default(),
                Arc::new(FakeClock::default()),
            )),
            shared: None,
            context: None,
            clock: Arc::new(FakeClock::default()),
            ids: Arc::new(FakeIds::new(Random::new(1))),
        };
        World::new(ports, Settings::default(), Prompts::compile(embedded_prompts()).unwrap())
    }

    async fn child(world: &World) -> (Child, ActorRef<u64>) {
        let (actor, _) = Actor::spawn(None, Stuck, ()).await.unwrap();
        let mut child = Child::standing(world, "stuck".to_owned(), "test".to_owned());
        child.lives(world, actor.get_cell());
        (child, actor)
    }

    #[tokio::test(start_paused = true)]
    async fn who_echoes_is_left_alone() {
        let world = world();
        let (mut child, actor) = child(&world).await;
        for _ in 0..10 {
            let beat = child.next_beat(&world).unwrap();
            child.heartbeat.store(beat, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(actor.get_status(), ActorStatus::Running);
        actor.stop(None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_is_killed_when_two_pings_stay_unanswered() {
        let world = world();
        let (mut child, actor) = child(&world).await;
        for _ in 0..2 {
            actor.cast(child.next_beat(&world).unwrap()).unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(actor.get_status(), ActorStatus::Running);
        }
        child.next_beat(&world);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(actor.get_status(), ActorStatus::Stopped);
        assert_eq!(*world.fault.borrow(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_survives_its_kill_ends_the_process() {
        let world = world();
        let (mut child, _actor) = child(&world).await;
        for _ in 0..3 {
            child.next_beat(&world);
        }
        assert_eq!(*world.fault.borrow(), None, "killed, and given one more beat");
        child.next_beat(&world);
        assert_eq!(*world.fault.borrow(), Some(Fault::Stuck { actor: "stuck".into() }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restarted_child_starts_with_a_clean_heartbeat() {
        let world = world();
        let (mut child, actor) = child(&world).await;
        for _ in 0..3 {
            child.next_beat(&world);
        }
        assert!(matches!(child.died(&world, &Policy::ROLE, "killed"), Verdict::RestartAfter(_)));
        assert_eq!(child.next_beat(&world), None, "nobody to ping");
        child.lives(&world, actor.get_cell());
        child.next_beat(&world);
        child.next_beat(&world);
        assert_eq!(*world.fault.borrow(), None);
    }
}
