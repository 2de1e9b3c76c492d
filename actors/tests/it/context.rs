//! What is known of a task's story: in every prompt or said to be missing, asked once, and never a reason to fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::answer::Class;
use moothall_actors::domain::context::Informed;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::prefix::Prefix;
use moothall_actors::domain::queue::{OnDependencyFailure, Priority};
use moothall_actors::domain::task::TaskDraft;
use moothall_actors::domain::verdict::Outcome;
use moothall_actors::error::SystemError;
use moothall_actors::ports::{ContextError, ModelCall, StoryPhase};
use moothall_actors::testing::{FakeContexts, Reaction, Scenario, Stage, draft, spec};
use moothall_actors::{Hold, NewTask};
use tokio::time::Instant;

use crate::story::{count, fails, finals, moves, ms, pass, role, secs, submit_as, task, usual};

const KNOWN: &str = "Durations are written as 1h30m.";

fn of_story(metadata: &[(&str, &str)]) -> TaskDraft {
    let story = [("story_id", "S-1")].iter().chain(metadata);
    let metadata: BTreeMap<_, _> = story.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    TaskDraft { metadata, ..draft("d") }
}

async fn outcome(stage: &Stage, id: &str, draft: TaskDraft) -> Arc<Outcome> {
    submit_as(stage, id, draft, Hold::Call).await.unwrap().outcome().await.unwrap()
}

fn with() -> Option<Informed> {
    Some(Informed::With { version_hash: "hash of v1".into(), tokens: 7 })
}

fn without(why: &str) -> Option<Informed> {
    Some(Informed::Without { why: why.into() })
}

fn failing(class: Class, after: Duration) -> Arc<FakeContexts> {
    let error = ContextError { class, message: "context service http://c:1: no connection".into() };
    FakeContexts::new(move |_| (after, Err(error.clone())))
}

