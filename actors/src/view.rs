//! What readers see of the system, without asking an actor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::dispatcher::Underway;
use crate::domain::council::{Council, Seat};
use crate::domain::id::{Role, TaskId};
use crate::domain::queue::{Entry, QueueState};
use crate::domain::task::TaskKind;
use crate::domain::verdict::Outcome;
use crate::error::SystemError;
use crate::ports::TaskRow;
use crate::progress::Update;

/// An agent's standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentStatus {
    Ready,
    /// Calls in flight.
    Busy,
    /// Restarting, or given up.
    Offline,
}

impl AgentStatus {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }
}

/// One seat and its agent.
#[derive(Clone, Debug)]
pub struct AgentView {
    pub seat: Seat,
    pub status: AgentStatus,
    pub calls_in_flight: u32,
}

/// A council's standing: `parked`, `busy` (every agent is), `active` (deliberations run), `idle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CouncilStatus {
    Idle,
    Active,
    Busy,
    Parked,
}

impl CouncilStatus {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Active => "active",
            Self::Busy => "busy",
            Self::Parked => "parked",
        }
    }
}

/// One council as it stands.
#[derive(Clone, Debug)]
pub struct CouncilView {
    pub council: Arc<Council>,
    pub status: CouncilStatus,
    pub agents: Vec<AgentView>,
    pub running: u32,
    /// Since start.
    pub completed: u64,
    pub failed: u64,
}

/// Where a task is.
#[derive(Clone, Debug)]
pub enum TaskState {
    /// In the queue.
    Waiting {
        state: QueueState,
        entry: Option<Arc<Entry>>,
        /// Why it is PARKED, or what it is BLOCKED by.
        reason: Option<Arc<str>>,
        /// Of a DISPATCHED one, once somebody was asked to carry its winner out.
        underway: Option<Underway>,
    },
    /// Waits for a permit or for its council.
    Pending,
    Running {
        last: Option<Arc<Update>>,
    },
    Completed(Arc<Outcome>),
    /// Failed, timed out or cancelled: the error says which.
    Ended(SystemError),
}

/// A task and, when it ended, its outcome.
#[derive(Clone, Debug)]
pub struct TaskView {
    pub row: TaskRow,
    pub state: TaskState,
}

/// Numbers of finished work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    pub count: u64,
    pub total: Duration,
}

/// The system as a whole.
#[derive(Clone, Debug, Default)]
pub struct SystemStatus {
    pub uptime: Duration,
    /// Ever, from the journal.
    pub finished: BTreeMap<(Role, TaskKind), Finished>,
    pub open: u32,
    pub permits_free: u32,
    pub permits_total: u32,
    pub councils: u32,
    /// What is not as it should be: component, then why.
    pub degraded: BTreeMap<&'static str, Arc<str>>,
    pub draining: bool,
}

/// One finished run, for percentiles over a window.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the system's start.
    pub at: Duration,
    pub kind: TaskKind,
    pub took: Duration,
}

/// What `GetMetrics` needs.
#[derive(Clone, Debug, Default)]
pub struct SystemMetrics {
    /// The newest finished runs within the asked window, at most 65,536, oldest first.
    pub samples: Vec<Sample>,
    /// Mean time of a finished model call since start.
    pub mean_call: Duration,
}

/// An actor in the supervision tree.
#[derive(Clone, Debug)]
pub struct ActorNode {
    pub name: String,
    pub parent: Option<String>,
    /// `running`, `restarting` or `parked`.
    pub state: &'static str,
    pub restarts: u32,
    /// Why it last died, or was parked.
    pub reason: Option<Arc<str>>,
}

/// What a drain left behind.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    /// Runs still open: they go on at the next start.
    pub open: Vec<TaskId>,
}
