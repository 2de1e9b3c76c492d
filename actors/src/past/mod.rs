//! What was so at an earlier place of the journal: of a task, of one of its runs, of a council.
//!
//! Each is a fold over the events of its stream up to that place and over nothing else, by the rules that the living
//! follow: the same events tell the same, whoever asks, today or in a year.

mod run;
mod task;

use crate::domain::council::Council;
use crate::domain::event::Recorded;
use crate::domain::id::Timestamp;

pub use run::{RunThen, WaveThen};
pub use task::TaskThen;

/// Up to where events count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// All of them.
    Now,
    /// Up to this place in the whole journal, and it too.
    Seq(u64),
    /// Up to the stream's last event of this time or earlier. Those before it count even if the clock said otherwise when
    /// they were written: a stream is never told with holes.
    Time(Timestamp),
}

impl Place {
    /// How many of a stream's events count, from its first.
    #[must_use]
    pub fn counts(self, events: &[Recorded]) -> usize {
        match self {
            Self::Now => events.len(),
            Self::Seq(seq) => events.partition_point(|recorded| recorded.seq <= seq),
            Self::Time(at) => events.iter().rposition(|recorded| recorded.event.at <= at).map_or(0, |last| last + 1),
        }
    }
}

/// A council as the events of its stream tell; `None` = it was deleted, or never created.
#[must_use]
pub fn council(events: &[Recorded]) -> Option<Council> {
    events.iter().fold(None, |council, recorded| Council::fold(council, &recorded.event.event))
}

/// Events as a journal would hold them that has nothing else.
#[cfg(test)]
pub(crate) fn recorded(log: &[crate::domain::event::NewEvent]) -> Vec<Recorded> {
    use crate::domain::event::SCHEMA;
    use crate::domain::id::StreamId;

    let stream = StreamId::named("deliberation/t/1");
    let place = |(place, event): (u64, &crate::domain::event::NewEvent)| {
        let (stream, event) = (stream.clone(), event.clone());
        Recorded { seq: place, stream, version: place, schema: SCHEMA, event }
    };
    (1..).zip(log).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::council::{Capabilities, Defaults, Endpoint, Sampling, Seat};
    use crate::domain::event::{Event, NewEvent};
    use crate::domain::id::{AgentId, EventId, Role};

    fn at(time: u64, event: Event) -> NewEvent {
        NewEvent { id: EventId([0; 16]), at: Timestamp(time), correlation: None, causation: None, event }
    }

    fn timed(times: &[u64]) -> Vec<Recorded> {
        let log: Vec<_> = times.iter().map(|time| at(*time, Event::RoleResumed {})).collect();
        let with_gaps = |mut recorded: Recorded| {
            recorded.seq *= 10;
            recorded
        };
        recorded(&log).into_iter().map(with_gaps).collect()
    }

    #[test]
    fn a_place_is_part_of_what_counts() {
        let events = timed(&[100, 200, 300]);
        let counts = |place: Place| place.counts(&events);
        assert_eq!([0, 9, 10, 19, 20, 30, u64::MAX].map(|seq| counts(Place::Seq(seq))), [0, 0, 1, 1, 2, 3, 3]);
        let times = [0, 99, 100, 299, 300, u64::MAX];
        assert_eq!(times.map(|time| counts(Place::Time(Timestamp(time)))), [0, 0, 1, 2, 3, 3]);
        assert_eq!((counts(Place::Now), Place::Now.counts(&[])), (3, 0));
    }

    #[test]
    fn a_clock_that_was_set_back_leaves_no_hole() {
        let events = timed(&[100, 900, 200, 800]);
        let times = [100, 200, 799, 800];
        assert_eq!(times.map(|time| Place::Time(Timestamp(time)).counts(&events)), [1, 3, 3, 4]);
    }

    #[test]
    fn a_council_is_created_changed_parked_and_deleted() {
        let role = Role::parse("role", "DEV").unwrap();
        let seat = |ordinal| Seat {
            agent: AgentId::of_council(&role, ordinal),
            endpoint: Endpoint::Pool,
            model: "".into(),
            sampling: Sampling::default(),
            capabilities: Capabilities::default(),
            metadata: Default::default(),
        };
        let created = Council {
            role: role.clone(),
            rounds: 1,
            review: true,
            defaults: Defaults::default(),
            agent_type: "VLLM".into(),
            model: "".into(),
            seats: vec![seat(1)],
            created_at: Timestamp(1),
            parked: None,
        };
        let log = [
            Event::CouncilCreated(created),
            Event::SeatJoined { seat: seat(2) },
            Event::RoleParked { reason: "it died too often".into() },
            Event::RoleResumed {},
            Event::CouncilDeleted { role: role.clone() },
        ];
        let events = recorded(&log.map(|event| at(1, event)));
        let told = |number| council(&events[..number]).map(|then| (then.seats.len(), then.parked.is_some()));
        let all = [None, Some((1, false)), Some((2, false)), Some((2, true)), Some((2, false)), None];
        assert_eq!([0, 1, 2, 3, 4, 5].map(told), all);
    }
}
