//! Tasks that wait for their turn: order, dependencies, retries, and what a crash leaves of them.

use std::time::Duration;

use moothall_actors::domain::answer::Class;
use moothall_actors::domain::message::Cause;
use moothall_actors::domain::plan::Change;
use moothall_actors::domain::queue::{OnDependencyFailure, Priority, QueueState};
use moothall_actors::error::SystemError;
use moothall_actors::ports::{Journal as _, TaskStatus};
use moothall_actors::testing::{FakeContexts, JournalFaults, Random, Scenario, Stage, draft, spec};
use moothall_actors::view::TaskState;
use moothall_actors::{Approved, Enqueued, NewPlan, NewTask};

use crate::story::{assert_all_permits_are_back, count, fails, finals, moves, ms, pass, role, secs, task, usual};

fn new(name: &str, needs: &[&str]) -> NewTask {
    NewTask {
        task: task(name),
        spec: spec(draft(&format!("do {name}"))),
        priority: Priority::MEDIUM,
        needs: needs.iter().map(|need| task(need)).collect(),
        on_failure: OnDependencyFailure::Block,
        hold: None,
        parked: None,
    }
}

async fn enqueue(stage: &Stage, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>, SystemError> {
    stage.system().enqueue(tasks).await
}

/// The tasks of the final events of a kind, in order.
fn ended(stage: &Stage, kind: &str) -> Vec<String> {
    let of_kind = finals(stage).into_iter().filter(|recorded| recorded.event.event.kind() == kind);
    of_kind.map(|recorded| recorded.stream.as_str().strip_prefix("task/").unwrap().to_owned()).collect()
}

async fn until_ended(stage: &Stage, runs: usize) {
    let mut waited = Duration::ZERO;
    while finals(stage).len() < runs {
        assert!(waited < secs(3_600), "{} of {runs} have ended: {:?}", finals(stage).len(), finals(stage));
        pass(ms(100)).await;
        waited += ms(100);
    }
    // Whoever watches them has seen to what follows.
    pass(secs(1)).await;
}

async fn standing(stage: &Stage, name: &str) -> (TaskStatus, Option<QueueState>, u32) {
    let row = stage.journal.task(&task(name)).await.unwrap().unwrap();
    (row.status, row.queue, row.run)
}

#[tokio::test(start_paused = true)]
async fn tasks_run_in_the_order_of_what_they_need() {
    let stage = Scenario::new().reacts(|call, _| usual(call, ms(50))).council("DEV", 3).start().await;
    let tasks = vec![new("c", &["a", "b"]), new("a", &[]), new("b", &["a"]), new("d", &["c"])];
    let enqueued = enqueue(&stage, tasks.clone()).await.unwrap();
    assert!(enqueued.iter().all(|enqueued| enqueued.change == Change::Added));
    until_ended(&stage, 4).await;
    assert_eq!(ended(&stage, "TaskCompleted"), ["a", "b", "c", "d"]);
    assert_eq!((count(&stage, "TaskClaimed"), count(&stage, "TaskReleased")), (4, 3));
    let again = enqueue(&stage, tasks).await.unwrap();
    assert!(again.iter().all(|enqueued| enqueued.change == Change::Unchanged));
    pass(secs(10)).await;
    assert_eq!(finals(&stage).len(), 4);
    assert_all_permits_are_back(&stage);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_run_at_once_than_may_and_the_most_urgent_run_first() {
    let stage = Scenario::new()
        .reacts(|call, _| usual(call, secs(1)))
        .settings(|settings| settings.queue.per_role = 1)
        .council("DEV", 3)
        .start()
        .await;
    let with = |name, priority| NewTask { priority, ..new(name, &[]) };
    let tasks = vec![with("low", Priority::LOW), with("middle", Priority::MEDIUM), with("high", Priority::CRITICAL)];
    enqueue(&stage, tasks).await.unwrap();
    pass(ms(500)).await;
    assert_eq!(stage.model.in_flight(), 3, "one deliberation of three agents");
    until_ended(&stage, 3).await;
    assert_eq!(ended(&stage, "TaskCompleted"), ["high", "middle", "low"]);
    assert_eq!(stage.model.most_in_flight(), 3);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_a_while_is_tried_again_and_blocks_nobody() {
    let script = |call: &moothall_actors::ports::ModelCall, _| match call.id.run.run {
        1 | 2 => fails(Class::Transient, "no model"),
        _ => usual(call, ms(10)),
    };
    let stage = Scenario::new().reacts(script).council("DEV", 3).start().await;
    enqueue(&stage, vec![new("a", &[]), new("b", &["a"])]).await.unwrap();
    until_ended(&stage, 6).await;
    assert_eq!(ended(&stage, "TaskFailed"), ["a", "a", "b", "b"]);
    assert_eq!(ended(&stage, "TaskCompleted"), ["a", "b"]);
    assert_eq!((count(&stage, "TaskRetried"), count(&stage, "TaskBlocked")), (4, 0));
    assert_eq!(standing(&stage, "b").await, (TaskStatus::Completed, None, 3));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_good_blocks_or_skips_what_needs_it() {
    let stage = Scenario::new().reacts(|_, _| fails(Class::Refused, "no")).council("DEV", 3).start().await;
    let skip = NewTask { on_failure: OnDependencyFailure::Skip, ..new("skipped", &["a"]) };
    let behind = NewTask { on_failure: OnDependencyFailure::Skip, ..new("behind", &["skipped"]) };
    enqueue(&stage, vec![new("a", &[]), new("blocked", &["a"]), skip, behind]).await.unwrap();
    until_ended(&stage, 3).await;
    assert_eq!(ended(&stage, "TaskFailed"), ["a"]);
    assert_eq!(ended(&stage, "TaskSkipped"), ["skipped", "behind"]);
    assert_eq!(standing(&stage, "blocked").await, (TaskStatus::Open, Some(QueueState::Blocked), 1));
    assert_eq!(standing(&stage, "behind").await, (TaskStatus::Skipped, None, 1));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_need_is_just_being_skipped_is_skipped_too() {
    for moment in (0..40).map(|step| ms(step * 5)) {
        let faults = JournalFaults { random: Random::new(1), delay_ms: 40, busy_percent: 0 };
        let stage = Scenario::new().journal_faults(faults).council("DEV", 3).start().await;
        let system = stage.system().clone();
        system.pause_dispatch(None).await.unwrap();
        let skip = |name, need| NewTask { on_failure: OnDependencyFailure::Skip, ..new(name, &[need]) };
        enqueue(&stage, vec![new("a", &[]), skip("b", "a")]).await.unwrap();
        let cancelled = async { system.cancel(&task("a"), "too dear").await };
        let late = async {
            pass(moment).await;
            enqueue(&stage, vec![skip("c", "b")]).await
        };
        let (cancelled, enqueued) = tokio::join!(cancelled, late);
        cancelled.unwrap();
        enqueued.unwrap();
        until_ended(&stage, 3).await;
        assert_eq!(ended(&stage, "TaskSkipped"), ["b", "c"], "after {moment:?}");
        stage.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_time_loses_no_task_and_runs_none_twice() {
    for moment in (0..40).map(|step| ms(step * 37)) {
        let mut stage = Scenario::new()
            .reacts(|call, _| usual(call, ms(100)))
            .settings(|settings| settings.queue.per_role = 2)
            .council("DEV", 3)
            .start()
            .await;
        let tasks = (0..6).map(|number| match number {
            0..3 => new(&format!("t{number}"), &[]),
            _ => new(&format!("t{number}"), &[&format!("t{}", number - 3)]),
        });
        enqueue(&stage, tasks.collect()).await.unwrap();
        pass(moment).await;
        stage.crash().await;
        stage.rise().await;
        until_ended(&stage, 6).await;
        let mut all = ended(&stage, "TaskCompleted");
        all.sort();
        assert_eq!(all, ["t0", "t1", "t2", "t3", "t4", "t5"], "after {moment:?}");
        assert_eq!(stage.model.repeated(), [], "after {moment:?}");
        assert_all_permits_are_back(&stage);
        stage.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_dies_takes_up_where_it_was() {
    let stage = Scenario::new()
        .reacts(|call, _| usual(call, secs(1)))
        .settings(|settings| settings.queue.per_role = 1)
        .council("DEV", 3)
        .start()
        .await;
    enqueue(&stage, vec![new("a", &[]), new("b", &["a"]), new("c", &["b"])]).await.unwrap();
    pass(ms(1_500)).await;
    assert!(stage.system().kill_actor("dispatcher"));
    until_ended(&stage, 3).await;
    assert_eq!(ended(&stage, "TaskCompleted"), ["a", "b", "c"]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn all_that_is_wrong_with_tasks_is_said_at_once_and_nothing_is_queued() {
    let stage = Scenario::new().council("DEV", 3).start().await;
    enqueue(&stage, vec![new("old", &[])]).await.unwrap();
    until_ended(&stage, 1).await;
    let other = NewTask { spec: spec(draft("something else")), ..new("old", &[]) };
    let tasks = vec![other, new("a", &["nobody"]), new("b", &["c"]), new("c", &["b"]), new("fine", &[])];
    let Err(SystemError::Invalid(problems)) = enqueue(&stage, tasks).await else { panic!("it was taken") };
    let fields: Vec<_> = problems.0.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["old", "a", "b", "c"]);
    assert!(stage.journal.task(&task("fine")).await.unwrap().is_none());
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_says_when_to_come_back() {
    let stage = Scenario::new().settings(|settings| settings.queue.most = 2).start().await;
    let tasks = || vec![new("a", &[]), new("b", &[]), new("c", &[])];
    assert!(matches!(enqueue(&stage, tasks()).await, Err(SystemError::Busy { .. })));
    assert_eq!(enqueue(&stage, tasks()[..2].to_vec()).await.unwrap().len(), 2);
    assert!(matches!(enqueue(&stage, tasks()).await, Err(SystemError::Busy { .. })));
    assert_eq!(count(&stage, "TaskAccepted"), 2);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_role_begins_nothing_until_it_is_resumed() {
    let mut stage = Scenario::new().reacts(|call, _| usual(call, ms(10))).council("DEV", 3).start().await;
    stage.system().pause_dispatch(Some(role("DEV"))).await.unwrap();
    enqueue(&stage, vec![new("a", &[])]).await.unwrap();
    pass(secs(60)).await;
    assert_eq!((finals(&stage).len(), stage.model.most_in_flight()), (0, 0));
    stage.crash().await;
    stage.rise().await;
    pass(secs(60)).await;
    assert_eq!((finals(&stage).len(), stage.model.most_in_flight()), (0, 0), "a pause outlives a crash");
    assert_eq!(stage.system().pauses().await.unwrap().roles, [role("DEV")].into());
    assert!(stage.system().pause_dispatch(Some(role("NOBODY"))).await.is_err());
    stage.system().resume_dispatch(None).await.unwrap();
    until_ended(&stage, 1).await;
    assert_eq!(ended(&stage, "TaskCompleted"), ["a"]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_keeps_failing_is_parked_and_goes_on_when_it_is_retried() {
    let script = |call: &moothall_actors::ports::ModelCall, _| match (call.id.run.task.as_str(), call.id.run.run) {
        ("a", 1..=4) => fails(Class::Transient, "no model"),
        _ => usual(call, ms(10)),
    };
    let mut stage = Scenario::new().reacts(script).council("DEV", 3).start().await;
    enqueue(&stage, vec![new("a", &[]), new("b", &["a"])]).await.unwrap();
    until_ended(&stage, 4).await;
    assert_eq!(standing(&stage, "a").await, (TaskStatus::Open, Some(QueueState::Parked), 5));
    assert_eq!(standing(&stage, "b").await, (TaskStatus::Open, Some(QueueState::Blocked), 1));
    stage.crash().await;
    stage.rise().await;
    pass(secs(600)).await;
    assert_eq!(finals(&stage).len(), 4, "nobody released it");
    let view = stage.system().task(&task("a")).await.unwrap();
    let TaskState::Waiting { reason: Some(reason), .. } = view.state else { panic!("{view:?}") };
    assert!(reason.contains("4 times") && reason.contains("no model"), "{reason}");
    assert_eq!(stage.system().retry(&task("a")).await.unwrap(), 5);
    until_ended(&stage, 6).await;
    assert_eq!(ended(&stage, "TaskCompleted"), ["a", "b"]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_can_be_cancelled_parked_and_tried_again() {
    let stage = Scenario::new().reacts(|call, _| usual(call, ms(10))).council("DEV", 3).start().await;
    let system = stage.system();
    system.pause_dispatch(None).await.unwrap();
    enqueue(&stage, vec![new("a", &[]), new("b", &["a"]), new("c", &[])]).await.unwrap();
    system.cancel(&task("a"), "too dear").await.unwrap();
    assert_eq!(standing(&stage, "a").await, (TaskStatus::Cancelled, None, 1));
    pass(ms(10)).await;
    assert_eq!(count(&stage, "TaskBlocked"), 1, "b waits for what was cancelled");
    assert!(matches!(system.cancel(&task("a"), "again").await, Err(SystemError::WrongState(_))));
    assert!(matches!(system.retry(&task("b")).await, Err(SystemError::WrongState(_))), "a has to be retried");
    system.park(&task("c"), "not now").await.unwrap();
    system.resume_dispatch(None).await.unwrap();
    pass(secs(60)).await;
    assert_eq!(finals(&stage).len(), 1);
    assert_eq!(system.retry(&task("a")).await.unwrap(), 2);
    assert_eq!(system.retry(&task("c")).await.unwrap(), 1);
    until_ended(&stage, 4).await;
    let mut completed = ended(&stage, "TaskCompleted");
    completed.sort();
    assert_eq!(completed, ["a", "b", "c"]);
    assert!(matches!(system.retry(&task("a")).await, Err(SystemError::WrongState(_))));
    assert!(matches!(system.retry(&task("nobody")).await, Err(SystemError::UnknownTask { .. })));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_retries_at_once_keeps_the_next_run() {
    let stage = Scenario::new().reacts(|call, _| usual(call, secs(5))).council("DEV", 3).start().await;
    let system = stage.system();
    enqueue(&stage, vec![new("a", &[]), new("b", &["a"])]).await.unwrap();
    pass(secs(1)).await;
    system.cancel(&task("a"), "by mistake").await.unwrap();
    assert_eq!(system.retry(&task("a")).await.unwrap(), 2);
    until_ended(&stage, 3).await;
    assert_eq!(ended(&stage, "TaskCompleted"), ["a", "b"]);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_parked_task_is_released_only_to_somebody_who_can_do_it() {
    let stage = Scenario::new().reacts(|call, _| usual(call, ms(10))).council("DEV", 3).start().await;
    let ops = moothall_actors::domain::task::TaskDraft { role: "OPS".into(), ..draft("roll it out") };
    let parked = NewTask { spec: spec(ops), parked: Some("no council".into()), ..new("b", &["a"]) };
    enqueue(&stage, vec![new("a", &[]), parked]).await.unwrap();
    until_ended(&stage, 1).await;
    assert!(matches!(stage.system().retry(&task("b")).await, Err(SystemError::UnknownRole { .. })));
    stage.system().create_council(crate::simulation::council(role("OPS"))).await.unwrap();
    assert_eq!(stage.system().retry(&task("b")).await.unwrap(), 1);
    let (status, state, run) = standing(&stage, "b").await;
    assert!(status == TaskStatus::Open && state != Some(QueueState::Blocked) && run == 1, "{state:?}: a has completed");
    until_ended(&stage, 2).await;
    assert_eq!(ended(&stage, "TaskCompleted"), ["a", "b"]);
    stage.close().await;
}

fn held(name: &str, needs: &[&str]) -> NewTask {
    let draft = moothall_actors::domain::task::TaskDraft {
        metadata: [("story_id".to_owned(), "s-1".to_owned())].into(),
        ..draft(&format!("do {name}"))
    };
    NewTask { spec: spec(draft), hold: Some("BUILD".into()), ..new(name, needs) }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_begins_when_its_story_reaches_the_phase() {
    let mut stage = Scenario::new().reacts(|call, _| usual(call, ms(10))).council("DEV", 3).start().await;
    enqueue(&stage, vec![held("a", &[]), held("b", &["a"]), new("free", &[])]).await.unwrap();
    until_ended(&stage, 1).await;
    let moved = stage.system().move_story(moves("s-1", Some("PLAN"), "DESIGN")).await.unwrap();
    assert_eq!(moved, []);
    assert_eq!(stage.system().move_story(moves("s-2", None, "BUILD")).await.unwrap(), []);
    stage.crash().await;
    stage.rise().await;
    pass(secs(60)).await;
    assert_eq!(ended(&stage, "TaskCompleted"), ["free"]);
    let moved = stage.system().move_story(moves("s-1", Some("DESIGN"), "BUILD")).await.unwrap();
    assert_eq!(moved, [task("a"), task("b")]);
    assert_eq!(stage.system().move_story(moves("s-1", Some("DESIGN"), "BUILD")).await.unwrap(), []);
    assert_eq!(count(&stage, "StoryMoved"), 3, "the same move again changes nothing");
    stage.crash().await;
    stage.rise().await;
    enqueue(&stage, vec![held("late", &[])]).await.unwrap();
    until_ended(&stage, 4).await;
    let mut completed = ended(&stage, "TaskCompleted");
    completed.sort();
    assert_eq!(completed, ["a", "b", "free", "late"]);
    stage.close().await;
}

fn plan(hash: &str, tasks: Vec<NewTask>) -> NewPlan {
    NewPlan {
        plan: "p-1".into(),
        story: Some("s-1".into()),
        content_hash: hash.into(),
        approved_by: Some("ann".into()),
        cause: Cause::default(),
        receipt: None,
        source: "the plan".into(),
        tasks,
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_does_not_touch_the_tasks_of_another() {
    let stage = Scenario::new().reacts(|call, _| usual(call, secs(10))).council("DEV", 3).start().await;
    let of = |plan: &str, priority| {
        let metadata = [("plan_id".to_owned(), plan.to_owned())].into();
        let draft = moothall_actors::domain::task::TaskDraft { metadata, ..draft("do it") };
        NewTask { spec: spec(draft), priority, ..new("a", &[]) }
    };
    stage.system().pause_dispatch(None).await.unwrap();
    stage.system().approve(plan("1", vec![of("p-1", Priority::LOW)])).await.unwrap();
    let other = NewPlan { plan: "p-2".into(), ..plan("1", vec![of("p-2", Priority::HIGH)]) };
    let refused = stage.system().approve(other).await;
    assert_eq!(refused, Err(SystemError::OtherContent { task: task("a") }));
    assert_eq!(count(&stage, "TaskQueued"), 1);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_circle_that_closes_through_another_plan_is_refused() {
    let stage = Scenario::new().reacts(|call, _| usual(call, ms(10))).council("DEV", 3).start().await;
    let of = |plan: &str, name: &str, needs: &[&str]| {
        let metadata = [("plan_id".to_owned(), plan.to_owned())].into();
        let draft = moothall_actors::domain::task::TaskDraft { metadata, ..draft("do it") };
        NewTask { spec: spec(draft), ..new(name, needs) }
    };
    stage.system().pause_dispatch(None).await.unwrap();
    stage.system().approve(plan("1", vec![of("p-1", "a", &[])])).await.unwrap();
    let others = vec![of("p-2", "b", &["a"]), of("p-2", "c", &["b"])];
    stage.system().approve(NewPlan { plan: "p-2".into(), ..plan("1", others) }).await.unwrap();
    let refused = stage.system().approve(plan("2", vec![of("p-1", "a", &["c"]), of("p-1", "d", &[])])).await;
    let Err(SystemError::Invalid(problems)) = refused else { panic!("{refused:?}") };
    let fields: Vec<_> = problems.0.iter().map(|problem| &*problem.field).collect();
    assert_eq!(fields, ["a"]);
    assert_eq!(count(&stage, "TaskQueued"), 3, "nothing of it was taken");
    stage.system().resume_dispatch(None).await.unwrap();
    until_ended(&stage, 3).await;
    assert_eq!(ended(&stage, "TaskCompleted"), ["a", "b", "c"]);
    stage.close().await;
}

fn changes(approved: &Approved) -> Vec<(&str, Change)> {
    approved.approval.tasks.iter().map(|planned| (planned.task.as_str(), planned.change)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_changed_brings_up_to_date_what_has_not_begun() {
    let mut stage = Scenario::new()
        .reacts(|call, _| usual(call, secs(10)))
        .settings(|settings| settings.queue.per_role = 1)
        .council("DEV", 3)
        .start()
        .await;
    let tasks = vec![new("a", &[]), new("b", &["a"]), new("c", &["b"])];
    let approved = stage.system().approve(plan("1", tasks.clone())).await.unwrap();
    assert!(approved.new);
    assert_eq!(changes(&approved), [("a", Change::Added), ("b", Change::Added), ("c", Change::Added)]);
    let again = stage.system().approve(plan("1", tasks)).await.unwrap();
    assert!(!again.new);
    assert_eq!(changes(&again)[0], ("a", Change::Unchanged));
    pass(secs(1)).await;
    let other = |name, needs: &[&str]| NewTask { spec: spec(draft("something else")), ..new(name, needs) };
    let tasks = vec![other("a", &[]), other("c", &["a"]), new("b", &["c"]), new("d", &[])];
    let approved = stage.system().approve(plan("2", tasks)).await.unwrap();
    let expected = [("a", Change::Left), ("c", Change::Updated), ("b", Change::Updated), ("d", Change::Added)];
    assert_eq!(changes(&approved), expected);
    stage.crash().await;
    stage.rise().await;
    until_ended(&stage, 4).await;
    let completed = ended(&stage, "TaskCompleted");
    let place = |name: &str| completed.iter().position(|task| task == name);
    assert!(place("a") < place("c") && place("c") < place("b"), "{completed:?}");
    assert_eq!((count(&stage, "PlanApproved"), count(&stage, "TaskAmended")), (2, 2));
    let asks = stage.model.asks();
    let mut of_c = asks.iter().filter(|call| call.id.run.task == task("c"));
    assert!(of_c.all(|call| call.shared.contains("something else")), "the new text is what the council got");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_plan_adds_to_a_task_that_is_just_beginning_is_waited_for() {
    let contexts = FakeContexts::new(|_| (secs(2), Ok(FakeContexts::context("known"))));
    let script = |call: &moothall_actors::ports::ModelCall, _| usual(call, ms(10));
    let stage = Scenario::new().reacts(script).context(contexts).council("DEV", 3).start().await;
    let of_story = |name, needs: &[&str]| {
        let metadata = [("story_id".to_owned(), "s-1".to_owned())].into();
        let draft = moothall_actors::domain::task::TaskDraft { metadata, ..draft(&format!("do {name}")) };
        NewTask { spec: spec(draft), ..new(name, needs) }
    };
    stage.system().approve(plan("1", vec![of_story("a", &[])])).await.unwrap();
    // It is claimed, and its context is being fetched.
    pass(secs(1)).await;
    let tasks = vec![of_story("a", &["b"]), of_story("b", &[])];
    let approved = stage.system().approve(plan("2", tasks)).await.unwrap();
    assert_eq!(changes(&approved), [("a", Change::Updated), ("b", Change::Added)]);
    until_ended(&stage, 2).await;
    assert_eq!(ended(&stage, "TaskCompleted"), ["b", "a"]);
    assert_all_permits_are_back(&stage);
    stage.close().await;
}
