//! Stories reach phases; tasks that were held back until then wait for them no longer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::stream::{MOST_TRIES, append, told, waits};
use crate::System;
use crate::domain::event::{Event, NewEvent, Recorded};
use crate::domain::id::{StreamId, TaskId};
use crate::domain::message::Cause;
use crate::domain::queue::{Entry, QueueState};
use crate::domain::receipt::Receipt;
use crate::error::SystemError;
use crate::exchange::note;
use crate::ports::queue::{Filter, Row};
use crate::ports::{AT_THE_END, Append, Batch, JournalError, commit_patiently, whole_stream};
use crate::world::World;

/// Tasks looked at at once.
const PAGE: usize = 1_024;

/// A story that reaches a phase.
#[derive(Clone, Debug, Default)]
pub struct StoryMove {
    pub story: Arc<str>,
    pub from: Option<Arc<str>>,
    pub to: Arc<str>,
    pub cause: Cause,
    /// Of the message that says so; `None` = a call does.
    pub receipt: Option<Receipt>,
}

impl System {
    /// A story has moved: the tasks that waited for this phase, by id. Durable when it answers; again it changes nothing.
    pub async fn move_story(&self, moves: StoryMove) -> Result<Vec<TaskId>, SystemError> {
        let world = self.world.clone();
        self.apart("a story's move", async move { move_story(&world, moves).await }).await
    }

    /// Something is known of a story that its later tasks are told. Durable when it answers.
    pub async fn note_of_story(&self, story: &str, note: StoryNote, receipt: Receipt) -> Result<(), SystemError> {
        let append = said(&self.world, &StreamId::story(story), AT_THE_END, Some(story.into()), note.into());
        let batch = Batch { receipt: Some(receipt), ..Batch::of(vec![append]) };
        commit_patiently(&*self.world.ports.journal, batch).await?;
        Ok(())
    }
}

/// What others tell of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoryNote {
    Decision { id: Arc<str>, kind: Option<Arc<str>> },
    Milestone { id: Arc<str>, name: Arc<str> },
}

impl From<StoryNote> for Event {
    fn from(note: StoryNote) -> Self {
        match note {
            StoryNote::Decision { id, kind } => Self::DecisionAdded { decision: id, kind },
            StoryNote::Milestone { id, name } => Self::MilestoneReached { milestone: id, name },
        }
    }
}

fn said(world: &World, stream: &StreamId, version: u64, correlation: Option<Arc<str>>, event: Event) -> Append {
    let (id, at) = (world.ports.ids.event_id(), world.ports.clock.now());
    let new = NewEvent { id, at, correlation, causation: None, event };
    Append { stream: stream.clone(), expected_version: version, events: [new].into() }
}

fn busy(story: &str) -> SystemError {
    SystemError::Unavailable(format!("story {story} is just moved elsewhere; try again").into())
}

/// Phases that a story has reached.
pub(super) async fn phases(world: &World, story: &str) -> Result<BTreeSet<Arc<str>>, JournalError> {
    let moves = whole_stream(&*world.ports.journal, &StreamId::story(story)).await?;
    let reached = moves.into_iter().filter_map(|recorded| match recorded.event.event {
        Event::StoryMoved { to, .. } => Some(to),
        _ => None,
    });
    Ok(reached.collect())
}

/// A story may have moved just when a task came: then the task's entry still says that it has to wait.
pub(super) async fn let_go(world: &World, entries: &mut [Entry]) -> Result<(), JournalError> {
    let mut reached: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
    for entry in entries {
        let (Some(hold), Some(story)) = (&entry.hold, &entry.story) else { continue };
        if !reached.contains_key(story) {
            reached.insert(story.clone(), phases(world, story).await?);
        }
        if reached[story].contains(hold) {
            entry.hold = None;
        }
    }
    Ok(())
}

async fn move_story(world: &World, moves: StoryMove) -> Result<Vec<TaskId>, SystemError> {
    world.check_open()?;
    let StoryMove { story, from, to, cause, receipt } = moves;
    let stream = StreamId::story(&story);
    for _ in 0..MOST_TRIES {
        let (moved, mut appends): (Vec<TaskId>, Vec<Append>) = held_back(world, &story, &to).await?.into_iter().unzip();
        let before = whole_stream(&*world.ports.journal, &stream).await?;
        if moved.is_empty() && is_there(&before, from.as_deref(), &to) {
            note(world, receipt).await?;
            return Ok(moved);
        }
        let correlation = cause.correlation_id.clone().or_else(|| Some(story.clone()));
        let event = Event::StoryMoved { from: from.clone(), to: to.clone(), cause: cause.clone() };
        appends.push(said(world, &stream, before.len() as u64, correlation, event));
        let batch = Batch { receipt: receipt.clone(), ..Batch::of(appends) };
        match commit_patiently(&*world.ports.journal, batch).await {
            Ok(_) => {}
            Err(JournalError::Conflict { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
        if let Err(error) = world.ports.queue.open_phase(&story, &to).await {
            world.leases.could_not_tell();
            tracing::warn!(%story, %error, "the queue does not know that a story has moved; it is told again");
        }
        world.registry.wake_dispatcher();
        return Ok(moved);
    }
    Err(busy(&story))
}

/// Whether its last move was the same.
fn is_there(events: &[Recorded], from: Option<&str>, to: &str) -> bool {
    let moves = events.iter().rev().find_map(|recorded| match &recorded.event.event {
        Event::StoryMoved { from, to, .. } => Some((from.as_deref(), &**to)),
        _ => None,
    });
    moves == Some((from, to))
}

/// Its tasks that wait for the phase, each without it.
async fn held_back(world: &World, story: &Arc<str>, phase: &Arc<str>) -> Result<Vec<(TaskId, Append)>, SystemError> {
    let (mut appends, mut after) = (Vec::new(), None);
    loop {
        let filter = Filter {
            state: Some(QueueState::Blocked),
            story: Some(story.clone()),
            after,
            limit: PAGE,
            ..Filter::default()
        };
        let rows = world.ports.queue.list(&filter).await?;
        after = rows.last().map(|row| row.entry.task.clone());
        let is_last = rows.len() < PAGE;
        for row in rows.iter().filter(|row| row.entry.hold.as_ref() == Some(phase)) {
            appends.extend(let_in(world, row).await?);
        }
        if is_last {
            return Ok(appends);
        }
    }
}

async fn let_in(world: &World, row: &Row) -> Result<Option<(TaskId, Append)>, SystemError> {
    let task = &row.entry.task;
    let Some(stands) = world.ports.journal.task(task).await?.filter(waits) else { return Ok(None) };
    let Some(before) = told(&*world.ports.journal, task).await?.entry else { return Ok(None) };
    let entry = Entry { hold: None, ..Entry::clone(&before) };
    Ok(Some((task.clone(), append(world, task, stands.version, vec![Event::TaskQueued(Arc::new(entry))]))))
}
