//! Retention trusts the wall clock, and one that stands years ahead makes everything old at once. A clock that leapt is
//! trusted with what cannot be undone only after it has gone evenly for a day.

use std::time::Duration;

use moothall_actors::domain::id::Timestamp;
use tokio::time::Instant;

/// A daemon that stood still for longer starts with a leap: nothing else tells a long rest from a wrong clock.
const LONGEST_REST: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How far the clock may run away from the time that passed between two looks: clocks are set, machines suspended.
const SLACK: Duration = Duration::from_secs(3_600);
/// Longer than anybody needs to see that a machine's clock is wrong.
const PROBATION: Duration = Duration::from_secs(24 * 3_600);

pub(super) struct LeapWatch {
    looked: (Timestamp, Instant),
    /// `None` = the clock is trusted.
    until: Option<Instant>,
}

impl LeapWatch {
    /// `newest`: the time of the last event before this start; `None` = there is none, so nothing can be old.
    pub(super) fn new(newest: Option<Timestamp>, wall: Timestamp, now: Instant) -> Self {
        let leapt = newest.is_some_and(|newest| ahead(newest, wall) > LONGEST_REST);
        Self { looked: (wall, now), until: leapt.then_some(now + PROBATION) }
    }

    /// Whether the clock has not leapt forward lately.
    pub(super) fn is_even(&mut self, wall: Timestamp, now: Instant) -> bool {
        let (before, then) = self.looked;
        self.looked = (wall, now);
        if ahead(before, wall) > now.duration_since(then) + SLACK {
            self.until = Some(now + PROBATION);
        }
        self.until = self.until.filter(|until| now < *until);
        self.until.is_none()
    }
}

fn ahead(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(to.0.saturating_sub(from.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    const START: Timestamp = Timestamp(1_800_000_000_000);

    fn after(start: Timestamp, time: Duration) -> Timestamp {
        Timestamp(start.0 + u64::try_from(time.as_millis()).unwrap())
    }

    #[test]
    fn a_clock_that_goes_as_time_does_is_trusted() {
        let now = Instant::now();
        for newest in [None, Some(START), Some(after(START, DAY)), Some(Timestamp(START.0 - 6 * 86_400_000))] {
            let mut watch = LeapWatch::new(newest, START, now);
            for hour in 1..100 {
                assert!(watch.is_even(after(START, HOUR * hour), now + HOUR * hour), "{newest:?}, {hour} h");
            }
        }
    }

    #[test]
    fn a_start_long_after_the_last_event_is_on_probation_for_a_day() {
        let now = Instant::now();
        let mut watch = LeapWatch::new(Some(START), after(START, DAY * 8), now);
        let wall = after(START, DAY * 8);
        for hour in 1..24 {
            assert!(!watch.is_even(after(wall, HOUR * hour), now + HOUR * hour), "{hour} h");
        }
        assert!(watch.is_even(after(wall, DAY), now + DAY));
    }

    #[test]
    fn a_leap_while_it_runs_begins_a_day_anew_and_a_step_back_does_not() {
        let now = Instant::now();
        let mut watch = LeapWatch::new(Some(START), START, now);
        assert!(watch.is_even(after(START, HOUR * 2), now + HOUR), "an hour of summer time is no leap");
        assert!(!watch.is_even(after(START, DAY * 1_000), now + HOUR * 2));
        assert!(!watch.is_even(after(START, HOUR * 3), now + HOUR * 3), "that it was wrong is known now");
        assert!(watch.is_even(after(START, HOUR * 27), now + HOUR * 27));
    }
}
