//! Real time and real identities.

use std::time::{SystemTime, UNIX_EPOCH};

use moothall_actors::domain::id::{EventId, Timestamp};
use moothall_actors::ports::{Clock, IdSource};
use uuid::Uuid;

/// The machine's wall clock.
#[derive(Debug)]
pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// UUIDs of version 7: they sort by time, so that the index on them grows at its end.
#[derive(Debug)]
pub(super) struct UuidSource;

impl IdSource for UuidSource {
    fn event_id(&self) -> EventId {
        EventId(*Uuid::now_v7().as_bytes())
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}
