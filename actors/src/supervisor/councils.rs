//! All roles: reads back what was there, creates new ones, routes work to roles whose council is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::children::{Child, exit_of, later};
use super::parking;
use super::policy::{Policy, Verdict};
use super::recovery::{Recovered, recover};
use super::role::{self, Message as RoleMessage, RoleSupervisor};
use crate::census::Presence;
use crate::council;
use crate::domain::council::{Council, MAX_COUNCILS, Seat};
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{Role, StreamId};
use crate::error::SystemError;
use crate::ports::{Batch, JournalError};
use crate::running::Running;
use crate::world::{CouncilEntry, World};

pub(crate) struct Councils;

/// Mail of the councils' supervisor.
#[derive(Debug)]
pub(crate) enum Message {
    /// From its own reading task, once.
    Recovered(Result<Box<Recovered>, JournalError>),
    /// From its own admitting task: a run that was open before the start has its permit.
    Admitted {
        running: Arc<Running>,
    },
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
    /// From the system: a role goes back to work after a meltdown.
    Resume {
        role: Role,
        reply: oneshot::Sender<Result<(), SystemError>>,
    },
    /// From its own timer.
    Restart {
        role: Role,
    },
    Tick,
    /// From the root.
    Ping {
        beat: u64,
    },
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
    /// All councils are known: before that, one that is to be created may be there.
    is_ready: bool,
    tasks: JoinSet<()>,
    _presence: Presence,
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
        let _presence = world.census.enter();
        let (roles, creating) = (BTreeMap::new(), Vec::new());
        Ok(Live { world, heartbeat, roles, creating, is_ready: false, tasks, _presence })
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
            Message::Admitted { running } => live.begin(running),
            Message::Resume { role, reply } => live.resume(&myself, &role, reply).await?,
            Message::Restart { role } => live.revive(&myself, &role).await?,
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
        Ok(actor)
    }

    /// Gives a role its supervisor back.
    async fn revive(&mut self, myself: &ActorRef<Message>, role: &Role) -> Result<(), ActorProcessingErr> {
        let supervisor = self.role(myself, role).await?;
        let standing = self.world.registry.councils.get_mut(role).map(|mut entry| {
            entry.supervisor = supervisor.clone();
            entry.council.seats.clone()
        });
        drop(supervisor.cast(match standing {
            Some(seats) => RoleMessage::Adopt { seats, parked: false, adopted: mpsc::channel(1).0 },
            None => RoleMessage::Keep { seats: Vec::new() },
        }));
        Ok(())
    }

    async fn resume(
        &mut self,
        myself: &ActorRef<Message>,
        role: &Role,
        reply: oneshot::Sender<Result<(), SystemError>>,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(member) = self.roles.get_mut(role).filter(|member| member.actor.is_none()) {
            member.child.deaths.forgive();
            self.revive(myself, role).await?;
        }
        if let Some(supervisor) = self.roles.get(role).and_then(|member| member.actor.as_ref()) {
            drop(supervisor.cast(RoleMessage::Resume { reply }));
        }
        Ok(())
    }

    async fn recovered(&mut self, myself: &ActorRef<Message>, recovered: Recovered) -> Result<(), ActorProcessingErr> {
        let Recovered { first, recovery, open } = recovered;
        self.forget_deleted(&recovery.councils);
        let (adopted, all_adopted) = mpsc::channel(1);
        for (council, version) in recovery.councils {
            let parked = first && council.parked.is_some();
            self.adopt(myself, council, version, parked, adopted.clone()).await?;
        }
        drop(adopted);
        if first {
            for (role, kind, count, total) in recovery.finished {
                let mut counts = self.world.registry.counts.entry((role, kind)).or_default();
                (counts.completed, counts.total) = (count, total);
            }
        }
        for (running, _) in &open {
            self.world.registry.running.entry(running.run.task.clone()).or_insert_with(|| running.clone());
        }
        for (running, seats) in &open {
            let role = &running.spec.role;
            let supervisor = self.role(myself, role).await?;
            let standing = self.world.registry.councils.get(role).map(|entry| entry.council.clone());
            let has_left = |seat: &&Seat| standing.as_ref().is_none_or(|council| council.seat(&seat.agent).is_none());
            let left: Vec<_> = seats.iter().filter(has_left).cloned().collect();
            if !left.is_empty() {
                drop(supervisor.cast(RoleMessage::Keep { seats: left }));
            }
        }
        self.admit_in_turn(myself, open.into_iter().map(|(running, _)| running).collect());
        self.is_ready = true;
        let world = self.world.clone();
        self.after(all_adopted, move || world.recovered.send_modify(|done| *done = true));
        Ok(())
    }

    /// A council whose deletion became durable just when its actors died: nobody else would take it out.
    fn forget_deleted(&self, standing: &[(Council, u64)]) {
        let registry = &self.world.registry;
        let known: Vec<_> = registry.councils.iter().map(|entry| entry.key().clone()).collect();
        let is_gone = |role: &&Role| !standing.iter().any(|(council, _)| council.role == **role);
        known.iter().filter(is_gone).for_each(|role| registry.forget(role));
    }

    /// Work that was admitted before comes before all new work, and waits for permits if there are too few.
    fn admit_in_turn(&mut self, myself: &ActorRef<Message>, open: Vec<Arc<Running>>) {
        let world = self.world.clone();
        let mut waiting = Vec::new();
        for running in open {
            if !running.is_admitted() {
                match world.gate.try_admit_again().filter(|_| waiting.is_empty()) {
                    Some(permit) => running.hold(permit),
                    None => {
                        waiting.push((running, world.gate.queue()));
                        continue;
                    }
                }
            }
            self.begin(running);
        }
        let myself = myself.clone();
        self.tasks.spawn(async move {
            for (running, turn) in waiting.into_iter().filter(|(running, _)| !running.has_ended()) {
                let Some(permit) = world.gate.admit_again(turn).await else { return };
                if world.is_draining() {
                    return;
                }
                running.hold(permit);
                drop(myself.cast(Message::Admitted { running }));
            }
        });
    }

    /// Does something once all councils that hold the other end are at work.
    fn after(&mut self, mut adopted: mpsc::Receiver<()>, then: impl FnOnce() + Send + 'static) {
        self.tasks.spawn(async move {
            while adopted.recv().await.is_some() {}
            then();
        });
    }

    /// A supervisor that is just restarting finds the run by itself.
    fn begin(&self, running: Arc<Running>) {
        if let Some(supervisor) = self.roles.get(&running.spec.role).and_then(|member| member.actor.as_ref()) {
            drop(supervisor.cast(RoleMessage::Start { running }));
        }
    }

    async fn adopt(
        &mut self,
        myself: &ActorRef<Message>,
        council: Council,
        version: u64,
        parked: bool,
        adopted: mpsc::Sender<()>,
    ) -> Result<(), ActorProcessingErr> {
        let role = council.role.clone();
        let supervisor = self.role(myself, &role).await?;
        let seats = council.seats.clone();
        let council = Arc::new(council);
        let entry = CouncilEntry { council, version, actor: None, supervisor: supervisor.clone() };
        self.world.registry.councils.insert(role, entry);
        drop(supervisor.cast(RoleMessage::Adopt { seats, parked, adopted }));
        Ok(())
    }

    fn create(&mut self, myself: &ActorRef<Message>, council: Box<Council>, reply: council::Reply) {
        let role = council.role.clone();
        let refusal = if !self.is_ready {
            Some(SystemError::Unavailable("the councils are restarting; try again".into()))
        } else if self.world.registry.councils.contains_key(&role) || self.creating.contains(&role) {
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
            let version = version.map_err(Into::into);
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
        match version {
            Ok(version) => {
                let (adopted, is_adopted) = mpsc::channel(1);
                self.adopt(myself, council.clone(), version, false, adopted).await?;
                self.after(is_adopted, move || drop(reply.send(Ok(Arc::new(council)))));
            }
            Err(error) => drop(reply.send(Err(error))),
        }
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
            Verdict::Meltdown => self.park(role, reason),
        }
    }

    fn park(&mut self, role: Role, reason: &str) {
        let reason: Arc<str> = format!("its supervisor died too often, last because: {reason}").into();
        tracing::error!(%role, %reason, "the role is parked");
        parking::show(&self.world, &role, Some(reason.clone()), None);
        let world = self.world.clone();
        self.tasks.spawn(async move {
            match parking::write(&world, &role, Some(reason.clone())).await {
                Ok(version) => parking::show(&world, &role, Some(reason), Some(version)),
                Err(error) => tracing::error!(%role, %error, "parking cannot be written"),
            }
        });
    }

    fn tick(&mut self) {
        for member in self.roles.values_mut() {
            if let (Some(beat), Some(actor)) = (member.child.next_beat(&self.world), &member.actor) {
                drop(actor.cast(RoleMessage::Ping { beat }));
            }
        }
    }
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
