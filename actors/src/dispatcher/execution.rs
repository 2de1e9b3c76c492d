//! After the verdict: an agent of others carries the winner out, and its answer ends the task. Before it, where several carry
//! the task itself out: that is the matter of `collect.rs`.
//!
//! ```text
//!  verdict ─▶ TaskDispatched ─▶ ExecutionRequested 1 ─▶ answered ─▶ TaskCompleted
//!                                     ▲                    │ failed for good, or the third time ─▶ TaskFailed
//!                                     └── 2, 3 ◀───────────┴ silence, a failure that may heal
//! ```

use std::sync::Arc;
use std::time::Duration;

use super::collect::{self, Collection};
use super::settle::{self, record};
use super::stream::{MOST_TRIES, append, last_spec};
use super::underway::{self, Underway};
use super::{Message, ending};
use crate::System;
use crate::domain::answer::Class;
use crate::domain::event::{Event, Recorded, TaskFailure};
use crate::domain::execution::{Executed, Execution};
use crate::domain::id::{AgentId, Role, StreamId, TaskId, Timestamp};
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

/// A task that others carry out.
enum Found {
    /// Its winner.
    Winner(Dispatched),
    /// The task itself, each by itself.
    Several(Collection),
}

/// What whoever looks after it is to do.
pub(super) enum Seen {
    /// Nothing: it is over, or not carried out any more.
    Over,
    LookAt {
        due: Timestamp,
        /// Whose agents carry it out, each by itself.
        of: Option<Role>,
    },
    /// All that several have made is there, and is to be deliberated on.
    Collected { role: Role },
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
        let (asked_at, answered) = (self.asked_at, None);
        Underway { run, attempt, agent, asked_at, heard: None, since, stalled: false, answered }
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

async fn find(world: &World, task: &TaskId) -> Result<Option<Found>, JournalError> {
    let Some(row) = world.ports.journal.task(task).await?.filter(is_dispatched) else { return Ok(None) };
    let events = whole_stream(&*world.ports.journal, &StreamId::task(task)).await?;
    Ok(match last_spec(&events) {
        Some(spec) if spec.collective => Some(Found::Several(Collection::fold(row, &spec, events))),
        _ => Dispatched::fold(row, events).map(Found::Winner),
    })
}

async fn executed(world: &World, answer: Answer, receipt: Receipt) -> Result<bool, SystemError> {
    world.check_open()?;
    // What is written first is told first.
    let _claim = world.registry.claimed(&answer.task).await;
    for _ in 0..MOST_TRIES {
        let receipt = receipt.clone();
        let taken = match find(world, &answer.task).await? {
            None => return Ok(false),
            Some(Found::Winner(found)) => take(world, &found, &answer, receipt).await,
            Some(Found::Several(collection)) => collect::take(world, collection, &answer, receipt).await,
        };
        match taken {
            Err(JournalError::Conflict { .. }) => {}
            taken => return Ok(taken?),
        }
    }
    Err(SystemError::Unavailable(format!("task {} is just changed elsewhere; try again", answer.task).into()))
}

/// `false` = nobody waits for it.
async fn take(world: &World, found: &Dispatched, answer: &Answer, mut receipt: Receipt) -> Result<bool, JournalError> {
    if answer.attempt.is_some_and(|attempt| attempt != found.attempt) || found.attempt == 0 {
        return Ok(false);
    }
    receipt.keys.push(own_name(answer, found.row.run, found.attempt));
    end_attempt(world, found, &answer.agent, &answer.outcome, Some(receipt)).await.map(|()| true)
}

/// An answer that lies at two places is one answer, also when it does not say which attempt it is of.
pub(super) fn own_name(answer: &Answer, run: u32, attempt: u32) -> ReceiptKey {
    let kind = if matches!(answer.outcome, Executed::Completed { .. }) { "completed" } else { "failed" };
    let (run, attempt) = (run.to_string(), attempt.to_string());
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
        tell_queue(world, row, outcome, report).await;
    }
    world.registry.wake_dispatcher();
    Ok(())
}

pub(super) async fn tell_queue(world: &World, row: &TaskRow, outcome: &Executed, report: Report) {
    let queue = &world.ports.queue;
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

/// Sees to it that a task is carried out: asks for the first time, or again when it took too long.
pub(super) async fn see_to(world: &World, task: &TaskId) -> Result<Seen, JournalError> {
    let _claim = world.registry.claimed(task).await;
    for _ in 0..MOST_TRIES {
        let seen = match find(world, task).await? {
            None => return Ok(Seen::Over),
            Some(Found::Winner(found)) => see_to_winner(world, &found).await,
            Some(Found::Several(collection)) => collect::see_to(world, collection).await,
        };
        match seen {
            Ok(None) | Err(JournalError::Conflict { .. }) => {}
            Ok(Some(seen)) => return Ok(seen),
            Err(error) => return Err(error),
        }
    }
    Ok(Seen::LookAt { due: world.ports.clock.now(), of: None })
}

/// `None` = something was written, and it wants another look.
async fn see_to_winner(world: &World, found: &Dispatched) -> Result<Option<Seen>, JournalError> {
    let (now, row) = (world.ports.clock.now(), &found.row);
    match (found.attempt, found.due() <= now) {
        (0, _) => {
            let asking = Batch::of(vec![append(world, &row.task, row.version, vec![found.request()])]);
            commit_patiently(&*world.ports.journal, asking).await?;
            Ok(None)
        }
        (_, false) => {
            underway::begin(world, &row.task, found.underway(now));
            Ok(Some(Seen::LookAt { due: found.due(), of: None }))
        }
        (_, true) => {
            let agent = Arc::from(found.winner.as_str());
            end_attempt(world, found, &agent, &Executed::Silent, None).await.map(|()| None)
        }
    }
}

/// The dispatcher looks at it now.
pub(super) fn look_at(world: &World, task: &TaskId) {
    let looking = Message::Executing { task: task.clone(), due: Timestamp(0), of: None };
    world.registry.tell_dispatcher(looking);
}

/// The queue took a task for one that waits: its run has ended while nobody watched it.
pub(super) async fn hand_over(world: &World, lease: &Lease) {
    world.leases.let_go(lease);
    if let Err(error) = world.ports.queue.report(lease, Report::Dispatched).await {
        tracing::warn!(task = %lease.task, %error, "the queue does not know that a winner is carried out");
    }
    look_at(world, &lease.task);
}

/// A start: the queue hears that the task is in the hands of others; `false` = it has ended meanwhile.
pub(super) async fn take_up(world: &Arc<World>, task: &TaskId, run: u32) -> Result<bool, SystemError> {
    let queue = &world.ports.queue;
    let lease = queue.adopt(task, run, &world.settings.queue.holder).await?;
    let row = world.ports.journal.task(task).await?;
    if let Some(row) = row.filter(|row| row.run == run && row.status != TaskStatus::Open) {
        settle::see_to(world, &lease, &row).await;
        return Ok(false);
    }
    queue.report(&lease, Report::Dispatched).await?;
    Ok(true)
}
