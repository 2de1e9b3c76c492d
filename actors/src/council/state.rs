//! Who sits in a council, and which seats a task gets.

use std::sync::Arc;

use super::message::Change;
use crate::domain::council::{Council, MAX_SEATS, Seat};
use crate::domain::event::Event;
use crate::domain::id::AgentId;
use crate::domain::task::{MAX_ROUNDS, Review, TaskSpec};
use crate::error::SystemError;

/// Changes that wait for the one being written: a client that fills this is told to come back.
pub(super) const MOST_WAITING: usize = 256;
/// How far apart two neighbouring seats' temperatures are.
const TEMPERATURE_STEP: f32 = 0.1;

/// The event that a change is, or why it cannot be.
pub(super) fn decide(council: &Council, change: Change) -> Result<Event, SystemError> {
    let role = &council.role;
    match change {
        Change::Join { seat } if council.seat(&seat.agent).is_some() => {
            Err(SystemError::AgentExists { agent: seat.agent, role: role.clone() })
        }
        Change::Join { .. } if council.seats.len() >= MAX_SEATS => {
            Err(SystemError::WrongState(format!("council {role} has {MAX_SEATS} agents, which is the most").into()))
        }
        Change::Join { seat } => Ok(Event::SeatJoined { seat: *seat }),
        Change::Leave { agent } if council.seat(&agent).is_none() => {
            let existing = council.seats.iter().map(|seat| seat.agent.clone()).collect();
            Err(SystemError::UnknownAgent { agent, role: role.clone(), existing })
        }
        Change::Leave { agent } => Ok(Event::SeatLeft { agent }),
        Change::Delete => Ok(Event::CouncilDeleted { role: role.clone() }),
    }
}

/// How a task is deliberated by this council: its seats, in order, and its rounds.
#[derive(Debug, PartialEq)]
pub(super) struct Seating {
    pub(super) seats: Vec<Seat>,
    pub(super) rounds: u8,
    /// More agents were asked for than there are.
    pub(super) clamped: bool,
}

impl Seating {
    /// Of a task that these have carried out already: one review, which nobody has to answer.
    pub(super) fn of(seats: Vec<Seat>, council: &Council, spec: &TaskSpec) -> Self {
        let clamped = spec.num_agents.is_some_and(|wanted| usize::from(wanted.get()) > seats.len());
        Self { seats, rounds: rounds(council, spec).min(1), clamped }
    }
}

/// Takes all seats, or the first `num_agents` ready ones by agent id; `None` when none is ready. One that is just
/// restarting takes part in a task of the whole council: it is asked again when it is back, or the verdict names it.
pub(super) fn seating(
    council: &Council,
    spec: &TaskSpec,
    temperature: f32,
    ready: impl Fn(&AgentId) -> bool,
) -> Option<Seating> {
    let wanted = spec.num_agents.map_or(usize::MAX, |number| usize::from(number.get()));
    if !council.seats.iter().any(|seat| ready(&seat.agent)) {
        return None;
    }
    let able = council.seats.iter().filter(|seat| spec.num_agents.is_none() || ready(&seat.agent));
    let seats: Vec<Seat> = able.take(wanted).enumerate().map(|(place, seat)| tuned(seat, place, temperature)).collect();
    let clamped = spec.num_agents.is_some_and(|_| wanted > seats.len());
    let rounds = rounds(council, spec);
    Some(Seating { seats, rounds, clamped })
}

/// Each seat has its own temperature, around the middle: 0, +1, −1, +2, … steps.
fn tuned(seat: &Seat, place: usize, middle: f32) -> Seat {
    let mut seat = seat.clone();
    if seat.sampling.temperature.is_none() {
        let steps = place.div_ceil(2) as f32 * if place % 2 == 1 { 1.0 } else { -1.0 };
        seat.sampling.temperature = Some((middle + steps * TEMPERATURE_STEP).clamp(0.0, 2.0));
    }
    seat
}

fn rounds(council: &Council, spec: &TaskSpec) -> u8 {
    let asked = match spec.review {
        Review::Skip => 0,
        Review::Rounds(rounds) => rounds,
        Review::Council if council.review => council.rounds.max(1),
        Review::Council => 0,
    };
    asked.min(spec.most_rounds.unwrap_or(MAX_ROUNDS))
}

