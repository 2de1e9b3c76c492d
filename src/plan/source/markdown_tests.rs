//! Plans in Markdown.

use super::super::limit::MAX_DESCRIPTION_BYTES;
use super::super::{Origin, Source, parse};
use super::testing::{plan, problems, shape};

#[test]
fn sections_items_and_their_nested_items_become_tasks() {
    let text = "# Login\n\nSome prose.\n\n## DEV Tasks\n\n- [ ] TASK-001: Implement login endpoint\n  - Depends on: \
                TASK-000, TASK-003\n  - Priority: HIGH\n- [x] TASK-000: Set up\n\n## QA Tasks (later)\n\n\
                - [ ] TASK-002: Test it\n  - depends on: TASK-001\n- [ ] TASK-003: Review\n  - Role: architect\n";
    let plan = plan(text);
    assert_eq!(plan.source, Source::Markdown);
    assert_eq!(shape(&plan), "TASK-000 TASK-003 TASK-001<TASK-000,TASK-003 TASK-002<TASK-001");
    let roles: Vec<&str> = plan.tasks.iter().map(|task| task.role.as_str()).collect();
    assert_eq!(roles, ["DEV", "ARCHITECT", "DEV", "QA"]);
    assert_eq!(plan.tasks.iter().map(|task| task.done).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!((plan.tasks[2].priority.get(), plan.tasks[2].description.as_str()), (80, "Implement login endpoint"));
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
}

#[test]
fn marks_and_looser_writing_are_tolerated() {
    let text = "### dev tasks:\n\n* [X] **TASK-1**: a\n\n* [ ] `TASK-2`: b **c**\n\n  * **Depends on:** `TASK-1`\n  \
                * **Priority**: low\n1. [ ] TASK-3: c\n   - Dependencies:\n     - TASK-1\n     - TASK-2\n\
                - [ ] TASK-4: d\n  - Depends on: none\n";
    let plan = plan(text);
    assert_eq!(shape(&plan), "TASK-1 TASK-2<TASK-1 TASK-3<TASK-1,TASK-2 TASK-4");
    assert_eq!((plan.tasks[1].priority.get(), plan.tasks[1].description.as_str()), (10, "b **c**"));
}

#[test]
fn other_nested_items_and_paragraphs_belong_to_the_description() {
    let text = "## DEV Tasks\n- [ ] T-1: Add it\n  with care\n  - Priority: LOW\n  - [ ] a step\n  - Note: see `x`\n\n  \
                ```rust\n  fn a() {}\n  ```\n- [ ] T-2: Next\n";
    let plan = plan(text);
    assert_eq!(
        plan.tasks[0].description,
        "Add it\nwith care\n- [ ] a step\n- Note: see `x`\n\n```rust\nfn a() {}\n```"
    );
    assert_eq!((plan.tasks[0].priority.get(), shape(&plan).as_str()), (10, "T-1 T-2"));
}

#[test]
fn a_section_ends_with_the_next_heading_of_its_level() {
    let text = "## DEV Tasks\n### Backend\n- [ ] A-1: a\n## Acceptance\n- [ ] A-2: checked by hand\n- [ ] by eye\n\
                - [ ] A-3: c\n  - Role: QA\n";
    let plan = plan(text);
    assert_eq!(shape(&plan), "A-1 A-3");
    let expected = [
        "line 5, column 1 is skipped: \"A-2\" stands under no `## ROLE Tasks` and names no role",
        "line 6, column 1 is skipped: it has no id such as `TASK-001:`",
    ];
    assert_eq!(plan.notes, expected);
}

#[test]
fn code_quotes_and_comments_hold_no_tasks() {
    let text = "## DEV Tasks\n- [ ] A-1: a\n\n```\n- [ ] A-2: b\n```\n\n> - [ ] A-3: c\n\n<!--\n- [ ] A-4: d\n-->\n";
    assert_eq!(shape(&plan(text)), "A-1");
}

#[test]
fn everything_wrong_is_said_at_once_with_its_line() {
    let text = "## DEV Tasks\n- [ ] no id here\n- [ ] A-1:\n  - Depends on: A-9\n- [ ] A-2: b\n  - Priority: soon\n  \
                - Role: a b\n- [ ] A-2: c\n  - Depends on: A-1 or A-2\n  - Priority: 1\n  - Priority: 2\n\
                ## Front-End Tasks\n- [ ] A-4: d\n- [ ] A-5: e\n  - Depends on: A-5\n  - Role: QA\n\
                - [ ] A-6: f\n  - Role: QA\n  - Depends on: A-7\n- [ ] A-7: g\n  - Role: QA\n  - Depends on: A-6\n";
    let expected = [
        "line 2, column 1 has no id; a task is written `- [ ] TASK-001: text`",
        "line 3, column 1 has no description; a task is written `- [ ] TASK-001: text`",
        "line 6, column 3 has the priority \"soon\"; allowed are LOW, MEDIUM, HIGH, CRITICAL and 0 to 100",
        "line 7, column 3 \"a b\" is not a role; allowed is [A-Z][A-Z0-9_]{0,31}, such as DEV",
        "line 9, column 3 depends on \"A-1 or A-2\"; ids stand between commas",
        "line 11, column 3 is a second priority",
        "line 13, column 1 \"Front-End\" is not a role; allowed is [A-Z][A-Z0-9_]{0,31}, such as DEV",
        "line 8, column 1 has the id \"A-2\", which line 5, column 1 already has; ids are unique",
        "line 4, column 3 depends on \"A-9\", which is no task of this plan",
        "line 15, column 3 makes \"A-5\" depend on itself",
        "line 17, column 1 is part of a cycle: A-6 → A-7 → A-6 (none of these tasks can start, each waits for the next)",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn odd_boxes_are_reported() {
    let text = "## DEV Tasks\n- [ ] A-1: a\n- [-] A-2: b\n- A-3: c\n- plain\n";
    let plan = plan(text);
    assert_eq!(shape(&plan), "A-1");
    let expected = [
        "line 3, column 1 is skipped: a box is [ ], [x] or [X]",
        "line 4, column 1 is skipped: a task has a box, `- [ ]`",
    ];
    assert_eq!(plan.notes, expected);
}

#[test]
fn a_description_ends_at_its_limit() {
    let text = |bytes: usize| format!("## DEV Tasks\n- [ ] A-1: {}\n", "x".repeat(bytes));
    let read = |bytes| parse(text(bytes).as_bytes(), &Origin::default());
    assert_eq!(read(MAX_DESCRIPTION_BYTES).unwrap().tasks[0].description.len(), MAX_DESCRIPTION_BYTES);
    assert!(read(MAX_DESCRIPTION_BYTES + 1).is_err());
}

#[test]
fn the_line_ends_of_windows_are_line_ends() {
    let plan = plan("## DEV Tasks\r\n- [ ] A-1: a\r\n  - Priority: HIGH\r\n- [ ] A-2: b\r\n  - Depends on: A-1\r\n");
    assert_eq!(shape(&plan), "A-1 A-2<A-1");
    assert_eq!((plan.tasks[0].priority.get(), plan.tasks[0].description.as_str()), (80, "a"));
}
