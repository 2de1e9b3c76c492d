//! Lists of tasks: which are carried out, and what comes of them.

use std::sync::Arc;

use moothall_actors::domain::answer::{Class, Failure};
use moothall_actors::domain::workflow::{Origin, WorkflowId};
use moothall_actors::ports::Hub;
use moothall_actors::testing::{FakeModel, Reaction, Scenario};
use serde_json::Value;

use super::super::fixtures::{intake, invocation, opened};
use super::super::phase_hub::PhaseHub;
use super::*;

const LIST: &str = "# Tasks\n\n## Phase 1: Setup\n\n- [x] T001 Make the folder\n- [ ] T002 [P] Write src/a.rs\n\
                    - [ ] T003 [P] Write src/b.rs\n\n## Phase 2: Story\n\n- [ ] T004 [US1] Join them in src/c.rs\n";
const PLAN: &str = "workflow-09090909-0909-0909-0909-090909090909";

fn after(of: WorkflowType, artifact: &Value) -> Invocation {
    let (workflow, artifact) = (WorkflowId([8; 16]), Json::of(artifact).unwrap());
    let origin = Origin { workflow, workflow_type: of, artifact };
    Invocation { origin: Some(Arc::new(origin)), ..invocation(WorkflowType::Implement, Phase::One) }
}

fn listed() -> Invocation {
    after(WorkflowType::Tasks, &serde_json::json!({ "content": LIST, "artifact": "tasks.md" }))
}

fn council() -> Scenario {
    Scenario::new().council("DEV", 2)
}

/// Calls for this task fail for good.
fn failing(task: &'static str) -> Scenario {
    council().reacts(move |call, _| {
        let fails = call.id.run.task.as_str() == task;
        let failure = || Failure::new(Class::Refused, "no such file");
        (Duration::ZERO, if fails { Reaction::Fail(failure()) } else { Reaction::Answer(FakeModel::usual(call)) })
    })
}

#[test]
fn a_task_list_of_the_workflow_before_is_carried_out() {
    assert_eq!(of(&listed()).as_deref(), Some(LIST));
    assert_eq!(of(&after(WorkflowType::Tasks, &LIST.into())).as_deref(), Some(LIST));
    let verify = listed();
    let second = Invocation { id: InvocationId { phase: Phase::Two, ..verify.id }, ..verify };
    let prose = serde_json::json!({ "content": "Do it well." });
    let none = [
        second,
        Invocation { workflow_type: WorkflowType::Plan, ..listed() },
        Invocation { origin: None, ..listed() },
        after(WorkflowType::Plan, &LIST.into()),
        after(WorkflowType::Tasks, &prose),
        after(WorkflowType::Tasks, &serde_json::json!({ "tasks": [{ "id": "T001" }] })),
        after(WorkflowType::Tasks, &"- [ ] without an id".into()),
    ];
    for (place, invocation) in none.iter().enumerate() {
        assert_eq!(of(invocation), None, "{place}");
    }
}

#[test]
fn a_rework_is_a_plan_of_its_own() {
    let id = listed().id;
    assert_eq!(plan_id(id), PLAN);
    assert_eq!(plan_id(InvocationId { attempt: 3, ..id }), format!("{PLAN}-3"));
}

