//! The glue: messages become inputs, effects become appends, asks, timers and news.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::{AbortHandle, JoinSet};

use super::closing::{self, Closing};
use super::errand::{Errand, Errands};
use super::message::Message;
use super::pen::{News, Pen};
use super::prompt::Prompts;
use super::record::Record;
use super::reports::Reports;
use super::state::{State, failure_of};
use super::step::{Ask, Effect, Input, Submit, Timer};
use super::{ask, load};
use crate::agent::Reply;
use crate::census::Presence;
use crate::domain::answer::{Class, Failure};
use crate::domain::event::{Event, Plan};
use crate::domain::id::{EventId, Role, Stage, Timestamp};
use crate::error::SystemError;
use crate::ports::{Ack, JournalError, Subject};
use crate::running::{Ending, Running};
use crate::world::World;

/// How often in a row a run is read again because somebody else wrote it, and the first wait, which doubles.
const MOST_OVERTAKEN: u32 = 5;
const FIRST_RELOAD: Duration = Duration::from_millis(20);

/// Tasks that may lie about finished: timers and checks of a usual run, which never looks for them.
const MOST_FINISHED: usize = 16;

pub(crate) struct Deliberation;

pub(crate) struct Arguments {
    pub(crate) world: Arc<World>,
    pub(crate) running: Arc<Running>,
    /// For a run that may not have begun; or why it cannot.
    pub(crate) plan: Result<Arc<Plan>, Failure>,
    /// For a run that has just begun: no need to look into the journal.
    pub(crate) begun: Option<Begun>,
    pub(crate) heartbeat: Arc<AtomicU64>,
}

/// The only event that a run has: its plan, durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) event: EventId,
    pub(crate) at: Timestamp,
}

/// A run as the journal has it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// `None`: it has not begun.
    pub(super) record: Option<Record>,
    pub(super) version: u64,
    /// For a run that has only just begun.
    pub(super) begun: Option<EventId>,
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
    /// Outcomes to append with the next flush; at most one of each seat.
    noted: Vec<Event>,
    /// How often somebody else wrote the run since the last own append.
    overtaken: u32,
    /// What came before it was read.
    early: Vec<Input>,
    tasks: JoinSet<()>,
    wave_timer: Option<AbortHandle>,
    /// What the executor has of the current wave.
    errands: Errands,
    _presence: Presence,
}

