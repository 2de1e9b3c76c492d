//! A plan that somebody approved: which tasks came of it, and what became of those that were there before.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::id::{Role, TaskId};
use super::message::Cause;

/// What a plan's approval did to one of its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there before.
    Added,
    /// It was there and had not begun: it is now as the plan says.
    Updated,
    /// It was there, just so.
    Unchanged,
    /// It has begun or ended, and stays as it was.
    Left,
}

impl Change {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Left => "left",
        }
    }
}

/// One of a plan's tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    pub task: TaskId,
    pub change: Change,
}

/// A plan as it was approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub plan: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub story: Option<Arc<str>>,
    /// Of what was approved: the same again changes nothing.
    pub content_hash: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Cause::is_unknown")]
    pub cause: Cause,
    /// Of its tasks, each once.
    pub roles: Vec<Role>,
    /// In the order in which they may run.
    pub tasks: Vec<Planned>,
    /// The plan as it came.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub source: Arc<str>,
}
