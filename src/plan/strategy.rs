//! How a client wants a plan carried out: `DerivationStrategy`, applied to the tasks of a plan.
//!
//! ```text
//! dependency_order [ARCHITECT, DEV]  every DEV task waits for every ARCHITECT task
//! parallel_execution = false         each task waits for the one before it
//! max_tasks_per_role = n             a plan with more is refused, never cut
//! auto_publish_to_nats               the tasks are not only answered but queued
//! ```

use std::collections::{BTreeMap, BTreeSet};

use moothall_actors::domain::id::{Role, TaskId};
use moothall_actors::domain::problem::Problems;

use super::draft::{Draft, Drafts, Need};
use super::limit::{HARD_MAX_TASKS, MAX_ROLES};
use super::place::Place;
use super::report::{Report, quote};
use super::task::{Plan, PlannedTask};

/// As a client wrote it. A request without one leaves the plan's own order as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategy {
    pub parallel_execution: bool,
    /// Roles; the tasks of each wait for all of the one before.
    pub dependency_order: Vec<String>,
    /// 0 = no limit.
    pub max_tasks_per_role: i32,
    pub auto_publish_to_nats: bool,
}

/// The tasks that are left to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// Without those done; dependencies on these are satisfied and left out.
    pub tasks: Vec<PlannedTask>,
    /// Whether to queue them as well.
    pub publish: bool,
    /// What the strategy asked for in vain, each with its place.
    pub notes: Vec<String>,
}

impl Plan {
    /// The tasks still to be done, as a strategy wants them.
    pub fn derive(&self, strategy: Option<&Strategy>) -> Result<Derived, Problems> {
        let open = self.open_tasks();
        let Some(strategy) = strategy else {
            return Ok(Derived { tasks: open, publish: false, notes: Vec::new() });
        };
        let mut report = Report::default();
        let roles = strategy.roles(&open, &mut report);
        strategy.check_counts(&open, &mut report);
        let mut tasks = open;
        if !roles.is_empty() {
            tasks = by_role(&tasks, &roles, &mut report);
        }
        if !strategy.parallel_execution {
            chain(&mut tasks);
        }
        let notes = report.finish()?;
        Ok(Derived { tasks, publish: strategy.auto_publish_to_nats, notes })
    }

    /// What is not done, with dependencies on the same only.
    fn open_tasks(&self) -> Vec<PlannedTask> {
        let open: BTreeSet<&TaskId> = self.tasks.iter().filter(|task| !task.done).map(|task| &task.id).collect();
        let mut tasks: Vec<PlannedTask> = self.tasks.iter().filter(|task| !task.done).cloned().collect();
        tasks.iter_mut().for_each(|task| task.dependencies.retain(|id| open.contains(id)));
        tasks
    }
}

impl Strategy {
    fn roles(&self, open: &[PlannedTask], report: &mut Report) -> Vec<Role> {
        let place = Place::Plan.key("dependency_order", None);
        if self.dependency_order.len() > MAX_ROLES {
            let count = self.dependency_order.len();
            report.refuse(place, format!("has {count} entries; at most {MAX_ROLES} are allowed"));
            return Vec::new();
        }
        let mut roles: Vec<Role> = Vec::new();
        for (index, text) in self.dependency_order.iter().enumerate() {
            let place = place.entry(index, None);
            let Some(role) = report.keep(&place, |field| Role::parse(field, text)) else { continue };
            if roles.contains(&role) {
                report.refuse(&place, format!("names {} a second time", quote(role.as_str())));
                continue;
            }
            if !open.iter().any(|task| task.role == role) {
                report.note(&place, format!("names {}, for which the plan has no open task", quote(role.as_str())));
            }
            roles.push(role);
        }
        roles
    }

    fn check_counts(&self, open: &[PlannedTask], report: &mut Report) {
        let place = Place::Plan.key("max_tasks_per_role", None);
        let Ok(most) = usize::try_from(self.max_tasks_per_role) else {
            return report.refuse(place, format!("is {}; 0 (no limit) and more are allowed", self.max_tasks_per_role));
        };
        let mut counts: BTreeMap<&Role, usize> = BTreeMap::new();
        open.iter().for_each(|task| *counts.entry(&task.role).or_default() += 1);
        for (role, count) in counts.into_iter().filter(|(_, count)| most > 0 && *count > most) {
            report.refuse(&place, format!("is {most}, but the plan has {count} tasks for {role}; none is left out"));
        }
    }
}

/// Adds what the order of roles asks for. One without tasks is passed over: the next waits for the one before it.
fn by_role(tasks: &[PlannedTask], roles: &[Role], report: &mut Report) -> Vec<PlannedTask> {
    let place = Place::Plan.key("dependency_order", None);
    let need = |id: &TaskId| Need { id: id.clone(), place: place.clone() };
    let of_role =
        |role: &Role| -> Vec<&TaskId> { tasks.iter().filter(|task| task.role == *role).map(|task| &task.id).collect() };
    let mut before: BTreeMap<&Role, Vec<&TaskId>> = BTreeMap::new();
    let mut last = Vec::new();
    for role in roles {
        let own = of_role(role);
        if !own.is_empty() {
            before.insert(role, std::mem::replace(&mut last, own));
        }
    }
    let mut drafts = Drafts::new(HARD_MAX_TASKS);
    for task in tasks.iter() {
        if drafts.is_overfull() {
            break;
        }
        let added = before.get(&task.role).into_iter().flatten().copied();
        let needs = task.dependencies.iter().chain(added).map(need).collect();
        drafts.push(Draft { id: task.id.clone(), place: place.clone(), task: Some(task.clone()), needs });
    }
    drafts.assemble(report)
}

