//! Who lives: children start, die and start again, and what was lost in the mail of a dead one is sent anew.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::{Live, Message, Name};
use crate::agent::{self, Agent};
use crate::council::{self, CouncilActor};
use crate::domain::answer::{Class, Failure};
use crate::domain::id::AgentId;
use crate::error::SystemError;
use crate::running::Running;
use crate::supervisor::children::{Child, later};
use crate::supervisor::deliberations::{self, Deliberations, Message as DeliberationsMessage};
use crate::supervisor::parking;
use crate::supervisor::policy::{Policy, Verdict};

impl Live {
    /// A council that is just restarting is given its runs when it is back.
    pub(super) fn start(&self, running: Arc<Running>) {
        if !self.has_council {
            let gone = format!("no council has the role {} any more", self.role);
            let plan = Err(Failure::new(Class::Refused, gone));
            self.tell_deliberations(DeliberationsMessage::Start { running, plan, begun: None });
        } else if let Some(council) = &self.council {
            drop(council.cast(council::Message::Start { running }));
        }
    }

    /// Starts what is open and may have been lost in the mail of an actor that died. What lives is not started twice.
    pub(super) fn recall(&self) {
        for running in self.world.registry.open_runs(&self.role) {
            match (running.is_admitted(), running.cancel_asked()) {
                (true, _) => self.start(running),
                (false, Some(_)) => self.tell_deliberations(DeliberationsMessage::Cancel { running }),
                (false, None) => {}
            }
        }
    }

    pub(super) fn tell_deliberations(&self, message: DeliberationsMessage) {
        if let Some(deliberations) = &self.deliberations {
            drop(deliberations.cast(message));
        }
    }

    pub(super) async fn restart(&mut self, myself: &ActorRef<Message>, name: &Name) -> Result<(), ActorProcessingErr> {
        self.spawn(myself, name).await?;
        if !matches!(name, Name::Agent(_)) {
            self.recall();
        }
        Ok(())
    }

    pub(super) async fn spawn(&mut self, myself: &ActorRef<Message>, name: &Name) -> Result<(), ActorProcessingErr> {
        let (is_wanted, title) = match name {
            Name::Council => (self.has_council, format!("council/{}", self.role)),
            Name::Deliberations => (true, format!("deliberations/{}", self.role)),
            Name::Agent(agent) => (self.agents.contains_key(agent), format!("agent/{}/{agent}", self.role)),
        };
        if !is_wanted {
            return Ok(());
        }
        let (world, parent) = (self.world.clone(), self.name.clone());
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

    pub(super) async fn spawn_council(
        &mut self,
        myself: &ActorRef<Message>,
        heartbeat: Arc<AtomicU64>,
    ) -> Result<ActorCell, ActorProcessingErr> {
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

    pub(super) async fn spawn_deliberations(
        &mut self,
        myself: &ActorRef<Message>,
        name: String,
        heartbeat: Arc<AtomicU64>,
    ) -> Result<ActorCell, ActorProcessingErr> {
        let arguments = deliberations::Arguments { world: self.world.clone(), name, heartbeat };
        let (actor, _) = Actor::spawn_linked(None, Deliberations, arguments, myself.get_cell()).await?;
        self.world.registry.deliberations.insert(self.role.clone(), actor.clone());
        let cell = actor.get_cell();
        self.deliberations = Some(actor);
        Ok(cell)
    }

    pub(super) async fn spawn_agent(
        &mut self,
        myself: &ActorRef<Message>,
        agent: &AgentId,
        heartbeat: Arc<AtomicU64>,
    ) -> Result<Option<ActorCell>, ActorProcessingErr> {
        let Some((seat, handle)) = self.agents.get_mut(agent) else { return Ok(None) };
        let limit = match seat.capabilities.max_concurrent_tasks {
            0 => self.world.settings.calls_per_agent,
            own => (own as usize).min(self.world.settings.calls_per_agent),
        };
        let calls = Arc::<agent::Calls>::default();
        let arguments = agent::Arguments { world: self.world.clone(), limit, calls: calls.clone(), heartbeat };
        let (actor, _) = Actor::spawn_linked(None, Agent, arguments, myself.get_cell()).await?;
        let new = agent::Handle { actor: actor.clone(), calls };
        self.world.registry.put_agent(&self.role, agent, new.clone());
        *handle = Some(new);
        Ok(Some(actor.get_cell()))
    }

    pub(super) fn died(&mut self, myself: &ActorRef<Message>, name: &Name, reason: &str) {
        let Some(child) = self.children.get_mut(name) else { return };
        match name {
            Name::Council => self.council = None,
            Name::Deliberations => self.deliberations = None,
            Name::Agent(agent) => {
                self.world.registry.drop_agent(&self.role, agent);
                self.agents.entry(agent.clone()).and_modify(|(_, handle)| *handle = None);
            }
        }
        match child.died(&self.world, &Policy::ROLE, reason) {
            Verdict::RestartAfter(wait) => {
                let name = name.clone();
                later(myself, wait, move || Message::Restart { name });
            }
            Verdict::Meltdown => self.park(myself, name, reason),
        }
    }

    /// Runs that have begun go on with who is left; those that only a council could begin are ended.
    pub(super) fn park(&mut self, myself: &ActorRef<Message>, name: &Name, reason: &str) {
        let reason: Arc<str> = format!("{name} died too often, last because: {reason}").into();
        tracing::error!(role = %self.role, %reason, "the role is parked");
        self.wish(myself, Some(reason.clone()));
        if *name == Name::Council {
            for running in self.world.registry.open_runs(&self.role).into_iter().filter(|run| run.is_admitted()) {
                let why = Failure::new(Class::Transient, format!("role {} is parked: {reason}", self.role));
                self.tell_deliberations(DeliberationsMessage::Refuse { running, why });
            }
        }
    }

    pub(super) fn wish(&mut self, myself: &ActorRef<Message>, reason: Option<Arc<str>>) {
        if self.parking.wish(&self.world, &self.role, reason.clone()) {
            self.write(myself, reason);
        }
    }

    pub(super) fn write(&mut self, myself: &ActorRef<Message>, reason: Option<Arc<str>>) {
        let (world, role, myself) = (self.world.clone(), self.role.clone(), myself.clone());
        self.tasks.spawn(async move {
            let written = parking::write(&world, &role, reason).await;
            let version = written.inspect_err(|error| tracing::error!(%role, %error, "parking cannot be written")).ok();
            drop(myself.cast(Message::Parked { version }));
        });
    }

    pub(super) fn parked(&mut self, myself: &ActorRef<Message>, version: Option<u64>) {
        if let Some(next) = self.parking.written(&self.world, &self.role, version) {
            self.write(myself, next);
        }
    }

    pub(super) async fn resume(
        &mut self,
        myself: &ActorRef<Message>,
        reply: oneshot::Sender<Result<(), SystemError>>,
    ) -> Result<(), ActorProcessingErr> {
        let is_parked =
            self.world.registry.councils.get(&self.role).is_some_and(|entry| entry.council.parked.is_some());
        if is_parked {
            self.wish(myself, None);
        }
        let names: Vec<_> = self.children.keys().cloned().collect();
        for name in names {
            if let Some(child) = self.children.get_mut(&name) {
                child.deaths.forgive();
            }
            self.restart(myself, &name).await?;
        }
        drop(reply.send(Ok(())));
        Ok(())
    }

    pub(super) fn tick(&mut self, myself: &ActorRef<Message>) {
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
            self.children.values_mut().for_each(|child| child.leave(&self.world));
            myself.stop(Some("its council was deleted".to_owned()));
        }
    }
}
