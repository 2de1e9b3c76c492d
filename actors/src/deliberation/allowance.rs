//! What a run may still spend: requests beyond those of a run in which nothing goes wrong, and tokens.

use super::record::Record;
use super::seat::Slot;
use crate::architect;
use crate::domain::id::CallId;

impl Record {
    /// Three times the calls of a run in which nothing goes wrong, retries of all levels together: what is left of the
    /// two thirds that are for trouble, shared by the seats of the current wave.
    pub(super) fn allowance_now(&self) -> u32 {
        let votes = if self.plan.architect.is_some() { architect::BALLOTS as u32 } else { 0 };
        let nominal = self.plan.seats.len() as u32 * (1 + 2 * u32::from(self.plan.rounds)) + votes;
        (2 * nominal).saturating_sub(self.extra) / self.open_seats().count().max(1) as u32
    }

    /// Whether another request may follow `spent` ones of this call.
    pub(super) fn may_spend(&self, call: &CallId, spent: u32) -> bool {
        self.requests_left(call, spent) > 0 && !self.budget_spent()
    }

    /// How many HTTP requests a call may still take after `spent` ones.
    pub(super) fn requests_left(&self, call: &CallId, spent: u32) -> u32 {
        let earlier = self.open_seat(call).map_or(0, |seat| match &self.slots[seat] {
            Slot::Open { kept: Some(given), .. } => given.answer.attempts.max(1),
            Slot::Open { kept: None, .. } | Slot::Out | Slot::Done | Slot::Missing => 0,
        });
        (1 + self.allowance).saturating_sub(earlier + spent)
    }

    pub(super) fn budget_spent(&self) -> bool {
        self.plan.budget().is_some_and(|budget| self.usage.total() >= budget)
    }
}
