//! What is told of the past, and how many are listed.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_history_has_every_step_and_the_artifacts_every_text() {
    let stand = Stand::manual().await;
    let id = stand.create("Users log in with a passkey").await.text("id").to_owned();
    stand.advance(&id, &complete("a draft")).await;
    stand.advance(&id, &json!({ "trigger": "human_rejected", "actor": "ann", "reason": "too vague" })).await;
    stand.advance(&id, &complete("a better one")).await;
    let edit =
        json!({ "trigger": "human_approved", "actor": "bob", "phase_result": { "content": "the best", "n": 1 } });
    stand.advance(&id, &edit).await;
    let told = stand.get(&format!("/workflows/{id}/history")).await;
    assert_eq!(told.text("workflow_id"), id);
    let history = told.body["history"].as_array().unwrap();
    let triggers: Vec<_> = history.iter().map(|step| step["trigger"].as_str().unwrap()).collect();
    assert_eq!(triggers, ["start", "agent_complete", "human_rejected", "agent_complete", "human_approved"]);
    let rejected = &history[2];
    assert_eq!((&rejected["from"], &rejected["to"]), (&"waiting_approval".into(), &"in_progress".into()));
    assert_eq!((&rejected["actor"], &rejected["reason"]), (&"ann".into(), &"too vague".into()));
    let keys: Vec<_> = rejected.as_object().unwrap().keys().map(String::as_str).collect();
    for key in ["version", "phase", "attempt", "metadata", "artifact_hash", "error", "at"] {
        assert!(keys.contains(&key), "{key}");
    }
    assert_eq!((history[4]["metadata"].clone(), keys.len()), (json!({ "n": 1 }), 12));
    let told = stand.get(&format!("/workflows/{id}/artifacts")).await;
    let artifacts = told.body["artifacts"].as_array().unwrap();
    let shown: Vec<_> =
        artifacts.iter().map(|artifact| (&artifact["content"]["content"], &artifact["edited"])).collect();
    let expected =
        [("a draft".into(), false.into()), ("a better one".into(), false.into()), ("the best".into(), true.into())];
    assert_eq!(shown, expected.iter().map(|(text, edited)| (text, edited)).collect::<Vec<(&Value, &Value)>>());
    assert_eq!((&artifacts[1]["attempt"], &artifacts[1]["confidence"]), (&2.into(), &70.0.into()));
    assert_eq!(artifacts[2]["hash"], history[4]["artifact_hash"]);
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_has_no_past() {
    let stand = Stand::manual().await;
    for end in ["", "/history", "/artifacts", "/events"] {
        let path = format!("/workflows/00000000-0000-0000-0000-000000000007{end}");
        assert_eq!(stand.get(&path).await.error(), (404, "WORKFLOW_NOT_FOUND"), "{end}");
        assert_eq!(stand.get(&format!("/workflows/x{end}")).await.error(), (400, "INVALID_UUID"), "{end}");
    }
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn pages_follow_each_other_newest_first() {
    let stand = Stand::manual().await;
    let mut ids = Vec::new();
    for _ in 0..70 {
        ids.push(stand.create("one of seventy").await.text("id").to_owned());
    }
    ids.reverse();
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = stand.get(&format!("/workflows?limit=35{cursor}")).await;
        let workflows = page.body["workflows"].as_array().unwrap();
        assert_eq!(workflows.len(), 35);
        found.extend(workflows.iter().map(|workflow| workflow["id"].as_str().unwrap().to_owned()));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found, ids);
    assert_eq!(stand.get("/workflows").await.body["workflows"].as_array().map(Vec::len), Some(50));
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_has_only_what_was_asked_for() {
    let stand = Stand::manual().await;
    let first = stand.create("the first of two").await;
    let second = stand.create("the second of two").await;
    stand.advance(first.text("id"), &trigger("error")).await;
    let only = async |query: &str| {
        let page = stand.get(&format!("/workflows?{query}")).await;
        page.body["workflows"].as_array().unwrap().iter().map(|found| found["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(only("status=failed").await, [first.body["id"].clone()]);
    assert_eq!(only("type=specify&status=in_progress").await, [second.body["id"].clone()]);
    assert_eq!(only(&format!("feature_id={}", first.text("feature_id"))).await, [first.body["id"].clone()]);
    assert_eq!(only("type=plan").await, [""; 0]);
    let wrong = stand.get("/workflows?status=done&limit=0").await;
    assert_eq!(wrong.error(), (400, "VALIDATION_ERROR"));
    assert_eq!(wrong.body["error"]["details"].as_array().map(Vec::len), Some(2));
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_page_ends_early_when_what_is_in_it_is_large() {
    let stand = Stand::manual().await;
    let context = json!({ "a": "x".repeat(1_000_000) });
    for _ in 0..20 {
        let body = json!({ "workflow_type": "plan", "feature_description": "one of twenty large", "context": context });
        assert_eq!(stand.post("/workflows", &body).await.status, 201);
    }
    let page = stand.get("/workflows").await;
    assert_eq!(page.body["workflows"].as_array().map(Vec::len), Some(17));
    let rest = stand.get(&format!("/workflows?cursor={}", page.text("next_cursor"))).await;
    assert_eq!((rest.body["workflows"].as_array().map(Vec::len), &rest.body["next_cursor"]), (Some(3), &Value::Null));
    stand.close().await;
}
