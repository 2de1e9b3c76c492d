//! What goes wrong, what is tried again, and what a workflow fails with.

use std::time::{Duration, Instant};

use moothall::config::HubConfig;
use moothall::vllm::Retry;

use super::stand::{Move, Stand, ok, status, well};
use super::{config, failure, invoke, nowhere};

fn broken() -> Move {
    status("500 Internal Server Error", "", r#"{"error":{"message":"out of memory"}}"#)
}

#[tokio::test]
async fn what_may_heal_is_tried_again_with_the_same_key() {
    let busy = status("429 Too Many Requests", "", r#"{"detail":"busy"}"#);
    let cut = Move::Part("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"succ".to_owned());
    let rows = [vec![busy, well()], vec![broken(), broken(), broken(), well()], vec![Move::Close, cut, well()]];
    for moves in rows {
        let (requests, stand) = (moves.len(), Stand::playing(moves).await);
        invoke(&config(&stand)).await.unwrap();
        let asked = stand.asked();
        assert_eq!(asked.len(), requests);
        let keys = asked.iter().map(|asked| asked.header("idempotency-key").unwrap());
        assert!(keys.into_iter().all(|key| key == "07070707-0707-0707-0707-070707070707/phase_1/2"));
        assert!(asked.iter().all(|asked| asked.body == asked_first(&stand)));
    }
}

fn asked_first(stand: &Stand) -> String {
    stand.asked()[0].body.clone()
}

#[tokio::test]
async fn after_the_last_retry_the_workflow_is_told_why() {
    let stand = Stand::playing(vec![broken(), broken(), broken(), broken(), well()]).await;
    let why = failure(&config(&stand)).await;
    assert!(why.starts_with("agent hub http://127.0.0.1:"), "{why}");
    assert!(why.ends_with("/api: status 500 Internal Server Error: out of memory, after 4 requests"), "{why}");
    assert_eq!(stand.asked().len(), 4);
}

#[tokio::test]
async fn what_the_hub_refuses_is_not_asked_again() {
    for (code, body, said) in [
        ("400 Bad Request", r#"{"detail":"no such phase"}"#, "no such phase"),
        ("404 Not Found", r#"{"detail":{"error":"no agent plan"}}"#, "no agent plan"),
        (
            "422 Unprocessable Entity",
            r#"{"detail":[{"msg":"field required"},{"msg":"too long"}]}"#,
            "required; too long",
        ),
        ("401 Unauthorized", r#"{"error":"bad key sk-hub-1"}"#, "bad key ***"),
        ("408 Request Timeout", "<p>late</p>", "<p>late</p>"),
        ("307 Temporary Redirect", "", "redirects are not followed"),
    ] {
        let stand = Stand::playing(vec![status(code, "location: http://127.0.0.1:1/\r\n", body), well()]).await;
        let why = failure(&config(&stand)).await;
        assert!(why.contains(code) && why.contains(said) && !why.contains("sk-hub-1"), "{why}");
        assert_eq!(stand.asked().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_failure_and_an_answer_that_is_none_are_final() {
    for (body, said) in [
        (r#"{"success":false,"error":"no idea"}"#, "/api: no idea"),
        (r#"{"success":false}"#, "did not say why"),
        ("<html>", "its answer is no JSON object; what came is: <html>"),
        (r#"{"result":1}"#, "no success, true or false"),
        (r#"{"success":true}"#, "brings no result"),
    ] {
        let stand = Stand::playing(vec![ok(body), well()]).await;
        let why = failure(&config(&stand)).await;
        assert!(why.contains(said), "{why}");
        assert_eq!(stand.asked().len(), 1, "{body}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused() {
    let most = 2 * 1024 * 1024;
    let body = |bytes: usize| {
        let frame = r#"{"success":true,"result":""}"#;
        frame.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - frame.len())))
    };
    let endless = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", body(most + 1));
    for moved in [ok(&body(most + 1)), Move::Part(endless)] {
        let stand = Stand::playing(vec![moved, well()]).await;
        let why = failure(&config(&stand)).await;
        assert!(why.contains("larger than 2097152 bytes"), "{why}");
        assert_eq!(stand.asked().len(), 1);
    }
    let stand = Stand::playing(vec![ok(&body(most))]).await;
    assert_eq!(invoke(&config(&stand)).await.unwrap().content.as_str().len(), most - 26);
}

#[tokio::test]
async fn nobody_there_is_said_after_all_retries() {
    let stand = Stand::playing(vec![]).await;
    let why = failure(&HubConfig { url: Some(nowhere()), ..config(&stand) }).await;
    assert!(why.contains("cannot connect: ") && why.ends_with("after 4 requests"), "{why}");
}

#[tokio::test]
async fn one_limit_holds_over_all_tries() {
    let short = |stand: &Stand| HubConfig { timeout: Duration::from_millis(200), ..config(stand) };
    let silent = Stand::playing(vec![]).await;
    let why = failure(&short(&silent)).await;
    assert!(why.ends_with("no answer within 0.2 s"), "{why}");
    let late = Stand::playing(vec![broken(), Move::Late(Duration::from_secs(60), String::new())]).await;
    let why = failure(&short(&late)).await;
    assert!(why.contains("no answer within 0.2 s; before that, status 500"), "{why}");
    assert_eq!(late.asked().len(), 2);
}

#[tokio::test]
async fn a_hub_says_when_to_come_back_as_far_as_that_is_borne() {
    let later = |seconds: &str| status("429 Too Many Requests", &format!("retry-after: {seconds}\r\n"), "");
    let stand = Stand::playing(vec![later("3600"), later("0"), well()]).await;
    let retry = Retry { times: 2, first: Duration::from_secs(3_600), last: Duration::from_millis(50) };
    let begun = Instant::now();
    invoke(&HubConfig { retry, ..config(&stand) }).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(50) && begun.elapsed() < Duration::from_secs(20));
    // A wait that would outlive the limit is not begun.
    let stand = Stand::playing(vec![later("60"), well()]).await;
    let patient = Retry { last: Duration::from_secs(60), ..retry };
    let begun = Instant::now();
    let why = failure(&HubConfig { retry: patient, ..config(&stand) }).await;
    assert!(why.ends_with("status 429 Too Many Requests"), "{why}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}
