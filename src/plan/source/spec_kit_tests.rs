//! Plans of Spec Kit.

use super::super::limit::{MAX_DESCRIPTION_BYTES, MAX_TAGS};
use super::super::{Origin, Source, parse};
use super::testing::{plan, problems, shape};
use moothall_actors::domain::id::Role;

const TASKS: &str = "---\ndescription: \"Tasks\"\n---\n\n# Tasks: Login\n\n## Format: `[ID] [P?] [Story] Description`\n\n\
## Phase 1: Setup (Shared Infrastructure)\n\n- [X] T001 Create project structure\n- [ ] T002 [P] Configure lints in clippy.toml\n\
- [ ] T003 [P] Configure format in rustfmt.toml\n\n## Phase 2: Foundational\n\n**CRITICAL**: blocks all\n\n- [ ] T004 Schema in src/db/schema.rs\n\n\
## Phase 3: User Story 1 - Login (Priority: P1) 🎯 MVP\n\n### Tests\n\n- [ ] T005 [P] [US1] Contract test in tests/login.rs\n\n### Implementation\n\n\
- [ ] T006 [P] [US1] User in src/models/user.rs\n- [ ] T007 [P] [US1] Session in src/models/user.rs\n\
- [ ] T008 [US1] Service in src/service.rs (depends on T004, T006)\n\n## Phase N: Polish\n\n- [ ] T009 [P] Docs in docs/\n\n\
```bash\n- [ ] T900 not a task\n```\n\n<!--\n- [ ] T901 not a task\n-->\n\n  - [ ] T902 not at column 0\n";

#[test]
fn phases_are_barriers_and_marked_tasks_are_waves() {
    let plan = plan(TASKS);
    assert_eq!(plan.source, Source::SpecKit);
    let expected = "T001 T002<T001 T003<T001 T004<T002,T003 T005<T004 T006<T004 T007<T004,T006 \
                    T008<T004,T006,T005,T007 T009<T008";
    assert_eq!(shape(&plan), expected);
    assert!(plan.tasks[0].done && !plan.tasks[1].done);
    assert_eq!(plan.tasks[4].tags, ["US1"]);
    assert_eq!(plan.tasks[4].description, "Contract test in tests/login.rs");
    assert_eq!(plan.tasks[4].phase.as_deref(), Some("Phase 3: User Story 1 - Login (Priority: P1) 🎯 MVP"));
    assert_eq!(plan.tasks[4].role.as_str(), "DEV");
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
}

#[test]
fn heads_are_read_however_they_are_written() {
    let table: [(&str, &str, &[&str], bool); 10] = [
        ("- [ ] T001 text", "text", &[], false),
        ("- [ ] **T001** [P] [US1] text", "text", &["US1"], true),
        ("- [ ] **T001 [US1] [P]** text", "text", &["US1"], true),
        ("- [ ] [P] T001 [risk] [US2] text", "text", &["risk", "US2"], true),
        ("- [ ] **T001**: text", "text", &[], false),
        ("- [ ] **T001: text**", "text", &[], false),
        ("- [ ] T001 — text", "text", &[], false),
        ("* [ ] T001 [a](b) text", "[a](b) text", &[], false),
        ("- [x]   T001   **bold** text", "**bold** text", &[], false),
        ("- [ ] T001 [P] `code` text", "`code` text", &[], true),
    ];
    for (line, text, tags, parallel) in table {
        let plan = plan(&format!("{line}\n- [ ] T002 [P] x\n"));
        let task = &plan.tasks[0];
        assert_eq!((task.id.as_str(), task.description.as_str()), ("T001", text), "{line}");
        assert_eq!(task.tags, tags, "{line}");
        assert_eq!(plan.tasks[1].dependencies.is_empty(), parallel, "{line}");
    }
}

