//! Which call starts when: up to the seat's limit at once, the rest in order, bounded.

use std::collections::{BTreeMap, VecDeque};

use crate::domain::id::RunId;

/// Calls that wait at one agent: as many as deliberations may be open, since each asks a seat for one at a time.
pub(super) const MOST_WAITING: usize = 16_384;

/// Names a call within its agent.
pub(crate) type Ticket = u64;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Ended { ticket: Ticket },
    Withdrawn { run: RunId },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Start(Ticket),
    /// Forget it, started or not.
    Abort(Ticket),
}

/// Where a new call stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Starts(Ticket),
    /// Until there is room.
    Waits(Ticket),
    /// Nowhere: the queue is full.
    Refused,
}

#[derive(Debug)]
pub(super) struct State {
    limit: usize,
    next: Ticket,
    in_flight: BTreeMap<Ticket, RunId>,
    waiting: VecDeque<(Ticket, RunId)>,
}

impl State {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), next: 0, in_flight: BTreeMap::new(), waiting: VecDeque::new() }
    }

    /// Somebody waits for a place.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn step(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Ended { ticket } => {
                self.in_flight.remove(&ticket);
                self.fill()
            }
            Input::Withdrawn { run } => {
                let mut effects = self.forget(&run);
                effects.extend(self.fill());
                effects
            }
        }
    }

    pub(super) fn ask(&mut self, run: RunId) -> Place {
        let ticket = self.next;
        if self.in_flight.len() < self.limit {
            self.next += 1;
            self.in_flight.insert(ticket, run);
            return Place::Starts(ticket);
        }
        if self.waiting.len() >= MOST_WAITING {
            return Place::Refused;
        }
        self.next += 1;
        self.waiting.push_back((ticket, run));
        Place::Waits(ticket)
    }

    fn forget(&mut self, run: &RunId) -> Vec<Effect> {
        let mut gone = Vec::new();
        self.in_flight.retain(|&ticket, of| keep_unless(of == run, ticket, &mut gone));
        self.waiting.retain(|(ticket, of)| keep_unless(of == run, *ticket, &mut gone));
        gone
    }

    fn fill(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while self.in_flight.len() < self.limit {
            let Some((ticket, run)) = self.waiting.pop_front() else { break };
            self.in_flight.insert(ticket, run);
            effects.push(Effect::Start(ticket));
        }
        effects
    }
}

fn keep_unless(matches: bool, ticket: Ticket, gone: &mut Vec<Effect>) -> bool {
    if matches {
        gone.push(Effect::Abort(ticket));
    }
    !matches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::TaskId;

    fn run(name: &str) -> RunId {
        RunId { task: TaskId::parse("task_id", name).unwrap(), run: 1 }
    }

    fn asked(state: &mut State, name: &str) -> Place {
        state.ask(run(name))
    }

    #[test]
    fn calls_beyond_the_limit_start_in_order_when_there_is_room() {
        let mut state = State::new(1);
        assert_eq!(asked(&mut state, "a"), Place::Starts(0));
        assert_eq!(asked(&mut state, "b"), Place::Waits(1));
        assert_eq!(asked(&mut state, "c"), Place::Waits(2));
        assert_eq!(state.step(Input::Ended { ticket: 0 }), [Effect::Start(1)]);
        assert_eq!(state.step(Input::Ended { ticket: 1 }), [Effect::Start(2)]);
        assert_eq!(state.step(Input::Ended { ticket: 2 }), []);
        assert_eq!(state.in_flight.len(), 0);
    }

    #[test]
    fn a_withdrawn_run_leaves_nothing_behind_and_makes_room() {
        let mut state = State::new(2);
        asked(&mut state, "a");
        asked(&mut state, "b");
        asked(&mut state, "a");
        asked(&mut state, "c");
        let effects = state.step(Input::Withdrawn { run: run("a") });
        assert_eq!(effects, [Effect::Abort(0), Effect::Abort(2), Effect::Start(3)]);
        assert_eq!(state.in_flight.len(), 2);
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut state = State::new(1);
        for _ in 0..=MOST_WAITING {
            asked(&mut state, "a");
        }
        assert_eq!(asked(&mut state, "b"), Place::Refused);
    }

    #[test]
    fn an_end_that_comes_after_its_withdrawal_changes_nothing() {
        let mut state = State::new(1);
        asked(&mut state, "a");
        state.step(Input::Withdrawn { run: run("a") });
        assert_eq!(state.step(Input::Ended { ticket: 0 }), []);
        assert_eq!(asked(&mut state, "b"), Place::Starts(1));
    }
}
