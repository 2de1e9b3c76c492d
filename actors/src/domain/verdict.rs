//! What a deliberation decided, with its evidence: never a choice without the reasons for it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::{Class, Usage, millis};
use super::check::CheckReport;
use super::context::Informed;
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

/// What a reviewer found, in the reviewer's words, read where they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding<'t> {
    #[serde(borrow)]
    pub claim: Cow<'t, str>,
    #[serde(borrow, default)]
    pub location: Cow<'t, str>,
    #[serde(borrow, default)]
    pub evidence: Cow<'t, str>,
    /// `blocker`, `major`, `minor` or `nit` for those who keep to the form.
    #[serde(borrow, default)]
    pub severity: Cow<'t, str>,
}

impl Finding<'_> {
    /// One that outlives the text it stands in.
    #[must_use]
    pub fn into_owned(self) -> Finding<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let Self { claim, location, evidence, severity } = self;
        Finding { claim: own(claim), location: own(location), evidence: own(evidence), severity: own(severity) }
    }

    /// Whether it speaks against the proposal as a whole.
    #[must_use]
    pub fn is_serious(&self) -> bool {
        matches!(&*self.severity, "blocker" | "major")
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

/// A revision that was not kept: it failed checks that the text before it had passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Which of the seat's texts, counted from 0.
    pub text: u32,
    pub checks: Arc<CheckReport>,
}

/// One proposal's place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    pub agent: AgentId,
    /// From 1.
    pub rank: u32,
    /// Which of the seat's texts counts, from 0; `None` = the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Dropped>,
    /// 0.5 · (no failed check) + 0.5 · quality, below 1.
    pub score: f64,
    /// The reviewers' mean rating, 0 ≤ quality < 1; `None` = nobody rated it (counts as one half).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<f64>,
    pub checks: Arc<CheckReport>,
}

/// Who chose the winner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    #[default]
    Score,
    Architect,
}

impl Selector {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Architect => "architect",
        }
    }
}

/// One vote of the architect over candidates without names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// In the order in which they were shown, as A, B, C.
    pub shown: Vec<AgentId>,
    /// Best first; empty when it does not count.
    #[serde(default)]
    pub ranking: Vec<AgentId>,
    /// In the architect's words, beside the ranking's entries.
    #[serde(default)]
    pub reasons: Vec<Arc<str>>,
    /// Why it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spoiled: Option<Arc<str>>,
}

/// How the winner was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    pub by: Selector,
    /// In one sentence.
    pub why: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architect: Option<AgentId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ballots: Vec<Ballot>,
}

impl Selection {
    #[must_use]
    pub fn by_score(why: impl Into<Arc<str>>) -> Self {
        Self { why: why.into(), ..Self::default() }
    }

    /// Verdicts of the first version say nothing of it: the score decided.
    fn is_unsaid(&self) -> bool {
        *self == Self::default()
    }
}

/// The evidence as it stands before an architect chooses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// By score, best first.
    pub ranking: Vec<Ranked>,
    pub stop: StopReason,
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
    #[serde(default, skip_serializing_if = "Selection::is_unsaid")]
    pub selection: Selection,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingSeat>,
    /// Why model servers were asked instead of the executor, from some wave on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor_left: Option<Arc<str>>,
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

/// One author's texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub agent: AgentId,
    /// What was judged.
    pub text: Arc<str>,
    /// The author's other texts, oldest first: the earlier ones, and revisions that were not kept.
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
    /// Whether the prompts said what is known of the task's story; `None` = it has none.
    pub context: Option<Informed>,
    /// Prompts and policy in force, by their hashes.
    pub prompts_hash: Arc<str>,
    pub policy_hash: Arc<str>,
    pub ended_at: Timestamp,
}
