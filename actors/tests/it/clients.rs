//! Clients come, attach, retry and leave: what their coming and leaving means for a run.

use moothall_actors::domain::answer::Class;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::task::TaskDraft;
use moothall_actors::error::SystemError;
use moothall_actors::testing::{FakeModel, JournalFaults, Random, Reaction, Scenario, Stage, draft, spec};
use moothall_actors::view::TaskState;
use moothall_actors::{Attached, Hold};

use crate::story::{
    assert_all_permits_are_back, count, deliberate, fails, finals, ms, pass, secs, submit, submit_as, task, the_final,
    usual,
};

/// Three agents, every call takes ten seconds: a run takes thirty.
async fn slow() -> Stage {
    Scenario::new().reacts(|call, _| usual(call, secs(10))).council("DEV", 3).start().await
}

async fn without_id(stage: &Stage, hold: Hold) -> Attached {
    stage.system().submit(None, spec(draft("d")), hold).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_same_task_attaches_while_it_runs_and_is_answered_from_the_journal_later() {
    let stage = slow().await;
    let first = submit(&stage, "t").await;
    pass(secs(5)).await;
    let second = submit(&stage, "t").await;
    assert!(!first.joined() && second.joined());
    let (one, two) = (first.outcome().await.unwrap(), second.outcome().await.unwrap());
    assert_eq!(one, two);
    let stored = submit(&stage, "t").await;
    assert!(stored.joined());
    assert_eq!(stored.outcome().await.unwrap(), one);
    assert_eq!((stage.model.asks().len(), count(&stage, "TaskAccepted")), (9, 1));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn other_content_under_the_same_id_is_refused() {
    let stage = slow().await;
    let _first = submit(&stage, "t").await;
    let other = || submit_as(&stage, "t", draft("something else"), Hold::Call);
    assert!(matches!(other().await, Err(SystemError::OtherContent { .. })));
    pass(secs(60)).await;
    assert!(matches!(other().await, Err(SystemError::OtherContent { .. })), "also when it has ended");
    let moved = TaskDraft { metadata: [("story_id".to_owned(), "s-1".to_owned())].into(), ..draft("d") };
    assert!(submit_as(&stage, "t", moved, Hold::Call).await.unwrap().joined(), "where it comes from is not content");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn two_clients_with_one_id_at_the_same_moment_share_one_run() {
    let faults = JournalFaults { random: Random::new(3), delay_ms: 10, busy_percent: 0 };
    let stage = Scenario::new().journal_faults(faults).council("DEV", 2).start().await;
    let (one, two) = tokio::join!(submit(&stage, "t"), submit(&stage, "t"));
    assert!(one.joined() != two.joined(), "one starts it, the other attaches");
    assert_eq!(one.outcome().await.unwrap(), two.outcome().await.unwrap());
    assert_eq!((count(&stage, "TaskAccepted"), finals(&stage).len()), (1, 1));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_healed_is_run_two() {
    let down_at_first = |call: &moothall_actors::ports::ModelCall, _| match call.id.run.run {
        1 => fails(Class::Transient, "connection refused"),
        _ => usual(call, ms(1)),
    };
    let stage = Scenario::new().reacts(down_at_first).council("DEV", 2).start().await;
    assert!(deliberate(&stage, "t").await.is_err());
    let outcome = deliberate(&stage, "t").await.unwrap();
    assert_eq!(outcome.proposals.len(), 2);
    let runs: Vec<_> = finals(&stage).into_iter().map(|recorded| recorded.event.event).collect();
    assert!(matches!(&runs[..], [Event::TaskFailed(_), Event::TaskCompleted { run: 2, .. }]), "{runs:?}");
    assert!(deliberate(&stage, "t").await.is_ok(), "and that is the answer from now on");
    assert_all_permits_are_back(&stage);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_retries_at_once_gets_run_two_as_well() {
    let down = |_: &_, _| fails(Class::Transient, "connection refused");
    let stage = Scenario::new().reacts(down).council("DEV", 1).start().await;
    for _ in 0..20 {
        assert!(deliberate(&stage, "t").await.is_err());
    }
    assert_eq!((count(&stage, "TaskRetried"), finals(&stage).len()), (19, 20));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_and_a_cancellation_are_final() {
    let stage =
        Scenario::new().reacts(|_, _| fails(Class::Refused, "404 no such model")).council("DEV", 2).start().await;
    let first = deliberate(&stage, "t").await.unwrap_err();
    assert_eq!(deliberate(&stage, "t").await.unwrap_err(), first);
    assert!(matches!(the_final(&stage), Event::TaskFailed(_)));
    assert_eq!(stage.model.asks().len(), 2, "nobody was asked again");
    stage.close().await;

    let stage = slow().await;
    let _attached = submit(&stage, "t").await;
    stage.system().cancel(&task("t"), "enough").await.unwrap();
    assert!(matches!(deliberate(&stage, "t").await, Err(SystemError::Cancelled { .. })));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_without_id_ends_with_its_last_client() {
    let stage = slow().await;
    let attached = without_id(&stage, Hold::Call).await;
    let watching = stage.system().attach(attached.task()).await.unwrap();
    pass(secs(1)).await;
    assert!(finals(&stage).is_empty(), "its client still waits");
    drop(attached);
    pass(ms(1)).await;
    assert!(matches!(the_final(&stage), Event::TaskCancelled { .. }), "who only watches does not hold it");
    assert!(matches!(watching.outcome().await, Err(SystemError::Cancelled { .. })));
    assert_eq!(stage.model.in_flight(), 0);
    assert_all_permits_are_back(&stage);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_with_id_goes_on_without_clients() {
    let stage = slow().await;
    drop(submit(&stage, "t").await);
    drop(without_id(&stage, Hold::Background).await);
    pass(secs(31)).await;
    assert!(finals(&stage).iter().all(|recorded| matches!(recorded.event.event, Event::TaskCompleted { .. })));
    assert_eq!(finals(&stage).len(), 2);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_ends_its_run_after_a_while_and_without_id_at_once() {
    let stage = Scenario::new().reacts(|_, _| (ms(0), Reaction::Silence)).council("DEV", 1).start().await;
    drop(submit_as(&stage, "t", draft("d"), Hold::Stream).await.unwrap());
    pass(secs(29)).await;
    assert!(finals(&stage).is_empty());
    pass(secs(2)).await;
    assert!(matches!(the_final(&stage), Event::TaskCancelled { .. }));
    drop(without_id(&stage, Hold::Stream).await);
    pass(ms(1)).await;
    assert_eq!(finals(&stage).len(), 2);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_attaches_in_time_saves_the_run_of_a_broken_stream() {
    let stage = slow().await;
    let stream = submit_as(&stage, "t", draft("d"), Hold::Stream).await.unwrap();
    pass(secs(5)).await;
    drop(stream);
    pass(secs(10)).await;
    let saved = stage.system().attach(&task("t")).await.unwrap();
    assert!(saved.outcome().await.is_ok());
    pass(secs(60)).await;
    assert!(matches!(the_final(&stage), Event::TaskCompleted { .. }));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_while_it_is_admitted_orphans_nothing() {
    let faults = JournalFaults { random: Random::new(5), delay_ms: 50, busy_percent: 0 };
    let scenario = Scenario::new().reacts(|call, _| usual(call, secs(1))).journal_faults(faults);
    let stage = scenario.council("DEV", 2).start().await;
    for (name, wait) in (0..20).map(|n| (format!("t-{n}"), ms(n * 5))) {
        let keyed = submit_as(&stage, &name, draft("d"), Hold::Call);
        drop(tokio::time::timeout(wait, keyed).await);
        let unkeyed = stage.system().submit(None, spec(draft("d")), Hold::Call);
        drop(tokio::time::timeout(wait, unkeyed).await);
    }
    pass(secs(30)).await;
    let (accepted, ended) = (count(&stage, "TaskAccepted"), finals(&stage).len());
    assert!(accepted > 20, "{accepted}");
    assert_eq!(accepted, ended);
    assert_all_permits_are_back(&stage);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_shows_where_it_is_and_how_it_ended() {
    let stage = slow().await;
    let attached = submit(&stage, "t").await;
    pass(secs(11)).await;
    let view = stage.system().task(&task("t")).await.unwrap();
    let TaskState::Running { last: Some(last) } = view.state else { panic!("{view:?}") };
    assert_eq!(last.phase.as_str(), "reviewing");
    attached.outcome().await.unwrap();
    pass(ms(1)).await;
    let view = stage.system().task(&task("t")).await.unwrap();
    assert!(matches!(view.state, TaskState::Completed(_)));
    assert!(matches!(stage.system().task(&task("u")).await, Err(SystemError::UnknownTask { .. })));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn stored_answers_need_no_council_and_no_admission() {
    let stage = Scenario::new().model(FakeModel::instant()).council("DEV", 2).start().await;
    let outcome = deliberate(&stage, "t").await.unwrap();
    stage.system().delete_council(&crate::story::role("DEV")).await.unwrap();
    stage.journal.stall(Some("disk full"));
    assert_eq!(deliberate(&stage, "t").await.unwrap(), outcome);
    assert!(matches!(submit_as(&stage, "u", draft("d"), Hold::Call).await, Err(SystemError::Unavailable(_))));
    stage.journal.stall(None);
    assert!(matches!(submit_as(&stage, "u", draft("d"), Hold::Call).await, Err(SystemError::NoCouncils)));
    stage.close().await;
}
