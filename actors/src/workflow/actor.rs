//! The glue: one workflow while somebody works on it. Its calls, its writing and its reading are tasks; it only decides.

use std::collections::VecDeque;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::directory::Present;
use super::error::WorkflowError;
use super::message::{Mail, Message, Reply};
use super::state::{Drawn, Effect, Input, State, beginning};
use crate::census::Presence;
use crate::domain::event::{Event, NewEvent, Recorded, SCHEMA};
use crate::domain::id::{EventId, StreamId};
use crate::domain::workflow::{Artifact, Created, Transition, WorkflowId};
use crate::ports::{Ack, Append, Batch, Committed, HubError, InvocationId, JournalError, whole_stream};
use crate::supervisor::WorkflowsMessage;
use crate::world::World;

/// Wishes of one workflow that may wait for those before them.
const MOST_WAITING: usize = 1_024;

pub(crate) struct WorkflowActor;

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) id: WorkflowId,
    /// `None` = its stream is read first.
    pub(crate) state: Option<Box<State>>,
    pub(crate) supervisor: ActorRef<WorkflowsMessage>,
}

pub(crate) struct Live {
    world: Arc<World>,
    id: WorkflowId,
    supervisor: ActorRef<WorkflowsMessage>,
    state: Option<Box<State>>,
    /// For the writing to end, or the reading.
    waiting: VecDeque<Work>,
    writing: Option<Writing>,
    call: Option<Call>,
    tasks: JoinSet<()>,
    used: Instant,
    _presence: Presence,
}

/// What is worked on one by one.
enum Work {
    Asked(Mail),
    Answered { id: InvocationId, answer: Result<Artifact, HubError> },
    Due,
}

/// On its way to the disk; the state changes when it is there.
struct Writing {
    batch: Batch,
    reply: Option<Reply>,
}

struct Call {
    id: InvocationId,
    task: AbortHandle,
}

impl Actor for WorkflowActor {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, _: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let Arguments { world, id, state, supervisor } = arguments;
        Ok(Live {
            _presence: world.census.enter(),
            world,
            id,
            supervisor,
            state,
            waiting: VecDeque::new(),
            writing: None,
            call: None,
            tasks: JoinSet::new(),
            used: Instant::now(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        live: &mut Live,
    ) -> Result<(), ActorProcessingErr> {
        while let Some(ended) = live.tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                return Err(error.into());
            }
        }
        match message {
            Message::Begin if live.state.is_some() => live.settle(&myself),
            Message::Begin => live.load(&myself),
            Message::Asked(mail) => live.take(&myself, Work::Asked(mail)),
            Message::Loaded(loaded) => live.loaded(&myself, loaded),
            Message::Written(result) => live.written(&myself, result),
            Message::Answered { id, answer } => live.take(&myself, Work::Answered { id, answer }),
            Message::Due => live.take(&myself, Work::Due),
            Message::WriteAgain => live.submit(&myself),
            Message::Look => live.look(&myself),
        }
        Ok(())
    }
}

impl Live {
    /// Not in the handler: a journal takes its time.
    fn load(&mut self, myself: &ActorRef<Message>) {
        let (world, id, myself) = (self.world.clone(), self.id, myself.clone());
        self.tasks.spawn(async move {
            let read = whole_stream(&*world.ports.journal, &StreamId::workflow(id)).await;
            drop(myself.cast(Message::Loaded(read.map(|events| State::of(&events).map(Box::new)))));
        });
    }

    fn loaded(&mut self, myself: &ActorRef<Message>, loaded: Result<Option<Box<State>>, JournalError>) {
        let error = match loaded {
            Ok(Some(state)) => {
                self.state = Some(state);
                self.settle(myself);
                return self.work(myself);
            }
            Ok(None) => WorkflowError::Unknown { id: self.id },
            Err(error) => error.into(),
        };
        for work in std::mem::take(&mut self.waiting) {
            if let Work::Asked(mail) = work {
                drop(mail.reply.send(Err(error.clone())));
            }
        }
        self.leave(myself);
    }

