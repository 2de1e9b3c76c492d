//! After the verdict: an agent of others carries the winner out, and its answer ends the task.
//!
//! ```text
//!  verdict ─▶ TaskDispatched ─▶ ExecutionRequested 1 ─▶ answered ─▶ TaskCompleted
//!                                     ▲                    │ failed for good, or the third time ─▶ TaskFailed
//!                                     └── 2, 3 ◀───────────┴ silence, a failure that may heal
//! ```

use std::sync::Arc;
use std::time::Duration;

use super::settle::record;
use super::stream::{MOST_TRIES, append};
use super::underway::{self, Underway};
use super::{Message, ending};
use crate::System;
use crate::domain::answer::Class;
use crate::domain::event::{Event, Executed, Execution, Recorded, TaskFailure};
use crate::domain::id::{AgentId, StreamId, TaskId, Timestamp};
use crate::domain::queue::QueueState;
use crate::domain::receipt::{Receipt, ReceiptKey};
use crate::error::SystemError;
use crate::ports::queue::{Consequence, Lease, QueueError, Report};
use crate::ports::{Batch, JournalError, TaskRow, TaskStatus, commit_patiently, whole_stream};
use crate::world::World;

/// So often somebody is asked to carry a winner out: an agent that failed thrice will fail again.
pub const MOST_ATTEMPTS: u32 = 3;

/// What an agent of others says of a task.
#[derive(Clone, Debug)]
pub struct Answer {
    pub task: TaskId,
    pub agent: Arc<str>,
    /// Which request it answers; `None` = the last one.
    pub attempt: Option<u32>,
    pub outcome: Executed,
}

impl System {
    /// An agent of others has carried a winner out, or failed to. Durable when it answers; `false` = nobody waits for it.
    pub async fn executed(&self, answer: Answer, receipt: Receipt) -> Result<bool, SystemError> {
        let world = self.world.clone();
        self.apart("an execution", async move { executed(&world, answer, receipt).await }).await
    }
}

/// A task whose winner is being carried out, as its stream tells.
struct Dispatched {
    row: TaskRow,
    winner: AgentId,
    deliberated: Duration,
    dispatched_at: Timestamp,
    /// 0 = nobody was asked yet.
    attempt: u32,
    asked_at: Timestamp,
    /// For one attempt.
    limit: Duration,
}

impl Dispatched {
    fn fold(row: TaskRow, events: Vec<Recorded>) -> Option<Self> {
        let (mut limit, mut found) = (Duration::ZERO, None::<Self>);
        for Recorded { event, .. } in events {
            match (event.event, &mut found) {
                (Event::TaskAccepted { spec, .. } | Event::TaskAmended { spec, .. }, _) => {
                    limit = spec.execution.unwrap_or_default();
                }
                (Event::TaskDispatched { run, winner, duration }, _) if run == row.run => {
                    let (deliberated, at) = (duration, event.at);
                    let row = row.clone();
                    found = Some(Self { row, winner, deliberated, dispatched_at: at, attempt: 0, asked_at: at, limit });
                }
                (Event::ExecutionRequested { run, attempt, .. }, Some(found)) if run == found.row.run => {
                    (found.attempt, found.asked_at) = (attempt, event.at);
                }
                _ => {}
            }
        }
        found
    }

    fn due(&self) -> Timestamp {
        let limit = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.asked_at.0.saturating_add(limit))
    }

    /// As it is watched from now on.
    fn underway(&self, since: Timestamp) -> Underway {
        let (run, attempt, agent) = (self.row.run, self.attempt, self.winner.clone());
        Underway { run, attempt, agent, asked_at: self.asked_at, heard: None, since, stalled: false }
    }

    fn request(&self) -> Event {
        Event::ExecutionRequested { run: self.row.run, attempt: self.attempt + 1, agent: self.winner.clone() }
    }

    fn ended(&self, agent: &Arc<str>, outcome: Executed) -> Event {
        let (run, attempt) = (self.row.run, self.attempt);
        Event::ExecutionEnded(Arc::new(Execution { run, attempt, agent: agent.clone(), outcome }))
    }

    /// What an attempt's end means, and what the queue is told of it; `None` = another attempt is made.
    fn follow(&self, outcome: &Executed, now: Timestamp) -> (Event, Option<Report>) {
        let run = self.row.run;
        let why: Arc<str> = match outcome {
            Executed::Completed { .. } => {
                let since = Duration::from_millis(now.0.saturating_sub(self.dispatched_at.0));
                let duration = self.deliberated.saturating_add(since);
                let completed = Event::TaskCompleted { run, winner: self.winner.clone(), duration };
                return (completed, Some(Report::Completed));
            }
            Executed::Failed { may_heal, .. } if *may_heal && self.attempt < MOST_ATTEMPTS => {
                return (self.request(), None);
            }
            Executed::Silent if self.attempt < MOST_ATTEMPTS => return (self.request(), None),
            Executed::Failed { error, .. } => error.clone(),
            Executed::Silent => format!("no answer within {} s", self.limit.as_secs()).into(),
        };
        let message = format!("the winner was not carried out after {} attempts, last: {why}", self.attempt).into();
        (Event::TaskFailed(TaskFailure { run, class: Class::Refused, message }), Some(Report::Failed))
    }
}

/// Its winner is being carried out; nobody here works on it.
pub(super) fn is_dispatched(row: &TaskRow) -> bool {
    row.status == TaskStatus::Open && row.queue == Some(QueueState::Dispatched)
}

async fn find(world: &World, task: &TaskId) -> Result<Option<Dispatched>, JournalError> {
    let Some(row) = world.ports.journal.task(task).await?.filter(is_dispatched) else { return Ok(None) };
    let events = whole_stream(&*world.ports.journal, &StreamId::task(task)).await?;
    Ok(Dispatched::fold(row, events))
}

