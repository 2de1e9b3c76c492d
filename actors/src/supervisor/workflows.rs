//! Wakes workflows and sends them to rest: an actor for those with something to do, a deadline for those that wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::children::{exit_of, later};
use super::policy::{Deaths, Policy};
use crate::census::Presence;
use crate::domain::id::Timestamp;
use crate::domain::workflow::WorkflowId;
use crate::ports::JournalError;
use crate::workflow::{self, Mail, Present, State, WorkflowActor};
use crate::world::World;

/// What a crash loop does not mend is looked at again after that: a workflow has no other way out.
const REST: Duration = Duration::from_secs(60);

/// Between two looks at deadlines, and at who has nothing to do: often, so that few go to rest at once.
const LOOK: Duration = Duration::from_millis(100);

/// Between two tries to read what is to be woken.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Actors made at once at a start: between two of these loads others are heard.
const AT_ONCE: usize = 256;

pub(crate) struct Workflows;

/// Nobody waits for an answer but whoever sent the mail within.
#[derive(Debug)]
pub(crate) enum Message {
    /// From its own tasks: who is to be woken, and when; asked once.
    Found(Result<Vec<(WorkflowId, Timestamp)>, JournalError>),
    /// It was just created.
    Begun {
        id: WorkflowId,
        state: Box<State>,
    },
    /// Somebody wants something of it, or it died.
    Wake {
        id: WorkflowId,
        mail: Option<Mail>,
    },
    /// From a workflow: until when it waits for a decision.
    Due {
        id: WorkflowId,
        due: Option<Timestamp>,
    },
    /// From its own timers.
    Read,
    Tick,
    /// From the root; answered at once.
    Ping {
        beat: u64,
    },
}

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) heartbeat: Arc<AtomicU64>,
}

pub(crate) struct Live {
    world: Arc<World>,
    heartbeat: Arc<AtomicU64>,
    children: BTreeMap<ActorId, WorkflowId>,
    deaths: BTreeMap<WorkflowId, Deaths>,
    deadlines: BTreeSet<(Timestamp, WorkflowId)>,
    due: BTreeMap<WorkflowId, Timestamp>,
    /// To be made as soon as others were heard.
    queue: VecDeque<WorkflowId>,
    /// When to ask which actors whether they have something to do; oldest first.
    looks: VecDeque<(Instant, WorkflowId, ActorId)>,
    tasks: JoinSet<()>,
    _presence: Presence,
}

impl Actor for Workflows {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let Arguments { world, heartbeat } = arguments;
        drop(myself.send_interval(LOOK, || Message::Tick));
        let mut live = Live {
            _presence: world.census.enter(),
            world,
            heartbeat,
            children: BTreeMap::new(),
            deaths: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            due: BTreeMap::new(),
            queue: VecDeque::new(),
            looks: VecDeque::new(),
            tasks: JoinSet::new(),
        };
        live.read(&myself);
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
            Message::Found(found) => live.found(&myself, found),
            Message::Begun { id, state } => live.make(&myself, id, Some(state)).await?,
            Message::Wake { id, mail } => live.wake(&myself, id, mail).await?,
            Message::Due { id, due } => live.due(id, due),
            Message::Read => live.read(&myself),
            Message::Tick => live.tick(&myself).await?,
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
        let Some((child, reason)) = exit_of(event) else { return Ok(()) };
        let Some(id) = live.children.remove(&child) else { return Ok(()) };
        let is_current = |present: &Present| present.actor.get_id() == child;
        let was_known = live.world.workflows.present.remove_if(&id, |_, present| is_current(present)).is_some();
        // One that went to rest is not known any more.
        if was_known {
            live.died(&myself, id, &reason);
        }
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<Message>, live: &mut Live) -> Result<(), ActorProcessingErr> {
        live.world.workflows.present.clear();
        myself.stop_children_and_wait(None, None).await;
        Ok(())
    }
}

