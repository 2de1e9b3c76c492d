//! How often our own handling of a message failed. Deliveries do not count: a message may come again for many reasons.
//!
//! In memory: a restart, or another replica of a shared durable, begins again at none.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::port::InboxKey;

/// Of one consumer. More than this fail at once only when everything fails; then the oldest begins again at one.
const MOST: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<BTreeMap<InboxKey, u32>>);

impl Failures {
    /// Counts one more, and tells how many there were.
    pub(super) fn add(&self, key: &InboxKey) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.clone()).or_default();
        *count += 1;
        let count = *count;
        if counts.len() > MOST {
            counts.pop_first();
        }
        count
    }

    pub(super) fn forget(&self, key: &InboxKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(sequence: u64) -> InboxKey {
        InboxKey { stream: "S".into(), sequence, published_ns: 0 }
    }

    #[test]
    fn each_message_is_counted_by_itself() {
        let failures = Failures::default();
        assert_eq!([failures.add(&key(1)), failures.add(&key(1)), failures.add(&key(2))], [1, 2, 1]);
        failures.forget(&key(1));
        assert_eq!(failures.add(&key(1)), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let failures = Failures::default();
        (0..=MOST as u64).for_each(|sequence| {
            failures.add(&key(sequence));
        });
        assert_eq!(failures.0.lock().unwrap().len(), MOST);
        assert_eq!(failures.add(&key(MOST as u64)), 2);
    }
}
