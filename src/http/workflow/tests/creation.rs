//! How a workflow begins, what it looks like, and why one does not begin.

use std::collections::BTreeSet;

use regex::Regex;
use uuid::Uuid;

use super::*;

const KEYS: [&str; 10] = [
    "id",
    "workflow_type",
    "status",
    "feature_id",
    "current_phase",
    "result",
    "error",
    "created_at",
    "updated_at",
    "completed_at",
];

const MORE: [&str; 10] = [
    "feature_description",
    "context",
    "phase_title",
    "attempt",
    "dispatch",
    "chain",
    "previous",
    "next",
    "version",
    "approval",
];

#[tokio::test(start_paused = true)]
async fn a_new_workflow_has_all_its_keys_and_is_in_progress() {
    let stand = Stand::manual().await;
    let created = stand.create("Users log in with a passkey").await;
    let found: BTreeSet<_> = created.body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, KEYS.into_iter().chain(MORE).collect());
    for (key, value) in [("workflow_type", "specify"), ("status", "in_progress"), ("current_phase", "phase_1")] {
        assert_eq!(created.text(key), value);
    }
    for empty in ["result", "error", "completed_at", "context", "previous", "next", "approval"] {
        assert!(created.body[empty].is_null(), "{empty}");
    }
    assert_eq!(created.text("feature_id"), "001-users-log-in-with-a-passkey");
    assert_eq!((created.text("phase_title"), &created.body["attempt"]), ("draft", &1.into()));
    let time = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").unwrap();
    assert!(time.is_match(created.text("created_at")) && time.is_match(created.text("updated_at")));
    assert_eq!(created.header("etag"), "\"2\"");
    let location = created.header("location").to_owned();
    assert_eq!(location, format!("/workflows/{}", created.text("id")));
    assert_eq!(stand.get(&location).await.body, created.body);
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_feature_id_is_readable_in_every_language() {
    let stand = Stand::manual().await;
    let pattern = Regex::new(r"^\d{3,}-[a-z0-9-]+$").unwrap();
    for description in
        ["إضافة تسجيل الدخول للمستخدمين", "为用户添加登录功能和密码重置", "🚀🎉🔥🚀🎉🔥🚀🎉🔥🚀", "!!!!!!!!!!!!"]
    {
        let created = stand.create(description).await;
        assert!(pattern.is_match(created.text("feature_id")), "{created:?}");
        assert_eq!(created.text("feature_description"), description);
    }
    assert_eq!(stand.create("????????????").await.text("feature_id"), "005-feature");
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn two_thousand_at_once_have_numbers_of_their_own() {
    let stand = Stand::manual().await;
    let body = wanted("one of two thousand");
    let created = futures::future::join_all((0..2_000).map(|_| stand.post("/workflows", &body))).await;
    let numbers: BTreeSet<_> = created.iter().map(|created| created.text("feature_id").to_owned()).collect();
    assert_eq!(numbers.len(), 2_000);
    assert!(numbers.contains("001-one-of-two-thousand") && numbers.contains("2000-one-of-two-thousand"));
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_context_goes_out_as_it_came_in() {
    let stand = Stand::manual().await;
    let body = r#"{"workflow_type":"specify","feature_description":"big numbers stay","later":true,
        "context":{"n": 12345678901234567890123, "f": 1.0, "chain": ["plan", "tasks"]}}"#;
    let response = stand.send("POST", "/workflows", &[("content-type", "text/plain")], body).await;
    let text = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&text).unwrap();
    assert!(text.contains(r#"{"n": 12345678901234567890123, "f": 1.0, "chain": ["plan", "tasks"]}"#), "{text}");
    assert!(text.contains(r#""chain":["plan","tasks"],"previous""#), "{text}");
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_of_another_shape_is_refused_in_both_shapes() {
    let stand = Stand::manual().await;
    let table = [
        ("", "missing"),
        ("{", "json_invalid"),
        ("[]", "model_attributes_type"),
        (r#"{"feature_description": "long enough, it is"}"#, "missing"),
        (r#"{"workflow_type": 7, "feature_description": "long enough, it is"}"#, "string_type"),
        (r#"{"workflow_type": "plan", "feature_description": "long enough, it is", "context": []}"#, "dict_type"),
    ];
    for (body, kind) in table {
        let refused = Answer::of(stand.send("POST", "/workflows", &[], body).await).await;
        assert_eq!(refused.error(), (422, "VALIDATION_ERROR"), "{body}");
        assert_eq!(refused.body["detail"][0]["type"], kind, "{body}");
        assert_eq!(refused.body["error"]["details"].as_array().map(Vec::len), Some(1), "{body}");
        assert!(refused.body["error"]["message"].is_string() && refused.header("x-request-id").len() == 36);
    }
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn every_rule_that_is_broken_is_told() {
    let stand = Stand::manual().await;
    let unknown = stand.post("/workflows", &json!({ "workflow_type": "test", "feature_description": "short" })).await;
    assert_eq!(unknown.error(), (400, "INVALID_WORKFLOW_TYPE"));
    assert_eq!(unknown.body["error"]["details"].as_array().map(Vec::len), Some(2), "{unknown:?}");
    assert!(unknown.body.get("detail").is_none());
    let context = json!({ "chain": ["plan", "plan"], "approval": { "quorum": 0, "speed": 1 } });
    let body = json!({ "workflow_type": "specify", "feature_description": "  short  ", "context": context });
    let refused = stand.post_with("/workflows", &[("idempotency-key", "a b")], &body).await;
    assert_eq!(refused.error(), (400, "VALIDATION_ERROR"));
    let details = refused.body["error"]["details"].as_array().unwrap();
    let fields: Vec<_> = details.iter().map(|line| line.as_str().unwrap().split(' ').next().unwrap()).collect();
    let approval = ["context.approval.speed", "context.approval.quorum", "context.approval.quorum"];
    let expected = ["feature_description", "context.chain"].into_iter().chain(approval).chain(["Idempotency-Key"]);
    assert_eq!(fields, expected.collect::<Vec<_>>());
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_context_may_have_a_mebibyte_and_not_one_byte_more() {
    let stand = Stand::manual().await;
    let most = moothall_actors::domain::workflow::MAX_PAYLOAD_BYTES;
    let body = |bytes: usize| {
        let context = json!({ "a": "x".repeat(bytes - r#"{"a":""}"#.len()) });
        json!({ "workflow_type": "plan", "feature_description": "much to say about it", "context": context })
    };
    assert_eq!(stand.post("/workflows", &body(most)).await.status, 201);
    assert_eq!(stand.post("/workflows", &body(most + 1)).await.error(), (400, "VALIDATION_ERROR"));
    assert_eq!(stand.post("/workflows", &body(5 * most)).await.error(), (413, "PAYLOAD_TOO_LARGE"));
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_request_creates_one_workflow() {
    let stand = Stand::manual().await;
    let key = [("idempotency-key", "order-7")];
    let body = wanted("Users log in with a passkey");
    let both = [stand.post_with("/workflows", &key, &body), stand.post_with("/workflows", &key, &body)];
    let first = futures::future::join_all(both).await;
    assert_eq!((first[0].status, first[1].status), (201, 201));
    assert_eq!(first[0].text("id"), first[1].text("id"));
    assert_eq!(Uuid::parse_str(first[0].text("id")).unwrap().get_version_num(), 5);
    stand.advance(first[0].text("id"), &complete("done")).await;
    let again = stand.post_with("/workflows", &key, &body).await;
    assert_eq!((again.status, again.text("status")), (201, "waiting_approval"));
    let other = stand.post_with("/workflows", &key, &wanted("something else entirely")).await;
    assert_eq!(other.error(), (422, "IDEMPOTENCY_KEY_REUSED"));
    assert_eq!(other.body["detail"][0]["loc"], json!(["header", "idempotency-key"]));
    assert_eq!(stand.get("/workflows").await.body["workflows"].as_array().map(Vec::len), Some(1));
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_chain_goes_on_by_itself() {
    let stand = Stand::with_hub().await;
    let context = json!({ "chain": ["specify", "plan"] });
    let body = json!({ "workflow_type": "specify", "feature_description": "one after another", "context": context });
    let created = stand.post("/workflows", &body).await;
    let id = created.text("id");
    for _ in 0..2 {
        stand.until(id, "waiting_approval").await;
        stand.advance(id, &trigger("human_approved")).await;
    }
    let completed = stand.until(id, "completed").await;
    assert!(completed.body["result"]["output"].is_object(), "{completed:?}");
    assert_eq!(completed.body["result"]["approval"]["trigger"], "human_approved");
    let next = stand.get(&format!("/workflows/{}", completed.text("next"))).await;
    assert_eq!((next.text("workflow_type"), next.text("previous")), ("plan", id));
    assert_eq!(next.text("feature_id"), created.text("feature_id"));
    stand.close().await;
}

#[tokio::test]
async fn before_the_start_every_endpoint_of_workflows_says_to_come_again() {
    let (router, _doors) = bare_router();
    let id = "00000000-0000-0000-0000-000000000007";
    let paths = ["", "/x", "/x/history", "/x/artifacts", "/x/events"].map(|end| ("GET", end.replace('x', id)));
    let changes = ["", "/x/advance", "/x/cancel"].map(|end| ("POST", end.replace('x', id)));
    for (method, end) in paths.into_iter().chain(changes) {
        let request = Request::builder().method(method).uri(format!("/workflows{end}")).body(Body::empty()).unwrap();
        let answer = Answer::of(router.clone().oneshot(request).await.unwrap()).await;
        assert_eq!(answer.error(), (503, "UNAVAILABLE"), "{method} {end}");
        assert_eq!(
            (answer.header("retry-after"), answer.body["error"]["message"].as_str()),
            ("1", Some("the daemon is starting"))
        );
    }
    let request = Request::get("/health").body(Body::empty()).unwrap();
    assert_eq!(Answer::of(router.oneshot(request).await.unwrap()).await.body["status"], "unhealthy");
}
