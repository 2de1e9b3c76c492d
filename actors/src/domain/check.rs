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

    fn outcomes(&self) -> impl Iterator<Item = &CheckOutcome> {
        [&self.policy, &self.lint, &self.dry_run].into_iter().chain(self.additional.values())
    }

    /// Whether some check ran and failed.
    #[must_use]
    pub fn any_failed(&self) -> bool {
        self.outcomes().any(CheckOutcome::failed)
    }
}
