//! Who is next: a lane for each story of a role, each ordered by rank, that take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::domain::id::{Role, TaskId};

/// `None` = tasks without a story.
pub(super) type Story = Option<Arc<str>>;

/// Place in a lane: the rank, then the order of arrival.
pub(super) type Place = (i64, u64);

/// Tasks that can be claimed now.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    roles: BTreeMap<Role, Turns>,
}

#[derive(Clone, Debug, Default)]
struct Turns {
    lanes: BTreeMap<Story, BTreeSet<(Place, TaskId)>>,
    /// The story that was served last: the next one behind it is next.
    last: Option<Story>,
}

impl Lanes {
    pub(super) fn insert(&mut self, role: &Role, story: &Story, place: Place, task: TaskId) {
        self.roles.entry(role.clone()).or_default().lanes.entry(story.clone()).or_default().insert((place, task));
    }

    pub(super) fn remove(&mut self, role: &Role, story: &Story, place: Place, task: &TaskId) {
        let Some(turns) = self.roles.get_mut(role) else { return };
        let Some(lane) = turns.lanes.get_mut(story) else { return };
        lane.remove(&(place, task.clone()));
        if lane.is_empty() {
            turns.lanes.remove(story);
        }
    }

    /// The first task of the story whose turn it is, and that has room. It stays until it is removed.
    pub(super) fn next(&mut self, role: &Role, has_room: impl Fn(&Story) -> bool) -> Option<TaskId> {
        let turns = self.roles.get_mut(role)?;
        let behind = match &turns.last {
            Some(last) => (Bound::Excluded(last.clone()), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let in_turn = turns.lanes.range(behind).chain(turns.lanes.iter());
        let (story, lane) = in_turn.take(2 * turns.lanes.len()).find(|(story, _)| has_room(story))?;
        let task = lane.first().map(|(_, task)| task.clone());
        turns.last = Some(story.clone());
        task
    }
}
