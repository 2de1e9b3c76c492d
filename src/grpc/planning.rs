//! Plans over gRPC: submitted, derived from, or brought by a planning event.

use std::collections::BTreeMap;

use moothall_actors::System;
use moothall_actors::domain::id::{MAX_ID_BYTES, Role};
use moothall_actors::domain::problem::Problems;
use tonic::Status;

use super::number::int;
use super::orchestrator::parsed;
use super::proto::fleet::orchestrator::v1 as fleet;
use super::proto::moothall::v1 as wire;
use crate::error::{invalid, status};
use crate::intake::Intake;
use crate::plan::{Origin, Plan, PlannedTask, Strategy, parse};

const PLAN_APPROVED: &str = "planning.plan.approved";
const STORY_TRANSITIONED: &str = "planning.story.transitioned";
/// Of a phase of a story.
const MAX_PHASE_BYTES: usize = 64;

pub(super) async fn submit(
    intake: &Intake,
    message: wire::SubmitPlanRequest,
) -> Result<wire::SubmitPlanResponse, Status> {
    let origin = parsed(|problems| {
        let by = ("approved_by", message.approved_by.as_str());
        origin(intake, (&message.plan_id, &message.story_id), &message.roles, &[by], problems)
    })?;
    let plan = parse(&message.plan, &origin).map_err(|problems| invalid(&problems))?;
    // It was read as text.
    let source = String::from_utf8_lossy(&message.plan);
    let (story_id, notes) = (plan.story_id.clone(), plan.notes.clone());
    let approved = intake.submit(plan, &message.approved_by, &source).await.map_err(|error| status(&error))?;
    let planned = approved.approval.tasks.iter().map(|planned| wire::PlannedTask {
        task_id: planned.task.to_string(),
        change: planned.change.as_str().to_owned(),
    });
    Ok(wire::SubmitPlanResponse {
        plan_id: approved.approval.plan.to_string(),
        story_id,
        new: approved.new,
        tasks: planned.collect(),
        notes,
    })
}

fn origin(
    intake: &Intake,
    (plan_id, story_id): (&str, &str),
    roles: &[String],
    others: &[(&str, &str)],
    problems: &mut Problems,
) -> Option<Origin> {
    let ids = [("plan_id", plan_id), ("story_id", story_id)];
    for (field, text) in ids.iter().chain(others).filter(|(_, text)| text.len() > MAX_ID_BYTES) {
        problems.push(*field, format!("has {} bytes; at most {MAX_ID_BYTES} are allowed", text.len()));
    }
    let roles = roles.iter().enumerate();
    let roles: Vec<Role> =
        roles.filter_map(|(place, role)| problems.keep(Role::parse(&format!("roles[{place}]"), role))).collect();
    Some(intake.origin(plan_id, story_id, roles))
}

/// Only answers, unless the strategy wants the tasks queued.
pub(super) async fn derive(
    intake: &Intake,
    message: fleet::DeriveSubtasksRequest,
) -> Result<fleet::DeriveSubtasksResponse, Status> {
    let origin = parsed(|problems| {
        if message.plan_id.trim().is_empty() {
            problems.push("plan_id", "is empty; say which plan");
        }
        origin(intake, (&message.plan_id, &message.case_id), &message.roles, &[], problems)
    })?;
    let stored = intake.stored(&origin).await.map_err(|error| status(&error))?;
    let (plan, source) = match stored {
        Some(stored) => stored,
        None => (parse(b"", &origin).map_err(|problems| invalid(&problems))?, "".into()),
    };
    let strategy = message.strategy.map(|strategy| Strategy {
        parallel_execution: strategy.parallel_execution,
        dependency_order: strategy.dependency_order,
        max_tasks_per_role: strategy.max_tasks_per_role,
        auto_publish_to_nats: strategy.auto_publish_to_nats,
    });
    let derived = plan.derive(strategy.as_ref()).map_err(|problems| invalid(&problems))?;
    let plan = Plan { tasks: derived.tasks, ..plan };
    let derivation_id = plan.content_hash().chars().take(16).collect();
    let atomic = |task: &PlannedTask| atomic(task, &message.case_id);
    let tasks: Vec<_> = plan.tasks.iter().map(atomic).collect();
    if derived.publish {
        intake.submit(plan, "", &source).await.map_err(|error| status(&error))?;
    }
    Ok(fleet::DeriveSubtasksResponse { total_tasks: int(tasks.len()), tasks, derivation_id })
}

