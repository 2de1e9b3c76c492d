//! How runs of a shared queue ended: in words for all daemons, and theirs in the own journal.

use std::sync::Arc;

use super::stream::{MOST_TRIES, told, write};
use crate::deliberation::read_ending;
use crate::domain::ended::Ended;
use crate::domain::event::{Event, TaskFailure};
use crate::domain::id::RunId;
use crate::domain::task::TaskSpec;
use crate::domain::verdict::Outcome;
use crate::error::SystemError;
use crate::ports::shared::Ending as KeptEnding;
use crate::ports::{JournalError, TaskRow, TaskStatus};
use crate::running::{Ending, Running};
use crate::world::World;

/// What is told of a run that has just ended here; `None` = it has not ended, or goes on elsewhere.
pub(super) fn of_running(world: &World, running: &Running, ending: &Ending) -> Option<Ended> {
    let run = running.run.run;
    let event = match ending {
        Ok(outcome) => completed(run, outcome)?,
        Err(SystemError::Failed { class, message }) => {
            Event::TaskFailed(TaskFailure { run, class: *class, message: message.clone() })
        }
        Err(SystemError::Cancelled { reason }) => Event::TaskCancelled { run, reason: reason.clone() },
        Err(_) => return None,
    };
    let checks_passed = ending.as_ref().is_ok_and(|outcome| passed(outcome));
    Some(Ended { checks_passed, ..told_of(world, &running.spec, event) })
}

fn completed(run: u32, outcome: &Outcome) -> Option<Event> {
    let winner = outcome.verdict.winner()?.agent.clone();
    Some(Event::TaskCompleted { run, winner, duration: outcome.verdict.duration })
}

fn passed(outcome: &Outcome) -> bool {
    outcome.verdict.winner().is_some_and(|winner| !winner.checks.any_failed())
}

fn told_of(world: &World, spec: &TaskSpec, event: Event) -> Ended {
    Ended::of(spec, event, world.ports.clock.now(), &world.settings.queue.holder)
}

/// The same of an end that was written before; `None` = the run is open, or its task cannot be read any more.
pub(super) async fn of_row(world: &World, row: &TaskRow) -> Result<Option<Ended>, JournalError> {
    let journal = &*world.ports.journal;
    let (run, error) = (row.run, row.error.clone().unwrap_or_default());
    let event = match (row.status, &row.winner, row.failure()) {
        (TaskStatus::Completed, Some(winner), _) => {
            Event::TaskCompleted { run, winner: winner.clone(), duration: row.duration.unwrap_or_default() }
        }
        (TaskStatus::Failed, _, Some(failure)) => Event::TaskFailed(failure),
        (TaskStatus::Cancelled, ..) => Event::TaskCancelled { run, reason: error },
        _ => return Ok(None),
    };
    let Some(spec) = told(journal, &row.task).await?.spec else { return Ok(None) };
    let outcome = read_ending(journal, &RunId { task: row.task.clone(), run }).await?;
    let checks_passed = outcome.is_some_and(|ending| ending.is_ok_and(|outcome| passed(&outcome)));
    let at = row.ended_at.unwrap_or_else(|| world.ports.clock.now());
    Ok(Some(Ended { checks_passed, at, ..told_of(world, &spec, event) }))
}

/// As the queue keeps it.
pub(super) fn kept(ended: &Ended) -> Option<KeptEnding> {
    Some(KeptEnding { state: ended.state()?, event: ended.to_json() })
}

/// Writes how a run ended that has not ended in this journal. One that it does not know stays unknown.
pub(super) async fn note(world: &World, run: &RunId, event: &Event) -> Result<(), JournalError> {
    let _claim = world.registry.claimed(&run.task).await;
    for _ in 0..MOST_TRIES {
        let Some(row) = world.ports.journal.task(&run.task).await? else { return Ok(()) };
        if row.run > run.run || (row.run == run.run && row.status != TaskStatus::Open) {
            return Ok(());
        }
        let is_earlier = row.run < run.run;
        let left = (is_earlier && row.status == TaskStatus::Open).then_some(Event::RunSuperseded { run: row.run });
        let later = is_earlier.then_some(Event::TaskRetried { run: run.run });
        match write(world, &row, left.into_iter().chain(later).chain([event.clone()]).collect()).await {
            Err(JournalError::Conflict { .. }) => {}
            written => return written,
        }
    }
    Ok(())
}

/// Of a run that is at work here.
pub(super) fn at_work(world: &World, run: &RunId) -> Option<Arc<Running>> {
    let running = world.registry.running.get(&run.task).map(|running| running.clone());
    running.filter(|running| running.run == *run && !running.has_ended())
}
