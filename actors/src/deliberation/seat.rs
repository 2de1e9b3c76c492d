//! A seat's part in a run: what it has written, and how it stands in the current wave.

use std::sync::Arc;

use super::critique::Critique;
use crate::artifact::{Draft, Rejected};
use crate::domain::answer::{Answer, Finish};
use crate::domain::id::{Timestamp, Wave};

/// A seat's part in the current wave.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Slot {
    /// It takes no part.
    Out,
    /// Its answer is awaited; `kept` is what it gave before it was asked again.
    Open {
        ask: u8,
        kept: Option<Given>,
    },
    Done,
    Missing,
}

/// An answer to one ask, and what it is as an artifact.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    pub(super) ask: u8,
    pub(super) answer: Answer,
    pub(super) draft: Option<Draft>,
}

impl Given {
    /// Whether it deserves a second ask whatever its stage is: cut off, or refused as an artifact.
    pub(super) fn is_unfinished(&self) -> bool {
        self.answer.finish == Finish::Length || self.is_rejected()
    }

    pub(super) fn is_rejected(&self) -> bool {
        self.draft.as_ref().is_some_and(Draft::is_rejected)
    }
}

/// One text of a seat.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    /// What everybody sees: the canonical form of an artifact, else the author's words.
    pub(super) text: Arc<str>,
    /// The words, and the ask that they answer, for their author.
    pub(super) words: Arc<str>,
    pub(super) wave: Wave,
    pub(super) ask: u8,
    /// Why they are no artifact, though one was wanted.
    pub(super) rejected: Option<Arc<Rejected>>,
}

impl Written {
    /// What an agent of others made.
    pub(super) fn made(wave: Wave, text: &Arc<str>) -> Self {
        Self { text: text.clone(), words: text.clone(), wave, ask: 1, rejected: None }
    }

    pub(super) fn new(wave: Wave, given: &Given) -> Self {
        let words = given.answer.text.clone();
        let (text, rejected) = match &given.draft {
            Some(Draft::Sound(text)) => (text.clone(), None),
            Some(Draft::Rejected(why)) => (words.clone(), Some(why.clone())),
            None => (words.clone(), None),
        };
        Self { text, words, wave, ask: given.ask, rejected }
    }
}

/// What one seat has written so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SeatRecord {
    /// The proposal and its revisions, oldest first.
    pub(super) texts: Vec<Written>,
    pub(super) proposed_at: Timestamp,
    /// Place among the finished, from 1, by the last text: the earlier one wins a tie.
    pub(super) finished: u32,
    /// The last review of its proposal, and in which round.
    pub(super) review: Option<(u8, Critique)>,
}

#[cfg(test)]
impl SeatRecord {
    /// A seat that wrote these texts.
    pub(super) fn of(texts: &[&str]) -> Self {
        let wave = Wave { stage: crate::domain::id::Stage::Propose, round: 0 };
        let written = |text: &&str| {
            let words: Arc<str> = Arc::from(*text);
            Written { text: words.clone(), words, wave, ask: 1, rejected: None }
        };
        Self { texts: texts.iter().map(written).collect(), ..Self::default() }
    }
}