    fn take(&mut self, myself: &ActorRef<Message>, work: Work) {
        self.used = Instant::now();
        if let Work::Answered { id, .. } = &work {
            self.call.take_if(|call| call.id == *id);
        }
        match work {
            Work::Asked(mail) if self.waiting.len() >= MOST_WAITING => {
                let what = format!("{MOST_WAITING} requests wait for workflow {}", self.id).into();
                let retry_after = std::time::Duration::from_secs(1);
                drop(mail.reply.send(Err(WorkflowError::Busy { what, retry_after })));
            }
            work => self.waiting.push_back(work),
        }
        self.work(myself);
    }

    /// One after the other, until one of them has to be written.
    fn work(&mut self, myself: &ActorRef<Message>) {
        while self.writing.is_none() && self.state.is_some() {
            let Some(work) = self.waiting.pop_front() else { return };
            self.decide(myself, work);
        }
    }

    fn decide(&mut self, myself: &ActorRef<Message>, work: Work) {
        let Some(state) = &self.state else { return };
        let ids = &self.world.ports.ids;
        let drawn = Drawn { now: self.world.ports.clock.now(), next: WorkflowId(ids.event_id().0) };
        let (decided, first, reply) = match work {
            Work::Asked(Mail { asked, event, reply }) => {
                let asked = Input::Asked { asked: &asked, event };
                (state.decide(&asked, drawn), event, Some(reply))
            }
            Work::Answered { id, answer } => {
                let decided = state.decide(&Input::Answered { id, answer: &answer }, drawn);
                (decided, ids.event_id(), None)
            }
            Work::Due => (state.decide(&Input::Due, drawn), ids.event_id(), None),
        };
        match decided {
            Ok(Effect::Write { steps, next }) => {
                let batch = self.batch(first, steps, next);
                self.writing = Some(Writing { batch, reply });
                self.submit(myself);
            }
            Ok(Effect::Keep) => tell(reply, Ok(state.workflow.clone())),
            Err(error) => tell(reply, Err(error)),
        }
    }

    fn batch(&self, first: EventId, steps: Vec<Transition>, next: Option<Box<Created>>) -> Batch {
        let version = self.state.as_ref().map_or(0, |state| state.workflow.version);
        let steps = steps.into_iter().map(|step| Event::WorkflowAdvanced(Arc::new(step)));
        let mut ids = std::iter::once(first).chain(std::iter::repeat_with(|| self.world.ports.ids.event_id()));
        let mut appends = vec![append(&self.world, self.id, version, steps.collect(), &mut ids)];
        if let Some(created) = next {
            appends.push(append(&self.world, created.workflow, 0, beginning(*created), &mut ids));
        }
        Batch::of(appends)
    }

    fn submit(&self, myself: &ActorRef<Message>) {
        let Some(writing) = &self.writing else { return };
        let myself = myself.clone();
        let told = Ack::new(move |result| drop(myself.cast(Message::Written(result))));
        self.world.ports.journal.submit(writing.batch.clone(), told);
    }

    fn written(&mut self, myself: &ActorRef<Message>, result: Result<Committed, JournalError>) {
        if let Err(JournalError::Busy { retry_after }) = result {
            drop(myself.send_after(retry_after, || Message::WriteAgain));
            return;
        }
        let (Some(writing), Some(state)) = (self.writing.take(), &mut self.state) else { return };
        match result {
            Ok(committed) => {
                let written = recorded(writing.batch, committed);
                let (own, next): (Vec<_>, Vec<_>) =
                    written.iter().partition(|recorded| recorded.stream == StreamId::workflow(self.id));
                own.into_iter().for_each(|recorded| state.take_in(recorded));
                let shown = state.workflow.clone();
                // Readers see it before its client hears of it: who reads at once must not find less than was told.
                self.settle(myself);
                tell(writing.reply, Ok(shown));
                if let Some(state) = State::of(next) {
                    let (id, state) = (state.workflow.id, Box::new(state));
                    drop(self.supervisor.cast(WorkflowsMessage::Begun { id, state }));
                }
            }
            // Nobody else writes here, unless an earlier life of this actor did: what it wrote counts.
            Err(JournalError::Conflict { .. }) => {
                self.state = None;
                self.load(myself);
            }
            Err(error) => tell(writing.reply, Err(error.into())),
        }
        self.work(myself);
    }

