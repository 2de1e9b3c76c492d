//! What agents of others made of a task or of its winner, each by itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answer::Class;
use super::id::Timestamp;

/// What came of a seat's agent carrying the whole task out by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    Made {
        text: Arc<str>,
        at: Timestamp,
        /// Of the agent's own checks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checks_passed: Option<bool>,
    },
    Missing {
        class: Class,
        reason: Arc<str>,
    },
}

/// What an agent of others made of a winner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    pub run: u32,
    /// From 1.
    pub attempt: u32,
    /// Who answered, as it says itself; of silence, who was asked.
    pub agent: Arc<str>,
    pub outcome: Executed,
}

/// How an attempt to carry a winner out ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Executed {
    Completed {
        /// Of the agent's own checks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checks_passed: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
        /// JSON, as it came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<str>>,
    },
    Failed {
        error: Arc<str>,
        /// Whether it is worth another attempt.
        may_heal: bool,
    },
    /// Nothing was heard in time.
    Silent,
}
