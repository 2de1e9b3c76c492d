//! Tasks, runs and councils of an earlier place, on the wire.

use moothall_actors::document::Standing;
use moothall_actors::domain::council::{Council, Endpoint, Seat};
use moothall_actors::domain::id::Role;
use moothall_actors::domain::queue::QueueState;
use moothall_actors::domain::task::TaskKind;
use moothall_actors::past::{RunThen, TaskThen, WaveThen};
use moothall_actors::ports::{TaskRow, TaskStatus};

use super::number::{int, long, millis};
use super::proto::moothall::v1 as wire;
use super::{class, verdict};

pub(super) fn task(then: &TaskThen) -> wire::TaskState {
    let TaskThen { row, entry, cause, reason, .. } = then;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    wire::TaskState {
        task_id: row.task.to_string(),
        status: status(row.status).into(),
        queue: text(row.queue.map(QueueState::as_str)),
        run: int(row.run),
        role: row.role.to_string(),
        kind: match row.kind {
            TaskKind::Deliberate => wire::TaskKind::Deliberate,
            TaskKind::Orchestrate => wire::TaskKind::Orchestrate,
        }
        .into(),
        story_id: text(row.story_id.as_deref()),
        plan_id: text(entry.as_ref().and_then(|entry| entry.plan.as_deref())),
        priority: entry.as_ref().map_or(0, |entry| i32::from(entry.priority.get())),
        needs: entry.iter().flat_map(|entry| &entry.needs).map(ToString::to_string).collect(),
        cause_id: cause.as_ref().map(ToString::to_string).unwrap_or_default(),
        reason: text(reason.as_deref()),
        winner_id: row.winner.as_ref().map(ToString::to_string).unwrap_or_default(),
        error: error(row),
        accepted_at_ms: long(row.accepted_at.0),
        ended_at_ms: row.ended_at.map(|at| long(at.0)).unwrap_or_default(),
        duration_ms: row.duration.map(millis).unwrap_or_default(),
    }
}

fn status(status: TaskStatus) -> wire::TaskStatus {
    match status {
        TaskStatus::Open => wire::TaskStatus::Open,
        TaskStatus::Completed => wire::TaskStatus::Completed,
        TaskStatus::Failed => wire::TaskStatus::Failed,
        TaskStatus::Cancelled => wire::TaskStatus::Cancelled,
        TaskStatus::Skipped => wire::TaskStatus::Skipped,
    }
}

/// Only a failure has a class.
fn error(row: &TaskRow) -> Option<wire::TaskError> {
    let text = row.error.as_deref()?;
    let (class, message) = match row.failure() {
        Some(failure) => (class::wire(failure.class), failure.message.to_string()),
        None => (wire::ErrorClass::Unspecified, text.to_owned()),
    };
    Some(wire::TaskError { error_class: class.into(), message })
}

pub(super) fn run(then: &RunThen) -> wire::DeliberationState {
    let plan = &then.plan;
    let (status, error) = verdict::stands(&then.standing);
    let winner = match &then.standing {
        Standing::Completed(outcome) => outcome.verdict.winner(),
        Standing::Open | Standing::Failed { .. } | Standing::Cancelled { .. } => None,
    };
    let ended_at = if then.standing == Standing::Open { 0 } else { then.last_at.0 };
    wire::DeliberationState {
        task_id: plan.run.task.to_string(),
        run: int(plan.run.run),
        role: plan.spec.role.to_string(),
        status: status.to_owned(),
        phase: then.phase.as_str().to_owned(),
        wave: then.wave.to_string(),
        waves: then.waves.iter().map(wave).collect(),
        seats: plan.seats.iter().map(|seat| seat.agent.to_string()).collect(),
        architect_id: plan.architect.as_ref().map(|seat| seat.agent.to_string()).unwrap_or_default(),
        rounds: int(plan.rounds),
        missing: then.missing.iter().map(verdict::missing).collect(),
        calls: int(then.calls),
        attempts: int(then.attempts),
        prompt_tokens: long(then.usage.prompt),
        completion_tokens: long(then.usage.completion),
        winner_id: winner.map(|winner| winner.agent.to_string()).unwrap_or_default(),
        error,
        started_at_ms: long(then.started_at.0),
        ended_at_ms: long(ended_at),
    }
}

fn wave(then: &WaveThen) -> wire::WaveState {
    let WaveThen { wave, answered, failed, awaited } = *then;
    wire::WaveState { wave: wave.to_string(), answered: int(answered), failed: int(failed), awaited: int(awaited) }
}

/// `None` = it was deleted.
pub(super) fn council(role: &Role, then: Option<&Council>) -> wire::CouncilState {
    let Some(council) = then else {
        return wire::CouncilState { role: role.to_string(), deleted: true, ..Default::default() };
    };
    wire::CouncilState {
        role: role.to_string(),
        deleted: false,
        seats: council.seats.iter().map(seat).collect(),
        parked: council.parked.as_deref().unwrap_or_default().to_owned(),
        rounds: int(council.rounds),
        review: council.review,
        agent_type: council.agent_type.to_string(),
        model: council.model.to_string(),
        created_at_ms: long(council.created_at.0),
    }
}

fn seat(seat: &Seat) -> wire::SeatState {
    let endpoint = match &seat.endpoint {
        Endpoint::Pool => "pool",
        Endpoint::Ray => "ray",
        Endpoint::Mock => "mock",
        Endpoint::Url(address) | Endpoint::Runner(address) => address,
    };
    wire::SeatState { agent_id: seat.agent.to_string(), model: seat.model.to_string(), endpoint: endpoint.to_owned() }
}
