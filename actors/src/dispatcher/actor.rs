//! The glue: rounds and watchers are tasks that this actor owns; what they find comes back as mail.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinSet;

use super::begin::{Began, round};
use super::execution::Seen;
use super::keep::{Keeping, beat};
use super::message::Message;
use super::state::{Input, Rooms, State, Step};
use super::{collect, execution, fill, settle};
use crate::census::Presence;
use crate::domain::id::{Role, TaskId, Timestamp};
use crate::domain::queue::Entry;
use crate::running::Running;
use crate::world::World;

/// The longest sleep between two looks: a wake that was lost costs no more than that.
const LOOK: Duration = Duration::from_secs(5);

/// The shortest, for what cannot be done now.
const LEAST_LOOK: Duration = Duration::from_secs(1);

/// Nothing wakes a daemon when another one enqueues into a queue that they share.
const LOOK_AT_SHARED: Duration = Duration::from_millis(500);

pub(crate) struct Dispatcher;

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) heartbeat: Arc<AtomicU64>,
}

pub(crate) struct Live {
    world: Arc<World>,
    heartbeat: Arc<AtomicU64>,
    state: State,
    /// Tasks that others carry out, by when to look at them.
    executing: BTreeSet<(Timestamp, TaskId)>,
    beats: Beats,
    /// Rounds and watched runs; dropped with the actor, taken up again by the next one.
    tasks: JoinSet<()>,
    _presence: Presence,
}

/// Only where others share the queue; one at a time.
#[derive(Default)]
struct Beats {
    keeping: Keeping,
    is_filled: bool,
    is_under_way: bool,
    next: Timestamp,
}

impl Actor for Dispatcher {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let Arguments { world, heartbeat } = arguments;
        let _presence = world.census.enter();
        let look = if world.ports.shared.is_some() { LOOK_AT_SHARED } else { LOOK };
        drop(myself.send_interval(look, || Message::Wake));
        let mut live = Live {
            world,
            heartbeat,
            state: State::filling(),
            executing: BTreeSet::new(),
            beats: Beats::default(),
            tasks: JoinSet::new(),
            _presence,
        };
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
            Message::Wake => {
                live.see_to_executions(&myself);
                live.beat(&myself);
                live.apply(&myself, Input::Woken);
            }
            Message::RoundOver { began, due } => live.round_over(&myself, began, due),
            Message::Kept(keeping) => live.kept(&myself, keeping),
            Message::Settled { role } => live.apply(&myself, Input::RunSettled { role }),
            Message::Executing { task, due, of } => live.executing(&myself, (task, due), of),
            Message::CarriedOut { task } => live.apply(&myself, Input::CarriedOut { task }),
            Message::Collected { task, role } => live.apply(&myself, Input::Collected { role, task }),
            Message::Overtaken { entry, running } => live.overtaken(&myself, *entry, running),
            Message::Paused { pauses, version } => live.apply(&myself, Input::Paused { pauses, version }),
            Message::Ping { beat } => live.heartbeat.store(beat, Ordering::Relaxed),
        }
        Ok(())
    }
}

impl Live {
    fn apply(&mut self, myself: &ActorRef<Message>, input: Input) {
        let ready = self.ready();
        let Step { begin, rooms } = self.state.apply(input, &ready, self.world.settings.queue.per_role);
        begin.into_iter().for_each(|(role, task)| self.deliberate(myself, role, task));
        if let Some(rooms) = rooms {
            self.round(myself, rooms);
        }
    }

