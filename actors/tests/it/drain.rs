//! The daemon stops: what can finish does, the rest waits in the journal, and nobody lives afterwards.

use moothall_actors::Hold;
use moothall_actors::domain::event::Event;
use moothall_actors::error::SystemError;
use moothall_actors::testing::{JournalFaults, Random, Scenario, Stage, draft, spec};

use crate::story::{finals, ms, pass, secs, submit, submit_as, task, usual};

/// A run takes thirty seconds.
async fn stage() -> Stage {
    Scenario::new().reacts(|call, _| usual(call, secs(10))).council("DEV", 3).start().await
}

#[tokio::test(start_paused = true)]
async fn what_can_finish_within_the_deadline_does() {
    let mut stage = stage().await;
    let attached = submit(&stage, "t").await;
    let drained = stage.drain(secs(60)).await;
    assert_eq!(drained.open, []);
    assert!(attached.outcome().await.is_ok());
    assert_eq!(finals(&stage).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_finish_goes_on_at_the_next_start() {
    let mut stage = stage().await;
    let attached = submit(&stage, "t").await;
    let unkeyed = stage.system().submit(None, spec(draft("d")), Hold::Call).await.unwrap();
    pass(secs(5)).await;
    let drained = stage.drain(secs(10)).await;
    assert_eq!(drained.open.len(), 2);
    assert!(matches!(attached.outcome().await, Err(SystemError::Unavailable(_))), "its client hears of it");
    drop((attached, unkeyed));
    pass(secs(60)).await;
    assert!(finals(&stage).is_empty());
    stage.rise().await;
    let attached = stage.system().attach(&task("t")).await.unwrap();
    assert_eq!(attached.outcome().await.unwrap().verdict.calls, 9);
    assert_eq!(stage.model.repeated(), []);
    let interrupted = finals(&stage).into_iter().filter(|e| matches!(e.event.event, Event::TaskFailed(_))).count();
    assert_eq!((finals(&stage).len(), interrupted), (2, 1), "nobody could find the other again");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_admitted_meanwhile_but_what_runs_can_be_attached_to() {
    let mut stage = stage().await;
    let first = submit(&stage, "t").await;
    let system = stage.system().clone();
    let drained = stage.drain(secs(60));
    let meanwhile = async {
        pass(secs(1)).await;
        let new = system.submit(Some(task("u")), spec(draft("d")), Hold::Call).await;
        assert!(matches!(new, Err(SystemError::Unavailable(_))));
        let again = system.submit(Some(task("t")), spec(draft("d")), Hold::Call).await.unwrap();
        assert!(again.joined() && system.status().draining);
        again.outcome().await.unwrap()
    };
    let (drained, again) = tokio::join!(drained, meanwhile);
    assert_eq!(drained.open, []);
    assert_eq!(first.outcome().await.unwrap(), again);
    assert_eq!(finals(&stage).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn clients_that_leave_during_a_drain_cancel_nothing() {
    let mut stage = stage().await;
    let unkeyed = stage.system().submit(None, spec(draft("d")), Hold::Call).await.unwrap();
    let leaves = async {
        pass(secs(1)).await;
        drop(unkeyed);
    };
    tokio::join!(stage.drain(secs(60)), leaves);
    assert!(matches!(finals(&stage)[0].event.event, Event::TaskCompleted { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_admission_on_its_way_to_the_disk_is_waited_for() {
    let faults = JournalFaults { random: Random::new(2), delay_ms: 100, busy_percent: 0 };
    let scenario = Scenario::new().reacts(|call, _| usual(call, secs(1))).journal_faults(faults);
    let mut stage = scenario.council("DEV", 1).start().await;
    let system = stage.system().clone();
    let submitted = async { system.submit(Some(task("t")), spec(draft("d")), Hold::Call).await };
    let drained = async {
        pass(ms(1)).await;
        stage.drain(secs(60)).await
    };
    let (submitted, drained) = tokio::join!(submitted, drained);
    assert!(submitted.unwrap().outcome().await.is_ok());
    assert_eq!((drained.open.len(), finals(&stage).len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_second_drain_and_late_calls_do_no_harm() {
    let mut stage = stage().await;
    let system = stage.system().clone();
    stage.drain(secs(1)).await;
    assert_eq!(system.drain(secs(1)).await.open, []);
    assert!(system.submit(None, spec(draft("d")), Hold::Call).await.is_err());
    assert!(system.cancel(&task("t"), "late").await.is_err());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "actors live: close the stage")]
async fn a_stage_that_is_left_with_live_actors_fails_its_test() {
    let stage = stage().await;
    drop(submit_as(&stage, "t", draft("d"), Hold::Call).await.unwrap());
}
