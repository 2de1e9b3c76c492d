//! How a run of a shared queue ended, whole enough for a daemon that never heard of its task to tell others.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::id::{Role, RunId, TaskId, Timestamp};
use super::queue::QueueState;
use super::task::TaskSpec;

/// One end. Empty texts stand for none: the queue writes some of them itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The final event.
    pub event: Event,
    pub at: Timestamp,
    pub role: Role,
    #[serde(default)]
    pub story: Arc<str>,
    #[serde(default)]
    pub plan: Arc<str>,
    /// Whether its winner passed all checks that ran.
    #[serde(default)]
    pub checks_passed: bool,
    /// Whose word it is; empty = the queue's own.
    #[serde(default)]
    pub by: Arc<str>,
}

impl Ended {
    #[must_use]
    pub fn of(spec: &TaskSpec, event: Event, at: Timestamp, by: &Arc<str>) -> Self {
        let text = |text: Option<&str>| Arc::from(text.unwrap_or_default());
        let (story, plan) = (text(spec.story_id()), text(spec.plan_id()));
        Self { event, at, role: spec.role.clone(), story, plan, checks_passed: false, by: by.clone() }
    }

    /// `None` = that is no end.
    #[must_use]
    pub fn state(&self) -> Option<QueueState> {
        match &self.event {
            Event::TaskCompleted { .. } => Some(QueueState::Completed),
            Event::TaskFailed(_) => Some(QueueState::Failed),
            Event::TaskCancelled { .. } => Some(QueueState::Cancelled),
            Event::TaskSkipped { .. } => Some(QueueState::Skipped),
            _ => None,
        }
    }

    #[must_use]
    pub fn run_of(&self, task: &TaskId) -> Option<RunId> {
        let run = match &self.event {
            Event::TaskFailed(failure) => failure.run,
            Event::TaskCompleted { run, .. } | Event::TaskCancelled { run, .. } | Event::TaskSkipped { run, .. } => {
                *run
            }
            _ => return None,
        };
        Some(RunId { task: task.clone(), run })
    }

    #[must_use]
    pub fn to_json(&self) -> Arc<str> {
        serde_json::to_string(self).unwrap_or_default().into()
    }

    /// `None` = another version wrote it.
    #[must_use]
    pub fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_comes_back_as_it_was_and_what_the_queue_writes_is_read() {
        let task = TaskId::parse("task", "t").unwrap();
        let event = Event::TaskCancelled { run: 2, reason: "no".into() };
        let role = Role::parse("role", "DEV").unwrap();
        let (story, plan, by) = ("S".into(), "".into(), "me".into());
        let ended = Ended { event, at: Timestamp(7), role, story, plan, checks_passed: false, by };
        assert_eq!(Ended::read(&ended.to_json()), Some(ended.clone()));
        assert_eq!((ended.state(), ended.run_of(&task)), (Some(QueueState::Cancelled), Some(RunId { task, run: 2 })));
        let short = r#"{"event":{"type":"TaskSkipped","payload":{"run":1,"cause":"a"}},"at":7,"role":"DEV"}"#;
        assert_eq!(Ended::read(short).and_then(|ended| ended.state()), Some(QueueState::Skipped));
        assert_eq!(Ended::read("{}"), None);
    }
}
