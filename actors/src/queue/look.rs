//! The board as lists show it.

use std::ops::Bound;

use super::board::Board;
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
        let slots = self.slots.range::<TaskId, _>(behind).filter(|(_, slot)| slot.is_of(filter));
        slots.take(filter.limit).map(|(task, slot)| slot.row(task)).collect()
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
