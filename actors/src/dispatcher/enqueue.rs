//! The way into the queue: all of a plan's tasks or none, durable when it returns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::shared::is_away;
use super::stream::{MOST_TRIES, Told, append, came_to, find, told, waits};
use super::tell::{News, UNTIL_TOLD, tell};
use super::{Message, story};
use crate::System;
use crate::domain::event::Event;
use crate::domain::id::{TaskId, Timestamp};
use crate::domain::plan::Change;
use crate::domain::problem::Problems;
use crate::domain::queue::{Entry, OnDependencyFailure, Priority, QueueState};
use crate::domain::receipt::Receipt;
use crate::domain::task::TaskSpec;
use crate::error::SystemError;
use crate::ports::queue::QueueError;
use crate::ports::{Append, Batch, JournalError, TaskRow, TaskStatus};
use crate::queue::in_a_circle;
use crate::world::{Claim, World};

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
    /// Why it is to be left alone until it is retried.
    pub parked: Option<Arc<str>>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    pub task: TaskId,
    pub change: Change,
}

/// What to do with a task that is there with other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnOther {
    Refuse,
    /// Bring it up to date while it waits, leave it once it has begun.
    Amend,
}

/// Tasks as they are to be written.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) all: Vec<Enqueued>,
    new: Vec<(NewTask, Entry)>,
    amended: Vec<(NewTask, Entry, TaskRow)>,
    /// How needed tasks ended that the queue need not know.
    ended: BTreeMap<TaskId, QueueState>,
}

impl System {
    /// Puts tasks into the queue. Those that are there already with the same content are left as they are.
    pub async fn enqueue(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>, SystemError> {
        let world = self.world.clone();
        self.apart("an enqueuing", async move { enqueue(&world, tasks).await }).await
    }
}

/// What is written first is told first. All in one order, so that two calls do not wait for each other.
pub(super) async fn claims<'w>(world: &'w World, tasks: &[NewTask]) -> Vec<Claim<'w>> {
    let tasks: BTreeSet<&TaskId> = tasks.iter().map(|new| &new.task).collect();
    let mut claims = Vec::with_capacity(tasks.len());
    for task in tasks {
        claims.push(world.registry.claimed(task).await);
    }
    claims
}

