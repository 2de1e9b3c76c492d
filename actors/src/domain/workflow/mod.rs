//! Workflows: a Spec Kit stage in two phases, with a human's decision after each.
//!
//! ```text
//!            start                agent_complete                  human_approved
//!  pending ────────▶ in_progress ───────────────▶ waiting_approval ─────────────▶ in_progress (next phase), completed
//!                      │   ▲                        │      │
//!                error │   └── human_rejected ──────┘      │ error, too many rejections
//!                      ▼       (the same phase again)      ▼
//!                    failed ◀──────────────────────────────┘
//! ```

mod event;
mod rule;
mod standing;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use event::{Artifact, Created, Imported, Origin, Past, Request, Transition};
pub use rule::{ApprovalRule, MAX_APPROVERS, MAX_QUORUM, OnDeadline};
pub use standing::{ArtifactPlace, FinalApproval, Outputs, Vote, Workflow};

use super::id::hyphenated;

/// Longest description of a feature, in bytes: it stands in every prompt of the workflow.
pub const MAX_FEATURE_BYTES: usize = 64 * 1024;
/// Shortest, in characters, blanks at its ends aside.
pub const MIN_FEATURE_CHARS: usize = 10;
/// Largest `context` and largest `phase_result`, in bytes: as large as an answer of a model may be.
pub const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;
/// Longest reason and longest actor's name, in bytes.
pub const MAX_REASON_BYTES: usize = 16 * 1024;
pub const MAX_ACTOR_BYTES: usize = 256;

/// One workflow: a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkflowId(pub [u8; 16]);

impl WorkflowId {
    /// The usual form with hyphens, in either case; other forms are for the door to know.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let hyphens = [8, 13, 18, 23];
        if bytes.len() != 36 || hyphens.iter().any(|&place| bytes[place] != b'-') {
            return None;
        }
        let mut digits = bytes.iter().enumerate().filter(|(place, _)| !hyphens.contains(place));
        let mut digit = || char::from(*digits.next()?.1).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut id = [0; 16];
        for byte in &mut id {
            *byte = digit()? << 4 | digit()?;
        }
        Some(Self(id))
    }
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hyphenated(&self.0, f)
    }
}

impl fmt::Debug for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for WorkflowId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WorkflowId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a UUID")))
    }
}

/// A closed set of words, the same on the wire, in the tables and in the journal.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$of])* #[serde(rename = $text)] $word,)* }

        impl $name {
            /// All of them, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$word),*];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text,)* }
            }

            #[must_use]
            pub fn named(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Which stage of Spec Kit it is.
    WorkflowType {
        Specify = "specify",
        Plan = "plan",
        Tasks = "tasks",
        Implement = "implement",
    }
}

words! {
    /// Where it stands.
    WorkflowStatus {
        Pending = "pending",
        InProgress = "in_progress",
        WaitingApproval = "waiting_approval",
        Completed = "completed",
        Failed = "failed",
    }
}

words! {
    /// Which half of its stage it is in.
    Phase {
        One = "phase_1",
        Two = "phase_2",
    }
}

words! {
    /// Why it went on, or did not.
    Trigger {
        /// By whoever created it.
        Start = "start",
        AgentComplete = "agent_complete",
        HumanApproved = "human_approved",
        HumanRejected = "human_rejected",
        Error = "error",
        /// By a rule, in the place of a human.
        AutoApproved = "auto_approved",
        /// Nobody decided in time: others may decide too.
        Escalated = "escalated",
        /// Nobody decided in time: it counts as a rejection, or as the end.
        Expired = "expired",
        Cancelled = "cancelled",
    }
}

words! {
    /// Who executes its phases.
    Dispatch {
        /// The agent hub, as soon as a phase starts.
        Auto = "auto",
        /// A client, which reports each phase itself.
        Manual = "manual",
    }
}

impl WorkflowType {
    /// What its phases are about.
    #[must_use]
    pub fn title(self, phase: Phase) -> &'static str {
        match (self, phase) {
            (Self::Specify, Phase::One) => "draft",
            (Self::Specify, Phase::Two) => "clarify",
            (Self::Plan, Phase::One) => "research",
            (Self::Plan, Phase::Two) => "design",
            (Self::Tasks, Phase::One) => "generate",
            (Self::Tasks, Phase::Two) => "analyze",
            (Self::Implement, Phase::One) => "execute",
            (Self::Implement, Phase::Two) => "verify",
        }
    }
}

impl WorkflowStatus {
    /// Whether nothing will ever happen to it again.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        let id = WorkflowId([0x01, 0x9a, 0xbc, 0xde, 0xf0, 0x12, 0x73, 0x45, 0x86, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2]);
        let shown = id.to_string();
        assert_eq!(shown, "019abcde-f012-7345-8678-9abcdef00102");
        assert_eq!(WorkflowId::parse(&shown), Some(id));
        assert_eq!(WorkflowId::parse(&shown.to_uppercase()), Some(id));
        for wrong in ["", "019abcdef01273458678-9abcdef00102", "019abcde-f012-7345-8678-9abcdef0010g"] {
            assert_eq!(WorkflowId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn words_are_the_same_everywhere() {
        for trigger in Trigger::ALL {
            assert_eq!(serde_json::to_value(trigger).unwrap(), trigger.as_str());
            assert_eq!(Trigger::named(trigger.as_str()), Some(*trigger));
        }
        assert_eq!(Phase::named("phase_3"), None);
    }
}
