//! The glue: messages become inputs, effects become appends, asks, timers and news.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::{AbortHandle, JoinSet};

use super::message::Message;
use super::pen::{News, Pen};
use super::prompt::Prompts;
use super::record::Record;
use super::state::{Ask, Effect, Input, State, Timer, failure_of};
use super::{ask, load};
use crate::agent::Reply;
use crate::domain::answer::{Class, Failure};
use crate::domain::check::CheckReport;
use crate::domain::event::Plan;
use crate::domain::id::StreamId;
use crate::error::SystemError;
use crate::ports::{Ack, JournalError};
use crate::running::{Ending, Running};
use crate::world::World;

pub(crate) struct Deliberation;

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) running: Arc<Running>,
    /// For a run that may not have begun; `None` when its council is gone.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Nothing of this run can be in the journal: no need to look.
    pub(crate) fresh: bool,
    pub(crate) heartbeat: Arc<AtomicU64>,
}

/// A run as the journal has it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// `None`: it has not begun.
    pub(super) record: Option<Record>,
    pub(super) version: u64,
    /// The templates it began with.
    pub(super) prompts: Arc<Prompts>,
}

pub(crate) struct Live {
    world: Arc<World>,
    running: Arc<Running>,
    plan: Option<Arc<Plan>>,
    heartbeat: Arc<AtomicU64>,
    prompts: Arc<Prompts>,
    /// `None` while it is being read.
    state: Option<(State, Pen)>,
    /// What came before it was read.
    early: Vec<Input>,
    tasks: JoinSet<()>,
    wave_timer: Option<AbortHandle>,
}

impl Actor for Deliberation {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let Arguments { world, running, plan, fresh, heartbeat } = arguments;
        let prompts = world.prompts.clone();
        let state = None;
        let (early, tasks) = (Vec::new(), JoinSet::new());
        let mut live = Live { world, running, plan, heartbeat, prompts, state, early, tasks, wave_timer: None };
        if fresh {
            let loaded = Loaded { record: None, version: 0, prompts: live.prompts.clone() };
            drop(myself.cast(Message::Loaded(Ok(Box::new(loaded)))));
        } else {
            let (world, running) = (live.world.clone(), live.running.clone());
            live.tasks.spawn(async move {
                let loaded = load::load(&world, &running).await;
                drop(myself.cast(Message::Loaded(loaded.map(Box::new))));
            });
        }
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
            Message::Input(input) => live.step(&myself, input),
            Message::Written { batch, result } => live.written(&myself, batch, result),
            Message::WriteAgain => live.write_again(&myself),
            Message::Loaded(loaded) => live.loaded(&myself, loaded)?,
            Message::Ping { beat } => live.heartbeat.store(beat, Ordering::Relaxed),
        }
        Ok(())
    }
}

impl Live {
    fn loaded(
        &mut self,
        myself: &ActorRef<Message>,
        loaded: Result<Box<Loaded>, JournalError>,
    ) -> Result<(), ActorProcessingErr> {
        let Loaded { record, version, prompts } = *loaded?;
        self.prompts = prompts;
        let run = &self.running.run;
        let task = run.task.as_str();
        let pen =
            Pen::new(StreamId::deliberation(run), version, StreamId::task(&run.task), self.running.row.version, task);
        let now = self.world.ports.clock.now();
        let (state, first) = match (record, self.plan.clone()) {
            (Some(record), _) if record.end.is_some() => {
                let ending = record.outcome().map(Arc::new).ok_or_else(|| failure_of(&record));
                self.end(myself, ending);
                return Ok(());
            }
            (Some(record), _) => (State::with(record), Input::Resume),
            (None, Some(plan)) => (State::begin(plan, now), Input::Begin),
            (None, None) => {
                let gone = format!("no council has the role {} any more", self.running.spec.role);
                self.end(myself, Err(SystemError::Failed { class: Class::Refused, message: gone.into() }));
                return Ok(());
            }
        };
        self.state = Some((state, pen));
        self.step(myself, first);
        for input in std::mem::take(&mut self.early) {
            self.step(myself, input);
        }
        Ok(())
    }

    fn step(&mut self, myself: &ActorRef<Message>, input: Input) {
        let now = self.world.ports.clock.now();
        if let Input::Answered { answer, .. } = &input {
            self.world.registry.calls.note(answer.duration);
            self.world.tokens().note(now, answer.usage.total());
        }
        let Some((state, _)) = &mut self.state else { return self.early.push(input) };
        for effect in state.step(now, input) {
            self.run(myself, effect);
        }
    }

