//! What the task queue knows of a task: enough to order it, nothing of what is to be done.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::id::{Role, TaskId, Timestamp};

/// Highest priority. The bound on waiting is reckoned from it.
pub const MAX_PRIORITY: u8 = 100;

/// How soon a task is wanted, 1 to 100, the highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(u8);

impl Priority {
    pub const LOW: Self = Self(10);
    pub const MEDIUM: Self = Self(50);
    pub const HIGH: Self = Self(80);
    pub const CRITICAL: Self = Self(MAX_PRIORITY);
    /// What is allowed, for messages.
    pub const RULE: &str = "allowed are LOW, MEDIUM, HIGH, CRITICAL and 0 to 100";

    /// A word in any case, or a number from 0 to 100, where 0 means the default.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        match text.to_ascii_uppercase().as_str() {
            "LOW" => Some(Self::LOW),
            "MEDIUM" | "0" => Some(Self::MEDIUM),
            "HIGH" => Some(Self::HIGH),
            "CRITICAL" => Some(Self::CRITICAL),
            number => number.parse().ok().filter(|number| *number <= MAX_PRIORITY).map(Self::number),
        }
    }

    fn number(number: u8) -> Self {
        if number == 0 { Self::MEDIUM } else { Self(number) }
    }

    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::MEDIUM
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What becomes of a task when one that it needs has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDependencyFailure {
    /// It waits, BLOCKED, until the failed one is retried.
    #[default]
    Block,
    /// It ends as skipped.
    Skip,
    /// It runs all the same.
    Run,
}

/// Where a task of the queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum QueueState {
    /// It can be claimed, at once or when its time has come.
    Queued,
    /// It waits for other tasks, for a failed one to be retried, or for a phase of its story.
    Blocked,
    /// Somebody holds a lease on it and works.
    InProgress,
    /// It is being carried out elsewhere: its winner, or the task itself by several agents.
    Dispatched,
    Completed,
    Failed,
    Cancelled,
    /// It ended because one that it needs did not complete.
    Skipped,
    /// Left alone until somebody releases it.
    Parked,
}

impl QueueState {
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Blocked,
        Self::InProgress,
        Self::Dispatched,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Skipped,
        Self::Parked,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Blocked => "BLOCKED",
            Self::InProgress => "IN_PROGRESS",
            Self::Dispatched => "DISPATCHED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Skipped => "SKIPPED",
            Self::Parked => "PARKED",
        }
    }

    /// What an event of its stream makes of a task in the queue; `None` = it stays as it is, or leaves the queue.
    #[must_use]
    pub fn after(event: &Event) -> Option<Self> {
        match event {
            Event::TaskQueued(entry) if entry.needs.is_empty() && entry.hold.is_none() => Some(Self::Queued),
            Event::TaskQueued(_) | Event::TaskBlocked { .. } => Some(Self::Blocked),
            Event::TaskClaimed { .. } => Some(Self::InProgress),
            Event::TaskReleased { .. } => Some(Self::Queued),
            Event::TaskParked { .. } => Some(Self::Parked),
            Event::TaskDispatched { .. } | Event::TaskAssigned { .. } => Some(Self::Dispatched),
            _ => None,
        }
    }

    /// Reads the word of [`QueueState::as_str`].
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether its run has ended.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Skipped)
    }

    /// Whether it is not begun, and may begin by itself.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Self::Queued | Self::Blocked)
    }

    /// Whether somebody has a lease on it.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(self, Self::InProgress | Self::Dispatched)
    }
}

impl fmt::Display for QueueState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which claim is meant: it grows with each, so that whoever comes back from the dead is recognised by his old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// Of the queue's memory: a new one when it may have lost some of it.
    pub epoch: u64,
    pub number: u64,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

/// A run of a task as the queue orders it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub task: TaskId,
    pub run: u32,
    pub role: Role,
    /// Stories share a role's agents fairly; tasks without one share as one story does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub story: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Arc<str>>,
    pub priority: Priority,
    pub enqueued_at: Timestamp,
    /// Not claimed before: the pause before another try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Tasks that must complete first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<TaskId>,
    #[serde(default)]
    pub on_failure: OnDependencyFailure,
    /// The phase that its story has to reach first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Arc<str>>,
    /// It waits until somebody releases it. In the journal an event of its own says so, and why.
    #[serde(skip)]
    pub parked: bool,
}

/// A task of the queue as the events of its stream tell, for whoever keeps them: a store, or a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub entry: Arc<Entry>,
    pub state: QueueState,
}

impl Standing {
    /// `None` = it is not in the queue: it never was, or its run is over for good.
    #[must_use]
    pub fn fold(before: Option<Self>, event: &Event) -> Option<Self> {
        match (event, QueueState::after(event)) {
            (Event::TaskQueued(entry), Some(state)) => Some(Self { entry: entry.clone(), state }),
            (_, Some(state)) => before.map(|standing| Self { state, ..standing }),
            // It may be tried again; whoever sees to that has not done so yet.
            (Event::TaskFailed(failure), None) if failure.class.may_heal() => {
                before.map(|standing| Self { state: QueueState::Failed, ..standing })
            }
            (Event::TaskRetried { .. } | Event::RunSuperseded { .. }, None) => None,
            (event, None) if event.is_final() => None,
            (_, None) => before,
        }
    }

    /// The entry by which a queue that knows nothing of it puts it where it stands.
    #[must_use]
    pub fn to_entry(&self) -> Entry {
        Entry { parked: self.state == QueueState::Parked, ..Entry::clone(&self.entry) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_words_or_numbers_up_to_a_hundred() {
        let read = |text| Priority::read(text).map(Priority::get);
        let words = [("LOW", 10), ("Medium", 50), ("high", 80), ("CRITICAL", 100), ("0", 50), ("1", 1), ("100", 100)];
        for (text, number) in words {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for bad in ["101", "256", "-1", "1.5", "", "URGENT"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_later_epoch_beats_any_number() {
        assert!(Fence { epoch: 2, number: 1 } > Fence { epoch: 1, number: 9 });
    }
}
