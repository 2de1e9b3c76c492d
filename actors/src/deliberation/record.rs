//! A run as its events tell it: the fold that the live actor, a resume and every later reader share.
//!
//! Only durable events are applied. What comes next follows from the record alone, so that a run that is folded after
//! a crash goes on exactly where it stood.

use std::sync::Arc;
use std::time::Duration;

use super::critique::Critique;
use super::drafting;
use super::seat::{Given, SeatRecord, Slot, Written};
use super::submission::Submission;
use crate::architect;
use crate::artifact::{Draft, Terms};
use crate::domain::answer::{Answer, Class, Failure, Usage};
use crate::domain::event::{Event, Plan};
use crate::domain::id::{AgentId, CallId, Stage, Timestamp, Wave};
use crate::domain::verdict::{MissingSeat, Outcome, Proposal, Scored, StopReason, Verdict, WaveTime};

/// Asks of one seat in one wave: a second one when the first answer was cut off or broke its form.
const MOST_ASKS: u8 = 2;

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Verdict(Arc<Verdict>),
    Failed { class: Class, message: Arc<str> },
    Cancelled { reason: Arc<str> },
}

/// What follows a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Wave(Wave),
    Score(StopReason),
    /// The architect has voted.
    Conclude,
    /// Nobody proposed anything.
    Nothing,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) plan: Arc<Plan>,
    /// Where changes are wanted: what answers are translated against.
    pub(super) terms: Option<Arc<Terms>>,
    pub(super) seats: Vec<SeatRecord>,
    pub(crate) wave: Wave,
    /// One for each seat, or for each ballot while the architect chooses.
    pub(super) slots: Vec<Slot>,
    /// The evidence that the architect chooses by.
    pub(super) scored: Option<Arc<Scored>>,
    /// What the architect answered, by ballot.
    pub(super) ballots: [Option<Arc<str>>; architect::BALLOTS],
    pub(crate) missing: Vec<MissingSeat>,
    /// What of the current wave went to the executor.
    pub(super) submissions: Vec<Submission>,
    /// Why it is asked no more.
    pub(super) executor_left: Option<Arc<str>>,
    pub(super) waves: Vec<WaveTime>,
    pub(crate) calls: u32,
    pub(crate) attempts: u32,
    /// HTTP requests beyond one for each seat and wave.
    pub(super) extra: u32,
    /// How many of those each seat may spend in the current wave.
    pub(super) allowance: u32,
    pub(crate) usage: Usage,
    /// Some answer was scripted.
    simulated: bool,
    /// Time at work, without the time between a crash and its resume.
    pub(super) running: Duration,
    pub(super) wave_started_at: Timestamp,
    pub(crate) last_at: Timestamp,
    pub(crate) end: Option<End>,
    finished: u32,
}

impl Record {
    /// A run that just began: everybody is asked for a proposal, unless what they made is there.
    pub(crate) fn new(plan: Arc<Plan>, at: Timestamp) -> Self {
        let seats = plan.seats.len();
        let mut record = Self {
            terms: drafting::terms(&plan),
            plan,
            seats: vec![SeatRecord::default(); seats],
            wave: Wave { stage: Stage::Propose, round: 0 },
            slots: vec![Slot::Open { ask: 1, kept: None }; seats],
            scored: None,
            ballots: Default::default(),
            missing: Vec::new(),
            submissions: Vec::new(),
            executor_left: None,
            waves: Vec::new(),
            calls: 0,
            attempts: 0,
            extra: 0,
            allowance: 0,
            usage: Usage::default(),
            simulated: false,
            running: Duration::ZERO,
            wave_started_at: at,
            last_at: at,
            end: None,
            finished: 0,
        };
        record.allowance = record.allowance_now();
        record.take_outputs();
        record
    }

