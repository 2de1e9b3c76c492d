//! Actors die, the whole process dies: what was durable is never asked again, and every run ends once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use moothall_actors::domain::answer::Class;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::Timestamp;
use moothall_actors::error::SystemError;
use moothall_actors::ports::Clock;
use moothall_actors::testing::{FakeClock, JournalFaults, Random, Reaction, Scenario, Stage};
use tokio::task::JoinSet;

use crate::story::{
    actor_state, assert_all_permits_are_back, count, deliberate, finals, is_seat, ms, pass, role, secs, submit, task,
    the_final, usual,
};

/// What lives whatever councils there are.
const STANDING: [&str; 4] = ["architect", "councils", "dispatcher", "workflows"];

/// A clock that panics as often as it is told to.
#[derive(Clone, Default)]
struct Fuse {
    left: Arc<AtomicU32>,
    clock: Arc<FakeClock>,
}

impl Fuse {
    fn blow(&self, times: u32) {
        self.left.store(times, Ordering::Relaxed);
    }
}

impl Clock for Fuse {
    fn now(&self) -> Timestamp {
        let blown = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        assert!(!blown, "it blows, as it was told to");
        self.clock.now()
    }
}

/// Kills an actor so often that it is parked, each time as soon as it is back.
async fn melt_down(stage: &Stage, name: &str) {
    let running = |stage: &Stage| actor_state(stage, name).is_some_and(|(state, _)| state == "running");
    let parked = |stage: &Stage| actor_state(stage, name).is_some_and(|(state, _)| state == "parked");
    while !parked(stage) {
        if running(stage) {
            assert!(stage.system().kill_actor(name));
        }
        pass(ms(1)).await;
    }
}

/// Seat n answers after n seconds.
fn staggered() -> Scenario {
    Scenario::new().reacts(|call, _| {
        let ordinal = (1..=9).find(|&ordinal| is_seat(call, ordinal)).unwrap_or(9);
        usual(call, secs(ordinal as u64))
    })
}

