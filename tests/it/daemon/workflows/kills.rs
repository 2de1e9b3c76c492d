//! Kill -9 at every step: nothing is lost, nothing decided twice, no finished answer asked for again.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::json;

use super::stand::{Client, Hub, home};
use crate::daemon::harness::{LIMIT, until};

const STEPS: [&str; 9] = [
    "pending in_progress start phase_1 1",
    "in_progress waiting_approval agent_complete phase_1 1",
    "waiting_approval in_progress human_rejected phase_1 1",
    "in_progress waiting_approval agent_complete phase_1 2",
    "waiting_approval waiting_approval human_approved phase_1 2",
    "waiting_approval in_progress human_approved phase_1 2",
    "in_progress waiting_approval agent_complete phase_2 1",
    "waiting_approval waiting_approval human_approved phase_2 1",
    "waiting_approval completed human_approved phase_2 1",
];

/// More than a workflow's whole life makes.
const MOST_COMMITS: usize = 40;

/// Takes the workflow to its end as far as the daemon lives: two people who decide, and a first attempt that is rejected.
async fn drive(client: &Client, key: &str) -> Result<String> {
    let context = json!({ "approval": { "quorum": 2 } });
    let body = json!({ "workflow_type": "plan", "feature_description": "Sign in with a key", "context": context });
    let (status, created) = client.post("/workflows", &body, Some(key)).await?;
    ensure!(status == 201, "{created}");
    let id = created["id"].as_str().unwrap_or_default().to_owned();
    loop {
        let workflow = client.workflow(&id).await?;
        match workflow["status"].as_str() {
            Some("completed") => return Ok(id),
            Some("in_progress") => tokio::task::yield_now().await,
            Some("waiting_approval") => {
                let is_first = workflow["current_phase"] == "phase_1" && workflow["attempt"] == 1;
                let trigger = if is_first { "human_rejected" } else { "human_approved" };
                for actor in ["ann", "bob"] {
                    let hash = &workflow["approval"]["artifact_hash"];
                    let body = json!({ "trigger": trigger, "actor": actor, "reason": "why", "artifact_hash": hash });
                    let (status, told) = client.advance(&id, body).await?;
                    // After bob's vote was written and not told, the second look finds another artifact, or none.
                    ensure!([200, 400, 409].contains(&status), "{told}");
                }
            }
            other => anyhow::bail!("it is {other:?}: {workflow}"),
        }
    }
}

/// What an answer to a daemon that died needs to be counted.
async fn is_idle(hub: &Hub) -> Result<()> {
    let look = || async { Ok(hub.seen().await?.iter().all(|asked| asked["answered"] == true).then_some(())) };
    until("the hub is idle", LIMIT, look).await
}

/// How often the hub was asked for each answer of one workflow.
async fn times(hub: &Hub, id: &str) -> Result<BTreeMap<String, usize>> {
    let mut times = BTreeMap::new();
    for asked in hub.seen().await? {
        let key = asked["key"].as_str().unwrap_or_default();
        if key.starts_with(id) {
            *times.entry(key.to_owned()).or_default() += 1;
        }
    }
    Ok(times)
}

/// Dies at each commit in turn, until there is none left to die at; how often it died while it was driven.
async fn die_everywhere(hub: &Hub, point: &str, most_again: usize) -> Result<usize> {
    let mut deaths = 0;
    for count in 1..=MOST_COMMITS {
        let home = home(hub).await?;
        home.start().await?.stop().await?;
        let (key, fault) = (format!("{point}-{count}"), format!("{point}:{count}"));
        // What a start writes by itself is none of the steps.
        let Ok(mut daemon) = home.start_with(&[("MOOTHALL_FAULT_POINT", &fault)]).await else { continue };
        if drive(&Client::new(&daemon), &key).await.is_ok() {
            daemon.stop().await?;
            return Ok(deaths);
        }
        daemon.ended().await?;
        is_idle(hub).await?;
        deaths += 1;
        let daemon = home.start().await?;
        let client = Client::new(&daemon);
        let id = drive(&client, &key).await?;
        let steps = client.steps(&id).await?;
        ensure!(steps == STEPS, "{fault}: {steps:#?}");
        let times = times(hub, &id).await?;
        let again: usize = times.values().map(|times| times - 1).sum();
        ensure!(times.len() == 3 && again <= most_again, "{fault}: {times:?}");
        daemon.stop().await?;
    }
    anyhow::bail!("it makes more than {MOST_COMMITS} commits")
}

/// An answer that was on its way to the disk is asked for once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_any_step_is_written_loses_nothing() -> Result<()> {
    let deaths = die_everywhere(&Hub::start().await?, "before_commit", 1).await?;
    ensure!(deaths >= STEPS.len(), "{deaths}");
    Ok(())
}

/// One that is there never is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_after_any_step_was_written_loses_nothing_and_asks_for_nothing_again() -> Result<()> {
    let deaths = die_everywhere(&Hub::start().await?, "after_commit", 0).await?;
    ensure!(deaths >= STEPS.len(), "{deaths}");
    Ok(())
}