    /// Takes in one durable event of this run.
    pub(super) fn apply(&mut self, event: &Event, at: Timestamp) {
        if matches!(event, Event::DeliberationResumed {}) {
            self.wave_started_at = Timestamp(at.0.saturating_sub(self.wave_time().as_millis() as u64));
        } else {
            self.running += at.since(self.last_at);
        }
        self.last_at = at;
        match event {
            Event::CallAnswered { call, answer, draft } => self.answered(call, answer, draft.as_ref(), at),
            Event::CallFailed { call, failure } => self.failed(call, failure, at),
            Event::WaveClosed { wave, missing } if *wave == self.wave => self.closed(missing, at),
            Event::ProposalsScored(scored) => self.stand_for_election(scored.clone()),
            Event::VerdictReached(verdict) => self.end = Some(End::Verdict(verdict.clone())),
            Event::DeliberationFailed { class, message, .. } => {
                self.end = Some(End::Failed { class: *class, message: message.clone() });
            }
            Event::DeliberationCancelled { reason } => self.end = Some(End::Cancelled { reason: reason.clone() }),
            other => self.submitted(other),
        }
    }

    fn answered(&mut self, call: &CallId, answer: &Answer, draft: Option<&Draft>, at: Timestamp) {
        self.calls += 1;
        self.attempts += answer.attempts;
        self.extra += beyond_one(call, answer.attempts);
        self.usage += answer.usage;
        self.simulated |= answer.is_simulated();
        let Some(seat) = self.open_seat(call) else { return };
        let critique = self.critique(answer);
        let broken = self.plan.structured && critique.as_ref().is_some_and(|critique| critique.broken);
        // The architect costs two calls, never more: a ballot that is cut off is spoiled.
        let votes = self.wave.stage == Stage::Select;
        let given = Given { ask: call.ask, answer: answer.clone(), draft: draft.cloned() };
        let again = !votes && call.ask < MOST_ASKS && (broken || given.is_unfinished());
        if again && self.may_spend(call, answer.attempts) {
            self.slots[seat] = Slot::Open { ask: call.ask + 1, kept: Some(given) };
            return;
        }
        match std::mem::replace(&mut self.slots[seat], Slot::Done) {
            // Cut off, and whole all the same: better than what came after it.
            Slot::Open { kept: Some(kept), .. } if given.is_rejected() && !kept.is_rejected() => {
                self.take_kept(seat, &kept, at);
            }
            _ => self.take(seat, &given, critique, at),
        }
    }

    fn failed(&mut self, call: &CallId, failure: &Failure, at: Timestamp) {
        self.attempts += failure.attempts;
        self.extra += beyond_one(call, failure.attempts);
        let Some(seat) = self.open_seat(call) else { return };
        match std::mem::replace(&mut self.slots[seat], Slot::Missing) {
            Slot::Open { kept: Some(given), .. } => self.take_kept(seat, &given, at),
            _ => self.miss(seat, failure.class, &failure.message),
        }
    }

    fn closed(&mut self, missing: &[MissingSeat], at: Timestamp) {
        for seat in 0..self.slots.len() {
            match std::mem::replace(&mut self.slots[seat], Slot::Missing) {
                Slot::Open { kept, .. } => {
                    // What an unfinished call has spent is not known: all that it was allowed counts.
                    let known = kept.as_ref().map_or(0, |given| given.answer.attempts.saturating_sub(1));
                    self.extra += self.allowance.saturating_sub(known);
                    if let Some(given) = kept {
                        self.take_kept(seat, &given, at);
                        continue;
                    }
                    let (agent, wave) = (self.asked(seat), self.wave_of(seat));
                    let named = missing.iter().find(|missing| missing.agent == agent && missing.wave == wave);
                    self.missing.extend(named.cloned());
                }
                settled => self.slots[seat] = settled,
            }
        }
    }

    pub(super) fn miss(&mut self, seat: usize, class: Class, reason: &Arc<str>) {
        let (agent, wave) = (self.asked(seat), self.wave_of(seat));
        self.missing.push(MissingSeat { agent, wave, class, reason: reason.clone() });
    }

    /// The seat whose answer this is, if it is still awaited.
    pub(crate) fn open_seat(&self, call: &CallId) -> Option<usize> {
        let slot = match self.wave.stage {
            Stage::Select => usize::from(call.wave.round).checked_sub(1)?,
            _ => self.plan.seats.iter().position(|seat| seat.agent == call.agent)?,
        };
        let awaited = matches!(self.slots.get(slot)?, Slot::Open { ask, .. } if *ask == call.ask);
        (awaited && call.wave == self.wave_of(slot) && call.agent == self.asked(slot)).then_some(slot)
    }

