//! A chore of the writer: a step of pruning between two groups, told to whoever asked for it.
//!
//! Unlike a group it is never kept: what fails is undone and told, and whoever asked may ask again later.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use moothall_actors::ports::JournalError;
use tokio::sync::oneshot;

use super::connection;
use super::error::Cure;
use super::fault::FaultPoint;
use super::prune::{self, Done, Step};
use super::writer::{Trouble, Writer};

/// A step, and whom to tell. Dropped untold, its asker learns that the journal is closed.
#[derive(Debug)]
pub(super) struct Chore {
    pub(super) step: Step,
    pub(super) tell: oneshot::Sender<Result<Done, JournalError>>,
}

impl Writer {
    pub(super) fn do_chore(&mut self, Chore { step, tell }: Chore) {
        let begun = Instant::now();
        let attempt = catch_unwind(AssertUnwindSafe(|| self.attempt_step(&step)));
        let told = match attempt {
            Ok(Ok(done)) => Ok(Done { took: begun.elapsed(), ..done }),
            Ok(Err(trouble)) => Err(self.drop_chore(&trouble)),
            Err(_) => Err(self.drop_chore(&Trouble::Panicked)),
        };
        // Whoever asked may have left.
        let _ = tell.send(told);
    }

    fn attempt_step(&mut self, step: &Step) -> Result<Done, Trouble> {
        let done = self.with_connection(|writer, conn| {
            conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            let done = prune::take(conn, &mut writer.streams, step)?;
            writer.reach(FaultPoint::BeforePrune);
            conn.prepare_cached("COMMIT")?.execute([])?;
            writer.reach(FaultPoint::AfterPrune);
            Ok(done)
        })?;
        // The file gets smaller when its end is written back, which appends would bring about only after a while.
        if let (Step::Note { .. }, Some(conn)) = (step, &self.conn) {
            connection::write_back(conn)?;
        }
        Ok(done)
    }

    /// Groups know what to do about trouble; a chore only leaves nothing behind that would be in their way.
    fn drop_chore(&mut self, trouble: &Trouble) -> JournalError {
        let why = trouble.why();
        match trouble.cure() {
            Cure::GiveUp => return self.lose(&why, trouble.exit_code()),
            Cure::Reopen | Cure::Sift => self.conn = None,
            Cure::Wait => {}
        }
        self.streams.forget();
        JournalError::Unusable(why.into())
    }
}