fn assert_nothing_durable_was_repeated(stage: &Stage) {
    assert_eq!(stage.model.repeated(), []);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_task_panics_is_made_again() {
    let script = |call: &moothall_actors::ports::ModelCall, before| match (is_seat(call, 2), before) {
        (true, 0) => (ms(10), Reaction::Panic),
        _ => usual(call, ms(10)),
    };
    let stage = Scenario::new().reacts(script).council("DEV", 3).start().await;
    let verdict = deliberate(&stage, "t").await.unwrap().verdict.clone();
    assert_eq!((verdict.calls, verdict.missing.len()), (9, 0));
    assert_eq!(actor_state(&stage, "agent/DEV/agent-dev-002"), Some(("running", 0)), "the agent lives");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_always_panics_is_a_missing_seat() {
    let script = |call: &moothall_actors::ports::ModelCall, _| match is_seat(call, 2) {
        true => (ms(10), Reaction::Panic),
        false => usual(call, ms(10)),
    };
    let stage = Scenario::new().reacts(script).council("DEV", 3).start().await;
    let verdict = deliberate(&stage, "t").await.unwrap().verdict.clone();
    assert_eq!((verdict.ranking.len(), verdict.missing[0].class), (2, Class::Gone));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_an_agent_that_dies_are_asked_again() {
    let stage = staggered().council("DEV", 3).start().await;
    let attached = submit(&stage, "t").await;
    pass(ms(1_500)).await;
    assert!(stage.system().kill_actor("agent/DEV/agent-dev-002"));
    let verdict = attached.outcome().await.unwrap().verdict.clone();
    assert_eq!((verdict.calls, verdict.missing.len()), (9, 0));
    assert_eq!(actor_state(&stage, "agent/DEV/agent-dev-002"), Some(("running", 1)));
    let asked_twice: Vec<_> = stage.model.counts().into_iter().filter(|(_, counts)| counts.started == 2).collect();
    assert_eq!(asked_twice.len(), 1);
    assert_eq!((asked_twice[0].1.dropped, asked_twice[0].1.finished), (1, 1));
    assert_nothing_durable_was_repeated(&stage);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_deliberation_that_panics_goes_on_from_the_journal() {
    let fuse = Fuse::default();
    let stage = staggered().clock(Arc::new(fuse.clone())).council("DEV", 3).start().await;
    let attached = submit(&stage, "t").await;
    pass(ms(1_500)).await;
    fuse.blow(1);
    let verdict = attached.outcome().await.unwrap().verdict.clone();
    assert_eq!((verdict.calls, verdict.missing.len(), count(&stage, "DeliberationResumed")), (9, 0, 1));
    assert_nothing_durable_was_repeated(&stage);
    let started: u32 = stage.model.counts().values().map(|counts| counts.started).sum();
    assert_eq!(started, 9 + 2, "the two that were not durable");
    assert!(matches!(the_final(&stage), Event::TaskCompleted { .. }));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_deliberation_that_dies_three_times_in_a_minute_ends_and_its_role_goes_on() {
    let fuse = Fuse::default();
    let stage = staggered().clock(Arc::new(fuse.clone())).council("DEV", 3).start().await;
    let attached = submit(&stage, "t").await;
    pass(ms(500)).await;
    fuse.blow(3);
    let error = attached.outcome().await.unwrap_err();
    let SystemError::Failed { class: Class::Internal, message } = error else { panic!("{error:?}") };
    let id = message.strip_prefix("internal error ").and_then(|rest| rest.split(':').next()).unwrap();
    assert!(id.len() == 16 && id.chars().all(|digit| digit.is_ascii_hexdigit()), "{message}");
    pass(ms(10)).await;
    assert_eq!(stage.model.in_flight(), 0, "nobody waits for its calls");
    assert!(matches!(the_final(&stage), Event::TaskFailed(failure) if failure.class == Class::Internal));
    assert_all_permits_are_back(&stage);
    assert!(deliberate(&stage, "u").await.is_ok(), "the role is not parked");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn open_runs_survive_every_supervisor() {
    for victim in ["deliberations/DEV", "council/DEV", "role/DEV", "councils"] {
        let stage = staggered().council("DEV", 3).start().await;
        let attached = submit(&stage, "t").await;
        pass(ms(1_500)).await;
        assert!(stage.system().kill_actor(victim), "{victim}");
        let verdict = attached.outcome().await.unwrap().verdict.clone();
        assert_eq!((verdict.calls, verdict.missing.len()), (9, 0), "{victim}");
        assert!(deliberate(&stage, "u").await.is_ok(), "{victim}");
        assert_nothing_durable_was_repeated(&stage);
        assert_eq!(finals(&stage).len(), 2, "{victim}");
        assert_all_permits_are_back(&stage);
        stage.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_handed_to_a_dead_actor_begins_when_it_is_back() {
    for victim in ["deliberations/DEV", "council/DEV"] {
        let stage = staggered().council("DEV", 3).start().await;
        assert!(stage.system().kill_actor(victim));
        let attached = submit(&stage, "t").await;
        assert_eq!(attached.outcome().await.unwrap().verdict.calls, 9, "{victim}");
        stage.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_meets_a_dead_supervisor_is_not_lost() {
    for victim in ["deliberations/DEV", "council/DEV", "role/DEV", "councils"] {
        let stage = staggered().council("DEV", 3).start().await;
        let _attached = submit(&stage, "t").await;
        pass(ms(1_500)).await;
        assert!(stage.system().kill_actor(victim));
        stage.system().cancel(&task("t"), "enough").await.unwrap();
        assert!(matches!(the_final(&stage), Event::TaskCancelled { .. }), "{victim}");
        pass(ms(10)).await;
        assert_eq!(stage.model.in_flight(), 0, "{victim}");
        assert_all_permits_are_back(&stage);
        stage.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_council_that_keeps_crashing_is_parked_while_others_work() {
    let mut stage = staggered().council("DEV", 2).council("QA", 2).start().await;
    let begun = submit(&stage, "begun").await;
    pass(ms(10)).await;
    melt_down(&stage, "council/DEV").await;
    let parked =
        crate::story::submit_as(&stage, "u", moothall_actors::testing::draft("d"), moothall_actors::Hold::Call);
    let Err(SystemError::Parked { reason, .. }) = parked.await else { panic!("it is not parked") };
    assert!(reason.contains("the council died too often"), "{reason}");
    assert_eq!(actor_state(&stage, "council/DEV"), Some(("parked", 9)));
    let tree = stage.system().tree();
    for (place, node) in tree.iter().enumerate() {
        let parent = tree.iter().position(|other| Some(&other.name) == node.parent.as_ref());
        assert!(parent.is_none_or(|parent| parent < place), "{} stands before its parent", node.name);
    }
    assert!(tree.iter().any(|node| node.parent.as_deref() == Some("councils")), "{tree:?}");
    assert_eq!(stage.system().status().degraded.get("councils").map(|why| &**why), Some("parked: DEV"));
    assert_eq!(count(&stage, "RoleParked"), 1);
    assert!(begun.outcome().await.is_ok(), "what had begun goes on");
    let draft = moothall_actors::domain::task::TaskDraft { role: "QA".into(), ..moothall_actors::testing::draft("d") };
    let qa = crate::story::submit_as(&stage, "qa", draft, moothall_actors::Hold::Call).await.unwrap();
    assert!(qa.outcome().await.is_ok(), "other roles work");

    stage.system().resume_council(&role("DEV")).await.unwrap();
    assert_eq!(actor_state(&stage, "council/DEV"), Some(("running", 9)));
    assert!(deliberate(&stage, "t").await.is_ok(), "it works again");
    assert_eq!(count(&stage, "RoleResumed"), 1);

    melt_down(&stage, "council/DEV").await;
    stage.crash().await;
    stage.rise().await;
    assert!(deliberate(&stage, "v").await.is_ok(), "a restart takes it back to work as well");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_or_is_deleted_finishes_what_runs() {
    let stage = staggered().council("DEV", 3).start().await;
    let attached = submit(&stage, "t").await;
    pass(ms(500)).await;
    let left = moothall_actors::domain::id::AgentId::of_council(&role("DEV"), 3);
    stage.system().unregister_agent(&role("DEV"), &left).await.unwrap();
    let smaller = submit(&stage, "u").await;
    pass(ms(500)).await;
    assert_eq!(stage.system().delete_council(&role("DEV")).await.unwrap(), 2);
    let refused =
        crate::story::submit_as(&stage, "v", moothall_actors::testing::draft("d"), moothall_actors::Hold::Call);
    assert!(matches!(refused.await, Err(SystemError::NoCouncils)));
    assert_eq!(attached.outcome().await.unwrap().verdict.calls, 9);
    assert_eq!(smaller.outcome().await.unwrap().verdict.calls, 6);
    pass(secs(20)).await;
    assert!(stage.system().tree().iter().all(|node| STANDING.contains(&&*node.name)), "{:?}", stage.system().tree());
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_agents_left_and_whose_council_is_gone_is_finished_after_a_restart() {
    let mut stage = staggered().council("DEV", 3).start().await;
    drop(submit(&stage, "t").await);
    pass(ms(1_500)).await;
    stage.system().delete_council(&role("DEV")).await.unwrap();
    stage.crash().await;
    stage.rise().await;
    let attached = stage.system().attach(&task("t")).await.unwrap();
    assert_eq!(attached.outcome().await.unwrap().verdict.calls, 9);
    assert_nothing_durable_was_repeated(&stage);
    pass(secs(20)).await;
    assert!(stage.system().tree().iter().all(|node| STANDING.contains(&&*node.name)), "{:?}", stage.system().tree());
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_nobody_can_find_again_is_interrupted_by_a_crash() {
    let mut stage = staggered().council("DEV", 3).start().await;
    let spec = moothall_actors::testing::spec(moothall_actors::testing::draft("d"));
    let attached = stage.system().submit(None, spec, moothall_actors::Hold::Call).await.unwrap();
    pass(ms(1_500)).await;
    stage.crash().await;
    assert!(attached.outcome().await.is_err(), "its client hears of it");
    stage.rise().await;
    assert!(matches!(the_final(&stage), Event::TaskFailed(failure) if failure.message.contains("interrupted")));
    assert_eq!(count(&stage, "DeliberationFailed"), 1);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_becomes_durable_while_its_council_dies_holds() {
    for seed in 0..40 {
        let faults = JournalFaults { random: Random::new(seed), delay_ms: 200, busy_percent: 0 };
        let stage = Scenario::new().journal_faults(faults).council("DEV", 2).council("QA", 2).start().await;
        let system = stage.system().clone();
        let mut deleting = JoinSet::new();
        deleting.spawn(async move { system.delete_council(&role("DEV")).await });
        pass(ms(1)).await;
        assert!(stage.system().kill_actor("councils"));
        drop(deleting.join_next().await);
        pass(secs(5)).await;
        assert_eq!(count(&stage, "CouncilDeleted"), 1, "seed {seed}");
        let roles: Vec<_> = stage.system().councils().iter().map(|view| view.council.role.to_string()).collect();
        assert_eq!(roles, ["QA"], "seed {seed}");
        assert!(stage.system().tree().iter().all(|node| !node.name.contains("DEV")), "seed {seed}");
        stage.close().await;
    }
}
