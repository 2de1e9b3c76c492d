//! What holds for all tasks of a plan: whose plan it is, and what its tasks have unless they say otherwise.

use std::time::Duration;

use moothall_actors::domain::id::{Role, TaskId};

use super::limit;
use super::task::{OnDependencyFailure, PlannedTask};

/// What is known of a plan beside its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Empty when nobody said; then the plan may say it.
    pub plan_id: String,
    /// Empty when nobody said; then the plan may say it.
    pub story_id: String,
    /// The roles that the plan was approved for. The first does tasks that name none.
    pub roles: Vec<Role>,
    /// `plans.max_tasks`; at most [`limit::HARD_MAX_TASKS`].
    pub max_tasks: usize,
}

impl Default for Origin {
    fn default() -> Self {
        let (plan_id, story_id) = (String::new(), String::new());
        Self { plan_id, story_id, roles: Vec::new(), max_tasks: limit::DEFAULT_MAX_TASKS }
    }
}

/// The same while it is read, with what the plan itself adds.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) origin: Origin,
    pub(crate) hold_until_phase: Option<String>,
    pub(crate) await_execution: bool,
    pub(crate) execution_timeout: Option<Duration>,
    pub(crate) on_dependency_failure: Option<OnDependencyFailure>,
}

impl Header {
    pub(crate) fn new(origin: &Origin) -> Self {
        Self {
            origin: origin.clone(),
            hold_until_phase: None,
            await_execution: false,
            execution_timeout: None,
            on_dependency_failure: None,
        }
    }

    pub(crate) fn max_tasks(&self) -> usize {
        self.origin.max_tasks.min(limit::HARD_MAX_TASKS)
    }

    /// Who does a task that names no role.
    pub(crate) fn default_role(&self) -> Role {
        self.origin.roles.first().cloned().unwrap_or_else(Role::dev)
    }

    /// A task of this plan with nothing of its own yet.
    pub(crate) fn task(&self, id: TaskId, role: Role, description: String) -> PlannedTask {
        PlannedTask {
            story_id: self.origin.story_id.clone(),
            plan_id: self.origin.plan_id.clone(),
            await_execution: self.await_execution,
            execution_timeout: self.execution_timeout,
            on_dependency_failure: self.on_dependency_failure,
            ..PlannedTask::new(id, role, description)
        }
    }

    /// One task for each role, when the plan has none that can be used.
    pub(crate) fn tasks_per_role(&self) -> Vec<PlannedTask> {
        let roles = if self.origin.roles.is_empty() { vec![Role::dev()] } else { self.origin.roles.clone() };
        let description = self.description();
        let id = |role: &Role| TaskId::parse("id", &format!("implement-{}", role.as_str().to_ascii_lowercase())).ok();
        roles.into_iter().filter_map(|role| Some(self.task(id(&role)?, role, description.clone()))).collect()
    }

    fn description(&self) -> String {
        match (self.origin.plan_id.as_str(), self.origin.story_id.as_str()) {
            ("", "") => "Implement the plan".to_owned(),
            (plan, "") => format!("Implement plan {plan}"),
            ("", story) => format!("Implement story {story}"),
            (plan, story) => format!("Implement plan {plan} for story {story}"),
        }
    }
}
