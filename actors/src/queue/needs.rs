//! What waits for what: a task's standing follows from what became of those that it needs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::board::Board;
use super::slot::Slot;
use crate::domain::id::TaskId;
use crate::domain::queue::{Entry, QueueState};
use crate::ports::queue::Consequence;

impl Board {
    /// Tells those that wait for a task what became of it, and those that wait for them when they are skipped. A plan is
    /// as deep as its author likes, and a stack is not: so this is a loop.
    pub(super) fn spread(&mut self, task: &TaskId, changed: &mut Vec<Consequence>) {
        let mut causes = VecDeque::from([task.clone()]);
        while let Some(cause) = causes.pop_front() {
            let Some(state) = self.slots.get(&cause).map(|slot| slot.state) else { continue };
            let waiting: Vec<TaskId> = self.dependents.get(&cause).into_iter().flatten().cloned().collect();
            for other in waiting {
                if let Some(slot) = self.slots.get_mut(&other) {
                    slot.learn(&cause, state);
                }
                if self.settle(&other, &cause, changed) == Some(QueueState::Skipped) {
                    causes.push_back(other);
                }
            }
            if state == QueueState::Completed {
                self.dependents.remove(&cause);
            }
            self.forget(&cause);
        }
    }

    /// Puts a task that waits where it belongs by now, and says so when that is news of another task. What it is since.
    pub(super) fn settle(
        &mut self,
        task: &TaskId,
        cause: &TaskId,
        changed: &mut Vec<Consequence>,
    ) -> Option<QueueState> {
        let slot = self.slots.get(task).filter(|slot| slot.state.waits())?;
        let (before, run, state) = (slot.state, slot.run, slot.standing());
        let is_news = match state {
            QueueState::Blocked => slot.has_failed_need(cause) || before != state,
            QueueState::Queued => task != cause && before != state,
            _ => true,
        };
        if is_news {
            changed.push(Consequence { task: task.clone(), run, state, cause: cause.clone() });
        }
        if state == before {
            return None;
        }
        self.take_down(task);
        self.turn(task, state);
        match state {
            QueueState::Queued => self.place(task),
            QueueState::Skipped => self.open -= 1,
            _ => {}
        }
        Some(state)
    }

    /// A task that is over and that nobody waits for is the journal's alone, and then perhaps those that it needed.
    pub(super) fn forget(&mut self, task: &TaskId) {
        let mut idle = vec![task.clone()];
        while let Some(task) = idle.pop() {
            let is_over = self.slots.get(&task).is_some_and(|slot| slot.state.is_over());
            if !is_over || self.dependents.contains_key(&task) {
                continue;
            }
            let Some(slot) = self.slots.remove(&task) else { continue };
            self.count(&slot.home.role, slot.state, -1);
            idle.extend(self.leave_needs(&task, slot.needs().iter().map(|need| &need.task)));
            self.leave(slot.home);
        }
    }

    /// A task waits for nothing any more; those that nobody waits for since.
    fn leave_needs<'n>(&mut self, task: &TaskId, needs: impl Iterator<Item = &'n TaskId>) -> Vec<TaskId> {
        let mut idle = Vec::new();
        for need in needs {
            let Some(waiting) = self.dependents.get_mut(need) else { continue };
            if let Ok(place) = waiting.binary_search(task) {
                waiting.remove(place);
            }
            if waiting.is_empty() {
                self.dependents.remove(need);
                idle.push(need.clone());
            }
        }
        idle
    }

    /// The run before is gone; what only that one needed is nothing to the task any more.
    pub(super) fn part_with(&mut self, task: &TaskId, before: Slot) {
        self.count(&before.home.role, before.state, -1);
        let kept: BTreeSet<&TaskId> =
            self.slots.get(task).into_iter().flat_map(|slot| slot.needs()).map(|need| &need.task).collect();
        let gone: Vec<TaskId> =
            before.needs().iter().map(|need| &need.task).filter(|need| !kept.contains(*need)).cloned().collect();
        for need in self.leave_needs(task, gone.iter()) {
            self.forget(&need);
        }
        self.leave(before.home);
    }
}

/// New tasks that wait for each other, and those behind them: nobody would ever begin with one.
pub(crate) fn in_a_circle(new: &BTreeMap<&TaskId, &Entry>) -> Vec<TaskId> {
    let inside = |entry: &Entry| entry.needs.iter().filter(|need| new.contains_key(need)).count();
    let mut open: BTreeMap<&TaskId, usize> = new.iter().map(|(task, entry)| (*task, inside(entry))).collect();
    let mut waiting: BTreeMap<&TaskId, Vec<&TaskId>> = BTreeMap::new();
    for (task, entry) in new {
        entry.needs.iter().for_each(|need| waiting.entry(need).or_default().push(task));
    }
    let mut ready: Vec<&TaskId> = open.iter().filter(|(_, open)| **open == 0).map(|(task, _)| *task).collect();
    while let Some(task) = ready.pop() {
        open.remove(task);
        for other in waiting.get(task).into_iter().flatten() {
            if let Some(left) = open.get_mut(*other) {
                *left -= 1;
                if *left == 0 {
                    ready.push(other);
                }
            }
        }
    }
    open.into_keys().cloned().collect()
}
