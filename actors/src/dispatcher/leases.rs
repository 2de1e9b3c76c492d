//! The leases of this daemon in a queue that it shares: each as it is now, since a new epoch of the queue renews them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::id::{RunId, TaskId};
use crate::ports::queue::Lease;
use crate::ports::shared::Ending;

/// So many ends are said again when the queue's memory went back…
const MOST_ENDINGS: usize = 1_024;
/// …if they are not older: by then somebody has published them, and a server of events may know them no longer.
const SAID_AGAIN: Duration = Duration::from_secs(100);

/// Known to whoever works on a run, and to whoever keeps its lease. No lock is held longer than one look.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Mutex<BTreeMap<TaskId, Lease>>,
    endings: Mutex<VecDeque<(Instant, RunId, Ending)>>,
    /// The queue could not be told of something that stands in the journal.
    untold: AtomicBool,
}

impl Leases {
    /// A new one takes the place of an older one on the same task.
    pub(super) fn take(&self, lease: Lease) {
        self.held().insert(lease.task.clone(), lease);
    }

    /// The lease on this run by now; `None` = it is lost, or was given back.
    pub(super) fn now(&self, of: &Lease) -> Option<Lease> {
        self.held().get(&of.task).filter(|lease| lease.run == of.run).cloned()
    }

    pub(super) fn all(&self) -> Vec<Lease> {
        self.held().values().cloned().collect()
    }

    /// Gives up the lease on this run, whatever its fence is by now.
    pub(super) fn let_go(&self, of: &Lease) {
        let mut held = self.held();
        if held.get(&of.task).is_some_and(|lease| lease.run == of.run) {
            held.remove(&of.task);
        }
    }

    /// Before they are taken up again: whoever told of their ends is gone.
    pub(super) fn forget(&self) {
        self.held().clear();
    }

    pub(super) fn ended(&self, run: RunId, ending: Ending) {
        let mut endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        if endings.len() == MOST_ENDINGS {
            endings.pop_front();
        }
        endings.push_back((Instant::now(), run, ending));
    }

    /// What ended of late.
    pub(super) fn endings(&self) -> BTreeMap<RunId, Ending> {
        let mut endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        endings.retain(|(since, _, _)| since.elapsed() < SAID_AGAIN);
        endings.iter().map(|(_, run, ending)| (run.clone(), ending.clone())).collect()
    }

    /// The queue is to be told anew what the journal knows.
    pub(super) fn could_not_tell(&self) {
        self.untold.store(true, Ordering::Release);
    }

    pub(super) fn is_untold(&self) -> bool {
        self.untold.load(Ordering::Acquire)
    }

    /// Before it is told: what comes meanwhile is told again.
    pub(super) fn begin_telling(&self) {
        self.untold.store(false, Ordering::Release);
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<TaskId, Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::queue::{Fence, QueueState};

    fn lease(run: u32, number: u64) -> Lease {
        Lease { task: TaskId::parse("task", "t").unwrap(), run, fence: Fence { epoch: 1, number } }
    }

    #[test]
    fn a_run_has_the_lease_that_was_renewed_last_and_another_run_has_none() {
        let leases = Leases::default();
        leases.take(lease(1, 1));
        leases.take(lease(1, 5));
        assert_eq!(leases.now(&lease(1, 1)), Some(lease(1, 5)));
        assert_eq!(leases.now(&lease(2, 5)), None);
        leases.let_go(&lease(2, 5));
        assert_eq!(leases.all(), [lease(1, 5)]);
        leases.let_go(&lease(1, 1));
        assert!(leases.all().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn ends_are_remembered_for_a_while_and_few_of_them() {
        let leases = Leases::default();
        for run in 0..MOST_ENDINGS + 3 {
            let run = RunId { task: lease(1, 1).task, run: u32::try_from(run).unwrap() };
            leases.ended(run, Ending { state: QueueState::Completed, event: "{}".into() });
        }
        assert_eq!(leases.endings().len(), MOST_ENDINGS);
        tokio::time::advance(SAID_AGAIN).await;
        assert!(leases.endings().is_empty());
    }
}
