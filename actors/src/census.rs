//! Who lives: counts what works for the system, so that a drain can promise that nothing does any more.

use tokio::sync::watch;

/// How many actors and admissions there are.
#[derive(Debug)]
pub(crate) struct Census {
    alive: watch::Sender<usize>,
}

impl Default for Census {
    fn default() -> Self {
        Self { alive: watch::Sender::new(0) }
    }
}

impl Census {
    /// Counts one more until the guard is dropped, however its holder ends.
    pub(crate) fn enter(&self) -> Presence {
        self.alive.send_modify(|alive| *alive += 1);
        Presence { alive: self.alive.clone() }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn alive(&self) -> usize {
        *self.alive.borrow()
    }

    /// Waits until nothing lives.
    pub(crate) async fn empty(&self) {
        drop(self.alive.subscribe().wait_for(|alive| *alive == 0).await);
    }
}

/// The place of one living thing in the census.
#[derive(Debug)]
pub(crate) struct Presence {
    alive: watch::Sender<usize>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.alive.send_modify(|alive| *alive -= 1);
    }
}
