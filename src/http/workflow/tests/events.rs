//! Streams of events: whole, resumed, closed, and no more of them than there are places.

use futures::StreamExt;

use super::*;

/// Names and ids of all events, until the stream ends.
async fn whole(response: Response<Body>) -> Vec<(String, u64, Value)> {
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    let text = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&text).unwrap();
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    let blocks = text.split("\n\n").filter(|block| block.contains("data: "));
    let event = |block: &str| {
        let data = serde_json::from_str(&field(block, "data")).unwrap();
        (field(block, "event"), field(block, "id").parse().unwrap(), data)
    };
    blocks.map(event).collect()
}

async fn follow(stand: &Stand, id: &str, last: &str) -> Response<Body> {
    let headers = [("last-event-id", last)];
    let headers = if last.is_empty() { &[][..] } else { &headers[..] };
    stand.send("GET", &format!("/workflows/{id}/events"), headers, "").await
}

fn names(events: &[(String, u64, Value)]) -> Vec<(&str, u64)> {
    events.iter().map(|(name, id, _)| (&**name, *id)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_stream_tells_everything_and_ends_with_its_workflow() {
    let stand = Stand::with_hub().await;
    let id = stand.create("Users log in with a passkey").await.text("id").to_owned();
    let listening = tokio::spawn(whole(follow(&stand, &id, "").await));
    for _ in 0..2 {
        stand.until(&id, "waiting_approval").await;
        let body = "{\"trigger\":\"human_approved\",\r\n\"phase_result\":{\"n\":\r\n1}}";
        stand.send("POST", &format!("/workflows/{id}/advance"), &[], body).await;
    }
    let events = listening.await.unwrap();
    let phase = |at| [("agent_complete", at), ("human_approved", at + 1)];
    assert_eq!(names(&events), [&[("created", 1), ("start", 2)][..], &phase(3), &phase(5)].concat());
    let (_, _, last) = &events[5];
    assert_eq!((&last["workflow_id"], &last["to"], &last["version"]), (&id.into(), &"completed".into(), &6.into()));
    assert_eq!((&last["metadata"], last.get("content"), last.get("result")), (&json!({ "n": 1 }), None, None));
    assert_eq!((&events[0].2["from"], &events[0].2["to"]), (&Value::Null, &"pending".into()));
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_where_its_client_left_off() {
    let stand = Stand::manual().await;
    let id = stand.create("Users log in with a passkey").await.text("id").to_owned();
    stand.advance(&id, &complete("a draft")).await;
    let listening = tokio::spawn(whole(follow(&stand, &id, "2").await));
    // It has the past already, and waits.
    tokio::time::sleep(Duration::from_secs(40)).await;
    stand.post(&format!("/workflows/{id}/cancel"), &json!({})).await;
    assert_eq!(names(&listening.await.unwrap()), [("agent_complete", 3), ("cancelled", 4)]);
    assert_eq!(names(&whole(follow(&stand, &id, "3").await).await), [("cancelled", 4)]);
    for seen in ["4", "18446744073709551615"] {
        assert_eq!(follow(&stand, &id, seen).await.status(), 204);
    }
    assert_eq!(Answer::of(follow(&stand, &id, "four").await).await.error(), (400, "VALIDATION_ERROR"));
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_shows_that_it_lives() {
    let stand = Stand::manual().await;
    let id = stand.create("Users log in with a passkey").await.text("id").to_owned();
    let mut frames = follow(&stand, &id, "2").await.into_body().into_data_stream();
    let before = tokio::time::Instant::now();
    assert_eq!(frames.next().await.unwrap().unwrap(), ": still here\n\n");
    assert_eq!(before.elapsed().as_secs(), 15);
    drop(frames);
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_large_stands_in_the_history_only() {
    let stand = Stand::manual().await;
    let id = stand.create("Users log in with a passkey").await.text("id").to_owned();
    let large = json!({ "trigger": "error", "phase_result": { "a": "x".repeat(16 * 1024) } });
    stand.advance(&id, &large).await;
    let events = whole(follow(&stand, &id, "2").await).await;
    assert_eq!((names(&events), &events[0].2["metadata"]), (vec![("error", 3)], &Value::Null));
    stand.close().await;
}

#[tokio::test(start_paused = true)]
async fn there_are_only_so_many_streams_and_all_end_with_the_server() {
    let stand = Stand::manual().await;
    let id = stand.create("Users log in with a passkey").await.text("id").to_owned();
    let mut open = Vec::new();
    for _ in 0..super::super::super::doors::MAX_STREAMS {
        open.push(follow(&stand, &id, "").await);
    }
    let refused = Answer::of(follow(&stand, &id, "").await).await;
    assert_eq!((refused.error(), refused.header("retry-after")), ((503, "BUSY"), "5"));
    open.truncate(1);
    let listening = tokio::spawn(whole(follow(&stand, &id, "").await));
    tokio::time::sleep(Duration::from_secs(1)).await;
    stand.doors.close();
    assert_eq!(names(&listening.await.unwrap()), [("created", 1), ("start", 2)]);
    drop(open);
    stand.close().await;
}
