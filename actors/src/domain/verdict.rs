//! What a deliberation decided, with its evidence: never a choice without the reasons for it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::{Class, Usage, millis};
use super::check::CheckReport;
use super::id::{AgentId, Timestamp, Wave};

/// Why the deliberation stopped when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// All rounds were held.
    Complete,
    /// Review was not asked for.
    NoReview,
    /// One proposal was left: nobody to review it.
    Single,
    /// The overall deadline came first.
    Deadline,
    /// The token budget or the call limit was spent.
    Budget,
}

impl StopReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::NoReview => "no_review",
            Self::Single => "single",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        }
    }
}

/// A seat that did not answer in one wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingSeat {
    pub agent: AgentId,
    pub wave: Wave,
    pub class: Class,
    pub reason: Arc<str>,
}

/// One proposal's place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    pub agent: AgentId,
    /// From 1.
    pub rank: u32,
    /// 0.5 · (no failed check) + 0.5 · quality, below 1.
    pub score: f64,
    /// The reviewers' mean rating, 0 ≤ quality < 1; `None` = nobody rated it (counts as one half).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<f64>,
    pub checks: Arc<CheckReport>,
}

/// How long each wave took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveTime {
    pub wave: Wave,
    #[serde(rename = "duration_ms", with = "millis")]
    pub duration: Duration,
}

/// The outcome of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Best first; the first one's author is the winner.
    pub ranking: Vec<Ranked>,
    pub stop: StopReason,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingSeat>,
    /// Finished model calls, and HTTP requests spent on them and on failed ones.
    pub calls: u32,
    pub attempts: u32,
    pub usage: Usage,
    #[serde(default)]
    pub waves: Vec<WaveTime>,
    #[serde(rename = "duration_ms", with = "millis")]
    pub duration: Duration,
}

impl Verdict {
    #[must_use]
    pub fn winner(&self) -> Option<&Ranked> {
        self.ranking.first()
    }
}

/// One author's texts: the last is what was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub agent: AgentId,
    pub text: Arc<str>,
    /// Earlier texts, oldest first.
    pub revisions: Vec<Arc<str>>,
    pub created_at: Timestamp,
}

/// A finished run as clients see it: the verdict and the texts that it ranks, in the same order.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub verdict: Arc<Verdict>,
    pub proposals: Vec<Proposal>,
    /// 16 hex digits, of this run only.
    pub execution_id: Arc<str>,
    /// Whether any answer was scripted; shown wherever the outcome is.
    pub simulated: bool,
    /// `num_agents` asked for more than the council has.
    pub clamped: bool,
    /// Prompts and policy in force, by their hashes.
    pub prompts_hash: Arc<str>,
    pub policy_hash: Arc<str>,
    pub ended_at: Timestamp,
}
