//! What holds for every plan, however it is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use moothall_actors::domain::problem::{Problem, Problems};
use proptest::prelude::*;

use super::source::testing::shape;
use super::{Origin, Plan, Strategy as Wanted, approval, parse};

/// Dependencies of some tasks by place: forward ones, backward ones, cycles.
fn any_needs() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1usize..12).prop_flat_map(|count| {
        let needed = prop::collection::btree_set(0..count, 0..3).prop_map(|set| set.into_iter().collect());
        prop::collection::vec(needed, count)
    })
}

fn ids(places: &[usize]) -> String {
    places.iter().map(|place| format!("T-{place}")).collect::<Vec<_>>().join(", ")
}

fn markdown(needs: &[Vec<usize>]) -> String {
    let mut text = "# Plan\n\n## DEV Tasks\n\n".to_owned();
    for (place, needed) in needs.iter().enumerate() {
        let _ = writeln!(text, "- [ ] T-{place}: do {place}");
        if !needed.is_empty() {
            let _ = writeln!(text, "  - Depends on: {}", ids(needed));
        }
    }
    text
}

fn yaml(needs: &[Vec<usize>]) -> String {
    let mut text = "tasks:\n".to_owned();
    for (place, needed) in needs.iter().enumerate() {
        let _ =
            write!(text, "- id: T-{place}\n  role: DEV\n  description: do {place}\n  depends_on: [{}]\n", ids(needed));
    }
    text
}

fn json(needs: &[Vec<usize>]) -> String {
    let one = |(place, needed): (usize, &Vec<usize>)| {
        let dependencies: Vec<String> = needed.iter().map(|needed| format!("T-{needed}")).collect();
        serde_json::json!({
            "id": format!("T-{place}"), "role": "DEV", "description": format!("do {place}"), "dependencies": dependencies,
        })
    };
    serde_json::json!({ "tasks": needs.iter().enumerate().map(one).collect::<Vec<_>>() }).to_string()
}

fn read(text: &str) -> Result<Plan, Problems> {
    parse(text.as_bytes(), &Origin::default())
}

/// Every task after those it needs, in the plan and in its waves.
fn is_ordered(plan: &Plan) -> bool {
    let place: BTreeMap<&str, usize> = plan.tasks.iter().enumerate().map(|(at, task)| (task.id.as_str(), at)).collect();
    plan.tasks.iter().enumerate().all(|(at, task)| task.dependencies.iter().all(|id| place[id.as_str()] < at))
}

/// Pieces of which plans consist, so that random text comes near to real one.
fn plan_like() -> impl Strategy<Value = String> {
    let pieces = [
        "## DEV Tasks\n",
        "## Phase 1: Setup\n",
        "# ",
        "- [ ] ",
        "- [x] ",
        "- [-] ",
        "T001 ",
        "T002",
        "TASK-1: ",
        "[P] ",
        "[US1]",
        "**",
        "`",
        "```\n",
        "~~~",
        "<!--",
        "-->",
        "(depends on T001",
        "-T002)",
        "  - Depends on: ",
        "  - Role: ",
        "  - Priority: HIGH\n",
        "tasks:\n",
        "- id: a\n",
        "  role: DEV\n",
        "  description: ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "---\n",
        "> ",
        "\n",
        "\n\n",
        " ",
        "\t",
        "\r\n",
        ":",
        ",",
        "\"",
        "'",
        "|",
        "é",
        "🎯",
        "\0",
        "src/a.rs ",
        "{\"tasks\":[",
        "{\"plan\":\"",
        "\"id\":",
        "1.",
        "\u{feff}",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn all_sources_say_the_same(needs in any_needs()) {
        let plans = [markdown(&needs), yaml(&needs), json(&needs)].map(|text| read(&text).map(|plan| plan.tasks));
        prop_assert_eq!(plans[0].is_ok(), plans[1].is_ok());
        if let [Ok(first), Ok(second), Ok(third)] = &plans {
            prop_assert_eq!(first, second);
            prop_assert_eq!(second, third);
        }
    }

    #[test]
    fn plans_are_in_order_or_their_cycles_are_named(needs in any_needs()) {
        match read(&markdown(&needs)) {
            Ok(plan) => {
                prop_assert!(is_ordered(&plan), "{}", shape(&plan));
                prop_assert_eq!(plan.tasks.len(), needs.len());
                let in_waves: usize = plan.waves().iter().map(Vec::len).sum();
                prop_assert_eq!(in_waves, needs.len());
            }
            Err(problems) => {
                let named = |problem: &Problem| problem.message.contains("cycle") || problem.message.contains("itself");
                prop_assert!(problems.0.iter().all(named), "{}", problems);
            }
        }
    }

    #[test]
    fn a_plan_in_order_stays_as_written(needs in any_needs()) {
        let downward: Vec<Vec<usize>> =
            needs.iter().enumerate().map(|(at, needed)| needed.iter().copied().filter(|other| *other < at).collect()).collect();
        let plan = read(&yaml(&downward)).unwrap();
        let order: Vec<String> = plan.tasks.iter().map(|task| task.id.to_string()).collect();
        prop_assert_eq!(order, (0..needs.len()).map(|at| format!("T-{at}")).collect::<Vec<_>>());
    }

    #[test]
    fn a_strategy_keeps_the_order_and_every_task(needs in any_needs(), parallel: bool) {
        let wanted = Wanted {
            parallel_execution: parallel, dependency_order: vec![], max_tasks_per_role: 0, auto_publish_to_nats: false,
        };
        if let Ok(plan) = read(&yaml(&needs)) {
            let derived = Plan { tasks: plan.derive(Some(&wanted)).unwrap().tasks, ..plan.clone() };
            prop_assert!(is_ordered(&derived));
            prop_assert_eq!(derived.tasks.len(), plan.tasks.len());
            prop_assert!(parallel || derived.waves().iter().all(|wave| wave.len() == 1));
        }
    }

    #[test]
    fn a_plan_survives_storing(needs in any_needs()) {
        if let Ok(plan) = read(&markdown(&needs)) {
            let stored = serde_json::to_string(&plan).unwrap();
            prop_assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, &Origin::default());
        let _ = approval(&bytes, &Origin::default());
    }

    #[test]
    fn no_text_makes_it_panic(text in plan_like()) {
        if let Ok(plan) = read(&text) {
            prop_assert!(is_ordered(&plan));
            let _ = (plan.to_text(), plan.to_dot(), plan.content_hash());
        }
        let event = serde_json::json!({ "story_id": "S", "plan_id": "P", "plan": text });
        let _ = approval(event.to_string().as_bytes(), &Origin::default());
    }

    #[test]
    fn no_yaml_and_no_json_makes_it_panic(text in plan_like()) {
        let _ = read(&format!("tasks:\n{text}"));
        let _ = read(&format!("{{\"tasks\": [{text}"));
        let _ = read(&format!("tasks: [{{id: a, {text}}}]"));
    }

    #[test]
    fn a_refused_plan_says_why(text in plan_like()) {
        if let Err(problems) = read(&text) {
            prop_assert!(!problems.0.is_empty());
            prop_assert!(problems.0.iter().all(|problem| !problem.field.is_empty() && !problem.message.is_empty()));
        }
    }
}
