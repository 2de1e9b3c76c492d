//! Who is asked: each seat's agent by itself, or the executor for a wave's calls together. What goes to the executor is
//! written before it is submitted, and attached to ever after.
//!
//! ```text
//!  enter the wave ─▶ WaveSubmitting durable ─▶ submit ─▶ WaveAccepted ─▶ results, each a call's outcome
//!  resume: submitted, not accepted ─▶ submit the same attempt     accepted ─▶ attach to its name
//!  lost, or asked again ─▶ a new attempt, with that agent alone
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::Record;
use super::state::State;
use super::step::{Ask, Effect, Submit};
use crate::domain::answer::{Class, Failure};
use crate::domain::council::Endpoint;
use crate::domain::event::Event;
use crate::domain::id::{CallId, Stage, Timestamp, Wave};

/// HTTP requests of one call: the first and three retries.
const MOST_ATTEMPTS: u32 = 4;

/// One attempt of the current wave.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Submission {
    pub(super) attempt: u32,
    pub(super) calls: Vec<CallId>,
    /// Under which the executor has taken it.
    pub(super) name: Option<Arc<str>>,
}

impl Record {
    /// Ballots never are: two calls gain nothing by a cluster.
    fn is_for_executor(&self, call: &CallId) -> bool {
        let is_there = |seat: usize| self.plan.seats[seat].endpoint == Endpoint::Ray;
        self.executor_left.is_none()
            && self.wave.stage != Stage::Select
            && self.seat_of(&call.agent).is_some_and(is_there)
    }

    /// Takes in what was submitted.
    pub(super) fn submitted(&mut self, event: &Event) {
        match event {
            Event::WaveSubmitting { wave, attempt, calls } if *wave == self.wave => {
                self.submissions.push(Submission { attempt: *attempt, calls: calls.clone(), name: None });
            }
            Event::WaveAccepted { wave, attempt, name } if *wave == self.wave => {
                let accepted = self.submissions.iter_mut().find(|submission| submission.attempt == *attempt);
                accepted.into_iter().for_each(|submission| submission.name = Some(name.clone()));
            }
            Event::ExecutorLeft { reason } => self.executor_left = Some(reason.clone()),
            _ => {}
        }
    }

    /// The last attempt that holds a call.
    fn submission_of(&self, call: &CallId) -> Option<&Submission> {
        self.submissions.iter().rev().find(|submission| submission.calls.contains(call))
    }

    /// Where a seat's calls go when it is asked by itself.
    pub(super) fn endpoint_of(&self, seat: usize) -> Endpoint {
        self.plan.seats[seat].endpoint.asked_alone()
    }
}

impl State {
    /// Asks for calls of the current wave: at their agents, or together at the executor. What went there before a crash is
    /// attached to.
    pub(super) fn ask_all(&mut self, calls: Vec<CallId>, effects: &mut Vec<Effect>) {
        let (together, each): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| self.record.is_for_executor(call));
        each.into_iter().for_each(|call| self.ask(call, effects));
        let (mut fresh, mut submitted) = (Vec::new(), BTreeMap::<u32, Vec<CallId>>::new());
        for call in together {
            match self.record.submission_of(&call) {
                Some(submission) => submitted.entry(submission.attempt).or_default().push(call),
                None => fresh.push(call),
            }
        }
        submitted.into_iter().for_each(|(attempt, calls)| self.hand_over(attempt, calls, effects));
        self.submit(fresh, effects);
    }

    /// At its agent.
    fn ask(&self, call: CallId, effects: &mut Vec<Effect>) {
        effects.extend(self.ask_of(call).map(Effect::Ask));
    }

    /// `None` = its outcome is of no use any more.
    fn ask_of(&self, call: CallId) -> Option<Ask> {
        let seat = self.record.open_seat(&call).filter(|_| self.is_awaited(&call))?;
        let most_attempts = self.record.requests_left(&call, self.spent(&call)).clamp(1, MOST_ATTEMPTS);
        Some(Ask { seat, call, most_attempts })
    }

    /// The same for a call that is made again: nothing that was submitted holds its answer.
    pub(super) fn ask_one(&mut self, call: CallId, effects: &mut Vec<Effect>) {
        match self.record.is_for_executor(&call) {
            true if self.is_awaited(&call) => self.submit(vec![call], effects),
            true => {}
            false => self.ask(call, effects),
        }
    }

    fn submit(&mut self, calls: Vec<CallId>, effects: &mut Vec<Effect>) {
        if calls.is_empty() {
            return;
        }
        let before = self.record.submissions.iter().map(|submission| submission.attempt).max().unwrap_or_default();
        self.attempts = self.attempts.max(before) + 1;
        self.append(Event::WaveSubmitting { wave: self.record.wave, attempt: self.attempts, calls }, effects);
    }

    /// Nothing waits for it but what follows from it.
    fn append(&mut self, event: Event, effects: &mut Vec<Effect>) {
        self.pending += 1;
        effects.push(Effect::Decide { event, task: None });
    }

    /// An attempt is durable.
    pub(super) fn submitting(&mut self, wave: Wave, attempt: u32, calls: &[CallId], effects: &mut Vec<Effect>) {
        if wave == self.record.wave {
            self.hand_over(attempt, calls.to_vec(), effects);
        }
    }

    fn hand_over(&self, attempt: u32, calls: Vec<CallId>, effects: &mut Vec<Effect>) {
        let asks: Vec<Ask> = calls.into_iter().filter_map(|call| self.ask_of(call)).collect();
        let submission = self.record.submissions.iter().find(|submission| submission.attempt == attempt);
        if !asks.is_empty() {
            let name = submission.and_then(|submission| submission.name.clone());
            effects.push(Effect::Submit(Submit { attempt, asks, name }));
        }
    }

    pub(super) fn accepted(&mut self, wave: Wave, attempt: u32, name: Arc<str>, effects: &mut Vec<Effect>) {
        if wave == self.record.wave && self.record.submissions.iter().any(|submission| submission.attempt == attempt) {
            self.append(Event::WaveAccepted { wave, attempt, name }, effects);
        }
    }

    /// These calls were not taken.
    pub(super) fn executor_away(
        &mut self,
        now: Timestamp,
        calls: Vec<CallId>,
        why: &Arc<str>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.plan().ray_fallback {
            for call in calls {
                self.failed(now, call, Failure::new(Class::Transient, why.clone()), effects);
            }
            return;
        }
        let is_first = self.turned_away.is_empty() && self.record.executor_left.is_none();
        match self.record.executor_left {
            Some(_) => calls.into_iter().for_each(|call| self.ask(call, effects)),
            None => self.turned_away.extend(calls),
        }
        if is_first {
            self.append(Event::ExecutorLeft { reason: why.clone() }, effects);
        }
    }

    /// That it is asked no more is durable.
    pub(super) fn left_executor(&mut self, effects: &mut Vec<Effect>) {
        for call in std::mem::take(&mut self.turned_away) {
            self.ask(call, effects);
        }
    }
}
