//! Every kind with its fields, and without.

use super::*;

fn parse(kind: Kind, json: &'static str) -> Result<Incoming, FormatError> {
    let whole = Bytes::from_static(json.as_bytes());
    Incoming::parse(kind, &Fields::parse(&whole, &whole)?)
}

/// Each kind, with its required fields alone.
const SMALLEST: &[(Kind, &str, &[&str])] = &[
    (Kind::PlanApproved, r#"{"story_id":"a","plan_id":"b"}"#, &["story_id", "plan_id"]),
    (
        Kind::StoryTransitioned,
        r#"{"story_id":"a","from_phase":"b","to_phase":"c"}"#,
        &["story_id", "from_phase", "to_phase"],
    ),
    (Kind::AgentCompleted, r#"{"task_id":"a","agent_id":"b"}"#, &["task_id", "agent_id"]),
    (Kind::AgentFailed, r#"{"task_id":"a","agent_id":"b"}"#, &["task_id", "agent_id"]),
    (Kind::AgentProgress, r#"{"task_id":"a","agent_id":"b"}"#, &["task_id", "agent_id"]),
    (Kind::ContextUpdated, r#"{"story_id":"a"}"#, &["story_id"]),
    (Kind::ContextDecision, r#"{"story_id":"a","decision_id":"b"}"#, &["story_id", "decision_id"]),
    (
        Kind::ContextMilestone,
        r#"{"story_id":"a","milestone_id":"b","milestone_name":"c"}"#,
        &["story_id", "milestone_id", "milestone_name"],
    ),
];

#[test]
fn required_fields_suffice_and_each_is_required() {
    for (kind, json, required) in SMALLEST {
        assert_eq!(parse(*kind, json).unwrap().about(), "a", "{kind:?}");
        for field in *required {
            let other: &'static str = json.replace(&format!("{field:?}"), "\"unknown\"").leak();
            assert_eq!(parse(*kind, other), Err(FormatError::Missing(field)), "{kind:?}");
        }
    }
}

#[test]
fn a_plan_keeps_its_bytes() {
    let json = r#"{"story_id":"s","plan_id":"p","approved_by":"po","approved_at":"2026-01-01T00:00:00Z",
        "roles":["DEV"],"plan":{"tasks": [ ]},"tasks":[{"id":"T1"}],"tasks_outline":["one"],"more":1}"#;
    let plan = PlanApproved {
        story_id: "s".into(),
        plan_id: "p".into(),
        approved_by: Some("po".into()),
        timestamp: Some("2026-01-01T00:00:00Z".into()),
        roles: vec!["DEV".into()],
        plan: Some(r#"{"tasks": [ ]}"#.into()),
        tasks: Some(r#"[{"id":"T1"}]"#.into()),
        tasks_outline: Some(r#"["one"]"#.into()),
    };
    assert_eq!(parse(Kind::PlanApproved, json), Ok(Incoming::PlanApproved(plan)));
}

#[test]
fn states_are_phases() {
    let json = r#"{"story_id":"s","from_state":"A","to_state":"B","timestamp":1767225600}"#;
    let event = StoryTransitioned {
        story_id: "s".into(),
        from_phase: "A".into(),
        to_phase: "B".into(),
        timestamp: Some("1767225600".into()),
    };
    assert_eq!(parse(Kind::StoryTransitioned, json), Ok(Incoming::StoryTransitioned(event)));
}

#[test]
fn a_response_is_read_whole() {
    let json = r#"{"task_id":"t","agent_id":"a","role":"DEV","story_id":"s","output":"","proposal":"text",
        "duration_ms":12.5,"checks_passed":true,"num_agents":"3","attempt":2,"timestamp":"now",
        "model":"m","prompt_tokens":4,"reasoning":{"is":"no text"}}"#;
    let event = AgentCompleted {
        task_id: "t".into(),
        agent_id: "a".into(),
        role: Some("DEV".into()),
        story_id: Some("s".into()),
        output: Some(r#""text""#.into()),
        duration_ms: Some(12),
        checks_passed: Some(true),
        num_agents: Some(3),
        attempt: Some(2),
        timestamp: Some("now".into()),
        said: Said { model: Some("m".into()), prompt_tokens: Some(4), ..Said::default() },
    };
    assert_eq!(parse(Kind::AgentCompleted, json), Ok(Incoming::AgentCompleted(event)));
}
