//! Models that are down, refuse, are slow or hang: what is missing is named, nothing is invented.

use std::sync::Arc;

use async_trait::async_trait;
use moothall_actors::domain::answer::Class;
use moothall_actors::domain::check::CheckReport;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::Stage as Wave;
use moothall_actors::domain::verdict::StopReason;
use moothall_actors::error::SystemError;
use moothall_actors::ports::{Checks, Subject};
use moothall_actors::testing::{FakeModel, Reaction, Scenario, Stage};

use crate::story::{
    assert_all_permits_are_back, count, deliberate, fails, is_seat, ms, pass, secs, submit, task, the_final, usual,
};

#[tokio::test(start_paused = true)]
async fn no_model_at_all_is_an_error_with_every_cause() {
    let down = |_: &_, _| fails(Class::Transient, "connection refused");
    let stage = Scenario::new().reacts(down).council("DEV", 3).start().await;
    let error = deliberate(&stage, "t").await.unwrap_err();
    let SystemError::Failed { class, message } = error else { panic!("{error:?}") };
    assert_eq!(class, Class::Transient);
    for agent in ["agent-dev-001", "agent-dev-002", "agent-dev-003"] {
        assert!(message.contains(&format!("{agent}: connection refused")), "{message}");
    }
    assert!(matches!(the_final(&stage), Event::TaskFailed(failure) if failure.class == Class::Transient));
    assert_all_permits_are_back(&stage);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusing_seat_is_missing_by_name_and_the_others_go_on() {
    let script = |call: &_, _| match is_seat(call, 2) {
        true => fails(Class::Refused, "401 wrong key"),
        false => usual(call, ms(10)),
    };
    let stage = Scenario::new().reacts(script).council("DEV", 3).start().await;
    let verdict = deliberate(&stage, "t").await.unwrap().verdict.clone();
    assert_eq!((verdict.ranking.len(), verdict.stop), (2, StopReason::Complete));
    let missing: Vec<_> = verdict.missing.iter().map(|seat| (seat.agent.as_str(), &*seat.reason)).collect();
    assert_eq!(missing, [("agent-dev-002", "401 wrong key")]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_seat_is_left_behind_at_its_stages_deadline_and_its_call_is_dropped() {
    let script = |call: &_, _| match is_seat(call, 2) {
        true => usual(call, secs(150)),
        false => usual(call, secs(1)),
    };
    let scenario = Scenario::new().reacts(script).settings(|settings| settings.call_timeout = secs(10));
    let stage = scenario.council("DEV", 3).start().await;
    let verdict = deliberate(&stage, "t").await.unwrap().verdict.clone();
    assert_eq!(verdict.duration, secs(100 + 1 + 1), "a third of 300 s, then two quick waves");
    assert_eq!(verdict.missing[0].class, Class::TimedOut);
    assert_eq!(&*verdict.missing[0].reason, "no answer within the time of its stage");
    let dropped: u32 = stage.model.counts().values().map(|counts| counts.dropped).sum();
    assert_eq!((dropped, stage.model.in_flight()), (1, 0));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_hanging_seat_is_missing_once_its_call_has_timed_out() {
    let script = |call: &_, _| match is_seat(call, 3) {
        true => (ms(0), Reaction::Hang),
        false => usual(call, secs(1)),
    };
    let scenario = Scenario::new().reacts(script).settings(|settings| settings.call_timeout = secs(10));
    let stage = scenario.council("DEV", 3).start().await;
    let verdict = deliberate(&stage, "t").await.unwrap().verdict.clone();
    assert_eq!(verdict.duration, secs(10 + 1 + 1));
    assert_eq!(&*verdict.missing[0].reason, "no answer within the time of the call");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_with_the_proposals_there_are() {
    let script = |call: &moothall_actors::ports::ModelCall, _| match call.stage() {
        Wave::Propose => usual(call, secs(1)),
        _ => (ms(0), Reaction::Silence),
    };
    let scenario = Scenario::new().reacts(script).settings(|settings| settings.deadline = secs(30));
    let stage = scenario.council("DEV", 3).start().await;
    let verdict = deliberate(&stage, "t").await.unwrap().verdict.clone();
    assert_eq!((verdict.stop, verdict.ranking.len()), (StopReason::Deadline, 3));
    assert_eq!(verdict.duration, secs(30));
    assert!(verdict.missing.iter().all(|seat| seat.class == Class::TimedOut));
    assert_eq!(stage.model.in_flight(), 0);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_without_a_proposal_is_timed_out() {
    let scenario = Scenario::new().reacts(|_, _| (ms(0), Reaction::Silence));
    let stage = scenario.settings(|settings| settings.deadline = secs(30)).council("DEV", 3).start().await;
    let error = deliberate(&stage, "t").await.unwrap_err();
    assert!(matches!(error, SystemError::Failed { class: Class::TimedOut, .. }), "{error}");
    assert_all_permits_are_back(&stage);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_proposal_is_not_reviewed() {
    let script = |call: &_, _| match is_seat(call, 1) {
        true => usual(call, ms(1)),
        false => fails(Class::Refused, "no"),
    };
    let stage = Scenario::new().reacts(script).council("DEV", 3).start().await;
    let verdict = deliberate(&stage, "t").await.unwrap().verdict.clone();
    assert_eq!((verdict.stop, verdict.calls, verdict.ranking.len()), (StopReason::Single, 1, 1));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn when_a_revision_fails_the_original_stays() {
    let script = |call: &moothall_actors::ports::ModelCall, _| match call.stage() {
        Wave::Revise if is_seat(call, 1) => fails(Class::Refused, "no"),
        _ => usual(call, ms(1)),
    };
    let stage = Scenario::new().reacts(script).council("DEV", 3).start().await;
    let outcome = deliberate(&stage, "t").await.unwrap();
    let first = outcome.proposals.iter().find(|proposal| proposal.agent.as_str().ends_with("001")).unwrap();
    assert_eq!((&*first.text, first.revisions.len()), ("propose of agent-dev-001 in round 0", 0));
    assert_eq!(outcome.verdict.missing.len(), 1);
    assert_eq!(outcome.proposals.iter().filter(|proposal| proposal.revisions.len() == 1).count(), 2);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_critique_nobody_revises() {
    let script = |call: &moothall_actors::ports::ModelCall, _| match call.stage() {
        Wave::Critique => fails(Class::Refused, "no"),
        _ => usual(call, ms(1)),
    };
    let stage = Scenario::new().reacts(script).council("DEV", 3).start().await;
    let verdict = deliberate(&stage, "t").await.unwrap().verdict.clone();
    assert_eq!((verdict.calls, verdict.missing.len(), verdict.ranking.len()), (3, 3, 3));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_drops_all_calls_and_writes_one_final_at_every_stage() {
    for stuck_at in [Wave::Propose, Wave::Critique, Wave::Revise] {
        let script = move |call: &moothall_actors::ports::ModelCall, _: u32| match call.stage() == stuck_at {
            true => (ms(0), Reaction::Silence),
            false => usual(call, ms(1)),
        };
        let stage = Scenario::new().reacts(script).council("DEV", 3).start().await;
        let attached = submit(&stage, "t").await;
        pass(secs(1)).await;
        assert_eq!(stage.model.in_flight(), 3);
        stage.system().cancel(&task("t"), "not needed").await.unwrap();
        assert!(matches!(attached.outcome().await, Err(SystemError::Cancelled { reason }) if &*reason == "not needed"));
        assert_cancelled(&stage, 3).await;
        stage.close().await;
    }
}

async fn assert_cancelled(stage: &Stage, dropped: u32) {
    pass(ms(1)).await;
    assert_eq!(stage.model.in_flight(), 0);
    assert_eq!(stage.model.counts().values().map(|counts| counts.dropped).sum::<u32>(), dropped);
    assert!(matches!(the_final(stage), Event::TaskCancelled { run: 1, .. }));
    assert_eq!(count(stage, "DeliberationCancelled"), 1);
    assert_all_permits_are_back(stage);
}

/// Checks that never end.
struct EndlessChecks;

#[async_trait]
impl Checks for EndlessChecks {
    fn policy_hash(&self) -> Arc<str> {
        "endless".into()
    }

    async fn check(&self, _: Vec<Subject>) -> Vec<CheckReport> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_while_texts_are_checked_is_heard() {
    let stage = Scenario::new().checks(Arc::new(EndlessChecks)).council("DEV", 2).start().await;
    let attached = submit(&stage, "t").await;
    pass(secs(1)).await;
    stage.system().cancel(&task("t"), "not needed").await.unwrap();
    assert!(attached.outcome().await.is_err());
    assert_cancelled(&stage, 0).await;
    stage.close().await;
}

/// Checks that break down.
struct BrokenChecks;

#[async_trait]
impl Checks for BrokenChecks {
    fn policy_hash(&self) -> Arc<str> {
        "broken".into()
    }

    async fn check(&self, _: Vec<Subject>) -> Vec<CheckReport> {
        panic!("the checks break, as they were told to")
    }
}

#[tokio::test(start_paused = true)]
async fn checks_that_break_down_count_as_not_run() {
    let stage = Scenario::new().checks(Arc::new(BrokenChecks)).council("DEV", 2).start().await;
    let verdict = deliberate(&stage, "t").await.unwrap().verdict.clone();
    let not_run = CheckReport::not_run(&"the checks broke down".into());
    assert!(verdict.ranking.iter().all(|ranked| *ranked.checks == not_run));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_has_ended_cannot_be_cancelled() {
    let stage = Scenario::new().model(FakeModel::instant()).council("DEV", 2).start().await;
    deliberate(&stage, "t").await.unwrap();
    assert!(matches!(stage.system().cancel(&task("t"), "late").await, Err(SystemError::WrongState(_))));
    assert!(matches!(stage.system().cancel(&task("u"), "what").await, Err(SystemError::UnknownTask { .. })));
    assert!(matches!(the_final(&stage), Event::TaskCompleted { .. }));
    stage.close().await;
}