    /// What everybody else sees, and what the hub does, follows from how things stand.
    fn settle(&mut self, myself: &ActorRef<Message>) {
        let Some(state) = &self.state else { return };
        self.world.workflows.show(&state.workflow);
        let due = state.workflow.due.filter(|_| !state.workflow.status.is_over());
        drop(self.supervisor.cast(WorkflowsMessage::Due { id: self.id, due }));
        let invocation = state.invocation();
        let wanted = invocation.as_ref().map(|invocation| invocation.id);
        if let Some(call) = self.call.take_if(|call| Some(call.id) != wanted) {
            self.withdraw(&call);
        }
        if let (Some(invocation), None, Some(_)) = (invocation, &self.call, &self.world.ports.hub) {
            self.invoke(myself, Arc::new(invocation));
        }
    }

    fn withdraw(&self, call: &Call) {
        call.task.abort();
        if let Some(hub) = &self.world.ports.hub {
            hub.withdraw(call.id);
        }
    }

    fn invoke(&mut self, myself: &ActorRef<Message>, invocation: Arc<crate::ports::Invocation>) {
        let Some(hub) = self.world.ports.hub.clone() else { return };
        let (world, myself, id) = (self.world.clone(), myself.clone(), invocation.id);
        let task = self.tasks.spawn(async move {
            // Never closed.
            let Ok(_place) = world.workflows.places.acquire().await else { return };
            let answer = hub.invoke(invocation).await;
            drop(myself.cast(Message::Answered { id, answer }));
        });
        self.call = Some(Call { id, task });
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.writing.is_none() && self.state.is_some() && self.call.is_none()
    }

    fn look(&self, myself: &ActorRef<Message>) {
        if self.is_idle() && self.used.elapsed() >= self.world.settings.workflows.idle {
            self.leave(myself);
        }
    }

    /// From here on nobody finds it, and what lies in its mailbox is dropped unseen: it comes again another way.
    fn leave(&self, myself: &ActorRef<Message>) {
        let own = |present: &Present| present.actor.get_id() == myself.get_id();
        drop(self.world.workflows.present.remove_if(&self.id, |_, present| own(present)));
        myself.stop(None);
    }
}

fn tell(reply: Option<Reply>, result: Result<Arc<crate::domain::workflow::Workflow>, WorkflowError>) {
    if let Some(reply) = reply {
        // A client that has gone away misses nothing that it could not read later.
        drop(reply.send(result));
    }
}

/// Events of one workflow, each caused by the one before.
pub(super) fn append(
    world: &World,
    workflow: WorkflowId,
    version: u64,
    events: Vec<Event>,
    ids: &mut dyn Iterator<Item = EventId>,
) -> Append {
    let (at, correlation) = (world.ports.clock.now(), Some(Arc::from(workflow.to_string())));
    let mut causation = None;
    let stamp = |(event, id): (Event, EventId)| {
        let causation = causation.replace(id);
        NewEvent { id, at, correlation: correlation.clone(), causation, event }
    };
    let events = events.into_iter().zip(ids).map(stamp).collect();
    Append { stream: StreamId::workflow(workflow), expected_version: version, events }
}

/// What was written, as whoever reads it later finds it.
pub(super) fn recorded(batch: Batch, committed: Committed) -> Vec<Recorded> {
    let mut seq = committed.first_seq;
    let mut all = Vec::new();
    for append in batch.appends {
        for (version, event) in (append.expected_version + 1..).zip(append.events.iter().cloned()) {
            all.push(Recorded { seq, stream: append.stream.clone(), version, schema: SCHEMA, event });
            seq += 1;
        }
    }
    all
}
