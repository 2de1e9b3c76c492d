//! A client's hold on a run, and what its leaving means.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::domain::id::TaskId;
use crate::domain::verdict::Outcome;
use crate::error::SystemError;
use crate::progress::Updates;
use crate::running::Running;
use crate::supervisor::DeliberationsMessage;
use crate::world::World;

/// How a client holds the run that it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It waits for the answer. Leaving early ends a run that nobody can find again.
    Call,
    /// It reads a stream. Leaving early ends the run: at once when nobody can find it again, else after a while in
    /// which nobody else came.
    Stream,
    /// Nobody waits, or somebody only watches: it does not count among the clients, and leaving changes nothing.
    Background,
}

/// A run and a place among its clients. Dropping it is leaving.
pub struct Attached {
    world: Arc<World>,
    running: Arc<Running>,
    joined: bool,
    hold: Hold,
}

impl Attached {
    pub(crate) fn started(world: &Arc<World>, running: Arc<Running>, hold: Hold) -> Self {
        Self::new(world, running, false, hold)
    }

    /// To a run that was there before: leaving changes nothing, unless nobody could find the run again.
    pub(crate) fn joined_to(world: &Arc<World>, running: Arc<Running>) -> Self {
        Self::new(world, running, true, Hold::Call)
    }

    /// To a run that was there before, to see how it goes.
    pub(crate) fn watching(world: &Arc<World>, running: Arc<Running>) -> Self {
        Self::new(world, running, true, Hold::Background)
    }

    fn new(world: &Arc<World>, running: Arc<Running>, joined: bool, hold: Hold) -> Self {
        if hold != Hold::Background {
            running.join();
        }
        Self { world: world.clone(), running, joined, hold }
    }

    #[must_use]
    pub fn task(&self) -> &TaskId {
        &self.running.run.task
    }

    /// Whether the task was there before.
    #[must_use]
    pub fn joined(&self) -> bool {
        self.joined
    }

    /// From the first update on.
    #[must_use]
    pub fn updates(&self) -> Updates {
        self.running.updates()
    }

    /// Waits for the end. Cancel-safe; may be asked again.
    pub async fn outcome(&self) -> Result<Arc<Outcome>, SystemError> {
        self.running.ended().await
    }
}

/// When an early leave of the last client ends the run: `None` = never.
fn patience(hold: Hold, keyed: bool, joined: bool, grace: Duration) -> Option<Duration> {
    match hold {
        Hold::Background => None,
        Hold::Call | Hold::Stream if !keyed => Some(Duration::ZERO),
        Hold::Stream if !joined => Some(grace),
        Hold::Call | Hold::Stream => None,
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if self.hold == Hold::Background {
            return;
        }
        let left = self.running.leave();
        if left > 0 || self.running.has_ended() || self.world.is_draining() {
            return;
        }
        let grace = self.world.settings.orphan_grace;
        let Some(patience) = patience(self.hold, self.running.row.keyed, self.joined, grace) else { return };
        if patience.is_zero() {
            return cancel(&self.world, &self.running, "its last client left");
        }
        let (world, running) = (self.world.clone(), self.running.clone());
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            tokio::time::sleep(patience).await;
            if running.clients() == 0 && !running.has_ended() {
                cancel(&world, &running, "its stream ended early and nobody else came");
            }
        });
    }
}

/// Asks the run to end; it writes so itself, as soon as somebody works on it.
pub(crate) fn cancel(world: &World, running: &Arc<Running>, reason: &str) {
    running.ask_to_cancel(reason);
    if let Some(deliberations) = world.registry.deliberations.get(&running.spec.role) {
        drop(deliberations.cast(DeliberationsMessage::Cancel { running: running.clone() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_early_leave_means() {
        let grace = Duration::from_secs(30);
        assert_eq!(patience(Hold::Call, true, false, grace), None);
        assert_eq!(patience(Hold::Call, false, false, grace), Some(Duration::ZERO));
        assert_eq!(patience(Hold::Stream, true, false, grace), Some(grace));
        assert_eq!(patience(Hold::Stream, true, true, grace), None);
        assert_eq!(patience(Hold::Stream, false, false, grace), Some(Duration::ZERO));
        assert_eq!(patience(Hold::Background, false, false, grace), None);
    }
}
