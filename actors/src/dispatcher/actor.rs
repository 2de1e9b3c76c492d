//! The glue: rounds and watchers are tasks that this actor owns; what they find comes back as mail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinSet;

use super::begin::{Begun, round};
use super::message::Message;
use super::state::{Input, Rooms, State};
use super::{fill, settle};
use crate::census::Presence;
use crate::domain::id::{Role, Timestamp};
use crate::domain::queue::Entry;
use crate::running::Running;
use crate::world::World;

/// The longest sleep between two looks: a wake that was lost costs no more than that.
const LOOK: Duration = Duration::from_secs(5);

pub(crate) struct Dispatcher;

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) heartbeat: Arc<AtomicU64>,
}

pub(crate) struct Live {
    world: Arc<World>,
    heartbeat: Arc<AtomicU64>,
    state: State,
    /// Rounds and watched runs; dropped with the actor, taken up again by the next one.
    tasks: JoinSet<()>,
    _presence: Presence,
}

impl Actor for Dispatcher {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let Arguments { world, heartbeat } = arguments;
        let _presence = world.census.enter();
        drop(myself.send_interval(LOOK, || Message::Wake));
        let mut live = Live { world, heartbeat, state: State::filling(), tasks: JoinSet::new(), _presence };
        live.fill(&myself);
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
            Message::Wake => live.apply(&myself, Input::Woken),
            Message::RoundOver { begun, due } => live.round_over(&myself, begun, due),
            Message::Settled { role } => live.apply(&myself, Input::RunSettled { role }),
            Message::Overtaken { entry, running } => live.overtaken(*entry, running),
            Message::Paused { pauses, version } => live.apply(&myself, Input::Paused { pauses, version }),
            Message::Ping { beat } => live.heartbeat.store(beat, Ordering::Relaxed),
        }
        Ok(())
    }
}

impl Live {
    fn apply(&mut self, myself: &ActorRef<Message>, input: Input) {
        let ready = self.ready();
        if let Some(rooms) = self.state.apply(input, &ready, self.world.settings.queue.per_role) {
            self.round(myself, rooms);
        }
    }

    /// Roles whose councils take work.
    fn ready(&self) -> Vec<Role> {
        let takes_work = |role: &Role| self.world.open_council(role).is_ok();
        let mut ready: Vec<Role> = self.world.registry.councils.iter().map(|entry| entry.key().clone()).collect();
        ready.retain(takes_work);
        ready.sort();
        ready
    }

    fn fill(&mut self, myself: &ActorRef<Message>) {
        let (world, myself) = (self.world.clone(), myself.clone());
        self.tasks.spawn(async move {
            let mut recovered = world.recovered.subscribe();
            drop(recovered.wait_for(|done| *done).await);
            let begun = loop {
                match fill::fill(&world).await {
                    Ok(fill::Filled { begun, pauses, version }) => {
                        drop(myself.cast(Message::Paused { pauses, version }));
                        break begun;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the queue cannot be filled now");
                        tokio::time::sleep(world.settings.queue.retry_min).await;
                    }
                }
            };
            over(&world, &myself, begun).await;
        });
    }

    /// It takes no room, but those who wait for it hear how it ends.
    fn overtaken(&mut self, entry: Entry, running: Arc<Running>) {
        let world = self.world.clone();
        self.tasks.spawn(async move { settle::overtaken(&world, entry, running).await });
    }

    fn round(&mut self, myself: &ActorRef<Message>, rooms: Rooms) {
        let (world, myself) = (self.world.clone(), myself.clone());
        self.tasks.spawn(async move {
            let begun = round(&world, rooms).await;
            over(&world, &myself, begun).await;
        });
    }

    fn round_over(&mut self, myself: &ActorRef<Message>, begun: Vec<Begun>, due: Option<Timestamp>) {
        let roles = begun.iter().map(|begun| begun.running.spec.role.clone()).collect();
        for begun in begun {
            let (world, myself) = (self.world.clone(), myself.clone());
            let role = begun.running.spec.role.clone();
            self.tasks.spawn(async move {
                settle::watch(&world, begun).await;
                drop(myself.cast(Message::Settled { role }));
            });
        }
        if let Some(due) = due {
            let wait = Duration::from_millis(due.0.saturating_sub(self.world.ports.clock.now().0));
            if wait < LOOK {
                drop(myself.send_after(wait, || Message::Wake));
            }
        }
        self.apply(myself, Input::RoundOver { begun: roles });
    }
}

async fn over(world: &World, myself: &ActorRef<Message>, begun: Vec<Begun>) {
    let due = world.ports.queue.next_due().await.ok().flatten();
    drop(myself.cast(Message::RoundOver { begun, due }));
}
