//! The glue: messages become inputs, effects become tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::{AbortHandle, JoinSet};

use super::calls::Calls;
use super::message::{Message, Reply};
use super::state::{Effect, Input, Place, State, Ticket};
use crate::census::Presence;
use crate::domain::answer::{Class, Failure};
use crate::ports::ModelCall;
use crate::world::World;

/// When to ask a full agent again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Finished tasks that may lie about: clearing them away one by one costs more than a batch.
const MOST_FINISHED: usize = 64;

pub(crate) struct Agent;

/// What an agent works with.
pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    /// Calls at once.
    pub(crate) limit: usize,
    pub(crate) calls: Arc<Calls>,
    pub(crate) heartbeat: Arc<AtomicU64>,
}

pub(crate) struct Live {
    arguments: Arguments,
    state: State,
    waiting: BTreeMap<Ticket, (Box<ModelCall>, Reply)>,
    started: BTreeMap<Ticket, AbortHandle>,
    tasks: JoinSet<()>,
    _presence: Presence,
}

impl Actor for Agent {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, _: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let state = State::new(arguments.limit);
        let _presence = arguments.world.census.enter();
        let (waiting, started, tasks) = (BTreeMap::new(), BTreeMap::new(), JoinSet::new());
        Ok(Live { arguments, state, waiting, started, tasks, _presence })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        live: &mut Live,
    ) -> Result<(), ActorProcessingErr> {
        live.settle(&myself);
        match message {
            Message::Ask { call, reply } => live.ask(&myself, call, reply),
            Message::Withdraw { run } => live.step(&myself, Input::Withdrawn { run }),
            Message::Ended => {}
            Message::Ping { beat } => live.arguments.heartbeat.store(beat, Ordering::Relaxed),
        }
        if live.state.has_waiting() {
            live.settle(&myself);
        }
        Ok(())
    }
}

impl Live {
    /// Takes in the calls that are over; whoever waits for their places starts.
    fn settle(&mut self, myself: &ActorRef<Message>) {
        if self.tasks.len() > self.started.len() + MOST_FINISHED {
            while self.tasks.try_join_next().is_some() {}
        }
        while let Some(ticket) = self.arguments.calls.next_over(self.state.has_waiting()) {
            self.started.remove(&ticket);
            self.step(myself, Input::Ended { ticket });
        }
    }

    fn ask(&mut self, myself: &ActorRef<Message>, call: Box<ModelCall>, reply: Reply) {
        match self.state.ask(call.id.run.clone()) {
            Place::Starts(ticket) => self.start(myself, ticket, call, reply),
            Place::Waits(ticket) => drop(self.waiting.insert(ticket, (call, reply))),
            Place::Refused => {
                let failure = Failure::new(Class::Busy, "too many calls wait at this agent");
                reply.fail(Failure { retry_after: Some(RETRY_AFTER), ..failure });
            }
        }
    }

    fn step(&mut self, myself: &ActorRef<Message>, input: Input) {
        for effect in self.state.step(input) {
            match effect {
                Effect::Start(ticket) => {
                    if let Some((call, reply)) = self.waiting.remove(&ticket) {
                        self.start(myself, ticket, call, reply);
                    }
                }
                Effect::Abort(ticket) => self.abort(ticket),
            }
        }
    }

    fn start(&mut self, myself: &ActorRef<Message>, ticket: Ticket, call: Box<ModelCall>, reply: Reply) {
        let model = self.arguments.world.ports.model.clone();
        let in_flight = self.arguments.calls.begin(ticket, myself.clone());
        let task = self.tasks.spawn(async move {
            let _in_flight = in_flight;
            let result = model.complete(&call).await;
            reply.tell(result).await;
        });
        self.started.insert(ticket, task);
    }

    fn abort(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
        if let Some(task) = self.started.remove(&ticket) {
            task.abort();
        }
    }
}
