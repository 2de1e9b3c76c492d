//! A task goes the whole way.

use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::event::Event;
use moothall_actors::domain::task::TaskDraft;
use moothall_actors::domain::verdict::{Outcome, StopReason};
use moothall_actors::testing::{FakeModel, Reaction, Scenario, Stage, draft, spec};
use moothall_actors::{Hold, System};

async fn deliberate(system: &System, id: &str, draft: TaskDraft) -> Arc<Outcome> {
    let attached = system.submit(Some(Stage::task(id)), spec(draft), Hold::Call).await.unwrap();
    attached.outcome().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn three_agents_and_one_round_make_nine_calls_and_a_ranking() {
    let slow = Duration::from_millis(50);
    let scenario = Scenario::new().reacts(move |call, _| (slow, Reaction::Answer(FakeModel::usual(call))));
    let stage = scenario.council("DEV", 3).start().await;
    let outcome = deliberate(stage.system(), "t-1", draft("parse a duration")).await;
    assert_eq!(outcome.verdict.duration, 3 * slow, "three waves");
    assert_eq!((outcome.verdict.calls, outcome.verdict.stop), (9, StopReason::Complete));
    assert_eq!(outcome.proposals.len(), 3);
    assert!(outcome.proposals.iter().all(|proposal| proposal.revisions.len() == 1));
    assert_eq!(stage.model.most_in_flight(), 3);
    // Agent 3 gives 3 of 10 to agent 1, agent 2 gives 2 to agent 3, agent 1 gives 1 to agent 2.
    let order: Vec<_> = outcome.verdict.ranking.iter().map(|ranked| ranked.agent.to_string()).collect();
    assert_eq!(order, ["agent-dev-001", "agent-dev-003", "agent-dev-002"]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn call_numbers_follow_rounds_and_agents() {
    let stage = Scenario::new().council("DEV", 3).start().await;
    let with = |rounds, num_agents| TaskDraft { rounds, num_agents, ..draft("d") };
    let skipped = TaskDraft { metadata: [("rounds".to_owned(), "none".to_owned())].into(), ..draft("d") };
    for (id, draft, calls) in
        [("a", with(2, 0), 15), ("b", with(0, 0), 9), ("c", skipped, 3), ("d", with(0, 2), 6), ("e", with(8, 0), 51)]
    {
        assert_eq!(deliberate(stage.system(), id, draft).await.verdict.calls, calls, "task {id}");
    }
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_journal_holds_every_call_before_the_one_final_event() {
    let stage = Scenario::new().council("DEV", 3).start().await;
    deliberate(stage.system(), "t-1", draft("d")).await;
    let events = stage.journal.events();
    let answered = events.iter().filter(|e| matches!(e.event.event, Event::CallAnswered { .. })).count();
    let finals: Vec<_> = events.iter().filter(|e| e.event.event.is_final()).collect();
    assert_eq!((answered, finals.len()), (9, 1));
    assert_eq!(finals[0].seq, events.last().unwrap().seq);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn reviewers_see_brief_rubric_and_requirements_but_no_names() {
    let stage = Scenario::new().council("DEV", 3).start().await;
    let task = TaskDraft {
        rubric: "small is good".into(),
        requirements: vec!["accept 1h30m".into(), "refuse abc".into()],
        ..draft("parse a duration")
    };
    deliberate(stage.system(), "t-1", task).await;
    let asks = stage.model.asks();
    let shared = &asks[0].shared;
    assert!(
        ["parse a duration", "small is good", "1. accept 1h30m", "2. refuse abc"]
            .iter()
            .all(|part| shared.contains(part))
    );
    for call in &asks {
        assert_eq!(call.shared, *shared, "the prefix is the same for all");
        let names = ["fake"].iter().any(|name| call.shared.contains(name) || call.ask.contains(name));
        assert!(!names, "{}", call.ask);
    }
    stage.close().await;
}
