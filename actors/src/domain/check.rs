//! Evidence about a text: what a check found, or why it did not run. A check that did not run never counts as passed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One check's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CheckOutcome {
    Passed,
    Failed {
        /// What was found, one line each.
        findings: Vec<Arc<str>>,
    },
    NotRun {
        /// Shown as «not run: why».
        why: Arc<str>,
    },
}

impl CheckOutcome {
    #[must_use]
    pub fn not_run(why: impl Into<Arc<str>>) -> Self {
        Self::NotRun { why: why.into() }
    }

    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    #[must_use]
    pub fn passed(&self) -> bool {
        matches!(self, Self::Passed)
    }
}

/// All checks of one text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    pub policy: CheckOutcome,
    pub lint: CheckOutcome,
    pub dry_run: CheckOutcome,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub additional: BTreeMap<String, CheckOutcome>,
}

impl CheckReport {
    /// Nothing ran, for the same reason.
    #[must_use]
    pub fn not_run(why: &Arc<str>) -> Self {
        let outcome = || CheckOutcome::NotRun { why: why.clone() };
        Self { policy: outcome(), lint: outcome(), dry_run: outcome(), additional: BTreeMap::new() }
    }

    /// Every check by its name, in the order in which they are shown.
    pub fn named(&self) -> impl Iterator<Item = (&str, &CheckOutcome)> {
        let fixed = [("policy", &self.policy), ("lint", &self.lint), ("dry_run", &self.dry_run)];
        fixed.into_iter().chain(self.additional.iter().map(|(name, outcome)| (name.as_str(), outcome)))
    }

    /// Whether some check ran and failed.
    #[must_use]
    pub fn any_failed(&self) -> bool {
        self.named().any(|(_, outcome)| outcome.failed())
    }

    /// The checks that failed here and passed there: what a change has broken.
    pub fn broken_since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = &'a str> {
        let passed = |name: &str| earlier.named().any(|(other, outcome)| other == name && outcome.passed());
        self.named().filter(move |(name, outcome)| outcome.failed() && passed(name)).map(|(name, _)| name)
    }
}
