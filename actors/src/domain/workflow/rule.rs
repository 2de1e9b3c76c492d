//! Who may approve, how many must, by when, and when no human is asked.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::answer::millis;
use super::super::problem::Problems;

/// Most names in a list of approvers, and most votes that a decision may need: more is no decision.
pub const MAX_APPROVERS: usize = 64;
pub const MAX_QUORUM: u16 = 32;

/// What happens when nobody decides in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDeadline {
    /// `escalate_to` may decide too; it waits on, without a limit.
    #[default]
    Escalate,
    /// As if somebody had rejected it: the phase is tried again.
    Reject,
    /// The workflow fails.
    Fail,
}

impl OnDeadline {
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "escalate" => Some(Self::Escalate),
            "reject" => Some(Self::Reject),
            "fail" => Some(Self::Fail),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Escalate => "escalate",
            Self::Reject => "reject",
            Self::Fail => "fail",
        }
    }
}

/// How a phase's artifact is approved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApprovalRule {
    /// Names of those who may decide; empty = anyone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<Arc<str>>,
    /// Approvals of different people that it takes, 1 to [`MAX_QUORUM`]. One rejection is enough.
    pub quorum: u16,
    /// How long a phase waits for its decision.
    #[serde(rename = "deadline_ms", with = "deadline", skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    pub on_deadline: OnDeadline,
    /// Who may decide too when the deadline is over; with an open list of approvers, whom to tell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub escalate_to: Vec<Arc<str>>,
    /// A hub's answer with at least this confidence (0 to 100) whose checks all passed needs no human.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_approve: Option<f64>,
    /// Rejections of one phase that are worked on; one more and the workflow fails.
    pub max_rework: u32,
    /// Below it (0 to 100) an approval is shown as one to look at twice.
    pub confidence_threshold: f64,
}

impl Default for ApprovalRule {
    fn default() -> Self {
        Self {
            approvers: Vec::new(),
            quorum: 1,
            deadline: None,
            on_deadline: OnDeadline::default(),
            escalate_to: Vec::new(),
            auto_approve: None,
            max_rework: 3,
            confidence_threshold: 80.0,
        }
    }
}

impl ApprovalRule {
    /// Whether this name may decide.
    #[must_use]
    pub fn admits(&self, actor: &str, escalated: bool) -> bool {
        let named = |names: &[Arc<str>]| names.iter().any(|name| **name == *actor);
        self.approvers.is_empty() || named(&self.approvers) || (escalated && named(&self.escalate_to))
    }

    /// Whether it matters who decides.
    #[must_use]
    pub fn wants_names(&self) -> bool {
        self.quorum > 1 || !self.approvers.is_empty()
    }

    /// A workflow's own rule may ask for more than the configured one, never for less.
    pub fn check_not_below(&self, configured: &Self, problems: &mut Problems) {
        let mut refuse = |field: &str, rule: String| problems.push(format!("context.approval.{field}"), rule);
        if self.quorum < configured.quorum {
            refuse("quorum", format!("is {}; {} is the configured least", self.quorum, configured.quorum));
        }
        let foreign = |name: &&Arc<str>| !configured.approvers.is_empty() && !configured.approvers.contains(name);
        if let Some(name) = self.approvers.iter().find(foreign) {
            refuse("approvers", format!("names {name:?}, which is none of the configured ones"));
        }
        if self.approvers.is_empty() && !configured.approvers.is_empty() {
            refuse("approvers", "is empty; the configured list cannot be opened".to_owned());
        }
        match (self.auto_approve, configured.auto_approve) {
            (Some(own), Some(least)) if own < least => {
                refuse("auto_approve_confidence", format!("is {own}; {least} is the configured least"));
            }
            (Some(_), None) => refuse("auto_approve_confidence", "is switched off by the configuration".to_owned()),
            (_, _) => {}
        }
        if self.max_rework > configured.max_rework {
            refuse("max_rework", format!("is {}; {} is the configured most", self.max_rework, configured.max_rework));
        }
    }

