//! Starts, watches and ends a real vLLM.

use std::fs::File;
use std::net::SocketAddr;
use std::ops::Sub;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};

use super::super::harness::{LIMIT, page, until};
use crate::place;

/// The name of the model that is served, and the key that is asked for.
pub(super) const MODEL: &str = "tiny";
pub(super) const KEY: &str = "sesame";

/// Half a minute where it is alone and its files were read before; some minutes beside a compiler.
const START_LIMIT: Duration = Duration::from_secs(600);
/// What is shown of its log when it does not start.
const LOG_LINES: usize = 20;
/// A prompt that is prefilled in pieces kills it, on CPU, when its request has a seed: no prompt is.
const UNDIVIDED: [&str; 3] = ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "32768"];

/// A server that answers. Dropped, it is killed.
pub(super) struct Vllm {
    child: Child,
    address: SocketAddr,
}

/// Tokens as the server counts them, over all its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) prompt: u64,
    pub(super) completion: u64,
}

impl Sub for Tokens {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { prompt: self.prompt - before.prompt, completion: self.completion - before.completion }
    }
}

impl Vllm {
    /// On a port that is free.
    pub(super) async fn start() -> Result<Self> {
        Self::start_at(place::vacant()).await
    }

    pub(super) async fn start_at(address: SocketAddr) -> Result<Self> {
        let (log, started) = (NamedTempFile::new()?, Instant::now());
        let child = command(address, log.as_file())?.spawn().context("run scripts/soak-deps first")?;
        let mut server = Self { child, address };
        let look = || {
            let ended = server.child.try_wait();
            async move {
                if let Some(status) = ended? {
                    bail!("it ended with {status}");
                }
                Ok(page(address, "/health").await.ok().filter(|(status, _)| *status == 200))
            }
        };
        until("vLLM serves", START_LIMIT, look).await.with_context(|| last_lines(log.path()))?;
        eprintln!("vLLM took {:.0} s to start", started.elapsed().as_secs_f64());
        Ok(server)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn tokens(&self) -> Result<Tokens> {
        let metrics = self.metrics().await?;
        let total = |name| sum(&metrics, name);
        Ok(Tokens { prompt: total("vllm:prompt_tokens_total")?, completion: total("vllm:generation_tokens_total")? })
    }

    /// Prompt tokens that the server looked up in its prefix cache, and those that were there.
    pub(super) async fn prefix_cache(&self) -> Result<(u64, u64)> {
        let metrics = self.metrics().await?;
        Ok((sum(&metrics, "vllm:prefix_cache_queries_total")?, sum(&metrics, "vllm:prefix_cache_hits_total")?))
    }

    /// Until so many requests run.
    pub(super) async fn until_running(&self, claim: impl Fn(u64) -> bool, limit: Duration) -> Result<()> {
        let look = || async {
            let running = sum(&self.metrics().await?, "vllm:num_requests_running")?;
            Ok(claim(running).then_some(()))
        };
        until("as many requests run as are expected", limit, look).await
    }

    /// SIGKILL, as when memory runs out. Its address is free then.
    pub(super) async fn kill(mut self) -> Result<SocketAddr> {
        kill_family(&self.child);
        tokio::time::timeout(LIMIT, self.child.wait()).await.context("it does not die")??;
        Ok(self.address)
    }

    async fn metrics(&self) -> Result<String> {
        let (status, body) = page(self.address, "/metrics").await?;
        ensure!(status == 200, "{status} {body}");
        Ok(body)
    }
}

impl Drop for Vllm {
    fn drop(&mut self) {
        kill_family(&self.child);
    }
}

fn command(address: SocketAddr, log: &File) -> Result<Command> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = Command::new(target.join("vllm-env/bin/python"));
    command.args(["-m", "vllm.entrypoints.openai.api_server", "--served-model-name", MODEL, "--api-key", KEY]);
    command.args(["--host", &host, "--port", &port, "--model"]).arg(target.join("vllm-model"));
    command.args(["--max-model-len", "8192", "--max-num-seqs", "16", "--dtype", "bfloat16", "--enforce-eager"]);
    command.args(UNDIVIDED).arg("--structured-outputs-config");
    command.arg(r#"{"backend":"xgrammar","disable_any_whitespace":true}"#);
    command.envs([("HF_HUB_OFFLINE", "1"), ("VLLM_NO_USAGE_STATS", "1"), ("DO_NOT_TRACK", "1")]);
    let folder = target.join("vllm-cache");
    command.env("VLLM_CPU_KVCACHE_SPACE", "1").env("VLLM_CACHE_ROOT", &folder).env("VLLM_CONFIG_ROOT", &folder);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).kill_on_drop(true);
    Ok(command)
}

/// Kills it and the processes it made: they would outlive it.
fn kill_family(child: &Child) {
    let Some(id) = child.id() else { return };
    for id in family(id) {
        if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            // Whoever is gone already cannot be killed.
            let _gone = kill_process(pid, Signal::KILL);
        }
    }
}

fn family(id: u32) -> Vec<u32> {
    let mut family = vec![id];
    let tasks = std::fs::read_dir(PathBuf::from(format!("/proc/{id}/task"))).into_iter().flatten().flatten();
    for task in tasks {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        family.extend(children.split_whitespace().filter_map(|child| child.parse().ok()).flat_map(self::family));
    }
    family
}

/// The values of a metric, over all its labels.
fn sum(metrics: &str, name: &str) -> Result<u64> {
    let values = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once(' '));
    let numbers: Vec<f64> = values.map(|(_, value)| value.parse()).collect::<Result<_, _>>()?;
    ensure!(!numbers.is_empty(), "there is no metric {name}");
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "they are whole and count up from zero"
    )]
    Ok(numbers.iter().sum::<f64>() as u64)
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    format!("the end of its log:\n{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
}
