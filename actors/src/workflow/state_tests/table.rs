//! The contract's table of transitions, and every rule that stands beside it.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn every_wish_in_every_status_does_what_the_table_says() {
    use Status::{Completed, Failed, InProgress, WaitingApproval};
    let goes = |from, wish, to| {
        let mut story = at(from);
        story.wishes(wish).unwrap();
        assert_eq!(story.stands().0, to, "{wish:?} in {from}");
    };
    goes(InProgress, Wish::Complete, WaitingApproval);
    goes(InProgress, Wish::Fail, Failed);
    goes(InProgress, Wish::Cancel, Failed);
    goes(WaitingApproval, Wish::Complete, WaitingApproval);
    goes(WaitingApproval, Wish::Approve, InProgress);
    goes(WaitingApproval, Wish::Reject, InProgress);
    goes(WaitingApproval, Wish::Fail, Failed);
    goes(WaitingApproval, Wish::Cancel, Failed);
    let refused = |status, wishes: &[Wish]| {
        for wish in wishes {
            let error = at(status).wishes(*wish).unwrap_err();
            assert_eq!(error, WorkflowError::WrongState { status, trigger: wish.trigger() });
        }
    };
    refused(InProgress, &[Wish::Approve, Wish::Reject]);
    let all = [Wish::Complete, Wish::Approve, Wish::Reject, Wish::Fail, Wish::Cancel];
    refused(Completed, &all);
    refused(Failed, &all);
}

