//! The glue: messages become inputs, effects become appends, asks, timers and news.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::{AbortHandle, JoinSet};

use super::closing::{self, Closing};
use super::message::Message;
use super::pen::{News, Pen};
use super::prompt::Prompts;
use super::record::Record;
use super::state::{State, failure_of};
use super::step::{Ask, Effect, Input, Timer};
use super::{ask, load};
use crate::agent::Reply;
use crate::census::Presence;
use crate::domain::answer::{Class, Failure};
use crate::domain::check::CheckReport;
use crate::domain::event::Plan;
use crate::error::SystemError;
use crate::ports::{Ack, JournalError};
use crate::running::{Ending, Running};
use crate::world::World;

/// How often in a row a run is read again because somebody else wrote it, and the first wait, which doubles.
const MOST_OVERTAKEN: u32 = 5;
const FIRST_RELOAD: Duration = Duration::from_millis(20);

pub(crate) struct Deliberation;

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) running: Arc<Running>,
    /// For a run that may not have begun; or why it cannot.
    pub(crate) plan: Result<Arc<Plan>, Failure>,
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
    plan: Result<Arc<Plan>, Failure>,
    heartbeat: Arc<AtomicU64>,
    prompts: Arc<Prompts>,
    /// `None` while it is being read.
    state: Option<(State, Pen)>,
    /// The number of the next batch to write.
    batch: u64,
    /// How often somebody else wrote the run since the last own append.
    overtaken: u32,
    /// What came before it was read.
    early: Vec<Input>,
    tasks: JoinSet<()>,
    wave_timer: Option<AbortHandle>,
    _presence: Presence,
}

impl Actor for Deliberation {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let Arguments { world, running, plan, fresh, heartbeat } = arguments;
        let mut live = Live {
            prompts: world.prompts.clone(),
            _presence: world.census.enter(),
            world,
            running,
            plan,
            heartbeat,
            state: None,
            batch: 0,
            overtaken: 0,
            early: Vec::new(),
            tasks: JoinSet::new(),
            wave_timer: None,
        };
        if fresh {
            let loaded = Loaded { record: None, version: 0, prompts: live.prompts.clone() };
            drop(myself.cast(Message::Loaded(Ok(Box::new(loaded)))));
        } else {
            live.load(&myself, Duration::ZERO);
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
            Message::Closed(ending) => live.end(&myself, ending),
            Message::Ping { beat } => live.heartbeat.store(beat, Ordering::Relaxed),
        }
        Ok(())
    }
}

impl Live {
    /// Reads the run from the journal.
    fn load(&mut self, myself: &ActorRef<Message>, after: Duration) {
        let (world, running, myself) = (self.world.clone(), self.running.clone(), myself.clone());
        self.tasks.spawn(async move {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            let loaded = load::load(&world, &running).await;
            drop(myself.cast(Message::Loaded(loaded.map(Box::new))));
        });
    }

    fn loaded(
        &mut self,
        myself: &ActorRef<Message>,
        loaded: Result<Box<Loaded>, JournalError>,
    ) -> Result<(), ActorProcessingErr> {
        let Loaded { record, version, prompts } = *loaded?;
        self.prompts = prompts;
        let pen = Pen::new(&self.running, version, self.batch);
        let (state, first) = match (record, self.plan.clone()) {
            (Some(record), _) if record.end.is_some() => {
                let ending = record.outcome().map(Arc::new).ok_or_else(|| failure_of(&record));
                self.end(myself, ending);
                return Ok(());
            }
            (Some(record), _) => (State::with(record), Input::Resume),
            (None, Ok(plan)) => (State::begin(plan, self.world.ports.clock.now()), Input::Begin),
            (None, Err(why)) => {
                self.close(myself, why);
                return Ok(());
            }
        };
        self.state = Some((state, pen));
        self.step(myself, first);
        for input in std::mem::take(&mut self.early) {
            self.step(myself, input);
        }
        if let Some(reason) = self.running.cancel_asked() {
            self.step(myself, Input::CancelAsked { reason });
        }
        Ok(())
    }

    /// The run cannot begin.
    fn close(&mut self, myself: &ActorRef<Message>, why: Failure) {
        let (world, running, myself) = (self.world.clone(), self.running.clone(), myself.clone());
        self.tasks.spawn(async move {
            let closing = Closing::Failed { class: why.class, message: why.message };
            let ending = closing::close(&world, &running, closing).await;
            drop(myself.cast(Message::Closed(ending)));
        });
    }

    fn step(&mut self, myself: &ActorRef<Message>, input: Input) {
        let Some((state, _)) = &mut self.state else { return self.early.push(input) };
        let now = self.world.ports.clock.now();
        if let Input::Answered { answer, .. } = &input {
            self.world.registry.calls.note(answer.duration);
            self.world.tokens().note(now, answer.usage.total());
        }
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
        let news = pen.answered(batch, result);
        if let Some(after) = pen.rewrite_after() {
            let myself = myself.clone();
            self.tasks.spawn(async move {
                tokio::time::sleep(after).await;
                drop(myself.cast(Message::WriteAgain));
            });
        }
        match news {
            News::Durable(events) => {
                self.overtaken = 0;
                self.step(myself, Input::Appended { events });
            }
            News::Wait => {}
            News::Overtaken if self.overtaken < MOST_OVERTAKEN => self.reload(myself),
            News::Overtaken => self.lose(myself, "somebody else writes the same run"),
            News::Lost(error) => self.lose(myself, &error.to_string()),
        }
    }

    /// Somebody wrote the run meanwhile: what is durable by now decides how it goes on.
    fn reload(&mut self, myself: &ActorRef<Message>) {
        let after = FIRST_RELOAD * (1 << self.overtaken);
        self.overtaken += 1;
        tracing::warn!(run = %self.running.run, "the run was written by somebody else and is read again");
        self.batch = self.state.take().map_or(self.batch, |(_, pen)| pen.next());
        self.tasks.abort_all();
        self.load(myself, after);
    }

    fn lose(&mut self, myself: &ActorRef<Message>, why: &str) {
        tracing::error!(run = %self.running.run, why, "the run cannot be written any more");
        self.withdraw();
        self.end(myself, Err(SystemError::Unavailable(why.into())));
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
            Ok(call) => match self.world.registry.agent(&self.running.spec.role, &agent) {
                Some(handle) => handle.ask(call, reply),
                None => reply.tell(Err(Failure::new(Class::Gone, "the agent is not there"))),
            },
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

    fn arm(&mut self, myself: &ActorRef<Message>, timer: Timer, after: Duration) {
        let myself = myself.clone();
        let is_wave = matches!(timer, Timer::Wave(_));
        let task = self.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            let input = match timer {
                Timer::Whole => Input::TimeUp,
                Timer::Wave(wave) => Input::WaveTimeUp { wave },
                Timer::Checks => Input::ChecksTimeUp,
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
