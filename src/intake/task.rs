//! One task of a plan as the queue takes it.

use std::sync::Arc;
use std::time::Duration;

use moothall_actors::NewTask;
use moothall_actors::domain::problem::{Problem, Problems};
use moothall_actors::domain::task::{TaskDraft, TaskSpec};

use crate::config::PlansConfig;
use crate::plan::PlannedTask;

/// Of plans that say nothing of it: a build and its tests fit into it.
const EXECUTION_TIMEOUT: Duration = Duration::from_secs(3_600);

/// `hold`: the phase that its story has to reach first. Problems name the task.
pub(super) fn new_task(planned: &PlannedTask, hold: Option<&str>, plans: &PlansConfig) -> Result<NewTask, Problems> {
    let spec = draft(planned)
        .check()
        .map_err(|problems| Problems(problems.0.into_iter().map(|problem| of_task(planned, problem)).collect()))?;
    Ok(NewTask {
        task: planned.id.clone(),
        spec: TaskSpec { execution: execution(planned), collective: planned.requires_deliberation, ..spec },
        priority: planned.priority,
        needs: planned.dependencies.clone(),
        on_failure: planned.on_dependency_failure.unwrap_or(plans.on_dependency_failure),
        hold: hold.filter(|_| !planned.story_id.is_empty()).map(Arc::from),
        parked: None,
    })
}

/// How long an agent of others may take for one attempt; `None` = the winner is the end.
fn execution(planned: &PlannedTask) -> Option<Duration> {
    let is_carried_out = planned.await_execution || planned.requires_deliberation;
    is_carried_out.then(|| planned.execution_timeout.unwrap_or(EXECUTION_TIMEOUT))
}

fn of_task(planned: &PlannedTask, Problem { field, message }: Problem) -> Problem {
    Problem::new(format!("tasks.{}.{field}", planned.id), message)
}

fn draft(planned: &PlannedTask) -> TaskDraft {
    let constraints = &planned.constraints;
    let mut metadata = constraints.metadata.clone();
    let origin = [("story_id", &planned.story_id), ("plan_id", &planned.plan_id)];
    for (key, value) in origin.into_iter().filter(|(_, value)| !value.is_empty()) {
        metadata.insert(key.to_owned(), value.clone());
    }
    let mut num_agents = planned.num_agents.map_or(0, |number| i32::from(number.get()));
    // What several make is always deliberated on.
    if !planned.requires_pre_deliberation && !planned.requires_deliberation {
        metadata.insert("requires_pre_deliberation".to_owned(), "false".to_owned());
        num_agents = num_agents.max(1);
    }
    let timeout = constraints.timeout.map_or(0, |timeout| timeout.as_secs());
    TaskDraft {
        orchestrate: true,
        role: planned.role.to_string(),
        description: planned.description.clone(),
        rubric: constraints.rubric.clone(),
        requirements: constraints.requirements.clone(),
        metadata,
        max_iterations: constraints.max_iterations.map_or(0, i32::from),
        timeout_seconds: i32::try_from(timeout).unwrap_or(i32::MAX),
        rounds: planned.rounds.map_or(0, i32::from),
        num_agents,
        options: None,
    }
}

#[cfg(test)]
mod tests {
    use moothall_actors::domain::id::{Role, TaskId};
    use moothall_actors::domain::queue::OnDependencyFailure;
    use moothall_actors::domain::task::{Review, TaskKind};

    use super::*;
    use crate::config::UnknownRole;

    fn plans() -> PlansConfig {
        let on_dependency_failure = OnDependencyFailure::Skip;
        PlansConfig { max_tasks: 9, unknown_role: UnknownRole::Park, hold_until_phase: None, on_dependency_failure }
    }

    fn planned() -> PlannedTask {
        let id = TaskId::parse("id", "T-1").unwrap();
        let task = PlannedTask::new(id, Role::dev(), "parse a duration".to_owned());
        PlannedTask { plan_id: "P-1".to_owned(), story_id: "S-1".to_owned(), ..task }
    }

    #[test]
    fn a_planned_task_is_orchestrated_for_its_story_and_plan() {
        let new = new_task(&planned(), Some("BUILD"), &plans()).unwrap();
        assert_eq!((new.spec.kind, new.spec.review), (TaskKind::Orchestrate, Review::Council));
        assert_eq!((new.spec.story_id(), new.spec.plan_id()), (Some("S-1"), Some("P-1")));
        assert_eq!((new.hold.as_deref(), new.on_failure), (Some("BUILD"), OnDependencyFailure::Skip));
        let without_story = PlannedTask { story_id: String::new(), ..planned() };
        assert_eq!(new_task(&without_story, Some("BUILD"), &plans()).unwrap().hold, None);
    }

    #[test]
    fn without_deliberation_one_agent_proposes_and_nobody_reviews() {
        let alone = PlannedTask { requires_pre_deliberation: false, ..planned() };
        let new = new_task(&alone, None, &plans()).unwrap();
        assert_eq!((new.spec.review, new.spec.num_agents.map(std::num::NonZeroU16::get)), (Review::Skip, Some(1)));
    }

    #[test]
    fn what_several_carry_out_is_deliberated_on_by_all_of_them() {
        let several = PlannedTask { requires_deliberation: true, requires_pre_deliberation: false, ..planned() };
        let spec = new_task(&several, None, &plans()).unwrap().spec;
        assert_eq!((spec.collective, spec.execution, spec.num_agents), (true, Some(EXECUTION_TIMEOUT), None));
        assert_eq!(spec.review, Review::Council);
        assert!(!spec.awaits_execution(), "nobody carries the winner out again");
        let alone = new_task(&planned(), None, &plans()).unwrap().spec;
        assert_ne!(alone.content_hash(), TaskSpec { collective: true, ..alone.clone() }.content_hash());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_task() {
        let wrong = PlannedTask { rounds: Some(9), ..planned() };
        let fields: Vec<_> =
            new_task(&wrong, None, &plans()).unwrap_err().0.into_iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["tasks.T-1.rounds"]);
    }
}
