//! Which request is which: a client, a place in it, and how often the place was used.
//!
//! The server keeps one answer for each place, so that its memory is bounded by the calls at once, not by their number.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The places of one client, which is new with each process.
pub(super) struct Places {
    pub(super) client: String,
    free: Mutex<Vec<Stamp>>,
    room: Semaphore,
}

/// Which request this is, of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) place: usize,
    pub(super) sequence: u64,
}

/// A place while its call lasts. It is free again when this is dropped, answered or not.
pub(super) struct Place<'a> {
    pub(super) stamp: Stamp,
    places: &'a Places,
    _permit: SemaphorePermit<'a>,
}

impl Places {
    pub(super) fn new(in_flight: usize) -> Self {
        let places = in_flight.max(1);
        Self {
            client: format!("{:016x}{:016x}", random(), random()),
            free: Mutex::new((0..places).map(|place| Stamp { place, sequence: 0 }).collect()),
            room: Semaphore::new(places),
        }
    }

    /// Waits for room. `None` never happens as long as nobody closes the semaphore, and nobody does.
    pub(super) async fn take(&self) -> Option<Place<'_>> {
        let permit = self.room.acquire().await.ok()?;
        let Stamp { place, sequence } = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Place { stamp: Stamp { place, sequence: sequence + 1 }, places: self, _permit: permit })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.places.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.stamp);
    }
}

/// The system's randomness as the standard library hands it out: enough for names and jitter.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_never_used_twice_at_once_and_each_use_has_its_number() {
        let places = Places::new(2);
        let (first, second) = (places.take().await.unwrap(), places.take().await.unwrap());
        assert_ne!(first.stamp.place, second.stamp.place);
        assert!(places.room.try_acquire().is_err());
        let place = first.stamp.place;
        drop(first);
        let again = places.take().await.unwrap();
        assert_eq!(again.stamp, Stamp { place, sequence: 2 });
    }

    #[test]
    fn clients_are_told_apart() {
        assert_ne!(Places::new(1).client, Places::new(1).client);
    }
}
