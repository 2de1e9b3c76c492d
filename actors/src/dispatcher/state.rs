//! Decides when to look at the queue, and how many of each role may begin. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::id::Role;

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Runs from the queue that are at work.
    at_work: BTreeMap<Role, usize>,
    all_paused: bool,
    paused: BTreeSet<Role>,
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
        role: Option<Role>,
    },
    Resumed {
        role: Option<Role>,
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
            Input::Paused { role } => {
                match role {
                    Some(role) => drop(self.paused.insert(role)),
                    None => self.all_paused = true,
                }
                return None;
            }
            Input::Resumed { role: Some(role) } => drop(self.paused.remove(&role)),
            Input::Resumed { role: None } => {
                self.all_paused = false;
                self.paused.clear();
            }
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
            .filter(|role| !self.all_paused && !self.paused.contains(*role))
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

    fn rooms(rooms: &[(&str, usize)]) -> Option<Rooms> {
        Some(rooms.iter().map(|(name, room)| (role(name), *room)).collect())
    }

    #[test]
    fn a_round_is_for_what_is_not_at_work_and_not_paused() {
        let ready = [role("DEV"), role("QA")];
        let mut state = State::filling();
        assert_eq!(state.apply(Input::Paused { role: Some(role("QA")) }, &ready, 3), None);
        let filled = Input::RoundOver { begun: vec![role("DEV"), role("DEV")] };
        assert_eq!(state.apply(filled, &ready, 3), rooms(&[("DEV", 1)]));
        assert_eq!(state.apply(Input::RoundOver { begun: vec![role("DEV")] }, &ready, 3), None);
        assert_eq!(state.apply(Input::Woken, &ready, 3), None, "DEV is full, QA is paused");
        assert_eq!(state.apply(Input::Resumed { role: None }, &ready, 3), rooms(&[("QA", 3)]));
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
        state.apply(Input::Paused { role: None }, &ready, 2);
        assert_eq!(state.apply(Input::Woken, &ready, 2), None);
        assert_eq!(state.apply(Input::Resumed { role: Some(role("DEV")) }, &ready, 2), None);
        assert_eq!(state.apply(Input::Resumed { role: None }, &ready, 2), rooms(&[("DEV", 2)]));
    }
}
