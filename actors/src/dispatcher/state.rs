//! Decides when to look at the queue, and how many of each role may begin. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::pause::Pauses;
use crate::domain::id::{Role, TaskId};

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Runs from the queue that are at work.
    at_work: BTreeMap<Role, usize>,
    /// Tasks that several carry out; each has its place among those at work.
    carried_out: BTreeMap<TaskId, Role>,
    /// Tasks that several have carried out, and that are still to be deliberated on.
    collected: BTreeSet<(Role, TaskId)>,
    pauses: Pauses,
    /// Of their stream: what comes late says nothing new.
    pauses_version: u64,
    round: Round,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Round {
    #[default]
    Idle,
    Running,
    /// Something came that it may not have seen.
    RunningAndWoken,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Woken,
    /// With the role of each run that began, and the tasks that several are to carry out.
    RoundOver {
        begun: Vec<Role>,
        assigned: Vec<(Role, TaskId)>,
    },
    RunSettled {
        role: Role,
    },
    /// Several carry it out.
    Assigned {
        role: Role,
        task: TaskId,
    },
    /// And do so no more.
    CarriedOut {
        task: TaskId,
    },
    Collected {
        role: Role,
        task: TaskId,
    },
    Paused {
        pauses: Pauses,
        version: u64,
    },
}

/// How many of each role may be claimed.
pub(crate) type Rooms = Vec<(Role, usize)>;

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// These have room; they count as at work already.
    pub(crate) begin: Vec<(Role, TaskId)>,
    /// A round to begin, if any.
    pub(crate) rooms: Option<Rooms>,
}

impl State {
    /// While the queue is filled: that counts as a round, in which the runs begin that are at work already.
    pub(crate) fn filling() -> Self {
        Self { round: Round::RunningAndWoken, ..Self::default() }
    }

    /// `ready`: roles whose councils take work, `per_role`: most runs at once of each.
    pub(crate) fn apply(&mut self, input: Input, ready: &[Role], per_role: usize) -> Step {
        match input {
            Input::Woken => {}
            Input::RoundOver { begun, assigned } => {
                let woken = self.round == Round::RunningAndWoken;
                self.round = Round::Idle;
                begun.into_iter().for_each(|role| self.add(role));
                self.carried_out.extend(assigned.into_iter().map(|(role, task)| (task, role)));
                if !woken {
                    return Step::default();
                }
            }
            Input::RunSettled { role } => self.remove(&role),
            Input::Assigned { role, task } => {
                self.carried_out.insert(task, role);
                return Step::default();
            }
            Input::CarriedOut { task } if self.carried_out.remove(&task).is_none() => return Step::default(),
            Input::CarriedOut { .. } => {}
            Input::Collected { role, task } => {
                self.carried_out.remove(&task);
                self.collected.insert((role, task));
            }
            Input::Paused { version, .. } if version < self.pauses_version => return Step::default(),
            Input::Paused { pauses, version } => (self.pauses, self.pauses_version) = (pauses, version),
        }
        self.begin_round(ready, per_role)
    }

    fn begin_round(&mut self, ready: &[Role], per_role: usize) -> Step {
        if self.round != Round::Idle {
            self.round = Round::RunningAndWoken;
            return Step::default();
        }
        let begin = self.begin_collected(ready, per_role);
        let rooms: Rooms = ready
            .iter()
            .filter(|role| !self.pauses.has(role))
            .map(|role| (role.clone(), self.room(role, per_role)))
            .filter(|(_, room)| *room > 0)
            .collect();
        if rooms.is_empty() {
            return Step { begin, rooms: None };
        }
        self.round = Round::Running;
        Step { begin, rooms: Some(rooms) }
    }

    fn room(&self, role: &Role, per_role: usize) -> usize {
        let carried_out = self.carried_out.values().filter(|of| *of == role).count();
        per_role.saturating_sub(self.at_work.get(role).copied().unwrap_or(0) + carried_out)
    }

    /// They come before what nobody has worked on yet.
    fn begin_collected(&mut self, ready: &[Role], per_role: usize) -> Vec<(Role, TaskId)> {
        let mut begin = Vec::new();
        for (role, task) in std::mem::take(&mut self.collected) {
            if ready.contains(&role) && !self.pauses.has(&role) && self.room(&role, per_role) > 0 {
                self.add(role.clone());
                begin.push((role, task));
            } else {
                self.collected.insert((role, task));
            }
        }
        begin
    }

    fn add(&mut self, role: Role) {
        *self.at_work.entry(role).or_default() += 1;
    }

