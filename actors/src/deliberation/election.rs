//! The wave in which the architect chooses: its slots are ballots, not seats.

use std::sync::Arc;

use super::record::Record;
use super::seat::Slot;
use crate::architect::{self, Vote};
use crate::domain::id::{AgentId, Stage, Wave};
use crate::domain::verdict::Scored;

/// Each ballot has a round of its own, from 1.
fn ballot(number: usize) -> Wave {
    Wave { stage: Stage::Select, round: u8::try_from(number + 1).unwrap_or(u8::MAX) }
}

impl Record {
    /// Whose answer a slot of the current wave is.
    pub(super) fn asked(&self, slot: usize) -> AgentId {
        let seat = match self.wave.stage {
            Stage::Select => self.plan.architect.as_ref(),
            _ => self.plan.seats.get(slot),
        };
        seat.map_or_else(|| self.plan.seats[0].agent.clone(), |seat| seat.agent.clone())
    }

    /// The wave that a slot's call bears.
    pub(super) fn wave_of(&self, slot: usize) -> Wave {
        match self.wave.stage {
            Stage::Select => ballot(slot),
            _ => self.wave,
        }
    }

    /// The best are before the architect.
    pub(super) fn stand_for_election(&mut self, scored: Arc<Scored>) {
        self.scored = Some(scored);
        self.begin_wave(ballot(0));
        self.slots = vec![Slot::Open { ask: 1, kept: None }; architect::BALLOTS];
        self.allowance = self.allowance_now();
    }

    /// What became of the ballots.
    pub(super) fn votes(&self) -> Vec<Vote> {
        let vote = |(number, answer): (usize, &Option<Arc<str>>)| match answer {
            Some(answer) => Vote::Cast(answer.clone()),
            None => {
                let missing = self.missing.iter().find(|missing| missing.wave == ballot(number));
                Vote::Missing(missing.map_or_else(|| "the architect did not answer".into(), |seat| seat.reason.clone()))
            }
        };
        self.ballots.iter().enumerate().map(vote).collect()
    }
}
