//! The small fakes: time, identities, checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::time::Instant;

use super::random::Random;
use crate::domain::check::{CheckOutcome, CheckReport};
use crate::domain::id::{EventId, Timestamp};
use crate::ports::{Checks, Clock, IdSource};

/// Follows tokio's clock, so that paused time is paused here too.
#[derive(Debug)]
pub struct FakeClock {
    start: Instant,
}

impl Default for FakeClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp(1_800_000_000_000 + since)
    }
}

/// Counts event ids up; random numbers come from the seed.
#[derive(Debug)]
pub struct FakeIds {
    next: AtomicU64,
    random: Random,
}

impl FakeIds {
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self { next: AtomicU64::new(1), random }
    }
}

impl IdSource for FakeIds {
    fn event_id(&self) -> EventId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        EventId(bytes)
    }

    fn random(&self) -> u64 {
        self.random.next()
    }
}

/// Fails every text that contains `FORBIDDEN`.
#[derive(Debug, Default)]
pub struct FakeChecks;

#[async_trait]
impl Checks for FakeChecks {
    fn policy_hash(&self) -> Arc<str> {
        "fake-policy".into()
    }

    async fn check(&self, texts: Vec<Arc<str>>) -> Vec<CheckReport> {
        let report = |text: &Arc<str>| {
            let policy = match text.contains("FORBIDDEN") {
                true => CheckOutcome::Failed { findings: vec!["forbidden: it says so (line 1)".into()] },
                false => CheckOutcome::Passed,
            };
            CheckReport { policy, ..CheckReport::not_run(&"simulated".into()) }
        };
        texts.iter().map(report).collect()
    }
}
