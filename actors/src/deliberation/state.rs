//! What a deliberation decides: an input goes in, effects come out. No await, no clock, no randomness.
//!
//! Outcomes of one wave decide nothing alone: each is appended as it comes, and the wave ends when all are durable.
//! After the last wave nobody is asked: what follows from it is appended right behind it, and both wait together.
//! While a decision is being written, further inputs wait; a decision waits until earlier outcomes are durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::record::{End, Next, Record};
use super::scoring::Scoring;
use super::show;
use super::step::{Effect, Input, Timer};
use crate::artifact::Draft;
use crate::domain::answer::{Answer, Class, Failure};
use crate::domain::event::{Event, NewEvent, Plan, TaskFailure};
use crate::domain::id::{CallId, Stage, Timestamp};
use crate::domain::verdict::{MissingSeat, StopReason};
use crate::error::SystemError;

/// How often a seat is asked again whose agent was restarting or full, and the first wait, which doubles.
const MOST_REPEATS: u32 = 5;
const FIRST_REPEAT: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct State {
    pub(super) record: Record,
    /// Events that are not durable yet.
    pub(super) pending: usize,
    /// The last of them is a decision: inputs wait for it.
    deciding: bool,
    waiting: VecDeque<Input>,
    /// Why waves end now, whatever is left to do.
    pub(super) out_of_time: bool,
    /// The texts are with the checks.
    pub(super) scoring: Option<Scoring>,
    repeats: BTreeMap<CallId, Repeats>,
    /// Calls of the current wave whose outcome is on its way to the journal, or there.
    noted: BTreeSet<CallId>,
    /// Outcomes of the last wave on their way, the oldest first.
    pub(super) unwritten: VecDeque<Event>,
    /// The record as it will be when they are there, once that is the ground of the scoring.
    pub(super) ahead: Option<Box<Record>>,
    /// Calls of the current wave that were asked and have no outcome yet.
    awaited: usize,
    /// How often the executor was given calls of the current wave.
    pub(super) attempts: u32,
    /// Calls that it did not take, while it is being written that it is asked no more.
    pub(super) turned_away: Vec<CallId>,
}

/// A call that is made again because nobody answered it.
#[derive(Clone, Copy, Debug, Default)]
struct Repeats {
    count: u32,
    /// HTTP requests that may have been spent before.
    spent: u32,
}

impl State {
    pub(crate) fn begin(plan: Arc<Plan>, now: Timestamp) -> Self {
        Self::with(Record::new(plan, now))
    }

    pub(super) fn with(record: Record) -> Self {
        Self {
            record,
            pending: 0,
            deciding: false,
            waiting: VecDeque::new(),
            out_of_time: false,
            scoring: None,
            repeats: BTreeMap::new(),
            noted: BTreeSet::new(),
            unwritten: VecDeque::new(),
            ahead: None,
            awaited: 0,
            attempts: 0,
            turned_away: Vec::new(),
        }
    }

