//! How often something may die before it is parked, and how long to wait before it is started again.

use std::collections::VecDeque;
use std::time::Duration;

/// The rule for one kind of child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Deaths within `window` that are still answered by a restart.
    pub most_restarts: usize,
    pub window: Duration,
    /// Wait before the first restart; doubles with each death in the window.
    pub first_wait: Duration,
    pub longest_wait: Duration,
}

impl Policy {
    /// Seats and councils: a crash loop reaches the limit within seconds, a bad minute does not.
    pub const ROLE: Self = Self {
        most_restarts: 8,
        window: Duration::from_secs(60),
        first_wait: Duration::from_millis(50),
        longest_wait: Duration::from_secs(5),
    };

    /// Deliberations: the third death in a minute ends the run.
    pub const DELIBERATION: Self = Self {
        most_restarts: 2,
        window: Duration::from_secs(60),
        first_wait: Duration::from_millis(50),
        longest_wait: Duration::from_secs(1),
    };
}

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    RestartAfter(Duration),
    /// Too many deaths: give up.
    Meltdown,
}

impl Verdict {
    /// How long to wait before the restart, where there is one however often it died.
    #[must_use]
    pub fn or(self, rest: Duration) -> Duration {
        match self {
            Self::RestartAfter(wait) => wait,
            Self::Meltdown => rest,
        }
    }
}

/// The deaths of one child, as far as the window reaches.
#[derive(Clone, Debug, Default)]
pub struct Deaths {
    /// Since the supervisor's start, oldest first.
    at: VecDeque<Duration>,
    total: u32,
}

impl Deaths {
    /// Notes a death at `now` (time since the supervisor's start) and decides.
    pub fn note(&mut self, policy: &Policy, now: Duration) -> Verdict {
        while self.at.front().is_some_and(|&earlier| now.saturating_sub(earlier) > policy.window) {
            self.at.pop_front();
        }
        self.at.push_back(now);
        self.total += 1;
        let deaths = self.at.len();
        if deaths > policy.most_restarts {
            return Verdict::Meltdown;
        }
        let doublings = u32::try_from(deaths - 1).unwrap_or(u32::MAX).min(16);
        Verdict::RestartAfter((policy.first_wait * 2u32.pow(doublings)).min(policy.longest_wait))
    }

    /// All deaths ever, also those that the window has forgotten.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Starts with a clean slate, as after a resume.
    pub fn forgive(&mut self) {
        self.at.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy {
        most_restarts: 3,
        window: Duration::from_secs(10),
        first_wait: Duration::from_millis(100),
        longest_wait: Duration::from_millis(300),
    };

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut deaths = Deaths::default();
        let waits: Vec<_> = (0..3).map(|n| deaths.note(&POLICY, Duration::from_millis(n))).collect();
        assert_eq!(waits, [100, 200, 300].map(|ms| Verdict::RestartAfter(Duration::from_millis(ms))));
    }

    #[test]
    fn one_death_too_many_in_the_window_is_a_meltdown() {
        let mut deaths = Deaths::default();
        for second in 0..3 {
            deaths.note(&POLICY, Duration::from_secs(second));
        }
        assert_eq!(deaths.note(&POLICY, Duration::from_secs(3)), Verdict::Meltdown);
    }

    #[test]
    fn deaths_outside_the_window_are_forgotten_but_counted() {
        let mut deaths = Deaths::default();
        for n in 0..20 {
            assert!(matches!(deaths.note(&POLICY, Duration::from_secs(n * 6)), Verdict::RestartAfter(_)));
        }
        assert_eq!(deaths.total(), 20);
    }

    #[test]
    fn forgiven_deaths_do_not_count() {
        let mut deaths = Deaths::default();
        for second in 0..4 {
            deaths.note(&POLICY, Duration::from_secs(second));
        }
        deaths.forgive();
        assert_eq!(deaths.note(&POLICY, Duration::from_secs(4)), Verdict::RestartAfter(POLICY.first_wait));
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_the_longest(steps in prop::collection::vec(0u64..20_000, 1..50)) {
            let mut deaths = Deaths::default();
            let mut now = Duration::ZERO;
            for step in steps {
                now += Duration::from_millis(step);
                if let Verdict::RestartAfter(wait) = deaths.note(&POLICY, now) {
                    prop_assert!(wait >= POLICY.first_wait && wait <= POLICY.longest_wait);
                }
            }
        }
    }
}