/// Each task waits for the one before it, and for what it needs anyway.
fn chain(tasks: &mut [PlannedTask]) {
    let mut before: Option<TaskId> = None;
    for task in tasks {
        if let Some(before) = before.replace(task.id.clone())
            && !task.dependencies.contains(&before)
        {
            task.dependencies.push(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::testing::{plan, shape};
    use super::*;

    const PLAN: &str = "## DEV Tasks\n- [ ] D1: a\n- [ ] D2: b\n  - Depends on: D0\n- [x] D0: c\n## QA Tasks\n\
                        - [ ] Q1: d\n- [ ] Q2: e\n  - Depends on: D1\n## ARCHITECT Tasks\n- [ ] A1: f\n";

    fn strategy() -> Strategy {
        Strategy {
            parallel_execution: true,
            dependency_order: vec![],
            max_tasks_per_role: 0,
            auto_publish_to_nats: false,
        }
    }

    fn ordered(roles: &[&str]) -> Strategy {
        Strategy { dependency_order: roles.iter().map(|role| (*role).to_owned()).collect(), ..strategy() }
    }

    fn derived(strategy: &Strategy) -> Result<String, String> {
        let plan = plan(PLAN);
        let derived = plan.derive(Some(strategy)).map_err(|problems| problems.to_string())?;
        Ok(shape(&Plan { tasks: derived.tasks, ..plan }))
    }

    #[test]
    fn without_a_strategy_the_plan_stays_as_it_is_but_for_what_is_done() {
        let plan = plan(PLAN);
        let derived = plan.derive(None).unwrap();
        assert!(!derived.publish);
        assert_eq!(shape(&Plan { tasks: derived.tasks, ..plan }), "D1 D2 Q1 Q2<D1 A1");
        assert_eq!(self::derived(&strategy()).unwrap(), "D1 D2 Q1 Q2<D1 A1");
    }

    #[test]
    fn without_parallel_execution_tasks_are_a_chain() {
        let chained = Strategy { parallel_execution: false, ..strategy() };
        assert_eq!(derived(&chained).unwrap(), "D1 D2<D1 Q1<D2 Q2<D1,Q1 A1<Q2");
    }

    #[test]
    fn each_role_waits_for_the_one_before() {
        assert_eq!(derived(&ordered(&["architect", "DEV"])).unwrap(), "Q1 A1 D1<A1 D2<A1 Q2<D1");
        assert_eq!(derived(&ordered(&["ARCHITECT", "DATA", "QA"])).unwrap(), "D1 D2 A1 Q1<A1 Q2<D1,A1");
        let both = Strategy { parallel_execution: false, ..ordered(&["ARCHITECT", "DEV", "QA"]) };
        assert_eq!(derived(&both).unwrap(), "A1 D1<A1 D2<A1,D1 Q1<D1,D2 Q2<D1,D2,Q1");
    }

    #[test]
    fn a_role_without_tasks_is_noted() {
        let derived = plan(PLAN).derive(Some(&ordered(&["DATA"]))).unwrap();
        assert_eq!(derived.notes, ["dependency_order[0] names \"DATA\", for which the plan has no open task"]);
    }

    #[test]
    fn an_order_against_the_plan_is_refused_with_the_cycle() {
        let problem = derived(&ordered(&["QA", "DEV"])).unwrap_err();
        assert!(problem.starts_with("dependency_order is part of a cycle: D1 → Q2 → D1"), "{problem}");
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let wrong = Strategy { max_tasks_per_role: -1, ..ordered(&["a b", "DEV", "dev"]) };
        let expected = "dependency_order[0] \"a b\" is not a role; allowed is [A-Z][A-Z0-9_]{0,31}, such as DEV; \
                        dependency_order[2] names \"DEV\" a second time; \
                        max_tasks_per_role is -1; 0 (no limit) and more are allowed";
        assert_eq!(derived(&wrong).unwrap_err(), expected);
        assert!(derived(&ordered(&vec!["DEV"; MAX_ROLES + 1])).unwrap_err().contains("at most 64 are allowed"));
    }

    #[test]
    fn too_many_tasks_of_a_role_refuse_and_never_cut() {
        let most = |max_tasks_per_role| derived(&Strategy { max_tasks_per_role, ..strategy() });
        assert_eq!(most(2).unwrap(), "D1 D2 Q1 Q2<D1 A1");
        let expected = "max_tasks_per_role is 1, but the plan has 2 tasks for DEV; none is left out; \
                        max_tasks_per_role is 1, but the plan has 2 tasks for QA; none is left out";
        assert_eq!(most(1).unwrap_err(), expected);
    }

    #[test]
    fn publishing_is_passed_on() {
        let publish = Strategy { auto_publish_to_nats: true, ..strategy() };
        assert!(plan(PLAN).derive(Some(&publish)).unwrap().publish);
    }
}
