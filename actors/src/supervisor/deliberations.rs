//! The deliberations of one role: starts them, starts them again from the journal, ends those that keep dying.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::JoinSet;

use super::children::{Child, exit_of, later};
use super::policy::{Policy, Verdict};
use crate::census::Presence;
use crate::deliberation::{self, Begun, Closing, Deliberation, Input};
use crate::domain::answer::{Class, Failure};
use crate::domain::event::Plan;
use crate::domain::id::RunId;
use crate::running::{Ending, Running};
use crate::world::World;

pub(crate) struct Deliberations;

/// Mail of the deliberations' supervisor. Starts hold a permit, so the gate bounds them. A run that is known already is
/// not started, refused or closed a second time.
#[derive(Debug)]
pub(crate) enum Message {
    /// From the system with a run that it just wrote the begin of; from the council, or from the role's supervisor when
    /// the council is gone, with any other.
    Start {
        running: Arc<Running>,
        plan: Result<Arc<Plan>, Failure>,
        begun: Option<Begun>,
    },
    /// From the council or the system: an admitted run that cannot begin.
    Refuse {
        running: Arc<Running>,
        why: Failure,
    },
    /// From the system. The reason is with the run, so that it is found even if this is lost.
    Cancel {
        running: Arc<Running>,
    },
    /// From the dispatcher: another daemon has the run, which has ended for whoever waits here. Its actor goes without a word.
    Leave {
        running: Arc<Running>,
    },
    /// From its own timer.
    Restart {
        run: RunId,
    },
    /// From its own task that ended a run in the journal.
    Closed {
        running: Arc<Running>,
        ending: Ending,
    },
    Tick,
    /// From the role's supervisor.
    Ping {
        beat: u64,
    },
}

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) name: String,
    pub(crate) heartbeat: Arc<AtomicU64>,
}

struct Member {
    running: Arc<Running>,
    plan: Result<Arc<Plan>, Failure>,
    child: Child,
    /// `None` while it restarts, or while its end is being written.
    actor: Option<ActorRef<deliberation::Message>>,
}

pub(crate) struct Live {
    world: Arc<World>,
    name: String,
    heartbeat: Arc<AtomicU64>,
    members: BTreeMap<RunId, Member>,
    by_actor: BTreeMap<u64, RunId>,
    tasks: JoinSet<()>,
    _presence: Presence,
}

