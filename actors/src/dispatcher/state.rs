//! Decides when to look at the queue, and how many of each role may begin. Pure.

use std::collections::BTreeMap;

use super::pause::Pauses;
use crate::domain::id::Role;

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Runs from the queue that are at work.
    at_work: BTreeMap<Role, usize>,
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
    /// With the role of each run that began.
    RoundOver {
        begun: Vec<Role>,
    },
    RunSettled {
        role: Role,
    },
    Paused {
        pauses: Pauses,
        version: u64,
    },
}

/// How many of each role may be claimed.
pub(crate) type Rooms = Vec<(Role, usize)>;

impl State {
    /// While the queue is filled: that counts as a round, in which the runs begin that are at work already.
    pub(crate) fn filling() -> Self {
        Self { round: Round::RunningAndWoken, ..Self::default() }
    }

    /// `ready`: roles whose councils take work, `per_role`: most runs at once of each. A round to begin, if any.
    pub(crate) fn apply(&mut self, input: Input, ready: &[Role], per_role: usize) -> Option<Rooms> {
        match input {
            Input::Woken => {}
            Input::RoundOver { begun } => {
                let woken = self.round == Round::RunningAndWoken;
                self.round = Round::Idle;
                begun.into_iter().for_each(|role| self.add(role));
                if !woken {
                    return None;
                }
            }
            Input::RunSettled { role } => self.remove(&role),
            Input::Paused { version, .. } if version < self.pauses_version => return None,
            Input::Paused { pauses, version } => (self.pauses, self.pauses_version) = (pauses, version),
        }
        self.begin_round(ready, per_role)
    }

    fn begin_round(&mut self, ready: &[Role], per_role: usize) -> Option<Rooms> {
        if self.round != Round::Idle {
            self.round = Round::RunningAndWoken;
            return None;
        }
        let rooms: Rooms = ready
            .iter()
            .filter(|role| !self.pauses.has(role))
            .map(|role| (role.clone(), per_role.saturating_sub(self.at_work.get(role).copied().unwrap_or(0))))
            .filter(|(_, room)| *room > 0)
            .collect();
        if rooms.is_empty() {
            return None;
        }
        self.round = Round::Running;
        Some(rooms)
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

    fn rooms(rooms: &[(&str, usize)]) -> Option<Rooms> {
        Some(rooms.iter().map(|(name, room)| (role(name), *room)).collect())
    }

    #[test]
    fn a_round_is_for_what_is_not_at_work_and_not_paused() {
        let ready = [role("DEV"), role("QA")];
        let mut state = State::filling();
        assert_eq!(state.apply(paused(false, &["QA"], 1), &ready, 3), None);
        let filled = Input::RoundOver { begun: vec![role("DEV"), role("DEV")] };
        assert_eq!(state.apply(filled, &ready, 3), rooms(&[("DEV", 1)]));
        assert_eq!(state.apply(Input::RoundOver { begun: vec![role("DEV")] }, &ready, 3), None);
        assert_eq!(state.apply(Input::Woken, &ready, 3), None, "DEV is full, QA is paused");
        assert_eq!(state.apply(paused(false, &[], 2), &ready, 3), rooms(&[("QA", 3)]));
    }

    #[test]
    fn what_comes_during_a_round_makes_another_one() {
        let ready = [role("DEV")];
        let mut state = State::default();
        assert_eq!(state.apply(Input::Woken, &ready, 2), rooms(&[("DEV", 2)]));
        assert_eq!(state.apply(Input::Woken, &ready, 2), None);
        assert_eq!(state.apply(Input::RunSettled { role: role("DEV") }, &ready, 2), None);
        let over = Input::RoundOver { begun: vec![role("DEV")] };
        assert_eq!(state.apply(over.clone(), &ready, 2), rooms(&[("DEV", 1)]));
        assert_eq!(state.apply(over, &ready, 2), None);
    }

    #[test]
    fn while_all_is_paused_nothing_begins() {
        let ready = [role("DEV")];
        let mut state = State::default();
        state.apply(paused(true, &[], 1), &ready, 2);
        assert_eq!(state.apply(Input::Woken, &ready, 2), None);
        assert_eq!(state.apply(paused(false, &[], 0), &ready, 2), None, "that was before");
        assert_eq!(state.apply(paused(false, &[], 2), &ready, 2), rooms(&[("DEV", 2)]));
    }
}
