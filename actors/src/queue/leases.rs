//! Who holds what: claims, leases and their fences, and what time does to them.

use std::sync::Arc;
use std::time::Duration;

use super::board::Board;
use super::slot::{Held, Slot};
use crate::domain::id::{TaskId, Timestamp};
use crate::domain::queue::{Fence, QueueState};
use crate::ports::queue::{Claim, Claimed, Lease, QueueError};

impl Board {
    /// The most urgent tasks of a role.
    pub fn claim(&mut self, claim: &Claim, now: Timestamp) -> Vec<Claimed> {
        self.pass(now);
        let mut claimed = Vec::new();
        while claimed.len() < claim.most {
            let held = &self.held;
            let has_room = |story: &Option<Arc<str>>| {
                held.get(&(claim.role.clone(), story.clone())).copied().unwrap_or(0) < claim.most_per_story
            };
            let Some(task) = self.lanes.next(&claim.role, has_room) else { break };
            claimed.extend(self.hold(&task, &claim.holder, now));
        }
        claimed
    }

    fn hold(&mut self, task: &TaskId, holder: &Arc<str>, now: Timestamp) -> Option<Claimed> {
        self.fences += 1;
        let fence = Fence { epoch: self.epoch, number: self.fences };
        let until = self.limits.lease.map(|lease| later(now, lease));
        self.take_down(task);
        self.turn(task, QueueState::InProgress);
        let slot = self.slots.get_mut(task)?;
        slot.give_to(Held { fence, holder: holder.clone(), until });
        // Its time has come, however it came to be held.
        slot.not_before = None;
        self.leases.extend(until.map(|until| (until, task.clone())));
        let entry = slot.entry(task);
        let lease = Lease { task: task.clone(), run: entry.run, fence };
        Some(Claimed { entry, lease })
    }

    /// What time brings: tasks whose time has come, leases that ran out.
    pub fn pass(&mut self, now: Timestamp) {
        while let Some((_, task)) = self.later.first().filter(|(due, _)| *due <= now).cloned() {
            self.take_down(&task);
            if let Some(slot) = self.slots.get_mut(&task) {
                slot.not_before = None;
            }
            self.place(&task);
        }
        while let Some((_, task)) = self.leases.first().filter(|(until, _)| *until < now).cloned() {
            self.let_go(&task);
            // What it was passed over may be tried again by now; nobody has to be told that it waits for that.
            self.turn(&task, QueueState::Blocked);
            self.settle(&task, &task, &mut Vec::new());
        }
    }

    /// Keeps leases; those that are lost.
    pub fn heartbeat(&mut self, leases: &[Lease], now: Timestamp) -> Vec<Lease> {
        self.pass(now);
        let mut lost = Vec::new();
        for lease in leases {
            if self.check_lease(lease).is_err() {
                lost.push(lease.clone());
                continue;
            }
            let Some(held) = self.slots.get_mut(&lease.task).and_then(Slot::held_mut) else { continue };
            if let (Some(until), Some(length)) = (&mut held.until, self.limits.lease) {
                self.leases.remove(&(*until, lease.task.clone()));
                *until = later(now, length);
                self.leases.insert((*until, lease.task.clone()));
            }
        }
        lost
    }

    pub(super) fn check_lease(&self, lease: &Lease) -> Result<(), QueueError> {
        let slot = self.slots.get(&lease.task).filter(|slot| slot.run == lease.run);
        let held = slot.and_then(Slot::held).is_some_and(|held| held.fence == lease.fence);
        if held { Ok(()) } else { Err(QueueError::Stale { task: lease.task.clone(), fence: lease.fence }) }
    }

    /// What is carried out elsewhere may take days, and whoever holds it has nothing to say meanwhile.
    pub(super) fn keep_for_ever(&mut self, task: &TaskId) {
        let held = self.slots.get_mut(task).and_then(Slot::held_mut);
        if let Some(until) = held.and_then(|held| held.until.take()) {
            self.leases.remove(&(until, task.clone()));
        }
    }

    pub(super) fn let_go(&mut self, task: &TaskId) {
        let Some(slot) = self.slots.get_mut(task) else { return };
        let Some(held) = slot.take_back() else { return };
        if let Some(until) = held.until {
            self.leases.remove(&(until, task.clone()));
        }
    }

    /// A new lease on a task that its holder works on already, as the journal says.
    pub fn adopt(&mut self, task: &TaskId, run: u32, holder: &Arc<str>, now: Timestamp) -> Result<Lease, QueueError> {
        let Some(slot) = self.slots.get(task) else { return Err(QueueError::Unknown { task: task.clone() }) };
        let is_own = slot.state.is_held() && slot.held().is_none_or(|held| held.holder == *holder);
        if slot.run != run || !(slot.state.waits() || is_own) {
            return Err(QueueError::WrongState { task: task.clone(), state: slot.state });
        }
        self.let_go(task);
        self.hold(task, holder, now).map(|claimed| claimed.lease).ok_or(QueueError::Unknown { task: task.clone() })
    }

    /// Gives back all leases of a holder that has started anew; they were its own.
    pub fn take_back(&mut self, holder: &str) -> Vec<TaskId> {
        let own = |slot: &Slot| {
            slot.state == QueueState::InProgress && slot.held().is_some_and(|held| &*held.holder == holder)
        };
        let tasks: Vec<TaskId> =
            self.slots.iter().filter(|(_, slot)| own(slot)).map(|(task, _)| task.clone()).collect();
        for task in &tasks {
            self.let_go(task);
            self.again(task, 0, None, &mut Vec::new());
        }
        tasks
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}
