//! Stories reach phases; tasks that were held back until then wait for them no longer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::enqueue::NewTask;
use super::stream::{MOST_TRIES, append, told, waits};
use crate::System;
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{StreamId, TaskId};
use crate::domain::queue::{Entry, QueueState};
use crate::error::SystemError;
use crate::ports::queue::{Filter, Row};
use crate::ports::{Append, Batch, JournalError, commit_patiently, whole_stream};
use crate::world::World;

/// Tasks looked at at once.
const PAGE: usize = 1_024;

impl System {
    /// A story has moved: the tasks that waited for this phase, by id. Durable when it answers; again it changes nothing.
    pub async fn move_story(&self, story: &str, from: Option<&str>, to: &str) -> Result<Vec<TaskId>, SystemError> {
        let (world, story) = (self.world.clone(), Arc::from(story));
        let (from, to) = (from.map(Arc::from), Arc::from(to));
        self.apart("a story's move", async move { move_story(&world, story, from, to).await }).await
    }
}

/// The phase that a task still has to wait for.
pub(super) async fn hold(world: &World, new: &NewTask) -> Result<Option<Arc<str>>, JournalError> {
    let (Some(hold), Some(story)) = (&new.hold, new.spec.story_id()) else { return Ok(None) };
    let has_come = phases(world, story).await?.contains(hold);
    Ok((!has_come).then(|| hold.clone()))
}

/// Phases that a story has reached.
async fn phases(world: &World, story: &str) -> Result<BTreeSet<Arc<str>>, JournalError> {
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

async fn move_story(
    world: &World,
    story: Arc<str>,
    from: Option<Arc<str>>,
    to: Arc<str>,
) -> Result<Vec<TaskId>, SystemError> {
    world.check_open()?;
    for _ in 0..MOST_TRIES {
        let (moved, mut appends): (Vec<TaskId>, Vec<Append>) = held_back(world, &story, &to).await?.into_iter().unzip();
        let stream = StreamId::story(&story);
        let moves = whole_stream(&*world.ports.journal, &stream).await?;
        let event = Event::StoryMoved { from: from.clone(), to: to.clone() };
        if moved.is_empty() && moves.last().is_some_and(|recorded| recorded.event.event == event) {
            return Ok(moved);
        }
        let (id, at) = (world.ports.ids.event_id(), world.ports.clock.now());
        let new = NewEvent { id, at, correlation: Some(story.clone()), causation: None, event };
        let expected_version = moves.last().map_or(0, |recorded| recorded.version);
        appends.push(Append { stream, expected_version, events: vec![new] });
        match commit_patiently(&*world.ports.journal, Batch { appends }).await {
            Ok(_) => {}
            Err(JournalError::Conflict { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
        if let Err(error) = world.ports.queue.open_phase(&story, &to).await {
            tracing::warn!(%story, %error, "the queue does not know that a story has moved; the next start tells it");
        }
        world.registry.wake_dispatcher();
        return Ok(moved);
    }
    Err(SystemError::Unavailable(format!("story {story} is just moved elsewhere; try again").into()))
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
