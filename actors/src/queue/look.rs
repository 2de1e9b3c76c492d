//! The board as lists show it.

use std::ops::Bound;

use super::board::{Board, Slot};
use crate::domain::id::{TaskId, Timestamp};
use crate::ports::queue::{Counts, Filter, Row};

impl Board {
    /// Tasks in the order of their ids.
    #[must_use]
    pub fn list(&self, filter: &Filter) -> Vec<Row> {
        let behind = match &filter.after {
            Some(after) => (Bound::Excluded(after), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let slots = self.slots.range::<TaskId, _>(behind).map(|(_, slot)| slot);
        slots.filter(|slot| slot.is_of(filter)).take(filter.limit).map(Slot::row).collect()
    }

    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// When the next task that waits for its time can be claimed.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.later.first().map(|(due, _)| *due)
    }
}

impl Slot {
    fn is_of(&self, filter: &Filter) -> bool {
        filter.state.is_none_or(|state| self.state == state)
            && filter.role.as_ref().is_none_or(|role| self.entry.role == *role)
            && filter.story.as_ref().is_none_or(|story| self.entry.story.as_ref() == Some(story))
            && filter.plan.as_ref().is_none_or(|plan| self.entry.plan.as_ref() == Some(plan))
    }

    fn row(&self) -> Row {
        Row {
            entry: self.entry.clone(),
            state: self.state,
            fence: self.held.as_ref().map(|held| held.fence),
            open_needs: self.open_needs.len(),
            failed_needs: self.failed_needs.iter().cloned().collect(),
        }
    }
}
