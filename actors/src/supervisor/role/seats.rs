//! Who belongs to a role: agents come and go, and those that go stay until the runs of their time have ended.

use ractor::{ActorProcessingErr, ActorRef};

use super::{Live, Message, Name};
use crate::domain::council::{Council, Seat};
use crate::domain::event::Event;
use crate::domain::id::AgentId;

impl Live {
    pub(super) async fn adopt(
        &mut self,
        myself: &ActorRef<Message>,
        seats: Vec<Seat>,
        parked: bool,
    ) -> Result<(), ActorProcessingErr> {
        for seat in seats {
            self.seat(myself, seat).await?;
        }
        self.has_council = true;
        if parked {
            self.wish(myself, None);
        }
        self.restart(myself, &Name::Council).await
    }

    pub(super) async fn keep(
        &mut self,
        myself: &ActorRef<Message>,
        seats: Vec<Seat>,
    ) -> Result<(), ActorProcessingErr> {
        for seat in seats {
            let agent = seat.agent.clone();
            if !self.agents.contains_key(&agent) {
                self.seat(myself, seat).await?;
                self.unseat(&agent);
            }
        }
        self.recall();
        Ok(())
    }

    /// Puts in force what was written before the council crashed.
    pub(super) async fn standing(
        &mut self,
        myself: &ActorRef<Message>,
        council: Option<Box<Council>>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(council) = council else {
            self.deleted();
            return Ok(());
        };
        let gone = |agent: &&AgentId| council.seat(agent).is_none() && !self.leaving.contains_key(*agent);
        let gone: Vec<_> = self.agents.keys().filter(gone).cloned().collect();
        gone.iter().for_each(|agent| self.unseat(agent));
        for seat in council.seats {
            let is_seated = self.agents.contains_key(&seat.agent) && !self.leaving.contains_key(&seat.agent);
            if !is_seated {
                self.seat(myself, seat).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn changed(&mut self, myself: &ActorRef<Message>, event: Event) -> Result<(), ActorProcessingErr> {
        match event {
            Event::SeatJoined { seat } => self.seat(myself, seat).await?,
            Event::SeatLeft { agent } => self.unseat(&agent),
            Event::CouncilDeleted { .. } => self.deleted(),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn deleted(&mut self) {
        self.has_council = false;
        self.council = None;
        self.world.registry.councils.remove(&self.role);
        if let Some(mut child) = self.children.remove(&Name::Council) {
            child.leave(&self.world);
        }
        let agents: Vec<_> = self.agents.keys().cloned().collect();
        agents.iter().for_each(|agent| self.unseat(agent));
        self.recall();
    }

    /// An agent that is still here, for runs of its time, goes on with its calls.
    pub(super) async fn seat(&mut self, myself: &ActorRef<Message>, seat: Seat) -> Result<(), ActorProcessingErr> {
        let name = Name::Agent(seat.agent.clone());
        self.leaving.remove(&seat.agent);
        let earlier = self.agents.remove(&seat.agent);
        let same_limit = earlier.as_ref().is_some_and(|(earlier, _)| {
            earlier.capabilities.max_concurrent_tasks == seat.capabilities.max_concurrent_tasks
        });
        let handle = earlier.and_then(|(_, handle)| handle).filter(|_| same_limit);
        if handle.is_none()
            && let Some(mut earlier) = self.children.remove(&name)
        {
            earlier.leave(&self.world);
        }
        self.agents.insert(seat.agent.clone(), (seat, handle));
        self.spawn(myself, &name).await
    }

    pub(super) fn unseat(&mut self, agent: &AgentId) {
        let open = self.world.registry.open_runs(&self.role).iter().map(|running| running.run.clone()).collect();
        self.leaving.entry(agent.clone()).or_insert(open);
        self.let_go();
    }

    /// Agents that left stop once no run of their time is open.
    pub(super) fn let_go(&mut self) {
        let world = &self.world;
        for open in self.leaving.values_mut() {
            open.retain(|run| world.registry.running.get(&run.task).is_some_and(|running| running.run == *run));
        }
        let free: Vec<_> = self.leaving.iter().filter(|(_, open)| open.is_empty()).map(|(a, _)| a.clone()).collect();
        for agent in free {
            self.leaving.remove(&agent);
            self.agents.remove(&agent);
            self.world.registry.drop_agent(&self.role, &agent);
            if let Some(mut child) = self.children.remove(&Name::Agent(agent)) {
                child.leave(&self.world);
            }
        }
    }
}
