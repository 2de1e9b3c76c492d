//! What a claim brought, as the journal knows it: its own, a later run of its own, or a task that another daemon took in.

use std::sync::Arc;

use super::begin::needs_more;
use super::ending;
use super::shared::bare;
use super::stream::{Told, told};
use crate::domain::event::{Event, Plan};
use crate::domain::id::{RunId, StreamId};
use crate::domain::queue::{Entry, QueueState};
use crate::domain::task::TaskSpec;
use crate::error::SystemError;
use crate::ports::queue::Claimed;
use crate::ports::shared::{Origin, SharedQueue};
use crate::ports::{TaskRow, TaskStatus};
use crate::world::World;

/// A claimed task that may begin.
pub(super) struct Found {
    /// As it stands in the journal now; of one that is not there, as it will.
    pub(super) row: TaskRow,
    /// What is written before its claim is.
    pub(super) events: Vec<Event>,
    pub(super) spec: Arc<TaskSpec>,
    /// It had begun here before: it goes on where it was.
    pub(super) resumes: Option<Arc<Plan>>,
}

/// In a queue of one's own: only what waits in the journal begins.
pub(super) async fn own(world: &World, claimed: &Claimed) -> Result<Found, SystemError> {
    let (lease, journal) = (&claimed.lease, &*world.ports.journal);
    let waits = |row: &TaskRow| row.run == lease.run && row.queue.is_some_and(QueueState::waits);
    let (row, told) = tokio::try_join!(journal.task(&lease.task), told(journal, &lease.task))?;
    let (row, Told { spec, entry, .. }) = (row.filter(waits), told);
    let spec = spec.filter(|spec| spec.role == claimed.entry.role);
    let (Some(row), Some(spec)) = (row, spec) else { return Err(waits_no_more(claimed)) };
    if entry.as_ref().is_some_and(|entry| needs_more(entry, &claimed.entry)) {
        return Err(SystemError::WrongState(format!("task {} has to wait for more by now", row.task).into()));
    }
    Ok(Found { row, events: held_back(entry), spec, resumes: None })
}

/// Its story moved just when it came: the queue knew, the journal hears of it here.
fn held_back(entry: Option<Arc<Entry>>) -> Vec<Event> {
    let entry = entry.filter(|entry| entry.hold.is_some());
    let let_go = entry.map(|entry| Event::TaskQueued(Arc::new(Entry { hold: None, ..Entry::clone(&entry) })));
    let_go.into_iter().collect()
}

fn waits_no_more(claimed: &Claimed) -> SystemError {
    SystemError::WrongState(format!("task {} does not wait any more", claimed.lease.task).into())
}

/// In a queue that others share.
pub(super) async fn shared(
    world: &World,
    queue: &Arc<dyn SharedQueue>,
    claimed: &Claimed,
) -> Result<Found, SystemError> {
    let journal = &*world.ports.journal;
    let origin = queue.origin(&claimed.lease.task).await?;
    match journal.task(&claimed.lease.task).await? {
        None => unheard_of(world, claimed, origin).await,
        Some(row) if row.run < claimed.lease.run => later_run(world, claimed, origin, row).await,
        Some(row) if row.run == claimed.lease.run && row.status == TaskStatus::Open => {
            known(world, claimed, origin, row).await
        }
        Some(_) => Err(waits_no_more(claimed)),
    }
}

/// Who had it, as the event says.
fn from(origin: &Origin) -> Arc<str> {
    origin.lost_by.clone().unwrap_or_else(|| origin.journal.clone())
}

fn taken_over(run: u32, origin: &Origin) -> Event {
    Event::TaskTakenOver { run, from: from(origin) }
}

fn read(claimed: &Claimed, origin: &Origin) -> Result<Arc<TaskSpec>, SystemError> {
    let spec: Option<TaskSpec> = serde_json::from_str(&origin.text).ok();
    let spec = spec.filter(|spec| spec.role == claimed.entry.role);
    spec.map(Arc::new).ok_or_else(|| {
        let text = format!("what task {} is about cannot be read from the queue", claimed.lease.task);
        SystemError::WrongState(text.into())
    })
}

