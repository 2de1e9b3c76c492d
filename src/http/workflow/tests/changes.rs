//! What clients may ask of a workflow, in which order that is checked, and what happens when they ask at once or again.

use super::*;

const NOBODY: &str = "00000000-0000-0000-0000-000000000007";

async fn waiting(stand: &Stand) -> String {
    let id = stand.create("Users log in with a passkey").await.text("id").to_owned();
    assert_eq!(stand.advance(&id, &complete("a draft")).await.text("status"), "waiting_approval");
    id
}

#[tokio::test(start_paused = true)]
async fn a_workflow_goes_through_both_phases() {
    let stand = Stand::manual().await;
    let id = stand.create("Users log in with a passkey").await.text("id").to_owned();
    let waiting = stand.advance(&id, &complete("a draft")).await;
    let approval = &waiting.body["approval"];
    assert_eq!((&approval["quorum"], &approval["votes"], &approval["approvers"]), (&1.into(), &json!([]), &json!([])));
    assert_eq!((&approval["confidence"], &approval["below_threshold"]), (&70.0.into(), &true.into()));
    for key in ["escalated", "due_at", "artifact_hash", "checks_passed", "edited"] {
        assert!(approval.get(key).is_some(), "{key}");
    }
    let second = stand.advance(&id, &trigger("human_approved")).await;
    assert_eq!((second.text("status"), second.text("current_phase")), ("in_progress", "phase_2"));
    assert_eq!((second.text("phase_title"), &second.body["approval"]), ("clarify", &Value::Null));
    stand.advance(&id, &complete("clear")).await;
    let body = json!({ "trigger": "human_approved", "actor": "ann", "reason": "good", "phase_result": { "a": 1 } });
    let done = stand.advance(&id, &body).await;
    assert_eq!((done.status, done.text("status")), (200, "completed"));
    assert_eq!(done.body["completed_at"], done.body["updated_at"]);
    assert_eq!(done.body["result"]["approval"]["actor"], "ann");
    let over = stand.advance(&id, &trigger("error")).await;
    assert_eq!(over.error(), (400, "INVALID_STATE_TRANSITION"));
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_rejected_phase_is_tried_again_until_it_fails() {
    let stand = Stand::manual().await;
    let id = waiting(&stand).await;
    for attempt in 2..=4 {
        let again = stand.advance(&id, &json!({ "trigger": "human_rejected", "reason": "too vague" })).await;
        assert_eq!((again.text("status"), &again.body["attempt"]), ("in_progress", &attempt.into()));
        stand.advance(&id, &complete("another draft")).await;
    }
    let failed = stand.advance(&id, &trigger("human_rejected")).await;
    assert_eq!((failed.status, failed.text("status")), (200, "failed"));
    assert!(failed.text("error").contains("rejected 4 times") && failed.body["completed_at"].is_null());
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn checks_come_in_their_order() {
    let stand = Stand::manual().await;
    let id = waiting(&stand).await;
    let ask = async |id: &str, headers: &[(&str, &str)], body: Value| {
        let answer = stand.post_with(&format!("/workflows/{id}/advance"), headers, &body).await;
        (answer.status, answer.error().1.to_owned())
    };
    let stale = [("if-match", "\"1\"")];
    let expected = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(ask("no-uuid", &stale, json!({ "trigger": 7 })).await, expected(422, "VALIDATION_ERROR"));
    assert_eq!(ask("no-uuid", &stale, trigger("start")).await, expected(400, "INVALID_UUID"));
    assert_eq!(ask(NOBODY, &stale, trigger("start")).await, expected(400, "INVALID_TRIGGER"));
    assert_eq!(ask(NOBODY, &stale, trigger("error")).await, expected(404, "WORKFLOW_NOT_FOUND"));
    assert_eq!(ask(&id, &stale, trigger("agent_complete")).await, expected(412, "PRECONDITION_FAILED"));
    stand.advance(&id, &trigger("human_approved")).await;
    assert_eq!(ask(&id, &stale, trigger("human_approved")).await, expected(412, "PRECONDITION_FAILED"));
    assert_eq!(ask(&id, &[], trigger("human_approved")).await, expected(400, "INVALID_STATE_TRANSITION"));
    for wrong in ["%FF", "%2e%2e", "0", &format!("{NOBODY}0")] {
        assert_eq!(stand.get(&format!("/workflows/{wrong}")).await.error(), (400, "INVALID_UUID"), "{wrong}");
    }
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_id_is_the_same_in_every_form() {
    let stand = Stand::manual().await;
    let id = stand.create("Users log in with a passkey").await.text("id").to_owned();
    let forms = [id.to_uppercase(), id.replace('-', ""), format!("%7B{id}%7D"), format!("urn:uuid:{id}")];
    for form in forms {
        assert_eq!(stand.get(&format!("/workflows/{form}")).await.text("id"), id, "{form}");
    }
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn of_forty_who_approve_at_once_one_moves_it() {
    let stand = Stand::manual().await;
    let id = waiting(&stand).await;
    let body = trigger("human_approved");
    let answers = futures::future::join_all((0..40).map(|_| stand.advance(&id, &body))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.error().1 == "INVALID_STATE_TRANSITION"));
    assert_eq!(stand.get(&format!("/workflows/{id}")).await.body["version"], 4);
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_phase_may_be_completed_twice_and_is_completed_once() {
    let stand = Stand::manual().await;
    let id = waiting(&stand).await;
    let again = stand.advance(&id, &complete("another draft")).await;
    assert_eq!((again.status, &again.body["version"]), (200, &3.into()));
    let artifacts = stand.get(&format!("/workflows/{id}/artifacts")).await;
    assert_eq!(artifacts.body["artifacts"].as_array().map(Vec::len), Some(1));
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn limits_are_told_together() {
    let stand = Stand::manual().await;
    let id = waiting(&stand).await;
    let (actor, reason) = ("a".repeat(256), "r".repeat(16 * 1024));
    let body = json!({ "trigger": "agent_complete", "actor": actor, "reason": reason });
    assert_eq!(stand.advance(&id, &body).await.status, 200);
    let payload = json!({ "a": "x".repeat(1024 * 1024) });
    let long = json!({ "trigger": "agent_complete", "actor": format!("{actor}a"), "reason": format!("{reason}r"),
        "phase_result": payload, "artifact_hash": "h".repeat(65) });
    let refused = stand.advance(&id, &long).await;
    assert_eq!(refused.error(), (400, "VALIDATION_ERROR"));
    let details = refused.body["error"]["details"].as_array().unwrap();
    let fields: Vec<_> = details.iter().map(|line| line.as_str().unwrap().split(' ').next().unwrap()).collect();
    assert_eq!(fields, ["phase_result", "artifact_hash", "actor", "reason"]);
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn versions_are_tags() {
    let stand = Stand::manual().await;
    let id = waiting(&stand).await;
    let path = format!("/workflows/{id}");
    let read = async |tags: &str| Answer::of(stand.send("GET", &path, &[("if-none-match", tags)], "").await).await;
    for known in ["\"3\"", "W/\"3\"", "*", "\"1\", \"3\""] {
        let unchanged = read(known).await;
        assert_eq!((unchanged.status, unchanged.header("etag"), &unchanged.body), (304, "\"3\"", &Value::Null));
    }
    assert_eq!(read("\"2\"").await.status, 200);
    let advance = async |tags: &str| {
        stand.post_with(&format!("{path}/advance"), &[("if-match", tags)], &trigger("human_rejected")).await
    };
    for stale in ["\"2\"", "\"2\", \"9\"", "W/\"3\"", "nonsense"] {
        assert_eq!(advance(stale).await.error(), (412, "PRECONDITION_FAILED"), "{stale}");
    }
    let moved = advance("\"9\", \"3\"").await;
    assert_eq!((moved.status, moved.header("etag")), (200, "\"4\""));
    let cancelled = stand.post_with(&format!("{path}/cancel"), &[("if-match", "*")], &json!({})).await;
    assert_eq!((cancelled.status, cancelled.header("etag")), (200, "\"5\""));
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_request_is_carried_out_once() {
    let stand = Stand::manual().await;
    let id = waiting(&stand).await;
    let path = format!("/workflows/{id}/advance");
    let key = [("idempotency-key", "approve-1"), ("if-match", "\"3\"")];
    let approve = json!({ "trigger": "human_approved", "actor": "ann" });
    assert_eq!(stand.post_with(&path, &key, &approve).await.body["version"], 4);
    stand.advance(&id, &complete("clear")).await;
    let again = stand.post_with(&path, &key, &approve).await;
    assert_eq!((again.status, &again.body["version"]), (200, &5.into()));
    let several = [key[0], ("if-match", "\"2\", \"3\"")];
    assert_eq!(stand.post_with(&path, &several, &approve).await.status, 200);
    let other = stand.post_with(&path, &key, &trigger("human_rejected")).await;
    assert_eq!(other.error(), (422, "IDEMPOTENCY_KEY_REUSED"));
    let cancel = format!("/workflows/{id}/cancel");
    assert_eq!(stand.post_with(&cancel, &key[..1], &approve).await.error(), (422, "IDEMPOTENCY_KEY_REUSED"));
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_workflow_is_cancelled_with_or_without_a_body() {
    let stand = Stand::manual().await;
    for body in ["", "null", "{}", r#"{"actor": "ann", "reason": "not needed"}"#] {
        let path = format!("/workflows/{}/cancel", waiting(&stand).await);
        let cancelled = Answer::of(stand.send("POST", &path, &[], body).await).await;
        assert_eq!((cancelled.status, cancelled.text("status"), cancelled.text("error")), (200, "failed", "cancelled"));
        let again = Answer::of(stand.send("POST", &path, &[], body).await).await;
        assert_eq!(again.error(), (400, "INVALID_STATE_TRANSITION"));
        assert_eq!(Answer::of(stand.send("POST", &path, &[], "[]").await).await.status, 422);
    }
    assert_eq!(stand.post(&format!("/workflows/{NOBODY}/cancel"), &json!({})).await.error().0, 404);
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_quorum_wants_names_and_different_ones() {
    let rule = ApprovalRule { approvers: vec!["ann".into(), "bob".into()], quorum: 2, ..ApprovalRule::default() };
    let stand = Stand::with(Scenario::new(), Dispatch::Manual, rule).await;
    let id = waiting(&stand).await;
    let vote = |actor: &str| json!({ "trigger": "human_approved", "actor": actor });
    assert_eq!(stand.advance(&id, &trigger("human_approved")).await.error(), (400, "VALIDATION_ERROR"));
    assert_eq!(stand.advance(&id, &vote("eve")).await.error(), (403, "NOT_AN_APPROVER"));
    let other = json!({ "trigger": "human_approved", "actor": "ann", "artifact_hash": "0".repeat(64) });
    assert_eq!(stand.advance(&id, &other).await.error(), (400, "INVALID_STATE_TRANSITION"));
    let first = stand.advance(&id, &vote("ann")).await;
    assert_eq!(
        (first.text("status"), &first.body["approval"]["votes"][0]["actor"]),
        ("waiting_approval", &"ann".into())
    );
    assert_eq!(first.body["approval"]["approvers"], json!(["ann", "bob"]));
    assert_eq!(stand.advance(&id, &vote(" ann ")).await.body["version"], first.body["version"]);
    assert_eq!(stand.advance(&id, &vote("bob")).await.text("status"), "in_progress");
    assert_eq!(stand.advance(&id, &vote("bob")).await.error(), (409, "VOTE_CLOSED"));
    stand.close().await;
}
