//! How a run ended, in the words of `contract/nats.md`; whichever outbox tells it.

use jiff::Timestamp;
use moothall_actors::domain::answer::Class;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::{Role, RunId};
use moothall_actors::ports::skipped_because_of;

use crate::nats::outgoing::{Outgoing, TaskCompleted, TaskEnded, TaskFailed};

/// Which run it is, and when it ended.
pub(super) struct Of<'a> {
    pub(super) run: &'a RunId,
    pub(super) story: &'a str,
    pub(super) role: &'a Role,
    pub(super) time: Timestamp,
}

impl Of<'_> {
    /// `None` = the event ends no run. `checks_passed` is said of a completed one.
    pub(super) fn end(&self, event: &Event, checks_passed: bool) -> Option<Outgoing> {
        let (story_id, task_id, run) = (self.story.to_owned(), self.run.task.to_string(), self.run.run);
        let (role, timestamp) = (self.role.to_string(), self.time);
        Some(match event {
            Event::TaskCompleted { winner, duration, .. } => Outgoing::TaskCompleted(TaskCompleted {
                story_id,
                task_id,
                run,
                agent_id: winner.to_string(),
                role,
                duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                checks_passed,
                timestamp,
            }),
            Event::TaskFailed(failure) => Outgoing::TaskFailed(TaskFailed {
                story_id,
                task_id,
                run,
                // A run without a verdict has no author.
                agent_id: String::new(),
                role,
                error: failure.message.to_string(),
                error_type: named(failure.class),
                attempts: run,
                timestamp,
            }),
            Event::TaskCancelled { reason, .. } => Outgoing::TaskCancelled(self.without(reason)),
            Event::TaskSkipped { cause, .. } => Outgoing::TaskSkipped(self.without(&skipped_because_of(cause))),
            _ => return None,
        })
    }

    fn without(&self, reason: &str) -> TaskEnded {
        TaskEnded {
            story_id: self.story.to_owned(),
            task_id: self.run.task.to_string(),
            run: self.run.run,
            role: self.role.to_string(),
            reason: reason.to_owned(),
            timestamp: self.time,
        }
    }
}

/// As the journal names it.
pub(super) fn named(class: Class) -> String {
    serde_json::to_value(class).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