    pub(crate) fn plan(&self) -> &Arc<Plan> {
        &self.record.plan
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// How many outcomes of the current wave are still to come.
    pub(super) fn awaited(&self) -> usize {
        self.awaited
    }

    /// Takes one input; inputs that had to wait follow when they may.
    pub(crate) fn step(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.take(now, input, &mut effects);
        while !self.deciding {
            let Some(place) = self.waiting.iter().position(|input| !self.must_wait(input)) else { break };
            let Some(input) = self.waiting.remove(place) else { break };
            self.take(now, input, &mut effects);
        }
        effects
    }

    fn must_wait(&self, input: &Input) -> bool {
        match input {
            Input::Appended { .. } => false,
            Input::WaveTimeUp { .. } | Input::TimeUp | Input::CancelAsked { .. } => self.pending > 0,
            _ => self.deciding,
        }
    }

    fn take(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) {
        if self.record.end.is_some() {
            return;
        }
        if self.must_wait(&input) {
            return self.waiting.push_back(input);
        }
        match input {
            Input::Begin => self.decide(Event::DeliberationStarted(self.record.plan.clone()), None, effects),
            Input::Begun => self.begun(now, effects),
            Input::Resume => self.resume(effects),
            Input::Answered { call, answer, draft } => self.answered(now, call, answer, draft, effects),
            Input::Failed { call, failure } => self.failed(now, call, failure, effects),
            Input::Appended { events } => self.appended(now, &events, effects),
            Input::WaveTimeUp { wave } if wave == self.record.wave => self.close_wave(effects),
            Input::WaveTimeUp { .. } => {}
            Input::TimeUp => {
                self.out_of_time = true;
                self.close_wave(effects);
            }
            Input::RepeatDue { call } => self.ask_one(call, effects),
            Input::Accepted { wave, attempt, name } => self.accepted(wave, attempt, name, effects),
            Input::ExecutorAway { calls, why } => self.executor_away(now, calls, &why, effects),
            Input::Checked { reports } => self.checked(now, reports, effects),
            Input::ChecksTimeUp => self.checks_late(now, effects),
            Input::CancelAsked { reason } => self.cancel(reason, effects),
        }
    }

    fn note(&mut self, now: Timestamp, call: CallId, event: Event, effects: &mut Vec<Effect>) {
        self.noted.insert(call);
        self.awaited = self.awaited.saturating_sub(1);
        self.pending += 1;
        let is_last = self.record.is_last_wave();
        if is_last {
            self.unwritten.push_back(event.clone());
        }
        effects.push(Effect::Note(event));
        if is_last && self.awaited == 0 && !self.out_of_time {
            self.go_ahead(now, effects);
        }
    }

    pub(super) fn decide(&mut self, event: Event, task: Option<Event>, effects: &mut Vec<Effect>) {
        self.pending += 1;
        self.deciding = true;
        effects.push(Effect::Decide { event, task: task.map(Box::new) });
    }

    fn answered(
        &mut self,
        now: Timestamp,
        call: CallId,
        mut answer: Answer,
        draft: Option<Draft>,
        effects: &mut Vec<Effect>,
    ) {
        if self.is_awaited(&call) {
            answer.attempts = answer.attempts.max(1) + self.spent(&call);
            self.note(now, call.clone(), Event::CallAnswered { call, answer, draft }, effects);
        }
    }

    pub(super) fn failed(&mut self, now: Timestamp, call: CallId, mut failure: Failure, effects: &mut Vec<Effect>) {
        if !self.is_awaited(&call) {
            return;
        }
        let spent = self.spent(&call) + failure.attempts;
        let unheard = matches!(failure.class, Class::Gone | Class::Busy);
        let repeats = self.repeats.entry(call.clone()).or_default();
        repeats.spent = spent;
        if unheard && repeats.count < MOST_REPEATS && self.record.may_spend(&call, spent) {
            let after = failure.retry_after.unwrap_or(FIRST_REPEAT * (1 << repeats.count));
            repeats.count += 1;
            effects.push(Effect::Arm { timer: Timer::Repeat(call), after });
            return;
        }
        failure.attempts = spent;
        self.note(now, call.clone(), Event::CallFailed { call, failure }, effects);
    }

    /// Whether the outcome of this call is still of use.
    pub(super) fn is_awaited(&self, call: &CallId) -> bool {
        self.record.open_seat(call).is_some() && !self.noted.contains(call)
    }

    pub(super) fn spent(&self, call: &CallId) -> u32 {
        self.repeats.get(call).map_or(0, |repeats| repeats.spent)
    }

    fn begun(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        effects.push(Effect::Arm { timer: Timer::Whole, after: self.record.plan.deadline });
        match self.record.is_settled() {
            true => self.advance(now, effects),
            false => self.enter_wave(effects),
        }
    }

    fn appended(&mut self, now: Timestamp, events: &[NewEvent], effects: &mut Vec<Effect>) {
        self.pending -= events.len();
        if self.pending == 0 {
            self.deciding = false;
        }
        for new in events {
            if matches!(new.event, Event::DeliberationStarted(_)) {
                self.record = Record::new(self.record.plan.clone(), new.at);
                self.begun(now, effects);
                continue;
            }
            if matches!(new.event, Event::CallAnswered { .. } | Event::CallFailed { .. }) {
                self.unwritten.pop_front();
            }
            self.record.apply(&new.event, new.at);
            self.after(new, effects);
            if self.unwritten.is_empty() && self.ahead.take().is_some() && self.scoring.is_some() {
                effects.push(Effect::Show(show::scoring(&self.record)));
            }
            if matches!(new.event, Event::DeliberationResumed {}) && !self.record.is_settled() {
                self.enter_wave(effects);
            }
        }
        if self.record.end.is_none() && self.pending == 0 && self.scoring.is_none() && self.record.is_settled() {
            self.advance(now, effects);
        }
    }

    /// What an event that just became durable asks for at once.
    fn after(&mut self, new: &NewEvent, effects: &mut Vec<Effect>) {
        match &new.event {
            Event::CallAnswered { call, .. } | Event::CallFailed { call, .. } => {
                if let Some(shown) = show::outcome_of(&self.record, new) {
                    effects.push(Effect::Show(shown));
                }
                self.ask_again(call, effects);
            }
            Event::WaveSubmitting { wave, attempt, calls } => self.submitting(*wave, *attempt, calls, effects),
            Event::ExecutorLeft { .. } => self.left_executor(effects),
            Event::ProposalsScored(_) => {
                self.scoring = None;
                self.enter_wave(effects);
            }
            Event::VerdictReached(_) => {
                effects.extend(show::results(&self.record).into_iter().map(Effect::Show));
                if let Some(outcome) = self.record.outcome() {
                    effects.push(Effect::End(Ok(Arc::new(outcome))));
                }
            }
            Event::DeliberationFailed { .. } | Event::DeliberationCancelled { .. } => {
                let error = failure_of(&self.record);
                effects.push(Effect::Show(show::failed(&self.record, &error.to_string())));
                effects.push(Effect::End(Err(error)));
            }
            _ => {}
        }
    }

    /// The answer was cut off or broke its form, and the seat is open again.
    fn ask_again(&mut self, answered: &CallId, effects: &mut Vec<Effect>) {
        let call = CallId { ask: answered.ask + 1, ..answered.clone() };
        if self.is_awaited(&call) {
            self.awaited += 1;
            self.ask_one(call, effects);
        }
    }

    /// Calls of the actor before this one may still run: they would tell nobody. What it wrote last may still be on its
    /// way to the disk: nothing is asked before the own first event is behind it.
    fn resume(&mut self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Withdraw);
        let plan = &self.record.plan;
        let left = plan.deadline.saturating_sub(self.record.running);
        let at_least = plan.call_timeout.min(plan.deadline);
        effects.push(Effect::Arm { timer: Timer::Whole, after: left.max(at_least) });
        effects.push(Effect::Show(show::resumed(&self.record)));
        self.decide(Event::DeliberationResumed {}, None, effects);
    }