    /// What an answer says as a review, in a wave of reviews.
    fn critique(&self, answer: &Answer) -> Option<Critique> {
        (self.wave.stage == Stage::Critique).then(|| Critique::read(&answer.text))
    }

    /// What the seat gave before it was asked again counts after all.
    fn take_kept(&mut self, seat: usize, given: &Given, at: Timestamp) {
        self.take(seat, given, self.critique(&given.answer), at);
    }

    /// The answer counts: as a text of its author, or as a review of the next one in the ring.
    fn take(&mut self, seat: usize, given: &Given, critique: Option<Critique>, at: Timestamp) {
        self.slots[seat] = Slot::Done;
        if self.wave.stage == Stage::Select {
            self.ballots[seat] = Some(given.answer.text.clone());
            return;
        }
        if let Some(critique) = critique {
            if let Some(reviewed) = self.reviewed_by(seat) {
                self.seats[reviewed].review = Some((self.wave.round, critique));
            }
            return;
        }
        self.finished += 1;
        let record = &mut self.seats[seat];
        if record.texts.is_empty() {
            record.proposed_at = at;
        }
        record.texts.push(Written::new(self.wave, given));
        record.finished = self.finished;
    }

    /// The ring runs over seats that have a proposal, in seat order.
    pub(crate) fn reviewed_by(&self, seat: usize) -> Option<usize> {
        let ring: Vec<usize> = (0..self.seats.len()).filter(|&seat| !self.seats[seat].texts.is_empty()).collect();
        let place = ring.iter().position(|&other| other == seat)?;
        Some(ring[(place + 1) % ring.len()])
    }

    pub(super) fn is_settled(&self) -> bool {
        !self.slots.iter().any(|slot| matches!(slot, Slot::Open { .. }))
    }

