//! Who lives: counts what works for the system, so that a drain can promise that nothing does any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many actors and admissions there are.
#[derive(Debug, Default)]
pub(crate) struct Census {
    alive: Arc<Alive>,
}

#[derive(Debug, Default)]
struct Alive {
    count: AtomicUsize,
    nobody: Notify,
}

impl Census {
    /// Counts one more until the guard is dropped, however its holder ends.
    pub(crate) fn enter(&self) -> Presence {
        self.alive.count.fetch_add(1, Ordering::AcqRel);
        Presence { alive: self.alive.clone() }
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive.count.load(Ordering::Acquire)
    }

    /// Waits until nothing lives.
    pub(crate) async fn empty(&self) {
        while self.alive() > 0 {
            let mut nobody = std::pin::pin!(self.alive.nobody.notified());
            nobody.as_mut().enable();
            if self.alive() > 0 {
                nobody.await;
            }
        }
    }
}

/// The place of one living thing in the census.
#[derive(Debug)]
pub(crate) struct Presence {
    alive: Arc<Alive>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.alive.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.alive.nobody.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_empty_when_the_last_has_left() {
        let census = Census::default();
        census.empty().await;
        let (one, two) = (census.enter(), census.enter());
        assert_eq!(census.alive(), 2);
        drop(one);
        let leaves = async {
            tokio::task::yield_now().await;
            drop(two);
        };
        tokio::join!(census.empty(), leaves);
        assert_eq!(census.alive(), 0);
    }
}