    fn run(&mut self, myself: &ActorRef<Message>, effect: Effect) {
        match effect {
            Effect::Append { events, task } => {
                if let Some((_, pen)) = &mut self.state {
                    pen.write(&self.world.ports, events, task, |batch| ack(myself, batch));
                }
            }
            Effect::Ask(asked) => self.ask(myself, asked),
            Effect::Withdraw => self.withdraw(),
            Effect::Check { texts } => self.check(myself, texts),
            Effect::Arm { timer, after } => self.arm(myself, timer, after),
            Effect::Show(update) => self.running.progress.push(update),
            Effect::End(ending) => self.end(myself, ending),
        }
    }

    fn written(
        &mut self,
        myself: &ActorRef<Message>,
        batch: u64,
        result: Result<crate::ports::Committed, JournalError>,
    ) {
        let Some((_, pen)) = &mut self.state else { return };
        match pen.answered(batch, result) {
            News::Durable(events) => self.step(myself, Input::Appended { events }),
            News::Wait => {}
            News::Again(after) => {
                let myself = myself.clone();
                self.tasks.spawn(async move {
                    tokio::time::sleep(after).await;
                    drop(myself.cast(Message::WriteAgain));
                });
            }
            News::Lost(error) => {
                tracing::error!(run = %self.running.run, %error, "the run cannot be written any more");
                self.withdraw();
                self.end(myself, Err(SystemError::Unavailable(error.to_string().into())));
            }
        }
    }

    fn write_again(&mut self, myself: &ActorRef<Message>) {
        if let Some((_, pen)) = &mut self.state {
            pen.rewrite(&self.world.ports, |batch| ack(myself, batch));
        }
    }

    fn ask(&mut self, myself: &ActorRef<Message>, asked: Ask) {
        let Some((state, _)) = &self.state else { return };
        let agent = state.plan().seats[asked.seat].agent.clone();
        let reply = Reply::new(myself.clone(), asked.call.clone());
        match ask::model_call(state.record(), &self.prompts, asked) {
            Ok(call) => {
                if let Some(handle) = self.world.registry.agent(&self.running.spec.role, &agent) {
                    handle.ask(call, reply);
                }
            }
            Err(error) => reply.tell(Err(Failure::new(Class::Internal, format!("the prompt cannot be made: {error}")))),
        }
    }

    fn withdraw(&self) {
        let Some((state, _)) = &self.state else { return };
        for seat in &state.plan().seats {
            if let Some(handle) = self.world.registry.agent(&self.running.spec.role, &seat.agent) {
                handle.withdraw(&self.running.run);
            }
        }
    }

    fn check(&mut self, myself: &ActorRef<Message>, texts: Vec<Arc<str>>) {
        let checks = self.world.ports.checks.clone();
        let reports = Reports { to: myself.clone(), count: texts.len(), reports: None };
        self.tasks.spawn(async move {
            let mut home = reports;
            home.reports = Some(checks.check(texts).await);
        });
    }

    fn arm(&mut self, myself: &ActorRef<Message>, timer: Timer, after: std::time::Duration) {
        let myself = myself.clone();
        let is_wave = matches!(timer, Timer::Wave(_));
        let task = self.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            let input = match timer {
                Timer::Whole => Input::TimeUp,
                Timer::Wave(wave) => Input::WaveTimeUp { wave },
                Timer::Repeat(call) => Input::RepeatDue { call },
            };
            drop(myself.cast(Message::Input(input)));
        });
        if is_wave && let Some(earlier) = self.wave_timer.replace(task) {
            earlier.abort();
        }
    }

    fn end(&mut self, myself: &ActorRef<Message>, ending: Ending) {
        self.running.finish(ending);
        myself.stop(None);
    }
}

fn ack(deliberation: &ActorRef<Message>, batch: u64) -> Ack {
    let deliberation = deliberation.clone();
    Ack::new(move |result| drop(deliberation.cast(Message::Written { batch, result })))
}

/// Brings the reports home, also when the checks panicked: then nothing ran.
struct Reports {
    to: ActorRef<Message>,
    count: usize,
    reports: Option<Vec<CheckReport>>,
}

impl Drop for Reports {
    fn drop(&mut self) {
        let nothing = || vec![CheckReport::not_run(&"the checks broke down".into()); self.count];
        let reports = self.reports.take().filter(|reports| reports.len() == self.count).unwrap_or_else(nothing);
        drop(self.to.cast(Message::Input(Input::Checked { reports })));
    }
}
