//! The small fakes: time, identities, checks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::time::Instant;

use super::random::Random;
use crate::artifact::Rejected;
use crate::domain::check::{CheckOutcome, CheckReport};
use crate::domain::id::{EventId, Timestamp};
use crate::ports::{Checks, Clock, Form, IdSource, Subject};

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

fn rejected(why: &Rejected) -> CheckOutcome {
    CheckOutcome::Failed { findings: vec![why.to_string().into()] }
}

/// Fails every text that contains `FORBIDDEN`, and what should have been an artifact.
#[derive(Debug, Default)]
pub struct FakeChecks;

#[async_trait]
impl Checks for FakeChecks {
    fn policy_hash(&self) -> Arc<str> {
        "fake-policy".into()
    }

    async fn check(&self, subjects: Vec<Subject>) -> Vec<CheckReport> {
        let report = |subject: &Subject| {
            let policy = match subject.text.contains("FORBIDDEN") {
                true => CheckOutcome::Failed { findings: vec!["forbidden: it says so (line 1)".into()] },
                false => CheckOutcome::Passed,
            };
            let additional = match &subject.form {
                Form::Rejected(why) => BTreeMap::from([("artifact".to_owned(), rejected(why))]),
                Form::Changes(_) => BTreeMap::from([("artifact".to_owned(), CheckOutcome::Passed)]),
                _ => BTreeMap::new(),
            };
            CheckReport { policy, additional, ..CheckReport::not_run(&"simulated".into()) }
        };
        subjects.iter().map(report).collect()
    }
}