#[tokio::test(start_paused = true)]
async fn its_tasks_are_queued_and_waited_for() {
    let story = council().start().await;
    let hub = opened(&story);
    let artifact = carry_out(&hub, &listed(), LIST).await.unwrap();
    let content: Value = artifact.content.read().unwrap();
    assert_eq!((&content["plan_id"], &content["story_id"]), (&PLAN.into(), &"001-login".into()));
    let counts = ["completed", "failed", "skipped", "done", "total"].map(|key| content[key].as_u64().unwrap());
    assert_eq!((counts, artifact.confidence), ([3, 0, 0, 1, 4], Some(100.0)));
    let task = |place: usize| &content["tasks"][place];
    assert_eq!((&task(0)["task_id"], &task(0)["status"]), (&"T001".into(), &"done".into()));
    assert_eq!((&task(3)["description"], &task(3)["status"]), (&"Join them in src/c.rs".into(), &"completed".into()));
    assert!(task(3)["winner"].is_string());
    let row = story.system().task(&TaskId::parse("task", "T004").unwrap()).await.unwrap().row;
    assert_eq!((row.role.as_str(), row.story_id.as_deref()), ("DEV", Some("001-login")));
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_same_plan_is_waited_for() {
    let mut story =
        council().reacts(|call, _| (Duration::from_secs(60), Reaction::Answer(FakeModel::usual(call)))).start().await;
    let hub = opened(&story);
    let asked = tokio::spawn(async move { carry_out(&hub, &listed(), LIST).await });
    sleep(Duration::from_secs(1)).await;
    story.crash().await;
    asked.abort();
    story.rise().await;
    let artifact = carry_out(&opened(&story), &listed(), LIST).await.unwrap();
    assert_eq!(artifact.confidence, Some(100.0));
    let rows = story.system().find(&["T002", "T004"].map(|id| TaskId::parse("task", id).unwrap())).await.unwrap();
    assert!(rows.len() == 2 && rows.iter().all(|row| row.run == 1), "{rows:?}");
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_is_told_and_those_behind_it_are_skipped() {
    let story = failing("T002").start().await;
    let artifact = carry_out(&opened(&story), &listed(), LIST).await.unwrap();
    let content: Value = artifact.content.read().unwrap();
    let told: Vec<_> = content["tasks"].as_array().unwrap().iter().map(|task| task["status"].clone()).collect();
    assert_eq!(told, ["done", "failed", "completed", "skipped"]);
    assert!(content["tasks"][1]["error"].as_str().is_some_and(|error| error.contains("no such file")), "{content}");
    assert_eq!(artifact.confidence, Some(50.0));
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn when_nothing_completed_the_phase_has_failed() {
    let list = "- [ ] T002 Write src/a.rs\n- [ ] T003 Write src/b.rs\n";
    let story = failing("T002").start().await;
    let error = carry_out(&opened(&story), &listed(), list).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("none of the 2 tasks of plan {PLAN} completed; T002: ")), "{error}");
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_wrong_fails_with_all_that_is_wrong() {
    let story = council().start().await;
    let list = "- [ ] T001 one\n- [ ] T001 two\n- [ ] T002\n";
    let error = carry_out(&opened(&story), &listed(), list).await.unwrap_err().to_string();
    for said in ["the list of tasks cannot be carried out: ", "ids are unique", "no description"] {
        assert!(error.contains(said), "{error}");
    }
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_rework_tells_its_tasks_why() {
    let story = council().start().await;
    let hub = opened(&story);
    carry_out(&hub, &listed(), LIST).await.unwrap();
    let first = listed();
    let again = Invocation {
        id: InvocationId { attempt: 2, ..first.id },
        rejection_reason: Some("src/b.rs does not compile".into()),
        ..first
    };
    let artifact = carry_out(&hub, &again, LIST).await.unwrap();
    let content: Value = artifact.content.read().unwrap();
    assert_eq!(content["tasks"][1]["task_id"], format!("{PLAN}-2/T002"));
    assert_eq!(content["tasks"][1]["description"], "Write src/a.rs");
    let plan = plan(&intake(story.system()), &again, Role::dev(), LIST).unwrap();
    let told = &plan.task("T003").unwrap().description;
    assert!(told.contains("src/b.rs does not compile") && told.contains("People log in with a passkey"), "{told}");
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn withdrawn_it_cancels_what_waits_and_what_runs() {
    let story = council().reacts(|_, _| (Duration::ZERO, Reaction::Hang)).start().await;
    let hub = PhaseHub::new(opened(&story), None);
    let hub = Arc::new(hub);
    let asked = {
        let hub = hub.clone();
        tokio::spawn(async move { hub.invoke(Arc::new(listed())).await })
    };
    sleep(Duration::from_secs(1)).await;
    asked.abort();
    hub.withdraw(listed().id);
    sleep(Duration::from_secs(5)).await;
    let ids = ["T002", "T003", "T004"].map(|id| TaskId::parse("task", id).unwrap());
    let rows = story.system().find(&ids).await.unwrap();
    assert!(rows.iter().all(|row| row.status == TaskStatus::Cancelled) && rows.len() == 3, "{rows:?}");
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_list_the_council_deliberates() {
    let story = council().start().await;
    let hub = PhaseHub::new(opened(&story), None);
    let prose = after(WorkflowType::Tasks, &serde_json::json!({ "content": "Do it well." }));
    let artifact = hub.invoke(Arc::new(prose)).await.unwrap();
    let content: Value = artifact.content.read().unwrap();
    assert_eq!(content["artifact"], "changes");
    story.close().await;
}
