//! One role: its council, its agents, its deliberations, and when to give up on them.

mod life;
mod seats;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::children::{Child, exit_of};
use super::deliberations::Message as DeliberationsMessage;
use super::parking::Parking;
use crate::agent;
use crate::census::Presence;
use crate::council;
use crate::domain::council::{Council, Seat};
use crate::domain::event::Event;
use crate::domain::id::{AgentId, Role, RunId};
use crate::error::SystemError;
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
    /// From its parent: there is a council with these seats. A parked one is taken back to work. `adopted` is dropped
    /// when it is at work.
    Adopt {
        seats: Vec<Seat>,
        parked: bool,
        adopted: mpsc::Sender<()>,
    },
    /// From its parent: seats that left, or whose council was deleted, while runs that have them were open.
    Keep {
        seats: Vec<Seat>,
    },
    /// From the council, which has just read its stream; `None` = it was deleted.
    Standing {
        council: Option<Box<Council>>,
    },
    /// From the council: it changed, durably. Its waiter is told once the change is in force.
    Changed {
        event: Box<Event>,
        council: Arc<Council>,
        reply: council::Reply,
    },
    /// From its parent: a run that was open before the start, and now has its permit.
    Start {
        running: Arc<Running>,
    },
    /// From its parent: back to work after a meltdown.
    Resume {
        reply: oneshot::Sender<Result<(), SystemError>>,
    },
    /// From its own task: the first wish of the parking is written at this version, or cannot be.
    Parked {
        version: Option<u64>,
    },
    /// From its own timer.
    Restart {
        name: Name,
    },
    Tick,
    /// From its parent.
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
    leaving: BTreeMap<AgentId, BTreeSet<RunId>>,
    parking: Parking,
    tasks: JoinSet<()>,
    _presence: Presence,
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
            _presence: world.census.enter(),
            world,
            role,
            heartbeat,
            has_council: false,
            deliberations: None,
            council: None,
            agents: BTreeMap::new(),
            children: BTreeMap::new(),
            leaving: BTreeMap::new(),
            parking: Parking::default(),
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
            Message::Adopt { seats, parked, adopted: _adopted } => live.adopt(&myself, seats, parked).await?,
            Message::Keep { seats } => live.keep(&myself, seats).await?,
            Message::Standing { council } => live.standing(&myself, council).await?,
            Message::Changed { event, council, reply } => {
                live.changed(&myself, *event).await?;
                drop(reply.send(Ok(council)));
            }
            Message::Start { running } => live.start(running),
            Message::Resume { reply } => live.resume(&myself, reply).await?,
            Message::Parked { version } => live.parked(&myself, version),
            Message::Restart { name } => live.restart(&myself, &name).await?,
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

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Council => f.write_str("the council"),
            Self::Deliberations => f.write_str("the supervisor of its deliberations"),
            Self::Agent(agent) => write!(f, "agent {agent}"),
        }
    }
}
