//! All roles: reads back what was there, creates new ones, routes work to roles whose council is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::JoinSet;

use super::children::{Child, exit_of, later};
use super::deliberations::end_in_journal;
use super::policy::{Policy, Verdict};
use super::role::{self, Message as RoleMessage, RoleSupervisor};
use crate::council;
use crate::domain::answer::Class;
use crate::domain::council::{Council, MAX_COUNCILS, Seat};
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{Role, StreamId};
use crate::error::SystemError;
use crate::ports::{Batch, JournalError, Recovery, TaskRow, whole_stream};
use crate::running::Running;
use crate::world::{CouncilEntry, World};

pub(crate) struct Councils;

/// Mail of the councils' supervisor.
#[derive(Debug)]
pub(crate) enum Message {
    /// From its own reading task, once.
    Recovered(Result<Box<Recovered>, JournalError>),
    /// From the system. Told when the council is durable and at work.
    Create {
        council: Box<Council>,
        reply: council::Reply,
    },
    /// From its own writing task.
    Created {
        council: Box<Council>,
        version: Result<u64, SystemError>,
        reply: council::Reply,
    },
    Restart {
        role: Role,
    },
    Tick,
    Ping {
        beat: u64,
    },
}

/// What was open or standing when the daemon ended.
#[derive(Debug)]
pub(crate) struct Recovered {
    recovery: Recovery,
    /// With the seats that its run began with, where it had begun.
    open: Vec<(Arc<Running>, Vec<Seat>)>,
}

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) heartbeat: Arc<AtomicU64>,
}

struct Member {
    child: Child,
    actor: Option<ActorRef<RoleMessage>>,
}

pub(crate) struct Live {
    world: Arc<World>,
    heartbeat: Arc<AtomicU64>,
    roles: BTreeMap<Role, Member>,
    /// Roles whose creation is being written.
    creating: Vec<Role>,
    tasks: JoinSet<()>,
}

