//! What arrives, one variant per consumed subject, with exactly its fields.
//!
//! Plans and outputs stay the JSON bytes that came: whoever reads them knows more of them than this adapter does.

use bytes::Bytes;

use super::fields::{Fields, FormatError};
use super::subject::Kind;

#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    PlanApproved(PlanApproved),
    StoryTransitioned(StoryTransitioned),
    AgentCompleted(AgentCompleted),
    AgentFailed(AgentFailed),
    AgentProgress(AgentProgress),
    ContextUpdated(ContextUpdated),
    ContextDecision(ContextDecision),
    ContextMilestone(ContextMilestone),
}

/// `planning.plan.approved`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanApproved {
    pub story_id: String,
    pub plan_id: String,
    pub approved_by: Option<String>,
    /// `timestamp`, else `approved_at`; as it came.
    pub timestamp: Option<String>,
    pub roles: Vec<String>,
    /// Raw JSON: a text or an object.
    pub plan: Option<Bytes>,
    /// Raw JSON: a list.
    pub tasks: Option<Bytes>,
    /// Raw JSON: a list.
    pub tasks_outline: Option<Bytes>,
}

/// `planning.story.transitioned`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoryTransitioned {
    pub story_id: String,
    /// `from_phase`, else `from_state`.
    pub from_phase: String,
    /// `to_phase`, else `to_state`.
    pub to_phase: String,
    pub timestamp: Option<String>,
}

/// `agent.response.completed` and below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentCompleted {
    pub task_id: String,
    pub agent_id: String,
    pub role: Option<String>,
    pub story_id: Option<String>,
    /// Raw JSON of `output`, else of `proposal`.
    pub output: Option<Bytes>,
    pub duration_ms: Option<u64>,
    pub checks_passed: Option<bool>,
    pub num_agents: Option<u32>,
    pub attempt: Option<u32>,
    pub timestamp: Option<String>,
    pub said: Said,
}

/// What executors of model calls say beside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub model: Option<String>,
    pub reasoning: Option<String>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub finish_reason: Option<String>,
}

/// `agent.response.failed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentFailed {
    pub task_id: String,
    pub agent_id: String,
    pub error: Option<String>,
    pub error_type: Option<String>,
    pub story_id: Option<String>,
    pub role: Option<String>,
    pub num_agents: Option<u32>,
    pub attempt: Option<u32>,
    pub said: Said,
}

/// `agent.response.progress`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentProgress {
    pub task_id: String,
    pub agent_id: String,
    pub progress_pct: Option<f64>,
    pub message: Option<String>,
    pub attempt: Option<u32>,
}

/// `context.updated` and `context.events.updated`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContextUpdated {
    pub story_id: String,
    /// Text, or the digits of a number.
    pub version: Option<String>,
}

/// `context.decision.added`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContextDecision {
    pub story_id: String,
    pub decision_id: String,
    pub decision_type: Option<String>,
}

/// `context.milestone.reached`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContextMilestone {
    pub story_id: String,
    pub milestone_id: String,
    pub milestone_name: String,
}

impl Incoming {
    pub(super) fn parse(kind: Kind, fields: &Fields<'_>) -> Result<Self, FormatError> {
        Ok(match kind {
            Kind::PlanApproved => Self::PlanApproved(PlanApproved::parse(fields)?),
            Kind::StoryTransitioned => Self::StoryTransitioned(StoryTransitioned::parse(fields)?),
            Kind::AgentCompleted => Self::AgentCompleted(AgentCompleted::parse(fields)?),
            Kind::AgentFailed => Self::AgentFailed(AgentFailed::parse(fields)?),
            Kind::AgentProgress => Self::AgentProgress(AgentProgress::parse(fields)?),
            Kind::ContextUpdated => Self::ContextUpdated(ContextUpdated::parse(fields)?),
            Kind::ContextDecision => Self::ContextDecision(ContextDecision::parse(fields)?),
            Kind::ContextMilestone => Self::ContextMilestone(ContextMilestone::parse(fields)?),
        })
    }

