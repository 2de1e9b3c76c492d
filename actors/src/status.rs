//! What readers see of the running system: answered from shared lookups, no actor is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::System;
use crate::domain::council::Council;
use crate::domain::id::{Role, Timestamp};
use crate::domain::task::TaskKind;
use crate::ports::JournalHealth;
use crate::view::{
    ActorNode, AgentStatus, AgentView, CouncilStatus, CouncilView, Finished, SystemMetrics, SystemStatus,
};

impl System {
    /// All councils, by role.
    #[must_use]
    pub fn councils(&self) -> Vec<CouncilView> {
        let mut standing: Vec<_> = self.world.registry.councils.iter().map(|entry| entry.council.clone()).collect();
        standing.sort_by(|a, b| a.role.cmp(&b.role));
        standing.into_iter().map(|council| self.view(council)).collect()
    }

    fn view(&self, council: Arc<Council>) -> CouncilView {
        let agents: Vec<_> = council.seats.iter().map(|seat| self.agent_view(&council.role, seat)).collect();
        let running = self.world.registry.open_runs(&council.role).len();
        let (completed, failed) = self.ended_now(&council.role);
        let all_busy = !agents.is_empty() && agents.iter().all(|agent| agent.status == AgentStatus::Busy);
        let status = match (&council.parked, running) {
            (Some(_), _) => CouncilStatus::Parked,
            (None, 0) => CouncilStatus::Idle,
            (None, _) if all_busy => CouncilStatus::Busy,
            (None, _) => CouncilStatus::Active,
        };
        CouncilView { council, status, agents, running: u32::try_from(running).unwrap_or(u32::MAX), completed, failed }
    }

    fn agent_view(&self, role: &Role, seat: &crate::domain::council::Seat) -> AgentView {
        let handle = self.world.registry.agent(role, &seat.agent);
        let calls_in_flight = handle.as_ref().map_or(0, crate::agent::Handle::calls_in_flight);
        let status = match (handle, calls_in_flight) {
            (None, _) => AgentStatus::Offline,
            (Some(_), 0) => AgentStatus::Ready,
            (Some(_), _) => AgentStatus::Busy,
        };
        AgentView { seat: seat.clone(), status, calls_in_flight }
    }

    fn ended_now(&self, role: &Role) -> (u64, u64) {
        let of_kind = |kind| {
            self.world
                .registry
                .counts
                .get(&(role.clone(), kind))
                .map_or((0, 0), |counts| (counts.completed_now, counts.failed_now))
        };
        let ((a, b), (c, d)) = (of_kind(TaskKind::Deliberate), of_kind(TaskKind::Orchestrate));
        (a + c, b + d)
    }

    /// By the clock that all events go by.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.world.ports.clock.now()
    }

    /// The system as a whole.
    #[must_use]
    pub fn status(&self) -> SystemStatus {
        let registry = &self.world.registry;
        let finished = registry.counts.iter().map(|entry| {
            let counts = entry.value();
            (entry.key().clone(), Finished { count: counts.completed, total: counts.total })
        });
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        SystemStatus {
            uptime: self.world.uptime(),
            finished: finished.collect(),
            open: count(registry.running.len()),
            permits_free: self.world.gate.free(),
            permits_total: self.world.gate.total(),
            councils: count(registry.councils.len()),
            degraded: self.degraded(),
            draining: self.world.is_draining(),
        }
    }

    fn degraded(&self) -> BTreeMap<&'static str, Arc<str>> {
        let mut degraded = BTreeMap::new();
        if let JournalHealth::Stalled { why } | JournalHealth::Lost { why, .. } = self.world.ports.journal.health() {
            degraded.insert("journal", why);
        }
        let parked = self.world.registry.councils.iter().filter(|entry| entry.council.parked.is_some());
        let mut parked: Vec<_> = parked.map(|entry| entry.key().to_string()).collect();
        parked.sort();
        if !parked.is_empty() {
            degraded.insert("councils", format!("parked: {}", parked.join(", ")).into());
        }
        degraded
    }

    /// Finished runs of the last `window` (`None` = since start), and how long model calls take.
    #[must_use]
    pub fn metrics(&self, window: Option<Duration>) -> SystemMetrics {
        let since = window.map_or(Duration::ZERO, |window| self.world.uptime().saturating_sub(window));
        let samples = self.world.registry.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let samples = samples.iter().filter(|sample| sample.at >= since).copied().collect();
        SystemMetrics { samples, mean_call: self.world.registry.calls.mean() }
    }

    /// The supervision tree: standing actors, and deliberations that have died. Parents stand before their children.
    #[must_use]
    pub fn tree(&self) -> Vec<ActorNode> {
        let nodes: BTreeMap<String, ActorNode> =
            self.world.registry.tree.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect();
        let depth = |node: &ActorNode| {
            let parent_of = |node: &&ActorNode| nodes.get(node.parent.as_ref()?);
            // Nobody is deeper than there are nodes.
            std::iter::successors(Some(node), parent_of).take(nodes.len()).count()
        };
        let mut sorted: Vec<_> = nodes.values().map(|node| (depth(node), node.clone())).collect();
        sorted.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.name.cmp(&other.name)));
        sorted.into_iter().map(|(_, node)| node).collect()
    }
}
