//! `StateAt`: finds the events of a task, a run or a council up to an earlier place, and tells what they come to.

use async_trait::async_trait;
use moothall_actors::domain::event::Recorded;
use moothall_actors::domain::id::{Role, RunId, StreamId, TaskId, Timestamp};
use moothall_actors::domain::problem::Problems;
use moothall_actors::past::{self, Place, RunThen, TaskThen};
use moothall_actors::ports::{JournalError, whole_stream};
use tonic::Status;

use super::journal::JournalAdmin;
use super::number::long;
use super::orchestrator::parsed;
use super::proto::moothall::v1 as wire;
use super::proto::moothall::v1::state_at_request::{At, Subject as Asked};
use super::proto::moothall::v1::state_at_response::State;
use super::then;
use crate::error::{Kind, journal_status, refuse};

/// What a look into the past needs of a journal; a store whose daemon is gone has it too.
#[async_trait]
pub(crate) trait Streams: Sync {
    /// One stream to its end.
    async fn whole(&self, stream: &StreamId) -> Result<Vec<Recorded>, JournalError>;

    /// Whether the task was pruned, and that is still known.
    async fn was_pruned(&self, task: &TaskId) -> Result<bool, JournalError>;

    /// From where on nothing is missing, and when that was.
    async fn kept(&self) -> Result<Kept, JournalError>;
}

/// What pruning left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// 0 and 1 = nothing is missing.
    pub(crate) first: u64,
    /// Of the first event from there on.
    pub(crate) oldest: Option<Timestamp>,
}

impl Kept {
    /// Whether something may be missing that was there then.
    fn is_after(self, place: Place) -> bool {
        match place {
            Place::Now => false,
            Place::Seq(seq) => seq.saturating_add(1) < self.first,
            Place::Time(at) => self.first > 1 && self.oldest.is_none_or(|oldest| at < oldest),
        }
    }
}

#[async_trait]
impl Streams for dyn JournalAdmin {
    async fn whole(&self, stream: &StreamId) -> Result<Vec<Recorded>, JournalError> {
        whole_stream(self, stream).await
    }

    async fn was_pruned(&self, task: &TaskId) -> Result<bool, JournalError> {
        Ok(self.tombstone(task).await?.is_some())
    }

    async fn kept(&self) -> Result<Kept, JournalError> {
        let retained = self.retained().await?;
        Ok(Kept { first: retained.first_kept, oldest: retained.oldest })
    }
}

/// Whose state is asked for.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Task(TaskId),
    Run(RunId),
    Council(Role),
}

impl Subject {
    fn stream(&self) -> StreamId {
        match self {
            Self::Task(task) => StreamId::task(task),
            Self::Run(run) => StreamId::deliberation(run),
            Self::Council(role) => StreamId::council(role),
        }
    }

    fn task(&self) -> Option<&TaskId> {
        match self {
            Self::Task(task) | Self::Run(RunId { task, .. }) => Some(task),
            Self::Council(_) => None,
        }
    }

    /// For messages.
    fn name(&self) -> String {
        match self {
            Self::Task(task) => format!("task {task}"),
            Self::Run(RunId { task, run: 0 }) => format!("the deliberation of task {task}"),
            Self::Run(run) => format!("deliberation {run}"),
            Self::Council(role) => format!("council {role}"),
        }
    }

    /// What its events come to; `None` when they are not whole.
    fn told(&self, events: &[Recorded]) -> Option<State> {
        Some(match self {
            Self::Task(_) => State::Task(then::task(&TaskThen::of(events)?)),
            Self::Run(_) => State::Deliberation(then::run(&RunThen::of(events)?)),
            Self::Council(role) => State::Council(then::council(role, past::council(events).as_ref())),
        })
    }
}

/// Answers a request from any journal.
pub(crate) async fn state_at(
    journal: &(impl Streams + ?Sized),
    request: &wire::StateAtRequest,
) -> Result<wire::StateAtResponse, Status> {
    let (subject, place) = parsed(|problems| question(request, problems))?;
    let subject = match subject {
        Subject::Run(RunId { task, run: 0 }) => Subject::Run(last_begun(journal, task, place).await?),
        named => named,
    };
    let mut events = stream(journal, &subject, place).await?;
    let count = place.counts(&events);
    if count == 0 {
        return Err(not_yet(&subject, place, events.first()));
    }
    events.truncate(count);
    let damaged = || refuse(Kind::DataLoss, &format!("the events of {} are not whole", subject.name()));
    let state = subject.told(&events).ok_or_else(damaged)?;
    let last = events.last().ok_or_else(damaged)?;
    let (seq, at_ms) = (long(last.seq), long(last.event.at.0));
    Ok(wire::StateAtResponse { seq, at_ms, events: long(count), state: Some(state) })
}

