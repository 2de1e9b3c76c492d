//! A queue in this process: a board behind a lock that is never held across an await.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::board::{Board, Limits};
use crate::domain::id::{TaskId, Timestamp};
use crate::domain::queue::{Entry, QueueState};
use crate::ports::Clock;
use crate::ports::queue::{
    Claim, Claimed, Consequence, Counts, Filter, Lease, QueueError, Report, Request, Row, TaskQueue,
};

/// Forgets everything with the process: what is to last stands in the journal, from which it is filled again.
pub struct MemoryQueue {
    board: Mutex<Board>,
    clock: Arc<dyn Clock>,
}

impl MemoryQueue {
    #[must_use]
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self { board: Mutex::new(Board::new(limits, 1)), clock }
    }

    /// Every change to the board is whole or was refused before it began.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TaskQueue for MemoryQueue {
    async fn enqueue(
        &self,
        entries: Vec<Entry>,
        ended: BTreeMap<TaskId, QueueState>,
    ) -> Result<Vec<Consequence>, QueueError> {
        self.board().enqueue(entries, &ended)
    }

    async fn amend(&self, entry: Entry, ended: BTreeMap<TaskId, QueueState>) -> Result<Vec<Consequence>, QueueError> {
        self.board().amend(entry, &ended)
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, QueueError> {
        Ok(self.board().claim(claim, self.clock.now()))
    }

    async fn adopt(&self, task: &TaskId, run: u32, holder: &Arc<str>) -> Result<Lease, QueueError> {
        self.board().adopt(task, run, holder, self.clock.now())
    }

    async fn take_back(&self, holder: &str) -> Result<Vec<TaskId>, QueueError> {
        Ok(self.board().take_back(holder))
    }

    async fn heartbeat(&self, leases: &[Lease]) -> Result<Vec<Lease>, QueueError> {
        Ok(self.board().heartbeat(leases, self.clock.now()))
    }

    async fn report(&self, lease: &Lease, report: Report) -> Result<Vec<Consequence>, QueueError> {
        self.board().report(lease, &report)
    }

    async fn request(&self, task: &TaskId, request: Request) -> Result<Vec<Consequence>, QueueError> {
        self.board().request(task, &request)
    }

    async fn open_phase(&self, story: &str, phase: &str) -> Result<Vec<TaskId>, QueueError> {
        Ok(self.board().open_phase(story, phase))
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Row>, QueueError> {
        Ok(self.board().list(filter))
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        Ok(self.board().counts().clone())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, QueueError> {
        let (mut board, now) = (self.board(), self.clock.now());
        board.pass(now);
        Ok(board.next_due())
    }
}
