//! The deliberations of one role: starts them, starts them again from the journal, ends those that keep dying.

use std::collections::BTreeMap;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::JoinSet;

use super::children::{Child, exit_of, later};
use super::policy::{Policy, Verdict};
use crate::deliberation::{self, Deliberation, Input};
use crate::domain::answer::Class;
use crate::domain::event::{Event, NewEvent, Plan, TaskFailure};
use crate::domain::id::{RunId, StreamId, TaskId};
use crate::error::SystemError;
use crate::ports::{Append, Batch, JournalError, whole_stream};
use crate::running::Running;
use crate::world::World;

pub(crate) struct Deliberations;

/// Mail of the deliberations' supervisor. Starts hold a permit, so the gate bounds them.
#[derive(Debug)]
pub(crate) enum Message {
    /// From the council.
    Start {
        running: Arc<Running>,
        plan: Option<Arc<Plan>>,
        fresh: bool,
    },
    /// From the council: an admitted run that cannot begin.
    Refuse {
        running: Arc<Running>,
        class: Class,
        message: Arc<str>,
    },
    /// From the system. Told at once if the run lives, else when it is back.
    Cancel {
        task: TaskId,
        reason: Arc<str>,
    },
    /// From its own timer.
    Restart {
        task: TaskId,
    },
    /// From its own task that ended a run in the journal.
    Ended {
        running: Arc<Running>,
        error: SystemError,
    },
    Tick,
    Ping {
        beat: u64,
    },
}

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) name: String,
    pub(crate) heartbeat: Arc<std::sync::atomic::AtomicU64>,
}

struct Member {
    running: Arc<Running>,
    plan: Option<Arc<Plan>>,
    child: Child,
    actor: Option<ActorRef<deliberation::Message>>,
    cancel: Option<Arc<str>>,
}

pub(crate) struct Live {
    arguments: Arguments,
    members: BTreeMap<TaskId, Member>,
    by_actor: BTreeMap<u64, TaskId>,
    tasks: JoinSet<()>,
}

impl Actor for Deliberations {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        drop(myself.send_interval(arguments.world.settings.ping_every, || Message::Tick));
        Ok(Live { arguments, members: BTreeMap::new(), by_actor: BTreeMap::new(), tasks: JoinSet::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        live: &mut Live,
    ) -> Result<(), ActorProcessingErr> {
        while live.tasks.try_join_next().is_some() {}
        match message {
            Message::Start { running, plan, fresh } => live.start(&myself, running, plan, fresh).await?,
            Message::Refuse { running, class, message } => live.end(&myself, running, class, message),
            Message::Cancel { task, reason } => live.cancel(&task, reason),
            Message::Restart { task } => live.spawn(&myself, &task, false).await?,
            Message::Ended { running, error } => live.ended(&running, error),
            Message::Tick => live.tick(),
            Message::Ping { beat } => live.arguments.heartbeat.store(beat, std::sync::atomic::Ordering::Relaxed),
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
            live.exited(&myself, id.pid(), &reason);
        }
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<Message>, _: &mut Live) -> Result<(), ActorProcessingErr> {
        myself.stop_children_and_wait(None, None).await;
        Ok(())
    }
}

impl Live {
    async fn start(
        &mut self,
        myself: &ActorRef<Message>,
        running: Arc<Running>,
        plan: Option<Arc<Plan>>,
        fresh: bool,
    ) -> Result<(), ActorProcessingErr> {
        let task = running.run.task.clone();
        if self.members.contains_key(&task) || running.has_ended() {
            return Ok(());
        }
        let child = Child::passing(format!("deliberation/{}", running.run), self.arguments.name.clone());
        self.members.insert(task.clone(), Member { running, plan, child, actor: None, cancel: None });
        self.spawn(myself, &task, fresh).await
    }

