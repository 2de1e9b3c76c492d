//! Tasks as messages: where each stands, what happened last, and how it ended.

use std::sync::Arc;

use moothall_actors::domain::id::{Role, TaskId};
use moothall_actors::domain::task::TaskKind;
use moothall_actors::domain::verdict::Outcome;
use moothall_actors::error::SystemError;
use moothall_actors::ports::{TaskRow, TaskStatus};
use moothall_actors::progress::{Phase, Update};
use moothall_actors::view::{TaskState, TaskView};
use moothall_actors::{System, Underway};
use tonic::Status;

use super::answer::{self, Finished};
use super::number::{int, long, millis};
use super::proto::moothall::v1 as wire;
use super::{class, queue};
use crate::error::status;

/// A phase beside those of a deliberation.
const EXECUTING: &str = "executing";

/// The store knows what ended; where an open one is, only the system does.
pub(super) async fn listed(system: &System, row: TaskRow) -> wire::Task {
    if row.status == TaskStatus::Open
        && let Ok(view) = system.task(&row.task).await
    {
        return shown(&view);
    }
    of_row(&row)
}

/// A task with all that is known of it.
pub(super) fn shown(view: &TaskView) -> wire::Task {
    let mut task = of_row(&view.row);
    match &view.state {
        TaskState::Pending => at(&mut task, Phase::Pending, 0),
        TaskState::Waiting { entry, reason, underway, .. } => {
            at(&mut task, Phase::Pending, 0);
            if let Some(underway) = underway {
                carried_out(&mut task, underway);
            }
            task.queue_reason = reason.as_deref().unwrap_or_default().to_owned();
            task.priority = entry.as_ref().map_or(0, |entry| i32::from(entry.priority.get()));
            task.needs = entry.iter().flat_map(|entry| &entry.needs).map(ToString::to_string).collect();
        }
        TaskState::Running { last: None } => at(&mut task, Phase::Generating, 0),
        TaskState::Running { last: Some(update) } => {
            at(&mut task, update.phase, update.percent);
            task.current_step = update.step.to_string();
            used(&mut task, update);
        }
        TaskState::Completed(outcome) => {
            at(&mut task, Phase::Complete, 100);
            let verdict = &outcome.verdict;
            task.status = wire::TaskStatus::Completed.into();
            task.winner_id = verdict.winner().map(|winner| winner.agent.to_string()).unwrap_or_default();
            task.duration_ms = millis(verdict.duration);
            task.ended_at_ms = long(outcome.ended_at.0);
            task.prompt_tokens = long(verdict.usage.prompt);
            task.completion_tokens = long(verdict.usage.completion);
            task.calls = int(verdict.calls);
            task.simulated = outcome.simulated;
            task.error = None;
        }
        TaskState::Ended(error) => {
            at(&mut task, Phase::Failed, 0);
            // One that was skipped never failed: its row says all.
            if view.row.status != TaskStatus::Skipped {
                let (status, error) = failure(error);
                task.status = status.into();
                task.error = Some(error);
            }
        }
    }
    task
}

fn at(task: &mut wire::Task, phase: Phase, percent: u8) {
    phase.as_str().clone_into(&mut task.phase);
    task.progress_percent = i32::from(percent);
}

/// In the phase that no deliberation has: others are at work.
fn carried_out(task: &mut wire::Task, underway: &Underway) {
    let heard = underway.heard.as_ref();
    let text = |text: Option<&Arc<str>>| text.map(ToString::to_string).unwrap_or_default();
    let execution = wire::Execution {
        attempt: int(underway.attempt),
        agent_id: underway.agent.to_string(),
        asked_at_ms: long(underway.asked_at.0),
        heard_at_ms: long(underway.since.0),
        stalled: underway.stalled,
        progress_percent: heard.and_then(|heard| heard.percent).map_or(0, i32::from),
        message: text(heard.and_then(|heard| heard.message.as_ref())),
        said_by: text(heard.map(|heard| &heard.agent)),
        answered: underway.answered.map_or(0, |(answered, _)| int(answered)),
        agents: underway.answered.map_or(0, |(_, agents)| int(agents)),
    };
    EXECUTING.clone_into(&mut task.phase);
    task.progress_percent = execution.progress_percent;
    task.current_step = match execution.message.as_str() {
        "" if execution.agents > 0 => format!("{} of {} have carried it out", execution.answered, execution.agents),
        "" => format!("{} carries the winner out", execution.agent_id),
        said => said.to_owned(),
    };
    task.execution = Some(execution);
}

/// While a winner is carried out, as an update of its task; `None` = it is not.
pub(super) fn executing(index: u64, view: &TaskView) -> Option<wire::TaskUpdate> {
    let TaskState::Waiting { underway: Some(_), .. } = &view.state else { return None };
    let task = shown(view);
    let execution = task.execution?;
    Some(wire::TaskUpdate {
        index: long(index),
        at_ms: execution.heard_at_ms,
        phase: task.phase,
        progress_percent: task.progress_percent,
        current_step: task.current_step,
        current_agent: execution.agent_id,
        ..Default::default()
    })
}