    fn remove(&mut self, role: &Role) {
        if let Some(count) = self.at_work.get_mut(role) {
            *count -= 1;
            if *count == 0 {
                self.at_work.remove(role);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> Role {
        Role::parse("role", name).unwrap()
    }

    fn paused(all: bool, roles: &[&str], version: u64) -> Input {
        Input::Paused { pauses: Pauses { all, roles: roles.iter().map(|name| role(name)).collect() }, version }
    }

    fn over_with(roles: &[&str]) -> Input {
        Input::RoundOver { begun: roles.iter().map(|name| role(name)).collect(), assigned: Vec::new() }
    }

    fn rooms(rooms: &[(&str, usize)]) -> Option<Rooms> {
        Some(rooms.iter().map(|(name, room)| (role(name), *room)).collect())
    }

    /// The rooms of a step that begins nothing else.
    fn apply(state: &mut State, input: Input, ready: &[Role], per_role: usize) -> Option<Rooms> {
        let Step { begin, rooms } = state.apply(input, ready, per_role);
        assert_eq!(begin, []);
        rooms
    }

    #[test]
    fn a_round_is_for_what_is_not_at_work_and_not_paused() {
        let ready = [role("DEV"), role("QA")];
        let mut state = State::filling();
        assert_eq!(apply(&mut state, paused(false, &["QA"], 1), &ready, 3), None);
        let filled = over_with(&["DEV", "DEV"]);
        assert_eq!(apply(&mut state, filled, &ready, 3), rooms(&[("DEV", 1)]));
        assert_eq!(apply(&mut state, over_with(&["DEV"]), &ready, 3), None);
        assert_eq!(apply(&mut state, Input::Woken, &ready, 3), None, "DEV is full, QA is paused");
        assert_eq!(apply(&mut state, paused(false, &[], 2), &ready, 3), rooms(&[("QA", 3)]));
    }

    #[test]
    fn what_comes_during_a_round_makes_another_one() {
        let ready = [role("DEV")];
        let mut state = State::default();
        assert_eq!(apply(&mut state, Input::Woken, &ready, 2), rooms(&[("DEV", 2)]));
        assert_eq!(apply(&mut state, Input::Woken, &ready, 2), None);
        assert_eq!(apply(&mut state, Input::RunSettled { role: role("DEV") }, &ready, 2), None);
        let over = over_with(&["DEV"]);
        assert_eq!(apply(&mut state, over.clone(), &ready, 2), rooms(&[("DEV", 1)]));
        assert_eq!(apply(&mut state, over, &ready, 2), None);
    }

    #[test]
    fn while_all_is_paused_nothing_begins() {
        let ready = [role("DEV")];
        let mut state = State::default();
        apply(&mut state, paused(true, &[], 1), &ready, 2);
        assert_eq!(apply(&mut state, Input::Woken, &ready, 2), None);
        assert_eq!(apply(&mut state, paused(false, &[], 0), &ready, 2), None, "that was before");
        assert_eq!(apply(&mut state, paused(false, &[], 2), &ready, 2), rooms(&[("DEV", 2)]));
    }

    #[test]
    fn what_was_carried_out_begins_before_what_was_not_and_within_the_same_room() {
        let (ready, task) = ([role("DEV")], |name: &str| TaskId::parse("task", name).unwrap());
        let collected = |name: &str| Input::Collected { role: role("DEV"), task: task(name) };
        let begun = |names: &[&str]| names.iter().map(|name| (role("DEV"), task(name))).collect::<Vec<_>>();
        let mut state = State::default();
        let first = state.apply(collected("a"), &ready, 2);
        assert_eq!(first, Step { begin: begun(&["a"]), rooms: rooms(&[("DEV", 1)]) });
        assert_eq!(state.apply(collected("b"), &ready, 2), Step::default(), "the round may claim that much");
        let over = over_with(&["DEV"]);
        assert_eq!(state.apply(over, &ready, 2), Step::default(), "there is no room");
        let settled = || Input::RunSettled { role: role("DEV") };
        state.apply(paused(true, &[], 1), &ready, 2);
        assert_eq!(state.apply(settled(), &ready, 2), Step::default(), "all is paused");
        let resumed = state.apply(paused(false, &[], 2), &ready, 2);
        assert_eq!(resumed, Step { begin: begun(&["b"]), rooms: None });
    }

    #[test]
    fn what_several_carry_out_has_its_place_until_it_is_over() {
        let (ready, task) = ([role("DEV")], |name: &str| TaskId::parse("task", name).unwrap());
        let mut state = State::filling();
        let assigned = vec![(role("DEV"), task("a")), (role("DEV"), task("b"))];
        let over = Input::RoundOver { begun: Vec::new(), assigned };
        assert_eq!(apply(&mut state, over, &ready, 3), rooms(&[("DEV", 1)]));
        assert_eq!(apply(&mut state, over_with(&[]), &ready, 3), None);
        let known = Input::Assigned { role: role("DEV"), task: task("b") };
        assert_eq!(apply(&mut state, known, &ready, 3), None, "that is known");
        let nobody = Input::CarriedOut { task: task("x") };
        assert_eq!(apply(&mut state, nobody, &ready, 3), None);
        assert_eq!(apply(&mut state, Input::CarriedOut { task: task("a") }, &ready, 3), rooms(&[("DEV", 2)]));
        apply(&mut state, over_with(&[]), &ready, 3);
        let step = state.apply(Input::Collected { role: role("DEV"), task: task("b") }, &ready, 3);
        assert_eq!(step, Step { begin: vec![(role("DEV"), task("b"))], rooms: rooms(&[("DEV", 2)]) });
    }
}
