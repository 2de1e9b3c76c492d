//! A hub of somebody else, and a client that drives workflows.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::daemon::harness::{Daemon, Home, LIMIT, simulator, until};

/// In Python, made from the contract alone; ends with its standard input.
pub(super) struct Hub {
    _child: Child,
    pub(super) address: SocketAddr,
}

impl Hub {
    pub(super) async fn start() -> Result<Self> {
        // Whoever chose one before keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (python, script): (PathBuf, _) = (root.join("target/python/bin/python"), root.join("tests/wire/hub.py"));
        ensure!(python.exists(), "the Python environment target/python is missing: run `make setup`");
        let mut command = Command::new(python);
        command.arg("-B").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let line = timeout(LIMIT, lines.next_line()).await.context("the hub is silent")??.context("the hub ended")?;
        let address = line.strip_prefix("ready http=").context("what the hub says")?.parse()?;
        Ok(Self { _child: child, address })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked, in order: the key, and all that came with it.
    pub(super) async fn seen(&self) -> Result<Vec<Value>> {
        let seen: Value = reqwest::get(format!("{}/seen", self.url())).await?.json().await?;
        Ok(seen["seen"].as_array().context("no list")?.clone())
    }

    /// How often it was asked under this key.
    pub(super) async fn times(&self, key: &str) -> Result<usize> {
        Ok(self.seen().await?.iter().filter(|asked| asked["key"] == key).count())
    }
}

/// A daemon's home without models that answer: only the hub does.
pub(super) async fn home(hub: &Hub) -> Result<Home> {
    Ok(Home::new(simulator(Duration::ZERO).await?.addr())?.with("AGENT_HUB_URL", hub.url()))
}

/// Asks one daemon.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    pub(super) fn new(daemon: &Daemon) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { http: reqwest::Client::new(), base: format!("http://{}", daemon.http) }
    }

    /// Status and document.
    pub(super) async fn get(&self, path: &str) -> Result<(u16, Value)> {
        let answer = self.http.get(format!("{}{path}", self.base)).timeout(LIMIT).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    pub(super) async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Result<(u16, Value)> {
        let mut request = self.http.post(format!("{}{path}", self.base)).json(body).timeout(LIMIT);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// With these words for the hub, see `hub.py`.
    pub(super) async fn create(&self, words: &[&str]) -> Result<String> {
        self.create_with(&json!({ "hub": words })).await
    }

    pub(super) async fn create_with(&self, context: &Value) -> Result<String> {
        let body =
            json!({ "workflow_type": "specify", "feature_description": "Sign in with a key", "context": context });
        let (status, created) = self.post("/workflows", &body, None).await?;
        ensure!(status == 201, "{status}: {created}");
        Ok(created["id"].as_str().context("no id")?.to_owned())
    }

    pub(super) async fn workflow(&self, id: &str) -> Result<Value> {
        let (status, workflow) = self.get(&format!("/workflows/{id}")).await?;
        ensure!(status == 200, "{status}: {workflow}");
        Ok(workflow)
    }

    pub(super) async fn advance(&self, id: &str, body: Value) -> Result<(u16, Value)> {
        self.post(&format!("/workflows/{id}/advance"), &body, None).await
    }

    /// One that must succeed.
    pub(super) async fn decide(&self, id: &str, trigger: &str, reason: &str) -> Result<Value> {
        let body = json!({ "trigger": trigger, "actor": "ann", "reason": reason });
        let (status, workflow) = self.advance(id, body).await?;
        ensure!(status == 200, "{trigger}: {status}: {workflow}");
        Ok(workflow)
    }

    /// As soon as it stands so.
    pub(super) async fn until(&self, id: &str, status: &str) -> Result<Value> {
        let look = || async {
            let workflow = self.workflow(id).await?;
            Ok((workflow["status"] == status).then_some(workflow))
        };
        until(&format!("workflow {id} is {status}"), LIMIT, look).await
    }

    /// Every step: from, to, by what, in which phase and attempt.
    pub(super) async fn steps(&self, id: &str) -> Result<Vec<String>> {
        let (_, answer) = self.get(&format!("/workflows/{id}/history")).await?;
        let steps = answer["history"].as_array().context("no history")?;
        let text = |step: &Value, name: &str| step[name].as_str().unwrap_or_default().to_owned();
        let line = |step: &Value| {
            let names = ["from", "to", "trigger", "phase"];
            format!("{} {}", names.map(|name| text(step, name)).join(" "), step["attempt"])
        };
        Ok(steps.iter().map(line).collect())
    }
}
