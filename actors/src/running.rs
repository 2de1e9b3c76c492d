//! One open run as everybody sees it: its progress, its outcome, its clients and its permit.
//!
//! It outlives the actor that works on it: an actor that restarts finds clients and permit where they were.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::id::RunId;
use crate::domain::task::TaskSpec;
use crate::domain::verdict::Outcome;
use crate::error::SystemError;
use crate::gate::Permit;
use crate::ports::TaskRow;
use crate::progress::{Progress, Updates};

/// How a run ended, for those who wait.
pub(crate) type Ending = Result<Arc<Outcome>, SystemError>;

#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) run: RunId,
    pub(crate) spec: Arc<TaskSpec>,
    /// As the journal's projection had it when the run was admitted or found.
    pub(crate) row: TaskRow,
    pub(crate) progress: Arc<Progress>,
    ending: watch::Sender<Option<Ending>>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    permit: Option<Permit>,
    clients: u32,
    /// Somebody wants it to end, and why; whoever works on it next sees to that.
    cancel: Option<Arc<str>>,
}

impl Running {
    pub(crate) fn new(row: TaskRow, spec: Arc<TaskSpec>) -> Arc<Self> {
        Arc::new(Self {
            run: RunId { task: row.task.clone(), run: row.run },
            spec,
            row,
            progress: Progress::new(),
            ending: watch::Sender::new(None),
            inner: Mutex::default(),
        })
    }

    pub(crate) fn hold(&self, permit: Permit) {
        let mut inner = self.lock();
        if self.ending.borrow().is_none() {
            inner.permit = Some(permit);
        }
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.lock().permit.is_some()
    }

    /// The first ending stays. The permit is back before anybody hears of it.
    pub(crate) fn finish(&self, ending: Ending) {
        let mut inner = self.lock();
        inner.permit = None;
        self.progress.close();
        self.ending.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(ending);
            }
            first
        });
    }

    /// Notes that it shall end; the first reason stays.
    pub(crate) fn ask_to_cancel(&self, reason: &str) {
        self.lock().cancel.get_or_insert_with(|| reason.into());
    }

    pub(crate) fn cancel_asked(&self) -> Option<Arc<str>> {
        self.lock().cancel.clone()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ending.borrow().is_some()
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.borrow().clone()
    }

    /// Waits for the end. Cancel-safe.
    pub(crate) async fn ended(&self) -> Ending {
        let mut ending = self.ending.subscribe();
        let waited = ending.wait_for(Option::is_some).await;
        let told = waited.ok().and_then(|ending| (*ending).clone());
        told.unwrap_or_else(|| Err(SystemError::Unavailable("the daemon stopped".into())))
    }

    pub(crate) fn updates(&self) -> Updates {
        Updates::from_start(&self.progress)
    }

    pub(crate) fn join(&self) {
        self.lock().clients += 1;
    }

    /// One client less; answers how many are left.
    pub(crate) fn leave(&self) -> u32 {
        let mut inner = self.lock();
        inner.clients = inner.clients.saturating_sub(1);
        inner.clients
    }

    pub(crate) fn clients(&self) -> u32 {
        self.lock().clients
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