    /// The story or task that it is about: deliveries of one are handled one after the other.
    #[must_use]
    pub fn about(&self) -> &str {
        match self {
            Self::PlanApproved(event) => &event.story_id,
            Self::StoryTransitioned(event) => &event.story_id,
            Self::AgentCompleted(event) => &event.task_id,
            Self::AgentFailed(event) => &event.task_id,
            Self::AgentProgress(event) => &event.task_id,
            Self::ContextUpdated(event) => &event.story_id,
            Self::ContextDecision(event) => &event.story_id,
            Self::ContextMilestone(event) => &event.story_id,
        }
    }
}

impl PlanApproved {
    fn parse(fields: &Fields<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            story_id: fields.text("story_id")?,
            plan_id: fields.text("plan_id")?,
            approved_by: fields.maybe_text("approved_by")?,
            timestamp: fields.maybe_text_of(&["timestamp", "approved_at"])?,
            roles: fields.texts("roles")?,
            plan: fields.maybe_raw(&["plan"]),
            tasks: fields.maybe_raw_list("tasks")?,
            tasks_outline: fields.maybe_raw_list("tasks_outline")?,
        })
    }
}

impl StoryTransitioned {
    fn parse(fields: &Fields<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            story_id: fields.text("story_id")?,
            from_phase: fields.text_of(&["from_phase", "from_state"])?,
            to_phase: fields.text_of(&["to_phase", "to_state"])?,
            timestamp: fields.maybe_text("timestamp")?,
        })
    }
}

impl AgentCompleted {
    fn parse(fields: &Fields<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            task_id: fields.text("task_id")?,
            agent_id: fields.text("agent_id")?,
            role: fields.maybe_text("role")?,
            story_id: fields.maybe_text("story_id")?,
            output: fields.maybe_raw(&["output", "proposal"]),
            duration_ms: fields.maybe_count("duration_ms")?,
            checks_passed: fields.maybe_bool("checks_passed")?,
            num_agents: fields.maybe_small("num_agents")?,
            attempt: fields.maybe_small("attempt")?,
            timestamp: fields.maybe_text("timestamp")?,
            said: Said::parse(fields),
        })
    }
}

impl Said {
    /// Agents of other kinds may mean something else by these names: what is no such thing is left out.
    fn parse(fields: &Fields<'_>) -> Self {
        let text = |field| fields.maybe_text(field).ok().flatten();
        let count = |field| fields.maybe_count(field).ok().flatten();
        Self {
            model: text("model"),
            reasoning: text("reasoning"),
            prompt_tokens: count("prompt_tokens"),
            completion_tokens: count("completion_tokens"),
            finish_reason: text("finish_reason"),
        }
    }
}

impl AgentFailed {
    fn parse(fields: &Fields<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            task_id: fields.text("task_id")?,
            agent_id: fields.text("agent_id")?,
            error: fields.maybe_text("error")?,
            error_type: fields.maybe_text("error_type")?,
            story_id: fields.maybe_text("story_id")?,
            role: fields.maybe_text("role")?,
            num_agents: fields.maybe_small("num_agents")?,
            attempt: fields.maybe_small("attempt")?,
            said: Said::parse(fields),
        })
    }
}

impl AgentProgress {
    fn parse(fields: &Fields<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            task_id: fields.text("task_id")?,
            agent_id: fields.text("agent_id")?,
            progress_pct: fields.maybe_number("progress_pct")?,
            message: fields.maybe_text("message")?,
            attempt: fields.maybe_small("attempt")?,
        })
    }
}

impl ContextUpdated {
    fn parse(fields: &Fields<'_>) -> Result<Self, FormatError> {
        Ok(Self { story_id: fields.text("story_id")?, version: fields.maybe_text("version")? })
    }
}

impl ContextDecision {
    fn parse(fields: &Fields<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            story_id: fields.text("story_id")?,
            decision_id: fields.text("decision_id")?,
            decision_type: fields.maybe_text("decision_type")?,
        })
    }
}

impl ContextMilestone {
    fn parse(fields: &Fields<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            story_id: fields.text("story_id")?,
            milestone_id: fields.text("milestone_id")?,
            milestone_name: fields.text("milestone_name")?,
        })
    }
}

#[cfg(test)]
#[path = "incoming_tests.rs"]
mod tests;
