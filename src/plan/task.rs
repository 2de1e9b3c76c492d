//! A plan and its tasks, as derived: every value checked, every dependency known, each task after those it needs.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use moothall_actors::domain::id::{Role, TaskId};
pub use moothall_actors::domain::queue::{OnDependencyFailure, Priority};
use serde::{Deserialize, Serialize};

/// What the result of a task must satisfy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraints {
    pub rubric: String,
    pub requirements: Vec<String>,
    pub metadata: BTreeMap<String, String>,
    /// Upper bound on review rounds.
    pub max_iterations: Option<u8>,
    /// Deadline of the whole deliberation; `None` = the configured one.
    pub timeout: Option<Duration>,
}

/// One task of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTask {
    pub id: TaskId,
    /// Empty when nobody said.
    pub story_id: String,
    /// Empty when nobody said.
    pub plan_id: String,
    pub description: String,
    pub role: Role,
    pub constraints: Constraints,
    /// Tasks of the same plan, each once, in the order written.
    pub dependencies: Vec<TaskId>,
    pub priority: Priority,
    /// Whether proposals are reviewed before one wins.
    pub requires_pre_deliberation: bool,
    /// Whether the outputs of several agents are deliberated on after execution.
    pub requires_deliberation: bool,
    /// `None` = all agents of the council.
    pub num_agents: Option<NonZeroU16>,
    /// `None` = as the council is set up.
    pub rounds: Option<u8>,
    /// Whether the task waits, once won, for a workspace agent to carry it out.
    pub await_execution: bool,
    /// Time for one attempt at that; `None` = the configured one.
    pub execution_timeout: Option<Duration>,
    /// `None` = the configured one.
    pub on_dependency_failure: Option<OnDependencyFailure>,
    /// Bracket labels without a meaning here, such as `US1`.
    pub tags: Vec<String>,
    /// The heading that a Spec Kit task stands under.
    pub phase: Option<String>,
    /// Ticked off in the plan: never queued, and a dependency on it is satisfied.
    pub done: bool,
}

impl PlannedTask {
    /// A task of which nothing but this is known.
    #[must_use]
    pub fn new(id: TaskId, role: Role, description: String) -> Self {
        Self {
            id,
            story_id: String::new(),
            plan_id: String::new(),
            description,
            role,
            constraints: Constraints::default(),
            dependencies: Vec::new(),
            priority: Priority::default(),
            requires_pre_deliberation: true,
            requires_deliberation: false,
            num_agents: None,
            rounds: None,
            await_execution: false,
            execution_timeout: None,
            on_dependency_failure: None,
            tags: Vec::new(),
            phase: None,
            done: false,
        }
    }
}

/// What a plan was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Json,
    Yaml,
    Markdown,
    SpecKit,
    /// The `tasks_outline` of an event.
    Outline,
    /// Nothing usable: one task per role.
    Roles,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Markdown => "Markdown",
            Self::SpecKit => "Spec Kit tasks",
            Self::Outline => "outline",
            Self::Roles => "one task per role",
        })
    }
}

/// A plan that can be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Empty when nobody said.
    pub plan_id: String,
    /// Empty when nobody said.
    pub story_id: String,
    pub source: Source,
    /// The phase of the story that releases its tasks: `BUILD`, `TEST` or `IN_PROGRESS`.
    pub hold_until_phase: Option<String>,
    /// Done ones included; each after all that it depends on, else in the order written.
    pub tasks: Vec<PlannedTask>,
    /// What was skipped, assumed or not read, each with its place.
    pub notes: Vec<String>,
}
