//! Plans over gRPC: submitted, derived from, or brought by a planning event.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moothall_actors::domain::id::{MAX_ID_BYTES, Role, Timestamp};
use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::receipt::{Receipt, ReceiptKey};
use moothall_actors::error::SystemError;
use moothall_actors::{StoryMove, System};
use tonic::Status;

use super::number::int;
use super::orchestrator::parsed;
use super::proto::fleet::orchestrator::v1 as fleet;
use super::proto::moothall::v1 as wire;
use crate::error::{invalid, status};
use crate::intake::{By, Intake, MAX_PHASE_BYTES};
use crate::plan::{Origin, Plan, PlannedTask, Strategy, parse};

const PLAN_APPROVED: &str = "planning.plan.approved";
const STORY_TRANSITIONED: &str = "planning.story.transitioned";
/// How long a call that brings an event is known: as long as the event itself would be.
const KNOWN_FOR: Duration = Duration::from_secs(31 * 86_400);

pub(super) async fn submit(
    intake: &Intake,
    message: wire::SubmitPlanRequest,
) -> Result<wire::SubmitPlanResponse, Status> {
    let by = By::caller(&message.approved_by);
    submit_by(intake, message, by).await?.map_err(|error| status(&error))
}

/// Wrong requests are refused at once; what the system says of a right one is the caller's to tell.
async fn submit_by(
    intake: &Intake,
    message: wire::SubmitPlanRequest,
    by: By,
) -> Result<Result<wire::SubmitPlanResponse, SystemError>, Status> {
    let origin = parsed(|problems| {
        let by = ("approved_by", message.approved_by.as_str());
        origin(intake, (&message.plan_id, &message.story_id), &message.roles, &[by], problems)
    })?;
    let plan = parse(&message.plan, &origin).map_err(|problems| invalid(&problems))?;
    // It was read as text.
    let source = String::from_utf8_lossy(&message.plan);
    let (story_id, notes) = (plan.story_id.clone(), plan.notes.clone());
    let approved = match intake.submit(plan, by, &source).await {
        Ok(approved) => approved,
        Err(error) => return Ok(Err(error)),
    };
    let planned = approved.approval.tasks.iter().map(|planned| wire::PlannedTask {
        task_id: planned.task.to_string(),
        change: planned.change.as_str().to_owned(),
    });
    Ok(Ok(wire::SubmitPlanResponse {
        plan_id: approved.approval.plan.to_string(),
        story_id,
        new: approved.new,
        tasks: planned.collect(),
        notes,
    }))
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
        intake.submit(plan, By::default(), &source).await.map_err(|error| status(&error))?;
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
        PLAN_APPROVED => plan_approved(system, intake, &message).await,
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

/// The same request again is the same event.
fn receipt(message: &fleet::PlanningEventRequest) -> Receipt {
    let timestamp = message.timestamp_ms.to_string();
    let mut name = vec!["call", &message.event_type, &message.case_id, &message.plan_id];
    name.extend([message.from_state.as_str(), &message.to_state, &timestamp]);
    name.extend(message.metadata.iter().flat_map(|(key, value)| [key.as_str(), value]));
    let until = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + KNOWN_FOR;
    let until = Timestamp(u64::try_from(until.as_millis()).unwrap_or(u64::MAX));
    Receipt { keys: vec![ReceiptKey::of(&name)], until }
}

async fn plan_approved(
    system: &System,
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
    let by = By { receipt: Some(receipt(message)), ..By::caller(&submit.approved_by) };
    let answer = match submit_by(intake, submit, by).await? {
        Ok(answer) => answer,
        Err(SystemError::Received) => return taken_in_before(system, &message.plan_id).await,
        Err(error) => return Err(status(&error)),
    };
    let message = match answer.new {
        true => format!("plan {} is approved: {} tasks", answer.plan_id, answer.tasks.len()),
        false => format!("plan {} was approved before, just so", answer.plan_id),
    };
    let derived_task_ids = answer.tasks.into_iter().map(|planned| planned.task_id).collect();
    Ok(fleet::PlanningEventResponse { processed: true, message, derived_task_ids })
}

/// With the tasks of the plan as it was approved last.
async fn taken_in_before(system: &System, plan_id: &str) -> Result<fleet::PlanningEventResponse, Status> {
    let approval = system.approval(plan_id).await.map_err(|error| status(&error))?;
    let tasks = approval.iter().flat_map(|approval| &approval.tasks);
    let derived_task_ids = tasks.map(|planned| planned.task.to_string()).collect();
    let message = format!("this approval of plan {plan_id} was taken in before");
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
    let (to, from) = (message.to_state.as_str().into(), from.map(Into::into));
    // Without a time it may be another move of the same kind.
    let receipt = (message.timestamp_ms != 0).then(|| receipt(message));
    let moves = StoryMove { story: story.into(), from, to, receipt, ..StoryMove::default() };
    let moved = match system.move_story(moves).await {
        Err(SystemError::Received) => Vec::new(),
        told => told.map_err(|error| status(&error))?,
    };
    let message = format!("story {story} is in {}: {} tasks wait for it no longer", message.to_state, moved.len());
    let derived_task_ids = moved.iter().map(ToString::to_string).collect();
    Ok(fleet::PlanningEventResponse { processed: true, message, derived_task_ids })
}
