//! Every published payload, as it goes over the wire.

use serde_json::json;

use super::*;

fn at() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn ended() -> TaskEnded {
    TaskEnded {
        story_id: "s".into(),
        task_id: "t".into(),
        run: 1,
        role: "DEV".into(),
        reason: "why".into(),
        timestamp: at(),
    }
}

fn held(cause: Option<&str>) -> TaskHeld {
    TaskHeld {
        story_id: "s".into(),
        task_id: "t".into(),
        run: 1,
        role: "DEV".into(),
        reason: "why".into(),
        cause_task_id: cause.map(Into::into),
        timestamp: at(),
    }
}

fn check(event: &Outgoing, key: &str, golden: &str) {
    // As values: the order of fields is no promise, their types are.
    let golden: Value = serde_json::from_str(golden).unwrap();
    assert_eq!(event.payload().unwrap(), golden, "{}", event.subject());
    assert_eq!(event.ordering_key(), key);
}

#[test]
fn plan_and_phase() {
    let event = PlanApproved {
        story_id: "s".into(),
        plan_id: "p".into(),
        approved_by: "po".into(),
        roles: vec!["DEV".into()],
        task_ids: vec!["t".into()],
        timestamp: at(),
    };
    check(
        &Outgoing::PlanApproved(event),
        "s",
        r#"{"approved_by":"po","event_type":"orchestration.plan.approved","plan_id":"p","roles":["DEV"],"story_id":"s","task_ids":["t"],"timestamp":"2026-01-02T03:04:05Z"}"#,
    );
    let event =
        PhaseChanged { story_id: "s".into(), from_phase: "A".into(), to_phase: "BUILD".into(), timestamp: at() };
    check(
        &Outgoing::PhaseChanged(event),
        "s",
        r#"{"event_type":"orchestration.phase.changed","from_phase":"A","story_id":"s","timestamp":"2026-01-02T03:04:05Z","to_phase":"BUILD"}"#,
    );
}

#[test]
fn queued_and_dispatched() {
    let event = TaskQueued {
        story_id: "s".into(),
        plan_id: "p".into(),
        task_id: "t".into(),
        run: 1,
        role: "DEV".into(),
        priority: 50,
        dependencies: vec!["u".into()],
        timestamp: at(),
    };
    check(
        &Outgoing::TaskQueued(event),
        "t",
        r#"{"dependencies":["u"],"event_type":"orchestration.task.queued","plan_id":"p","priority":50,"role":"DEV","run":1,"story_id":"s","task_id":"t","timestamp":"2026-01-02T03:04:05Z"}"#,
    );
    let event = TaskDispatched {
        story_id: "s".into(),
        task_id: "t".into(),
        run: 2,
        agent_id: "a".into(),
        role: "DEV".into(),
        timestamp: at(),
    };
    check(
        &Outgoing::TaskDispatched(event),
        "t",
        r#"{"agent_id":"a","event_type":"orchestration.task.dispatched","role":"DEV","run":2,"story_id":"s","task_id":"t","timestamp":"2026-01-02T03:04:05Z"}"#,
    );
    let event = Execute {
        task_id: "t".into(),
        story_id: "s".into(),
        role: "DEV".into(),
        agent_id: "a".into(),
        proposal: "text".into(),
        constraints: json!({"rubric": "r"}).as_object().unwrap().clone(),
    };
    check(
        &Outgoing::Execute(event),
        "t",
        r#"{"agent_id":"a","constraints":{"rubric":"r"},"event_type":"agent.cmd.execute","proposal":"text","role":"DEV","story_id":"s","task_id":"t"}"#,
    );
}

#[test]
fn deliberations() {
    let decision = Decision {
        id: "d".into(),
        kind: "proposal".into(),
        agent_id: "a".into(),
        rank: 1,
        score: 0.5,
        rationale: "r".into(),
    };
    let event = DeliberationCompleted {
        story_id: "s".into(),
        task_id: "t".into(),
        decisions: vec![decision],
        winner_id: "a".into(),
        duration_ms: 12,
        timestamp: at(),
    };
    check(
        &Outgoing::DeliberationCompleted(event),
        "t",
        r#"{"decisions":[{"agent_id":"a","id":"d","rank":1,"rationale":"r","score":0.5,"type":"proposal"}],"duration_ms":12,"event_type":"orchestration.deliberation.completed","story_id":"s","task_id":"t","timestamp":"2026-01-02T03:04:05Z","winner_id":"a"}"#,
    );
    let event = DeliberationFailed {
        story_id: "s".into(),
        task_id: "t".into(),
        error: "e".into(),
        error_type: "timeout".into(),
        timestamp: at(),
    };
    check(
        &Outgoing::DeliberationFailed(event),
        "t",
        r#"{"error":"e","error_type":"timeout","event_type":"orchestration.deliberation.failed","story_id":"s","task_id":"t","timestamp":"2026-01-02T03:04:05Z"}"#,
    );
}

#[test]
fn final_events_of_a_task() {
    let event = TaskCompleted {
        story_id: "s".into(),
        task_id: "t".into(),
        run: 1,
        agent_id: "a".into(),
        role: "DEV".into(),
        duration_ms: 12,
        checks_passed: true,
        timestamp: at(),
    };
    check(
        &Outgoing::TaskCompleted(event),
        "t",
        r#"{"agent_id":"a","checks_passed":true,"duration_ms":12,"event_type":"orchestration.task.completed","role":"DEV","run":1,"story_id":"s","task_id":"t","timestamp":"2026-01-02T03:04:05Z"}"#,
    );
    let event = TaskFailed {
        story_id: "s".into(),
        task_id: "t".into(),
        run: 1,
        agent_id: "a".into(),
        role: "DEV".into(),
        error: "e".into(),
        error_type: "transient".into(),
        attempts: 3,
        timestamp: at(),
    };
    check(
        &Outgoing::TaskFailed(event),
        "t",
        r#"{"agent_id":"a","attempts":3,"error":"e","error_type":"transient","event_type":"orchestration.task.failed","role":"DEV","run":1,"story_id":"s","task_id":"t","timestamp":"2026-01-02T03:04:05Z"}"#,
    );
    check(
        &Outgoing::TaskCancelled(ended()),
        "t",
        r#"{"event_type":"orchestration.task.cancelled","reason":"why","role":"DEV","run":1,"story_id":"s","task_id":"t","timestamp":"2026-01-02T03:04:05Z"}"#,
    );
    check(
        &Outgoing::TaskSkipped(ended()),
        "t",
        r#"{"event_type":"orchestration.task.skipped","reason":"why","role":"DEV","run":1,"story_id":"s","task_id":"t","timestamp":"2026-01-02T03:04:05Z"}"#,
    );
}

#[test]
fn tasks_that_wait() {
    check(
        &Outgoing::TaskParked(held(None)),
        "t",
        r#"{"event_type":"orchestration.task.parked","reason":"why","role":"DEV","run":1,"story_id":"s","task_id":"t","timestamp":"2026-01-02T03:04:05Z"}"#,
    );
    check(
        &Outgoing::TaskBlocked(held(Some("u"))),
        "t",
        r#"{"cause_task_id":"u","event_type":"orchestration.task.blocked","reason":"why","role":"DEV","run":1,"story_id":"s","task_id":"t","timestamp":"2026-01-02T03:04:05Z"}"#,
    );
}