pub(super) fn question(request: &wire::StateAtRequest, problems: &mut Problems) -> Option<(Subject, Place)> {
    let place = match request.at {
        None => Some(Place::Now),
        Some(At::Seq(seq)) => from_one("seq", seq, problems).map(Place::Seq),
        Some(At::AtMs(at)) => from_one("at_ms", at, problems).map(|at| Place::Time(Timestamp(at))),
    };
    let subject = match &request.subject {
        None => {
            problems.push("subject", "is not set; allowed is one of task_id, deliberation and council");
            None
        }
        Some(Asked::TaskId(task)) => problems.keep(TaskId::parse("task_id", task)).map(Subject::Task),
        Some(Asked::Council(role)) => problems.keep(Role::parse("council", role)).map(Subject::Council),
        Some(Asked::Deliberation(of)) => {
            let task = problems.keep(TaskId::parse("deliberation.task_id", &of.task_id));
            let run = u32::try_from(of.run);
            if run.is_err() {
                problems.push("deliberation.run", format!("is {}; allowed are 0 (the last one) and above", of.run));
            }
            task.zip(run.ok()).map(|(task, run)| Subject::Run(RunId { task, run }))
        }
    };
    subject.zip(place)
}

fn from_one(field: &str, given: i64, problems: &mut Problems) -> Option<u64> {
    let number = u64::try_from(given).ok().filter(|number| *number > 0);
    if number.is_none() {
        problems.push(field, format!("is {given}; allowed are 1 and above, or none of them for now"));
    }
    number
}

/// The run that had begun last by then. A task that waits for its next run still has the one before it.
async fn last_begun(journal: &(impl Streams + ?Sized), task: TaskId, place: Place) -> Result<RunId, Status> {
    let subject = Subject::Task(task.clone());
    let events = stream(journal, &subject, place).await?;
    if place.counts(&events) == 0 {
        return Err(not_yet(&subject, place, events.first()));
    }
    let mut first = None;
    for run in (1..=TaskThen::of(&events).map_or(0, |then| then.row.run)).rev() {
        let run = RunId { task: task.clone(), run };
        let events = stream(journal, &Subject::Run(run.clone()), Place::Now).await?;
        if place.counts(&events) > 0 {
            return Ok(run);
        }
        first = events.into_iter().next().or(first);
    }
    Err(not_yet(&Subject::Run(RunId { task, run: 0 }), place, first.as_ref()))
}

/// All events of it, whole from the first; none when it never had one.
async fn stream(journal: &(impl Streams + ?Sized), subject: &Subject, place: Place) -> Result<Vec<Recorded>, Status> {
    let failed = |error: JournalError| journal_status(&error);
    let events = journal.whole(&subject.stream()).await.map_err(failed)?;
    let known_as_pruned = match subject.task() {
        Some(task) => journal.was_pruned(task).await.map_err(failed)?,
        None => false,
    };
    let is_cut = events.first().is_some_and(|first| first.version > 1);
    if !known_as_pruned && !is_cut && !events.is_empty() {
        return Ok(events);
    }
    let kept = journal.kept().await.map_err(failed)?;
    if known_as_pruned || is_cut || kept.is_after(place) {
        let what = if known_as_pruned || is_cut { "was pruned" } else { "may have been pruned" };
        let (name, first) = (subject.name(), kept.first);
        return Err(refuse(Kind::OutOfRange, &format!("{name} {what}: events before {first} were pruned")));
    }
    Ok(events)
}

fn not_yet(subject: &Subject, place: Place, first: Option<&Recorded>) -> Status {
    let by = match place {
        Place::Now => String::new(),
        Place::Seq(seq) => format!(" up to {seq}"),
        Place::Time(at) => format!(" up to {}", time(at)),
    };
    let since = first.map(|first| format!("; its first is {}, at {}", first.seq, time(first.event.at)));
    let name = subject.name();
    refuse(Kind::NotFound, &format!("{name} has no event{by}{}", since.unwrap_or_default()))
}

/// RFC 3339, to the millisecond.
fn time(at: Timestamp) -> String {
    let (seconds, millis) = (long(at.0 / 1_000), at.0 % 1_000);
    let nanos = i32::try_from(millis * 1_000_000).unwrap_or_default();
    prost_types::Timestamp { seconds, nanos }.to_string()
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
