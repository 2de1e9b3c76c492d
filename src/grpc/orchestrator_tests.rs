//! Standings and stream updates, by their tables.

use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::answer::{Class, Usage};
use moothall_actors::domain::id::{Stage, Timestamp};
use moothall_actors::error::SystemError;
use moothall_actors::ports::TaskStatus;
use moothall_actors::progress::{Happened, Partial, Update};
use moothall_actors::view::Finished as Sum;
use tonic::Code;

use super::super::fixtures::{agent, outcome, proposal, role, row};
use super::*;

fn update(phase: Phase) -> Event {
    let partial = Partial { proposal: proposal(1), ranked: None };
    Event::Updated(
        1,
        Arc::new(Update {
            at: Timestamp(1),
            phase,
            percent: 30,
            step: Happened::Answered { agent: agent(1), stage: Stage::Propose },
            agent: Some(agent(1)),
            partial: Some(Arc::new(partial)),
            usage: Usage::default(),
        }),
    )
}

#[test]
fn every_phase_of_work_has_the_contracts_word() {
    let word = |phase| {
        let told = updates(update(phase), &role());
        told.into_iter().map(|update| update.unwrap().status).collect::<Vec<_>>()
    };
    assert_eq!(word(Phase::Generating), ["generating"]);
    assert_eq!(word(Phase::Reviewing), ["reviewing"]);
    assert_eq!(word(Phase::Revising), ["revising"]);
    assert_eq!(word(Phase::Scoring), ["scoring"]);
    assert_eq!(word(Phase::Selecting), ["selecting"]);
    assert!(word(Phase::Pending).is_empty());
}

#[test]
fn an_update_carries_the_text_that_came_with_it() {
    let told = updates(update(Phase::Generating), &role()).remove(0).unwrap();
    assert_eq!((told.progress_percent, told.current_agent.as_str()), (30, "agent-dev-001"));
    assert_eq!(told.partial_result.unwrap().proposal.unwrap().content, "final 1");
}

#[test]
fn the_last_update_is_the_winner() {
    let event = Event::Ended { index: 9, percent: 90, result: Ok(Arc::new(outcome())) };
    let told = updates(event, &role());
    assert_eq!(told.len(), 1);
    let last = told.into_iter().next().unwrap().unwrap();
    assert_eq!((last.status.as_str(), last.progress_percent), ("complete", 100));
    assert_eq!(last.current_agent, "agent-dev-002");
    assert_eq!(last.partial_result.unwrap().rank, 1);
}

#[test]
fn a_failed_run_ends_with_its_reason_and_its_code() {
    let error = SystemError::Failed { class: Class::Transient, message: "no model answered".into() };
    let told = updates(Event::Ended { index: 2, percent: 30, result: Err(error) }, &role());
    let [Ok(failed), Err(status)] = &told[..] else { panic!("an update and an error: {told:?}") };
    assert_eq!((failed.status.as_str(), failed.progress_percent), ("failed", 30));
    assert_eq!(failed.current_step, "no model answered");
    assert_eq!(status.code(), Code::Unavailable);
}

#[test]
fn a_task_stands_as_the_contract_says() {
    let failed = |class| TaskState::Ended(SystemError::Failed { class, message: "why".into() });
    let cancelled = TaskState::Ended(SystemError::Cancelled { reason: "too dear".into() });
    let table = [
        (TaskState::Pending, TaskStatus::Open, Wire::Pending, ""),
        (TaskState::Running { last: None }, TaskStatus::Open, Wire::InProgress, ""),
        (TaskState::Completed(Arc::new(outcome())), TaskStatus::Completed, Wire::Completed, ""),
        (failed(Class::Refused), TaskStatus::Failed, Wire::Failed, "why"),
        (failed(Class::TimedOut), TaskStatus::Failed, Wire::Timeout, "why"),
        (cancelled, TaskStatus::Cancelled, Wire::Failed, "cancelled: too dear"),
    ];
    for (state, status, expected, error) in table {
        let answer = standing(&TaskView { row: row(status), state });
        assert_eq!((answer.status(), answer.error_message.as_str()), (expected, error));
        assert_eq!(answer.task_id, "T-1");
        assert_eq!(answer.results.len(), if expected == Wire::Completed { 2 } else { 0 });
    }
}

#[test]
fn orchestrate_sets_the_winner_apart() {
    let answer = orchestrated(Finished::of(&outcome(), &role()));
    assert_eq!(answer.winner.unwrap().rank, 1);
    assert_eq!(answer.candidates.iter().map(|result| result.rank).collect::<Vec<_>>(), [2]);
    assert_eq!(answer.execution_id, "0123456789abcdef");
}

#[test]
fn sums_are_told_by_kind_and_role() {
    let sum = |count, millis| Sum { count, total: Duration::from_millis(millis) };
    let finished = [((role(), TaskKind::Deliberate), sum(3, 300)), ((role(), TaskKind::Orchestrate), sum(1, 500))];
    let stats = stats(&SystemStatus { finished: finished.into(), ..SystemStatus::default() }, 5);
    assert_eq!((stats.total_deliberations, stats.total_orchestrations, stats.active_councils), (3, 1, 5));
    assert_eq!(stats.role_counts["DEV"], 4);
    assert!((stats.avg_deliberation_time_ms - 200.0).abs() < 1e-9);
    let none = super::stats(&SystemStatus::default(), 0);
    assert!(none.avg_deliberation_time_ms.abs() < 1e-9);
}
