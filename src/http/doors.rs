//! What lies behind HTTP's endpoints: nothing while the daemon starts, then the running system.

use std::sync::{Arc, OnceLock};

use moothall_actors::System;
use moothall_actors::domain::workflow::{ApprovalRule, Dispatch};
use tokio::sync::{Semaphore, watch};

use super::refusal::Refusal;
use crate::hub::BuiltInHub;

/// Streams of events that may be open at once: each holds a connection and a place in memory.
pub(super) const MAX_STREAMS: usize = 1_024;

/// Where workflows are made, and how unless their client says otherwise.
pub struct WorkflowDoor {
    pub system: System,
    /// The least that is asked of every approval.
    pub approval: ApprovalRule,
    pub dispatch: Dispatch,
    /// Also for others, whoever executes this daemon's own phases.
    pub hub: BuiltInHub,
}

/// Made at start, before anything else; each door is set once, when what is behind it runs.
pub struct Doors {
    workflows: OnceLock<WorkflowDoor>,
    pub(super) streams: Arc<Semaphore>,
    closing: watch::Sender<bool>,
}

impl Default for Doors {
    fn default() -> Self {
        let (streams, closing) = (Arc::new(Semaphore::new(MAX_STREAMS)), watch::Sender::new(false));
        Self { workflows: OnceLock::new(), streams, closing }
    }
}

impl Doors {
    /// From here on workflows are served.
    pub fn open_workflows(&self, door: WorkflowDoor) {
        if self.workflows.set(door).is_err() {
            tracing::warn!("workflows are served already");
        }
    }

    pub(super) fn workflows(&self) -> Result<&WorkflowDoor, Refusal> {
        self.workflows.get().ok_or_else(|| Refusal::unavailable("the daemon is starting"))
    }

    /// Ends what would stay open for as long as its client listens.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Told when all streams are to end.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }
}
