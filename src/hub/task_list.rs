//! A list of tasks that a workflow before made is carried out as a plan: each of its tasks by a deliberation of its own.
//!
//! ```text
//!  origin: tasks.md ─▶ Plan workflow-<id> ─▶ Intake ─▶ queue ─▶ … ─▶ every task has ended ─▶ artifact
//!                                             │ approved before: nothing changes, only the waiting goes on
//! ```
//!
//! The plan is known by the workflow's id, so that a restart finds what it began. A rework is a plan of its own: its tasks are
//! told why the attempt before was rejected, and what that came to stays as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use moothall_actors::System;
use moothall_actors::domain::id::{Role, TaskId};
use moothall_actors::domain::json::Json;
use moothall_actors::domain::queue::{OnDependencyFailure, QueueState};
use moothall_actors::domain::workflow::{Artifact, Phase, WorkflowType};
use moothall_actors::error::SystemError;
use moothall_actors::ports::{HubError, Invocation, InvocationId, TaskRow, TaskStatus};
use serde::Serialize;
use tokio::time::sleep;

use super::built_in::{BuiltInHub, failed, hub_error};
use super::prompt::{Part, fenced, readable};
use crate::backoff::Backoff;
use crate::intake::{By, Intake};
use crate::plan::{Plan, PlannedTask, is_task_list, parse};

/// Between two looks at the tasks: soon for the short ones, seldom enough for days.
const LOOK: Backoff = Backoff { first: Duration::from_millis(50), most: Duration::from_secs(1) };
/// Most that each task is told of the feature and of a rejection, in bytes: ten thousand tasks are queued in one step.
const MAX_TOLD: usize = 4 * 1024;
/// Who approves such a plan, for whoever asks.
const APPROVED_BY: &str = "agent-hub";

/// The list, where there is one to be carried out.
pub(super) fn of(invocation: &Invocation) -> Option<String> {
    let is_execution = (invocation.workflow_type, invocation.id.phase) == (WorkflowType::Implement, Phase::One);
    let origin = invocation.origin.as_ref().filter(|_| is_execution)?;
    let text = readable(&origin.artifact);
    (origin.workflow_type == WorkflowType::Tasks && is_task_list(&text)).then_some(text)
}

/// What its plan is called.
fn plan_id(id: InvocationId) -> String {
    match id.attempt {
        0 | 1 => format!("workflow-{}", id.workflow),
        attempt => format!("workflow-{}-{attempt}", id.workflow),
    }
}

/// Queues the tasks, and waits until all have ended, however long that takes.
pub(super) async fn carry_out(hub: &BuiltInHub, invocation: &Invocation, list: &str) -> Result<Artifact, HubError> {
    let (system, intake) = hub.opened().await?;
    let role = hub.roles().of(WorkflowType::Implement, Phase::One);
    let plan = plan(&intake, invocation, role, list)?;
    let mut refusals = hub.refusals();
    let approved = loop {
        match intake.submit(plan.clone(), By::caller(APPROVED_BY), list).await {
            Ok(approved) => break approved.approval,
            Err(error) => refusals.wait_after(&system, error).await.map_err(|error| hub_error(&system, &error))?,
        }
    };
    let tasks: Vec<TaskId> = approved.tasks.iter().map(|planned| planned.task.clone()).collect();
    let rows = until_ended(&system, &tasks).await?;
    Report::of(&plan, &tasks, &rows).artifact()
}

fn plan(intake: &Intake, invocation: &Invocation, role: Role, list: &str) -> Result<Plan, HubError> {
    let origin = intake.origin(&plan_id(invocation.id), &invocation.feature_id, vec![role]);
    let refused = |found| failed(&format!("the list of tasks cannot be carried out: {found}"));
    let mut plan = parse(list.as_bytes(), &origin).map_err(refused)?;
    // A failed task must not leave the workflow waiting for others that cannot begin.
    let blocks = intake.settings().on_dependency_failure == OnDependencyFailure::Block;
    for task in &mut plan.tasks {
        task.on_dependency_failure = blocks.then_some(OnDependencyFailure::Skip);
        task.description = told(task, invocation);
    }
    Ok(plan)
}

/// A line of the list, with what it is a part of and what was wrong before.
fn told(task: &PlannedTask, invocation: &Invocation) -> String {
    let about = "All of it was carried out before, and a human rejected that. The reason:";
    let reason = invocation.rejection_reason.as_deref();
    let reason = reason.map(|reason| Part { name: "REASON", about, text: reason.into() });
    let text = invocation.description.as_ref().into();
    let feature = Part { name: "FEATURE", about: "It is a part of this feature:", text };
    let material = fenced(reason.into_iter().chain([feature]).collect(), MAX_TOLD);
    format!("{}\n{material}", task.description)
}

