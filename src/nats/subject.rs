//! The tables: streams with their limits, what is consumed by which durable, what is published.
//!
//! They are data, so that start, check and tests go by the same lines.

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A stream as Moothall creates it where it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRow {
    pub name: &'static str,
    pub subjects: &'static [&'static str],
    /// Older messages are dropped.
    pub max_age: Duration,
    /// Beyond so many the oldest are dropped.
    pub max_messages: i64,
}

pub const STREAMS: &[StreamRow] = &[
    stream("PLANNING_EVENTS", &["planning.>"], days(30), 1_000_000),
    stream("CONTEXT", &["context.>"], days(7), 100_000),
    stream("ORCHESTRATOR_EVENTS", &["orchestration.>"], days(7), 50_000),
    stream("AGENT_COMMANDS", &["agent.cmd.>"], HOUR, 10_000),
    stream("AGENT_RESPONSES", &["agent.response.>", "agent.responses.>"], HOUR, 10_000),
    stream("MOOTHALL_DLQ", &["moothall.dlq.>"], days(30), 100_000),
];

/// The streams that Moothall publishes to.
pub const PUBLISHED_TO: &[&str] = &["ORCHESTRATOR_EVENTS", "AGENT_COMMANDS", "MOOTHALL_DLQ"];

/// Where dead letters go: this, then the subject of the message.
pub const DEAD_LETTERS: &str = "moothall.dlq.";

/// What a consumed subject carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    PlanApproved,
    StoryTransitioned,
    AgentCompleted,
    AgentFailed,
    AgentProgress,
    ContextUpdated,
    ContextDecision,
    ContextMilestone,
}

/// A durable pull consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerRow {
    pub durable: &'static str,
    pub stream: &'static str,
    pub subjects: &'static [&'static str],
    pub kind: Kind,
    /// Whether replicas share it; else each instance has its own, which its name is appended to.
    pub shared: bool,
}

pub const CONSUMERS: &[ConsumerRow] = &[
    shared("moothall-plan-approved", "PLANNING_EVENTS", &["planning.plan.approved"], Kind::PlanApproved),
    shared("moothall-story-transitioned", "PLANNING_EVENTS", &["planning.story.transitioned"], Kind::StoryTransitioned),
    own(
        "moothall-agent-completed",
        "AGENT_RESPONSES",
        &[
            "agent.response.completed",
            "agent.response.completed.>",
            "agent.responses.completed",
            "agent.responses.completed.>",
        ],
        Kind::AgentCompleted,
    ),
    own(
        "moothall-agent-failed",
        "AGENT_RESPONSES",
        &["agent.response.failed", "agent.responses.failed"],
        Kind::AgentFailed,
    ),
    own(
        "moothall-agent-progress",
        "AGENT_RESPONSES",
        &["agent.response.progress", "agent.responses.progress"],
        Kind::AgentProgress,
    ),
    own("moothall-context-updated", "CONTEXT", &["context.updated", "context.events.updated"], Kind::ContextUpdated),
    shared("moothall-context-decision", "CONTEXT", &["context.decision.added"], Kind::ContextDecision),
    shared("moothall-context-milestone", "CONTEXT", &["context.milestone.reached"], Kind::ContextMilestone),
];

impl ConsumerRow {
    /// The consumer's name at the server, for one instance.
    #[must_use]
    pub fn name(&self, instance: &str) -> String {
        if self.shared { self.durable.to_owned() } else { format!("{}-{instance}", self.durable) }
    }
}

/// Whether every subject of `filter` is one of `pattern`; both may hold `*` and `>`.
pub(super) fn covers(pattern: &str, filter: &str) -> bool {
    let mut filter = filter.split('.');
    for token in pattern.split('.') {
        match (token, filter.next()) {
            (">", Some(_)) => return true,
            ("*", Some(other)) if other != ">" => {}
            (token, Some(other)) if token == other => {}
            (_, _) => return false,
        }
    }
    filter.next().is_none()
}

/// Whether one of the patterns covers it.
pub(super) fn covered<P: AsRef<str>>(patterns: &[P], filter: &str) -> bool {
    patterns.iter().any(|pattern| covers(pattern.as_ref(), filter))
}

/// The subjects of `wanted` that no pattern covers.
pub(super) fn lacking<'w, P: AsRef<str>>(patterns: &[P], wanted: &[&'w str]) -> Vec<&'w str> {
    wanted.iter().copied().filter(|wanted| !covered(patterns, wanted)).collect()
}

const fn stream(
    name: &'static str,
    subjects: &'static [&'static str],
    max_age: Duration,
    max_messages: i64,
) -> StreamRow {
    StreamRow { name, subjects, max_age, max_messages }
}

const fn shared(
    durable: &'static str,
    stream: &'static str,
    subjects: &'static [&'static str],
    kind: Kind,
) -> ConsumerRow {
    ConsumerRow { durable, stream, subjects, kind, shared: true }
}

const fn own(
    durable: &'static str,
    stream: &'static str,
    subjects: &'static [&'static str],
    kind: Kind,
) -> ConsumerRow {
    ConsumerRow { durable, stream, subjects, kind, shared: false }
}

const fn days(days: u32) -> Duration {
    DAY.saturating_mul(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_the_server_would_deliver() {
        for (pattern, filter, does) in [
            ("planning.>", "planning.plan.approved", true),
            ("planning.>", "planning", false),
            ("planning.*", "planning.plan.approved", false),
            ("planning.*.approved", "planning.plan.approved", true),
            ("agent.response.>", "agent.response.completed.>", true),
            ("agent.response.*", "agent.response.>", false),
            ("agent.response.completed", "agent.response.completed.>", false),
            ("agent.response.>", "agent.responses.completed", false),
            (">", "a", true),
            ("a.b", "a", false),
        ] {
            assert_eq!(covers(pattern, filter), does, "{pattern} {filter}");
        }
    }

    #[test]
    fn every_consumed_subject_is_in_its_stream() {
        for row in CONSUMERS {
            let stream = STREAMS.iter().find(|stream| stream.name == row.stream).unwrap();
            assert!(lacking(stream.subjects, row.subjects).is_empty(), "{}", row.durable);
        }
    }

    #[test]
    fn what_is_lacking_is_named() {
        assert_eq!(
            lacking(&["agent.response.>"], &["agent.response.failed", "agent.responses.failed"]),
            ["agent.responses.failed"]
        );
    }

    #[test]
    fn only_what_is_not_shared_bears_the_instance() {
        assert_eq!(CONSUMERS[0].name("a"), "moothall-plan-approved");
        assert_eq!(CONSUMERS[2].name("a"), "moothall-agent-completed-a");
    }
}
