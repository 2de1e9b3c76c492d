//! A task on the board, kept small: a queue holds a million of them. What few tasks have stands apart, and where a task
//! belongs is shared by all of its plan and role.

use std::sync::Arc;
use std::time::Duration;

use super::lanes::{Place, Story};
use crate::domain::id::{Role, TaskId, Timestamp};
use crate::domain::queue::{Entry, Fence, OnDependencyFailure, Priority, QueueState};
use crate::ports::queue::{Filter, Row};

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) home: Arc<Home>,
    pub(super) run: u32,
    pub(super) state: QueueState,
    priority: Priority,
    pub(super) on_failure: OnDependencyFailure,
    /// In a lane, or waiting for its time.
    pub(super) placed: bool,
    enqueued_at: Timestamp,
    pub(super) not_before: Option<Timestamp>,
    /// Among those of one rank.
    arrival: u64,
    more: Option<Box<More>>,
}

/// Where a task belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Home {
    pub(super) role: Role,
    pub(super) story: Story,
    pub(super) plan: Option<Arc<str>>,
}

/// What few tasks have, or only for a while.
#[derive(Clone, Debug, Default)]
struct More {
    needs: Vec<Need>,
    hold: Option<Arc<str>>,
    held: Option<Held>,
}

#[derive(Clone, Debug)]
pub(super) struct Need {
    pub(super) task: TaskId,
    pub(super) came_to: NeedState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NeedState {
    Open,
    /// Ended otherwise than completed.
    Failed,
    Completed,
}

impl NeedState {
    pub(super) fn of(state: Option<QueueState>) -> Self {
        match state {
            Some(QueueState::Completed) => Self::Completed,
            Some(state) if state.is_over() => Self::Failed,
            _ => Self::Open,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) fence: Fence,
    pub(super) holder: Arc<str>,
    pub(super) until: Option<Timestamp>,
}

impl Slot {
    /// BLOCKED until the board has settled it. `needs` stand once each.
    pub(super) fn new(entry: Entry, home: Arc<Home>, needs: Vec<Need>, arrival: u64) -> Self {
        let is_plain = needs.is_empty() && entry.hold.is_none();
        let more = (!is_plain).then(|| Box::new(More { needs, hold: entry.hold, held: None }));
        Self {
            home,
            run: entry.run,
            state: QueueState::Blocked,
            priority: entry.priority,
            on_failure: entry.on_failure,
            placed: false,
            enqueued_at: entry.enqueued_at,
            not_before: entry.not_before,
            arrival,
            more,
        }
    }

    pub(super) fn needs(&self) -> &[Need] {
        self.more.as_ref().map_or(&[], |more| &more.needs)
    }

    /// How many of them came to this.
    fn count(&self, came_to: NeedState) -> usize {
        self.needs().iter().filter(|need| need.came_to == came_to).count()
    }

    pub(super) fn has_failed_need(&self, task: &TaskId) -> bool {
        self.needs().iter().any(|need| need.came_to == NeedState::Failed && need.task == *task)
    }

    /// What became of a task that it needs.
    pub(super) fn learn(&mut self, task: &TaskId, state: QueueState) {
        let needs = self.more.as_mut().into_iter().flat_map(|more| &mut more.needs);
        needs.filter(|need| need.task == *task).for_each(|need| need.came_to = NeedState::of(Some(state)));
    }

    /// What a task that waits is by now.
    pub(super) fn standing(&self) -> QueueState {
        let (failed, open) = (self.count(NeedState::Failed), self.count(NeedState::Open));
        match self.on_failure {
            OnDependencyFailure::Skip if failed > 0 => QueueState::Skipped,
            OnDependencyFailure::Block if failed > 0 => QueueState::Blocked,
            _ if open > 0 || self.hold().is_some() => QueueState::Blocked,
            _ => QueueState::Queued,
        }
    }

    pub(super) fn hold(&self) -> Option<&Arc<str>> {
        self.more.as_ref()?.hold.as_ref()
    }

    /// Its phase has come.
    pub(super) fn release_hold(&mut self) {
        if let Some(more) = &mut self.more {
            more.hold = None;
        }
    }

    pub(super) fn held(&self) -> Option<&Held> {
        self.more.as_ref()?.held.as_ref()
    }

    pub(super) fn held_mut(&mut self) -> Option<&mut Held> {
        self.more.as_mut()?.held.as_mut()
    }

    pub(super) fn give_to(&mut self, held: Held) {
        self.more.get_or_insert_default().held = Some(held);
    }

    pub(super) fn take_back(&mut self) -> Option<Held> {
        self.more.as_mut()?.held.take()
    }

    /// Smaller is sooner: arrival, and how many steps of priority before it.
    pub(super) fn place(&self, age: Duration) -> Place {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let arrived = i64::try_from(self.enqueued_at.0).unwrap_or(i64::MAX);
        (arrived.saturating_sub(age.saturating_mul(self.priority.get().into())), self.arrival)
    }

    pub(super) fn entry(&self, task: &TaskId) -> Entry {
        Entry {
            task: task.clone(),
            run: self.run,
            role: self.home.role.clone(),
            story: self.home.story.clone(),
            plan: self.home.plan.clone(),
            priority: self.priority,
            enqueued_at: self.enqueued_at,
            not_before: self.not_before,
            needs: self.needs().iter().map(|need| need.task.clone()).collect(),
            on_failure: self.on_failure,
            hold: self.hold().cloned(),
            parked: self.state == QueueState::Parked,
        }
    }

    pub(super) fn is_of(&self, filter: &Filter) -> bool {
        filter.state.is_none_or(|state| self.state == state)
            && filter.role.as_ref().is_none_or(|role| self.home.role == *role)
            && filter.story.as_ref().is_none_or(|story| self.home.story.as_ref() == Some(story))
            && filter.plan.as_ref().is_none_or(|plan| self.home.plan.as_ref() == Some(plan))
    }

    pub(super) fn row(&self, task: &TaskId) -> Row {
        let failed = self.needs().iter().filter(|need| need.came_to == NeedState::Failed);
        Row {
            entry: self.entry(task),
            state: self.state,
            fence: self.held().map(|held| held.fence),
            open_needs: self.needs().len() - self.count(NeedState::Completed),
            failed_needs: failed.map(|need| need.task.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the name, its place in two trees and what these leave free, a task stays below 300 bytes.
    #[test]
    fn a_slot_is_small() {
        assert!(size_of::<Slot>() <= 56, "{} bytes", size_of::<Slot>());
        assert!(size_of::<More>() <= 120, "{} bytes", size_of::<More>());
    }
}
