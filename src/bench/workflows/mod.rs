//! `moothall bench workflows`: REST over a durable store, and what a hundred thousand workflows that wait cost.
//!
//! ```text
//!  get       GET /workflows/{id}                                      64 connections, a thousand workflows
//!  create    POST /workflows, then its agent_complete, each durable    64 connections
//!  waiting   start-up and memory with 100,000 that wait                over the same with an empty store
//! ```

mod waiting;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;

use self::wire::Connection;
use super::BenchError;
use super::home::Home;
use super::measure::{Sample, measure};
use crate::process::Process;

/// Those that are read.
const READ: usize = 1_000;

/// How much to do.
#[derive(Clone, Debug)]
pub struct WorkflowsPlan {
    pub connections: usize,
    /// How long each measurement takes.
    pub window: Duration,
    pub waiting: usize,
}

/// Requests in a second, and how long one takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RequestRate {
    pub per_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Of the daemon, each.
    pub cpu_us: f64,
}

/// What those that wait add to a daemon with an empty store.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct WaitingCost {
    pub workflows: usize,
    /// From the start of the process until it says that it is ready.
    pub start_ms: f64,
    pub empty_start_ms: f64,
    /// Resident memory for each.
    pub bytes_each: f64,
    /// The same where each has a deadline.
    pub with_deadline_bytes_each: f64,
    pub with_deadline_start_ms: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct WorkflowsReport {
    pub version: &'static str,
    pub cores: usize,
    pub connections: usize,
    pub get: RequestRate,
    /// A creation and its step are two requests.
    pub create_and_advance: RequestRate,
    pub waiting: WaitingCost,
}

pub async fn workflows(plan: &WorkflowsPlan) -> Result<WorkflowsReport, BenchError> {
    let home = Home::new("0").await?;
    let daemon = home.start(&[("WORKFLOW_DISPATCH", "manual")]).await?;
    let address: SocketAddr = daemon.told("http")?.parse().map_err(|error| failed(&error))?;
    let create_and_advance = rate(&create_and_advance(plan, &daemon, address).await?);
    let get = rate(&get(plan, &daemon, address).await?);
    daemon.stop().await?;
    Ok(WorkflowsReport {
        version: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        connections: plan.connections,
        get,
        create_and_advance,
        waiting: waiting::cost(plan.waiting).await?,
    })
}

fn rate(sample: &Sample) -> RequestRate {
    let millis = |share| sample.percentile(share).as_secs_f64() * 1e3;
    let cpu_us = sample.cpu_each().as_secs_f64() * 1e6;
    RequestRate { per_s: sample.per_second(), p50_ms: millis(0.5), p99_ms: millis(0.99), cpu_us }
}

fn failed(error: &dyn std::fmt::Display) -> BenchError {
    BenchError::Call(error.to_string())
}

fn pid(daemon: &Process) -> Result<u32, BenchError> {
    daemon.pid().ok_or_else(|| BenchError::Call("the daemon has ended".to_owned()))
}

const CREATION: &str = r#"{"workflow_type":"specify","feature_description":"Add user authentication with OAuth2","context":{"priority":"P1"}}"#;
const COMPLETION: &str = r#"{"trigger":"agent_complete","phase_result":{"content":"the draft of a specification"}}"#;

async fn create(connection: &mut Connection) -> Result<String, BenchError> {
    let answer = connection.post("/workflows", CREATION).await?.expect(201)?;
    let workflow: serde_json::Value = serde_json::from_slice(&answer).map_err(|error| failed(&error))?;
    let id = workflow.get("id").and_then(serde_json::Value::as_str);
    id.map(str::to_owned).ok_or_else(|| BenchError::Call("a workflow without an id".to_owned()))
}

async fn create_and_advance(plan: &WorkflowsPlan, daemon: &Process, address: SocketAddr) -> Result<Sample, BenchError> {
    measure(plan.connections, plan.window, pid(daemon)?, |_| {
        let client = Arc::new(tokio::sync::Mutex::new((Connection::new(address), None::<String>)));
        move || {
            let client = client.clone();
            async move {
                let (connection, created) = &mut *client.lock().await;
                match created.take() {
                    None => *created = Some(create(connection).await?),
                    Some(id) => {
                        let path = format!("/workflows/{id}/advance");
                        connection.post(&path, COMPLETION).await?.expect(200)?;
                    }
                }
                Ok(())
            }
        }
    })
    .await
}

async fn get(plan: &WorkflowsPlan, daemon: &Process, address: SocketAddr) -> Result<Sample, BenchError> {
    let mut first = Connection::new(address);
    let mut ids = Vec::with_capacity(READ);
    for _ in 0..READ {
        ids.push(create(&mut first).await?);
    }
    let (ids, next) = (Arc::new(ids), Arc::new(AtomicUsize::new(0)));
    measure(plan.connections, plan.window, pid(daemon)?, |_| {
        let connection = Arc::new(tokio::sync::Mutex::new(Connection::new(address)));
        let (ids, next) = (ids.clone(), next.clone());
        move || {
            let connection = connection.clone();
            let id = ids[next.fetch_add(1, Ordering::Relaxed) % READ].clone();
            async move { connection.lock().await.get(&format!("/workflows/{id}")).await?.expect(200).map(drop) }
        }
    })
    .await
}