    /// Whether nothing needs a second reading: each number in its range, nobody named twice.
    pub fn check(&self, prefix: &str, problems: &mut Problems) {
        if self.quorum == 0 || self.quorum > MAX_QUORUM {
            problems.push(format!("{prefix}.quorum"), format!("is {}; allowed are 1 to {MAX_QUORUM}", self.quorum));
        }
        let few = !self.approvers.is_empty() && self.approvers.len() < usize::from(self.quorum);
        if few {
            let rule = format!("names {} people, and the quorum is {}", self.approvers.len(), self.quorum);
            problems.push(format!("{prefix}.approvers"), rule);
        }
        for (field, names) in [("approvers", &self.approvers), ("escalate_to", &self.escalate_to)] {
            if names.len() > MAX_APPROVERS {
                let rule = format!("has {} names; at most {MAX_APPROVERS} are allowed", names.len());
                problems.push(format!("{prefix}.{field}"), rule);
            }
            if names.iter().any(|name| name.trim().is_empty() || name.len() > super::MAX_ACTOR_BYTES) {
                let rule = format!("has a name that is empty or over {} bytes", super::MAX_ACTOR_BYTES);
                problems.push(format!("{prefix}.{field}"), rule);
            }
            if names.iter().enumerate().any(|(place, name)| names[..place].contains(name)) {
                problems.push(format!("{prefix}.{field}"), "names somebody twice");
            }
        }
    }
}

mod deadline {
    use super::{Duration, millis};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => millis::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(found: impl FnOnce(&mut Problems)) -> Vec<String> {
        let mut problems = Problems::default();
        found(&mut problems);
        problems.0.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn a_workflow_may_ask_for_more_and_not_for_less() {
        let configured = ApprovalRule {
            approvers: vec!["ann".into(), "bob".into(), "cid".into()],
            quorum: 2,
            auto_approve: None,
            ..ApprovalRule::default()
        };
        let stricter = ApprovalRule { quorum: 3, max_rework: 1, ..configured.clone() };
        assert_eq!(fields(|problems| stricter.check_not_below(&configured, problems)), [""; 0]);
        let looser = ApprovalRule { quorum: 1, auto_approve: Some(50.0), max_rework: 9, ..ApprovalRule::default() };
        let expected = ["quorum", "approvers", "auto_approve_confidence", "max_rework"];
        let expected = expected.map(|field| format!("context.approval.{field}"));
        assert_eq!(fields(|problems| looser.check_not_below(&configured, problems)), expected);
        let foreign = ApprovalRule { approvers: vec!["eve".into(), "ann".into()], ..configured.clone() };
        assert_eq!(fields(|problems| foreign.check_not_below(&configured, problems)), ["context.approval.approvers"]);
    }

    #[test]
    fn whoever_it_is_escalated_to_may_decide_from_then_on() {
        let rule =
            ApprovalRule { approvers: vec!["ann".into()], escalate_to: vec!["boss".into()], ..ApprovalRule::default() };
        assert!(rule.admits("ann", false) && !rule.admits("boss", false) && rule.admits("boss", true));
        assert!(ApprovalRule::default().admits("anyone", false));
    }

    #[test]
    fn numbers_and_names_are_checked_at_their_edges() {
        let rule = |quorum| ApprovalRule { quorum, ..ApprovalRule::default() };
        assert_eq!(fields(|problems| rule(MAX_QUORUM).check("approval", problems)), [""; 0]);
        for wrong in [0, MAX_QUORUM + 1] {
            assert_eq!(fields(|problems| rule(wrong).check("approval", problems)), ["approval.quorum"]);
        }
        let twice = ApprovalRule { approvers: vec!["ann".into(), "ann".into()], ..ApprovalRule::default() };
        assert_eq!(fields(|problems| twice.check("approval", problems)), ["approval.approvers"]);
        let few = ApprovalRule { approvers: vec!["ann".into()], quorum: 2, ..ApprovalRule::default() };
        assert_eq!(fields(|problems| few.check("approval", problems)), ["approval.approvers"]);
    }

    #[test]
    fn it_is_stored_as_it_is() {
        let rule = ApprovalRule {
            approvers: vec!["ann".into()],
            deadline: Some(Duration::from_secs(60)),
            on_deadline: OnDeadline::Fail,
            escalate_to: vec!["boss".into()],
            auto_approve: Some(90.0),
            ..ApprovalRule::default()
        };
        let stored = serde_json::to_string(&rule).unwrap();
        assert!(stored.contains(r#""deadline_ms":60000"#), "{stored}");
        assert_eq!(serde_json::from_str::<ApprovalRule>(&stored).unwrap(), rule);
        assert_eq!(serde_json::from_str::<ApprovalRule>("{}").unwrap(), ApprovalRule::default());
    }
}