impl Actor for Councils {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let Arguments { world, heartbeat } = arguments;
        drop(myself.send_interval(world.settings.ping_every, || Message::Tick));
        let mut tasks = JoinSet::new();
        let reading = world.clone();
        tasks.spawn(async move {
            let recovered = recover(&reading).await;
            drop(myself.cast(Message::Recovered(recovered.map(Box::new))));
        });
        Ok(Live { world, heartbeat, roles: BTreeMap::new(), creating: Vec::new(), tasks })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        live: &mut Live,
    ) -> Result<(), ActorProcessingErr> {
        while live.tasks.try_join_next().is_some() {}
        match message {
            Message::Recovered(recovered) => live.recovered(&myself, *recovered?).await?,
            Message::Create { council, reply } => live.create(&myself, council, reply),
            Message::Created { council, version, reply } => live.created(&myself, *council, version, reply).await?,
            Message::Restart { role } => drop(live.role(&myself, &role).await?),
            Message::Tick => live.tick(),
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
            let role = live.roles.iter().find(|(_, member)| member.child.is(id)).map(|(role, _)| role.clone());
            if let Some(role) = role {
                live.died(&myself, role, &reason);
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
    /// The role's supervisor, started if it is not there.
    async fn role(
        &mut self,
        myself: &ActorRef<Message>,
        role: &Role,
    ) -> Result<ActorRef<RoleMessage>, ActorProcessingErr> {
        let world = self.world.clone();
        let name = format!("role/{role}");
        let member = self
            .roles
            .entry(role.clone())
            .or_insert_with(|| Member { child: Child::standing(&world, name, "councils".to_owned()), actor: None });
        if let Some(actor) = &member.actor {
            return Ok(actor.clone());
        }
        let heartbeat = member.child.heartbeat.clone();
        let arguments = role::Arguments { world: world.clone(), role: role.clone(), heartbeat };
        let (actor, _) = Actor::spawn_linked(None, RoleSupervisor, arguments, myself.get_cell()).await?;
        member.child.lives(&world, actor.get_cell());
        member.actor = Some(actor.clone());
        let standing = world.registry.councils.get_mut(role).map(|mut entry| {
            entry.supervisor = actor.clone();
            entry.council.clone()
        });
        if let Some(council) = standing {
            let adopt =
                RoleMessage::Adopt { seats: council.seats.clone(), council: true, parked: council.parked.is_some() };
            drop(actor.cast(adopt));
        }
        Ok(actor)
    }

    async fn recovered(&mut self, myself: &ActorRef<Message>, recovered: Recovered) -> Result<(), ActorProcessingErr> {
        let Recovered { recovery, open } = recovered;
        for (council, version) in recovery.councils {
            self.adopt(myself, council, version).await?;
        }
        for (role, kind, count, total) in recovery.finished {
            let mut counts = self.world.registry.counts.entry((role, kind)).or_default();
            (counts.completed, counts.total) = (count, total);
        }
        for (running, seats) in &open {
            let role = &running.spec.role;
            let supervisor = self.role(myself, role).await?;
            let standing = self.world.registry.councils.get(role).map(|entry| entry.council.clone());
            let left: Vec<_> = seats
                .iter()
                .filter(|seat| standing.as_ref().is_none_or(|council| council.seat(&seat.agent).is_none()))
                .filter(|seat| self.world.registry.agent(role, &seat.agent).is_none())
                .cloned()
                .collect();
            if !left.is_empty() {
                drop(supervisor.cast(RoleMessage::Adopt { seats: left, council: false, parked: false }));
            }
            self.world.registry.running.insert(running.run.task.clone(), running.clone());
        }
        self.admit_in_turn(open.into_iter().map(|(running, _)| running).collect());
        self.world.recovered.send_replace(true);
        Ok(())
    }

    /// Work that was admitted before comes before all new work, and waits for permits if there are too few.
    fn admit_in_turn(&mut self, open: Vec<Arc<Running>>) {
        let world = self.world.clone();
        let supervisors: BTreeMap<_, _> =
            self.roles.iter().filter_map(|(role, member)| Some((role.clone(), member.actor.clone()?))).collect();
        self.tasks.spawn(async move {
            for running in open {
                if !running.is_admitted() {
                    let Some(permit) = world.gate.admit_again().await else { return };
                    running.hold(permit);
                }
                if let Some(supervisor) = supervisors.get(&running.spec.role) {
                    drop(supervisor.cast(RoleMessage::Start { running }));
                }
            }
        });
    }

    async fn adopt(
        &mut self,
        myself: &ActorRef<Message>,
        council: Council,
        version: u64,
    ) -> Result<(), ActorProcessingErr> {
        let role = council.role.clone();
        let known = self.roles.get(&role).and_then(|member| member.actor.clone());
        let supervisor = match known {
            Some(supervisor) => supervisor,
            None => self.role(myself, &role).await?,
        };
        let (seats, parked) = (council.seats.clone(), council.parked.is_some());
        let council = Arc::new(council);
        let entry = CouncilEntry { council, version, actor: None, supervisor: supervisor.clone() };
        self.world.registry.councils.insert(role, entry);
        drop(supervisor.cast(RoleMessage::Adopt { seats, council: true, parked }));
        Ok(())
    }

    fn create(&mut self, myself: &ActorRef<Message>, council: Box<Council>, reply: council::Reply) {
        let role = council.role.clone();
        let refusal = if self.world.registry.councils.contains_key(&role) || self.creating.contains(&role) {
            Some(SystemError::CouncilExists { role: role.clone() })
        } else if self.world.registry.councils.len() + self.creating.len() >= MAX_COUNCILS {
            Some(SystemError::WrongState(format!("there are {MAX_COUNCILS} councils, which is the most").into()))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            drop(reply.send(Err(refusal)));
            return;
        }
        self.creating.push(role);
        let (world, myself) = (self.world.clone(), myself.clone());
        self.tasks.spawn(async move {
            let version = write_created(&world, &council).await;
            let version = version.map_err(|error| SystemError::Unavailable(error.to_string().into()));
            drop(myself.cast(Message::Created { council, version, reply }));
        });
    }

    async fn created(
        &mut self,
        myself: &ActorRef<Message>,
        council: Council,
        version: Result<u64, SystemError>,
        reply: council::Reply,
    ) -> Result<(), ActorProcessingErr> {
        self.creating.retain(|role| *role != council.role);
        let told = match version {
            Ok(version) => {
                self.adopt(myself, council.clone(), version).await?;
                Ok(Arc::new(council))
            }
            Err(error) => Err(error),
        };
        drop(reply.send(told));
        Ok(())
    }

    fn died(&mut self, myself: &ActorRef<Message>, role: Role, reason: &str) {
        let Some(member) = self.roles.get_mut(&role) else { return };
        member.actor = None;
        if !self.world.registry.councils.contains_key(&role) && self.world.registry.open_runs(&role).is_empty() {
            member.child.leave(&self.world);
            self.world.registry.deliberations.remove(&role);
            self.roles.remove(&role);
            return;
        }
        match member.child.died(&self.world, &Policy::ROLE, reason) {
            Verdict::RestartAfter(wait) => later(myself, wait, move || Message::Restart { role }),
            Verdict::Meltdown => tracing::error!(%role, reason, "the role's supervisor died too often and stays down"),
        }
    }

    fn tick(&mut self) {
        for member in self.roles.values_mut() {
            if let (Some(beat), Some(actor)) = (member.child.next_beat(&self.world), &member.actor) {
                drop(actor.cast(RoleMessage::Ping { beat }));
            }
        }
    }
}

async fn recover(world: &World) -> Result<Recovered, JournalError> {
    let recovery = world.ports.journal.recovery().await?;
    let mut open = Vec::with_capacity(recovery.open_tasks.len());
    for row in &recovery.open_tasks {
        let Some(found) = reopen(world, row).await? else { continue };
        if row.keyed {
            open.push(found);
        } else {
            // Its client is gone with the connection, and nobody else knows its id.
            end_in_journal(world, &found.0, Class::Gone, "interrupted by a restart of the daemon".into()).await?;
        }
    }
    Ok(Recovered { recovery, open })
}

/// An open task as it was accepted, with the seats of its run.
async fn reopen(world: &World, row: &TaskRow) -> Result<Option<(Arc<Running>, Vec<Seat>)>, JournalError> {
    if let Some(running) = world.registry.running.get(&row.task) {
        return Ok(Some((running.clone(), Vec::new())));
    }
    let journal = &*world.ports.journal;
    let accepted = whole_stream(journal, &StreamId::task(&row.task)).await?;
    let spec = accepted.iter().find_map(|recorded| match &recorded.event.event {
        Event::TaskAccepted { spec, .. } => Some(spec.clone()),
        _ => None,
    });
    let Some(spec) = spec else { return Ok(None) };
    let running = Running::new(row.clone(), spec);
    let first = journal.stream(&StreamId::deliberation(&running.run), 0, 1).await?;
    let seats = first.into_iter().find_map(|recorded| match recorded.event.event {
        Event::DeliberationStarted(plan) => Some(plan.seats.clone()),
        _ => None,
    });
    Ok(Some((running, seats.unwrap_or_default())))
}

/// A council that existed before has a stream: the new one goes on with it.
async fn write_created(world: &World, council: &Council) -> Result<u64, JournalError> {
    let mut version = 0;
    loop {
        let (id, at) = (world.ports.ids.event_id(), world.ports.clock.now());
        let event = Event::CouncilCreated(council.clone());
        let new = NewEvent { id, at, correlation: None, causation: None, event };
        match world.ports.journal.commit(Batch::one(StreamId::council(&council.role), version, vec![new])).await {
            Ok(_) => return Ok(version + 1),
            Err(JournalError::Conflict { actual, .. }) => version = actual,
            Err(error) => return Err(error),
        }
    }
}
