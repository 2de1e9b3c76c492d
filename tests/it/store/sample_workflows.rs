//! Events of workflows, one for each form they have.

use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::Timestamp;
use moothall_actors::domain::json::Json;
use moothall_actors::domain::workflow::{
    ApprovalRule, Artifact, Created, Dispatch, Imported, OnDeadline, Origin, Past, Phase, Request, Transition, Trigger,
    WorkflowId, WorkflowStatus, WorkflowType,
};

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn request() -> Option<Request> {
    Some(Request { key: "k-1".into(), content: "ba7816bf".into() })
}

fn bare() -> Created {
    Created {
        workflow: WorkflowId([1; 16]),
        workflow_type: WorkflowType::Specify,
        feature_id: "001-sign-in".into(),
        description: "Sign in with a key".into(),
        context: None,
        dispatch: Dispatch::Manual,
        approval: ApprovalRule::default(),
        chain: Vec::new(),
        origin: None,
        request: None,
    }
}

fn full() -> Created {
    let artifact = json(r#"{"content": "Spec"}"#);
    let origin = Origin { workflow: WorkflowId([1; 16]), workflow_type: WorkflowType::Specify, artifact };
    Created {
        workflow: WorkflowId([2; 16]),
        workflow_type: WorkflowType::Plan,
        context: Some(json(r#"{"priority": "P1"}"#)),
        dispatch: Dispatch::Auto,
        approval: ApprovalRule {
            approvers: vec!["ann".into(), "bob".into()],
            quorum: 2,
            deadline: Some(Duration::from_secs(3_600)),
            on_deadline: OnDeadline::Reject,
            escalate_to: vec!["boss".into()],
            auto_approve: Some(92.5),
            max_rework: 1,
            confidence_threshold: 75.0,
        },
        chain: vec![WorkflowType::Tasks, WorkflowType::Implement],
        origin: Some(origin.into()),
        request: request(),
        ..bare()
    }
}

fn end() -> Transition {
    let (waiting, completed) = (WorkflowStatus::WaitingApproval, WorkflowStatus::Completed);
    Transition {
        actor: Some("ann".into()),
        reason: Some("well done".into()),
        metadata: Some(json(r#"{"note": "typos"}"#)),
        artifact: Some(Arc::new(Artifact {
            confidence: Some(87.5),
            checks_passed: Some(true),
            metadata: Some(json(r#"{"winner": "agent-dev-001"}"#)),
            ..Artifact::of(json(r#"{"content": "Spec"}"#))
        })),
        approved: Some("ba7816bf".into()),
        result: Some(json(r#"{"output": null}"#)),
        error: Some("cancelled".into()),
        due: Some(Timestamp(1_800_000_000_000)),
        next: Some(WorkflowId([2; 16])),
        request: request(),
        ..Transition::plain(waiting, completed, Trigger::HumanApproved, Phase::Two, 3)
    }
}

fn imported() -> Imported {
    let past = Past {
        from: "pending".into(),
        to: "in_progress".into(),
        trigger: "start".into(),
        metadata: Some(json("{}")),
        at: Timestamp(1_700_000_000_000),
    };
    Imported {
        created: bare(),
        status: WorkflowStatus::Failed,
        phase: Phase::Two,
        result: Some(json("1")),
        error: Some("no agent".into()),
        created_at: Timestamp(1_700_000_000_000),
        updated_at: Timestamp(1_700_000_000_001),
        completed_at: Some(Timestamp(1_700_000_000_002)),
        history: vec![past],
    }
}

/// Workflows, from the bare one to all that can be said of one.
pub(super) fn workflows() -> [Event; 5] {
    let (pending, started) = (WorkflowStatus::Pending, WorkflowStatus::InProgress);
    let start = Transition::plain(pending, started, Trigger::Start, Phase::One, 1);
    [
        Event::WorkflowCreated(bare().into()),
        Event::WorkflowCreated(full().into()),
        Event::WorkflowAdvanced(start.into()),
        Event::WorkflowAdvanced(end().into()),
        Event::WorkflowImported(imported().into()),
    ]
}