#[test]
fn what_is_no_task_is_skipped_and_reported() {
    let plan = plan("- [ ] T001 a\n- [-] T002 b\n- [ ] TXXX c\n- [~] d\n- [ ] T1 e\n- [ ]T003 f\n* T004 g\n");
    assert_eq!(shape(&plan), "T001");
    let expected = [
        "line 2, column 1 is skipped: T002 is marked [-]; a box is [ ], [x] or [X]",
        "line 3, column 1 is skipped: it has no id such as T001",
        "line 4, column 1 is skipped: it has no id such as T001",
        "line 5, column 1 is skipped: it has no id such as T001",
    ];
    assert_eq!(plan.notes, expected);
}

#[test]
fn everything_wrong_is_said_at_once_with_its_line() {
    let text = "## Phase 1\n- [ ] T001 a (depends on T009)\n- [ ] T001 b\n- [ ] T002 [P]\n- [ ] T003 c (depends on T004)\n- [ ] T004 d\n";
    let expected = [
        "line 4, column 1 gives \"T002\" no description",
        "line 3, column 1 has the id \"T001\", which line 2, column 1 already has; ids are unique",
        "line 2, column 1 depends on \"T009\", which is no task of this plan",
        "line 3, column 1 makes \"T001\" depend on itself",
        "line 5, column 1 is part of a cycle: T003 → T004 → T003 (none of these tasks can start, each waits for the next)",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn tasks_of_the_first_role_unless_their_list_is_by_role() {
    let roles = vec![Role::parse("r", "BACKEND").unwrap()];
    let by_event = parse(TASKS.as_bytes(), &Origin { roles, ..Origin::default() }).unwrap();
    assert_eq!(by_event.tasks[0].role.as_str(), "BACKEND");
    let by_section = plan("## QA Tasks\n- [ ] T001: a\n- [ ] T002: b\n");
    assert_eq!((by_section.source, shape(&by_section).as_str()), (Source::Markdown, "T001 T002"));
    assert_eq!(by_section.tasks[0].role.as_str(), "QA");
    let setup = plan("## Setup Tasks\n- [ ] T001 a\n- [ ] T002 b\n");
    assert_eq!((setup.source, shape(&setup).as_str()), (Source::SpecKit, "T001 T002<T001"));
}

#[test]
fn limits_hold_at_their_edges() {
    let text = |bytes: usize| format!("- [ ] T001 {}\n", "x".repeat(bytes));
    assert_eq!(plan(&text(MAX_DESCRIPTION_BYTES)).tasks[0].description.len(), MAX_DESCRIPTION_BYTES);
    assert!(problems(&text(MAX_DESCRIPTION_BYTES + 1))[0].contains("at most 262144 are allowed"));
    let labels: String = (0..=MAX_TAGS).map(|n| format!("[l{n}] ")).collect();
    let task = plan(&format!("- [ ] T001 {labels}x\n")).tasks.remove(0);
    assert_eq!((task.tags.len(), task.description), (MAX_TAGS, format!("[l{MAX_TAGS}] x")));
    let waves = |width: usize| {
        let wave = |from: usize| (from..from + width).map(|n| format!("- [ ] T{n:05} [P] x\n")).collect::<String>();
        let text = format!("## Phase 1\n{}## Phase 2\n{}", wave(0), wave(width));
        parse(text.as_bytes(), &Origin { max_tasks: 10_000, ..Origin::default() })
    };
    assert!(waves(316).is_ok());
    let problems = waves(317).unwrap_err().to_string();
    assert_eq!(problems, "plan has more than 100000 dependencies, those of its order included");
}

/// Each line is cheap to write and names all others.
#[test]
fn ranges_that_name_everything_are_refused_quickly() {
    let line = |n: usize| format!("- [ ] T{n:04} [P] x (depends on T0001-T9999)\n");
    let text: String = (1..=9_999).map(line).collect();
    let problems = parse(text.as_bytes(), &Origin { max_tasks: 10_000, ..Origin::default() }).unwrap_err();
    assert_eq!(problems.to_string(), "plan has more than 100000 dependencies, those of its order included");
}