    async fn spawn(
        &mut self,
        myself: &ActorRef<Message>,
        task: &TaskId,
        fresh: bool,
    ) -> Result<(), ActorProcessingErr> {
        let Some(member) = self.members.get_mut(task) else { return Ok(()) };
        let arguments = deliberation::Arguments {
            world: self.arguments.world.clone(),
            running: member.running.clone(),
            plan: member.plan.clone(),
            fresh,
            heartbeat: member.child.heartbeat.clone(),
        };
        let (actor, _) = Actor::spawn_linked(None, Deliberation, arguments, myself.get_cell()).await?;
        if let Some(reason) = member.cancel.clone() {
            drop(actor.cast(deliberation::Message::Input(Input::CancelAsked { reason })));
        }
        self.by_actor.insert(actor.get_id().pid(), task.clone());
        member.child.lives(&self.arguments.world, actor.get_cell());
        member.actor = Some(actor);
        Ok(())
    }

    fn cancel(&mut self, task: &TaskId, reason: Arc<str>) {
        let Some(member) = self.members.get_mut(task) else { return };
        if let Some(actor) = &member.actor {
            drop(actor.cast(deliberation::Message::Input(Input::CancelAsked { reason: reason.clone() })));
        }
        member.cancel = Some(reason);
    }

    fn exited(&mut self, myself: &ActorRef<Message>, pid: u64, reason: &str) {
        let Some(task) = self.by_actor.remove(&pid) else { return };
        let Some(member) = self.members.get_mut(&task) else { return };
        member.actor = None;
        if member.running.has_ended() {
            let mut member = self.members.remove(&task);
            if let Some(member) = &mut member {
                member.child.leave(&self.arguments.world);
                self.arguments.world.registry.finished(&member.running, self.arguments.world.uptime());
            }
            return;
        }
        match member.child.died(&self.arguments.world, &Policy::DELIBERATION, reason) {
            Verdict::RestartAfter(wait) => later(myself, wait, move || Message::Restart { task }),
            Verdict::Meltdown => {
                let id = format!("{:016x}", self.arguments.world.ports.ids.random());
                tracing::error!(error_id = id, run = %member.running.run, reason, "a deliberation died too often");
                let running = member.running.clone();
                let message = format!("internal error {id}: the deliberation died too often; the log says more");
                self.end(myself, running, Class::Internal, message.into());
            }
        }
    }

    /// Ends a run that no actor works on, in the journal first.
    fn end(&mut self, myself: &ActorRef<Message>, running: Arc<Running>, class: Class, message: Arc<str>) {
        let (world, myself) = (self.arguments.world.clone(), myself.clone());
        self.tasks.spawn(async move {
            let error = match end_in_journal(&world, &running, class, message.clone()).await {
                Ok(()) => SystemError::Failed { class, message },
                Err(error) => SystemError::Unavailable(error.to_string().into()),
            };
            drop(myself.cast(Message::Ended { running, error }));
        });
    }

    fn ended(&mut self, running: &Arc<Running>, error: SystemError) {
        running.finish(Err(error));
        if let Some(mut member) = self.members.remove(&running.run.task) {
            member.child.leave(&self.arguments.world);
        }
        self.arguments.world.registry.finished(running, self.arguments.world.uptime());
    }

    fn tick(&mut self) {
        for member in self.members.values_mut() {
            if let (Some(beat), Some(actor)) = (member.child.next_beat(&self.arguments.world), &member.actor) {
                drop(actor.cast(deliberation::Message::Ping { beat }));
            }
        }
    }
}

/// A run's last events when its own actor cannot write them. What it wrote meanwhile is counted in.
pub(super) async fn end_in_journal(
    world: &World,
    running: &Running,
    class: Class,
    message: Arc<str>,
) -> Result<(), JournalError> {
    let RunId { task, run } = &running.run;
    let stream = StreamId::deliberation(&running.run);
    let begun = whole_stream(&*world.ports.journal, &stream).await?.last().map_or(0, |last| last.version);
    let stamp = |event| NewEvent {
        id: world.ports.ids.event_id(),
        at: world.ports.clock.now(),
        correlation: Some(task.as_str().into()),
        causation: None,
        event,
    };
    let failure = TaskFailure { run: *run, class, message: message.clone() };
    let mut batch = Batch::one(StreamId::task(task), running.row.version, vec![stamp(Event::TaskFailed(failure))]);
    if begun > 0 {
        let failed = Event::DeliberationFailed { class, message, missing: Vec::new() };
        batch.appends.push(Append { stream, expected_version: begun, events: vec![stamp(failed)] });
    }
    world.ports.journal.commit(batch).await.map(drop)
}
