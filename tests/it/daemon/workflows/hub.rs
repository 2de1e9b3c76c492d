//! A hub of somebody else: how it answers is how the workflow goes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::stand::{Client, Hub, home};
use crate::daemon::harness::{LIMIT, until};

/// What a workflow's error says when the hub does this.
const FAILURES: [(&str, &str); 7] = [
    ("false", "no agent could do it"),
    ("error", "the agent is unknown"),
    ("detail", "the agent is away"),
    ("fields", "field required"),
    ("text", "the hub is on fire"),
    ("garbage", "<html>"),
    ("silent", "2"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_hub_answers_the_workflow_says_it() -> Result<()> {
    let hub = Hub::start().await?;
    let home = home(&hub).await?.with("MOOTHALL__HUB__TIMEOUT", "2").with("MOOTHALL__HUB__RETRY_MAX", "0.2");
    let daemon = home.start().await?;
    let client = Client::new(&daemon);
    let mut failing = Vec::new();
    for (word, told) in FAILURES {
        failing.push((client.create(&[word]).await?, word, told));
    }
    for (id, word, told) in failing {
        let failed = client.until(&id, "failed").await?;
        let error = failed["error"].as_str().context("no error")?;
        ensure!(error.contains(told), "{word}: {error}");
        ensure!(client.steps(&id).await?.len() == 2, "{word}: one start, one end");
    }
    for word in ["flaky", "dropped", "late"] {
        let id = client.create(&[word]).await?;
        let waiting = client.until(&id, "waiting_approval").await?;
        ensure!(waiting["approval"]["confidence"] == 91.0, "{word}: {waiting}");
        let times = if word == "late" { 1 } else { 3 };
        ensure!(hub.times(&format!("{id}/phase_1/1")).await? == times, "{word}");
    }
    daemon.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejections_go_back_to_the_hub_with_their_reason() -> Result<()> {
    let hub = Hub::start().await?;
    let home = home(&hub).await?;
    let daemon = home.start().await?;
    let client = Client::new(&daemon);
    let id = client.create(&["low", "ok"]).await?;
    let low = client.until(&id, "waiting_approval").await?;
    ensure!(low["approval"]["below_threshold"] == true, "{low}");
    for attempt in 1..=4 {
        client.until(&id, "waiting_approval").await?;
        client.decide(&id, "human_rejected", &format!("reason {attempt}")).await?;
    }
    let failed = client.workflow(&id).await?;
    ensure!(failed["status"] == "failed" && failed["error"].to_string().contains("reason 4"), "{failed}");
    let seen = hub.seen().await?;
    let contexts: Vec<&Value> = seen.iter().map(|asked| &asked["body"]["context"]).collect();
    ensure!(contexts.len() == 4, "three rejections are worked on: {contexts:?}");
    ensure!(contexts[0]["rejection_reason"].is_null() && contexts[3]["rejection_reason"] == "reason 3");
    ensure!(seen[0]["path"] == "/invoke/specify" && seen[3]["key"] == format!("{id}/phase_1/4"), "{seen:?}");

    let id = client.create(&["ok"]).await?;
    for _ in 0..2 {
        for trigger in ["human_rejected", "human_rejected", "human_approved"] {
            client.until(&id, "waiting_approval").await?;
            client.decide(&id, trigger, "why").await?;
        }
    }
    let done = client.workflow(&id).await?;
    ensure!(done["status"] == "completed", "{done}");
    ensure!(done["result"]["output"]["had_previous"] == true && done["result"]["approval"]["actor"] == "ann", "{done}");
    daemon.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_faster_than_the_hub_wins() -> Result<()> {
    let hub = Hub::start().await?;
    let home = home(&hub).await?;
    let daemon = home.start().await?;
    let client = Client::new(&daemon);
    let id = client.create(&["late"]).await?;
    until("the hub is asked", LIMIT, || async { Ok((!hub.seen().await?.is_empty()).then_some(())) }).await?;
    let body = serde_json::json!({ "trigger": "agent_complete", "phase_result": { "content": "mine" } });
    let (status, before) = client.advance(&id, body).await?;
    ensure!(status == 200 && before["status"] == "waiting_approval", "{before}");
    let look = || async { Ok(hub.seen().await?.iter().all(|asked| asked["answered"] == true).then_some(())) };
    until("the hub has answered", Duration::from_secs(10), look).await?;
    ensure!(client.workflow(&id).await? == before, "what comes late changes nothing");
    daemon.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_away_degrades_the_daemon_and_no_more() -> Result<()> {
    let hub = Hub::start().await?;
    let home = home(&hub).await?.with("AGENT_HUB_URL", "http://127.0.0.1:9");
    let daemon = home.start().await?;
    let client = Client::new(&daemon);
    let look = || async {
        let (status, health) = client.get("/health").await?;
        ensure!(status == 200, "{health}");
        Ok((health["components"]["hub"]["status"] == "degraded").then_some(()))
    };
    until("health says that the hub is away", LIMIT, look).await?;
    daemon.stop().await
}
