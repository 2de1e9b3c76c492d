//! What a client asks of a task that waits, or that has ended and is to wait again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::execution::{is_dispatched, look_at};
use super::stream::{MOST_TRIES, came_to, find, told, waits, write};
use super::{ending, settle, tell};
use crate::System;
use crate::domain::event::Event;
use crate::domain::id::{RunId, TaskId};
use crate::domain::queue::{Entry, OnDependencyFailure, Priority, QueueState};
use crate::domain::task::TaskSpec;
use crate::error::SystemError;
use crate::ports::queue::{Consequence, Counts, Filter, QueueError, Request, Row};
use crate::ports::shared::Ending;
use crate::ports::{JournalError, TaskRow, TaskStatus};
use crate::world::World;

impl System {
    /// Puts a task that FAILED, was CANCELLED or SKIPPED back into the queue under its next run, or takes a PARKED one out
    /// of its parking place. Durable when it answers; the run that waits since.
    pub async fn retry(&self, task: &TaskId) -> Result<u32, SystemError> {
        let (world, task) = (self.world.clone(), task.clone());
        self.apart("a retry", async move {
            let run = change(&world, &task, Wish::Retry).await?;
            run.ok_or(SystemError::UnknownTask { task })
        })
        .await
    }

    /// Leaves a task that waits alone until it is retried.
    pub async fn park(&self, task: &TaskId, reason: &str) -> Result<(), SystemError> {
        let (world, task, reason) = (self.world.clone(), task.clone(), Arc::from(reason));
        self.apart("a parking", async move { change(&world, &task, Wish::Park(reason)).await.map(drop) }).await
    }

    /// Ends a task that waits; `false` = it does not wait.
    pub(crate) async fn cancel_waiting(&self, task: &TaskId, reason: &str) -> Result<bool, SystemError> {
        let (world, task, reason) = (self.world.clone(), task.clone(), Arc::from(reason));
        let cancelled = async move { change(&world, &task, Wish::Cancel(reason)).await };
        Ok(self.apart("a cancellation", cancelled).await?.is_some())
    }

    /// Tasks of the queue, in the order of their ids.
    pub async fn queued(&self, filter: &Filter) -> Result<Vec<Row>, SystemError> {
        Ok(self.world.ports.queue.list(filter).await?)
    }

    /// How many tasks of the queue stand where.
    pub async fn queue_counts(&self) -> Result<Counts, SystemError> {
        Ok(self.world.ports.queue.counts().await?)
    }
}

/// What is to become of a task.
enum Wish {
    Cancel(Arc<str>),
    Park(Arc<str>),
    Retry,
}

/// What the queue is told once the journal has it.
enum News {
    Asked { run: u32, request: Request },
    Queued { entry: Arc<Entry>, ended: BTreeMap<TaskId, QueueState> },
}

