//! Workflows in the store: rows and history are what their streams say, over every journal alike.

use std::sync::Arc;

use moothall::store::{SqliteJournal, StoreOptions};
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::{StreamId, Timestamp};
use moothall_actors::domain::json::Json;
use moothall_actors::domain::workflow::{
    ApprovalRule, Artifact, Created, Dispatch, Phase, Transition, Trigger, Workflow, WorkflowId, WorkflowStatus,
    WorkflowType,
};
use moothall_actors::ports::{Append, Batch, Journal, JournalError, WorkflowQuery};
use moothall_actors::testing::MemoryJournal;
use rusqlite::Connection;

use super::sample::new;

fn id(n: u8) -> WorkflowId {
    WorkflowId([n; 16])
}

fn created(n: u8, workflow_type: WorkflowType, dispatch: Dispatch) -> Event {
    Event::WorkflowCreated(Arc::new(Created {
        workflow: id(n),
        workflow_type,
        feature_id: format!("{n:03}-sign-in").into(),
        description: "Sign in with a key".into(),
        context: Some(Json::parse(r#"{"priority":"P1"}"#).unwrap()),
        dispatch,
        approval: ApprovalRule::default(),
        chain: Vec::new(),
        origin: None,
        request: None,
    }))
}

fn step(from: WorkflowStatus, to: WorkflowStatus, trigger: Trigger, phase: Phase) -> Transition {
    Transition::plain(from, to, trigger, phase, 1)
}

fn advanced(step: Transition) -> Event {
    Event::WorkflowAdvanced(Arc::new(step))
}

fn append(n: u8, version: u64, events: Vec<Event>) -> Append {
    let events = events.into_iter().map(new).collect();
    Append { stream: StreamId::workflow(id(n)), expected_version: version, events }
}

/// One from its creation to its end.
pub(super) fn finished() -> Vec<Append> {
    use WorkflowStatus::{Completed, InProgress, Pending, WaitingApproval};
    let artifact = || Some(Arc::new(Artifact::of(Json::parse(r#"{"content":"x"}"#).unwrap())));
    let result = Some(Json::parse(r#"{"output":"x"}"#).unwrap());
    let events = vec![
        created(1, WorkflowType::Specify, Dispatch::Auto),
        advanced(step(Pending, InProgress, Trigger::Start, Phase::One)),
        advanced(Transition {
            artifact: artifact(),
            ..step(InProgress, WaitingApproval, Trigger::AgentComplete, Phase::One)
        }),
        advanced(Transition {
            actor: Some("ann".into()),
            ..step(WaitingApproval, InProgress, Trigger::HumanApproved, Phase::One)
        }),
        advanced(Transition {
            artifact: artifact(),
            ..step(InProgress, WaitingApproval, Trigger::AgentComplete, Phase::Two)
        }),
        advanced(Transition { result, ..step(WaitingApproval, Completed, Trigger::HumanApproved, Phase::Two) }),
    ];
    vec![append(1, 0, events)]
}

fn started(n: u8, workflow_type: WorkflowType, dispatch: Dispatch) -> Append {
    let start = step(WorkflowStatus::Pending, WorkflowStatus::InProgress, Trigger::Start, Phase::One);
    append(n, 0, vec![created(n, workflow_type, dispatch), advanced(start)])
}

fn waiting(n: u8, due: Option<u64>) -> Append {
    let (from, to) = (WorkflowStatus::InProgress, WorkflowStatus::WaitingApproval);
    let due = due.map(Timestamp);
    append(n, 2, vec![advanced(Transition { due, ..step(from, to, Trigger::AgentComplete, Phase::One) })])
}

/// What both journals must say alike.
async fn contract(journal: &dyn Journal) {
    for batch in finished() {
        journal.commit(Batch::of(vec![batch])).await.unwrap();
    }
    let others = [
        started(2, WorkflowType::Specify, Dispatch::Auto),
        started(3, WorkflowType::Plan, Dispatch::Manual),
        started(4, WorkflowType::Plan, Dispatch::Auto),
        waiting(4, Some(9_000)),
        started(5, WorkflowType::Plan, Dispatch::Auto),
        waiting(5, None),
    ];
    for append in others {
        journal.commit(Batch::of(vec![append])).await.unwrap();
    }
    let first = journal.workflow(id(1)).await.unwrap().unwrap();
    assert_eq!((first.status, first.phase, first.version), (WorkflowStatus::Completed, Phase::Two, 6));
    assert_eq!((&*first.description, first.context.unwrap().as_str()), ("Sign in with a key", r#"{"priority":"P1"}"#));
    assert_eq!(first.result.unwrap().as_str(), r#"{"output":"x"}"#);
    assert_eq!(journal.workflow(id(9)).await.unwrap(), None);

    assert_eq!(journal.waking().await.unwrap(), [(id(2), Timestamp(0)), (id(4), Timestamp(9_000))]);
    let mut numbers = journal.feature_numbers().await.unwrap();
    numbers.sort();
    assert_eq!(numbers, [(WorkflowType::Specify, 2), (WorkflowType::Plan, 5)]);

    let ids = |found: Vec<Workflow>| found.into_iter().map(|workflow| workflow.id.0[0]).collect::<Vec<_>>();
    let all = WorkflowQuery { limit: 10, ..WorkflowQuery::default() };
    assert_eq!(ids(journal.workflows(&all).await.unwrap()), [5, 4, 3, 2, 1]);
    let page = WorkflowQuery { before: Some(id(4)), limit: 2, ..all.clone() };
    assert_eq!(ids(journal.workflows(&page).await.unwrap()), [3, 2]);
    let of = WorkflowQuery { status: Some(WorkflowStatus::WaitingApproval), ..all.clone() };
    assert_eq!(ids(journal.workflows(&of).await.unwrap()), [5, 4]);
    let of = WorkflowQuery {
        workflow_type: Some(WorkflowType::Plan),
        feature_id: Some("003-sign-in".into()),
        ..all.clone()
    };
    assert_eq!(ids(journal.workflows(&of).await.unwrap()), [3]);
    let lost = WorkflowQuery { before: Some(id(9)), ..all };
    assert_eq!(journal.workflows(&lost).await.unwrap(), []);
}

#[tokio::test]
async fn a_journal_in_memory_keeps_workflows() {
    contract(&MemoryJournal::new()).await;
}

#[tokio::test]
async fn a_journal_on_disk_keeps_workflows() {
    let journal = SqliteJournal::temporary().unwrap();
    contract(&journal).await;
    let report = journal.verify().await.unwrap();
    assert!(report.is_sound(), "{:?}", report.first_problems);
}

#[tokio::test]
async fn reports_find_the_columns_and_the_words_that_they_read_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let journal = SqliteJournal::open(&path, StoreOptions::default()).unwrap();
    journal.commit(Batch::of(finished())).await.unwrap();
    journal.close().await;
    let conn = Connection::open(&path).unwrap();
    let row: (String, String, String, String, String, String) = conn
        .query_row(
            "SELECT workflow_type, status, feature_id, current_phase, created_at, completed_at FROM workflows \
             WHERE id = '01010101-0101-0101-0101-010101010101' AND feature_description LIKE 'Sign in%' \
             AND json_extract(context, '$.priority') = 'P1' AND json_extract(result, '$.output') = 'x' \
             AND error IS NULL AND updated_at = completed_at",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)),
        )
        .unwrap();
    assert_eq!((&*row.0, &*row.1, &*row.2, &*row.3), ("specify", "completed", "001-sign-in", "phase_2"));
    for time in [&row.4, &row.5] {
        assert!(time.starts_with("2023-11-14T22:13:2") && time.ends_with('Z'), "{time}");
    }
    let mut statement = conn
        .prepare(
            "SELECT from_status || '>' || to_status || ' ' || trigger, json_extract(metadata, '$.actor') \
             FROM workflow_history WHERE workflow_id = '01010101-0101-0101-0101-010101010101' \
             AND length(id) = 36 AND created_at LIKE '%Z' ORDER BY created_at, id",
        )
        .unwrap();
    let lines: Vec<(String, Option<String>)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    let steps: Vec<_> = lines.iter().map(|(step, _)| step.as_str()).collect();
    let expected = [
        "pending>in_progress start",
        "in_progress>waiting_approval agent_complete",
        "waiting_approval>in_progress human_approved",
        "in_progress>waiting_approval agent_complete",
        "waiting_approval>completed human_approved",
    ];
    assert_eq!(steps, expected);
    assert_eq!(lines[2].1.as_deref(), Some("ann"));
}

#[tokio::test]
async fn a_feature_id_is_given_once_for_each_type() {
    let journal = SqliteJournal::temporary().unwrap();
    journal.commit(Batch::of(vec![started(1, WorkflowType::Plan, Dispatch::Auto)])).await.unwrap();
    let Event::WorkflowCreated(first) = created(1, WorkflowType::Plan, Dispatch::Auto) else { unreachable!() };
    let same = Created { workflow: id(2), ..(*first).clone() };
    let again = append(2, 0, vec![Event::WorkflowCreated(same.clone().into())]);
    let refused = journal.commit(Batch::of(vec![again])).await.unwrap_err();
    assert!(matches!(refused, JournalError::Conflict { .. }), "{refused}");
    assert_eq!(journal.workflow(id(2)).await.unwrap(), None);
    let other = Created { workflow_type: WorkflowType::Tasks, ..same };
    let other = append(2, 0, vec![Event::WorkflowCreated(other.into())]);
    journal.commit(Batch::of(vec![other])).await.unwrap();
}