fn used(task: &mut wire::Task, update: &Update) {
    task.prompt_tokens = long(update.usage.prompt);
    task.completion_tokens = long(update.usage.completion);
}

fn failure(error: &SystemError) -> (wire::TaskStatus, wire::TaskError) {
    match error {
        SystemError::Cancelled { reason } => (wire::TaskStatus::Cancelled, told(wire::ErrorClass::Unspecified, reason)),
        SystemError::Failed { class, message } => (wire::TaskStatus::Failed, told(class::wire(*class), message)),
        other => (wire::TaskStatus::Failed, told(wire::ErrorClass::Internal, &other.to_string())),
    }
}

fn told(class: wire::ErrorClass, message: &str) -> wire::TaskError {
    wire::TaskError { error_class: class.into(), message: message.to_owned() }
}

/// A task as the store has it.
pub(super) fn of_row(row: &TaskRow) -> wire::Task {
    let (status, phase) = match row.status {
        TaskStatus::Open => (wire::TaskStatus::Open, Phase::Pending),
        TaskStatus::Completed => (wire::TaskStatus::Completed, Phase::Complete),
        TaskStatus::Failed => (wire::TaskStatus::Failed, Phase::Failed),
        TaskStatus::Cancelled => (wire::TaskStatus::Cancelled, Phase::Failed),
        TaskStatus::Skipped => (wire::TaskStatus::Skipped, Phase::Failed),
    };
    let error = match (row.failure(), row.status) {
        (Some(failure), _) => Some(told(class::wire(failure.class), &failure.message)),
        (None, TaskStatus::Failed | TaskStatus::Cancelled | TaskStatus::Skipped) => {
            Some(told(wire::ErrorClass::Unspecified, row.error.as_deref().unwrap_or_default()))
        }
        (None, TaskStatus::Open | TaskStatus::Completed) => None,
    };
    let kind = match row.kind {
        TaskKind::Deliberate => wire::TaskKind::Deliberate,
        TaskKind::Orchestrate => wire::TaskKind::Orchestrate,
    };
    wire::Task {
        task_id: row.task.to_string(),
        status: status.into(),
        run: int(row.run),
        role: row.role.to_string(),
        kind: kind.into(),
        phase: phase.as_str().to_owned(),
        progress_percent: if row.status == TaskStatus::Completed { 100 } else { 0 },
        error,
        winner_id: row.winner.as_ref().map(ToString::to_string).unwrap_or_default(),
        accepted_at_ms: long(row.accepted_at.0),
        ended_at_ms: row.ended_at.map(|at| long(at.0)).unwrap_or_default(),
        duration_ms: row.duration.map(millis).unwrap_or_default(),
        story_id: row.story_id.as_deref().unwrap_or_default().to_owned(),
        keyed: row.keyed,
        queue_state: open_in_queue(row).into(),
        ..Default::default()
    }
}

fn open_in_queue(row: &TaskRow) -> wire::QueueState {
    let state = row.queue.filter(|_| row.status == TaskStatus::Open);
    state.map_or(wire::QueueState::Unspecified, queue::state)
}

/// `role` = texts are wanted.
pub(super) fn updated(index: u64, update: &Update, role: Option<&Role>) -> wire::TaskUpdate {
    let partial = update.partial.as_ref().zip(role).map(|(partial, role)| answer::partial(partial, role));
    wire::TaskUpdate {
        index: long(index),
        at_ms: long(update.at.0),
        phase: update.phase.as_str().to_owned(),
        progress_percent: i32::from(update.percent),
        current_step: update.step.to_string(),
        current_agent: update.agent.as_ref().map(ToString::to_string).unwrap_or_default(),
        partial_result: partial,
        prompt_tokens: long(update.usage.prompt),
        completion_tokens: long(update.usage.completion),
        ..Default::default()
    }
}

/// The last update. The outcome is what this reader waited for; the row beside it may already be of a later run.
pub(super) async fn ended(
    system: &System,
    task: &TaskId,
    index: u64,
    percent: u8,
    result: Result<Arc<Outcome>, SystemError>,
    texts: bool,
) -> Result<wire::TaskUpdate, Status> {
    let row = system.task(task).await.map_err(|error| status(&error))?.row;
    let role = row.role.clone();
    let (state, partial) = match result {
        Ok(outcome) => {
            let winner = texts.then(|| Finished::of(&outcome, &role).results.into_iter().next());
            (TaskState::Completed(outcome), winner.flatten())
        }
        Err(error) => (TaskState::Ended(error), None),
    };
    let task = shown(&TaskView { row, state });
    Ok(wire::TaskUpdate {
        index: long(index),
        at_ms: task.ended_at_ms,
        phase: task.phase.clone(),
        progress_percent: task.progress_percent.max(i32::from(percent)),
        current_step: match &task.error {
            Some(error) => error.message.clone(),
            None => format!("{} wins", task.winner_id),
        },
        current_agent: task.winner_id.clone(),
        partial_result: partial,
        prompt_tokens: task.prompt_tokens,
        completion_tokens: task.completion_tokens,
        r#final: true,
        task: Some(task),
    })
}