    fn advance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let next = match self.record.next() {
            Next::Wave(_) | Next::Score(_) if self.out_of_time => Next::Score(StopReason::Deadline),
            Next::Wave(_) => self.record.advance(),
            next => next,
        };
        match next {
            Next::Wave(_) => self.enter_wave(effects),
            Next::Score(stop) => self.score(stop, effects),
            Next::Conclude => self.conclude(now, effects),
            Next::Nothing => self.fail(effects),
        }
    }

    /// Asks every open seat of the current wave.
    fn enter_wave(&mut self, effects: &mut Vec<Effect>) {
        self.repeats.clear();
        self.noted.clear();
        self.attempts = 0;
        self.turned_away.clear();
        self.awaited = self.record.open_seats().count();
        let record = &self.record;
        let left = record.plan.deadline.saturating_sub(record.running);
        let stage = (left / record.waves_left()).max(record.plan.call_timeout);
        if stage < left {
            effects.push(Effect::Arm { timer: Timer::Wave(record.wave), after: stage });
        }
        effects.push(Effect::Show(show::wave(record)));
        self.ask_all(self.record.open_calls(), effects);
    }

    /// Ends the current wave with what there is.
    fn close_wave(&mut self, effects: &mut Vec<Effect>) {
        if self.scoring.is_some() {
            return;
        }
        let reason: Arc<str> = match self.out_of_time {
            true => "no answer before the deadline".into(),
            false => "no answer within the time of its stage".into(),
        };
        let open = self.record.open_seats().map(|seat| MissingSeat {
            agent: self.record.asked(seat),
            wave: self.record.wave_of(seat),
            class: Class::TimedOut,
            reason: reason.clone(),
        });
        let missing: Vec<_> = open.collect();
        effects.extend([Effect::Withdraw, Effect::Recall]);
        let wave = self.record.wave;
        self.decide(Event::WaveClosed { wave, missing }, None, effects);
    }

    /// No model ever answered: the causes are the message, never a made-up text.
    pub(super) fn fail(&mut self, effects: &mut Vec<Effect>) {
        let missing = &self.ground().missing;
        let class = if self.out_of_time { Class::TimedOut } else { worst(missing) };
        let causes: Vec<_> = missing.iter().map(|seat| format!("{}: {}", seat.agent, seat.reason)).collect();
        let message: Arc<str> = format!("no agent answered ({})", causes.join("; ")).into();
        self.give_up(class, message, effects);
    }

    /// Ends the run without a verdict.
    fn give_up(&mut self, class: Class, message: Arc<str>, effects: &mut Vec<Effect>) {
        let missing = self.ground().missing.clone();
        let task = Event::TaskFailed(TaskFailure { run: self.record.plan.run.run, class, message: message.clone() });
        self.decide(Event::DeliberationFailed { class, message, missing }, Some(task), effects);
    }

    fn cancel(&mut self, reason: Arc<str>, effects: &mut Vec<Effect>) {
        effects.extend([Effect::Withdraw, Effect::Recall]);
        let task = Event::TaskCancelled { run: self.record.plan.run.run, reason: reason.clone() };
        self.decide(Event::DeliberationCancelled { reason }, Some(task), effects);
    }
}

