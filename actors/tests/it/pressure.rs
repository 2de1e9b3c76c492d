//! More work than there is room for: what is refused, what waits, and that all room comes back.

use moothall_actors::domain::answer::Class;
use moothall_actors::domain::council::{Capabilities, Defaults, Endpoint, MAX_COUNCILS, MAX_SEATS, Sampling, Seat};
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::AgentId;
use moothall_actors::error::SystemError;
use moothall_actors::progress::Phase;
use moothall_actors::testing::{Scenario, Stage, draft};
use moothall_actors::view::TaskState;
use moothall_actors::{Attached, CouncilDraft, Hold};

use crate::story::{
    assert_all_permits_are_back, deliberate, fails, finals, ms, pass, role, secs, submit, submit_as, task, usual,
};

/// Every call takes a second, so a run takes three; so many may be open.
async fn narrow(permits: u32) -> Stage {
    let scenario = Scenario::new().reacts(|call, _| usual(call, secs(1)));
    scenario.settings(|settings| settings.open_deliberations = permits).council("DEV", 3).start().await
}

async fn is_refused(stage: &Stage, id: &str) -> bool {
    matches!(submit_as(stage, id, draft("d"), Hold::Call).await, Err(SystemError::Busy { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_full_gate_refuses_until_a_run_has_ended() {
    let stage = narrow(2).await;
    let (one, two) = (submit(&stage, "a").await, submit(&stage, "b").await);
    assert!(is_refused(&stage, "c").await);
    assert!(submit(&stage, "a").await.joined(), "attaching takes no permit");
    assert_eq!(
        finals(&stage).len() + stage.journal.events().iter().filter(|e| e.stream.as_str() == "task/c").count(),
        0
    );
    one.outcome().await.unwrap();
    two.outcome().await.unwrap();
    assert!(!is_refused(&stage, "c").await);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn permits_come_back_after_completion_failure_and_cancel() {
    let script = |call: &moothall_actors::ports::ModelCall, _| match call.id.run.task.as_str() {
        "fails" => fails(Class::Refused, "no"),
        _ => usual(call, secs(1)),
    };
    let scenario = Scenario::new().reacts(script).settings(|settings| settings.open_deliberations = 3);
    let stage = scenario.council("DEV", 3).start().await;
    let runs: Vec<Attached> = vec![submit(&stage, "completes").await, submit(&stage, "fails").await];
    let cancelled = submit(&stage, "is cancelled").await;
    let status = stage.system().status();
    assert_eq!((status.permits_free, stage.system().permits_held()), (0, 3));
    stage.system().cancel(&task("is cancelled"), "enough").await.unwrap();
    for run in runs {
        drop(run.outcome().await);
    }
    drop(cancelled);
    pass(ms(1)).await;
    assert_all_permits_are_back(&stage);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn resumed_runs_come_first_and_wait_when_there_are_more_than_permits() {
    let mut stage = narrow(5).await;
    for id in ["a", "b", "c", "d", "e"] {
        drop(submit(&stage, id).await);
    }
    pass(ms(1_500)).await;
    stage.crash().await;
    stage.settings.open_deliberations = 2;
    stage.rise().await;
    assert!(is_refused(&stage, "new").await, "before any of them has ended");
    let mut pending = 0;
    for id in ["a", "b", "c", "d", "e"] {
        let view = stage.system().task(&task(id)).await.unwrap();
        pending += u32::from(matches!(view.state, TaskState::Pending));
    }
    assert_eq!((pending, stage.system().status().permits_free), (3, 0));
    stage.system().cancel(&task("e"), "not worth the wait").await.unwrap();
    let mut refused = 0;
    while finals(&stage).len() < 3 {
        pass(ms(100)).await;
        refused += u32::from(is_refused(&stage, "new").await);
    }
    assert!(refused >= 19, "as long as one waits, nothing new is admitted");
    let order: Vec<_> = finals(&stage).iter().map(|recorded| recorded.stream.to_string()).collect();
    assert_eq!(order, ["task/e", "task/a", "task/b"], "oldest first");
    pass(secs(10)).await;
    let completed = finals(&stage).iter().filter(|e| matches!(e.event.event, Event::TaskCompleted { .. })).count();
    assert_eq!((finals(&stage).len(), completed), (5, 4));
    assert_eq!(stage.model.repeated(), []);
    assert_all_permits_are_back(&stage);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_an_agents_limit_wait_their_turn() {
    let scenario = Scenario::new().reacts(|call, _| usual(call, ms(100)));
    let stage = scenario.settings(|settings| settings.calls_per_agent = 2).council("DEV", 3).start().await;
    let mut runs = Vec::new();
    for n in 0..10 {
        runs.push(submit(&stage, &format!("t-{n}")).await);
    }
    for run in runs {
        let verdict = run.outcome().await.unwrap().verdict.clone();
        assert_eq!((verdict.calls, verdict.missing.len()), (9, 0));
    }
    assert_eq!(stage.model.most_in_flight(), 6);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_deliberations_run_at_once() {
    let scenario = Scenario::new().reacts(|call, _| usual(call, ms(50)));
    let stage = scenario.council("DEV", 3).start().await;
    let mut runs = Vec::new();
    for n in 0..1_000 {
        runs.push(submit(&stage, &format!("t-{n}")).await);
    }
    for run in runs {
        assert_eq!(run.outcome().await.unwrap().verdict.duration, ms(150));
    }
    assert_eq!((stage.model.most_in_flight(), finals(&stage).len()), (3_000, 1_000));
    pass(ms(1)).await;
    assert_all_permits_are_back(&stage);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn readers_that_do_not_read_hold_nobody_up_and_miss_nothing() {
    let stage = narrow(16).await;
    let attached = submit(&stage, "t").await;
    let mut readers: Vec<_> = (0..100).map(|_| attached.updates()).collect();
    let verdict = attached.outcome().await.unwrap().verdict.clone();
    assert_eq!(verdict.duration, secs(3));
    let mut seen = Vec::new();
    while let Some(update) = readers[0].next().await {
        seen.push(update);
    }
    assert!(seen.windows(2).all(|pair| pair[0].percent <= pair[1].percent), "percent never falls");
    assert_eq!(seen.last().map(|last| (last.phase, last.percent)), Some((Phase::Complete, 100)));
    assert_eq!(seen.iter().filter(|update| update.step.to_string().ends_with(" proposed")).count(), 3);
    let mut late = readers.pop().unwrap();
    for update in &seen {
        assert_eq!(late.next().await.as_ref(), Some(update));
    }
    assert_eq!(late.next().await, None);
    stage.close().await;
}

fn draft_of(name: &str, num_agents: usize) -> CouncilDraft {
    CouncilDraft {
        role: role(name),
        num_agents,
        rounds: 1,
        review: true,
        agent_type: "VLLM".into(),
        model: "fake".into(),
        endpoint: Endpoint::Pool,
        sampling: Sampling::default(),
        defaults: Defaults::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn there_are_at_most_so_many_councils() {
    let stage = Scenario::new().start().await;
    for n in 0..MAX_COUNCILS {
        stage.system().create_council(draft_of(&format!("ROLE_{n}"), 1)).await.unwrap();
    }
    let system = stage.system();
    assert!(matches!(system.create_council(draft_of("MORE", 1)).await, Err(SystemError::WrongState(_))));
    assert!(matches!(system.create_council(draft_of("ROLE_1", 1)).await, Err(SystemError::CouncilExists { .. })));
    system.delete_council(&role("ROLE_1")).await.unwrap();
    assert!(system.create_council(draft_of("MORE", 1)).await.is_ok());
    assert!(system.create_council(draft_of("ROLE_1", 1)).await.is_err());
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_council_has_at_most_so_many_seats() {
    let stage = Scenario::new().council("DEV", MAX_SEATS).start().await;
    let seat = Seat {
        agent: AgentId::parse("agent", "one-more").unwrap(),
        endpoint: Endpoint::Pool,
        model: "fake".into(),
        sampling: Sampling::default(),
        capabilities: Capabilities::default(),
        metadata: std::collections::BTreeMap::new(),
    };
    let more = stage.system().register_agent(&role("DEV"), seat).await;
    assert!(matches!(more, Err(SystemError::WrongState(_))), "{more:?}");
    let huge = stage.system().create_council(draft_of("QA", MAX_SEATS + 1)).await;
    assert!(matches!(huge, Err(SystemError::Invalid(_))), "{huge:?}");
    assert_eq!(deliberate(&stage, "t").await.unwrap().verdict.calls, 3 * MAX_SEATS as u32);
    stage.close().await;
}