/// The plans of all runs that began, in order.
fn plans(stage: &Stage) -> Vec<(Option<Informed>, Prefix)> {
    let events = stage.journal.events().into_iter();
    let plans = events.filter_map(|recorded| match recorded.event.event {
        Event::DeliberationStarted(plan) => Some((plan.context.clone(), plan.prefix.clone())),
        _ => None,
    });
    plans.collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_story_stands_in_every_prompt_and_is_asked_once() {
    let source = FakeContexts::says(KNOWN);
    let stage = Scenario::new()
        .context(source.clone())
        .settings(|settings| settings.context_tokens = 300)
        .council("DEV", 3)
        .start()
        .await;
    let outcome = outcome(&stage, "t", of_story(&[])).await;
    assert_eq!((outcome.context.clone(), outcome.verdict.calls), (with(), 9));
    let asks = stage.model.asks();
    assert_eq!(asks.len(), 9);
    for ask in &asks {
        assert!(ask.shared.contains(&format!("\n{KNOWN}\n>>>CONTEXT ")), "{}", ask.shared);
        assert_eq!(ask.shared, asks[0].shared);
        assert!(!ask.ask.contains(KNOWN), "{}", ask.ask);
    }
    let asked = source.asked();
    assert_eq!(asked.len(), 1);
    let query = &asked[0];
    assert_eq!((&*query.story_id, &*query.role, &*query.subtask_id), ("S-1", "DEV", ""));
    assert_eq!((query.phase, query.token_budget), (StoryPhase::Build, 300));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_without_a_story_asks_nobody() {
    let source = FakeContexts::says(KNOWN);
    let stage = Scenario::new().context(source.clone()).council("DEV", 3).start().await;
    for (id, story) in [("none", None), ("empty", Some(""))] {
        let metadata = story.map(|story| ("story_id".to_owned(), story.to_owned())).into_iter().collect();
        assert_eq!(outcome(&stage, id, TaskDraft { metadata, ..draft("d") }).await.context, None, "{id}");
    }
    assert_eq!(source.asked().len(), 0);
    assert!(stage.model.asks().iter().all(|ask| !ask.shared.contains("# Context")));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_in_the_verdict_and_fails_nothing() {
    let classes = [Class::Transient, Class::TimedOut, Class::Refused, Class::Invalid, Class::Gone];
    for class in classes {
        let stage = Scenario::new().context(failing(class, ms(500))).council("DEV", 3).start().await;
        let begun = Instant::now();
        let outcome = outcome(&stage, "t", of_story(&[])).await;
        assert_eq!(outcome.context, without("context service http://c:1: no connection"), "{class:?}");
        assert_eq!((outcome.verdict.calls, begun.elapsed() >= ms(500)), (9, true));
        assert!(stage.model.asks().iter().all(|ask| !ask.shared.contains("# Context")));
        stage.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_service_and_no_knowledge_are_said_too() {
    let stage = Scenario::new().council("DEV", 3).start().await;
    assert_eq!(outcome(&stage, "t", of_story(&[])).await.context, without("no context service is configured"));
    stage.close().await;
    let stage = Scenario::new().context(FakeContexts::says(" \n")).council("DEV", 3).start().await;
    let why = "the context service knows nothing of the story";
    assert_eq!(outcome(&stage, "t", of_story(&[])).await.context, without(why));
    assert!(stage.model.asks().iter().all(|ask| !ask.shared.contains("# Context")));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_phase_is_the_tasks_else_the_storys_else_build() {
    let source = FakeContexts::says(KNOWN);
    let stage = Scenario::new().context(source.clone()).council("DEV", 3).start().await;
    let phase = async |id: &str, metadata: &[(&str, &str)]| {
        outcome(&stage, id, of_story(metadata)).await;
        source.asked().last().unwrap().phase
    };
    assert_eq!(phase("nothing is known", &[]).await, StoryPhase::Build);
    assert_eq!(phase("its own", &[("phase", "DESIGN")]).await, StoryPhase::Design);
    assert_eq!(phase("no such phase", &[("phase", "design")]).await, StoryPhase::Build);
    stage.system().move_story(moves("S-1", None, "TEST")).await.unwrap();
    stage.system().move_story(moves("S-1", Some("TEST"), "IN_PROGRESS")).await.unwrap();
    stage.system().move_story(moves("S-2", None, "DOCS")).await.unwrap();
    assert_eq!(phase("its story's", &[]).await, StoryPhase::Test);
    assert_eq!(phase("its own before its story's", &[("phase", "DESIGN")]).await, StoryPhase::Design);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_resume_has_the_same_text_and_asks_nobody() {
    let source = FakeContexts::says(KNOWN);
    let mut stage =
        Scenario::new().reacts(|call, _| usual(call, secs(1))).context(source.clone()).council("DEV", 3).start().await;
    submit_as(&stage, "t", of_story(&[]), Hold::Call).await.unwrap();
    pass(ms(1_500)).await;
    stage.crash().await;
    stage.rise().await;
    let outcome = stage.system().attach(&task("t")).await.unwrap().outcome().await.unwrap();
    assert_eq!((outcome.context.clone(), source.asked().len()), (with(), 1));
    let asks = stage.model.asks();
    assert!(asks.len() > 9, "none was repeated: {}", asks.len());
    assert!(asks.iter().all(|ask| ask.shared == asks[0].shared && ask.shared.contains(KNOWN)));
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_next_run_asks_anew_and_a_stored_answer_asks_nobody() {
    let script = |call: &ModelCall, _| match call.id.run.run {
        1 => fails(Class::Transient, "no model"),
        _ => usual(call, ms(10)),
    };
    let source = FakeContexts::says(KNOWN);
    let stage = Scenario::new().reacts(script).context(source.clone()).council("DEV", 3).start().await;
    let failed = submit_as(&stage, "t", of_story(&[]), Hold::Call).await.unwrap().outcome().await;
    assert!(failed.is_err());
    assert_eq!(outcome(&stage, "t", of_story(&[])).await.context, with());
    assert_eq!((source.asked().len(), plans(&stage).len()), (2, 2));
    assert_eq!(outcome(&stage, "t", of_story(&[])).await.context, with());
    assert_eq!((source.asked().len(), plans(&stage).len()), (2, 2));
    stage.close().await;
}

fn queued(name: &str, of: &str) -> NewTask {
    let draft = TaskDraft { role: of.into(), ..of_story(&[]) };
    NewTask {
        task: task(name),
        spec: spec(draft),
        priority: Priority::MEDIUM,
        needs: Vec::new(),
        on_failure: OnDependencyFailure::Block,
        hold: None,
        parked: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_source_costs_all_that_begin_from_the_queue_its_deadline_once_and_holds_no_other() {
    let source = failing(Class::TimedOut, secs(2));
    let roles = ["DEV", "QA", "DATA"];
    let scenario = Scenario::new().context(source.clone());
    let stage = roles.into_iter().fold(scenario, |scenario, role| scenario.council(role, 3)).start().await;
    let begun = Instant::now();
    let tasks = roles.into_iter().flat_map(|of| ["a", "b"].map(|name| queued(&format!("{of}-{name}"), of)));
    stage.system().enqueue(tasks.collect()).await.unwrap();
    pass(ms(100)).await;
    // Who does not wait for it is not held up by those who do.
    submit_as(&stage, "direct", draft("d"), Hold::Call).await.unwrap().outcome().await.unwrap();
    assert!(begun.elapsed() < secs(1), "{:?}", begun.elapsed());
    pass(secs(3).saturating_sub(begun.elapsed())).await;
    assert_eq!((finals(&stage).len(), count(&stage, "TaskCompleted"), source.asked().len()), (7, 7, 6));
    let told = plans(&stage).into_iter().filter(|(context, _)| context.is_some()).count();
    assert_eq!(told, 6);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_cancelled_while_its_story_is_asked_for_does_not_begin() {
    let source = failing(Class::TimedOut, secs(2));
    let stage = Scenario::new().context(source.clone()).council("DEV", 3).start().await;
    stage.system().enqueue(vec![queued("a", "DEV")]).await.unwrap();
    pass(secs(1)).await;
    assert_eq!(source.asked().len(), 1);
    stage.system().cancel(&task("a"), "too dear").await.unwrap();
    pass(secs(10)).await;
    assert_eq!((count(&stage, "TaskCancelled"), count(&stage, "DeliberationStarted")), (1, 0));
    assert_eq!(stage.model.asks().len(), 0);
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_who_takes_part_is_named_in_it() {
    let source = FakeContexts::says("agent-dev-002 and agent-architect-001 liked it; so did agent-qa-009.");
    let stage = Scenario::new().context(source).council("DEV", 3).council("ARCHITECT", 1).start().await;
    outcome(&stage, "t", TaskDraft { orchestrate: true, ..of_story(&[]) }).await;
    let asks = stage.model.asks();
    assert_eq!(asks.len(), 11);
    for ask in asks {
        assert!(ask.shared.contains("\n[an agent] and [an agent] liked it; so did agent-qa-009.\n"), "{}", ask.shared);
    }
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_context_is_told_it_or_why_not() {
    let source = FakeContexts::says("of agent-dev-001");
    let stage = Scenario::new().context(source.clone()).council("DEV", 3).start().await;
    let context = stage.system().story_context("S-1", &role("QA"), StoryPhase::Docs).await.unwrap();
    assert_eq!((&*context.text, context.token_count), ("of agent-dev-001", 7));
    let query = &source.asked()[0];
    assert_eq!((&*query.role, query.phase, query.token_budget), ("QA", StoryPhase::Docs, 200));
    stage.system().context_changed("S-1", Some("v2"));
    stage.system().context_changed("S-2", None);
    assert_eq!(source.changed(), [("S-1".to_owned(), Some("v2".to_owned())), ("S-2".to_owned(), None)]);
    stage.close().await;

    let stage = Scenario::new().council("DEV", 3).start().await;
    let refused = stage.system().story_context("S-1", &role("DEV"), StoryPhase::Build).await.unwrap_err();
    assert!(matches!(&refused, SystemError::WrongState(why) if why.contains("context.address")), "{refused}");
    stage.system().context_changed("S-1", None);
    stage.close().await;

    let stage = Scenario::new().context(failing(Class::Transient, ms(1))).council("DEV", 3).start().await;
    let failed = stage.system().story_context("S-1", &role("DEV"), StoryPhase::Build).await.unwrap_err();
    assert!(matches!(&failed, SystemError::Context(error) if error.class == Class::Transient), "{failed}");
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_while_its_story_is_asked_for_loses_nothing() {
    let source = FakeContexts::new(|_| (secs(1), Ok(FakeContexts::context(KNOWN))));
    let stage = Scenario::new()
        .reacts(|call, _| (ms(1), Reaction::Answer(moothall_actors::testing::FakeModel::usual(call))))
        .context(source.clone())
        .council("DEV", 3)
        .start()
        .await;
    let hung_up = tokio::time::timeout(ms(500), submit_as(&stage, "t", of_story(&[]), Hold::Call)).await;
    assert!(hung_up.is_err());
    // Whoever sends it again comes to the same run: the story is asked for once.
    assert_eq!(outcome(&stage, "t", of_story(&[])).await.context, with());
    assert_eq!((source.asked().len(), plans(&stage).len()), (1, 1));
    stage.close().await;
}
