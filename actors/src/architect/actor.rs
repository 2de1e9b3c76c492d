//! The glue: a paper becomes a call of the architect's agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::message::{Message, Paper};
use super::state;
use crate::agent::Reply;
use crate::census::Presence;
use crate::domain::answer::{Class, Failure};
use crate::domain::id::Role;
use crate::world::World;

pub(crate) struct Architect;

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) heartbeat: Arc<AtomicU64>,
}

pub(crate) struct Live {
    arguments: Arguments,
    role: Role,
    _presence: Presence,
}

impl Actor for Architect {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, _: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let _presence = arguments.world.census.enter();
        Ok(Live { arguments, role: Role::architect(), _presence })
    }

    async fn handle(&self, _: ActorRef<Message>, message: Message, live: &mut Live) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Vote { paper, reply } => live.vote(*paper, reply),
            Message::Ping { beat } => live.arguments.heartbeat.store(beat, Ordering::Relaxed),
        }
        Ok(())
    }
}

impl Live {
    fn vote(&self, paper: Paper, reply: Reply) {
        match state::call(paper) {
            Ok((agent, call)) => match self.arguments.world.registry.agent(&self.role, &agent) {
                Some(handle) => handle.ask(call, reply),
                None => reply.fail(Failure::new(Class::Gone, "the architect's agent is not there")),
            },
            Err(error) => reply.fail(Failure::new(Class::Internal, format!("the ballot cannot be made: {error}"))),
        }
    }
}
