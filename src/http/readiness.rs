//! Whether the daemon can take work: one small state that HTTP, gRPC health and `GetStatus` all read, so that they
//! never contradict each other.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use moothall_actors::System;
use moothall_actors::ports::{Journal, JournalHealth};
use tokio::sync::watch;
use tokio::time::Instant;

/// Where the daemon is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The journal is read; no work is taken yet.
    Starting,
    Ready,
    /// Running work is finished; new work is refused.
    Draining,
}

/// How one part is. Only parts in use are reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    /// Work goes on without it, or with less of it.
    Degraded(Arc<str>),
    /// No work can be taken because of it.
    Unhealthy(Arc<str>),
}

impl Health {
    /// The word that status answers use.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded(_) => "degraded",
            Self::Unhealthy(_) => "unhealthy",
        }
    }

    fn severity(&self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Degraded(_) => 1,
            Self::Unhealthy(_) => 2,
        }
    }
}

/// By the part's name, such as `journal`.
pub type Components = BTreeMap<String, Health>;

/// All parts at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    pub stage: Stage,
    /// The worst of all parts; starting and draining count as unhealthy and degraded.
    pub status: &'static str,
    pub components: Components,
    pub uptime: Duration,
}

impl Report {
    /// Whether work is taken now.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.stage == Stage::Ready && self.status != "unhealthy"
    }
}

type Probe = Box<dyn Fn() -> Components + Send + Sync>;

/// Made at start, before anything else; shared by every door.
pub struct Readiness {
    stage: watch::Sender<Stage>,
    started: Instant,
    probe: OnceLock<Probe>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { stage: watch::Sender::new(Stage::Starting), started: Instant::now(), probe: OnceLock::new() }
    }
}

impl Readiness {
    /// Says where the daemon is by now.
    pub fn enter(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Tells of every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Where the parts' health comes from; set once, when the system runs. It is asked often and must not block.
    pub fn observe(&self, probe: impl Fn() -> Components + Send + Sync + 'static) {
        if self.probe.set(Box::new(probe)).is_err() {
            tracing::warn!("readiness is observed already");
        }
    }

    /// All parts as they are now.
    #[must_use]
    pub fn report(&self) -> Report {
        let stage = self.stage();
        let components = self.probe.get().map(|probe| probe()).unwrap_or_default();
        let of_stage = match stage {
            Stage::Starting => Health::Unhealthy("starting".into()),
            Stage::Ready => Health::Healthy,
            Stage::Draining => Health::Degraded("draining".into()),
        };
        let worst = components.values().chain([&of_stage]).max_by_key(|health| health.severity());
        let status = worst.map_or("healthy", Health::as_str);
        Report { stage, status, components, uptime: self.started.elapsed() }
    }
}

/// The usual probe: the journal, and whatever the system finds amiss.
pub fn probe(system: System, journal: Arc<dyn Journal>) -> impl Fn() -> Components + Send + Sync + 'static {
    move || {
        let degraded = system.status().degraded;
        let mut components: Components =
            degraded.into_iter().map(|(part, why)| (part.to_owned(), Health::Degraded(why))).collect();
        let journal = match journal.health() {
            JournalHealth::Writable => Health::Healthy,
            JournalHealth::Stalled { why } | JournalHealth::Lost { why, .. } => Health::Unhealthy(why),
        };
        components.insert("journal".to_owned(), journal);
        components
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_part_is_the_whole() {
        let readiness = Readiness::default();
        assert_eq!(readiness.report().status, "unhealthy");
        readiness.enter(Stage::Ready);
        assert_eq!(readiness.report().status, "healthy");
        readiness.observe(|| {
            Components::from([
                ("journal".to_owned(), Health::Healthy),
                ("nats".to_owned(), Health::Degraded("no connection".into())),
            ])
        });
        let report = readiness.report();
        assert_eq!((report.status, report.ready()), ("degraded", true));
    }

    #[test]
    fn a_draining_daemon_is_not_ready_and_an_unhealthy_one_neither() {
        let readiness = Readiness::default();
        readiness.enter(Stage::Draining);
        assert_eq!((readiness.report().status, readiness.report().ready()), ("degraded", false));
        readiness.enter(Stage::Ready);
        readiness.observe(|| Components::from([("journal".to_owned(), Health::Unhealthy("disk full".into()))]));
        assert_eq!((readiness.report().status, readiness.report().ready()), ("unhealthy", false));
    }
}