/// Why a task cannot start now.
pub(super) fn nobody_ready(council: &Council) -> Arc<str> {
    match council.seats.len() {
        0 => format!("council {} has no agents; register one", council.role).into(),
        some => format!("none of the {some} agents of council {} is ready", council.role).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU16;

    use super::*;
    use crate::domain::council::{Capabilities, Defaults, Endpoint, Sampling};
    use crate::domain::id::{Role, Timestamp};
    use crate::domain::task::TaskDraft;

    fn seat(role: &Role, ordinal: usize) -> Seat {
        Seat {
            agent: AgentId::of_council(role, ordinal),
            endpoint: Endpoint::Pool,
            model: "".into(),
            sampling: Sampling::default(),
            capabilities: Capabilities::default(),
            metadata: BTreeMap::new(),
        }
    }

    fn council(seats: usize) -> Council {
        let role = Role::parse("role", "DEV").unwrap();
        Council {
            seats: (1..=seats).map(|ordinal| seat(&role, ordinal)).collect(),
            role,
            rounds: 0,
            review: true,
            defaults: Defaults::default(),
            agent_type: "VLLM".into(),
            model: "".into(),
            created_at: Timestamp(0),
            parked: None,
        }
    }

    fn spec(num_agents: u16, review: Review) -> TaskSpec {
        let draft = TaskDraft { role: "DEV".into(), description: "d".into(), ..TaskDraft::default() };
        TaskSpec { num_agents: NonZeroU16::new(num_agents), review, ..draft.check().unwrap() }
    }

    fn seated(council: &Council, spec: &TaskSpec) -> Seating {
        seating(council, spec, 0.7, |_| true).unwrap()
    }

    #[test]
    fn more_agents_than_there_are_is_all_of_them_and_said() {
        let five = seated(&council(3), &spec(5, Review::Council));
        assert_eq!((five.seats.len(), five.clamped), (3, true));
        let two = seated(&council(3), &spec(2, Review::Council));
        assert_eq!((two.seats.len(), two.clamped), (2, false));
    }

    #[test]
    fn a_number_of_agents_is_taken_from_those_that_are_ready() {
        let away = AgentId::of_council(&Role::parse("role", "DEV").unwrap(), 1);
        let seated =
            |number| seating(&council(3), &spec(number, Review::Council), 0.7, |agent| *agent != away).unwrap();
        assert!(seated(2).seats.iter().all(|seat| seat.agent != away));
        assert_eq!(seated(0).seats.len(), 3, "the whole council waits for one that restarts");
        assert!(seating(&council(3), &spec(0, Review::Council), 0.7, |_| false).is_none());
    }

    #[test]
    fn rounds_follow_task_then_council_and_have_a_cap() {
        let mut reviewing = council(3);
        assert_eq!(seated(&reviewing, &spec(0, Review::Council)).rounds, 1);
        assert_eq!(seated(&reviewing, &spec(0, Review::Skip)).rounds, 0);
        assert_eq!(seated(&reviewing, &spec(0, Review::Rounds(4))).rounds, 4);
        let capped = TaskSpec { most_rounds: Some(2), ..spec(0, Review::Rounds(4)) };
        assert_eq!(seated(&reviewing, &capped).rounds, 2);
        reviewing.review = false;
        assert_eq!(seated(&reviewing, &spec(0, Review::Council)).rounds, 0);
    }

    #[test]
    fn every_seat_has_its_own_temperature_unless_it_was_given() {
        let seating = seated(&council(4), &spec(0, Review::Council));
        let temperatures: Vec<_> = seating.seats.iter().map(|seat| seat.sampling.temperature.unwrap()).collect();
        assert!(temperatures.iter().enumerate().all(|(i, a)| temperatures[..i].iter().all(|b| (a - b).abs() > 0.05)));
        let mut fixed = council(2);
        fixed.seats[1].sampling.temperature = Some(0.2);
        assert_eq!(seated(&fixed, &spec(0, Review::Council)).seats[1].sampling.temperature, Some(0.2));
    }

    #[test]
    fn a_seat_is_taken_once_and_there_are_limits() {
        let full = council(MAX_SEATS);
        let role = full.role.clone();
        let join = |ordinal| Change::Join { seat: Box::new(seat(&role, ordinal)) };
        assert!(matches!(decide(&full, join(1)), Err(SystemError::AgentExists { .. })));
        assert!(matches!(decide(&full, join(99)), Err(SystemError::WrongState(_))));
        assert!(matches!(decide(&council(1), join(2)), Ok(Event::SeatJoined { .. })));
        let stranger = AgentId::of_council(&role, 99);
        assert!(matches!(decide(&full, Change::Leave { agent: stranger }), Err(SystemError::UnknownAgent { .. })));
    }
}
