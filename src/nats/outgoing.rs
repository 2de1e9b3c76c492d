//! What Moothall publishes: every subject with exactly its fields.
//!
//! A payload repeats its subject as `event_type`. Times are RFC 3339 in UTC with `Z`.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

/// One event. Its payload is [`Outgoing::payload`], under [`Outgoing::subject`].
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    PlanApproved(PlanApproved),
    PhaseChanged(PhaseChanged),
    TaskQueued(TaskQueued),
    TaskDispatched(TaskDispatched),
    DeliberationCompleted(DeliberationCompleted),
    DeliberationFailed(DeliberationFailed),
    TaskCompleted(TaskCompleted),
    TaskFailed(TaskFailed),
    TaskCancelled(TaskEnded),
    TaskSkipped(TaskEnded),
    TaskParked(TaskHeld),
    TaskBlocked(TaskHeld),
    Workflow(WorkflowStep),
    /// For workspace agents, with `TaskDispatched`.
    Execute(Execute),
}

/// `orchestration.plan.approved`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanApproved {
    pub story_id: String,
    pub plan_id: String,
    pub approved_by: String,
    pub roles: Vec<String>,
    pub task_ids: Vec<String>,
    pub timestamp: Timestamp,
}

/// `orchestration.phase.changed`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseChanged {
    pub story_id: String,
    pub from_phase: String,
    pub to_phase: String,
    pub timestamp: Timestamp,
}

/// `orchestration.task.queued`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskQueued {
    pub story_id: String,
    pub plan_id: String,
    pub task_id: String,
    pub run: u32,
    pub role: String,
    pub priority: u32,
    pub dependencies: Vec<String>,
    pub timestamp: Timestamp,
}

/// `orchestration.task.dispatched`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskDispatched {
    pub story_id: String,
    pub task_id: String,
    pub run: u32,
    pub agent_id: String,
    pub role: String,
    pub timestamp: Timestamp,
}

/// `orchestration.deliberation.completed`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeliberationCompleted {
    pub story_id: String,
    pub task_id: String,
    pub decisions: Vec<Decision>,
    pub winner_id: String,
    pub duration_ms: u64,
    pub timestamp: Timestamp,
}

/// One proposal's place in the verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub agent_id: String,
    /// From 1.
    pub rank: u32,
    pub score: f64,
    pub rationale: String,
}

/// `orchestration.deliberation.failed`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeliberationFailed {
    pub story_id: String,
    pub task_id: String,
    pub error: String,
    pub error_type: String,
    pub timestamp: Timestamp,
}

/// `orchestration.task.completed`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskCompleted {
    pub story_id: String,
    pub task_id: String,
    pub run: u32,
    pub agent_id: String,
    pub role: String,
    pub duration_ms: u64,
    pub checks_passed: bool,
    pub timestamp: Timestamp,
}

/// `orchestration.task.failed`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskFailed {
    pub story_id: String,
    pub task_id: String,
    pub run: u32,
    pub agent_id: String,
    pub role: String,
    pub error: String,
    pub error_type: String,
    pub attempts: u32,
    pub timestamp: Timestamp,
}

/// `orchestration.task.cancelled` and `.skipped`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskEnded {
    pub story_id: String,
    pub task_id: String,
    pub run: u32,
    pub role: String,
    pub reason: String,
    pub timestamp: Timestamp,
}

/// `orchestration.task.parked` and `.blocked`; not final.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskHeld {
    pub story_id: String,
    pub task_id: String,
    pub run: u32,
    pub role: String,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause_task_id: Option<String>,
    pub timestamp: Timestamp,
}

/// What is new of a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkflowNews {
    Created,
    WaitingApproval,
    /// An approval that does not decide yet.
    Voted,
    Approved,
    Rejected,
    Escalated,
    Completed,
    Failed,
}

/// `orchestration.workflow.*`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkflowStep {
    /// Which of them.
    #[serde(skip)]
    pub news: WorkflowNews,
    pub workflow_id: String,
    pub workflow_type: &'static str,
    pub feature_id: String,
    pub from_status: &'static str,
    pub status: &'static str,
    pub trigger: &'static str,
    /// In which it happened.
    pub phase: &'static str,
    pub attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The one that follows in its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_workflow_id: Option<String>,
    pub timestamp: Timestamp,
}