impl Actor for Deliberation {
    type Msg = Message;
    type State = Live;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<Live, ActorProcessingErr> {
        let Arguments { world, running, plan, begun, heartbeat } = arguments;
        let mut live = Live {
            prompts: world.prompts.clone(),
            _presence: world.census.enter(),
            world,
            running,
            plan,
            heartbeat,
            state: None,
            batch: 0,
            noted: Vec::new(),
            overtaken: 0,
            early: Vec::new(),
            tasks: JoinSet::new(),
            wave_timer: None,
            errands: Errands::default(),
        };
        match (begun, &live.plan) {
            (Some(Begun { event, at }), Ok(plan)) => {
                let record = Some(Record::new(plan.clone(), at));
                let loaded = Loaded { record, version: 1, begun: Some(event), prompts: live.prompts.clone() };
                drop(myself.cast(Message::Loaded(Ok(Box::new(loaded)))));
            }
            _ => live.load(&myself, Duration::ZERO),
        }
        Ok(live)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        live: &mut Live,
    ) -> Result<(), ActorProcessingErr> {
        if live.tasks.len() > MOST_FINISHED {
            while live.tasks.try_join_next().is_some() {}
        }
        match message {
            Message::Input(input) => live.step(&myself, input),
            Message::WhenDurable { call, durable } => live.errands.wait(call, durable),
            Message::Flush => live.flush(&myself),
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
        let Loaded { record, version, begun, prompts } = *loaded?;
        self.prompts = prompts;
        let pen = Pen::new(&self.running, version, self.batch, begun);
        let (state, first) = match (record, self.plan.clone()) {
            (Some(record), _) if record.end.is_some() => {
                let ending = record.outcome().map(Arc::new).ok_or_else(|| failure_of(&record));
                self.end(myself, ending);
                return Ok(());
            }
            (Some(record), _) if begun.is_some() => (State::with(record), Input::Begun),
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
            Effect::Note(event) => {
                self.noted.push(event);
                if self.state.as_ref().is_some_and(|(state, _)| state.awaited() == 0) {
                    self.flush(myself);
                } else if self.noted.len() == 1 {
                    drop(myself.cast(Message::Flush));
                }
            }
            Effect::Decide { event, task } => {
                if let Some((_, pen)) = &mut self.state {
                    pen.decide(&self.world.ports, event, task.map(|task| *task), |batch| ack(myself, batch));
                }
            }
            Effect::Ask(asked) => self.ask(myself, asked),
            Effect::Submit(submit) => self.submit(myself, submit),
            Effect::Withdraw => self.withdraw(),
            Effect::Recall => self.errands.recall(),
            Effect::Check { subjects, within } => self.check(myself, subjects, within),
            Effect::Arm { timer, after } => self.arm(myself, timer, after),
            Effect::Show(update) => self.running.progress.push(update),
            Effect::End(ending) => self.end(myself, ending),
        }
    }

    /// Outcomes that came one after the other share a batch: under load the answers of a wave. The last one of a wave
    /// waits for no others, and only that one is waited for; after the last wave, only what is decided right behind it.
    fn flush(&mut self, myself: &ActorRef<Message>) {
        let noted = std::mem::take(&mut self.noted);
        if let Some((state, pen)) = self.state.as_mut().filter(|_| !noted.is_empty()) {
            let patient = state.awaited() > 0 || state.is_ahead();
            pen.note(&self.world.ports, noted, patient, |batch| ack(myself, batch));
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
                self.errands.settle(&events);
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
        self.noted.clear();
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
        let drafting = state.record().drafting(&asked.call);
        let reply = Reply::new(myself.clone(), asked.call.clone(), drafting);
        if asked.call.wave.stage == Stage::Select {
            let paper = ask::ballot_paper(state.record(), &self.prompts, asked);
            return self.world.registry.vote(paper, reply);
        }
        let agent = state.plan().seats[asked.seat].agent.clone();
        match ask::model_call(state.record(), &self.prompts, asked) {
            Ok(call) => match self.world.registry.agent(&self.running.spec.role, &agent) {
                Some(handle) => handle.ask(call, reply),
                None => reply.fail(Failure::new(Class::Gone, "the agent is not there")),
            },
            Err(error) => reply.fail(Failure::new(Class::Internal, format!("the prompt cannot be made: {error}"))),
        }
    }

    fn submit(&mut self, myself: &ActorRef<Message>, submit: Submit) {
        let Some((state, _)) = &self.state else { return };
        let errand = Errand::new(state.record(), &self.prompts, submit, myself);
        self.errands.start(&self.world, myself, errand);
    }

    fn withdraw(&self) {
        let Some((state, _)) = &self.state else { return };
        let role = &self.running.spec.role;
        let seats = state.plan().seats.iter().map(|seat| (role.clone(), seat));
        let architect = state.plan().architect.iter().map(|seat| (Role::architect(), seat));
        for (role, seat) in seats.chain(architect) {
            if let Some(handle) = self.world.registry.agent(&role, &seat.agent) {
                handle.withdraw(&self.running.run);
            }
        }
    }

    fn check(&mut self, myself: &ActorRef<Message>, subjects: Vec<Subject>, within: Duration) {
        let checks = self.world.ports.checks.clone();
        let reports = Reports { to: myself.clone(), count: subjects.len(), outcome: None };
        self.tasks.spawn(async move {
            let mut home = reports;
            home.outcome = Some(tokio::time::timeout(within, checks.check(subjects)).await);
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

impl Drop for Live {
    /// What calls brought to an actor that dies is not asked for again.
    fn drop(&mut self) {
        let noted = std::mem::take(&mut self.noted);
        if let Some((_, pen)) = self.state.as_mut().filter(|_| !noted.is_empty()) {
            pen.note(&self.world.ports, noted, false, |_| Ack::new(|_| ()));
        }
    }
}

fn ack(deliberation: &ActorRef<Message>, batch: u64) -> Ack {
    let deliberation = deliberation.clone();
    Ack::new(move |result| drop(deliberation.cast(Message::Written { batch, result })))
}
