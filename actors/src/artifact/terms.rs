//! What an answer is held against, and what it turned out to be.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::base::Base;
use super::failure::{Code, Failure, Rejected};
use super::guard::Guard;
use super::translate::translate;
use super::wanted::Wanted;

/// What is wanted, the files to change, and where may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub wanted: Wanted,
    pub base: Base,
    pub guard: Guard,
}

impl Terms {
    /// Whether there are files to change, or only new ones to write: each has a dialect of its own.
    #[must_use]
    pub(crate) fn dialect(&self) -> Dialect {
        if self.base.is_empty() { Dialect::Files } else { Dialect::Changes }
    }
}

/// The forms in which authors are asked for changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Files,
    Changes,
}

/// An answer's changes, translated once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Draft {
    /// The canonical text.
    Sound(Arc<str>),
    Rejected(Arc<Rejected>),
}

impl Draft {
    /// The answer's artifact. A fault of the translator is a refusal too: what it broke on is never asked for again
    /// without end.
    #[must_use]
    pub fn of(words: &str, nonce: &str, terms: &Terms) -> Self {
        let translated = || translate(words, nonce, terms.wanted, &terms.base, &terms.guard);
        match catch_unwind(AssertUnwindSafe(translated)) {
            Ok(Ok(artifact)) => Self::Sound(artifact.canonical().into()),
            Ok(Err(rejected)) => Self::Rejected(Arc::new(rejected)),
            Err(_) => {
                tracing::error!(
                    bytes = words.len(),
                    "an answer could not be translated: this is a fault of the daemon"
                );
                let failure = Failure::new(Code::NoArtifact, "", "the answer could not be read; write it more simply");
                Self::Rejected(Arc::new(failure.into()))
            }
        }
    }

    #[must_use]
    pub fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }

    /// About how many bytes it takes in an event.
    pub(crate) fn room(&self) -> usize {
        match self {
            Self::Sound(text) => text.len(),
            Self::Rejected(rejected) => rejected.failures.len() * 256,
        }
    }
}