/// Another daemon took it in: from here on it stands in this journal too.
async fn unheard_of(world: &World, claimed: &Claimed, origin: Option<Origin>) -> Result<Found, SystemError> {
    let (task, run) = (&claimed.lease.task, claimed.lease.run);
    if world.ports.journal.tombstone(task).await?.is_some() {
        return Err(waits_no_more(claimed));
    }
    let Some(origin) = origin else { return Err(SystemError::UnknownTask { task: task.clone() }) };
    let spec = read(claimed, &origin)?;
    let hash: Arc<str> = spec.content_hash().into();
    let accepted =
        Event::TaskAccepted { task: task.clone(), content_hash: hash.clone(), keyed: true, spec: spec.clone() };
    let retried = (run > 1).then_some(Event::TaskRetried { run });
    let queued = Event::TaskQueued(Arc::new(bare(&claimed.entry, run)));
    let events = [accepted].into_iter().chain(retried).chain([taken_over(run, &origin), queued]).collect();
    let accepted = TaskRow::accepted(task, &spec, &hash, true, world.ports.clock.now());
    Ok(Found { row: TaskRow { run, version: 0, ..accepted }, events, spec, resumes: None })
}

/// It was tried again elsewhere.
async fn later_run(
    world: &World,
    claimed: &Claimed,
    origin: Option<Origin>,
    row: TaskRow,
) -> Result<Found, SystemError> {
    let run = claimed.lease.run;
    let known = told(&*world.ports.journal, &row.task).await?.spec;
    let spec = origin.as_ref().map(|origin| read(claimed, origin)).transpose()?.or_else(|| known.clone());
    let Some(spec) = spec else { return Err(waits_no_more(claimed)) };
    let content_hash: Arc<str> = spec.content_hash().into();
    let is_new = content_hash != row.content_hash;
    let amended = is_new.then(|| Event::TaskAmended { content_hash: content_hash.clone(), spec: spec.clone() });
    let events = amended.into_iter().chain([Event::TaskRetried { run }]);
    let events = events.chain(origin.as_ref().map(|origin| taken_over(run, origin)));
    let events = events.chain([Event::TaskQueued(Arc::new(bare(&claimed.entry, run)))]).collect();
    let row = TaskRow { run, content_hash, status: TaskStatus::Open, error: None, ended_at: None, ..row };
    Ok(Found { row, events, spec, resumes: None })
}

/// It waits here, or had begun here before somebody else had it.
async fn known(world: &World, claimed: &Claimed, origin: Option<Origin>, row: TaskRow) -> Result<Found, SystemError> {
    let journal = &*world.ports.journal;
    if !row.queue.is_some_and(|state| state.waits() || state == QueueState::InProgress) {
        return Err(waits_no_more(claimed));
    }
    let Told { spec, entry, .. } = told(journal, &row.task).await?;
    let Some(spec) = spec.filter(|spec| spec.role == claimed.entry.role) else { return Err(waits_no_more(claimed)) };
    let lost = origin.filter(|origin| origin.lost_by.as_ref().is_some_and(|by| *by != world.settings.queue.holder));
    let mut events = held_back(entry);
    events.extend(lost.as_ref().map(|origin| taken_over(row.run, origin)));
    let run = RunId { task: row.task.clone(), run: row.run };
    if ending::at_work(world, &run).is_some() {
        // The queue forgot that it is, or heard of it late.
        return Err(waits_no_more(claimed));
    }
    let first = journal.stream(&StreamId::deliberation(&run), 0, 1).await?;
    let resumes = first.into_iter().find_map(|recorded| match recorded.event.event {
        Event::DeliberationStarted(plan) => Some(plan),
        _ => None,
    });
    Ok(Found { row, events, spec, resumes })
}
