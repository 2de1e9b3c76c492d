//! Who decides, on what, and when nobody does.

use std::time::Duration;

use super::*;
use crate::domain::workflow::OnDeadline;

fn quorum(quorum: u16) -> ApprovalRule {
    ApprovalRule { quorum, ..ApprovalRule::default() }
}

#[test]
fn a_quorum_is_of_different_people_and_closes_when_it_is_reached() {
    let mut story = Story::under(quorum(2));
    story.answers(artifact("{}"));
    let nameless = story.wishes(Wish::Approve).unwrap_err();
    assert!(matches!(nameless, WorkflowError::Invalid(_)), "{nameless}");
    story.by(Wish::Approve, "ann").unwrap();
    story.by(Wish::Approve, "ann").unwrap();
    assert_eq!((story.stands().0, story.state.workflow.votes.len()), (Status::WaitingApproval, 1));
    story.by(Wish::Approve, "bob").unwrap();
    assert_eq!(story.stands(), (Status::InProgress, Phase::Two, 1));
    let late = story.by(Wish::Approve, "cid").unwrap_err();
    assert_eq!(late, WorkflowError::VoteClosed { status: Status::InProgress });
    let early = Story::under(quorum(2)).by(Wish::Approve, "ann").unwrap_err();
    assert!(matches!(early, WorkflowError::WrongState { .. }), "no vote was ever open: {early}");
}

#[test]
fn one_rejection_is_enough_and_takes_all_votes_away() {
    let mut story = Story::under(quorum(3));
    story.answers(artifact("{}"));
    story.by(Wish::Approve, "ann").unwrap();
    story.by(Wish::Reject, "bob").unwrap();
    assert_eq!(story.stands(), (Status::InProgress, Phase::One, 2));
    story.answers(artifact("{}"));
    assert!(story.state.workflow.votes.is_empty());
}

#[test]
fn only_those_who_are_named_decide() {
    let rule = ApprovalRule { approvers: vec!["ann".into()], ..ApprovalRule::default() };
    let mut story = Story::under(rule);
    story.answers(artifact("{}"));
    let error = story.by(Wish::Reject, "eve").unwrap_err();
    assert_eq!(error, WorkflowError::NotAnApprover { actor: "eve".into(), allowed: vec!["ann".into()] });
    story.by(Wish::Approve, "ann").unwrap();
    assert_eq!(story.stands().1, Phase::Two);
}

#[test]
fn whoever_edits_the_artifact_approves_the_new_one_alone() {
    let mut story = Story::under(quorum(2));
    story.answers(artifact(r#"{"content":"draft","agent_id":"a-1"}"#));
    let first = story.state.workflow.artifact.clone().unwrap().hash;
    story.by(Wish::Approve, "ann").unwrap();
    let edit = Asked {
        actor: Some("bob".into()),
        phase_result: Some(json(r#"{"content":"better","note":"typos"}"#)),
        ..Asked::plain(Wish::Approve)
    };
    story.asks(&edit).unwrap();
    let workflow = &story.state.workflow;
    let second = workflow.artifact.clone().unwrap();
    assert!(second.edited && second.hash != first);
    assert_eq!(workflow.votes.iter().map(|vote| &*vote.actor).collect::<Vec<_>>(), ["bob"]);
    let of_first =
        Asked { actor: Some("ann".into()), artifact_hash: Some(first.clone()), ..Asked::plain(Wish::Approve) };
    let error = story.asks(&of_first).unwrap_err();
    assert_eq!(error, WorkflowError::OtherArtifact { actual: second.hash.clone(), given: first });
    story.asks(&Asked { artifact_hash: Some(second.hash), ..of_first }).unwrap();
    assert_eq!(story.stands().1, Phase::Two);
    let kept = story.state.outputs.approved.clone().unwrap().content.read::<Value>().unwrap();
    assert_eq!((&kept["content"], &kept["agent_id"]), (&"better".into(), &"a-1".into()));
}

#[test]
fn an_edit_that_says_the_same_is_none() {
    let mut story = at(Status::WaitingApproval);
    story.wishes(Wish::Reject).unwrap();
    story.answers(artifact(r#"{"z":1,"content":"draft"}"#));
    let phase_result = Some(json(r#"{"content":"draft"}"#));
    story.asks(&Asked { phase_result, ..Asked::plain(Wish::Approve) }).unwrap();
    assert_eq!(story.state.outputs.approved.unwrap().content.as_str(), r#"{"z":1,"content":"draft"}"#);
}

#[test]
fn a_rule_approves_what_is_sure_and_checked_and_nothing_else() {
    let rule = || ApprovalRule { auto_approve: Some(80.0), ..ApprovalRule::default() };
    let mut story = Story::under(rule());
    story.answers(artifact("{}"));
    assert_eq!(story.stands(), (Status::InProgress, Phase::Two, 1));
    story.answers(artifact("{}"));
    assert_eq!(story.stands().0, Status::Completed);
    let result: Value = story.state.workflow.result.as_ref().unwrap().read().unwrap();
    assert_eq!(result["approval"]["trigger"], "auto_approved");
    assert!(result["approval"]["reason"].as_str().unwrap().contains("at least 80"), "{result}");
    for unsure in [
        Artifact { confidence: Some(79.0), ..artifact("{}") },
        Artifact { checks_passed: Some(false), ..artifact("{}") },
        Artifact { checks_passed: None, ..artifact("{}") },
        Artifact { confidence: None, ..artifact("{}") },
    ] {
        let mut story = Story::under(rule());
        story.answers(unsure);
        assert_eq!(story.stands().0, Status::WaitingApproval);
    }
    let mut own = Story::under(rule());
    let phase_result = Some(json(r#"{"confidence":100,"checks_passed":true}"#));
    own.asks(&Asked { phase_result, ..Asked::plain(Wish::Complete) }).unwrap();
    assert_eq!(own.stands().0, Status::WaitingApproval, "a client does not approve itself");
}

#[test]
fn a_deadline_escalates_once_rejects_or_fails() {
    let under = |on_deadline| {
        let mut story = Story::under(ApprovalRule {
            approvers: vec!["ann".into()],
            escalate_to: vec!["boss".into()],
            deadline: Some(Duration::from_secs(60)),
            on_deadline,
            ..ApprovalRule::default()
        });
        story.answers(artifact("{}"));
        assert_eq!(story.state.workflow.due, Some(Timestamp(NOW.0 + 60_000)));
        story.now = Timestamp(NOW.0 + 59_999);
        story.decide(&Input::Due).unwrap();
        assert_eq!(story.stands().0, Status::WaitingApproval, "not yet");
        story.now = Timestamp(NOW.0 + 60_000);
        story.decide(&Input::Due).unwrap();
        story
    };
    let mut escalated = under(OnDeadline::Escalate);
    assert_eq!((escalated.stands().0, escalated.state.workflow.due), (Status::WaitingApproval, None));
    escalated.by(Wish::Approve, "boss").unwrap();
    assert_eq!(escalated.stands().1, Phase::Two);
    assert_eq!(under(OnDeadline::Reject).stands(), (Status::InProgress, Phase::One, 2));
    let failed = under(OnDeadline::Fail);
    assert_eq!(failed.state.workflow.error.as_deref(), Some("phase_1: nobody decided within 60 s"));
}