    pub(super) fn open_seats(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.slots.len()).filter(|&seat| matches!(self.slots[seat], Slot::Open { .. }))
    }

    /// The calls that the current wave waits for, in seat order.
    pub(crate) fn open_calls(&self) -> Vec<CallId> {
        let call = |(seat, slot): (usize, &Slot)| match slot {
            Slot::Open { ask, .. } => Some(CallId { ask: *ask, ..self.call_of(seat) }),
            Slot::Out | Slot::Done | Slot::Missing => None,
        };
        self.slots.iter().enumerate().filter_map(call).collect()
    }

    /// The first ask of a seat in the current wave.
    pub(super) fn call_of(&self, seat: usize) -> CallId {
        CallId { run: self.plan.run.clone(), wave: self.wave_of(seat), agent: self.asked(seat), ask: 1 }
    }

    /// What follows the settled wave.
    pub(super) fn next(&self) -> Next {
        if self.scored.is_some() {
            return Next::Conclude;
        }
        let proposals = self.seats.iter().filter(|seat| !seat.texts.is_empty()).count();
        if proposals == 0 {
            return Next::Nothing;
        }
        if self.plan.rounds == 0 {
            return Next::Score(StopReason::NoReview);
        }
        if proposals == 1 {
            return Next::Score(StopReason::Single);
        }
        if self.wave.stage == Stage::Revise && self.wave.round >= self.plan.rounds {
            return Next::Score(StopReason::Complete);
        }
        if self.is_made() && self.wave.stage == Stage::Critique {
            return Next::Score(StopReason::Complete);
        }
        if self.budget_spent() {
            return Next::Score(StopReason::Budget);
        }
        Next::Wave(match self.wave.stage {
            Stage::Critique => Wave { stage: Stage::Revise, round: self.wave.round },
            _ => Wave { stage: Stage::Critique, round: self.wave.round + 1 },
        })
    }

    /// Whether no seat is asked after the current wave: the scores follow, or the verdict.
    pub(super) fn is_last_wave(&self) -> bool {
        match self.wave.stage {
            Stage::Propose => self.plan.rounds == 0,
            Stage::Critique => self.is_made(),
            Stage::Revise => self.wave.round >= self.plan.rounds,
            Stage::Score | Stage::Select => true,
        }
    }

    /// Opens the next wave. Nobody revises without a review of this round.
    fn enter(&mut self, wave: Wave) {
        self.begin_wave(wave);
        for (slot, seat) in self.slots.iter_mut().zip(&self.seats) {
            let takes_part = !seat.texts.is_empty()
                && (wave.stage != Stage::Revise || seat.review.as_ref().is_some_and(|(round, _)| *round == wave.round));
            *slot = if takes_part { Slot::Open { ask: 1, kept: None } } else { Slot::Out };
        }
        self.allowance = self.allowance_now();
    }

    pub(super) fn begin_wave(&mut self, wave: Wave) {
        self.waves = self.wave_times();
        self.wave = wave;
        self.submissions.clear();
        self.wave_started_at = self.last_at;
    }

    /// How long each wave took, the current one up to its last event.
    pub(super) fn wave_times(&self) -> Vec<WaveTime> {
        let current = WaveTime { wave: self.wave, duration: self.wave_time() };
        self.waves.iter().cloned().chain([current]).collect()
    }

    fn wave_time(&self) -> Duration {
        self.last_at.since(self.wave_started_at)
    }

    /// Goes on to the next wave that asks anybody, if the current one is settled and there is one.
    pub(super) fn advance(&mut self) -> Next {
        loop {
            let next = self.next();
            let Next::Wave(wave) = next else { return next };
            self.enter(wave);
            if !self.is_settled() {
                return next;
            }
        }
    }

    /// Rebuilds a run from its events after the first. Waves that are complete are passed.
    pub(super) fn fold<'a>(
        plan: Arc<Plan>,
        at: Timestamp,
        events: impl Iterator<Item = (&'a Event, Timestamp)>,
    ) -> Self {
        let mut record = Self::new(plan, at);
        events.for_each(|(event, at)| record.take_in(event, at));
        record
    }

    /// Applies an event, and goes on to the next wave when it was the last of the current one.
    pub(crate) fn take_in(&mut self, event: &Event, at: Timestamp) {
        self.apply(event, at);
        if self.end.is_none() && self.is_settled() {
            self.advance();
        }
    }

    /// A seat's proposal as it stands; `kept` names the text that counts, if it is not the last.
    pub(super) fn proposal(&self, seat: usize, kept: Option<u32>) -> Option<Proposal> {
        let record = &self.seats[seat];
        let last = record.texts.len().checked_sub(1)?;
        let counts = kept.and_then(|text| usize::try_from(text).ok()).map_or(last, |text| text.min(last));
        let mut revisions: Vec<_> = record.texts.iter().map(|written| written.text.clone()).collect();
        let text = revisions.remove(counts);
        let agent = self.plan.seats[seat].agent.clone();
        Some(Proposal { agent, text, revisions, created_at: record.proposed_at })
    }

    pub(super) fn seat_of(&self, agent: &AgentId) -> Option<usize> {
        self.plan.seats.iter().position(|seat| seat.agent == *agent)
    }

    /// What clients see of a run that reached its verdict.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let Some(End::Verdict(verdict)) = &self.end else { return None };
        let proposals = verdict.ranking.iter().map(|ranked| self.proposal(self.seat_of(&ranked.agent)?, ranked.text));
        Some(Outcome {
            verdict: verdict.clone(),
            proposals: proposals.flatten().collect(),
            execution_id: self.plan.execution_id.clone(),
            simulated: self.simulated,
            clamped: self.plan.clamped,
            context: self.plan.context.clone(),
            prompts_hash: self.plan.prompts_hash.clone(),
            policy_hash: self.plan.policy_hash.clone(),
            ended_at: self.last_at,
        })
    }
}

/// What a call costs beyond the one request that every seat has in every wave.
fn beyond_one(call: &CallId, attempts: u32) -> u32 {
    attempts.max(1) - u32::from(call.ask == 1)
}
