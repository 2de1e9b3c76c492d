//! The one bounded door: every open deliberation holds a permit, from admission to its final event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::SystemError;

/// When to come back to a full gate.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The right to hold one open deliberation; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Permit {
    _permit: OwnedSemaphorePermit,
}

/// A place before the gate, for work that was admitted before a restart. New work stays out while there is one.
#[derive(Debug)]
pub(crate) struct Turn {
    waiting: Arc<AtomicU32>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    total: u32,
    waiting: Arc<AtomicU32>,
}

impl Gate {
    pub(crate) fn new(total: u32) -> Self {
        Self { permits: Arc::new(Semaphore::new(total as usize)), total, waiting: Arc::default() }
    }

    /// For new work: a permit now, or when to come back.
    pub(crate) fn try_admit(&self) -> Result<Permit, SystemError> {
        let nobody_waits = self.waiting.load(Ordering::Acquire) == 0;
        self.try_admit_again().filter(|_| nobody_waits).ok_or_else(|| SystemError::Busy {
            what: format!("all {} deliberations that may be open are", self.total).into(),
            retry_after: RETRY_AFTER,
        })
    }

    /// For work that was admitted before a restart, when there is room.
    pub(crate) fn try_admit_again(&self) -> Option<Permit> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        Some(Permit { _permit: permit })
    }

    /// Takes a place before the gate.
    pub(crate) fn queue(&self) -> Turn {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Turn { waiting: self.waiting.clone() }
    }

    /// For work that was admitted before a restart: waits until there is room.
    pub(crate) async fn admit_again(&self, _turn: Turn) -> Option<Permit> {
        let permit = self.permits.clone().acquire_owned().await.ok()?;
        Some(Permit { _permit: permit })
    }

    /// Waits until no deliberation is open.
    pub(crate) async fn all_free(&self) {
        drop(self.permits.acquire_many(self.total).await);
    }

    /// How many more runs from the queue may begin, when all of them may hold so much of the gate.
    pub(crate) fn free_for_queue(&self, percent: u32) -> usize {
        let kept = self.total - u32::try_from(u64::from(self.total) * u64::from(percent.min(100)) / 100).unwrap_or(0);
        self.free().saturating_sub(kept) as usize
    }

    pub(crate) fn free(&self) -> u32 {
        u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX)
    }

    pub(crate) fn total(&self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let gate = Gate::new(2);
        let (first, second) = (gate.try_admit().unwrap(), gate.try_admit().unwrap());
        assert!(matches!(gate.try_admit(), Err(SystemError::Busy { .. })));
        drop(first);
        assert_eq!(gate.free(), 1);
        drop(second);
        assert_eq!(gate.free(), gate.total());
    }

    #[test]
    fn new_work_stays_out_while_resumed_work_waits() {
        let gate = Gate::new(1);
        let turn = gate.queue();
        assert!(gate.try_admit().is_err());
        assert_eq!(gate.free(), 1, "a refusal keeps nothing");
        drop(turn);
        assert!(gate.try_admit().is_ok());
    }
}
