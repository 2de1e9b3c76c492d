//! What a running deliberation shows of itself: a list that only grows, read by any number of cursors.
//!
//! A reader holds a place in the list, not a queue: nothing is skipped, nobody waits for it, and one that stops
//! reading costs its cursor and nothing else.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::answer::{Failure, Usage};
use crate::domain::id::{AgentId, Stage, Timestamp, Wave};
use crate::domain::verdict::{Proposal, Ranked};

/// Where a deliberation is, in the words of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accepted; waits for its turn.
    Pending,
    Generating,
    Reviewing,
    Revising,
    Scoring,
    Selecting,
    Complete,
    Failed,
}

impl Phase {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Generating => "generating",
            Self::Reviewing => "reviewing",
            Self::Revising => "revising",
            Self::Scoring => "scoring",
            Self::Selecting => "selecting",
            Self::Complete => "complete",
            Self::Failed => "failed",
        }
    }
}

/// A text that exists by now.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    pub proposal: Proposal,
    /// Once it is judged.
    pub ranked: Option<Ranked>,
}

/// What happened, shown as a sentence fragment for people, such as `agent-dev-002 proposed`. Most of them are never
/// read, so that the words are made where they are.
#[derive(Clone, Debug, PartialEq)]
pub enum Happened {
    Asked { wave: Wave, agents: usize, of: usize },
    Answered { agent: AgentId, stage: Stage },
    Missed { agent: AgentId, failure: Failure },
    Resumed { wave: Wave, calls: u32 },
    ChecksBegan,
    Ranked { agent: AgentId, rank: u32 },
    Failed { why: Arc<str> },
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { wave, agents, of } => write!(f, "{wave}: {agents} of {of} agents asked"),
            Self::Answered { agent, stage } => write!(f, "{agent} {}", verb(*stage)),
            Self::Missed { agent, failure } => write!(f, "{agent} is missing: {failure}"),
            Self::Resumed { wave, calls } => write!(f, "resumed at {wave} with {calls} finished calls"),
            Self::ChecksBegan => f.write_str("checks run"),
            Self::Ranked { agent, rank } => write!(f, "{agent} is ranked {rank}"),
            Self::Failed { why } => f.write_str(why),
        }
    }
}

fn verb(stage: Stage) -> &'static str {
    match stage {
        Stage::Propose => "proposed",
        Stage::Critique => "reviewed",
        Stage::Revise => "revised",
        Stage::Score => "scored",
        Stage::Select => "selected",
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    pub at: Timestamp,
    pub phase: Phase,
    /// 0 to 100; never falls.
    pub percent: u8,
    pub step: Happened,
    /// Set where one agent acts.
    pub agent: Option<AgentId>,
    pub partial: Option<Arc<Partial>>,
    /// Tokens used so far, by all calls.
    pub usage: Usage,
}

/// The growing list of one run. Its owner appends, cursors read.
#[derive(Debug)]
pub(crate) struct Progress {
    updates: Mutex<Vec<Arc<Update>>>,
    /// The list's length, and whether it will grow any more.
    length: watch::Sender<(usize, bool)>,
}

impl Progress {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { updates: Mutex::default(), length: watch::Sender::new((0, false)) })
    }

    pub(crate) fn push(&self, mut update: Update) {
        let mut updates = self.lock();
        if let Some(last) = updates.last() {
            update.percent = update.percent.max(last.percent);
        }
        updates.push(Arc::new(update));
        let length = updates.len();
        drop(updates);
        // Nobody is woken where nobody reads, which is the usual case. Whoever comes meanwhile sees the new length.
        self.length.send_if_modified(|state| {
            *state = (length, false);
            self.length.receiver_count() > 0
        });
    }

    /// No update comes after this.
    pub(crate) fn close(&self) {
        self.length.send_modify(|state| state.1 = true);
    }

    pub(crate) fn last(&self) -> Option<Arc<Update>> {
        self.lock().last().cloned()
    }

    fn at(&self, place: usize) -> Option<Arc<Update>> {
        self.lock().get(place).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Update>>> {
        self.updates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader's place in the list.
#[derive(Clone, Debug)]
pub struct Updates {
    progress: Arc<Progress>,
    next: usize,
    length: watch::Receiver<(usize, bool)>,
}

impl Updates {
    pub(crate) fn from_start(progress: &Arc<Progress>) -> Self {
        Self { progress: progress.clone(), next: 0, length: progress.length.subscribe() }
    }

    /// The next update; `None` after the last one. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<Update>> {
        let next = self.next;
        let (length, _) = *self.length.wait_for(|(length, closed)| *length > next || *closed).await.ok()?;
        if length <= next {
            return None;
        }
        self.next += 1;
        self.progress.at(next)
    }
}
