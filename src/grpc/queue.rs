//! The queue's half of `moothall.v1.TaskService`: requests in, rows out.

use std::sync::Arc;

use moothall_actors::domain::event::{Event, Recorded};
use moothall_actors::domain::id::{MAX_ID_BYTES, Role, TaskId};
use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::queue::{OnDependencyFailure, Priority, QueueState};
use moothall_actors::ports::queue::{Counts, Filter, Row};
use moothall_actors::{NewTask, Pauses};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::number::{int, long};
use super::orchestrator::parsed;
use super::proto::moothall::v1 as wire;
use super::request;
use super::tasks::{DEFAULT_PAGE, MAX_PAGE};
use crate::config::PlansConfig;
use crate::error::invalid;
use crate::plan::PHASES;

/// Most tasks that one task may need.
const MAX_NEEDS: usize = 1_000;

/// A task to queue. Without an id `made_up` gives one.
pub(super) fn new_task(
    message: wire::SubmitTaskRequest,
    metadata: &MetadataMap,
    plans: &PlansConfig,
    made_up: impl FnOnce() -> TaskId,
) -> Result<NewTask, Status> {
    let mut problems = Problems::default();
    let priority = match message.priority.trim() {
        "" => Some(Priority::default()),
        text => Priority::read(text),
    };
    if priority.is_none() {
        let shown = crate::error::cut(&message.priority, 64);
        problems.push("priority", format!("is {shown:?}; {}", Priority::RULE));
    }
    let needs = needs(&message.needs, &mut problems);
    let on_failure = on_failure(message.on_dependency_failure, plans, &mut problems);
    let hold = hold(&message.hold_until_phase, &mut problems);
    let work = match request::orchestrate(message.work.unwrap_or_default(), metadata) {
        Ok(work) => Some(work),
        Err(found) => {
            problems.0.extend(found.0.into_iter().map(|mut problem| {
                problem.field = format!("work.{}", problem.field);
                problem
            }));
            None
        }
    };
    if hold.is_some() && work.as_ref().is_some_and(|work| work.spec.story_id().is_none()) {
        problems.push("hold_until_phase", "needs a story: set work.story_id");
    }
    match (work, priority) {
        (Some(work), Some(priority)) if problems.0.is_empty() => Ok(NewTask {
            task: work.task.unwrap_or_else(made_up),
            spec: work.spec,
            priority,
            needs,
            on_failure,
            hold,
            parked: None,
        }),
        _ => Err(invalid(&problems)),
    }
}

fn needs(ids: &[String], problems: &mut Problems) -> Vec<TaskId> {
    if ids.len() > MAX_NEEDS {
        problems.push("needs", format!("has {} entries; at most {MAX_NEEDS} are allowed", ids.len()));
        return Vec::new();
    }
    let ids = ids.iter().enumerate();
    ids.filter_map(|(place, id)| problems.keep(TaskId::parse(&format!("needs[{place}]"), id))).collect()
}

fn on_failure(given: i32, plans: &PlansConfig, problems: &mut Problems) -> OnDependencyFailure {
    match wire::OnDependencyFailure::try_from(given) {
        Ok(wire::OnDependencyFailure::Unspecified) => plans.on_dependency_failure,
        Ok(wire::OnDependencyFailure::Block) => OnDependencyFailure::Block,
        Ok(wire::OnDependencyFailure::Skip) => OnDependencyFailure::Skip,
        Ok(wire::OnDependencyFailure::Run) => OnDependencyFailure::Run,
        Err(_) => {
            problems.push("on_dependency_failure", format!("is {given}; it is none of OnDependencyFailure"));
            OnDependencyFailure::default()
        }
    }
}

fn hold(text: &str, problems: &mut Problems) -> Option<Arc<str>> {
    let raised = text.trim().to_ascii_uppercase();
    if raised.is_empty() {
        return None;
    }
    let known = PHASES.iter().find(|phase| **phase == raised);
    if known.is_none() {
        let shown = crate::error::cut(text, 64);
        problems.push("hold_until_phase", format!("is {shown:?}; allowed are {}", PHASES.join(", ")));
    }
    known.map(|phase| Arc::from(*phase))
}

/// One more row than asked for shows whether there is a next page.
pub(super) fn filter(message: &wire::ListQueueRequest) -> Result<Filter, Status> {
    parsed(|problems| {
        let state = match wire::QueueState::try_from(message.state) {
            Ok(wire::QueueState::Unspecified) => None,
            Ok(state) => QueueState::named(word(state)),
            Err(_) => {
                problems.push("state", format!("is {}; it is none of QueueState", message.state));
                None
            }
        };
        let given = |text: &str| Some(Arc::<str>::from(text)).filter(|text| !text.is_empty());
        let role = given(&message.role).and_then(|role| problems.keep(Role::parse("role", &role)));
        let after = given(&message.cursor).and_then(|cursor| problems.keep(TaskId::parse("cursor", &cursor)));
        for (field, text) in [("story_id", &message.story_id), ("plan_id", &message.plan_id)] {
            if text.len() > MAX_ID_BYTES {
                problems.push(field, format!("has {} bytes; at most {MAX_ID_BYTES} are allowed", text.len()));
            }
        }
        if !(0..=MAX_PAGE).contains(&message.limit) {
            let rule = format!("is {}; allowed are 0 (= {DEFAULT_PAGE}) to {MAX_PAGE}", message.limit);
            problems.push("limit", rule);
        }
        let limit = usize::try_from(message.limit).ok().filter(|&limit| limit > 0).unwrap_or(DEFAULT_PAGE);
        let (story, plan) = (given(&message.story_id), given(&message.plan_id));
        Some(Filter { state, role, story, plan, after, limit: limit + 1 })
    })
}