fn atomic(task: &PlannedTask, case_id: &str) -> fleet::AtomicTask {
    let constraints = &task.constraints;
    fleet::AtomicTask {
        task_id: task.id.to_string(),
        role: task.role.to_string(),
        description: task.description.clone(),
        dependencies: task.dependencies.iter().map(ToString::to_string).collect(),
        constraints: Some(fleet::TaskConstraints {
            rubric: constraints.rubric.clone(),
            requirements: constraints.requirements.clone(),
            metadata: constraints.metadata.clone(),
            max_iterations: constraints.max_iterations.map_or(0, i32::from),
            timeout_seconds: constraints.timeout.map_or(0, |timeout| int(timeout.as_secs())),
        }),
        case_id: case_id.to_owned(),
        plan_id: task.plan_id.clone(),
        priority: i32::from(task.priority.get()),
    }
}

/// A planning event that came as a call: the same effect as the event itself, and again it changes nothing.
pub(super) async fn process(
    system: &System,
    intake: &Intake,
    message: fleet::PlanningEventRequest,
) -> Result<fleet::PlanningEventResponse, Status> {
    match message.event_type.as_str() {
        PLAN_APPROVED => plan_approved(intake, &message).await,
        STORY_TRANSITIONED => story_transitioned(system, &message).await,
        other => {
            let other = crate::error::cut(other, 64);
            let known = [PLAN_APPROVED, STORY_TRANSITIONED].join(", ");
            let message = format!("{other:?} is no event that changes anything here; there are: {known}");
            Ok(fleet::PlanningEventResponse { processed: false, message, derived_task_ids: Vec::new() })
        }
    }
}

fn of_metadata<'m>(metadata: &'m BTreeMap<String, String>, key: &str, otherwise: &'m str) -> &'m str {
    metadata.get(key).map_or(otherwise, String::as_str)
}

async fn plan_approved(
    intake: &Intake,
    message: &fleet::PlanningEventRequest,
) -> Result<fleet::PlanningEventResponse, Status> {
    let metadata = &message.metadata;
    let roles = of_metadata(metadata, "roles", "").split(',').map(str::trim).filter(|role| !role.is_empty());
    let submit = wire::SubmitPlanRequest {
        plan: of_metadata(metadata, "plan", "").to_owned().into(),
        plan_id: message.plan_id.clone(),
        story_id: of_metadata(metadata, "story_id", &message.case_id).to_owned(),
        roles: roles.map(str::to_owned).collect(),
        approved_by: of_metadata(metadata, "approved_by", "").to_owned(),
    };
    let answer = self::submit(intake, submit).await?;
    let message = match answer.new {
        true => format!("plan {} is approved: {} tasks", answer.plan_id, answer.tasks.len()),
        false => format!("plan {} was approved before, just so", answer.plan_id),
    };
    let derived_task_ids = answer.tasks.into_iter().map(|planned| planned.task_id).collect();
    Ok(fleet::PlanningEventResponse { processed: true, message, derived_task_ids })
}

async fn story_transitioned(
    system: &System,
    message: &fleet::PlanningEventRequest,
) -> Result<fleet::PlanningEventResponse, Status> {
    let story = of_metadata(&message.metadata, "story_id", &message.case_id);
    parsed(|problems| {
        let texts = [("case_id", story, MAX_ID_BYTES), ("to_state", message.to_state.as_str(), MAX_PHASE_BYTES)];
        for (field, ..) in texts.iter().filter(|(_, text, _)| text.trim().is_empty()) {
            problems.push(*field, "is empty");
        }
        let from = ("from_state", message.from_state.as_str(), MAX_PHASE_BYTES);
        for (field, text, most) in texts.into_iter().chain([from]).filter(|(_, text, most)| text.len() > *most) {
            problems.push(field, format!("has {} bytes; at most {most} are allowed", text.len()));
        }
        Some(())
    })?;
    let from = Some(message.from_state.as_str()).filter(|from| !from.is_empty());
    let moved = system.move_story(story, from, &message.to_state).await.map_err(|error| status(&error))?;
    let message = format!("story {story} is in {}: {} tasks wait for it no longer", message.to_state, moved.len());
    let derived_task_ids = moved.iter().map(ToString::to_string).collect();
    Ok(fleet::PlanningEventResponse { processed: true, message, derived_task_ids })
}
