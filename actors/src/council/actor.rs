//! The glue: changes become events, tasks become plans.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinSet;

use super::message::{Change, Message, Reply};
use super::state::{self, MOST_WAITING};
use crate::census::Presence;
use crate::context::Background;
use crate::domain::answer::{Class, Failure};
use crate::domain::council::Council;
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{Role, StreamId};
use crate::error::SystemError;
use crate::ports::{Ack, Batch, Committed, Journal, JournalError, settled, whole_stream};
use crate::running::Running;
use crate::supervisor::{DeliberationsMessage, RoleMessage};
use crate::world::World;

pub(crate) struct CouncilActor;

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) role: Role,
    pub(crate) supervisor: ActorRef<RoleMessage>,
    pub(crate) heartbeat: Arc<AtomicU64>,
}

pub(crate) struct Live {
    arguments: Arguments,
    /// `None` while it is being read.
    council: Option<(Council, u64)>,
    /// The change that is being written.
    writing: Option<(Event, Change, Reply)>,
    waiting: VecDeque<(Change, Reply)>,
    /// Runs that came while the stream was being read.
    early: Vec<Arc<Running>>,
    tasks: JoinSet<()>,
    _presence: Presence,
}

impl Actor for CouncilActor {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let (waiting, early, tasks) = (VecDeque::new(), Vec::new(), JoinSet::new());
        let _presence = arguments.world.census.enter();
        let mut live = Live { arguments, council: None, writing: None, waiting, early, tasks, _presence };
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
            Message::Start { running } => live.start(running),
            Message::Change { change, reply } => live.change(&myself, change, reply),
            Message::Loaded(loaded) => live.loaded(&myself, (*loaded)?),
            Message::Written(result) => live.written(&myself, result),
            Message::Ping { beat } => live.arguments.heartbeat.store(beat, Ordering::Relaxed),
        }
        Ok(())
    }
}

impl Live {
    fn read(&mut self, myself: &ActorRef<Message>) {
        self.council = None;
        let (world, role, myself) = (self.arguments.world.clone(), self.arguments.role.clone(), myself.clone());
        self.tasks.spawn(async move {
            let loaded = Box::new(folded(&*world.ports.journal, &role).await);
            drop(myself.cast(Message::Loaded(loaded)));
        });
    }

    /// The supervisor hears how the council stands: a change that was written just before a crash is not in force yet.
    fn loaded(&mut self, myself: &ActorRef<Message>, folded: Option<(Council, u64)>) {
        let published =
            self.arguments.world.registry.councils.get(&self.arguments.role).map_or(0, |entry| entry.version);
        if folded.as_ref().is_some_and(|(_, version)| *version < published) {
            return self.read(myself);
        }
        let standing = folded.as_ref().map(|(council, _)| Box::new(council.clone()));
        drop(self.arguments.supervisor.cast(RoleMessage::Standing { council: standing }));
        let Some((council, version)) = folded else {
            self.waiting.clear();
            return self.early.clear();
        };
        self.publish(&council, version, myself);
        self.council = Some((council, version));
        for running in std::mem::take(&mut self.early) {
            self.start(running);
        }
        self.next_change(myself);
    }

    fn publish(&self, council: &Council, version: u64, myself: &ActorRef<Message>) {
        if let Some(mut entry) = self.arguments.world.registry.councils.get_mut(&council.role) {
            entry.council = Arc::new(council.clone());
            entry.version = version;
            entry.actor = Some(myself.clone());
        }
    }

    fn start(&mut self, running: Arc<Running>) {
        let Some((council, _)) = &self.council else { return self.early.push(running) };
        let (task, background) = ((running.run.clone(), running.spec.clone()), Background::unasked(&running.spec));
        let plan = super::plan(&self.arguments.world, council, task, (background, super::Made::default()));
        let plan = plan.map(Arc::new).map_err(|message| Failure::new(Class::Transient, message));
        self.tell_deliberations(DeliberationsMessage::Start { running, plan, begun: None });
    }

    /// A supervisor that is just restarting finds open runs by itself.
    fn tell_deliberations(&self, message: DeliberationsMessage) {
        if let Some(deliberations) = self.arguments.world.registry.deliberations.get(&self.arguments.role) {
            drop(deliberations.cast(message));
        }
    }

    fn change(&mut self, myself: &ActorRef<Message>, change: Change, reply: Reply) {
        if self.waiting.len() >= MOST_WAITING {
            let what = format!("{MOST_WAITING} changes of this council wait to be written").into();
            drop(reply.send(Err(SystemError::Busy { what, retry_after: Duration::from_secs(1) })));
            return;
        }
        self.waiting.push_back((change, reply));
        self.next_change(myself);
    }

    fn next_change(&mut self, myself: &ActorRef<Message>) {
        while self.writing.is_none() {
            let Some((council, version)) = &self.council else { return };
            let Some((change, reply)) = self.waiting.pop_front() else { return };
            match state::decide(council, change.clone()) {
                Ok(event) => {
                    let batch = self.batch(&event, *version);
                    self.writing = Some((event, change, reply));
                    let to = myself.clone();
                    let ack = Ack::new(move |result| drop(to.cast(Message::Written(result))));
                    self.arguments.world.ports.journal.submit(batch, ack);
                }
                Err(error) => drop(reply.send(Err(error))),
            }
        }
    }

    fn batch(&self, event: &Event, version: u64) -> Batch {
        let ports = &self.arguments.world.ports;
        let (id, at) = (ports.ids.event_id(), ports.clock.now());
        let new = NewEvent { id, at, correlation: None, causation: None, event: event.clone() };
        Batch::one(StreamId::council(&self.arguments.role), version, vec![new])
    }

    fn written(&mut self, myself: &ActorRef<Message>, result: Result<Committed, JournalError>) {
        let Some((event, change, reply)) = self.writing.take() else { return };
        match result {
            Ok(_) => self.apply(myself, event, reply),
            // Parking and resuming are written by the supervisor: the change is decided anew on what is there now.
            Err(JournalError::Conflict { .. }) => {
                self.waiting.push_front((change, reply));
                self.read(myself);
            }
            Err(error) => drop(reply.send(Err(error.into()))),
        }
        self.next_change(myself);
    }

    fn apply(&mut self, myself: &ActorRef<Message>, event: Event, reply: Reply) {
        let Some((council, version)) = self.council.take() else { return };
        let before = Arc::new(council.clone());
        let after = Council::fold(Some(council), &event);
        let council = match after {
            Some(council) => {
                self.publish(&council, version + 1, myself);
                let told = Arc::new(council.clone());
                self.council = Some((council, version + 1));
                told
            }
            None => {
                self.arguments.world.registry.councils.remove(&self.arguments.role);
                before
            }
        };
        drop(self.arguments.supervisor.cast(RoleMessage::Changed { event: Box::new(event), council, reply }));
    }
}

/// The council as it stands, with its version; behind what the actor before this one may have had on its way.
async fn folded(journal: &dyn Journal, role: &Role) -> Result<Option<(Council, u64)>, JournalError> {
    settled(journal).await?;
    let events = whole_stream(journal, &StreamId::council(role)).await?;
    let version = events.last().map_or(0, |last| last.version);
    let council = events.iter().fold(None, |council, event| Council::fold(council, &event.event.event));
    Ok(council.map(|council| (council, version)))
}
