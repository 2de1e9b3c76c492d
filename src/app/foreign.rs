//! Workflows of the program that this one replaces become our own, once, before anything else happens.

use std::sync::Arc;

use moothall_actors::domain::event::{Event, NewEvent};
use moothall_actors::domain::id::StreamId;
use moothall_actors::domain::workflow::{Created, Imported, Transition, Trigger, WorkflowStatus};
use moothall_actors::ports::{Batch, Clock as _, Cursor, IdSource as _, Journal as _, JournalError};

use super::identity::{SystemClock, UuidSource};
use crate::config::WorkflowsConfig;
use crate::store::{ForeignWorkflow, SqliteJournal};

/// Says that it was done.
const CURSOR: &str = "speckit-import";

/// How those that go on are dispatched and approved from here on.
pub(super) async fn import(store: &SqliteJournal, config: &WorkflowsConfig) -> Result<(), JournalError> {
    if store.cursor(CURSOR).await?.is_some() {
        return Ok(());
    }
    let foreign = store.reader().foreign().await?;
    for why in &foreign.unreadable {
        tracing::warn!(why, "a workflow of the program before cannot be taken over; it stays in speckit_workflows");
    }
    let mut taken = 0;
    for workflow in foreign.workflows {
        let id = workflow.id;
        let events = events(workflow, config).into_iter().map(|event| NewEvent {
            id: UuidSource.event_id(),
            at: SystemClock.now(),
            correlation: Some(id.to_string().into()),
            causation: None,
            event,
        });
        match store.commit(Batch::one(StreamId::workflow(id), 0, events.collect())).await {
            Ok(_) => taken += 1,
            // It was taken over before, and the daemon died then; or another one has its feature's id.
            Err(JournalError::Conflict { .. }) => tracing::debug!(%id, "a workflow is there already"),
            Err(error) => return Err(error),
        }
    }
    if taken > 0 {
        tracing::info!(workflows = taken, "workflows of the program before were taken over");
    }
    // Nothing is kept for it.
    let done = Cursor { name: CURSOR.into(), seq: i64::MAX.unsigned_abs(), state: "done".into() };
    store.commit(Batch { cursor: Some(done), ..Batch::default() }).await.map(drop)
}

/// One that was never begun begins here: nobody else will start it.
fn events(workflow: ForeignWorkflow, config: &WorkflowsConfig) -> Vec<Event> {
    let imported = imported(workflow, config);
    let (pending, begun) = (WorkflowStatus::Pending, WorkflowStatus::InProgress);
    let start = Transition::plain(pending, begun, Trigger::Start, imported.phase, 1);
    let start = (imported.status == pending).then(|| Event::WorkflowAdvanced(Arc::new(start)));
    std::iter::once(Event::WorkflowImported(Arc::new(imported))).chain(start).collect()
}

fn imported(workflow: ForeignWorkflow, config: &WorkflowsConfig) -> Imported {
    let created = Created {
        workflow: workflow.id,
        workflow_type: workflow.workflow_type,
        feature_id: workflow.feature_id,
        description: workflow.description,
        context: workflow.context,
        dispatch: config.dispatch,
        approval: config.approval.clone(),
        chain: Vec::new(),
        origin: None,
        request: None,
    };
    Imported {
        created,
        status: workflow.status,
        phase: workflow.phase,
        result: workflow.result,
        error: workflow.error,
        created_at: workflow.created_at,
        updated_at: workflow.updated_at,
        completed_at: workflow.completed_at,
        history: workflow.history,
    }
}