impl Actor for Deliberations {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let Arguments { world, name, heartbeat } = arguments;
        drop(myself.send_interval(world.settings.ping_every, || Message::Tick));
        let _presence = world.census.enter();
        let (members, by_actor, tasks) = (BTreeMap::new(), BTreeMap::new(), JoinSet::new());
        Ok(Live { world, name, heartbeat, members, by_actor, tasks, _presence })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        live: &mut Live,
    ) -> Result<(), ActorProcessingErr> {
        while live.tasks.try_join_next().is_some() {}
        match message {
            Message::Start { running, plan, begun } => live.start(&myself, running, plan, begun).await?,
            Message::Refuse { running, why } => live.refuse(&myself, running, why),
            Message::Cancel { running } => live.cancel(&myself, running),
            Message::Leave { running } => live.leave(&running),
            Message::Restart { run } => live.spawn(&myself, &run, None).await?,
            Message::Closed { running, ending } => live.closed(&running, ending),
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
    /// Takes a run in, unless it is known or over.
    fn enrol(&mut self, running: &Arc<Running>, plan: Result<Arc<Plan>, Failure>) -> bool {
        if self.members.contains_key(&running.run) || running.has_ended() {
            return false;
        }
        let child = Child::passing(format!("deliberation/{}", running.run), self.name.clone());
        let member = Member { running: running.clone(), plan, child, actor: None };
        self.members.insert(running.run.clone(), member);
        true
    }

    async fn start(
        &mut self,
        myself: &ActorRef<Message>,
        running: Arc<Running>,
        plan: Result<Arc<Plan>, Failure>,
        begun: Option<Begun>,
    ) -> Result<(), ActorProcessingErr> {
        if self.enrol(&running, plan) {
            self.spawn(myself, &running.run, begun).await?;
        }
        Ok(())
    }

    async fn spawn(
        &mut self,
        myself: &ActorRef<Message>,
        run: &RunId,
        begun: Option<Begun>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(member) = self.members.get_mut(run) else { return Ok(()) };
        let arguments = deliberation::Arguments {
            world: self.world.clone(),
            running: member.running.clone(),
            plan: member.plan.clone(),
            begun,
            heartbeat: member.child.heartbeat.clone(),
        };
        let (actor, _) = Actor::spawn_linked(None, Deliberation, arguments, myself.get_cell()).await?;
        self.by_actor.insert(actor.get_id().pid(), run.clone());
        member.child.lives(&self.world, actor.get_cell());
        member.actor = Some(actor);
        Ok(())
    }

    fn refuse(&mut self, myself: &ActorRef<Message>, running: Arc<Running>, why: Failure) {
        if self.enrol(&running, Err(why.clone())) {
            self.close(myself, running, Closing::Failed { class: why.class, message: why.message });
        }
    }

    /// A run that lives or restarts ends itself; one that nobody works on yet is ended here.
    fn cancel(&mut self, myself: &ActorRef<Message>, running: Arc<Running>) {
        let Some(reason) = running.cancel_asked() else { return };
        if let Some(actor) = self.members.get(&running.run).and_then(|member| member.actor.as_ref()) {
            drop(actor.cast(deliberation::Message::Input(Input::CancelAsked { reason })));
        } else if self.enrol(&running, Err(Failure::new(Class::Gone, reason.clone()))) {
            self.close(myself, running, Closing::Cancelled { reason });
        }
    }

    /// One that lives is forgotten when it is gone, as any that has ended.
    fn leave(&mut self, running: &Arc<Running>) {
        match self.members.get(&running.run).and_then(|member| member.actor.as_ref()) {
            Some(actor) => actor.stop(None),
            None => self.forget(running),
        }
    }

    fn exited(&mut self, myself: &ActorRef<Message>, pid: u64, reason: &str) {
        let Some(run) = self.by_actor.remove(&pid) else { return };
        let Some(member) = self.members.get_mut(&run) else { return };
        member.actor = None;
        let running = member.running.clone();
        if running.has_ended() {
            return self.forget(&running);
        }
        // Nobody would hear what its calls bring.
        self.world.registry.withdraw(&running.spec.role, &run);
        match member.child.died(&self.world, &Policy::DELIBERATION, reason) {
            Verdict::RestartAfter(wait) => later(myself, wait, move || Message::Restart { run }),
            Verdict::Meltdown => {
                let id = format!("{:016x}", self.world.ports.ids.random());
                tracing::error!(error_id = id, %run, reason, "a deliberation died too often");
                let message = format!("internal error {id}: the deliberation died too often; the log says more").into();
                self.close(myself, running, Closing::Failed { class: Class::Internal, message });
            }
        }
    }

    /// Ends a run that no actor works on, in the journal first.
    fn close(&mut self, myself: &ActorRef<Message>, running: Arc<Running>, closing: Closing) {
        let (world, myself) = (self.world.clone(), myself.clone());
        self.tasks.spawn(async move {
            let ending = deliberation::close(&world, &running, closing).await;
            drop(myself.cast(Message::Closed { running, ending }));
        });
    }

    fn closed(&mut self, running: &Arc<Running>, ending: Ending) {
        running.finish(ending);
        self.forget(running);
    }

    fn forget(&mut self, running: &Running) {
        if let Some(mut member) = self.members.remove(&running.run) {
            member.child.leave(&self.world);
        }
        self.world.registry.finished(running, self.world.uptime());
    }

    fn tick(&mut self) {
        for member in self.members.values_mut() {
            if let (Some(beat), Some(actor)) = (member.child.next_beat(&self.world), &member.actor) {
                drop(actor.cast(deliberation::Message::Ping { beat }));
            }
        }
    }
}
