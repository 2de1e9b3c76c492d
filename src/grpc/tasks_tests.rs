//! Tasks as messages, and the filters of a list.

use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::answer::{Class, Usage};
use moothall_actors::domain::id::{Stage, Timestamp};
use moothall_actors::error::SystemError;
use moothall_actors::progress::Happened;
use tonic_types::StatusExt;

use super::super::fixtures::{agent, outcome, row};
use moothall_actors::ports::TaskRow;
use moothall_actors::progress::{Phase, Update};
use moothall_actors::view::TaskView;

use super::super::shown::of_row;
use super::*;

#[test]
fn a_row_tells_what_the_store_knows() {
    let stored = TaskRow {
        winner: Some(agent(2)),
        duration: Some(Duration::from_millis(1234)),
        ended_at: Some(Timestamp(5_000)),
        ..row(TaskStatus::Completed)
    };
    let task = of_row(&stored);
    assert_eq!(
        (task.status(), task.phase.as_str(), task.progress_percent),
        (wire::TaskStatus::Completed, "complete", 100)
    );
    assert_eq!((task.run, task.role.as_str(), task.kind()), (2, "DEV", wire::TaskKind::Deliberate));
    assert_eq!((task.winner_id.as_str(), task.duration_ms, task.ended_at_ms), ("agent-dev-002", 1234, 5_000));
    assert_eq!((task.story_id.as_str(), task.keyed, task.error), ("S-1", true, None));
}

#[test]
fn a_stored_error_keeps_its_class() {
    let failed = TaskRow { error: Some("timed_out: no answer".into()), ..row(TaskStatus::Failed) };
    let error = of_row(&failed).error.unwrap();
    assert_eq!((error.error_class(), error.message.as_str()), (wire::ErrorClass::TimedOut, "no answer"));
    let cancelled = TaskRow { error: Some("busy: elsewhere".into()), ..row(TaskStatus::Cancelled) };
    let error = of_row(&cancelled).error.unwrap();
    assert_eq!((error.error_class(), error.message.as_str()), (wire::ErrorClass::Unspecified, "busy: elsewhere"));
}

#[test]
fn a_retried_task_does_not_show_the_error_of_its_last_run() {
    let retried = TaskRow { error: Some("transient: lost".into()), ..row(TaskStatus::Open) };
    assert_eq!(of_row(&retried).error, None);
}

#[test]
fn a_running_task_tells_where_it_is() {
    let update = Update {
        at: Timestamp(3_000),
        phase: Phase::Reviewing,
        percent: 55,
        step: Happened::Answered { agent: agent(1), stage: Stage::Critique },
        agent: Some(agent(1)),
        partial: None,
        usage: Usage { prompt: 7, completion: 3 },
    };
    let state = TaskState::Running { last: Some(Arc::new(update)) };
    let task = shown(&TaskView { row: row(TaskStatus::Open), state });
    assert_eq!((task.phase.as_str(), task.progress_percent), ("reviewing", 55));
    assert_eq!((task.prompt_tokens, task.completion_tokens), (7, 3));
    assert_eq!(task.current_step, "agent-dev-001 reviewed");
}

#[test]
fn an_outcome_goes_before_what_the_row_says() {
    let state = TaskState::Completed(Arc::new(outcome()));
    let task = shown(&TaskView { row: row(TaskStatus::Open), state });
    assert_eq!((task.status(), task.calls, task.winner_id.as_str()), (wire::TaskStatus::Completed, 8, "agent-dev-002"));
    let error = SystemError::Failed { class: Class::Refused, message: "unknown model".into() };
    let task = shown(&TaskView { row: row(TaskStatus::Open), state: TaskState::Ended(error) });
    assert_eq!((task.status(), task.phase.as_str()), (wire::TaskStatus::Failed, "failed"));
    assert_eq!(task.error.unwrap().error_class(), wire::ErrorClass::Refused);
}

#[test]
fn an_empty_filter_lists_the_newest_hundred() {
    let all = query(&wire::ListTasksRequest::default()).unwrap();
    assert_eq!((all.status, all.role, all.story_id, all.before, all.limit), (None, None, None, None, 100));
}

#[test]
fn filters_are_parsed() {
    let request = wire::ListTasksRequest {
        status: wire::TaskStatus::Failed.into(),
        role: "dev".into(),
        story_id: "S-1".into(),
        limit: 7,
        cursor: "T-9".into(),
    };
    let query = query(&request).unwrap();
    assert_eq!((query.status, query.limit), (Some(TaskStatus::Failed), 7));
    assert_eq!(query.role.unwrap().as_str(), "DEV");
    assert_eq!(query.before.unwrap().as_str(), "T-9");
}

#[test]
fn every_bad_filter_is_named() {
    let request = wire::ListTasksRequest {
        status: 99,
        role: "a b".into(),
        story_id: "x".repeat(257),
        limit: 1001,
        cursor: "\u{1}".into(),
    };
    let status = query(&request).unwrap_err();
    let details = status.get_error_details();
    let fields: Vec<_> = details.bad_request().unwrap().field_violations.iter().map(|found| &found.field[..]).collect();
    assert_eq!(fields, ["status", "role", "cursor", "story_id", "limit"]);
}
