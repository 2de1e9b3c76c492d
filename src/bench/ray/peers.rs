//! The same graph as others would run it: a script of the executor's, in its Python environment.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::timeout;

use super::RayPlan;
use crate::bench::BenchError;

/// Beyond the window: hundreds of processes are started, one after the other.
const STARTS_WITHIN: Duration = Duration::from_secs(600);
/// About as long as what the daemon asks.
const PROMPT_BYTES: &str = "2048";

/// One peer's figures, as it says them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Peer {
    pub kind: String,
    pub concurrency: usize,
    pub per_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub cpu_ms_per_deliberation: f64,
    pub rss_mib_peak: f64,
}

pub(super) struct Peers {
    python: PathBuf,
    script: PathBuf,
    model: String,
    window: Duration,
}

impl Peers {
    pub(super) fn new(plan: &RayPlan, model: &str) -> Self {
        let (python, script) = (plan.environment.join("python"), plan.peers.clone());
        Self { python, script, model: format!("http://{model}"), window: plan.window }
    }

    pub(super) async fn measure(&self, kind: &str, concurrency: usize) -> Result<Peer, BenchError> {
        let (seconds, at_once) = (self.window.as_secs_f64().to_string(), concurrency.to_string());
        let mut command = Command::new(&self.python);
        command.arg(&self.script).arg(kind).args(["--url", &self.model, "--concurrency", &at_once]);
        command.args(["--seconds", &seconds, "--warmup", "2", "--prompt-bytes", PROMPT_BYTES]);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let failed = |what: &str| BenchError::Call(format!("the peer {kind}: {what}"));
        let output = timeout(STARTS_WITHIN + self.window, child.wait_with_output()).await;
        let output = output.map_err(|_| failed("it does not end"))??;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it failed")));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let peer = serde_json::from_str(text.lines().last().unwrap_or_default());
        peer.map_err(|error| failed(&format!("its figures cannot be read: {error}")))
    }
}
