//! The power goes at every place of the journal: the run ends once, as if nothing had happened.

use moothall_actors::Hold;
use moothall_actors::domain::task::TaskDraft;
use moothall_actors::testing::{PowerCut, Scenario, Stage, draft, invariants};

use crate::story::{finals, ms, pass, ranking, secs, submit_as, usual};

fn two_rounds() -> TaskDraft {
    TaskDraft { rounds: 2, ..draft("d") }
}

/// Seats answer one after the other, so that every event has a place of its own.
async fn stage() -> Stage {
    let script = |call: &moothall_actors::ports::ModelCall, _| {
        let digit = call.id.agent.as_str().bytes().last().unwrap_or(b'0') - b'0';
        usual(call, ms(10 * u64::from(digit)))
    };
    Scenario::new().reacts(script).council("DEV", 3).start().await
}

async fn undisturbed() -> (usize, usize, Vec<(String, u32)>) {
    let stage = stage().await;
    let before = stage.journal.events().len();
    let attached = submit_as(&stage, "t", two_rounds(), Hold::Call).await.unwrap();
    let outcome = attached.outcome().await.unwrap();
    let after = stage.journal.events().len();
    stage.close().await;
    (before, after, ranking(&outcome))
}

/// Runs until the run ends or the power goes; answers the ranking.
async fn live(stage: &Stage) -> Option<Vec<(String, u32)>> {
    let run = async {
        let attached = submit_as(stage, "t", two_rounds(), Hold::Call).await.ok()?;
        attached.outcome().await.ok()
    };
    let outcome = tokio::select! {
        biased;
        () = stage.journal.power_is_cut() => None,
        outcome = run => outcome,
    };
    outcome.map(|outcome| ranking(&outcome))
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_event_changes_nothing_of_the_outcome() {
    let (before, after, expected) = undisturbed().await;
    assert!(after - before > 15, "five waves of three, and more");
    for place in before + 1..=after {
        for acknowledged in [false, true] {
            let mut stage = stage().await;
            stage.journal.cut_power(PowerCut { after: place, acknowledged });
            live(&stage).await;
            stage.crash().await;
            assert!(stage.journal.events().len() >= place, "the power was cut");
            stage.rise().await;
            assert_eq!(live(&stage).await.as_ref(), Some(&expected), "cut after {place}, {acknowledged}");
            assert_eq!(finals(&stage).len(), 1, "cut after {place}, {acknowledged}");
            assert_eq!(stage.model.repeated(), [], "cut after {place}, {acknowledged}");
            invariants::check(&stage.journal.events()).unwrap();
            stage.close().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_every_third_event_still_comes_to_the_end() {
    let (_, _, expected) = undisturbed().await;
    for acknowledged in [false, true] {
        let mut stage = stage().await;
        let mut crashes = 0;
        let outcome = loop {
            let after = stage.journal.events().len() + 3;
            stage.journal.cut_power(PowerCut { after, acknowledged });
            if let Some(outcome) = live(&stage).await {
                break outcome;
            }
            stage.crash().await;
            stage.rise().await;
            crashes += 1;
            assert!(crashes < 100, "it comes nowhere");
        };
        assert!(crashes > 5, "{crashes}");
        assert_eq!((outcome, finals(&stage).len()), (expected.clone(), 1));
        assert_eq!(stage.model.repeated(), []);
        invariants::check(&stage.journal.events()).unwrap();
        pass(secs(1)).await;
        stage.close().await;
    }
}