    /// On what several have carried out.
    fn deliberate(&mut self, myself: &ActorRef<Message>, role: Role, task: TaskId) {
        let (world, myself) = (self.world.clone(), myself.clone());
        self.tasks.spawn(async move {
            match collect::deliberate(&world, &task).await {
                Ok(begun) => drop(settle::watch(&world, begun).await),
                Err(error) => {
                    tracing::debug!(%task, %error, "what was made of a task is not deliberated on now");
                    let due = soonest(&world);
                    drop(myself.cast(Message::Executing { task, due, of: None }));
                }
            }
            drop(myself.cast(Message::Settled { role }));
        });
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
                    Ok(fill::Filled { begun, executing, pauses, version, keeping }) => {
                        drop(myself.cast(Message::Kept(keeping)));
                        for task in executing {
                            drop(myself.cast(Message::Executing { task, due: Timestamp(0), of: None }));
                        }
                        drop(myself.cast(Message::Paused { pauses, version }));
                        break begun;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the queue cannot be filled now");
                        tokio::time::sleep(world.settings.queue.retry_min).await;
                    }
                }
            };
            over(&world, &myself, Began { runs: begun, assigned: Vec::new() }).await;
        });
    }

    /// Keeps what is held: at its time, and at once when the queue's memory is another one or something is untold.
    fn beat(&mut self, myself: &ActorRef<Message>) {
        let Some(shared) = self.world.ports.shared.clone() else { return };
        let Beats { keeping, is_filled, is_under_way, next } = &mut self.beats;
        let is_due = *next <= self.world.ports.clock.now();
        let is_wanted = keeping.is_well && (keeping.is_behind(&*shared) || self.world.leases.is_untold());
        if !*is_filled || *is_under_way || !(is_due || is_wanted) {
            return;
        }
        *is_under_way = true;
        let (world, myself, keeping) = (self.world.clone(), myself.clone(), *keeping);
        self.tasks.spawn(async move {
            let keeping = beat(&world, &shared, keeping).await;
            drop(myself.cast(Message::Kept(keeping)));
        });
    }

    fn kept(&mut self, myself: &ActorRef<Message>, keeping: Keeping) {
        let Some(shared) = &self.world.ports.shared else { return };
        let pause = if keeping.is_well { shared.heartbeat_every() } else { LEAST_LOOK.min(shared.heartbeat_every()) };
        let next = self.world.ports.clock.now().0.saturating_add(pause.as_millis() as u64);
        self.beats = Beats { keeping, is_filled: true, is_under_way: false, next: Timestamp(next) };
        self.apply(myself, Input::Woken);
    }

    /// It takes no room, but those who wait for it hear how it ends.
    fn overtaken(&mut self, myself: &ActorRef<Message>, entry: Entry, running: Arc<Running>) {
        let (world, myself) = (self.world.clone(), myself.clone());
        self.tasks.spawn(async move {
            let task = entry.task.clone();
            if settle::overtaken(&world, entry, running).await {
                see_to_execution(&world, &myself, task).await;
            }
        });
    }

    /// What is being carried out, and for too long.
    fn see_to_executions(&mut self, myself: &ActorRef<Message>) {
        let now = self.world.ports.clock.now();
        while self.executing.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, task)) = self.executing.pop_first() else { return };
            let (world, myself) = (self.world.clone(), myself.clone());
            self.tasks.spawn(async move { see_to_execution(&world, &myself, task).await });
        }
    }

    fn executing(&mut self, myself: &ActorRef<Message>, (task, due): (TaskId, Timestamp), of: Option<Role>) {
        if let Some(role) = of {
            self.apply(myself, Input::Assigned { role, task: task.clone() });
        }
        let wait = Duration::from_millis(due.0.saturating_sub(self.world.ports.clock.now().0));
        if wait < LOOK {
            drop(myself.send_after(wait, || Message::Wake));
        }
        self.executing.insert((due, task));
    }

    fn round(&mut self, myself: &ActorRef<Message>, rooms: Rooms) {
        let (world, myself) = (self.world.clone(), myself.clone());
        self.tasks.spawn(async move {
            let began = round(&world, rooms).await;
            over(&world, &myself, began).await;
        });
    }

    fn round_over(&mut self, myself: &ActorRef<Message>, began: Began, due: Option<Timestamp>) {
        let Began { runs, assigned } = began;
        let begun = runs.iter().map(|begun| begun.running.spec.role.clone()).collect();
        for begun in runs {
            let (world, myself) = (self.world.clone(), myself.clone());
            let role = begun.running.spec.role.clone();
            self.tasks.spawn(async move {
                let task = begun.lease.task.clone();
                let dispatched = settle::watch(&world, begun).await;
                drop(myself.cast(Message::Settled { role }));
                if dispatched {
                    see_to_execution(&world, &myself, task).await;
                }
            });
        }
        if let Some(due) = due {
            let wait = Duration::from_millis(due.0.saturating_sub(self.world.ports.clock.now().0));
            if wait < LOOK {
                drop(myself.send_after(wait, || Message::Wake));
            }
        }
        self.apply(myself, Input::RoundOver { begun, assigned });
    }
}

/// Asks until it is written: nobody else would.
async fn see_to_execution(world: &World, myself: &ActorRef<Message>, task: TaskId) {
    let message = match execution::see_to(world, &task).await {
        Ok(Seen::Over) => Message::CarriedOut { task },
        Ok(Seen::LookAt { due, of }) => Message::Executing { task, due: due.max(soonest(world)), of },
        Ok(Seen::Collected { role }) => Message::Collected { task, role },
        Err(error) => {
            tracing::warn!(%task, %error, "what others carry out cannot be seen to now");
            Message::Executing { task, due: soonest(world), of: None }
        }
    };
    drop(myself.cast(message));
}

/// The next time for what cannot be done now.
fn soonest(world: &World) -> Timestamp {
    Timestamp(world.ports.clock.now().0.saturating_add(LEAST_LOOK.as_millis() as u64))
}

async fn over(world: &World, myself: &ActorRef<Message>, began: Began) {
    let due = world.ports.queue.next_due().await.ok().flatten();
    drop(myself.cast(Message::RoundOver { began, due }));
}