async fn enqueue(world: &Arc<World>, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>, SystemError> {
    world.check_open()?;
    let _claims = claims(world, &tasks).await;
    for _ in 0..MOST_TRIES {
        let prepared = prepare(world, tasks.clone(), OnOther::Refuse).await?;
        if prepared.new.is_empty() {
            return Ok(prepared.all);
        }
        match write(world, &prepared, Vec::new(), None).await {
            Ok(()) => return Ok(tell_queue(world, prepared).await),
            Err(JournalError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(SystemError::Unavailable("the same tasks are just submitted elsewhere; try again".into()))
}

/// What the journal says of tasks and stories, each asked for once in a call.
struct Asked<'w> {
    world: &'w World,
    rows: BTreeMap<TaskId, Option<TaskRow>>,
    phases: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl<'w> Asked<'w> {
    /// All that these tasks and their needs are known for, by one question.
    async fn about(world: &'w World, tasks: &[NewTask]) -> Result<Self, JournalError> {
        let ids: BTreeSet<&TaskId> = tasks.iter().flat_map(|new| new.needs.iter().chain([&new.task])).collect();
        let ids: Vec<TaskId> = ids.into_iter().cloned().collect();
        let found = world.ports.journal.find(&ids).await?;
        let mut rows: BTreeMap<_, _> = ids.into_iter().map(|task| (task, None)).collect();
        rows.extend(found.into_iter().map(|row| (row.task.clone(), Some(row))));
        Ok(Self { world, rows, phases: BTreeMap::new() })
    }

    async fn row(&mut self, task: &TaskId) -> Result<Option<&TaskRow>, JournalError> {
        if !self.rows.contains_key(task) {
            self.rows.insert(task.clone(), find(self.world, task).await?);
        }
        Ok(self.rows.get(task).and_then(Option::as_ref))
    }

    /// The phase that a task still has to wait for.
    async fn hold(&mut self, new: &NewTask) -> Result<Option<Arc<str>>, JournalError> {
        let (Some(hold), Some(story)) = (&new.hold, new.spec.story_id()) else { return Ok(None) };
        if !self.phases.contains_key(story) {
            self.phases.insert(story.into(), story::phases(self.world, story).await?);
        }
        let has_come = self.phases.get(story).is_some_and(|phases| phases.contains(hold));
        Ok((!has_come).then(|| hold.clone()))
    }

    /// Those that have not completed.
    async fn open(&mut self, needs: &[TaskId]) -> Result<BTreeSet<TaskId>, JournalError> {
        let mut open = BTreeSet::new();
        for need in needs {
            let completed = self.row(need).await?.is_some_and(|row| row.status == TaskStatus::Completed);
            open.extend((!completed).then(|| need.clone()));
        }
        Ok(open)
    }
}

/// Which of them are new, and what those wait for. All problems at once.
pub(super) async fn prepare(world: &World, tasks: Vec<NewTask>, on_other: OnOther) -> Result<Prepared, SystemError> {
    let mut asked = Asked::about(world, &tasks).await?;
    let mut problems = Problems::default();
    let mut together = BTreeSet::new();
    for new in tasks.iter().filter(|new| !together.insert(new.task.clone())) {
        problems.push(new.task.as_str(), "is there twice");
    }
    let (mut prepared, mut other) = (Prepared::default(), None);
    for new in tasks {
        let row = asked.row(&new.task).await?.cloned();
        let change = match &row {
            None => Change::Added,
            Some(row) if on_other == OnOther::Refuse && *row.content_hash != *new.spec.content_hash() => {
                problems.push(new.task.as_str(), "exists with other content");
                other = Some(new.task);
                continue;
            }
            Some(_) if on_other == OnOther::Refuse => Change::Unchanged,
            Some(row) => change(&mut asked, row, &new).await?,
        };
        prepared.all.push(Enqueued { task: new.task.clone(), change });
        if matches!(change, Change::Added | Change::Updated) {
            prepared.look_up(&mut asked, &new, &together, &mut problems).await?;
            prepared.add(&mut asked, new, row).await?;
        }
    }
    for task in prepared.circles(&mut asked).await? {
        problems.push(task.as_str(), "waits for itself through what it needs");
    }
    match (problems.0.len(), other) {
        (0, _) => {}
        (1, Some(task)) => return Err(SystemError::OtherContent { task }),
        _ => return Err(SystemError::Invalid(problems)),
    }
    check_room(world, prepared.new.len()).await?;
    Ok(prepared)
}

/// What a plan that was approved anew does to a task.
async fn change(asked: &mut Asked<'_>, row: &TaskRow, new: &NewTask) -> Result<Change, SystemError> {
    let same_content = *row.content_hash == *new.spec.content_hash();
    let Told { spec, entry, .. } = told(&*asked.world.ports.journal, &row.task).await?;
    if spec.is_none_or(|spec| spec.plan_id() != new.spec.plan_id()) {
        // Another plan was faster with this id.
        return Err(SystemError::OtherContent { task: row.task.clone() });
    }
    if !waits(row) {
        return Ok(if same_content { Change::Unchanged } else { Change::Left });
    }
    let Some(before) = entry else { return Ok(Change::Left) };
    let same = same_content
        && before.priority == new.priority
        && before.on_failure == new.on_failure
        && before.hold == asked.hold(new).await?
        && asked.open(&before.needs).await? == asked.open(&new.needs).await?;
    Ok(if same { Change::Unchanged } else { Change::Updated })
}

impl Prepared {
    /// What became of the needs that do not come with it.
    async fn look_up(
        &mut self,
        asked: &mut Asked<'_>,
        new: &NewTask,
        together: &BTreeSet<TaskId>,
        problems: &mut Problems,
    ) -> Result<(), SystemError> {
        for need in &new.needs {
            match asked.row(need).await?.map(|row| (came_to(row), row.queue)) {
                Some((Some(state), _)) => drop(self.ended.insert(need.clone(), state)),
                Some((None, Some(_))) => {}
                Some((None, None)) => {
                    let rule = format!("needs {need}, which runs outside of the queue; wait until that has ended");
                    problems.push(new.task.as_str(), rule);
                }
                None if together.contains(need) => {}
                None => problems.push(new.task.as_str(), format!("needs {need}, which does not exist")),
            }
        }
        Ok(())
    }

    /// Those of the call that would wait for themselves. What is new can be needed by what is new alone; what is amended by
    /// whatever waits.
    async fn circles(&self, asked: &mut Asked<'_>) -> Result<Vec<TaskId>, JournalError> {
        let amended = self.amended.iter().map(|(_, entry, _)| entry);
        let own: BTreeMap<&TaskId, &Entry> =
            self.new.iter().map(|(_, entry)| entry).chain(amended).map(|entry| (&entry.task, entry)).collect();
        let mut others: BTreeMap<TaskId, Arc<Entry>> = BTreeMap::new();
        let mut needs: Vec<TaskId> = match self.amended.is_empty() {
            true => Vec::new(),
            false => own.values().flat_map(|entry| entry.needs.iter().cloned()).collect(),
        };
        while let Some(need) = needs.pop() {
            let is_known = own.contains_key(&need) || others.contains_key(&need);
            if is_known || !asked.row(&need).await?.is_some_and(waits) {
                continue;
            }
            if let Some(entry) = told(&*asked.world.ports.journal, &need).await?.entry {
                needs.extend(entry.needs.iter().cloned());
                others.insert(need, entry);
            }
        }
        let all = others.iter().map(|(task, entry)| (task, &**entry)).chain(own.clone()).collect();
        Ok(in_a_circle(&all).into_iter().filter(|task| own.contains_key(task)).collect())
    }

    async fn add(&mut self, asked: &mut Asked<'_>, new: NewTask, row: Option<TaskRow>) -> Result<(), SystemError> {
        let entry = Entry {
            task: new.task.clone(),
            run: row.as_ref().map_or(1, |row| row.run),
            role: new.spec.role.clone(),
            story: new.spec.story_id().map(Into::into),
            plan: new.spec.plan_id().map(Into::into),
            priority: new.priority,
            enqueued_at: row.as_ref().map_or_else(|| asked.world.ports.clock.now(), |row| row.accepted_at),
            not_before: None::<Timestamp>,
            needs: new.needs.iter().filter(|need| !self.has_completed(need)).cloned().collect(),
            on_failure: new.on_failure,
            hold: asked.hold(&new).await?,
            parked: new.parked.is_some(),
        };
        match row {
            Some(row) => self.amended.push((new, entry, row)),
            None => self.new.push((new, entry)),
        }
        Ok(())
    }

    fn has_completed(&self, need: &TaskId) -> bool {
        self.ended.get(need) == Some(&QueueState::Completed)
    }
}

async fn check_room(world: &World, more: usize) -> Result<(), SystemError> {
    let most = world.settings.queue.most;
    if is_away(world) {
        return Ok(());
    }
    let counts = match world.ports.queue.counts().await {
        // The journal takes it, and the queue when it can: it has a limit of its own.
        Err(QueueError::Unavailable { .. }) if world.ports.shared.is_some() => return Ok(()),
        counts => counts?,
    };
    let waiting: usize = counts.iter().filter(|((_, state), _)| !state.is_over()).map(|(_, count)| count).sum();
    if waiting + more <= most {
        return Ok(());
    }
    let what = format!("the queue holds {waiting} of {most} tasks, and {more} more do not fit").into();
    Err(SystemError::Busy { what, retry_after: world.settings.queue.retry_min })
}

/// All in one batch, and `more` with them.
pub(super) async fn write(
    world: &World,
    prepared: &Prepared,
    more: Vec<Append>,
    receipt: Option<Receipt>,
) -> Result<(), JournalError> {
    let mut appends = more;
    for (new, entry) in &prepared.new {
        let spec = Arc::new(new.spec.clone());
        let (task, content_hash) = (new.task.clone(), spec.content_hash().into());
        let accepted = Event::TaskAccepted { task, content_hash, keyed: true, spec };
        appends.push(append(world, &new.task, 0, beginning(accepted, new, entry)));
    }
    for (new, entry, row) in &prepared.amended {
        let spec = Arc::new(new.spec.clone());
        let amended = Event::TaskAmended { content_hash: spec.content_hash().into(), spec };
        appends.push(append(world, &new.task, row.version, beginning(amended, new, entry)));
    }
    world.ports.journal.commit(Batch { receipt, ..Batch::of(appends) }).await.map(drop)
}

fn beginning(first: Event, new: &NewTask, entry: &Entry) -> Vec<Event> {
    // That it is parked is an event of its own, which later ones can take back.
    let mut events = vec![first, Event::TaskQueued(Arc::new(Entry { parked: false, ..entry.clone() }))];
    events.extend(new.parked.clone().map(|reason| Event::TaskParked { run: entry.run, reason }));
    events
}

/// Tells the queue what the journal has.
pub(super) async fn tell_queue(world: &Arc<World>, prepared: Prepared) -> Vec<Enqueued> {
    let Prepared { all, new, amended, mut ended } = prepared;
    tell(world, News::Enqueued(new.into_iter().map(|(_, entry)| entry).collect()), &mut ended, UNTIL_TOLD).await;
    for (_, entry, _) in amended {
        tell(world, News::Amended(entry), &mut ended, UNTIL_TOLD).await;
    }
    world.registry.tell_dispatcher(Message::Wake);
    all
}
