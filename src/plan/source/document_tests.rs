//! Plans in JSON and YAML, and the event that approves them.

use std::time::Duration;

use moothall_actors::domain::id::Role;

use super::super::limit;
use super::super::{OnDependencyFailure, Origin, Source, approval, parse};
use super::testing::{plan, problems, shape};

const FULL: &str = r#"
plan_id: P-1
story_id: S-1
hold_until_phase: build
await_execution: true
tasks:
  - id: TASK-001
    role: dev
    description: Implement login endpoint
    dependencies: [TASK-000]
    priority: HIGH
    constraints:
      rubric: clear
      requirements: [tests pass, no new dependency]
      timeout_seconds: 60
      metadata: {strategy: fast, budget_tokens: 5000}
    requires_pre_deliberation: false
    requires_deliberation: true
    num_agents: 2
    rounds: 3
    await_execution: false
    execution_timeout_seconds: 600
    on_dependency_failure: skip
  - id: TASK-000
    role: ARCHITECT
    description: Design it
    story_id: S-2
"#;

#[test]
fn yaml_with_every_key_becomes_a_plan() {
    let plan = plan(FULL);
    assert_eq!((plan.plan_id.as_str(), plan.story_id.as_str(), plan.source), ("P-1", "S-1", Source::Yaml));
    assert_eq!(plan.hold_until_phase.as_deref(), Some("BUILD"));
    assert_eq!(shape(&plan), "TASK-000 TASK-001<TASK-000");
    let [design, login] = plan.tasks.as_slice() else { panic!("{plan:?}") };
    assert_eq!((design.story_id.as_str(), design.plan_id.as_str(), design.await_execution), ("S-2", "P-1", true));
    assert_eq!((login.story_id.as_str(), login.role.as_str(), login.priority.get()), ("S-1", "DEV", 80));
    assert_eq!(login.constraints.requirements, ["tests pass", "no new dependency"]);
    assert_eq!(login.constraints.metadata.get("budget_tokens").map(String::as_str), Some("5000"));
    assert_eq!(login.constraints.timeout, Some(Duration::from_secs(60)));
    assert_eq!((login.requires_pre_deliberation, login.requires_deliberation), (false, true));
    assert_eq!((login.num_agents.map(u16::from), login.rounds, login.await_execution), (Some(2), Some(3), false));
    assert_eq!(login.execution_timeout, Some(Duration::from_secs(600)));
    assert_eq!(login.on_dependency_failure, Some(OnDependencyFailure::Skip));
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
}

#[test]
fn json_says_the_same_as_yaml() {
    let json = r#"{"plan_id": "P-1", "tasks": [
        {"id": "b", "role": "QA", "description": "test", "depends_on": "a", "priority": 7},
        {"id": "a", "role": "DEV", "description": "build", "story_id": null}]}"#;
    let yaml = "plan_id: P-1\ntasks:\n- {id: b, role: QA, description: test, depends_on: a, priority: 7}\n\
                - {id: a, role: DEV, description: build, story_id: ~}\n";
    let (from_json, from_yaml) = (plan(json), plan(yaml));
    assert_eq!(from_json.source, Source::Json);
    assert_eq!(from_json.tasks, from_yaml.tasks);
    assert_eq!(shape(&from_json), "a b<a");
    let defaults = &from_json.tasks[0];
    assert_eq!((defaults.priority.get(), defaults.rounds, defaults.num_agents), (50, None, None));
    assert!(defaults.requires_pre_deliberation && !defaults.requires_deliberation && !defaults.await_execution);
}

#[test]
fn other_forms_of_the_same_are_taken() {
    let bare = r#"[{"id": 1, "role": "DEV", "description": "x"}, {"id": "2", "role": "DEV", "description": "y",
        "dependencies": [1], "depends_on": ["1"]}]"#;
    assert_eq!(shape(&plan(bare)), "1 2<1");
    let table = [
        "{tasks: [{id: a, role: DEV, description: x}]}",
        "- id: a\n  role: DEV\n  description: x\n",
        "# a comment\n---\ntasks:\n  - id: a\n    role: DEV\n    description: |\n      x\n",
        "\u{feff}tasks:\n  - id: a\n    role: DEV\n    description: \"x\"\n",
        "\"tasks\":\n  - id: a\n    role: DEV\n    description: x\n",
    ];
    for text in table {
        let plan = plan(text);
        assert_eq!((plan.source, plan.tasks[0].description.as_str()), (Source::Yaml, "x"), "{text}");
    }
}

