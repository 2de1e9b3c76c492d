//! What is asked, and what is made of good answers.

use moothall::config::HubConfig;
use moothall::hub::{HubClient, HubState};
use serde_json::{Value, json};

use super::stand::{Stand, ok, status, well};
use super::{client, config, invocation, invoke, nowhere};

#[tokio::test]
async fn an_invocation_says_all_that_is_known() {
    let stand = Stand::playing(vec![well()]).await;
    let artifact = invoke(&config(&stand)).await.unwrap();
    assert_eq!(artifact.content.as_str(), r#"{"content":"the plan"}"#);
    assert_eq!((artifact.confidence, artifact.checks_passed), (Some(88.0), Some(true)));
    let asked = &stand.asked()[0];
    assert_eq!(asked.line(), "POST /api/invoke/plan HTTP/1.1");
    assert_eq!(asked.header("idempotency-key"), Some("07070707-0707-0707-0707-070707070707/phase_1/2"));
    assert_eq!(asked.header("authorization"), Some("Bearer sk-hub-1"));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    let expected = json!({
        "workflow_type": "plan",
        "context": {
            "feature_id": "001-login",
            "feature_description": "People log in with a passkey",
            "phase": "phase_1",
            "phase_title": "research",
            "attempt": 2,
            "additional_context": { "team": "blue" },
            "input": { "content": "the spec" },
            "previous_result": null,
            "rejected_result": { "content": "too short" },
            "rejection_reason": "say more",
        },
        "parameters": {},
        "session_id": "07070707-0707-0707-0707-070707070707",
    });
    assert_eq!(serde_json::from_str::<Value>(&asked.body).unwrap(), expected);
}

#[tokio::test]
async fn connections_are_used_again() {
    let stand = Stand::playing(vec![well(), well()]).await;
    let client = client(&config(&stand));
    for _ in 0..2 {
        client.invoke(&invocation()).await.unwrap();
    }
    assert_eq!(stand.asked().iter().map(|asked| asked.connection).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn without_a_key_none_is_sent_and_an_escalation_is_kept() {
    let body = r#"{"success":true,"result":"r","confidence":101,"metadata":{"by":"x"},"escalation_id":"e-1"}"#;
    let stand = Stand::playing(vec![ok(body)]).await;
    let artifact = invoke(&HubConfig { api_key: None, ..config(&stand) }).await.unwrap();
    assert_eq!((artifact.confidence, artifact.checks_passed), (None, None));
    assert_eq!(artifact.metadata.unwrap().as_str(), r#"{"by":"x","escalation_id":"e-1"}"#);
    assert_eq!(stand.asked()[0].header("authorization"), None);
}

#[tokio::test]
async fn an_answer_that_comes_twice_counts_once() {
    let body = r#"{"success":true,"result":1}"#;
    let twice = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).repeat(2);
    let stand = Stand::playing(vec![super::stand::Move::Answer(twice), well()]).await;
    let client = client(&config(&stand));
    assert_eq!(client.invoke(&invocation()).await.unwrap().content.as_str(), "1");
    // The second half of it is the answer to nothing.
    assert_eq!(client.invoke(&invocation()).await.unwrap().content.as_str(), r#"{"content":"the plan"}"#);
}

#[tokio::test]
async fn a_hub_that_answers_anything_is_there() {
    let stand = Stand::playing(vec![status("404 Not Found", "", ""), status("500 Oh", "", "")]).await;
    let client = client(&config(&stand));
    assert_eq!(client.state(), None);
    for _ in 0..2 {
        assert_eq!(client.look().await, HubState::Healthy);
    }
    assert_eq!(stand.asked()[0].line(), "GET /api/health HTTP/1.1");
    assert_eq!(stand.asked()[0].header("authorization"), None);
    assert_eq!(client.state(), Some(HubState::Healthy));
    let away = HubClient::new(&HubConfig { url: Some(nowhere()), ..config(&stand) }).unwrap().unwrap();
    let HubState::Away { why } = away.look().await else { panic!("nobody listens there") };
    assert!(why.contains("cannot connect: "), "{why}");
    assert!(HubClient::new(&HubConfig { url: None, ..config(&stand) }).unwrap().is_none());
}
