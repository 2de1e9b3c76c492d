//! Time and identities: the two things that decide nothing but must come from outside.

use crate::domain::id::{EventId, Timestamp};

/// Wall time. Durations come from tokio, so that tests can pause it.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// New identities.
pub trait IdSource: Send + Sync + 'static {
    /// UUID version 7.
    fn event_id(&self) -> EventId;
    /// 64 random bits: salts and execution ids.
    fn random(&self) -> u64;
}
