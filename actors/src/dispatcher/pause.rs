//! Pauses: in the journal before the dispatcher hears of them, so that they outlive a restart.

use std::collections::BTreeSet;

use super::message::Message;
use super::stream::MOST_TRIES;
use crate::System;
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{Role, StreamId};
use crate::error::SystemError;
use crate::ports::{Batch, Journal, JournalError, commit_patiently, whole_stream};
use crate::world::World;

/// What takes nothing from the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    pub all: bool,
    pub roles: BTreeSet<Role>,
}

impl Pauses {
    fn fold(mut self, event: &Event) -> Self {
        match event {
            Event::DispatchPaused { role: Some(role) } => drop(self.roles.insert(role.clone())),
            Event::DispatchPaused { role: None } => self.all = true,
            Event::DispatchResumed { role: Some(role) } => drop(self.roles.remove(role)),
            Event::DispatchResumed { role: None } => self = Self::default(),
            _ => {}
        }
        self
    }

    pub(crate) fn has(&self, role: &Role) -> bool {
        self.all || self.roles.contains(role)
    }
}

impl System {
    /// Takes nothing from the queue for this role, or for any, until it is resumed. What runs goes on. Durable when it
    /// answers; what is paused since.
    pub async fn pause_dispatch(&self, role: Option<Role>) -> Result<Pauses, SystemError> {
        if let Some(role) = &role {
            self.world.council(role)?;
        }
        let world = self.world.clone();
        self.apart("a pause", async move { change(&world, Event::DispatchPaused { role }).await }).await
    }

    /// Without a role, for all roles.
    pub async fn resume_dispatch(&self, role: Option<Role>) -> Result<Pauses, SystemError> {
        let world = self.world.clone();
        self.apart("a resume", async move { change(&world, Event::DispatchResumed { role }).await }).await
    }

    pub async fn pauses(&self) -> Result<Pauses, SystemError> {
        Ok(read(&*self.world.ports.journal).await?.0)
    }
}

/// With the version of their stream.
pub(super) async fn read(journal: &dyn Journal) -> Result<(Pauses, u64), JournalError> {
    let events = whole_stream(journal, &StreamId::dispatch()).await?;
    let version = events.last().map_or(0, |recorded| recorded.version);
    Ok((events.iter().fold(Pauses::default(), |pauses, recorded| pauses.fold(&recorded.event.event)), version))
}

async fn change(world: &World, event: Event) -> Result<Pauses, SystemError> {
    world.check_open()?;
    for _ in 0..MOST_TRIES {
        let (before, mut version) = read(&*world.ports.journal).await?;
        let after = before.clone().fold(&event);
        if after != before {
            let (id, at) = (world.ports.ids.event_id(), world.ports.clock.now());
            let new = NewEvent { id, at, correlation: None, causation: None, event: event.clone() };
            let batch = Batch::one(StreamId::dispatch(), version, vec![new]);
            match commit_patiently(&*world.ports.journal, batch).await {
                Ok(_) => version += 1,
                Err(JournalError::Conflict { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        world.registry.tell_dispatcher(Message::Paused { pauses: after.clone(), version });
        return Ok(after);
    }
    Err(SystemError::Unavailable("pauses are just changed elsewhere; try again".into()))
}