impl WorkflowNews {
    fn subject(self) -> &'static str {
        match self {
            Self::Created => "orchestration.workflow.created",
            Self::WaitingApproval => "orchestration.workflow.waiting_approval",
            Self::Voted => "orchestration.workflow.voted",
            Self::Approved => "orchestration.workflow.approved",
            Self::Rejected => "orchestration.workflow.rejected",
            Self::Escalated => "orchestration.workflow.escalated",
            Self::Completed => "orchestration.workflow.completed",
            Self::Failed => "orchestration.workflow.failed",
        }
    }
}

/// `agent.cmd.execute`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Execute {
    pub task_id: String,
    pub story_id: String,
    pub role: String,
    pub agent_id: String,
    pub proposal: String,
    pub constraints: Map<String, Value>,
}

impl Outgoing {
    #[must_use]
    pub fn subject(&self) -> &'static str {
        match self {
            Self::PlanApproved(_) => "orchestration.plan.approved",
            Self::PhaseChanged(_) => "orchestration.phase.changed",
            Self::TaskQueued(_) => "orchestration.task.queued",
            Self::TaskDispatched(_) => "orchestration.task.dispatched",
            Self::DeliberationCompleted(_) => "orchestration.deliberation.completed",
            Self::DeliberationFailed(_) => "orchestration.deliberation.failed",
            Self::TaskCompleted(_) => "orchestration.task.completed",
            Self::TaskFailed(_) => "orchestration.task.failed",
            Self::TaskCancelled(_) => "orchestration.task.cancelled",
            Self::TaskSkipped(_) => "orchestration.task.skipped",
            Self::TaskParked(_) => "orchestration.task.parked",
            Self::TaskBlocked(_) => "orchestration.task.blocked",
            Self::Workflow(step) => step.news.subject(),
            Self::Execute(_) => "agent.cmd.execute",
        }
    }

    /// The task; of events about a whole story, the story; of workflows, the workflow.
    #[must_use]
    pub fn ordering_key(&self) -> &str {
        match self {
            Self::PlanApproved(event) => &event.story_id,
            Self::PhaseChanged(event) => &event.story_id,
            Self::TaskQueued(event) => &event.task_id,
            Self::TaskDispatched(event) => &event.task_id,
            Self::DeliberationCompleted(event) => &event.task_id,
            Self::DeliberationFailed(event) => &event.task_id,
            Self::TaskCompleted(event) => &event.task_id,
            Self::TaskFailed(event) => &event.task_id,
            Self::TaskCancelled(event) | Self::TaskSkipped(event) => &event.task_id,
            Self::TaskParked(event) | Self::TaskBlocked(event) => &event.task_id,
            Self::Workflow(step) => &step.workflow_id,
            Self::Execute(event) => &event.task_id,
        }
    }

    /// Fails only on what JSON cannot say; these fields it can.
    pub fn payload(&self) -> Result<Value, serde_json::Error> {
        let mut payload = match self {
            Self::PlanApproved(event) => serde_json::to_value(event),
            Self::PhaseChanged(event) => serde_json::to_value(event),
            Self::TaskQueued(event) => serde_json::to_value(event),
            Self::TaskDispatched(event) => serde_json::to_value(event),
            Self::DeliberationCompleted(event) => serde_json::to_value(event),
            Self::DeliberationFailed(event) => serde_json::to_value(event),
            Self::TaskCompleted(event) => serde_json::to_value(event),
            Self::TaskFailed(event) => serde_json::to_value(event),
            Self::TaskCancelled(event) | Self::TaskSkipped(event) => serde_json::to_value(event),
            Self::TaskParked(event) | Self::TaskBlocked(event) => serde_json::to_value(event),
            Self::Workflow(step) => serde_json::to_value(step),
            Self::Execute(event) => serde_json::to_value(event),
        }?;
        payload["event_type"] = self.subject().into();
        Ok(payload)
    }
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;
