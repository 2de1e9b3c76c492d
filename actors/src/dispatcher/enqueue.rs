//! The way into the queue: all of a plan's tasks or none, durable when it returns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Message, settle};
use crate::System;
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{StreamId, TaskId};
use crate::domain::problem::Problems;
use crate::domain::queue::{Entry, OnDependencyFailure, Priority, QueueState};
use crate::domain::task::TaskSpec;
use crate::error::SystemError;
use crate::ports::queue::QueueError;
use crate::ports::{Append, Batch, JournalError, TaskRow, TaskStatus};
use crate::queue::in_a_circle;
use crate::world::World;

/// How often somebody else may come first with one of the ids.
const MOST_TRIES: usize = 8;

/// A task that is to wait for its turn.
#[derive(Clone, Debug)]
pub struct NewTask {
    pub task: TaskId,
    pub spec: TaskSpec,
    pub priority: Priority,
    /// Tasks of the same call, or of the queue before.
    pub needs: Vec<TaskId>,
    pub on_failure: OnDependencyFailure,
    /// The phase that its story has to reach first.
    pub hold: Option<Arc<str>>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    pub task: TaskId,
    /// `false` = it was there before, with the same content.
    pub new: bool,
}

/// Tasks as they are to be written.
struct Prepared {
    all: Vec<Enqueued>,
    new: Vec<(NewTask, Entry)>,
    /// How needed tasks ended that the queue need not know.
    ended: BTreeMap<TaskId, QueueState>,
}

