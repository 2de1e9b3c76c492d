//! Seats whose calls go to the executor: a wave is one submission, whatever falls.

use std::collections::BTreeMap;
use std::time::Duration;

use moothall_actors::Hold;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::task::TaskSpec;
use moothall_actors::testing::{FakeExecutor, FakeModel, PowerCut, Reaction, Scenario, Stage, draft, invariants, spec};

use crate::story::{finals, ms, ranking, submit_as, usual};

/// Seats answer one after the other, so that every event has a place of its own.
fn model() -> FakeModel {
    FakeModel::new(|call, _| {
        let digit = call.id.agent.as_str().bytes().last().unwrap_or(b'0') - b'0';
        usual(call, ms(20 * u64::from(digit)))
    })
}

async fn stage(executor: &FakeExecutor, model: FakeModel) -> Stage {
    Scenario::new().model(model).executor(executor.clone()).council("DEV", 3).start().await
}

fn kinds(stage: &Stage) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    for recorded in stage.journal.events() {
        *kinds.entry(recorded.event.event.kind()).or_default() += 1;
    }
    kinds
}

#[tokio::test(start_paused = true)]
async fn each_wave_is_one_submission_and_as_parallel_as_direct() {
    let model = FakeModel::new(|call, _| (ms(50), Reaction::Answer(FakeModel::usual(call))));
    let executor = FakeExecutor::new(model.clone());
    let stage = stage(&executor, model).await;
    let outcome = submit_as(&stage, "t", draft("d"), Hold::Call).await.unwrap().outcome().await.unwrap();
    assert_eq!((outcome.verdict.calls, stage.model.most_in_flight()), (9, 3));
    assert_eq!(outcome.verdict.duration, 3 * (ms(50)), "the executor makes calls while it says that it has them");
    let names: Vec<String> = executor.submits().keys().map(ToString::to_string).collect();
    assert_eq!(names, ["t/1/critique-1#1", "t/1/propose-0#1", "t/1/revise-1#1"]);
    let kinds = kinds(&stage);
    assert_eq!((kinds["WaveSubmitting"], kinds["WaveAccepted"], kinds["CallAnswered"]), (3, 3, 9));
    invariants::check(&stage.journal.events()).unwrap();
    stage.close().await;
}

async fn live(stage: &Stage) -> Option<Vec<(String, u32)>> {
    let run = async { submit_as(stage, "t", draft("d"), Hold::Call).await.ok()?.outcome().await.ok() };
    let outcome = tokio::select! {
        biased;
        () = stage.journal.power_is_cut() => None,
        outcome = run => outcome,
    };
    outcome.map(|outcome| ranking(&outcome))
}

