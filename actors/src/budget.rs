//! The day's tokens: once they are used, nothing new is admitted until midnight, UTC.

use std::time::Duration;

use crate::domain::id::Timestamp;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What was used today, since the start of the process.
#[derive(Debug)]
pub(crate) struct DailyTokens {
    limit: Option<u64>,
    day: u64,
    used: u64,
}

impl DailyTokens {
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self { limit, day: 0, used: 0 }
    }

    pub(crate) fn note(&mut self, now: Timestamp, tokens: u64) {
        self.turn(now);
        self.used = self.used.saturating_add(tokens);
    }

    /// How long nothing new may begin; `None` = it may now.
    pub(crate) fn closed_for(&mut self, now: Timestamp) -> Option<Duration> {
        self.turn(now);
        let limit = self.limit?;
        (self.used >= limit).then(|| Duration::from_millis(DAY_MS - now.0 % DAY_MS))
    }

    fn turn(&mut self, now: Timestamp) {
        let day = now.0 / DAY_MS;
        if day != self.day {
            (self.day, self.used) = (day, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_day_is_closed_until_midnight() {
        let mut tokens = DailyTokens::new(Some(100));
        let noon = Timestamp(10 * DAY_MS + DAY_MS / 2);
        tokens.note(noon, 99);
        assert_eq!(tokens.closed_for(noon), None);
        tokens.note(noon, 1);
        assert_eq!(tokens.closed_for(noon), Some(Duration::from_millis(DAY_MS / 2)));
        assert_eq!(tokens.closed_for(Timestamp(11 * DAY_MS)), None);
    }

    #[test]
    fn without_a_limit_it_is_always_open() {
        let mut tokens = DailyTokens::new(None);
        tokens.note(Timestamp(0), u64::MAX);
        tokens.note(Timestamp(0), 1);
        assert_eq!(tokens.closed_for(Timestamp(0)), None);
    }
}
