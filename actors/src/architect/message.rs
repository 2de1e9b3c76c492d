//! What the architect is told, and by whom.

use std::sync::Arc;

use super::state::Candidate;
use crate::agent::Reply;
use crate::deliberation::prompt::Prompts;
use crate::domain::event::Plan;
use crate::domain::id::CallId;

/// One ballot to be filled in.
#[derive(Debug)]
pub(crate) struct Paper {
    pub(crate) plan: Arc<Plan>,
    pub(crate) prompts: Arc<Prompts>,
    /// In the order in which they are shown.
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) call: CallId,
    pub(crate) most_attempts: u32,
}

/// The architect's mailbox: two papers for each run that is being decided, which the gate bounds.
#[derive(Debug)]
pub(crate) enum Message {
    /// From a deliberation. The agent answers through `reply`; a paper that is lost answers `Gone` and comes again.
    Vote { paper: Box<Paper>, reply: Reply },
    /// From the supervisor, which restarts an architect that does not echo in time.
    Ping { beat: u64 },
}
