//! One role: its council, its agents, its deliberations, and when to give up on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::JoinSet;

use super::children::{Child, exit_of, later};
use super::deliberations::{self, Deliberations, Message as DeliberationsMessage};
use super::policy::{Policy, Verdict};
use crate::agent::{self, Agent};
use crate::council::{self, CouncilActor};
use crate::domain::council::{Council, Seat};
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{AgentId, Role, StreamId, TaskId};
use crate::error::SystemError;
use crate::ports::{Batch, JournalError};
use crate::running::Running;
use crate::world::World;

pub(crate) struct RoleSupervisor;

/// Names one child of a role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Council,
    Deliberations,
    Agent(AgentId),
}

/// Mail of a role's supervisor.
#[derive(Debug)]
pub(crate) enum Message {
    /// From its parent: these seats, and a council unless it was deleted while runs were open.
    Adopt {
        seats: Vec<Seat>,
        council: bool,
        parked: bool,
    },
    /// From the council: it changed, durably. Its waiter is told once the change is in force.
    Changed {
        event: Box<Event>,
        council: Arc<Council>,
        reply: council::Reply,
    },
    /// From its parent: a run that was open before the start and whose council is gone.
    Start {
        running: Arc<Running>,
    },
    /// From the system.
    Cancel {
        task: TaskId,
        reason: Arc<str>,
    },
    /// From the system: back to work after a meltdown.
    Resume {
        reply: tokio::sync::oneshot::Sender<Result<(), SystemError>>,
    },
    /// From its own task: parking or resuming is durable.
    Parked {
        reason: Option<Arc<str>>,
        version: u64,
    },
    Restart {
        name: Name,
    },
    Tick,
    Ping {
        beat: u64,
    },
}

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) role: Role,
    pub(crate) heartbeat: Arc<AtomicU64>,
}

pub(crate) struct Live {
    world: Arc<World>,
    role: Role,
    name: String,
    heartbeat: Arc<AtomicU64>,
    has_council: bool,
    deliberations: Option<ActorRef<DeliberationsMessage>>,
    council: Option<ActorRef<council::Message>>,
    agents: BTreeMap<AgentId, (Seat, Option<agent::Handle>)>,
    children: BTreeMap<Name, Child>,
    /// Agents that left, and the runs that were open then: they stay until those have ended.
    leaving: BTreeMap<AgentId, BTreeSet<TaskId>>,
    tasks: JoinSet<()>,
}

impl Actor for RoleSupervisor {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let Arguments { world, role, heartbeat } = arguments;
        drop(myself.send_interval(world.settings.ping_every, || Message::Tick));
        let mut live = Live {
            name: format!("role/{role}"),
            world,
            role,
            heartbeat,
            has_council: false,
            deliberations: None,
            council: None,
            agents: BTreeMap::new(),
            children: BTreeMap::new(),
            leaving: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        live.spawn(&myself, &Name::Deliberations).await?;
        Ok(live)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        live: &mut Live,
    ) -> Result<(), ActorProcessingErr> {
        while live.tasks.try_join_next().is_some() {}
        match message {
            Message::Adopt { seats, council, parked } => live.adopt(&myself, seats, council, parked).await?,
            Message::Changed { event, council, reply } => {
                live.changed(&myself, *event).await?;
                drop(reply.send(Ok(council)));
            }
            Message::Start { running } => live.start(running),
            Message::Cancel { task, reason } => live.tell_deliberations(DeliberationsMessage::Cancel { task, reason }),
            Message::Resume { reply } => live.resume(&myself, reply).await?,
            Message::Parked { reason, version } => live.parked(reason, version),
            Message::Restart { name } => live.spawn(&myself, &name).await?,
            Message::Tick => live.tick(&myself),
            Message::Ping { beat } => live.heartbeat.store(beat, Ordering::Relaxed),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        live: &mut Live,
    ) -> Result<(), ActorProcessingErr> {
        if let Some((id, reason)) = exit_of(event) {
            let name = live.children.iter().find(|(_, child)| child.is(id)).map(|(name, _)| name.clone());
            if let Some(name) = name {
                live.died(&myself, &name, &reason);
            }
        }
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<Message>, _: &mut Live) -> Result<(), ActorProcessingErr> {
        myself.stop_children_and_wait(None, None).await;
        Ok(())
    }
}

impl Live {
    async fn adopt(
        &mut self,
        myself: &ActorRef<Message>,
        seats: Vec<Seat>,
        council: bool,
        parked: bool,
    ) -> Result<(), ActorProcessingErr> {
        for seat in seats {
            self.seat(myself, seat).await?;
        }
        if council {
            self.has_council = true;
            self.spawn(myself, &Name::Council).await?;
        }
        if parked {
            self.write(myself, None);
        }
        Ok(())
    }

