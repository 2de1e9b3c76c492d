//! The root: keeps the councils' supervisor and the architect alive, or says that the process must end.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use super::children::{Child, exit_of, later};
use super::councils::{self, Councils, Message as CouncilsMessage};
use super::policy::{Policy, Verdict};
use super::workflows::{self, Workflows};
use crate::architect::{self, Architect};
use crate::census::Presence;
use crate::council;
use crate::dispatcher::{self, Dispatcher};
use crate::domain::council::Council;
use crate::domain::id::Role;
use crate::error::SystemError;
use crate::world::{Fault, World};

pub(crate) struct Root;

/// The councils' supervisor holds no work of its own: three restarts in ten seconds are enough to know.
const POLICY: Policy = Policy {
    most_restarts: 3,
    window: Duration::from_secs(10),
    first_wait: Duration::from_millis(50),
    longest_wait: Duration::from_secs(1),
};

/// What these stumble over again and again may go away by itself, and what waits for them has no other way out.
const LONG_REST: Duration = Duration::from_secs(60);

/// Mail of the root.
#[derive(Debug)]
pub(crate) enum Message {
    /// From the system; passed on.
    CreateCouncil {
        council: Box<Council>,
        reply: council::Reply,
    },
    /// From the system; passed on.
    ResumeCouncil {
        role: Role,
        reply: oneshot::Sender<Result<(), SystemError>>,
    },
    /// From its own timers.
    Restart,
    RestartArchitect,
    RestartDispatcher,
    RestartWorkflows,
    Tick,
}

pub(crate) struct Live {
    world: Arc<World>,
    councils: Option<ActorRef<CouncilsMessage>>,
    child: Child,
    /// When it died too often it stays away: the score decides meanwhile, and the tree says so.
    architect: Child,
    /// When it died too often it rests for a while: nothing is taken from the queue, and the tree says so.
    dispatcher: Child,
    /// The same: nobody works on workflows.
    workflows: Child,
    _presence: Presence,
}

impl Actor for Root {
    type Msg = Message;
    type State = Live;
    type Arguments = Arc<World>;

    async fn pre_start(&self, myself: ActorRef<Message>, world: Arc<World>) -> Result<Live, ActorProcessingErr> {
        drop(myself.send_interval(world.settings.ping_every, || Message::Tick));
        let child = Child::standing(&world, "councils".to_owned(), "root".to_owned());
        let architect = Child::standing(&world, "architect".to_owned(), "root".to_owned());
        let dispatcher = Child::standing(&world, "dispatcher".to_owned(), "root".to_owned());
        let workflows = Child::standing(&world, "workflows".to_owned(), "root".to_owned());
        let _presence = world.census.enter();
        let mut live = Live { world, councils: None, child, architect, dispatcher, workflows, _presence };
        live.spawn_architect(&myself).await?;
        live.spawn(&myself).await?;
        live.spawn_dispatcher(&myself).await?;
        live.spawn_workflows(&myself).await?;
        Ok(live)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        live: &mut Live,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::CreateCouncil { council, reply } => match &live.councils {
                Some(councils) => drop(councils.cast(CouncilsMessage::Create { council, reply })),
                None => drop(reply.send(Err(restarting()))),
            },
            Message::ResumeCouncil { role, reply } => match &live.councils {
                Some(councils) => drop(councils.cast(CouncilsMessage::Resume { role, reply })),
                None => drop(reply.send(Err(restarting()))),
            },
            Message::Restart => live.spawn(&myself).await?,
            Message::RestartArchitect => live.spawn_architect(&myself).await?,
            Message::RestartDispatcher => live.spawn_dispatcher(&myself).await?,
            Message::RestartWorkflows => live.spawn_workflows(&myself).await?,
            Message::Tick => live.tick(),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        live: &mut Live,
    ) -> Result<(), ActorProcessingErr> {
        let Some((id, reason)) = exit_of(event) else { return Ok(()) };
        if live.architect.is(id) {
            live.world.registry.put_architect(None);
            if let Verdict::RestartAfter(wait) = live.architect.died(&live.world, &POLICY, &reason) {
                later(&myself, wait, || Message::RestartArchitect);
            }
            return Ok(());
        }
        if live.dispatcher.is(id) {
            live.world.registry.put_dispatcher(None);
            let wait = live.dispatcher.died(&live.world, &POLICY, &reason).or(LONG_REST);
            later(&myself, wait, || Message::RestartDispatcher);
            return Ok(());
        }
        if live.workflows.is(id) {
            live.world.workflows.put_supervisor(None);
            let wait = live.workflows.died(&live.world, &POLICY, &reason).or(LONG_REST);
            later(&myself, wait, || Message::RestartWorkflows);
            return Ok(());
        }
        if !live.child.is(id) {
            return Ok(());
        }
        live.councils = None;
        match live.child.died(&live.world, &POLICY, &reason) {
            Verdict::RestartAfter(wait) => later(&myself, wait, || Message::Restart),
            Verdict::Meltdown => drop(live.world.fault.send_replace(Some(Fault::Meltdown { reason: reason.into() }))),
        }
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<Message>, _: &mut Live) -> Result<(), ActorProcessingErr> {
        myself.stop_children_and_wait(None, None).await;
        Ok(())
    }
}