/// Looks, decides and writes, again when somebody else wrote first. The run that was meant; `None` = nothing was to be
/// done.
async fn change(world: &World, task: &TaskId, wish: Wish) -> Result<Option<u32>, SystemError> {
    // What is written first is told first.
    let _claim = world.registry.claimed(task).await;
    for _ in 0..MOST_TRIES {
        let Some(row) = world.ports.journal.task(task).await? else { return gone(world, task, &wish).await };
        let Some((events, news)) = decide(world, &row, &wish).await? else { return Ok(None) };
        world.check_open()?;
        match write(world, &row, events).await {
            Ok(()) => return Ok(Some(tell(world, task, news).await)),
            Err(JournalError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(SystemError::Unavailable(format!("task {task} is just changed elsewhere; try again").into()))
}

/// Nothing is left of it but perhaps its tombstone.
async fn gone(world: &World, task: &TaskId, wish: &Wish) -> Result<Option<u32>, SystemError> {
    match (wish, world.ports.journal.tombstone(task).await?) {
        (Wish::Cancel(_), _) => Ok(None),
        (_, None) => Err(SystemError::UnknownTask { task: task.clone() }),
        (_, Some(_)) => Err(SystemError::WrongState(format!("task {task} ended long ago and was pruned").into())),
    }
}

type Decided = Option<(Vec<Event>, News)>;

async fn decide(world: &World, row: &TaskRow, wish: &Wish) -> Result<Decided, SystemError> {
    let (task, run) = (&row.task, row.run);
    let asked = |event, request| Ok(Some((vec![event], News::Asked { run, request })));
    match (wish, row.status, row.queue) {
        (Wish::Cancel(reason), ..) if waits(row) || is_dispatched(row) => {
            asked(Event::TaskCancelled { run, reason: reason.clone() }, Request::Cancel)
        }
        (Wish::Cancel(_), ..) => Ok(None),
        (Wish::Park(_), TaskStatus::Open, Some(QueueState::Parked)) => Ok(None),
        (Wish::Park(reason), ..) if waits(row) => {
            asked(Event::TaskParked { run, reason: reason.clone() }, Request::Park)
        }
        (Wish::Park(_), ..) => Err(SystemError::WrongState(format!("task {task} does not wait in the queue").into())),
        (Wish::Retry, TaskStatus::Failed | TaskStatus::Cancelled | TaskStatus::Skipped, _) => {
            next_run(world, row).await.map(Some)
        }
        (Wish::Retry, TaskStatus::Open, Some(QueueState::Parked)) => {
            let before = told(&*world.ports.journal, task).await?.entry.ok_or_else(|| wrong_state(row))?;
            world.council(&before.role)?;
            let (entry, _) = with_open_needs(world, &before).await?;
            asked(Event::TaskQueued(Arc::new(entry)), Request::Release)
        }
        (Wish::Retry, ..) => Err(wrong_state(row)),
    }
}

/// The queue hears of it, and what follows for other tasks is written.
async fn tell(world: &World, task: &TaskId, news: News) -> u32 {
    let run = match news {
        News::Asked { run, request } => {
            if world.registry.underway.remove(task).is_some() {
                look_at(world, task);
            }
            match ask(world, task, run, request).await {
                Ok(consequences) => settle::record(world, consequences).await,
                Err(error) => {
                    world.leases.could_not_tell();
                    tracing::warn!(%task, %error, "the queue could not be told; it is told again, at the next start at the latest");
                }
            }
            run
        }
        News::Queued { entry, mut ended } => {
            tell::tell(world, tell::News::Enqueued(vec![Entry::clone(&entry)]), &mut ended, tell::UNTIL_TOLD).await;
            entry.run
        }
    };
    world.registry.wake_dispatcher();
    run
}

/// Where others share the queue, the end of a run that was cancelled is kept there for all.
async fn ask(world: &World, task: &TaskId, run: u32, request: Request) -> Result<Vec<Consequence>, QueueError> {
    let ended = match (&world.ports.shared, &request) {
        (Some(shared), Request::Cancel) => cancelled(world, task, run).await.map(|kept| (shared, kept)),
        _ => None,
    };
    match ended {
        Some((shared, kept)) => shared.end(&RunId { task: task.clone(), run }, kept).await,
        None => world.ports.queue.request(task, request).await,
    }
}

async fn cancelled(world: &World, task: &TaskId, run: u32) -> Option<Ending> {
    let row = world.ports.journal.task(task).await.ok()??;
    let row = Some(row).filter(|row| row.run == run)?;
    ending::of_row(world, &row).await.ok()?.as_ref().and_then(ending::kept)
}

fn wrong_state(row: &TaskRow) -> SystemError {
    let task = &row.task;
    let text = match (row.status, row.queue) {
        (TaskStatus::Completed, _) => format!("task {task} has completed; give what is to be done anew another id"),
        (_, Some(QueueState::Blocked)) => format!("task {task} is BLOCKED: retry what it needs"),
        (_, Some(state)) => {
            format!("task {task} is {state}; a FAILED, CANCELLED, SKIPPED or PARKED one can be retried")
        }
        (_, None) => format!("task {task} runs; it can be retried once it has failed or was cancelled"),
    };
    SystemError::WrongState(text.into())
}

/// Waits for what has not completed of that which the task needed before.
async fn next_run(world: &World, row: &TaskRow) -> Result<(Vec<Event>, News), SystemError> {
    let before = told(&*world.ports.journal, &row.task).await?;
    let run = row.run + 1;
    let entry = match (before.entry, before.spec) {
        (Some(entry), _) => Entry { run, not_before: None, ..Entry::clone(&entry) },
        (None, Some(spec)) => plain_entry(row, &spec),
        (None, None) => return Err(SystemError::UnknownTask { task: row.task.clone() }),
    };
    world.council(&entry.role)?;
    let (mut entry, ended) = with_open_needs(world, &entry).await?;
    entry.enqueued_at = world.ports.clock.now();
    if let Some((need, state)) = ended.first_key_value().filter(|_| entry.on_failure == OnDependencyFailure::Skip) {
        let text = format!("task {} would be skipped again: it needs {need}, which is {state}; retry that", row.task);
        return Err(SystemError::WrongState(text.into()));
    }
    let entry = Arc::new(entry);
    let events = vec![Event::TaskRetried { run }, Event::TaskQueued(entry.clone())];
    Ok((events, News::Queued { entry, ended }))
}

/// Without the needs that have completed; how those ended that did not.
async fn with_open_needs(world: &World, entry: &Entry) -> Result<(Entry, BTreeMap<TaskId, QueueState>), SystemError> {
    let (mut needs, mut ended) = (Vec::new(), BTreeMap::new());
    for need in &entry.needs {
        match find(world, need).await?.as_ref().map(came_to) {
            Some(Some(QueueState::Completed)) => continue,
            Some(Some(state)) => drop(ended.insert(need.clone(), state)),
            Some(None) | None => {}
        }
        needs.push(need.clone());
    }
    Ok((Entry { needs, ..entry.clone() }, ended))
}

/// Of a task that came to its council directly.
fn plain_entry(row: &TaskRow, spec: &TaskSpec) -> Entry {
    Entry {
        task: row.task.clone(),
        run: row.run + 1,
        role: spec.role.clone(),
        story: spec.story_id().map(Into::into),
        plan: spec.plan_id().map(Into::into),
        priority: Priority::MEDIUM,
        enqueued_at: row.accepted_at,
        not_before: None,
        needs: Vec::new(),
        on_failure: OnDependencyFailure::Block,
        hold: None,
        parked: false,
    }
}