    async fn changed(&mut self, myself: &ActorRef<Message>, event: Event) -> Result<(), ActorProcessingErr> {
        match event {
            Event::SeatJoined { seat } => {
                self.seat(myself, seat).await?;
            }
            Event::SeatLeft { agent } => self.unseat(&agent),
            Event::CouncilDeleted { .. } => {
                self.has_council = false;
                self.council = None;
                if let Some(mut child) = self.children.remove(&Name::Council) {
                    child.leave(&self.world);
                }
                let agents: Vec<_> = self.agents.keys().cloned().collect();
                agents.iter().for_each(|agent| self.unseat(agent));
            }
            _ => {}
        }
        Ok(())
    }

    async fn seat(&mut self, myself: &ActorRef<Message>, seat: Seat) -> Result<(), ActorProcessingErr> {
        let name = Name::Agent(seat.agent.clone());
        self.leaving.remove(&seat.agent);
        self.agents.insert(seat.agent.clone(), (seat, None));
        if let Some(mut earlier) = self.children.remove(&name) {
            earlier.leave(&self.world);
        }
        self.spawn(myself, &name).await
    }

    fn unseat(&mut self, agent: &AgentId) {
        let open = self.world.registry.open_runs(&self.role).iter().map(|running| running.run.task.clone()).collect();
        self.leaving.insert(agent.clone(), open);
        self.let_go();
    }

