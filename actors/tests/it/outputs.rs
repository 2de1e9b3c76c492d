//! Tasks that several agents carry out: what they make is collected, survives every crash, and is deliberated on.

use std::sync::Arc;

use moothall_actors::domain::answer::Class;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::execution::Executed;
use moothall_actors::domain::id::{self, AgentId, StreamId, Timestamp};
use moothall_actors::domain::queue::{OnDependencyFailure, Priority, QueueState};
use moothall_actors::domain::receipt::{Receipt, ReceiptKey};
use moothall_actors::domain::task::TaskSpec;
use moothall_actors::domain::verdict::Verdict;
use moothall_actors::ports::{Journal as _, TaskStatus, whole_stream};
use moothall_actors::testing::{Scenario, Stage, draft, spec};
use moothall_actors::{ExecutionAnswer, NewTask};

use crate::story::{assert_all_permits_are_back, count, ms, pass, role, secs, task, usual};

/// For one attempt.
const LIMIT: u64 = 60;

fn carried_out(name: &str) -> NewTask {
    let execution = Some(secs(LIMIT));
    NewTask {
        task: task(name),
        spec: TaskSpec { execution, collective: true, ..spec(draft("do it")) },
        priority: Priority::MEDIUM,
        needs: Vec::new(),
        on_failure: OnDependencyFailure::Block,
        hold: None,
        parked: None,
    }
}

fn agent(ordinal: usize) -> Arc<str> {
    AgentId::of_council(&role("DEV"), ordinal).as_str().into()
}

fn made(text: &str) -> Executed {
    let output = Some(format!("{text:?}").into());
    Executed::Completed { checks_passed: Some(true), duration_ms: Some(5), output }
}

fn failed(may_heal: bool) -> Executed {
    Executed::Failed { error: "no disk".into(), may_heal }
}

/// Whether somebody waited for it.
async fn says(stage: &Stage, ordinal: usize, outcome: Executed) -> bool {
    let answer = ExecutionAnswer { task: task("t"), agent: agent(ordinal), attempt: None, outcome };
    let place = ReceiptKey::of(&["answer", &format!("{ordinal} {:?}", answer.outcome)]);
    let receipt = Receipt { keys: vec![place], until: Timestamp(u64::MAX) };
    stage.system().executed(answer, receipt).await.unwrap()
}

async fn asked(stage: &Stage) -> Vec<(Arc<str>, u32)> {
    let events = whole_stream(&stage.journal, &StreamId::task(&task("t"))).await.unwrap();
    let request = events.into_iter().filter_map(|recorded| match recorded.event.event {
        Event::ExecutionRequested { agent, attempt, .. } => Some((agent.as_str().into(), attempt)),
        _ => None,
    });
    request.collect()
}

async fn standing(stage: &Stage) -> (TaskStatus, Option<QueueState>, u32) {
    let row = stage.journal.task(&task("t")).await.unwrap().unwrap();
    (row.status, row.queue, row.run)
}

fn verdict(stage: &Stage) -> Arc<Verdict> {
    let of = |event: &Event| if let Event::VerdictReached(verdict) = event { Some(verdict.clone()) } else { None };
    stage.journal.events().iter().find_map(|recorded| of(&recorded.event.event)).unwrap()
}

async fn start(stage: Scenario) -> Stage {
    let stage = stage.council("DEV", 3).start().await;
    stage.system().enqueue(vec![carried_out("t")]).await.unwrap();
    pass(secs(1)).await;
    stage
}

fn usually() -> Scenario {
    Scenario::new().reacts(|call, _| usual(call, ms(50)))
}