#[test]
fn everything_wrong_is_said_at_once_with_its_key_and_place() {
    let text = "tasks:\n- id: a\n  role: front-end\n  description: ''\n  priority: urgent\n  num_agents: -1\n\
                - role: DEV\n  description: x\n  rounds: 9\n- just text\n- id: a\n  role: DEV\n  description: y\n  \
                dependencies: [z]\n  requires_deliberation: maybe\n  constraints: {requirements: [''], metadata: {k: [1]}}\n";
    let expected = [
        "tasks[0].role (line 3, column 9) \"front-end\" is not a role; allowed is [A-Z][A-Z0-9_]{0,31}, such as DEV",
        "tasks[0].description (line 4, column 16) is empty",
        "tasks[0].priority (line 5, column 13) is \"urgent\"; allowed are LOW, MEDIUM, HIGH, CRITICAL and 0 to 100",
        "tasks[0].num_agents (line 6, column 15) is \"-1\"; a whole number from 0 to 65535 is allowed",
        "tasks[1].id is missing",
        "tasks[1].rounds (line 9, column 11) is \"9\"; a whole number from 0 to 8 is allowed",
        "tasks[2] (line 10, column 3) is a text; an object is allowed",
        "tasks[3].requires_deliberation (line 15, column 26) is \"maybe\"; true or false is allowed",
        "tasks[3].constraints.requirements[0] (line 16, column 32) is empty",
        "tasks[3].constraints.metadata.k (line 16, column 51) is a list; a text is allowed",
        "tasks[3] (line 11, column 3) has the id \"a\", which tasks[0] (line 2, column 3) already has; ids are unique",
        "tasks[3].dependencies[0] (line 14, column 18) depends on \"z\", which is no task of this plan",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn bad_documents_are_named() {
    let one = |rest: &str| format!("tasks: [{{id: a, role: DEV, description: x, {rest}}}]");
    let table = [
        ("tasks: 5\n".to_owned(), "tasks (line 1, column 8) is a number; a list of tasks is allowed"),
        ("tasks: [\n".to_owned(), "is not YAML"),
        ("{\"tasks\": [}".to_owned(), "line 1, column 12 is not JSON: expected value"),
        ("{\"tasks\": [], \"tasks\": []}".to_owned(), "tasks is given twice"),
        (one("id: b"), "tasks[0].id (line 1, column 48) is given twice"),
        (one("plan_id: other"), "a task has its plan's or none"),
        (one("on_dependency_failure: explode"), "is \"explode\"; allowed are block, skip, run"),
        (one("constraints: x"), "tasks[0].constraints (line 1, column 57) is a text; an object is allowed"),
        (one("description2: x, dependencies: [a]"), "makes \"a\" depend on itself"),
        ("hold_until_phase: DEPLOY\ntasks: []\n".to_owned(), "allowed are BUILD, TEST, IN_PROGRESS"),
        ("roles: [a b]\ntasks: []\n".to_owned(), "roles[0] (line 1, column 9) \"a b\" is not a role"),
    ];
    for (text, expected) in table {
        let found = problems(&text);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
    assert_eq!(parse(b"tasks: \xff", &Origin::default()).unwrap_err().to_string(), "line 1 is not UTF-8");
}

#[test]
fn keys_that_nothing_reads_are_noted() {
    let notes =
        plan("tasks:\n- {id: a, role: DEV, description: x, depend_on: b, constraints: {rubrik: x}}\nversion: 1\n")
            .notes;
    let expected = [
        "version (line 3, column 10) is not read",
        "tasks[0].constraints.rubrik (line 2, column 74) is not read",
        "tasks[0].depend_on (line 2, column 49) is not read",
    ];
    assert_eq!(notes, expected);
}

#[test]
fn nothing_usable_becomes_one_task_per_role() {
    let roles = vec![Role::parse("r", "DEV").unwrap(), Role::parse("r", "qa").unwrap()];
    let origin = Origin { plan_id: "P-1".into(), story_id: "S-1".into(), roles, ..Origin::default() };
    for text in ["", "We should build a login.\n", "{\"plan_id\": \"P-1\"}", "tasks: []\n", "# Plan\n\n- one\n- two\n"]
    {
        let plan = parse(text.as_bytes(), &origin).unwrap();
        assert_eq!((plan.source, shape(&plan).as_str()), (Source::Roles, "implement-dev implement-qa"), "{text}");
        assert_eq!(plan.tasks[1].description, "Implement plan P-1 for story S-1");
        assert_eq!(plan.notes.last().unwrap(), "plan holds no task that can be used; it becomes one task per role");
    }
    assert_eq!(plan("").tasks[0].description, "Implement the plan");
}

#[test]
fn an_event_is_read_in_its_envelope_and_bare() {
    let payload = r###"{"story_id": "S-1", "plan_id": "P-1", "approved_by": "po", "approved_at": "2026-01-01T00:00:00Z",
        "roles": ["QA", "DEV"], "plan": "## DEV Tasks\n- [ ] T-1: build\n"}"###;
    let wrapped = format!(r#"{{"event_type": "planning.plan.approved", "payload": {payload}, "metadata": {{}}}}"#);
    for text in [payload, &wrapped] {
        let approval = approval(text.as_bytes(), &Origin::default()).unwrap();
        assert_eq!(approval.approved_by.as_deref(), Some("po"));
        assert_eq!(approval.approved_at.as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(approval.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(), ["QA", "DEV"]);
        assert_eq!((approval.plan.plan_id.as_str(), approval.plan.source), ("P-1", Source::Markdown));
        assert_eq!(shape(&approval.plan), "T-1");
        assert_eq!(shape(&plan(text)), "T-1", "a file with an event is a plan, too");
    }
}

#[test]
fn the_tasks_of_an_event_stand_in_one_of_three_keys() {
    let event = |rest: &str| {
        let text = format!(r#"{{"story_id": "S", "plan_id": "P", "roles": ["DEV", "QA"], {rest}}}"#);
        approval(text.as_bytes(), &Origin::default()).map(|approval| shape(&approval.plan)).map_err(|p| p.to_string())
    };
    let task = r#"{"id": "a", "role": "DEV", "description": "x"}"#;
    assert_eq!(event(&format!(r#""tasks": [{task}], "plan": "prose""#)).unwrap(), "a");
    assert_eq!(event(&format!(r#""plan": {{"tasks": [{task}]}}"#)).unwrap(), "a");
    assert_eq!(event(&format!(r#""plan": [{task}]"#)).unwrap(), "a");
    assert_eq!(event(r#""plan": "tasks:\n- {id: a, role: DEV, description: x}\n""#).unwrap(), "a");
    assert_eq!(
        event(r#""plan": "prose", "tasks_outline": ["T-7: x", "QA: y", "Note: z"]"#).unwrap(),
        "T-7 TASK-002 TASK-003"
    );
    assert_eq!(event(r#""plan": "prose""#).unwrap(), "implement-dev implement-qa");
    let inside = event(r#""plan": "tasks:\n- {id: a, role: '?', description: x}\n""#).unwrap_err();
    assert!(inside.starts_with("plan: tasks[0].role (line 2, column 17) \"?\" is not a role"), "{inside}");
    let other = event(r#""plan": {"plan_id": "Q", "tasks": []}"#).unwrap_err();
    assert_eq!(other, "plan.plan_id is \"Q\", but the plan was approved as \"P\"");
}

#[test]
fn an_event_must_name_story_and_plan() {
    let error = approval(br#"{"payload": {"plan": "x"}}"#, &Origin::default()).unwrap_err();
    assert_eq!(error.to_string(), "payload.story_id is missing or empty; payload.plan_id is missing or empty");
    assert!(approval(b"no json", &Origin::default()).is_err());
    assert!(approval(b"[]", &Origin::default()).is_err());
}

#[test]
fn plans_in_plans_end() {
    let mut text = "prose".to_owned();
    for _ in 0..8 {
        text = serde_json::json!({ "plan": text }).to_string();
    }
    assert_eq!(plan(&text).source, Source::Roles);
}

#[test]
fn texts_and_lists_end_at_their_limits() {
    let with = |key: &str, value: serde_json::Value| {
        let mut task = serde_json::json!({"id": "a", "role": "DEV", "description": "x", "constraints": {}});
        match key.strip_prefix("constraints.") {
            Some(key) => task["constraints"][key] = value,
            None => task[key] = value,
        }
        parse(serde_json::json!({ "tasks": [task] }).to_string().as_bytes(), &Origin::default()).is_ok()
    };
    let texts = [
        ("id", limit::MAX_ID_BYTES),
        ("story_id", limit::MAX_ID_BYTES),
        ("description", limit::MAX_DESCRIPTION_BYTES),
        ("constraints.rubric", limit::MAX_RUBRIC_BYTES),
        ("constraints.requirements", limit::MAX_RUBRIC_BYTES),
    ];
    for (key, most) in texts {
        assert!(with(key, "x".repeat(most).into()), "{key}");
        assert!(!with(key, "x".repeat(most + 1).into()), "{key}");
    }
    let numbers = [
        ("priority", u32::from(limit::MAX_PRIORITY)),
        ("rounds", u32::from(limit::MAX_ROUNDS)),
        ("num_agents", u32::from(limit::MAX_AGENTS)),
        ("execution_timeout_seconds", limit::MAX_EXECUTION_SECONDS),
        ("constraints.timeout_seconds", limit::MAX_TIMEOUT_SECONDS),
        ("constraints.max_iterations", u32::from(limit::MAX_ROUNDS)),
    ];
    for (key, most) in numbers {
        assert!(with(key, most.into()) && with(key, 0.into()), "{key}");
        assert!(!with(key, (most + 1).into()), "{key}");
    }
    let list = |count: usize| vec!["x"; count].into();
    assert!(with("constraints.requirements", list(limit::MAX_REQUIREMENTS)));
    assert!(!with("constraints.requirements", list(limit::MAX_REQUIREMENTS + 1)));
    let entries = |count: usize, key: usize, value: usize| {
        let one = |n: usize| (format!("{n}{}", "k".repeat(key)), serde_json::Value::from("v".repeat(value)));
        serde_json::Value::Object((0..count).map(one).collect())
    };
    assert!(with("constraints.metadata", entries(limit::MAX_METADATA, 0, 1)));
    assert!(!with("constraints.metadata", entries(limit::MAX_METADATA + 1, 0, 1)));
    let most = limit::MAX_METADATA_BYTES;
    assert!(with("constraints.metadata", entries(1, most - 1, most)));
    assert!(!with("constraints.metadata", entries(1, most, 1)));
    assert!(!with("constraints.metadata", entries(1, 1, most + 1)));
}

#[test]
fn the_plan_ends_at_its_limits() {
    let tasks = |count: usize| {
        let one = |n| format!("{{\"id\": \"t{n}\", \"role\": \"DEV\", \"description\": \"x\"}}");
        format!("{{\"tasks\": [{}]}}", (0..count).map(one).collect::<Vec<_>>().join(","))
    };
    let read = |count, max_tasks| parse(tasks(count).as_bytes(), &Origin { max_tasks, ..Origin::default() });
    assert!(read(limit::DEFAULT_MAX_TASKS, limit::DEFAULT_MAX_TASKS).is_ok());
    let problems = read(limit::DEFAULT_MAX_TASKS + 1, limit::DEFAULT_MAX_TASKS).unwrap_err();
    assert_eq!(problems.to_string(), "plan has 501 tasks; at most 500 are allowed (plans.max_tasks)");
    assert!(read(limit::HARD_MAX_TASKS, usize::MAX).is_ok());
    assert!(read(limit::HARD_MAX_TASKS + 1, usize::MAX).is_err());
    let bytes = |count: usize| parse(" ".repeat(count).as_bytes(), &Origin::default());
    assert!(bytes(limit::MAX_PLAN_BYTES).is_ok());
    assert!(bytes(limit::MAX_PLAN_BYTES + 1).unwrap_err().to_string().contains("at most 4194304 are allowed"));
}
