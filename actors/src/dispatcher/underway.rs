//! How far the tasks are that others carry out: what their agents said last.
//!
//! None of it stands in the journal. Nothing follows from it, an agent says it again, and after a start the clock of what
//! was not heard begins anew.

use std::sync::Arc;
use std::time::Duration;

use super::execution;
use crate::System;
use crate::domain::id::{AgentId, TaskId, Timestamp};
use crate::error::SystemError;
use crate::world::World;

/// A winner that is being carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underway {
    pub run: u32,
    /// From 1.
    pub attempt: u32,
    /// Who was asked.
    pub agent: AgentId,
    pub asked_at: Timestamp,
    /// What was said of it last.
    pub heard: Option<Heard>,
    /// The last sign of life, or when this daemon began to listen.
    pub since: Timestamp,
    /// Nothing was heard for as long as [`crate::QueueSettings::stall`].
    pub stalled: bool,
    /// Of a task that several carry out: how many have answered or are given up, of how many. `agent` is the first of the
    /// others then.
    pub answered: Option<(usize, usize)>,
}

/// What an agent says while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub agent: Arc<str>,
    /// 0 to 100.
    pub percent: Option<u8>,
    pub message: Option<Arc<str>>,
    pub at: Timestamp,
}

/// An attempt that is asked for; one that is known already stays as it is.
pub(super) fn begin(world: &World, task: &TaskId, begun: Underway) {
    let mut known = world.registry.underway.entry(task.clone()).or_insert_with(|| begun.clone());
    let which = |underway: &Underway| (underway.run, underway.attempt, underway.answered);
    if which(&known) != which(&begun) {
        *known = begun;
    }
}

impl System {
    /// An agent of others says how far it is; `false` = nobody waits for it. Kept until the next word, in memory only.
    pub async fn progressed(&self, task: &TaskId, heard: Heard) -> Result<bool, SystemError> {
        let row = self.world.ports.journal.task(task).await?;
        let Some(row) = row.filter(execution::is_dispatched) else { return Ok(false) };
        let Some(mut known) = self.world.registry.underway.get_mut(task).filter(|known| known.run == row.run) else {
            return Ok(false);
        };
        (known.since, known.heard) = (heard.at, Some(heard));
        Ok(true)
    }

    /// What is known of a winner that is being carried out.
    #[must_use]
    pub fn underway(&self, task: &TaskId) -> Option<Underway> {
        let known = self.world.registry.underway.get(task)?.clone();
        Some(Underway { stalled: self.is_stalled(&known), ..known })
    }

    /// How many winners are being carried out, and how many of them are stalled.
    #[must_use]
    pub fn underway_counts(&self) -> (usize, usize) {
        let all = &self.world.registry.underway;
        (all.len(), all.iter().filter(|known| self.is_stalled(known)).count())
    }

    fn is_stalled(&self, known: &Underway) -> bool {
        let silent = Duration::from_millis(self.world.ports.clock.now().0.saturating_sub(known.since.0));
        silent >= self.world.settings.queue.stall
    }
}
