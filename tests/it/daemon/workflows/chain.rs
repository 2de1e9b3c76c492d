//! A chain from a specification to its implementation, by the councils of the daemon itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::stand::Client;
use crate::daemon::harness::{Home, simulator};

/// A task list as people write it; approved in the place of what the simulated council says.
const TASKS: &str = "# Tasks: Sign in\n\n## Phase 1: Setup\n\n- [ ] T001 Create the project in src/main.py\n\n\
                     ## Phase 2: Foundational\n\n- [ ] T002 [P] Write the model in src/model.py\n\
                     - [ ] T003 [P] Write the view in src/view.py\n";

async fn approved(client: &Client, id: &str, content: Option<&str>) -> Result<Value> {
    let mut done = Value::Null;
    for _ in 0..2 {
        client.until(id, "waiting_approval").await?;
        let mut body = json!({ "trigger": "human_approved", "actor": "ann" });
        if let Some(content) = content {
            body["phase_result"] = json!({ "content": content });
        }
        let (status, told) = client.advance(id, body).await?;
        ensure!(status == 200, "{told}");
        done = told;
    }
    ensure!(done["status"] == "completed", "{done}");
    Ok(done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_ends_with_the_tasks_of_its_plan_carried_out() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?.with("MOOTHALL__COUNCILS__ROLES", "DEV,QA,ARCHITECT");
    let daemon = home.start().await?;
    let client = Client::new(&daemon);
    let mut id = client.create_with(&json!({ "chain": ["specify", "plan", "tasks", "implement"] })).await?;
    let mut features = Vec::new();
    for workflow_type in ["specify", "plan", "tasks", "implement"] {
        let now = client.workflow(&id).await?;
        ensure!(now["workflow_type"] == workflow_type, "{now}");
        features.push(now["feature_id"].clone());
        let done = approved(&client, &id, (workflow_type == "tasks").then_some(TASKS)).await?;
        match done["next"].as_str() {
            Some(next) => id = next.to_owned(),
            None => ensure!(workflow_type == "implement", "{done}"),
        }
    }
    ensure!(features.iter().all(|feature| *feature == features[0]), "{features:?}");
    let (_, artifacts) = client.get(&format!("/workflows/{id}/artifacts")).await?;
    let executed = &artifacts["artifacts"][0]["content"];
    ensure!(executed["completed"] == 3 && executed["failed"] == 0, "{executed}");
    let tasks = executed["tasks"].as_array().context("no tasks")?;
    ensure!(tasks.len() == 3 && tasks.iter().all(|task| task["status"] == "completed"), "{executed}");
    daemon.stop().await
}