async fn undisturbed() -> (usize, usize, Vec<(String, u32)>) {
    let executor = FakeExecutor::new(model());
    let stage = stage(&executor, model()).await;
    let before = stage.journal.events().len();
    let expected = live(&stage).await.unwrap();
    let after = stage.journal.events().len();
    stage.close().await;
    (before, after, expected)
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_event_submits_no_wave_twice() {
    let (before, after, expected) = undisturbed().await;
    assert!(after - before > 15, "nine outcomes, six events of submissions, and more");
    for place in before + 1..=after {
        for acknowledged in [false, true] {
            let model = model();
            let executor = FakeExecutor::new(model.clone());
            let mut stage = stage(&executor, model).await;
            stage.journal.cut_power(PowerCut { after: place, acknowledged });
            live(&stage).await;
            stage.crash().await;
            stage.rise().await;
            let what = format!("cut after {place}, {acknowledged}");
            assert_eq!(live(&stage).await.as_ref(), Some(&expected), "{what}");
            assert_eq!(finals(&stage).len(), 1, "{what}");
            assert_eq!(stage.model.repeated(), [], "{what}");
            let calls = stage.model.counts();
            assert!(calls.values().all(|counts| counts.started == 1), "{what}: {calls:?}");
            // Submitted again only where nobody knew that it was taken, and then as the same one.
            let again = executor.submits().values().filter(|count| **count > 1).count();
            assert!(again <= 1 && executor.submits().len() == 3, "{what}: {:?}", executor.submits());
            invariants::check(&stage.journal.events()).unwrap();
            stage.close().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_executor_loses_is_asked_anew_agent_by_agent() {
    let model = model();
    let executor = FakeExecutor::new(model.clone());
    executor.lose(1);
    let stage = stage(&executor, model).await;
    let outcome = submit_as(&stage, "t", draft("d"), Hold::Call).await.unwrap().outcome().await.unwrap();
    assert_eq!((outcome.verdict.calls, outcome.verdict.missing.len()), (9, 0));
    let of_proposals: Vec<_> = executor.submits().keys().filter(|name| name.contains("propose")).cloned().collect();
    assert_eq!(of_proposals.len(), 4, "{of_proposals:?}");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_wave_that_nobody_needs_is_cancelled() {
    let model = FakeModel::new(|call, _| (Duration::from_secs(200), Reaction::Answer(FakeModel::usual(call))));
    let executor = FakeExecutor::new(model.clone());
    let stage = stage(&executor, model).await;
    let attached = submit_as(&stage, "t", draft("d"), Hold::Call).await.unwrap();
    tokio::time::sleep(ms(100)).await;
    assert_eq!(stage.model.in_flight(), 3);
    stage.system().cancel(&Stage::task("t"), "enough").await.unwrap();
    assert!(attached.outcome().await.is_err());
    tokio::time::sleep(ms(100)).await;
    assert_eq!((executor.cancelled().len(), stage.model.in_flight()), (1, 0));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_executor_seats_are_missing_or_model_servers_are_asked() {
    for fallback in [false, true] {
        let model = model();
        let executor = FakeExecutor::new(model.clone());
        executor.away(true);
        let scenario = Scenario::new().model(model).executor(executor.clone()).council("DEV", 3);
        let stage = scenario.settings(|settings| settings.ray_fallback = fallback).start().await;
        let outcome = submit_as(&stage, "t", draft("d"), Hold::Call).await.unwrap().outcome().await;
        match outcome {
            Ok(outcome) => {
                assert!(fallback);
                assert_eq!(outcome.verdict.executor_left.as_deref(), Some("nobody answers there"));
                assert_eq!((outcome.verdict.calls, outcome.verdict.missing.len()), (9, 0));
            }
            Err(error) => assert!(!fallback && error.to_string().contains("nobody answers there"), "{error}"),
        }
        let left =
            stage.journal.events().into_iter().filter(|one| matches!(one.event.event, Event::ExecutorLeft { .. }));
        assert_eq!(left.count(), usize::from(fallback), "said once");
        assert!(executor.submits().is_empty());
        invariants::check(&stage.journal.events()).unwrap();
        stage.close().await;
    }
}

/// The first seat answers soon, the others much later.
fn slow() -> FakeModel {
    FakeModel::new(|call, _| {
        let is_first = call.id.agent.as_str().ends_with('1');
        (if is_first { ms(20) } else { Duration::from_secs(60) }, Reaction::Answer(FakeModel::usual(call)))
    })
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_vanishes_with_a_wave_is_given_up() {
    for fallback in [false, true] {
        let model = slow();
        let executor = FakeExecutor::new(model.clone());
        let scenario = Scenario::new().model(model).executor(executor.clone()).council("DEV", 3);
        let stage = scenario.settings(|settings| settings.ray_fallback = fallback).start().await;
        let attached = submit_as(&stage, "t", draft("d"), Hold::Call).await.unwrap();
        tokio::time::sleep(ms(100)).await;
        executor.away(true);
        let outcome = attached.outcome().await.unwrap();
        let missing: Vec<_> = outcome.verdict.missing.iter().map(|seat| seat.reason.to_string()).collect();
        match fallback {
            // One proposal stands: there is nobody to review it.
            false => {
                assert!(missing.len() == 2 && missing.iter().all(|why| why.contains("nobody answers")), "{missing:?}")
            }
            true => assert_eq!((missing.len(), outcome.verdict.calls), (0, 9)),
        }
        assert_eq!(outcome.verdict.executor_left.is_some(), fallback);
        assert_eq!(stage.model.repeated(), [], "what was told is not asked again");
        invariants::check(&stage.journal.events()).unwrap();
        stage.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_waves_are_there_at_once() {
    let model = FakeModel::new(|call, _| (ms(50), Reaction::Answer(FakeModel::usual(call))));
    let executor = FakeExecutor::new(model.clone());
    let scenario = Scenario::new().model(model).executor(executor.clone()).council("DEV", 3);
    let stage = scenario.settings(|settings| settings.executor_waves = 2).start().await;
    let mut attached = Vec::new();
    for task in ["a", "b", "c", "d"] {
        attached.push(submit_as(&stage, task, draft("d"), Hold::Call).await.unwrap());
    }
    for one in attached {
        assert_eq!(one.outcome().await.unwrap().verdict.missing.len(), 0);
    }
    assert_eq!(stage.model.most_in_flight(), 6, "two waves of three");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_review_of_a_backlog_goes_there_where_that_is_wanted() {
    for wanted in [false, true] {
        let model = model();
        let executor = FakeExecutor::new(model.clone());
        let scenario = Scenario::new().model(model).executor_beside(executor.clone()).council("DEV", 2);
        let stage = scenario.settings(|settings| settings.backlog_by_executor = wanted).start().await;
        let spec = TaskSpec { backlog: true, ..spec(draft("d")) };
        let attached = stage.system().submit(Some(Stage::task("t")), spec, Hold::Background).await.unwrap();
        attached.outcome().await.unwrap();
        assert_eq!(executor.submits().len(), if wanted { 3 } else { 0 });
        let other = submit_as(&stage, "other", draft("d"), Hold::Call).await.unwrap();
        other.outcome().await.unwrap();
        assert_eq!(executor.submits().len(), if wanted { 3 } else { 0 }, "other work is asked for as before");
        stage.close().await;
    }
}