#[tokio::test(start_paused = true)]
async fn what_each_has_made_is_reviewed_by_the_others_and_ranked() {
    let stage = start(usually()).await;
    assert_eq!(standing(&stage).await, (TaskStatus::Open, Some(QueueState::Dispatched), 1));
    assert_eq!(asked(&stage).await, [(agent(1), 1), (agent(2), 1), (agent(3), 1)]);
    assert_all_permits_are_back(&stage);
    assert_eq!(stage.system().underway(&task("t")).unwrap().answered, Some((0, 3)));
    assert!(!says(&stage, 9, made("of a stranger")).await, "nobody asked them");
    assert!(says(&stage, 1, made("the first work")).await && says(&stage, 2, made("the second work")).await);
    assert!(!says(&stage, 2, made("two, once more")).await, "it is said");
    pass(secs(1)).await;
    let underway = stage.system().underway(&task("t")).unwrap();
    assert_eq!((underway.answered, underway.agent.as_str()), (Some((2, 3)), &*agent(3)));
    assert!(stage.model.asks().is_empty(), "nothing is decided before all is there");
    assert!(says(&stage, 3, made("the third work")).await);
    pass(secs(5)).await;
    assert_eq!(standing(&stage).await, (TaskStatus::Completed, None, 1));
    let calls = stage.model.asks();
    assert!(calls.iter().all(|call| call.id.wave.stage == id::Stage::Critique), "nobody proposes, nobody revises");
    let shown = |text: &str| calls.iter().filter(|call| call.ask.contains(text)).count();
    assert_eq!((calls.len(), shown("the first work"), shown("the second work"), shown("the third work")), (3, 1, 1, 1));
    assert_eq!((verdict(&stage).ranking.len(), verdict(&stage).missing.len()), (3, 0));
    assert_eq!(count(&stage, "TaskCompleted"), 1);
    assert_eq!(stage.system().underway(&task("t")), None);
    assert_all_permits_are_back(&stage);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_the_time_what_there_is_is_deliberated_on() {
    let stage = start(usually()).await;
    assert!(says(&stage, 1, made("the first work")).await && says(&stage, 2, failed(true)).await);
    assert_eq!(asked(&stage).await.last().unwrap(), &(agent(2), 2), "that may heal");
    pass(secs(5)).await;
    assert!(says(&stage, 2, made("the second work")).await);
    pass(secs(LIMIT + 10)).await;
    assert_eq!(standing(&stage).await.0, TaskStatus::Completed);
    let missing: Vec<_> = verdict(&stage).missing.iter().map(|seat| (seat.agent.to_string(), seat.class)).collect();
    assert_eq!(missing, [(agent(3).to_string(), Class::TimedOut)]);
    assert_eq!(asked(&stage).await.len(), 4, "whoever was silent is not asked again");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_nobody_carries_out_fails_and_begins_anew_when_it_is_retried() {
    let stage = start(usually()).await;
    for ordinal in 1..=3 {
        says(&stage, ordinal, failed(false)).await;
    }
    assert_eq!(standing(&stage).await, (TaskStatus::Failed, None, 1));
    stage.system().retry(&task("t")).await.unwrap();
    pass(secs(1)).await;
    assert_eq!(asked(&stage).await.len(), 6);
    pass(secs(3 * LIMIT + 30)).await;
    assert_eq!(asked(&stage).await.len(), 12, "three times each");
    assert_eq!((standing(&stage).await.0, stage.model.asks().len()), (TaskStatus::Failed, 0));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_later_run_asks_only_whoever_has_made_nothing() {
    let stage = start(usually()).await;
    for ordinal in 1..=2 {
        assert!(says(&stage, ordinal, made(&format!("made by {ordinal}"))).await);
    }
    stage.system().cancel(&task("t"), "enough").await.unwrap();
    assert_eq!(standing(&stage).await.0, TaskStatus::Cancelled);
    assert_eq!(stage.system().retry(&task("t")).await.unwrap(), 2);
    pass(secs(1)).await;
    assert_eq!(asked(&stage).await[3..], [(agent(3), 1)], "what was made is kept");
    assert!(says(&stage, 3, made("made by 3")).await);
    pass(secs(5)).await;
    assert_eq!(standing(&stage).await, (TaskStatus::Completed, None, 2));
    assert_eq!(verdict(&stage).ranking.len(), 3);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_time_loses_nothing_that_was_made() {
    for moment in (0..40).map(|step| ms(step * 23)) {
        let mut stage = start(usually()).await;
        assert!(says(&stage, 1, made("the first work")).await);
        assert!(says(&stage, 2, made("the second work")).await && says(&stage, 3, made("the third work")).await);
        pass(moment).await;
        stage.crash().await;
        stage.rise().await;
        pass(secs(30)).await;
        let (status, _, run) = standing(&stage).await;
        assert_eq!((status, run, asked(&stage).await.len()), (TaskStatus::Completed, 1, 3), "after {moment:?}");
        assert_eq!((count(&stage, "DeliberationStarted"), count(&stage, "TaskCompleted")), (1, 1), "after {moment:?}");
        assert_eq!(stage.model.repeated(), [], "after {moment:?}");
        stage.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_dies_meanwhile_takes_up_where_it_was() {
    for moment in (0..20).map(|step| ms(step * 11)) {
        let stage = start(usually()).await;
        for ordinal in 1..=3 {
            assert!(says(&stage, ordinal, made("it")).await);
        }
        pass(moment).await;
        assert!(stage.system().kill_actor("dispatcher"));
        pass(secs(30)).await;
        let all = stage.system().queue_counts().await.unwrap();
        assert!(all.keys().all(|(_, state)| *state == QueueState::Completed), "after {moment:?}: {all:?}");
        assert_eq!(count(&stage, "TaskCompleted"), 1, "after {moment:?}");
        assert_all_permits_are_back(&stage);
        stage.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_are_carried_out_at_once_than_may_be_at_work() {
    let settings = |settings: &mut moothall_actors::Settings| settings.queue.per_role = 2;
    let stage = usually().settings(settings).council("DEV", 3).start().await;
    stage.system().enqueue(["t", "u", "v"].map(carried_out).into()).await.unwrap();
    pass(secs(1)).await;
    let waiting = async || stage.journal.task(&task("v")).await.unwrap().unwrap().queue;
    assert_eq!((count(&stage, "TaskAssigned"), waiting().await), (6, Some(QueueState::Queued)));
    stage.system().cancel(&task("u"), "enough").await.unwrap();
    pass(secs(10)).await;
    assert_eq!((count(&stage, "TaskAssigned"), waiting().await), (9, Some(QueueState::Dispatched)));
    stage.close().await;
}
