//! The built-in hub with the real actor system and a model that answers as told.

use std::time::Duration;

use moothall_actors::testing::{Reaction, Scenario};
use moothall_actors::view::TaskState;
use serde_json::Value;

use super::*;
use crate::hub::fixtures::{hub, intake, invocation, opened};
use crate::hub::wire::InvokeContext;

fn specify() -> Invocation {
    invocation(WorkflowType::Specify, Phase::One)
}

fn task() -> TaskId {
    TaskId::parse("task", &specify().id.to_string()).unwrap()
}

fn usual() -> Scenario {
    Scenario::new().council("ARCHITECT", 3).council("DEV", 3).council("QA", 3)
}

fn request(description: &str) -> InvokeRequest {
    let context = InvokeContext { feature_description: Some(description.into()), ..InvokeContext::default() };
    InvokeRequest { context, ..InvokeRequest::default() }
}

fn why(error: &HubError) -> String {
    assert!(matches!(error, HubError::Failed(_)), "{error:?}");
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_council_deliberates_and_its_winner_is_the_artifact() {
    let story = usual().start().await;
    let hub = opened(&story);
    let artifact = hub.invoke(&specify()).await.unwrap();
    let content: Value = artifact.content.read().unwrap();
    assert_eq!(
        (&content["artifact"], &content["task_id"], &content["run"]),
        (&"spec.md".into(), &task().as_str().into(), &1.into())
    );
    assert!(content["content"].as_str().is_some_and(|text| !text.is_empty()));
    let evidence: Value = artifact.metadata.unwrap().read().unwrap();
    assert_eq!(evidence["winner"], content["agent_id"]);
    assert_eq!(evidence["ranking"].as_array().unwrap().len(), 3);
    for key in
        ["score", "checks_passed", "missing", "selected_by", "why", "calls", "tokens", "duration_ms", "simulated"]
    {
        assert!(!evidence[key].is_null(), "{key}: {evidence}");
    }
    assert!(artifact.confidence.is_some_and(|sure| sure > 0.0) && artifact.checks_passed == Some(true));
    let row = story.system().task(&task()).await.unwrap().row;
    assert_eq!((row.role.as_str(), row.story_id.as_deref()), ("ARCHITECT", Some("001-login")));
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_comes_again_repeats_no_call() {
    let mut story = usual().start().await;
    let first = opened(&story).invoke(&specify()).await.unwrap();
    story.crash().await;
    story.rise().await;
    let again = opened(&story);
    let second = again.invoke(&specify()).await.unwrap();
    assert_eq!(first.hash, second.hash);
    let row = story.system().task(&task()).await.unwrap().row;
    assert_eq!(row.run, 1);
    // Asked for in other words since, it is still the same attempt.
    let other = Invocation { description: "Something else entirely".into(), ..specify() };
    assert_eq!(again.invoke(&other).await.unwrap().hash, first.hash);
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_the_system_and_says_when_there_is_none_any_more() {
    let story = usual().start().await;
    let hub = hub();
    let early = {
        let hub = hub.clone();
        tokio::spawn(async move { hub.invoke(&specify()).await })
    };
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!early.is_finished());
    assert!(matches!(hub.answer("plan", request("a feature"), None).await, Err(InvokeError::Unavailable(_))));
    hub.open(story.system().clone(), intake(story.system()));
    early.await.unwrap().unwrap();
    hub.close();
    assert_eq!(hub.invoke(&specify()).await, Err(HubError::Stopping));
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_interrupted_by_a_stop_goes_on_at_the_next_start() {
    let mut story = usual().reacts(|_, _| (Duration::ZERO, Reaction::Hang)).start().await;
    let hub = opened(&story);
    let asked = tokio::spawn(async move { hub.invoke(&specify()).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    story.drain(Duration::from_millis(1)).await;
    assert_eq!(asked.await.unwrap(), Err(HubError::Stopping));
}

#[tokio::test(start_paused = true)]
async fn what_a_council_cannot_do_is_what_the_workflow_fails_with() {
    let story = Scenario::new().council("QA", 1).start().await;
    let hub = opened(&story);
    let error = hub.invoke(&specify()).await.unwrap_err();
    assert_eq!(why(&error), "no council has the role ARCHITECT; there are: QA");
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_daemon_is_asked_again_until_the_patience_is_over() {
    let scenario = usual().settings(|settings| settings.open_deliberations = 1);
    let story = scenario.reacts(|_, _| (Duration::ZERO, Reaction::Hang)).start().await;
    let hub = opened(&story);
    let other = {
        let hub = hub.clone();
        tokio::spawn(async move { hub.invoke(&specify()).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    let error = hub.invoke(&invocation(WorkflowType::Plan, Phase::Two)).await.unwrap_err();
    assert!(why(&error).contains("try again in"), "{error}");
    assert!(begun.elapsed() <= Duration::from_secs(2));
    hub.cancel(specify().id).await;
    assert!(why(&other.await.unwrap().unwrap_err()).contains("does not wait for it"));
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_nobody_wants_is_cancelled() {
    let story = usual().reacts(|_, _| (Duration::ZERO, Reaction::Hang)).start().await;
    let hub = opened(&story);
    let asked = {
        let hub = hub.clone();
        tokio::spawn(async move { hub.invoke(&specify()).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    asked.abort();
    hub.cancel(specify().id).await;
    let state = story.system().task(&task()).await.unwrap().state;
    assert!(matches!(state, TaskState::Ended(SystemError::Cancelled { .. })), "{state:?}");
    // What was never begun is looked for a little, and given up.
    hub.cancel(invocation(WorkflowType::Plan, Phase::Two).id).await;
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_answers_whoever_invokes_it() {
    let story = usual().start().await;
    let hub = opened(&story);
    let answer = hub.answer("implement", request("a feature of ours"), Some("k/1")).await.unwrap();
    assert!(answer.success && answer.error.is_none() && answer.confidence.is_some());
    let content: Value = answer.result.as_ref().unwrap().read().unwrap();
    assert_eq!((&content["artifact"], &content["task_id"]), (&"changes".into(), &"hub/k/1".into()));
    let again = hub.answer("implement", request("a feature of ours"), Some("k/1")).await.unwrap();
    assert_eq!(again.result, answer.result);
    let other = hub.answer("implement", request("another feature"), Some("k/1")).await;
    assert_eq!(other, Err(InvokeError::KeyReused { key: "k/1".into() }));
    let unkeyed = hub.answer("implement", request("a feature of ours"), None).await.unwrap();
    assert_ne!(unkeyed.result, answer.result, "another task");
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_wrong_is_refused_with_all_that_is_wrong() {
    let story = usual().start().await;
    let hub = opened(&story);
    let unknown = hub.answer("deploy", request("a feature"), None).await.unwrap_err();
    let said = "no agent is called \"deploy\"; there are: specify, plan, tasks, implement";
    assert_eq!(unknown.to_string(), said);
    let mut wrong = request(" ");
    wrong.workflow_type = Some("plan".into());
    wrong.context.phase = Some("phase_3".into());
    let Err(InvokeError::Invalid(found)) = hub.answer("specify", wrong, None).await else { panic!("it was taken") };
    let fields: Vec<_> = found.0.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["workflow_type", "context.feature_description", "context.phase"]);
    let long = "k".repeat(256);
    let key = hub.answer("plan", request("a feature"), Some(&long)).await.unwrap_err();
    assert!(key.to_string().starts_with("Idempotency-Key has 260 bytes"), "{key}");
    story.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_deliberation_that_fails_is_an_answer_too() {
    let story = Scenario::new().council("DEV", 1).start().await;
    let answer = opened(&story).answer("plan", request("a feature"), None).await.unwrap();
    assert!(!answer.success && answer.result.is_none());
    assert!(answer.error.unwrap().contains("no council has the role ARCHITECT"));
    story.close().await;
}

#[test]
fn each_type_of_workflow_has_an_agent() {
    let agents = hub().agents();
    let shown = serde_json::to_value(&agents).unwrap();
    assert_eq!(agents.iter().map(|agent| agent.name).collect::<Vec<_>>(), ["specify", "plan", "tasks", "implement"]);
    let verify = serde_json::json!({ "phase": "phase_2", "title": "verify", "role": "QA", "artifact": "report.md" });
    assert_eq!(shown[3]["phases"][1], verify);
}
