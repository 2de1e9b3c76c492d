//! `context.approval`: what a client asks of its own workflow's approvals, laid over what is configured.

use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::workflow::{ApprovalRule, MAX_QUORUM, OnDeadline};
use serde_json::{Map, Value};

const PREFIX: &str = "context.approval";
const KEYS: [&str; 8] = [
    "approvers",
    "quorum",
    "deadline_seconds",
    "on_deadline",
    "escalate_to",
    "auto_approve_confidence",
    "max_rework",
    "confidence_threshold",
];

/// Longest time that an approval may wait before its deadline: a year.
const MAX_DEADLINE_SECONDS: f64 = 365.0 * 24.0 * 60.0 * 60.0;

/// The rule of one workflow. It may ask for more than the configured one, never for less.
pub(super) fn rule(context: &Map<String, Value>, configured: &ApprovalRule, problems: &mut Problems) -> ApprovalRule {
    let given = match context.get("approval") {
        None | Some(Value::Null) => return configured.clone(),
        Some(Value::Object(given)) => given,
        Some(_) => {
            problems.push(PREFIX, "is not an object");
            return configured.clone();
        }
    };
    for unknown in given.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        let unknown = crate::error::cut(unknown, 64);
        problems.push(format!("{PREFIX}.{unknown}"), format!("is unknown; known are {}", KEYS.join(", ")));
    }
    let before = problems.0.len();
    let rule = laid_over(configured, &mut Given { given, problems });
    // What could not be read was not meant either: it is not judged twice.
    if problems.0.len() == before {
        rule.check(PREFIX, problems);
        rule.check_not_below(configured, problems);
    }
    rule
}

fn laid_over(configured: &ApprovalRule, given: &mut Given<'_>) -> ApprovalRule {
    let percent = |value: &Value| value.as_f64().filter(|percent| (0.0..=100.0).contains(percent));
    let seconds = |value: &Value| {
        let seconds = value.as_f64().filter(|seconds| *seconds > 0.0 && *seconds <= MAX_DEADLINE_SECONDS)?;
        Duration::try_from_secs_f64(seconds).ok().filter(|deadline| *deadline >= Duration::from_millis(1))
    };
    let own = configured.clone();
    ApprovalRule {
        approvers: given.read("approvers", "is not a list of names", names).unwrap_or(own.approvers),
        quorum: given
            .read("quorum", &format!("is not a number from 1 to {MAX_QUORUM}"), |value| {
                u16::try_from(value.as_u64()?).ok()
            })
            .unwrap_or(own.quorum),
        deadline: given
            .read("deadline_seconds", &format!("is not a number over 0 and up to {MAX_DEADLINE_SECONDS}"), seconds)
            .or(own.deadline),
        on_deadline: given
            .read("on_deadline", "is none of escalate, reject, fail", |value| OnDeadline::named(value.as_str()?))
            .unwrap_or(own.on_deadline),
        escalate_to: given.read("escalate_to", "is not a list of names", names).unwrap_or(own.escalate_to),
        auto_approve: given
            .read("auto_approve_confidence", "is not a number from 0 to 100", percent)
            .or(own.auto_approve),
        max_rework: given
            .read("max_rework", "is not a number of attempts", |value| u32::try_from(value.as_u64()?).ok())
            .unwrap_or(own.max_rework),
        confidence_threshold: given
            .read("confidence_threshold", "is not a number from 0 to 100", percent)
            .unwrap_or(own.confidence_threshold),
    }
}

fn names(value: &Value) -> Option<Vec<Arc<str>>> {
    value.as_array()?.iter().map(|name| Some(Arc::from(name.as_str()?.trim()))).collect()
}

struct Given<'a> {
    given: &'a Map<String, Value>,
    problems: &'a mut Problems,
}

impl Given<'_> {
    /// `None` = it is not given, or it is not as it should be.
    fn read<T>(&mut self, key: &str, wrong: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.given.get(key).filter(|value| !value.is_null())?;
        let read = read(value);
        if read.is_none() {
            self.problems.push(format!("{PREFIX}.{key}"), wrong);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(approval: Value) -> (ApprovalRule, Vec<String>) {
        let configured = ApprovalRule { auto_approve: Some(80.0), ..ApprovalRule::default() };
        let mut problems = Problems::default();
        let context = json!({ "approval": approval, "own": true });
        let rule = rule(context.as_object().unwrap(), &configured, &mut problems);
        (rule, problems.0.into_iter().map(|problem| problem.field.replace("context.approval.", "")).collect())
    }

    #[test]
    fn what_is_given_is_laid_over_what_is_configured() {
        let (rule, problems) = read(json!({
            "approvers": ["ann", " bob "], "quorum": 2, "deadline_seconds": 1.5, "on_deadline": "fail",
            "escalate_to": ["boss"], "auto_approve_confidence": 95, "max_rework": 1, "confidence_threshold": null,
        }));
        assert_eq!(problems, [""; 0]);
        assert_eq!((rule.approvers, rule.quorum), (vec!["ann".into(), "bob".into()], 2));
        assert_eq!((rule.deadline, rule.on_deadline), (Some(Duration::from_millis(1500)), OnDeadline::Fail));
        assert_eq!((rule.auto_approve, rule.max_rework, rule.confidence_threshold), (Some(95.0), 1, 80.0));
    }

    #[test]
    fn every_problem_is_told() {
        let (_, problems) = read(json!({
            "aprovers": [], "approvers": "ann", "quorum": 1.5, "deadline_seconds": 0, "on_deadline": "shout",
            "escalate_to": [7], "auto_approve_confidence": 101, "max_rework": -1, "confidence_threshold": "high",
        }));
        let expected = [
            "aprovers",
            "approvers",
            "quorum",
            "deadline_seconds",
            "on_deadline",
            "escalate_to",
            "auto_approve_confidence",
            "max_rework",
            "confidence_threshold",
        ];
        assert_eq!(problems, expected);
        assert_eq!(read(json!([])).1, ["context.approval"]);
    }

    #[test]
    fn deadlines_are_held_to_their_edges() {
        for right in [0.001, MAX_DEADLINE_SECONDS] {
            assert_eq!(read(json!({ "deadline_seconds": right })).1, [""; 0], "{right}");
        }
        for wrong in [0.0001, -1.0, MAX_DEADLINE_SECONDS + 1.0] {
            assert_eq!(read(json!({ "deadline_seconds": wrong })).1, ["deadline_seconds"], "{wrong}");
        }
    }

    #[test]
    fn less_than_what_is_configured_is_refused() {
        assert_eq!(
            read(json!({ "auto_approve_confidence": 50, "max_rework": 9 })).1,
            ["auto_approve_confidence", "max_rework"]
        );
        assert_eq!(read(json!({ "quorum": 0 })).1, ["quorum", "quorum"]);
    }
}
