//! Finals that the queue makes: of several daemons that worked on a run, exactly one ends it.
//!
//! The report and the event that tells of it are one step. The event waits in the queue until any daemon has published it;
//! what remains refuses a second one for a while. With it stands what the end did to other tasks, so that a daemon that
//! dies behind its report takes nothing with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use moothall_actors::domain::id::{EventId, RunId, TaskId};
use moothall_actors::domain::queue::{Entry, Fence, QueueState};
use moothall_actors::ports::queue::{Claimed, Consequence, Lease, QueueError, Report, TaskQueue};
use redis::Value;

use super::call::{About, garbled};
use super::queue::{RedisQueue, as_i128, holder, millis};
use super::wire::{self, Args, Garbled};

/// Finals said to be published in one step.
const PUBLISHED: usize = 1_000;

/// What the end of a run did to other tasks.
pub type Finished = Vec<Consequence>;

/// The end of a run as it waits to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    pub run: RunId,
    /// Under which the run ended.
    pub fence: Fence,
    /// COMPLETED, FAILED or CANCELLED.
    pub state: QueueState,
    pub event: Bytes,
    pub consequences: Finished,
}

impl Final {
    /// Of its event, whoever publishes it.
    #[must_use]
    pub fn id(&self) -> EventId {
        final_id(&self.run)
    }
}

/// The namespace of [`final_id`], made up once.
const FINALS: [u8; 16] = [91, 12, 124, 30, 74, 87, 79, 11, 157, 62, 111, 111, 116, 104, 108, 193];

/// The id of the event that ends a run: the same in every daemon, so that it counts once however often it is published.
/// UUID version 5 of `<task>/<run>/final`.
#[must_use]
pub fn final_id(run: &RunId) -> EventId {
    let mut hash = sha1_smol::Sha1::from(FINALS);
    hash.update(format!("{run}/final").as_bytes());
    let digest = hash.digest().bytes();
    let mut id: [u8; 16] = std::array::from_fn(|place| digest[place]);
    id[6] = id[6] & 0x0f | 0x50;
    id[8] = id[8] & 0x3f | 0x80;
    EventId(id)
}

/// What a queue for several daemons can do beyond the port.
#[async_trait]
pub trait FinalQueue: TaskQueue {
    /// Ends a run, and keeps its final event until it is published. Only COMPLETED, FAILED and CANCELLED end one. The
    /// same lease may finish again and is answered the same.
    async fn finish(&self, lease: &Lease, report: Report, final_event: Bytes) -> Result<Finished, QueueError>;

    /// The oldest finals that nobody has said to be published. Two daemons may get the same ones.
    async fn unpublished(&self, limit: usize) -> Result<Vec<Final>, QueueError>;

    async fn published(&self, runs: &[RunId]) -> Result<(), QueueError>;

    /// A holder that works on, but whose leases have ended with their epoch, gets those back that nobody has taken over,
    /// under new fences. Those that were DISPATCHED still are.
    async fn renew(&self, holder: &Arc<str>) -> Result<Vec<Claimed>, QueueError>;

    /// Says what a journal knows: all that is not over, and how those runs ended that the queue has open or others need.
    /// What is missing is put back, what has ended is taken out, and then claims are answered again. The first time in
    /// an epoch, what stands otherwise in the queue becomes as it is said here; later the queue knows better.
    async fn reassert(
        &self,
        entries: Vec<Entry>,
        ended: BTreeMap<RunId, QueueState>,
    ) -> Result<Vec<Consequence>, QueueError>;
}

#[async_trait]
impl FinalQueue for RedisQueue {
    async fn finish(&self, lease: &Lease, report: Report, final_event: Bytes) -> Result<Finished, QueueError> {
        if !matches!(report, Report::Completed | Report::Failed | Report::Cancelled) {
            let state = QueueState::InProgress;
            return Err(QueueError::WrongState { task: lease.task.clone(), state });
        }
        self.tell(lease, &report, Some(&final_event)).await
    }

    async fn unpublished(&self, limit: usize) -> Result<Vec<Final>, QueueError> {
        let mut args = Args::default();
        args.number(as_i128(limit.min(PUBLISHED)));
        let answer = self.caller.look(&self.caller.scripts.unpublished, &args).await?;
        let finals = wire::list(answer).and_then(|finals| finals.into_iter().map(one_final).collect());
        finals.map_err(garbled)
    }

    async fn published(&self, runs: &[RunId]) -> Result<(), QueueError> {
        for runs in runs.chunks(PUBLISHED) {
            let mut args = Args::default();
            args.number(self.caller.settings.finals_kept.as_secs().max(1));
            for run in runs {
                args.push(format!("{}:{}", run.run, run.task));
            }
            self.caller.change(&self.caller.scripts.published, &args, About::Tasks).await?;
        }
        Ok(())
    }

    async fn renew(&self, by: &Arc<str>) -> Result<Vec<Claimed>, QueueError> {
        let (mut mark, mut renewed) = (String::new(), Vec::new());
        loop {
            let mut args = Args::default();
            args.push(holder(by)).number(millis(self.caller.settings.lease)).push(&mark);
            let answer = self.caller.change(&self.caller.scripts.renew, &args, About::Tasks).await?;
            let [since, some] = wire::fields(answer).map_err(garbled)?;
            let some = wire::claimed(some).map_err(garbled)?;
            if some.is_empty() {
                return Ok(renewed);
            }
            mark = wire::text(since).map_err(garbled)?;
            renewed.extend(some);
        }
    }

    async fn reassert(
        &self,
        entries: Vec<Entry>,
        ended: BTreeMap<RunId, QueueState>,
    ) -> Result<Vec<Consequence>, QueueError> {
        self.say_all(entries, ended).await
    }
}

fn one_final(value: Value) -> Result<Final, Garbled> {
    let [id, epoch, number, consequences, state, event] = wire::fields(value)?;
    let id = wire::text(id)?;
    let (run, task) = id.split_once(':').ok_or(Garbled)?;
    let task = TaskId::parse("task", task).map_err(|_| Garbled)?;
    Ok(Final {
        run: RunId { task, run: run.parse().map_err(|_| Garbled)? },
        fence: Fence { epoch: wire::number(epoch)?, number: wire::number(number)? },
        state: wire::state(state)?,
        event: Bytes::from(wire::bytes(event)?),
        consequences: wire::consequences(consequences)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_final_is_that_of_its_run_for_everybody() {
        let run = |run| RunId { task: TaskId::parse("task", "T-1").unwrap(), run };
        assert_eq!(final_id(&run(2)).to_string(), "736f6344-b472-5a50-81e1-d24b1b252251");
        assert_ne!(final_id(&run(1)), final_id(&run(2)));
    }
}