impl System {
    /// Puts tasks into the queue. Those that are there already with the same content are left as they are.
    pub async fn enqueue(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>, SystemError> {
        let world = self.world.clone();
        let presence = self.world.census.enter();
        let enqueuing = Handle::current().spawn(async move {
            let _presence = presence;
            enqueue(&world, tasks).await
        });
        enqueuing.await.unwrap_or_else(|error| {
            let id = format!("{:016x}", self.world.ports.ids.random());
            tracing::error!(error_id = id, %error, "an enqueuing broke down");
            Err(SystemError::Internal { id: id.into() })
        })
    }
}

async fn enqueue(world: &Arc<World>, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>, SystemError> {
    world.check_open()?;
    for _ in 0..MOST_TRIES {
        let prepared = prepare(world, tasks.clone()).await?;
        if prepared.new.is_empty() {
            return Ok(prepared.all);
        }
        check_room(world, prepared.new.len()).await?;
        match world.ports.journal.commit(batch(world, &prepared.new)).await {
            Ok(_) => {
                let entries = prepared.new.into_iter().map(|(_, entry)| entry).collect();
                tell_queue(world, entries, prepared.ended).await;
                world.registry.wake_dispatcher();
                return Ok(prepared.all);
            }
            Err(JournalError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(SystemError::Unavailable("the same tasks are just submitted elsewhere; try again".into()))
}

/// Which of them are new, and what those wait for. All problems at once.
async fn prepare(world: &World, tasks: Vec<NewTask>) -> Result<Prepared, SystemError> {
    let together: BTreeSet<TaskId> = tasks.iter().map(|new| new.task.clone()).collect();
    let (mut all, mut new, mut ended) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut problems = Problems::default();
    for task in tasks {
        let known = find(world, &task.task).await?;
        if let Some(row) = known {
            if *row.content_hash != *task.spec.content_hash() {
                problems.push(task.task.as_str(), "exists with other content");
            }
            all.push(Enqueued { task: task.task, new: false });
            continue;
        }
        for need in task.needs.iter().filter(|need| !together.contains(*need)) {
            match find(world, need).await?.map(|row| came_to(&row)) {
                Some(Some(state)) => drop(ended.insert(need.clone(), state)),
                // The queue knows it, or is told that nobody does.
                Some(None) => {}
                None => problems.push(task.task.as_str(), format!("needs {need}, which does not exist")),
            }
        }
        let entry = entry(world, &task, &ended);
        all.push(Enqueued { task: task.task.clone(), new: true });
        new.push((task, entry));
    }
    let entries: BTreeMap<&TaskId, &Entry> = new.iter().map(|(task, entry)| (&task.task, entry)).collect();
    for task in in_a_circle(&entries) {
        problems.push(task.as_str(), "waits for itself through what it needs");
    }
    if problems.0.is_empty() { Ok(Prepared { all, new, ended }) } else { Err(SystemError::Invalid(problems)) }
}

async fn find(world: &World, task: &TaskId) -> Result<Option<TaskRow>, SystemError> {
    let journal = &world.ports.journal;
    match journal.task(task).await? {
        Some(row) => Ok(Some(row)),
        None => Ok(journal.tombstone(task).await?),
    }
}

/// How a task ended; `None` = it is open.
pub(super) fn came_to(row: &TaskRow) -> Option<QueueState> {
    match row.status {
        TaskStatus::Open => None,
        TaskStatus::Completed => Some(QueueState::Completed),
        TaskStatus::Failed => Some(QueueState::Failed),
        TaskStatus::Cancelled => Some(QueueState::Cancelled),
        TaskStatus::Skipped => Some(QueueState::Skipped),
    }
}

fn entry(world: &World, new: &NewTask, ended: &BTreeMap<TaskId, QueueState>) -> Entry {
    let of_metadata = |key| new.spec.metadata.get(key).map(|text| Arc::from(text.as_str()));
    let is_open = |need: &&TaskId| ended.get(*need) != Some(&QueueState::Completed);
    Entry {
        task: new.task.clone(),
        run: 1,
        role: new.spec.role.clone(),
        story: of_metadata("story_id"),
        plan: of_metadata("plan_id"),
        priority: new.priority,
        enqueued_at: world.ports.clock.now(),
        not_before: None,
        needs: new.needs.iter().filter(is_open).cloned().collect(),
        on_failure: new.on_failure,
        hold: new.hold.clone(),
    }
}

async fn check_room(world: &World, more: usize) -> Result<(), SystemError> {
    let most = world.settings.queue.most;
    let counts = world.ports.queue.counts().await?;
    let waiting: usize = counts.iter().filter(|((_, state), _)| !state.is_over()).map(|(_, count)| count).sum();
    if waiting + more <= most {
        return Ok(());
    }
    let what = format!("the queue holds {waiting} of {most} tasks, and {more} more do not fit").into();
    Err(SystemError::Busy { what, retry_after: world.settings.queue.retry_min })
}

fn batch(world: &World, new: &[(NewTask, Entry)]) -> Batch {
    let at = world.ports.clock.now();
    let append = |(new, entry): &(NewTask, Entry)| {
        let correlation = Some(Arc::from(new.task.as_str()));
        let (spec, accepted) = (Arc::new(new.spec.clone()), world.ports.ids.event_id());
        let (task, content_hash) = (new.task.clone(), spec.content_hash().into());
        let first = Event::TaskAccepted { task, content_hash, keyed: true, spec };
        let second = Event::TaskQueued(Arc::new(entry.clone()));
        let id = world.ports.ids.event_id();
        let events = vec![
            NewEvent { id: accepted, at, correlation: correlation.clone(), causation: None, event: first },
            NewEvent { id, at, correlation, causation: Some(accepted), event: second },
        ];
        Append { stream: StreamId::task(&new.task), expected_version: 0, events }
    };
    Batch { appends: new.iter().map(append).collect() }
}

/// Tells the queue what the journal has. A need that ended in between is looked up again; what cannot be told now is told
/// at the next start.
async fn tell_queue(world: &Arc<World>, entries: Vec<Entry>, mut ended: BTreeMap<TaskId, QueueState>) {
    for _ in 0..MOST_TRIES {
        match world.ports.queue.enqueue(entries.clone(), ended.clone()).await {
            Ok(consequences) => return settle::record(world, consequences).await,
            Err(QueueError::UnknownNeeds(needs)) => {
                for need in needs {
                    let state = find(world, &need).await.ok().flatten().as_ref().and_then(came_to);
                    ended.extend(state.map(|state| (need, state)));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the queue could not be told of new tasks; it is filled again later");
                break;
            }
        }
    }
    world.registry.tell_dispatcher(Message::Wake);
}