impl Live {
    fn read(&mut self, myself: &ActorRef<Message>) {
        let (world, myself) = (self.world.clone(), myself.clone());
        self.tasks.spawn(async move {
            let found = world.ports.journal.waking().await;
            drop(myself.cast(Message::Found(found)));
        });
    }

    fn found(&mut self, myself: &ActorRef<Message>, found: Result<Vec<(WorkflowId, Timestamp)>, JournalError>) {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the workflows that are to go on cannot be read now");
                return later(myself, READ_AGAIN, || Message::Read);
            }
        };
        for (id, at) in found {
            match at {
                Timestamp(0) => self.queue.push_back(id),
                at => self.due(id, Some(at)),
            }
        }
        drop(myself.cast(Message::Tick));
    }

    async fn make(
        &mut self,
        myself: &ActorRef<Message>,
        id: WorkflowId,
        state: Option<Box<State>>,
    ) -> Result<(), ActorProcessingErr> {
        if self.world.workflows.present.contains_key(&id) {
            return Ok(());
        }
        let workflow = state.as_ref().map(|state| state.workflow.clone());
        let arguments = workflow::Arguments { world: self.world.clone(), id, state, supervisor: myself.clone() };
        let (actor, _) = Actor::spawn_linked(None, WorkflowActor, arguments, myself.get_cell()).await?;
        let child = actor.get_id();
        self.children.insert(child, id);
        self.world.workflows.present.insert(id, Present { actor, workflow });
        self.tell(id, workflow::Message::Begin);
        self.looks.push_back((Instant::now() + self.world.settings.workflows.idle, id, child));
        Ok(())
    }

    async fn wake(
        &mut self,
        myself: &ActorRef<Message>,
        id: WorkflowId,
        mail: Option<Mail>,
    ) -> Result<(), ActorProcessingErr> {
        self.make(myself, id, None).await?;
        if let Some(mail) = mail {
            self.tell(id, workflow::Message::Asked(mail));
        }
        Ok(())
    }

    fn tell(&self, id: WorkflowId, message: workflow::Message) {
        if let Some(present) = self.world.workflows.present.get(&id) {
            drop(present.actor.cast(message));
        }
    }

    fn due(&mut self, id: WorkflowId, due: Option<Timestamp>) {
        if let Some(before) = self.due.remove(&id) {
            self.deadlines.remove(&(before, id));
        }
        if let Some(due) = due {
            self.due.insert(id, due);
            self.deadlines.insert((due, id));
        }
    }

    fn died(&mut self, myself: &ActorRef<Message>, id: WorkflowId, reason: &str) {
        tracing::warn!(workflow = %id, reason, "a workflow's actor died");
        let uptime = self.world.uptime();
        let wait = self.deaths.entry(id).or_default().note(&Policy::DELIBERATION, uptime).or(REST);
        later(myself, wait, move || Message::Wake { id, mail: None });
    }

    async fn tick(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        for _ in 0..AT_ONCE {
            let Some(id) = self.queue.pop_front() else { break };
            self.make(myself, id, None).await?;
        }
        if !self.queue.is_empty() {
            drop(myself.cast(Message::Tick));
        }
        while let Some((due, id)) = self.deadlines.first().copied() {
            if due > self.world.ports.clock.now() {
                break;
            }
            self.deadlines.remove(&(due, id));
            self.due.remove(&id);
            self.wake(myself, id, None).await?;
            self.tell(id, workflow::Message::Due);
        }
        self.look();
        Ok(())
    }

    /// Each is asked once in a while; an actor that has gone meanwhile is asked no more, whoever came in its place.
    fn look(&mut self) {
        let now = Instant::now();
        while self.looks.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, id, child)) = self.looks.pop_front() else { return };
            let is_there = self.world.workflows.present.get(&id).is_some_and(|present| present.actor.get_id() == child);
            if is_there {
                self.tell(id, workflow::Message::Look);
                self.looks.push_back((now + self.world.settings.workflows.idle, id, child));
            }
        }
    }
}