/// What the clients of a run without verdict are told.
pub(super) fn failure_of(record: &Record) -> SystemError {
    match &record.end {
        Some(End::Failed { class, message }) => SystemError::Failed { class: *class, message: message.clone() },
        Some(End::Cancelled { reason }) => SystemError::Cancelled { reason: reason.clone() },
        Some(End::Verdict(_)) | None => SystemError::WrongState("the run has not ended".into()),
    }
}

/// The class that says most about what to do: what may heal first, then what must be mended.
fn worst(missing: &[MissingSeat]) -> Class {
    let order = [Class::Transient, Class::TimedOut, Class::Busy, Class::Refused, Class::Invalid, Class::Gone];
    order.into_iter().find(|class| missing.iter().any(|seat| seat.class == *class)).unwrap_or(Class::Internal)
}

impl Record {
    /// Waves from the current one to the last, itself included.
    fn waves_left(&self) -> u32 {
        let of_round = if self.is_made() { 1 } else { 2 };
        let all = 1 + of_round * u32::from(self.plan.rounds) + u32::from(self.plan.architect.is_some());
        let round = u32::from(self.wave.round);
        let done = match self.wave.stage {
            Stage::Propose => 0,
            Stage::Critique => 2 * round - 1,
            Stage::Revise | Stage::Score => 2 * round,
            Stage::Select => all - 1,
        };
        all.saturating_sub(done).max(1)
    }
}