#[test]
fn two_phases_are_executed_approved_and_completed() {
    let mut story = Story::under(ApprovalRule::default());
    story.answers(artifact(r#"{"content":"draft"}"#));
    story.by(Wish::Approve, "ann").unwrap();
    assert_eq!(story.stands(), (Status::InProgress, Phase::Two, 1));
    let invocation = story.state.invocation().unwrap();
    assert_eq!(invocation.previous.unwrap().content.as_str(), r#"{"content":"draft"}"#);
    assert_eq!(invocation.rejected, None);
    story.answers(artifact(r#"{"content":"final"}"#));
    story
        .asks(&Asked {
            actor: Some("bob".into()),
            reason: Some("well done".into()),
            phase_result: Some(json(r#"{"approved":true}"#)),
            ..Asked::plain(Wish::Approve)
        })
        .unwrap();
    let workflow = &story.state.workflow;
    assert_eq!((workflow.status, workflow.completed_at), (Status::Completed, Some(NOW)));
    let result: Value = workflow.result.as_ref().unwrap().read().unwrap();
    assert_eq!(result["output"]["content"], "final");
    let approval = &result["approval"];
    assert_eq!((&approval["actor"], &approval["reason"]), (&"bob".into(), &"well done".into()));
    assert_eq!(approval["phase_result"]["approved"], true);
}

#[test]
fn three_rejections_of_a_phase_are_worked_on_and_the_fourth_is_the_end() {
    let mut story = Story::under(ApprovalRule::default());
    for attempt in 1..=4 {
        story.answers(artifact(&format!(r#"{{"content":"try {attempt}"}}"#)));
        let reason = Some(format!("not enough: {attempt}").into());
        story.asks(&Asked { reason, ..Asked::plain(Wish::Reject) }).unwrap();
        if attempt < 4 {
            assert_eq!(story.stands(), (Status::InProgress, Phase::One, attempt + 1));
            let invocation = story.state.invocation().unwrap();
            assert_eq!(invocation.id.attempt, attempt + 1);
            assert_eq!(invocation.rejection_reason.as_deref(), Some(&*format!("not enough: {attempt}")));
            assert!(invocation.rejected.unwrap().content.as_str().contains(&format!("try {attempt}")));
        }
    }
    assert_eq!(story.stands().0, Status::Failed);
    let error = "phase_1 was rejected 4 times, the last time: not enough: 4";
    assert_eq!(story.state.workflow.error.as_deref(), Some(error));
}

#[test]
fn rejections_of_one_phase_do_not_count_for_the_other() {
    let mut story = Story::under(ApprovalRule::default());
    for _ in 0..2 {
        for _ in 0..2 {
            story.answers(artifact("{}"));
            story.wishes(Wish::Reject).unwrap();
        }
        story.answers(artifact("{}"));
        story.wishes(Wish::Approve).unwrap();
    }
    assert_eq!(story.stands().0, Status::Completed);
}

#[test]
fn a_reason_may_stand_in_the_phase_result() {
    let mut story = at(Status::WaitingApproval);
    let phase_result = Some(json(r#"{"feedback":"name the limits"}"#));
    story.asks(&Asked { phase_result, ..Asked::plain(Wish::Reject) }).unwrap();
    assert_eq!(story.state.invocation().unwrap().rejection_reason.as_deref(), Some("name the limits"));
    let phase_result = Some(json(r#"{"error":"the disk is full"}"#));
    story.asks(&Asked { phase_result, ..Asked::plain(Wish::Fail) }).unwrap();
    assert_eq!(story.state.workflow.error.as_deref(), Some("the disk is full"));
}

#[test]
fn a_client_that_completes_a_phase_itself_wins_over_the_hub() {
    let mut story = Story::under(ApprovalRule::default());
    let id = story.state.invocation().unwrap().id;
    let phase_result = Some(json(r#"{"content":"mine","confidence":42}"#));
    story.asks(&Asked { phase_result, ..Asked::plain(Wish::Complete) }).unwrap();
    let before = story.state.workflow.clone();
    story.decide(&Input::Answered { id, answer: &Ok(artifact(r#"{"content":"late"}"#)) }).unwrap();
    assert_eq!(story.state.workflow, before, "what comes late changes nothing");
    assert_eq!(before.artifact.as_ref().unwrap().confidence, Some(42.0));
    let again = Some(json(r#"{"content":"again"}"#));
    story.asks(&Asked { phase_result: again, ..Asked::plain(Wish::Complete) }).unwrap();
    assert_eq!(story.state.workflow, before, "what comes again changes nothing");
}

#[test]
fn a_hub_that_fails_fails_the_workflow_and_one_that_stops_does_not() {
    let mut story = Story::under(ApprovalRule::default());
    let id = story.state.invocation().unwrap().id;
    story.decide(&Input::Answered { id, answer: &Err(HubError::Stopping) }).unwrap();
    assert_eq!(story.stands().0, Status::InProgress);
    story.decide(&Input::Answered { id, answer: &Err(HubError::Failed("no agent".into())) }).unwrap();
    assert_eq!((story.stands().0, story.state.workflow.error.as_deref()), (Status::Failed, Some("no agent")));
}

#[test]
fn a_chain_goes_on_with_what_came_of_it() {
    let chain = vec![WorkflowType::Plan, WorkflowType::Tasks];
    let mut story = Story::of(Created { chain, ..created(ApprovalRule::default()) });
    for text in ["one", "two"] {
        story.answers(artifact(&format!(r#"{{"content":"{text}"}}"#)));
        story.wishes(Wish::Approve).unwrap();
    }
    let next = story.next.unwrap();
    assert_eq!(
        (next.workflow, next.workflow_type, &next.chain[..]),
        (NEXT, WorkflowType::Plan, &[WorkflowType::Tasks][..])
    );
    assert_eq!(next.feature_id, story.state.workflow.feature_id);
    let origin = next.origin.unwrap();
    assert_eq!((origin.workflow, origin.artifact.as_str()), (ID, r#"{"content":"two"}"#));
    assert_eq!(story.state.workflow.next, Some(NEXT));
}

#[test]
fn the_same_request_is_carried_out_once() {
    let mut story = at(Status::WaitingApproval);
    let request = |content: &str| Some(Request { key: "k-1".into(), content: content.into() });
    let approval = Asked { request: request("a"), ..Asked::plain(Wish::Approve) };
    story.asks(&approval).unwrap();
    let after = story.state.workflow.clone();
    story.asks(&approval).unwrap();
    assert_eq!(story.state.workflow, after);
    let other = Asked { request: request("b"), ..Asked::plain(Wish::Approve) };
    assert_eq!(story.asks(&other).unwrap_err(), WorkflowError::KeyReused { key: "k-1".into() });
}

#[test]
fn the_key_of_a_creation_is_known_however_many_came_after_it() {
    let request = |n: u32| Some(Request { key: format!("k-{n}").into(), content: "c".into() });
    let approval = ApprovalRule { max_rework: 100, ..ApprovalRule::default() };
    let mut story = Story::of(Created { request: request(0), ..created(approval) });
    for n in 1..=80 {
        let wish = if n % 2 == 1 { Wish::Complete } else { Wish::Reject };
        story.asks(&Asked { request: request(n), ..Asked::plain(wish) }).unwrap();
    }
    let known = |n: u32| story.state.workflow.request(&format!("k-{n}")).is_some();
    assert!(known(0) && known(80) && known(50) && !known(1));
}

#[test]
fn what_another_program_began_goes_on_with_what_it_had() {
    for result in [None, Some(json(r#"{"content":"old"}"#))] {
        let imported = crate::domain::workflow::Imported {
            created: created(ApprovalRule::default()),
            status: Status::WaitingApproval,
            phase: Phase::One,
            result: result.clone(),
            error: None,
            created_at: NOW,
            updated_at: NOW,
            completed_at: None,
            history: Vec::new(),
        };
        let events = stamped(vec![Event::WorkflowImported(imported.into())], 0, 0, NOW);
        let mut story = Story { state: State::of(&events).unwrap(), ids: 2, now: NOW, next: None };
        story.wishes(Wish::Approve).unwrap();
        assert_eq!(story.stands(), (Status::InProgress, Phase::Two, 1));
        let previous = story.state.invocation().unwrap().previous;
        assert_eq!(previous.map(|artifact| artifact.content.clone()), result);
    }
}

#[test]
fn a_wish_that_got_lost_on_its_way_back_is_carried_out_once() {
    let mut story = at(Status::WaitingApproval);
    let event = EventId([story.ids; 16]);
    let asked = Asked::plain(Wish::Approve);
    for _ in 0..2 {
        story.decide(&Input::Asked { asked: &asked, event }).unwrap();
        assert_eq!(story.stands(), (Status::InProgress, Phase::Two, 1));
    }
}

#[test]
fn who_looked_at_another_version_is_told() {
    let mut story = at(Status::WaitingApproval);
    let actual = story.state.workflow.version;
    let stale = Asked { if_match: Some(actual - 1), ..Asked::plain(Wish::Approve) };
    assert_eq!(story.asks(&stale).unwrap_err(), WorkflowError::Stale { actual, expected: actual - 1 });
    story.asks(&Asked { if_match: Some(actual), ..stale }).unwrap();
}

#[test]
fn a_cancelled_workflow_says_so() {
    let mut story = at(Status::WaitingApproval);
    story.asks(&Asked { reason: Some("not needed".into()), ..Asked::plain(Wish::Cancel) }).unwrap();
    assert_eq!((story.stands().0, story.state.workflow.error.as_deref()), (Status::Failed, Some("cancelled")));
}

#[derive(Clone, Debug)]
enum Happening {
    Asked(Wish, Option<u8>, bool),
    Answered(bool),
    Due,
}

fn happening() -> impl Strategy<Value = Happening> {
    let wish = prop::sample::select(vec![Wish::Complete, Wish::Approve, Wish::Approve, Wish::Reject, Wish::Fail]);
    prop_oneof![
        6 => (wish, prop::option::of(0..3u8), any::<bool>()).prop_map(|(wish, actor, edits)| Happening::Asked(wish, actor, edits)),
        4 => any::<bool>().prop_map(Happening::Answered),
        1 => Just(Happening::Due),
    ]
}

proptest! {
    /// Whatever happens: no phase is skipped, nothing follows an end, nobody counts twice, and the stream alone says it all.
    #[test]
    fn whatever_happens_it_stays_within_the_table(
        happenings in prop::collection::vec(happening(), 1..60),
        quorum in 1..=3u16,
        max_rework in 0..3u32,
    ) {
        let rule = ApprovalRule { quorum, max_rework, deadline: Some(Duration::from_secs(1)), ..ApprovalRule::default() };
        let mut story = Story::under(rule);
        for happening in happenings {
            let before = story.state.workflow.clone();
            story.now = Timestamp(story.now.0 + 400);
            let told = match happening {
                Happening::Asked(wish, actor, edits) => {
                    let actor = actor.map(|n| Arc::from(format!("p-{n}")));
                    let phase_result = edits.then(|| json(&format!(r#"{{"content":"{}"}}"#, story.ids)));
                    story.asks(&Asked { actor, phase_result, ..Asked::plain(wish) })
                }
                Happening::Answered(well) => {
                    let id = InvocationId { workflow: ID, phase: before.phase, attempt: before.attempt };
                    let answer = if well { Ok(artifact("{}")) } else { Err(HubError::Stopping) };
                    story.decide(&Input::Answered { id, answer: &answer })
                }
                Happening::Due => story.decide(&Input::Due),
            };
            let after = &story.state.workflow;
            if told.is_err() || before.status.is_over() {
                prop_assert_eq!(after, &before);
            }
            prop_assert!(after.attempt <= max_rework + 1);
            prop_assert!(after.phase >= before.phase);
            prop_assert!(after.votes.len() < usize::from(quorum));
            let names: std::collections::BTreeSet<_> = after.votes.iter().map(|vote| &vote.actor).collect();
            prop_assert_eq!(names.len(), after.votes.len());
            prop_assert_eq!(after.result.is_some(), after.status == Status::Completed);
            prop_assert_eq!(after.error.is_some(), after.status == Status::Failed);
            let stored = serde_json::to_string(&**after).unwrap();
            let mut read: Workflow = serde_json::from_str(&stored).unwrap();
            (read.description, read.context, read.result) = (after.description.clone(), None, after.result.clone());
            prop_assert_eq!(&read, &**after, "its row says all that it is");
            if story.ids > 200 { break }
        }
    }
}
