//! The one bounded door: every open deliberation holds a permit, from admission to its final event.

use std::sync::Arc;
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

#[derive(Debug)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    total: u32,
}

impl Gate {
    pub(crate) fn new(total: u32) -> Self {
        Self { permits: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// For new work: a permit now, or when to come back.
    pub(crate) fn try_admit(&self) -> Result<Permit, SystemError> {
        match self.permits.clone().try_acquire_owned() {
            Ok(permit) => Ok(Permit { _permit: permit }),
            Err(_) => Err(SystemError::Busy {
                what: format!("all {} deliberations that may be open are", self.total).into(),
                retry_after: RETRY_AFTER,
            }),
        }
    }

    /// For work that was admitted before a restart: waits its turn, before all new work.
    pub(crate) async fn admit_again(&self) -> Option<Permit> {
        let permit = self.permits.clone().acquire_owned().await.ok()?;
        Some(Permit { _permit: permit })
    }

    /// Waits until no deliberation is open, and lets none begin after that.
    pub(crate) async fn all_free(&self) {
        if let Ok(all) = self.permits.acquire_many(self.total).await {
            all.forget();
        }
    }

    pub(crate) fn free(&self) -> u32 {
        u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX)
    }

    pub(crate) fn total(&self) -> u32 {
        self.total
    }
}
