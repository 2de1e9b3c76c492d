//! A store in which the program before left its workflows: they go on here.

use std::time::Duration;

use anyhow::{Result, ensure};
use rusqlite::Connection;
use serde_json::json;

use super::stand::Client;
use crate::daemon::harness::{Home, simulator};

const TABLES: &str = "CREATE TABLE workflows (id TEXT PRIMARY KEY, workflow_type TEXT NOT NULL, \
     status TEXT NOT NULL DEFAULT 'pending', feature_id TEXT NOT NULL, feature_description TEXT NOT NULL, \
     current_phase TEXT, context TEXT, result TEXT, error TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, \
     completed_at TEXT); \
     CREATE TABLE workflow_history (id TEXT PRIMARY KEY, workflow_id TEXT NOT NULL REFERENCES workflows(id), \
     from_status TEXT NOT NULL, to_status TEXT NOT NULL, trigger TEXT NOT NULL, metadata TEXT, created_at TEXT NOT NULL); \
     CREATE INDEX ix_workflows_status ON workflows (status)";

/// Each stands somewhere else, and what takes it to its end from there.
const WORKFLOWS: [(&str, &str, Option<&str>, &[&str]); 4] = [
    ("00000000-0000-4000-8000-000000000001", "pending", None, &["agent_complete", "human_approved"]),
    ("00000000-0000-4000-8000-000000000002", "in_progress", Some("phase_1"), &["agent_complete", "human_approved"]),
    ("00000000-0000-4000-8000-000000000003", "waiting_approval", Some("phase_1"), &["human_approved"]),
    ("00000000-0000-4000-8000-000000000004", "completed", Some("phase_2"), &[]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_of_the_program_before_go_on_here_and_are_taken_over_once() -> Result<()> {
    let home = Home::new(simulator(Duration::ZERO).await?.addr())?.with("WORKFLOW_DISPATCH", "manual");
    let earlier = Connection::open(home.database())?;
    earlier.execute_batch(TABLES)?;
    for (number, (id, status, phase, _)) in (1..).zip(WORKFLOWS) {
        earlier.execute(
            "INSERT INTO workflows VALUES (?1, 'specify', ?2, ?3, 'Sign in with a key', ?4, '{\"priority\": \"P1\"}', NULL, \
             NULL, '2026-01-02 03:04:05.123456', '2026-01-02 03:04:06', NULL)",
            (id, status, format!("{number:03}-sign-in"), phase),
        )?;
        earlier.execute(
            "INSERT INTO workflow_history VALUES (?1, ?2, 'pending', 'in_progress', 'start', NULL, '2026-01-02 03:04:05')",
            (format!("h-{number}"), id),
        )?;
    }
    drop(earlier);
    home.start().await?.stop().await?;
    let daemon = home.start().await?;
    let client = Client::new(&daemon);
    for (id, _, _, first) in WORKFLOWS {
        let before = client.workflow(id).await?;
        ensure!(
            before["created_at"] == "2026-01-02T03:04:05.123Z" && before["context"]["priority"] == "P1",
            "{before}"
        );
        ensure!(client.steps(id).await?.len() <= 2, "it was taken over once");
        let second: &[&str] = if first.is_empty() { &[] } else { &["agent_complete", "human_approved"] };
        for trigger in [first, second].concat() {
            client.decide(id, trigger, "on").await?;
        }
        ensure!(client.workflow(id).await?["status"] == "completed");
    }
    let body = json!({ "workflow_type": "specify", "feature_description": "Sign out again" });
    let (_, created) = client.post("/workflows", &body, None).await?;
    ensure!(created["feature_id"] == "005-sign-out-again", "{created}");
    daemon.stop().await
}