/// `limit` is one more than a page holds.
pub(super) fn page(mut rows: Vec<Row>, limit: usize, counts: Counts, paused: Pauses) -> wire::ListQueueResponse {
    let more = rows.len() == limit;
    rows.truncate(limit - 1);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.entry.task.to_string()).unwrap_or_default();
    let count = |((role, queue), tasks): ((Role, QueueState), usize)| wire::QueueCount {
        role: role.to_string(),
        state: state(queue).into(),
        tasks: long(tasks),
    };
    wire::ListQueueResponse {
        tasks: rows.into_iter().map(queued).collect(),
        next_cursor,
        counts: counts.into_iter().map(count).collect(),
        paused: Some(pauses(paused)),
    }
}

pub(super) fn pauses(Pauses { all, roles }: Pauses) -> wire::Pauses {
    wire::Pauses { all, roles: roles.iter().map(ToString::to_string).collect() }
}

pub(super) fn state(state: QueueState) -> wire::QueueState {
    wire::QueueState::from_str_name(&format!("QUEUE_STATE_{state}")).unwrap_or(wire::QueueState::Unspecified)
}

fn word(state: wire::QueueState) -> &'static str {
    state.as_str_name().strip_prefix("QUEUE_STATE_").unwrap_or_default()
}

fn queued(Row { entry, state: queue, open_needs, failed_needs, .. }: Row) -> wire::QueuedTask {
    let names = |tasks: &[TaskId]| tasks.iter().map(ToString::to_string).collect();
    wire::QueuedTask {
        task_id: entry.task.to_string(),
        run: int(entry.run),
        role: entry.role.to_string(),
        story_id: entry.story.as_deref().unwrap_or_default().to_owned(),
        plan_id: entry.plan.as_deref().unwrap_or_default().to_owned(),
        state: state(queue).into(),
        priority: i32::from(entry.priority.get()),
        enqueued_at_ms: long(entry.enqueued_at.0),
        not_before_ms: entry.not_before.map(|at| long(at.0)).unwrap_or_default(),
        needs: names(&entry.needs),
        open_needs: int(open_needs),
        failed_needs: names(&failed_needs),
        hold_until_phase: entry.hold.as_deref().unwrap_or_default().to_owned(),
    }
}

/// An event of a task's stream, for those who watch all tasks.
pub(super) fn told(recorded: Recorded) -> Result<wire::TaskEvent, Status> {
    let event = recorded.event.event;
    let after = match &event {
        Event::TaskCompleted { .. } => Some(QueueState::Completed),
        Event::TaskFailed(_) => Some(QueueState::Failed),
        Event::TaskCancelled { .. } => Some(QueueState::Cancelled),
        Event::TaskSkipped { .. } => Some(QueueState::Skipped),
        other => QueueState::after(other),
    };
    let mut told = wire::TaskEvent {
        seq: long(recorded.seq),
        at_ms: long(recorded.event.at.0),
        task_id: recorded.stream.as_str().strip_prefix("task/").unwrap_or_default().to_owned(),
        r#type: event.kind().to_owned(),
        queue_state: after.map_or(wire::QueueState::Unspecified, state).into(),
        ..Default::default()
    };
    describe(&mut told, &event);
    Ok(told)
}

fn describe(told: &mut wire::TaskEvent, event: &Event) {
    let mut of_run = |run: u32, detail: &str| (told.run, told.detail) = (int(run), detail.to_owned());
    match event {
        Event::TaskReleased { run, cause } | Event::TaskBlocked { run, cause } | Event::TaskSkipped { run, cause } => {
            of_run(*run, cause.as_str());
        }
        Event::TaskParked { run, reason } | Event::TaskCancelled { run, reason } => of_run(*run, reason),
        Event::TaskClaimed { run } | Event::TaskRetried { run } | Event::RunSuperseded { run } => of_run(*run, ""),
        Event::TaskTakenOver { run, from } => of_run(*run, from),
        Event::TaskAssigned { run, seat } => of_run(*run, seat.agent.as_str()),
        Event::TaskCompleted { run, winner, .. } => of_run(*run, winner.as_str()),
        Event::TaskFailed(failure) => of_run(failure.run, &failure.message),
        Event::TaskAccepted { spec, .. } | Event::TaskAmended { spec, .. } => {
            told.role = spec.role.to_string();
            told.story_id = spec.story_id().unwrap_or_default().to_owned();
            told.plan_id = spec.plan_id().unwrap_or_default().to_owned();
        }
        Event::TaskQueued(entry) => {
            of_run(entry.run, "");
            told.role = entry.role.to_string();
            told.story_id = entry.story.as_deref().unwrap_or_default().to_owned();
            told.plan_id = entry.plan.as_deref().unwrap_or_default().to_owned();
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
