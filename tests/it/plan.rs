//! `moothall plan check`: every kind of plan, as somebody reads it before it costs anything.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const MARKDOWN: &str = "\
# Login

## DEV Tasks

- [x] TASK-000: Set up the project
- [ ] TASK-001: Implement the login endpoint
  - Depends on: TASK-000
  - Priority: HIGH

## QA Tasks

- [ ] TASK-002: Test the login
  - Depends on: TASK-001
";

const SPEC_KIT: &str = "\
## Phase 1: Setup

- [ ] T001 Create the project in src/
- [ ] T002 [P] Write src/a.rs
- [ ] T003 [P] Write src/b.rs
- [ ] T004 [P] Document src/a.rs
";

const YAML: &str = "\
plan_id: P-1
tasks:
  - id: A
    role: dev
    description: Write it
    priority: CRITICAL
  - id: B
    role: QA
    description: Test it
    depends_on: [A]
";

/// Three problems in three places.
const WRONG: &str = "\
tasks:
  - {id: A, role: 2x, description: a}
  - {id: A, role: DEV, description: b}
  - {id: C, role: DEV, description: c, depends_on: [D]}
";

fn check(plan: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moothall"));
    command.args(["plan", "check", "-"]).args(arguments).env_clear().env("NO_COLOR", "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(plan.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn shown(plan: &str, arguments: &[&str]) -> String {
    let output = check(plan, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(plan: &str, arguments: &[&str]) -> String {
    let output = check(plan, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn markdown_is_shown_in_waves_with_what_is_done() {
    let text = shown(MARKDOWN, &["--plan-id", "P-7"]);
    let expected = "\
plan P-7, Markdown: 3 tasks, 1 done, 2 waves

wave 1
  TASK-001  DEV   80  Implement the login endpoint  ← TASK-000

wave 2
  TASK-002  QA    50  Test the login  ← TASK-001

done
  TASK-000  DEV   50  Set up the project
";
    assert_eq!(text, expected);
}

#[test]
fn tasks_that_name_one_path_do_not_run_side_by_side() {
    let text = shown(SPEC_KIT, &[]);
    let wave = |number: usize| text.split(&format!("wave {number}\n")).nth(1).unwrap().split("\n\n").next().unwrap();
    assert!(wave(2).contains("T002") && wave(2).contains("T003") && !wave(2).contains("T004"), "{text}");
    assert!(wave(3).contains("T004"), "{text}");
}

#[test]
fn yaml_becomes_json_and_a_graph() {
    let json: serde_json::Value = serde_json::from_str(&shown(YAML, &["--json"])).unwrap();
    assert_eq!((&json["plan_id"], &json["source"]), (&"P-1".into(), &"yaml".into()));
    assert_eq!((&json["tasks"][0]["priority"], &json["tasks"][1]["dependencies"][0]), (&100.into(), &"A".into()));
    let dot = shown(YAML, &["--graph", "dot"]);
    assert!(dot.starts_with("digraph \"P-1\" {") && dot.contains("\"A\" -> \"B\";"), "{dot}");
}

#[test]
fn text_without_tasks_becomes_one_task_for_each_role() {
    let text = shown("Build a login.", &["--plan-id", "P-1", "--story-id", "S-1", "--role", "dev", "--role", "QA"]);
    assert!(text.contains("Implement plan P-1 for story S-1"), "{text}");
    assert!(text.contains("implement-dev") && text.contains("implement-qa"), "{text}");
}

#[test]
fn all_problems_are_named_at_once_with_their_places() {
    let told = refused(WRONG, &[]);
    for part in ["tasks[0].role", "tasks[1] ", "tasks[2].depends_on", "line 2", "line 3", "line 4", "standard input"] {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
    let cycle = "tasks:\n- {id: A, role: DEV, description: a, depends_on: [B]}\n\
                 - {id: B, role: DEV, description: b, depends_on: [A]}\n";
    assert!(refused(cycle, &[]).contains("A → B → A"), "{}", refused(cycle, &[]));
}

#[test]
fn a_plan_that_is_too_big_is_refused_whole() {
    let tasks = |count: usize| {
        let one = |number| format!("- {{id: T-{number}, role: DEV, description: x}}\n");
        format!("tasks:\n{}", (0..count).map(one).collect::<String>())
    };
    assert!(shown(&tasks(500), &[]).contains("500 tasks"));
    assert!(refused(&tasks(501), &[]).contains("500"));
    assert!(shown(&tasks(501), &["--max-tasks", "501"]).contains("501 tasks"));
    assert!(refused(&"x".repeat(4 * 1024 * 1024 + 1), &[]).contains("at most 4194304 are allowed"));
}
