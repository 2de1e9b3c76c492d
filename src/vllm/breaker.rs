//! The circuit breaker of one replica: a server that is down is asked by one probe, not by everybody.
//!
//! ```text
//!            n failures in a row              its time is over
//!  Closed ───────────────────────▶ Open ──────────────────────▶ Probing
//!    ▲                              ▲   twice as long as before    │ │
//!    │                              └──────── the probe fails ─────┘ │
//!    └──────────────────────── the probe is answered ────────────────┘
//! ```
//! Pure: the time comes in with each question.

use std::time::{Duration, Instant};

use super::settings::BreakerSettings;

#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, lasting: Duration },
    Probing { since: Instant, lasting: Duration },
}

/// Leave to send one request; its outcome is told with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Plain,
    Probe,
}

/// How the server came off in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It answered.
    Well,
    /// It is there and will not: 429 and other 4xx.
    Alive,
    /// It is not there, or broken.
    Failed,
    /// Nobody waited for the outcome.
    Unknown,
}

/// What reports show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

impl BreakerState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed { failures: 0 } }
    }

    /// Whether [`Self::pass`] would let a request through.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until, .. } => now >= until,
            // A probe without an outcome must not keep everybody out for ever.
            State::Probing { since, .. } => now >= since + self.settings.open_most,
        }
    }

    /// Leave for one request; `None` while the breaker is open or another one probes.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<Pass> {
        if !self.admits(now) {
            return None;
        }
        match self.state {
            State::Closed { .. } => Some(Pass::Plain),
            State::Open { lasting, .. } | State::Probing { lasting, .. } => {
                self.state = State::Probing { since: now, lasting };
                Some(Pass::Probe)
            }
        }
    }

    pub(crate) fn tell(&mut self, pass: Pass, standing: Standing, now: Instant) {
        match (&mut self.state, standing) {
            (_, Standing::Well) => self.state = State::Closed { failures: 0 },
            (State::Closed { failures }, Standing::Failed) => {
                *failures += 1;
                if *failures >= self.settings.failures {
                    self.open(self.settings.open_first, now);
                }
            }
            (State::Probing { .. }, Standing::Alive) => self.state = State::Closed { failures: 0 },
            (State::Probing { lasting, .. }, Standing::Failed) if pass == Pass::Probe => {
                let longer = lasting.saturating_mul(2).min(self.settings.open_most);
                self.open(longer, now);
            }
            // A probe that nobody waited for: the next request probes.
            (State::Probing { lasting, .. }, Standing::Unknown) if pass == Pass::Probe => {
                self.state = State::Open { until: now, lasting: *lasting };
            }
            // Requests sent before it opened say nothing new.
            (State::Closed { .. } | State::Open { .. } | State::Probing { .. }, _) => {}
        }
    }

    pub(crate) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    fn open(&mut self, lasting: Duration, now: Instant) {
        self.state = State::Open { until: now + lasting, lasting };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings =
        BreakerSettings { failures: 5, open_first: Duration::from_secs(1), open_most: Duration::from_secs(4) };

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(SETTINGS);
        (0..5).for_each(|_| breaker.tell(Pass::Plain, Standing::Failed, now));
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS);
        (0..4).for_each(|_| breaker.tell(Pass::Plain, Standing::Failed, now));
        breaker.tell(Pass::Plain, Standing::Well, now);
        (0..4).for_each(|_| breaker.tell(Pass::Plain, Standing::Failed, now));
        breaker.tell(Pass::Plain, Standing::Alive, now);
        assert_eq!(breaker.pass(now), Some(Pass::Plain));
        breaker.tell(Pass::Plain, Standing::Failed, now);
        assert_eq!(breaker.pass(now), None);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn one_probe_goes_when_its_time_is_over() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + Duration::from_secs(1);
        assert_eq!(breaker.pass(later), Some(Pass::Probe));
        assert_eq!(breaker.pass(later), None);
        breaker.tell(Pass::Probe, Standing::Well, later);
        assert_eq!(breaker.pass(later), Some(Pass::Plain));
    }

    #[test]
    fn a_failed_probe_opens_it_for_twice_as_long_up_to_the_limit() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for seconds in [1, 2, 4, 4] {
            assert!(!breaker.admits(now + Duration::from_millis(seconds * 1000 - 1)), "{seconds}");
            now += Duration::from_secs(seconds);
            assert_eq!(breaker.pass(now), Some(Pass::Probe), "{seconds}");
            breaker.tell(Pass::Probe, Standing::Failed, now);
        }
    }

    #[test]
    fn a_probe_that_nobody_waits_for_leaves_its_place() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + Duration::from_secs(1);
        assert_eq!(breaker.pass(later), Some(Pass::Probe));
        breaker.tell(Pass::Probe, Standing::Unknown, later);
        assert_eq!(breaker.pass(later), Some(Pass::Probe));
    }

    #[test]
    fn a_probe_without_an_outcome_is_followed_by_another() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + Duration::from_secs(1);
        assert_eq!(breaker.pass(later), Some(Pass::Probe));
        assert_eq!(breaker.pass(later + Duration::from_secs(4)), Some(Pass::Probe));
    }

    #[test]
    fn late_failures_do_not_prolong_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.tell(Pass::Plain, Standing::Failed, now + Duration::from_millis(900));
        assert!(breaker.admits(now + Duration::from_secs(1)));
    }
}
