//! Parking: a role that dies too often takes no new tasks until somebody, or a restart, takes it back to work.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::council::Council;
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{Role, StreamId};
use crate::ports::{Batch, JournalError, commit_patiently};
use crate::world::World;

/// What is to be written of one role's parking, in order, one at a time. `Some` = why it is parked, `None` = resumed.
#[derive(Debug, Default)]
pub(super) struct Parking {
    /// The first is being written.
    wishes: VecDeque<Option<Arc<str>>>,
}

impl Parking {
    /// Shows the wish at once; answers whether it is the next to write.
    pub(super) fn wish(&mut self, world: &World, role: &Role, reason: Option<Arc<str>>) -> bool {
        show(world, role, reason.clone(), None);
        self.wishes.push_back(reason);
        self.wishes.len() == 1
    }

    /// The first wish is at this version of the council's stream, or cannot be written; answers the next.
    pub(super) fn written(&mut self, world: &World, role: &Role, version: Option<u64>) -> Option<Option<Arc<str>>> {
        let done = self.wishes.pop_front()?;
        let last = self.wishes.back().cloned().unwrap_or(done);
        show(world, role, last, version);
        self.wishes.front().cloned()
    }
}

/// Makes readers see it.
pub(super) fn show(world: &World, role: &Role, reason: Option<Arc<str>>, version: Option<u64>) {
    if let Some(mut entry) = world.registry.councils.get_mut(role) {
        let council = Council { parked: reason, ..(*entry.council).clone() };
        entry.council = Arc::new(council);
        entry.version = version.map_or(entry.version, |version| version.max(entry.version));
    }
}

/// Appends to the council's stream at whatever version it has by now, and answers that.
pub(super) async fn write(world: &World, role: &Role, reason: Option<Arc<str>>) -> Result<u64, JournalError> {
    let mut version = world.registry.councils.get(role).map_or(0, |entry| entry.version);
    loop {
        let event = match reason.clone() {
            Some(reason) => Event::RoleParked { reason },
            None => Event::RoleResumed {},
        };
        let (id, at) = (world.ports.ids.event_id(), world.ports.clock.now());
        let new = NewEvent { id, at, correlation: None, causation: None, event };
        let batch = Batch::one(StreamId::council(role), version, vec![new]);
        match commit_patiently(&*world.ports.journal, batch).await {
            Ok(_) => return Ok(version + 1),
            Err(JournalError::Conflict { actual, .. }) => version = actual,
            Err(error) => return Err(error),
        }
    }
}
