//! Starts, asks and ends real executors, each with a Ray of its own.
//!
//! An executor stays in the process group of its test: whatever ends that group ends the executor too, also where nothing
//! is dropped any more, and its Ray ends with it. Ray itself is in a session of its own, which is known by its leader.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use moothall::grpc::proto::fleet::ray_executor::v1::ray_executor_service_client::RayExecutorServiceClient;
use moothall::grpc::proto::fleet::ray_executor::v1::{GetStatusRequest, RayExecutorStats};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::super::harness::{LIMIT, until};
use super::process;
use crate::place;

/// For model servers; daemons have none.
pub(super) const KEY: &str = "sk-of-the-executor";
/// Six seconds where it is alone; more beside a compiler.
const START_LIMIT: Duration = Duration::from_secs(90);
/// What it allows itself, and some more.
const END_LIMIT: Duration = Duration::from_secs(40);
/// What is shown of its log when a test fails.
const LOG_LINES: usize = 30;

/// One that takes waves. Dropped, it is killed, and its Ray with it.
pub(super) struct Executor {
    child: Child,
    address: SocketAddr,
    /// Kept open: a closed pipe would be its trouble.
    _output: Lines<BufReader<ChildStdout>>,
    /// For its log, and for all that Ray writes.
    folder: TempDir,
    is_over: bool,
}

impl Executor {
    /// On a port that is free.
    pub(super) async fn start() -> Result<Self> {
        Self::start_at(place::any()).await
    }

    pub(super) async fn start_at(address: SocketAddr) -> Result<Self> {
        // Short: the path of a Unix socket has at most 107 characters.
        let folder = tempfile::Builder::new().prefix("r").tempdir()?;
        let mut child = command(address, folder.path())?.spawn()?;
        let output = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let mut executor = Self { child, address, _output: output, folder, is_over: false };
        let ready = timeout(START_LIMIT, executor._output.next_line());
        let Some(line) = ready.await.context("the executor was not ready in time")?? else {
            bail!("the executor ended before it was ready")
        };
        let grpc = line.split(' ').find_map(|field| field.strip_prefix("grpc="));
        ensure!(line.starts_with("ready "), "{line:?}");
        executor.address = grpc.context("no grpc address")?.parse()?;
        Ok(executor)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// To the service itself, not to its Ray.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        process::send(self.child.id().context("the executor has ended")?, signal)
    }

    /// The processes of its Ray whose command lines hold `name`.
    pub(super) fn of_ray(&self, name: &str) -> Vec<u32> {
        let found = process::in_sessions(&self.sessions()).into_iter();
        found.filter(|pid| process::command(*pid).contains(name)).collect()
    }

    fn sessions(&self) -> Vec<u32> {
        self.child.id().map(process::sessions_of).unwrap_or_default()
    }

    /// What it counted since it was started.
    pub(super) async fn stats(&self) -> Result<RayExecutorStats> {
        let mut client = RayExecutorServiceClient::connect(format!("http://{}", self.address)).await?;
        let status = timeout(LIMIT, client.get_status(GetStatusRequest { include_stats: true })).await??.into_inner();
        status.stats.context("no stats")
    }

    /// SIGKILL: no goodbye. Its Ray ends by itself; its address is free then.
    pub(super) async fn kill(mut self) -> Result<SocketAddr> {
        let sessions = self.sessions();
        self.child.kill().await?;
        let gone = until_gone(&sessions).await;
        process::kill_sessions(&sessions);
        self.is_over = gone.is_ok();
        gone.map(|()| self.address)
    }

    /// SIGTERM: exit code 0, and nothing is left of it.
    pub(super) async fn stop(mut self) -> Result<()> {
        let sessions = self.sessions();
        ensure!(!sessions.is_empty(), "it has no Ray");
        self.signal(Signal::TERM)?;
        let ended = timeout(END_LIMIT, self.child.wait()).await;
        let left = process::in_sessions(&sessions);
        process::kill_sessions(&sessions);
        let status = ended.context("the executor did not end")??;
        ensure!(status.success(), "the executor ended with {status}");
        ensure!(left.is_empty(), "{} processes of its Ray were left", left.len());
        self.is_over = true;
        Ok(())
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let sessions = self.sessions();
        // Whoever is gone already cannot be killed.
        let _gone = self.child.start_kill();
        process::kill_sessions(&sessions);
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        eprintln!("the end of the executor's log:\n{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
    }
}

fn program() -> Result<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ray-env/bin/ray-executor");
    ensure!(program.is_file(), "there is no {}: `make ray-env` makes it", program.display());
    Ok(program)
}

fn command(address: SocketAddr, folder: &Path) -> Result<Command> {
    let mut command = Command::new(program()?);
    // Nothing of whoever runs the tests configures it. The model servers of these tests are on loopback, which it may ask.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder);
    command.env("TMPDIR", folder).env("LOG_LEVEL", "WARNING").env("GRPC_PORT", address.port().to_string());
    command.env("BIND_ADDRESS", address.ip().to_string());
    command.env("VLLM_API_KEY", KEY);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(File::create(folder.join("log"))?).kill_on_drop(true);
    Ok(command)
}

async fn until_gone(sessions: &[u32]) -> Result<()> {
    let look = || async { Ok(process::in_sessions(sessions).is_empty().then_some(())) };
    until("nothing is left of its Ray", END_LIMIT, look).await
}
