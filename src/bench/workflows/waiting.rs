//! What workflows that wait for their approval cost a daemon: they are written to its store first, then it is started.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moothall_actors::domain::event::{Event, NewEvent};
use moothall_actors::domain::id::{EventId, StreamId, Timestamp};
use moothall_actors::domain::json::Json;
use moothall_actors::domain::workflow::{
    ApprovalRule, Artifact, Created, Dispatch, Phase, Transition, Trigger, WorkflowId, WorkflowStatus, WorkflowType,
};
use moothall_actors::ports::{Append, Batch, Journal as _};
use uuid::Uuid;

use super::super::BenchError;
use super::super::home::Home;
use super::super::measure::memory;
use super::{WaitingCost, failed, pid};
use crate::store::{SqliteJournal, StoreOptions};

/// Workflows written at once.
const AT_ONCE: usize = 256;
/// What is allocated at a start has been given back by then.
const SETTLE: Duration = Duration::from_secs(2);

struct Start {
    took: Duration,
    memory: u64,
}

pub(super) async fn cost(workflows: usize) -> Result<WaitingCost, BenchError> {
    let empty = start(&Home::new("0").await?).await?;
    let plain = with(workflows, None).await?;
    let due = with(workflows, Some(Timestamp(u64::MAX >> 2))).await?;
    let each = |start: &Start| start.memory.saturating_sub(empty.memory) as f64 / workflows.max(1) as f64;
    let millis = |took: Duration| took.as_secs_f64() * 1e3;
    Ok(WaitingCost {
        workflows,
        start_ms: millis(plain.took),
        empty_start_ms: millis(empty.took),
        bytes_each: each(&plain),
        with_deadline_bytes_each: each(&due),
        with_deadline_start_ms: millis(due.took),
    })
}

async fn with(workflows: usize, due: Option<Timestamp>) -> Result<Start, BenchError> {
    let home = Home::new("0").await?;
    let store = SqliteJournal::open(&home.store(), StoreOptions::default()).map_err(|error| failed(&error))?;
    let numbers: Vec<usize> = (1..=workflows).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let appends = numbers.iter().map(|number| waiting(*number, due)).collect();
        store.commit(Batch::of(appends)).await.map_err(|error| failed(&error))?;
    }
    store.close().await;
    start(&home).await
}

async fn start(home: &Home) -> Result<Start, BenchError> {
    let began = Instant::now();
    let daemon = home.start(&[]).await?;
    let took = began.elapsed();
    tokio::time::sleep(SETTLE).await;
    let memory = memory(pid(&daemon)?);
    daemon.stop().await?;
    Ok(Start { took, memory })
}

/// One that waits for the approval of its first phase.
fn waiting(number: usize, due: Option<Timestamp>) -> Append {
    let id = WorkflowId(Uuid::now_v7().into_bytes());
    let created = Created {
        workflow: id,
        workflow_type: WorkflowType::Specify,
        feature_id: format!("{number:03}-add-user-authentication").into(),
        description: "Add user authentication with OAuth2".into(),
        context: None,
        dispatch: Dispatch::Auto,
        approval: ApprovalRule { deadline: due.map(|_| Duration::from_secs(3_600)), ..ApprovalRule::default() },
        chain: Vec::new(),
        origin: None,
        request: None,
    };
    let (pending, begun, waiting) =
        (WorkflowStatus::Pending, WorkflowStatus::InProgress, WorkflowStatus::WaitingApproval);
    let start = Transition::plain(pending, begun, Trigger::Start, Phase::One, 1);
    let complete = Transition {
        artifact: Some(Arc::new(Artifact::of(Json::null()))),
        due,
        ..Transition::plain(begun, waiting, Trigger::AgentComplete, Phase::One, 1)
    };
    let events = [
        Event::WorkflowCreated(created.into()),
        Event::WorkflowAdvanced(start.into()),
        Event::WorkflowAdvanced(complete.into()),
    ];
    let new = |event| NewEvent {
        id: EventId(Uuid::now_v7().into_bytes()),
        at: Timestamp(1_700_000_000_000),
        correlation: None,
        causation: None,
        event,
    };
    Append { stream: StreamId::workflow(id), expected_version: 0, events: events.into_iter().map(new).collect() }
}