async fn until_ended(system: &System, tasks: &[TaskId]) -> Result<BTreeMap<TaskId, TaskRow>, HubError> {
    let mut ended = BTreeMap::new();
    let mut open: Vec<TaskId> = tasks.to_vec();
    let mut looks = 0;
    while !open.is_empty() {
        if system.status().draining {
            return Err(HubError::Stopping);
        }
        match system.find(&open).await {
            Ok(rows) => {
                let known: BTreeSet<TaskId> = rows.iter().map(|row| row.task.clone()).collect();
                ended.extend(rows.into_iter().filter(has_ended).map(|row| (row.task.clone(), row)));
                // One that is not known any more ended long ago.
                let before = open.len();
                open.retain(|task| known.contains(task) && !ended.contains_key(task));
                looks = if open.len() < before { 0 } else { looks };
            }
            Err(error) => tracing::debug!(%error, "the tasks of a workflow cannot be looked at now"),
        }
        looks += 1;
        if !open.is_empty() {
            sleep(LOOK.after(looks)).await;
        }
    }
    Ok(ended)
}

/// A failure that may heal is tried again by the queue, which still has it then.
fn has_ended(row: &TaskRow) -> bool {
    match row.status {
        TaskStatus::Open => false,
        TaskStatus::Failed => row.queue != Some(QueueState::Failed),
        TaskStatus::Completed | TaskStatus::Cancelled | TaskStatus::Skipped => true,
    }
}

/// Ends what waits or runs of it. Nothing, where it was no plan.
pub(super) async fn cancel(hub: &BuiltInHub, id: InvocationId) {
    let Ok((system, _)) = hub.opened().await else { return };
    let Ok(Some(approval)) = system.approval(&plan_id(id)).await else { return };
    // From the end on: those that wait for others go before these do.
    for planned in approval.tasks.iter().rev() {
        match system.cancel(&planned.task, "its workflow does not wait for it any more").await {
            // What has ended stays as it is.
            Ok(()) | Err(SystemError::WrongState(_) | SystemError::UnknownTask { .. }) => {}
            Err(error) => {
                tracing::warn!(task = %planned.task, %error, "a task that nobody waits for was not cancelled")
            }
        }
    }
}

/// What became of the tasks.
#[derive(Serialize)]
struct Report<'p> {
    plan_id: &'p str,
    story_id: &'p str,
    tasks: Vec<Told<'p>>,
    completed: usize,
    failed: usize,
    cancelled: usize,
    skipped: usize,
    /// Ticked off in the list.
    done: usize,
    total: usize,
}

#[derive(Serialize)]
struct Told<'p> {
    task_id: &'p str,
    /// As the list says it, on one line.
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'p str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    winner: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'p str>,
}

impl<'p> Report<'p> {
    fn of(plan: &'p Plan, tasks: &'p [TaskId], rows: &'p BTreeMap<TaskId, TaskRow>) -> Self {
        let prefix = format!("{}/", plan.plan_id);
        let line = |task: &TaskId| {
            let own = task.as_str().strip_prefix(&prefix).unwrap_or(task.as_str());
            plan.task(own).and_then(|task| task.description.lines().next()).unwrap_or_default()
        };
        let of_task = |task: &'p TaskId| {
            let row = rows.get(task);
            Told {
                task_id: task.as_str(),
                description: line(task),
                status: row.map_or("unknown", |row| status(row.status)),
                winner: row.and_then(|row| row.winner.as_ref()).map(|winner| winner.as_str()),
                error: row.and_then(|row| row.error.as_deref()),
            }
        };
        let done = plan.tasks.iter().filter(|task| task.done);
        let done = done.map(|task| Told {
            task_id: task.id.as_str(),
            description: task.description.lines().next().unwrap_or_default(),
            status: "done",
            winner: None,
            error: None,
        });
        let tasks: Vec<_> = done.chain(tasks.iter().map(of_task)).collect();
        let count = |status: &str| tasks.iter().filter(|told| told.status == status).count();
        Self {
            plan_id: &plan.plan_id,
            story_id: &plan.story_id,
            completed: count("completed"),
            failed: count("failed") + count("unknown"),
            cancelled: count("cancelled"),
            skipped: count("skipped"),
            done: count("done"),
            total: tasks.len(),
            tasks,
        }
    }

    fn artifact(&self) -> Result<Artifact, HubError> {
        let good = self.completed + self.done;
        if good == 0 {
            let first = self.tasks.iter().find(|told| told.error.is_some());
            let why = first.map(|told| format!("; {}: {}", told.task_id, told.error.unwrap_or_default()));
            let why = why.unwrap_or_default();
            return Err(failed(&format!("none of the {} tasks of plan {} completed{why}", self.total, self.plan_id)));
        }
        let content = Json::of(self).map_err(|error| failed(&error))?;
        let confidence = (1_000.0 * good as f64 / self.total as f64).round() / 10.0;
        Ok(Artifact { confidence: Some(confidence), ..Artifact::of(content) })
    }
}

fn status(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Open => "open",
        TaskStatus::Completed => "completed",
        TaskStatus::Failed => "failed",
        TaskStatus::Cancelled => "cancelled",
        TaskStatus::Skipped => "skipped",
    }
}

#[cfg(test)]
#[path = "task_list_tests.rs"]
mod tests;
