//! Where workflows are found without asking anybody: those that somebody works on, and the numbers of features.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::{DashMap, Entry};
use ractor::ActorRef;
use tokio::sync::{Semaphore, watch};

use super::message::Message;
use crate::domain::workflow::{Workflow, WorkflowId, WorkflowType};
use crate::supervisor::WorkflowsMessage;

/// One that somebody works on.
#[derive(Clone, Debug)]
pub(crate) struct Present {
    pub(crate) actor: ActorRef<Message>,
    /// As it stands; `None` = it is being read.
    pub(crate) workflow: Option<Arc<Workflow>>,
}

/// Lookups for many readers; no lock is held longer than one.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) present: DashMap<WorkflowId, Present>,
    /// For those who follow a workflow; the value is its version.
    followed: DashMap<WorkflowId, watch::Sender<u64>>,
    numbers: Mutex<BTreeMap<WorkflowType, u64>>,
    supervisor: Mutex<Option<ActorRef<WorkflowsMessage>>>,
    /// Phases that the hub executes at once.
    pub(crate) places: Semaphore,
}

impl Directory {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            present: DashMap::new(),
            followed: DashMap::new(),
            numbers: Mutex::default(),
            supervisor: Mutex::default(),
            places: Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    /// The state is durable: readers and followers see it.
    pub(crate) fn show(&self, workflow: &Arc<Workflow>) {
        if let Some(mut present) = self.present.get_mut(&workflow.id) {
            present.workflow = Some(workflow.clone());
        }
        if let Some(followed) = self.followed.get(&workflow.id) {
            followed.send_replace(workflow.version);
        }
    }

    /// Told of every version from now on.
    pub(crate) fn follow(&self, id: WorkflowId) -> watch::Receiver<u64> {
        match self.followed.entry(id) {
            Entry::Occupied(followed) => followed.get().subscribe(),
            Entry::Vacant(free) => free.insert(watch::Sender::new(0)).subscribe(),
        }
    }

    /// Once its last follower may have gone.
    pub(crate) fn unfollow(&self, id: WorkflowId) {
        self.followed.remove_if(&id, |_, followed| followed.receiver_count() == 0);
    }

    /// What was drawn before this start.
    pub(crate) fn adopt_numbers(&self, numbers: Vec<(WorkflowType, u64)>) {
        *self.numbers.lock().unwrap_or_else(PoisonError::into_inner) = numbers.into_iter().collect();
    }

    /// The next number that is free in all of these types.
    pub(crate) fn draw_number(&self, types: &[WorkflowType]) -> u64 {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let last = types.iter().filter_map(|of| numbers.get(of)).max().copied().unwrap_or(0);
        numbers.extend(types.iter().map(|of| (*of, last + 1)));
        last + 1
    }

    pub(crate) fn put_supervisor(&self, actor: Option<ActorRef<WorkflowsMessage>>) {
        *self.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = actor;
    }

    /// One that is just restarting loses it: what must not get lost is found again by its owner.
    pub(crate) fn tell_supervisor(&self, message: WorkflowsMessage) {
        if let Some(supervisor) = &*self.supervisor.lock().unwrap_or_else(PoisonError::into_inner) {
            drop(supervisor.cast(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_draws_a_number_that_none_of_its_types_has() {
        let directory = Directory::new(1);
        directory.adopt_numbers(vec![(WorkflowType::Specify, 2), (WorkflowType::Plan, 7)]);
        assert_eq!(directory.draw_number(&[WorkflowType::Specify]), 3);
        assert_eq!(directory.draw_number(&[WorkflowType::Specify, WorkflowType::Plan]), 8);
        assert_eq!(directory.draw_number(&[WorkflowType::Specify]), 9);
        assert_eq!(directory.draw_number(&[WorkflowType::Tasks]), 1);
    }

    #[test]
    fn nobody_is_followed_without_a_follower() {
        let directory = Directory::new(1);
        let id = WorkflowId([1; 16]);
        let follower = directory.follow(id);
        directory.unfollow(id);
        assert_eq!(directory.followed.len(), 1);
        drop(follower);
        directory.unfollow(id);
        assert_eq!(directory.followed.len(), 0);
    }
}
