//! How tests read plans and say what came of them.

use super::super::{Origin, Plan, parse};

pub(crate) fn plan(text: &str) -> Plan {
    parse(text.as_bytes(), &Origin::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Each problem as one line.
pub(crate) fn problems(text: &str) -> Vec<String> {
    let problems = parse(text.as_bytes(), &Origin::default()).expect_err("the plan is refused");
    problems.0.iter().map(ToString::to_string).collect()
}

/// `id<need,need` of every task, in order.
pub(crate) fn shape(plan: &Plan) -> String {
    let one = |task: &super::super::PlannedTask| {
        let needs: Vec<&str> = task.dependencies.iter().map(|id| id.as_str()).collect();
        if needs.is_empty() { task.id.to_string() } else { format!("{}<{}", task.id, needs.join(",")) }
    };
    plan.tasks.iter().map(one).collect::<Vec<_>>().join(" ")
}