async fn executed(world: &World, answer: Answer, receipt: Receipt) -> Result<bool, SystemError> {
    world.check_open()?;
    // What is written first is told first.
    let _claim = world.registry.claimed(&answer.task).await;
    for _ in 0..MOST_TRIES {
        let Some(found) = find(world, &answer.task).await? else { return Ok(false) };
        if answer.attempt.is_some_and(|attempt| attempt != found.attempt) || found.attempt == 0 {
            return Ok(false);
        }
        let mut receipt = receipt.clone();
        receipt.keys.push(own_name(&answer, &found));
        match end_attempt(world, &found, &answer.agent, &answer.outcome, Some(receipt)).await {
            Ok(()) => return Ok(true),
            Err(JournalError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(SystemError::Unavailable(format!("task {} is just changed elsewhere; try again", answer.task).into()))
}

/// An answer that lies at two places is one answer, also when it does not say which attempt it is of.
fn own_name(answer: &Answer, found: &Dispatched) -> ReceiptKey {
    let kind = if matches!(answer.outcome, Executed::Completed { .. }) { "completed" } else { "failed" };
    let (run, attempt) = (found.row.run.to_string(), found.attempt.to_string());
    ReceiptKey::of(&["agent", answer.task.as_str(), &answer.agent, &run, &attempt, kind])
}

/// Writes how an attempt ended and what follows, and tells the queue.
async fn end_attempt(
    world: &World,
    found: &Dispatched,
    agent: &Arc<str>,
    outcome: &Executed,
    receipt: Option<Receipt>,
) -> Result<(), JournalError> {
    let (next, report) = found.follow(outcome, world.ports.clock.now());
    let events = vec![found.ended(agent, outcome.clone()), next];
    let row = &found.row;
    let batch = Batch { receipt, ..Batch::of(vec![append(world, &row.task, row.version, events)]) };
    commit_patiently(&*world.ports.journal, batch).await?;
    world.registry.underway.remove(&row.task);
    if let Some(report) = report {
        tell_queue(world, found, outcome, report).await;
    }
    world.registry.wake_dispatcher();
    Ok(())
}

async fn tell_queue(world: &World, found: &Dispatched, outcome: &Executed, report: Report) {
    let (queue, row) = (&world.ports.queue, &found.row);
    let told = match queue.adopt(&row.task, row.run, &world.settings.queue.holder).await {
        Ok(lease) => finish(world, &lease, (outcome, report)).await,
        Err(error) => Err(error),
    };
    match told {
        Ok(consequences) => record(world, consequences).await,
        Err(error) => {
            world.leases.could_not_tell();
            tracing::warn!(task = %row.task, %error, "the queue does not know how an execution ended");
        }
    }
}

async fn finish(
    world: &World,
    lease: &Lease,
    (outcome, report): (&Executed, Report),
) -> Result<Vec<Consequence>, QueueError> {
    let Some(shared) = &world.ports.shared else { return world.ports.queue.report(lease, report).await };
    let unavailable = |error: JournalError| QueueError::Unavailable {
        why: error.to_string().into(),
        retry_after: world.settings.queue.retry_min,
    };
    let row = world.ports.journal.task(&lease.task).await.map_err(unavailable)?;
    let ended = match row.filter(|row| row.run == lease.run) {
        Some(row) => ending::of_row(world, &row).await.map_err(unavailable)?,
        None => None,
    };
    let Some(mut ended) = ended else { return Err(QueueError::Unknown { task: lease.task.clone() }) };
    // By the word of whoever carried it out, where there is one.
    if let Executed::Completed { checks_passed: Some(said), .. } = outcome {
        ended.checks_passed = *said;
    }
    shared.finish(lease, report, &ended).await
}

/// Sees to it that somebody carries a winner out: asks for the first time, or again when it took too long. When to look
/// again; `None` = nobody has to.
pub(super) async fn see_to(world: &World, task: &TaskId) -> Result<Option<Timestamp>, JournalError> {
    let _claim = world.registry.claimed(task).await;
    for _ in 0..MOST_TRIES {
        let Some(found) = find(world, task).await? else { return Ok(None) };
        let (now, row) = (world.ports.clock.now(), &found.row);
        let done = match (found.attempt, found.due() <= now) {
            (0, _) => {
                let asking = Batch::of(vec![append(world, &row.task, row.version, vec![found.request()])]);
                commit_patiently(&*world.ports.journal, asking).await.map(drop)
            }
            (_, false) => {
                underway::begin(world, task, found.underway(now));
                return Ok(Some(found.due()));
            }
            (_, true) => {
                let agent = Arc::from(found.winner.as_str());
                end_attempt(world, &found, &agent, &Executed::Silent, None).await
            }
        };
        match done {
            Ok(()) | Err(JournalError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(world.ports.clock.now()))
}

/// The queue took a task for one that waits: its run has ended while nobody watched it.
pub(super) async fn hand_over(world: &World, lease: &Lease) {
    world.leases.let_go(lease);
    if let Err(error) = world.ports.queue.report(lease, Report::Dispatched).await {
        tracing::warn!(task = %lease.task, %error, "the queue does not know that a winner is carried out");
    }
    let looking = Message::Executing { task: lease.task.clone(), due: Timestamp(0) };
    world.registry.tell_dispatcher(looking);
}

/// A start: the queue hears that the task is in the hands of others.
pub(super) async fn take_up(world: &World, task: &TaskId, run: u32) -> Result<(), SystemError> {
    let queue = &world.ports.queue;
    let lease = queue.adopt(task, run, &world.settings.queue.holder).await?;
    queue.report(&lease, Report::Dispatched).await?;
    Ok(())
}