fn restarting() -> SystemError {
    SystemError::Unavailable("the councils are restarting; try again".into())
}

impl Live {
    async fn spawn(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        let heartbeat = self.child.heartbeat.clone();
        let arguments = councils::Arguments { world: self.world.clone(), heartbeat };
        let (actor, _) = Actor::spawn_linked(None, Councils, arguments, myself.get_cell()).await?;
        self.child.lives(&self.world, actor.get_cell());
        self.councils = Some(actor);
        Ok(())
    }

    async fn spawn_architect(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        let heartbeat = self.architect.heartbeat.clone();
        let arguments = architect::Arguments { world: self.world.clone(), heartbeat };
        let (actor, _) = Actor::spawn_linked(None, Architect, arguments, myself.get_cell()).await?;
        self.architect.lives(&self.world, actor.get_cell());
        self.world.registry.put_architect(Some(actor));
        Ok(())
    }

    async fn spawn_dispatcher(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        let heartbeat = self.dispatcher.heartbeat.clone();
        let arguments = dispatcher::Arguments { world: self.world.clone(), heartbeat };
        let (actor, _) = Actor::spawn_linked(None, Dispatcher, arguments, myself.get_cell()).await?;
        self.dispatcher.lives(&self.world, actor.get_cell());
        self.world.registry.put_dispatcher(Some(actor));
        Ok(())
    }

    async fn spawn_workflows(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        let heartbeat = self.workflows.heartbeat.clone();
        let arguments = workflows::Arguments { world: self.world.clone(), heartbeat };
        // Those of an earlier life died with it.
        self.world.workflows.present.clear();
        let (actor, _) = Actor::spawn_linked(None, Workflows, arguments, myself.get_cell()).await?;
        self.workflows.lives(&self.world, actor.get_cell());
        self.world.workflows.put_supervisor(Some(actor));
        Ok(())
    }

    fn tick(&mut self) {
        if let Some(beat) = self.workflows.next_beat(&self.world) {
            self.world.workflows.tell_supervisor(workflows::Message::Ping { beat });
        }
        if let Some(beat) = self.dispatcher.next_beat(&self.world) {
            self.world.registry.tell_dispatcher(dispatcher::Message::Ping { beat });
        }
        if let Some(beat) = self.architect.next_beat(&self.world) {
            self.world.registry.ping_architect(beat);
        }
        if let (Some(beat), Some(councils)) = (self.child.next_beat(&self.world), &self.councils) {
            drop(councils.cast(CouncilsMessage::Ping { beat }));
        }
    }
}
