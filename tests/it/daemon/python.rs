//! The client in Python, made from the wire tables alone: what it cannot read, no deployed client could.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::harness::LIMIT;

pub(super) const NEWER: &str = "fleet.orchestrator.v1";
pub(super) const OLDER: &str = "orchestrator.v1";

/// What a call came to.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) answers: Vec<Value>,
    pub(super) end: End,
}

#[derive(Debug, Deserialize)]
pub(super) struct End {
    /// As in gRPC: `OK`, `NOT_FOUND`, …
    pub(super) code: String,
    pub(super) details: Option<String>,
    pub(super) initial_metadata: BTreeMap<String, String>,
}

impl Reply {
    /// The one answer of a call that must succeed.
    pub(super) fn answer(mut self) -> Result<Value> {
        ensure!(self.end.code == "OK" && self.answers.len() == 1, "{self:?}");
        self.answers.pop().context("no answer")
    }
}

/// One call of one client.
pub(super) async fn call(daemon: SocketAddr, package: &str, rpc: &str, request: Value) -> Result<Reply> {
    let lines = run("client.py", &[&daemon.to_string(), package, rpc, &request.to_string()]).await?;
    let mut lines: Vec<&str> = lines.lines().collect();
    let end = serde_json::from_str(lines.pop().context("the client said nothing")?)?;
    Ok(Reply { answers: lines.into_iter().map(serde_json::from_str).collect::<Result<_, _>>()?, end })
}

/// Every call of both packages, health and reflection. What was seen.
pub(super) async fn story(daemon: SocketAddr) -> Result<Value> {
    Ok(serde_json::from_str(&run("story.py", &[&daemon.to_string()]).await?)?)
}

/// All that one does with an executor who has the tables and nothing else. What was seen.
pub(super) async fn executor(executor: SocketAddr, model: SocketAddr) -> Result<Value> {
    let (executor, model) = (executor.to_string(), format!("http://{model}"));
    Ok(serde_json::from_str(&run("executor.py", &[&executor, &model]).await?)?)
}

/// All that one does with REST workflows who has the contract and nothing else. What was seen.
pub(super) async fn workflows(daemon: SocketAddr) -> Result<Value> {
    Ok(serde_json::from_str(&run("workflows.py", &[&daemon.to_string()]).await?)?)
}

/// Somebody else's side of the events: what it saw.
pub(super) async fn events(server: &str, what: &str) -> Result<Value> {
    Ok(serde_json::from_str(&run("events.py", &[server, what]).await?)?)
}

async fn run(script: &str, arguments: &[impl AsRef<OsStr>]) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (python, scripts): (PathBuf, _) = (root.join("target/python/bin/python"), root.join("tests/wire"));
    ensure!(python.exists(), "the Python environment target/python is missing: run `make setup`");
    let child = Command::new(python)
        .arg("-B")
        .arg(scripts.join(script))
        .args(arguments)
        // A proxy of whoever runs the tests is not on the way to a loopback address.
        .env("no_grpc_proxy", "127.0.0.1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = timeout(LIMIT, child.wait_with_output()).await.context("the client is silent")??;
    ensure!(output.status.success(), "{script} ended with {}; its words are above", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
