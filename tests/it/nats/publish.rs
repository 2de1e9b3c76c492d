//! What goes out: its form, its order, and what is refused.

use std::collections::BTreeMap;

use anyhow::Result;
use moothall::nats::{Part, sha256};
use serde_json::{Value, json};

use super::server::{Server, Stored};
use super::{Daemon, FakeOutbox, locked, settings, until};

/// Every event of the journal stands in the stream exactly once, and those of one key in their order.
pub(crate) fn exactly_once(outbox: &FakeOutbox, stored: &[Stored]) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    // One without an id is nobody's, so that the counts below differ.
    for message in stored {
        *times.entry(message.id.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let journal = locked(&outbox.journal);
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    let missing: Vec<u64> = journal
        .iter()
        .filter(|one| !times.contains_key(one.event_id.to_string().as_str()))
        .map(|one| one.seq)
        .collect();
    assert!(doubled.is_empty() && missing.is_empty(), "doubled: {doubled:?}, missing: {missing:?}");
    assert_eq!(times.len(), journal.len());
    let place = |id: String| stored.iter().position(|message| message.id.as_deref() == Some(&id));
    let mut last: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for one in journal.iter() {
        let at = place(one.event_id.to_string());
        let before = last.insert(&one.ordering_key, at);
        assert!(before.is_none_or(|before| before < at), "{} of {} is out of order", one.seq, one.ordering_key);
    }
}

fn body(message: &Stored) -> Result<Value> {
    Ok(serde_json::from_slice(&message.payload)?)
}

#[tokio::test]
async fn an_event_goes_out_in_its_envelope() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.outbox.event("orchestration.task.queued", "t", json!({"task_id": "t"}));
    daemon.published().await?;
    let stored = server.all("ORCHESTRATOR_EVENTS").await?;
    exactly_once(&daemon.outbox, &stored);
    let (wrapped, id) = (body(&stored[0])?, stored[0].id.clone());
    assert_eq!(wrapped["payload"], json!({"task_id": "t"}));
    assert_eq!(wrapped["event_type"], "orchestration.task.queued");
    assert_eq!((&wrapped["idempotency_key"], &wrapped["producer"]), (&json!(id), &json!("moothall")));
    assert_eq!(wrapped["correlation_id"], "c-1");
    assert!(stored[0].header("traceparent").is_some_and(|trace| trace.starts_with("00-0af7")));
    Ok(())
}

#[tokio::test]
async fn or_bare_when_told_so() -> Result<()> {
    let server = Server::start().await?;
    let mut settings = settings(&server);
    settings.envelope = false;
    let daemon = Daemon::start(settings)?;
    daemon.outbox.event("agent.cmd.execute", "t", json!({"task_id": "t"}));
    daemon.published().await?;
    assert_eq!(body(&server.all("AGENT_COMMANDS").await?[0])?, json!({"task_id": "t"}));
    Ok(())
}

#[tokio::test]
async fn a_thousand_events_stand_once_each_and_in_order_per_task() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.outbox.events(1_000, 17);
    daemon.published().await?;
    exactly_once(&daemon.outbox, &server.all("ORCHESTRATOR_EVENTS").await?);
    // On a slow machine some acknowledgements come too late: those events are found in the stream, and not sent again.
    let counts = daemon.status().counts;
    assert!(counts.published <= 1_000 && counts.published + counts.found + counts.duplicates >= 1_000, "{counts:?}");
    Ok(())
}

#[tokio::test]
async fn long_texts_are_cut_with_their_hash() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    let long = "é".repeat(200_000);
    daemon.outbox.event("orchestration.task.failed", "t", json!({"task_id": "t", "error": long}));
    daemon.published().await?;
    let payload = body(&server.all("ORCHESTRATOR_EVENTS").await?[0])?["payload"].clone();
    assert_eq!(payload["error"].as_str().map(str::len), Some(262_144));
    assert_eq!((&payload["truncated"], &payload["sha256"]["error"]), (&json!(true), &json!(sha256(long.as_bytes()))));
    Ok(())
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_next_goes_on() -> Result<()> {
    let server = Server::start_with("max_payload: 64KB").await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.outbox.event("orchestration.task.failed", "t", json!({"error": "x".repeat(100_000)}));
    daemon.outbox.event("orchestration.task.failed", "t", json!({"error": "short"}));
    daemon.outbox.event("orchestration.no subject", "t", json!({}));
    daemon.outbox.event("orchestration.task.failed", "t", json!({"error": "short"}));
    daemon.published().await?;
    assert_eq!(server.all("ORCHESTRATOR_EVENTS").await?.len(), 2);
    let refused = locked(&daemon.outbox.refused).clone();
    assert_eq!(refused.keys().copied().collect::<Vec<_>>(), [1, 5]);
    assert!(refused[&1].contains("payload") && refused[&5].contains("no subject"), "{refused:?}");
    assert_eq!(daemon.status().counts.refused, 2);
    Ok(())
}

#[tokio::test]
async fn a_subject_that_is_not_permitted_is_refused_and_named() -> Result<()> {
    let denied = r#"authorization { users: [
        { user: "m", password: "p", permissions: { publish: { deny: ["orchestration.task.failed"] } } },
        { user: "all", password: "p" } ] }"#;
    let server = Server::start_with(denied).await?;
    let mut settings = settings(&server);
    settings.auth = moothall::nats::Auth::User { user: "m".into(), password: "p".into() };
    let daemon = Daemon::start(settings)?;
    daemon.outbox.event("orchestration.task.queued", "t", json!({}));
    daemon.outbox.event("orchestration.task.failed", "t", json!({}));
    daemon.outbox.event("orchestration.task.completed", "t", json!({}));
    daemon.published().await?;
    assert_eq!(daemon.status().counts.published, 2);
    let refused = locked(&daemon.outbox.refused).clone();
    assert_eq!(
        refused.into_iter().collect::<Vec<_>>(),
        [(3, "this user may not publish to orchestration.task.failed".to_owned())]
    );
    let part = Part::Subject("orchestration.task.failed".into());
    daemon.told("it is named", |status| status.degraded.contains_key(&part)).await?;
    Ok(())
}

#[tokio::test]
async fn a_subject_that_no_stream_takes_is_refused_and_named() -> Result<()> {
    let server = Server::start().await?;
    let js = server.js().await?;
    let other = async_nats::jetstream::stream::Config {
        name: "ORCHESTRATOR_EVENTS".into(),
        subjects: vec!["orchestration.task.>".into()],
        ..Default::default()
    };
    js.create_stream(other).await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.outbox.event("orchestration.plan.approved", "s", json!({}));
    daemon.outbox.event("orchestration.task.queued", "t", json!({}));
    daemon.published().await?;
    assert_eq!(server.all("ORCHESTRATOR_EVENTS").await?.len(), 1);
    let refused = locked(&daemon.outbox.refused).clone();
    assert_eq!(refused.into_values().collect::<Vec<_>>(), ["no stream takes orchestration.plan.approved"]);
    let status = daemon.status();
    assert_eq!(status.degraded[&Part::Stream("ORCHESTRATOR_EVENTS".into())], "it lacks orchestration.>");
    assert!(status.degraded.contains_key(&Part::Subject("orchestration.plan.approved".into())), "{status:?}");
    // What is refused once is refused at once after that.
    let started = tokio::time::Instant::now();
    daemon.outbox.events(1, 1);
    daemon.outbox.event("orchestration.plan.approved", "s", json!({}));
    until("it is refused", async || Ok(daemon.status().counts.refused == 2)).await?;
    assert!(started.elapsed() < super::millis(400));
    Ok(())
}