    /// Agents that left stop once no run of their time is open.
    fn let_go(&mut self) {
        let world = &self.world;
        for open in self.leaving.values_mut() {
            open.retain(|task| world.registry.running.contains_key(task));
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

    fn start(&self, running: Arc<Running>) {
        match &self.council {
            Some(council) => drop(council.cast(council::Message::Start { running, fresh: false })),
            None => self.tell_deliberations(DeliberationsMessage::Start { running, plan: None, fresh: false }),
        }
    }

    fn tell_deliberations(&self, message: DeliberationsMessage) {
        if let Some(deliberations) = &self.deliberations {
            drop(deliberations.cast(message));
        }
    }

    async fn spawn(&mut self, myself: &ActorRef<Message>, name: &Name) -> Result<(), ActorProcessingErr> {
        let title = match name {
            Name::Council => format!("council/{}", self.role),
            Name::Deliberations => format!("deliberations/{}", self.role),
            Name::Agent(agent) => format!("agent/{}/{agent}", self.role),
        };
        let world = self.world.clone();
        let parent = self.name.clone();
        let child = self.children.entry(name.clone()).or_insert_with(|| Child::standing(&world, title.clone(), parent));
        if child.is_alive() {
            return Ok(());
        }
        let heartbeat = child.heartbeat.clone();
        let cell = match name {
            Name::Council => self.spawn_council(myself, heartbeat).await?,
            Name::Deliberations => self.spawn_deliberations(myself, title, heartbeat).await?,
            Name::Agent(agent) => match self.spawn_agent(myself, agent, heartbeat).await? {
                Some(cell) => cell,
                None => return Ok(()),
            },
        };
        if let Some(child) = self.children.get_mut(name) {
            child.lives(&world, cell);
        }
        Ok(())
    }

    async fn spawn_council(
        &mut self,
        myself: &ActorRef<Message>,
        heartbeat: Arc<AtomicU64>,
    ) -> Result<ractor::ActorCell, ActorProcessingErr> {
        let (world, role) = (self.world.clone(), self.role.clone());
        let arguments = council::Arguments { world, role, supervisor: myself.clone(), heartbeat };
        let (actor, _) = Actor::spawn_linked(None, CouncilActor, arguments, myself.get_cell()).await?;
        if let Some(mut entry) = self.world.registry.councils.get_mut(&self.role) {
            entry.actor = Some(actor.clone());
        }
        let cell = actor.get_cell();
        self.council = Some(actor);
        Ok(cell)
    }

    /// Open runs of the role start again under the new supervisor: their actors died with the old one.
    async fn spawn_deliberations(
        &mut self,
        myself: &ActorRef<Message>,
        name: String,
        heartbeat: Arc<AtomicU64>,
    ) -> Result<ractor::ActorCell, ActorProcessingErr> {
        let arguments = deliberations::Arguments { world: self.world.clone(), name, heartbeat };
        let (actor, _) = Actor::spawn_linked(None, Deliberations, arguments, myself.get_cell()).await?;
        self.world.registry.deliberations.insert(self.role.clone(), actor.clone());
        self.deliberations = Some(actor.clone());
        for running in self.world.registry.open_runs(&self.role).into_iter().filter(|run| run.is_admitted()) {
            self.start(running);
        }
        Ok(actor.get_cell())
    }

    async fn spawn_agent(
        &mut self,
        myself: &ActorRef<Message>,
        agent: &AgentId,
        heartbeat: Arc<AtomicU64>,
    ) -> Result<Option<ractor::ActorCell>, ActorProcessingErr> {
        let Some((seat, handle)) = self.agents.get_mut(agent) else { return Ok(None) };
        let limit = match seat.capabilities.max_concurrent_tasks {
            0 => self.world.settings.calls_per_agent,
            own => (own as usize).min(self.world.settings.calls_per_agent),
        };
        let in_flight = Arc::new(AtomicU32::new(0));
        let model = self.world.ports.model.clone();
        let arguments = agent::Arguments { model, limit, in_flight: in_flight.clone(), heartbeat };
        let (actor, _) = Actor::spawn_linked(None, Agent, arguments, myself.get_cell()).await?;
        let new = agent::Handle { actor: actor.clone(), in_flight };
        self.world.registry.put_agent(&self.role, agent, new.clone());
        *handle = Some(new);
        Ok(Some(actor.get_cell()))
    }

    fn died(&mut self, myself: &ActorRef<Message>, name: &Name, reason: &str) {
        let Some(child) = self.children.get_mut(name) else { return };
        if let Name::Agent(agent) = name {
            self.world.registry.drop_agent(&self.role, agent);
        }
        match child.died(&self.world, &Policy::ROLE, reason) {
            Verdict::RestartAfter(wait) => {
                let name = name.clone();
                later(myself, wait, move || Message::Restart { name });
            }
            Verdict::Meltdown => {
                let reason = format!("{name:?} died too often, last because: {reason}");
                tracing::error!(role = %self.role, reason, "the role is parked");
                self.write(myself, Some(reason.into()));
            }
        }
    }

    /// Writes that the role is parked (`Some`), or back at work, whatever its council's standing.
    fn write(&mut self, myself: &ActorRef<Message>, reason: Option<Arc<str>>) {
        self.show_parked(reason.clone(), None);
        let (world, role, myself) = (self.world.clone(), self.role.clone(), myself.clone());
        self.tasks.spawn(async move {
            match write_parked(&world, &role, reason.clone()).await {
                Ok(version) => drop(myself.cast(Message::Parked { reason, version })),
                Err(error) => tracing::error!(%role, %error, "parking cannot be written"),
            }
        });
    }

    fn parked(&mut self, reason: Option<Arc<str>>, version: u64) {
        self.show_parked(reason, Some(version));
    }

    fn show_parked(&self, reason: Option<Arc<str>>, version: Option<u64>) {
        if let Some(mut entry) = self.world.registry.councils.get_mut(&self.role) {
            let council = Council { parked: reason, ..(*entry.council).clone() };
            entry.council = Arc::new(council);
            entry.version = version.unwrap_or(entry.version);
        }
    }

    async fn resume(
        &mut self,
        myself: &ActorRef<Message>,
        reply: tokio::sync::oneshot::Sender<Result<(), SystemError>>,
    ) -> Result<(), ActorProcessingErr> {
        self.write(myself, None);
        let names: Vec<_> = self.children.keys().cloned().collect();
        for name in names {
            if let Some(child) = self.children.get_mut(&name) {
                child.deaths.forgive();
            }
            self.spawn(myself, &name).await?;
        }
        drop(reply.send(Ok(())));
        Ok(())
    }

    fn tick(&mut self, myself: &ActorRef<Message>) {
        self.let_go();
        for (name, child) in &mut self.children {
            let Some(beat) = child.next_beat(&self.world) else { continue };
            match name {
                Name::Council => drop(self.council.as_ref().map(|to| to.cast(council::Message::Ping { beat }))),
                Name::Deliberations => {
                    drop(self.deliberations.as_ref().map(|to| to.cast(DeliberationsMessage::Ping { beat })));
                }
                Name::Agent(agent) => {
                    let handle = self.agents.get(agent).and_then(|(_, handle)| handle.as_ref());
                    drop(handle.map(|handle| handle.actor.cast(agent::Message::Ping { beat })));
                }
            }
        }
        if !self.has_council && self.agents.is_empty() && self.world.registry.open_runs(&self.role).is_empty() {
            myself.stop(Some("its council was deleted".to_owned()));
        }
    }
}

/// Appends to the council's stream at whatever version it has by now.
async fn write_parked(world: &World, role: &Role, reason: Option<Arc<str>>) -> Result<u64, JournalError> {
    let mut version = world.registry.councils.get(role).map_or(0, |entry| entry.version);
    loop {
        let event = match reason.clone() {
            Some(reason) => Event::RoleParked { reason },
            None => Event::RoleResumed {},
        };
        let (id, at) = (world.ports.ids.event_id(), world.ports.clock.now());
        let new = NewEvent { id, at, correlation: None, causation: None, event };
        match world.ports.journal.commit(Batch::one(StreamId::council(role), version, vec![new])).await {
            Ok(_) => return Ok(version + 1),
            Err(JournalError::Conflict { actual, .. }) => version = actual,
            Err(error) => return Err(error),
        }
    }
}
