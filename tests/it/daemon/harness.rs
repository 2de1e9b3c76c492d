//! Starts, asks and ends daemons, each with a folder of its own, so that tests can run beside each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use moothall::grpc::proto::fleet::orchestrator::v1::orchestrator_service_client::OrchestratorServiceClient;
use moothall::sim::{Answers, Behaviour, Latency, SimServer, SimSettings};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};

/// The longest that anything may take which is no limit of the daemon's own: two cores are shared by many tests.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

pub(super) type Orchestrator = OrchestratorServiceClient<Channel>;

/// A folder with a store, and the settings of the daemons that live in it one after the other.
pub(super) struct Home {
    folder: Arc<TempDir>,
    database: PathBuf,
    settings: BTreeMap<String, String>,
    /// Whether what daemons log goes to a file.
    logged: bool,
}

impl Home {
    /// One council, DEV with three agents, unless told otherwise.
    pub(super) fn new(model: SocketAddr) -> Result<Self> {
        let folder = Arc::new(tempfile::tempdir()?);
        let home = Self { database: folder.path().join("j.db"), folder, settings: BTreeMap::new(), logged: false };
        let backups = home.folder.path().join("backups").display().to_string();
        Ok(home
            .with("MOOTHALL__STORE__BACKUPS", backups)
            .with("BIND_ADDRESS", "127.0.0.1")
            .with("GRPC_PORT", "0")
            .with("HTTP_PORT", "0")
            .with("VLLM_URL", format!("http://{model}"))
            .with("VLLM_MODEL", "auto")
            .with("ENABLE_NATS", "false")
            .with("MOOTHALL__COUNCILS__ROLES", "DEV")
            .with("RUST_LOG", "warn"))
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(name.to_owned(), value.into());
        self
    }

    /// With its store in another place.
    pub(super) fn store_in(self, folder: &Path) -> Self {
        Self { database: folder.join("j.db"), ..self }
    }

    /// With a file for what its daemons log, see [`Home::log`].
    pub(super) fn logged(self) -> Self {
        Self { logged: true, ..self }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// All that was logged so far.
    pub(super) fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.log_file())?)
    }

    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moothall"));
        // Nothing of whoever runs the tests configures the daemon.
        let database = format!("sqlite:///{}", self.database.display());
        command.arg("serve").env_clear().envs(&self.settings).env("DATABASE_URL", database);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Waits until the daemon takes work.
    pub(super) async fn start(&self) -> Result<Daemon> {
        self.start_with(&[]).await
    }

    pub(super) async fn start_with(&self, more: &[(&str, &str)]) -> Result<Daemon> {
        let mut command = self.command();
        if self.logged {
            command.stderr(std::fs::File::options().create(true).append(true).open(self.log_file())?);
        }
        let mut child = command.envs(more.iter().copied()).spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let line = timeout(LIMIT, output.next_line()).await.context("the daemon was not ready in time")??;
        let Some(line) = line else { bail!("the daemon ended before it was ready: {}", child.wait().await?) };
        let field = |name: &str| {
            let fields = line.split_whitespace().filter_map(|field| field.split_once('='));
            fields.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.parse::<SocketAddr>())
        };
        ensure!(line.starts_with("ready "), "{line:?}");
        let grpc = field("grpc").context("no grpc address")??;
        let http = field("http").context("no http address")??;
        Ok(Daemon { child, grpc, http, _output: output, _folder: self.folder.clone() })
    }

    /// Starts a daemon that is to refuse its work: how it ended, and what it said.
    pub(super) async fn start_in_vain(&self) -> Result<(ExitStatus, String)> {
        let child = self.command().stderr(Stdio::piped()).spawn()?;
        let output = timeout(LIMIT, child.wait_with_output()).await.context("it did not end")??;
        ensure!(output.stdout.is_empty(), "it said that it was ready");
        Ok((output.status, String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

/// A daemon that takes work. Dropped, it is killed.
pub(super) struct Daemon {
    child: Child,
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    /// Kept open: a closed pipe would be the daemon's trouble.
    _output: Lines<BufReader<ChildStdout>>,
    /// Its store must not go before it.
    _folder: Arc<TempDir>,
}

impl Daemon {
    pub(super) fn endpoint(&self) -> Result<Endpoint> {
        Ok(Endpoint::from_shared(format!("http://{}", self.grpc))?.tcp_nodelay(true))
    }

    /// A connection of its own.
    pub(super) async fn channel(&self) -> Result<Channel> {
        Ok(self.endpoint()?.connect().await?)
    }

    pub(super) async fn client(&self) -> Result<Orchestrator> {
        Ok(OrchestratorServiceClient::new(self.channel().await?))
    }

    /// Status and body of a page.
    pub(super) async fn page(&self, path: &str) -> Result<(u16, String)> {
        page(self.http, path).await
    }

    /// Resident memory, in bytes.
    pub(super) async fn resident(&self) -> Result<u64> {
        let id = self.child.id().context("the daemon has ended")?;
        let mut text = String::new();
        tokio::fs::File::open(format!("/proc/{id}/statm")).await?.read_to_string(&mut text).await?;
        let pages: u64 = text.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(pages * u64::try_from(rustix::param::page_size())?)
    }

    /// SIGTERM.
    pub(super) fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(kill_process(id.context("the daemon has ended")?, signal)?)
    }

    /// SIGKILL: no goodbye.
    pub(super) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    pub(super) async fn ended(&mut self) -> Result<ExitStatus> {
        Ok(timeout(LIMIT, self.child.wait()).await.context("the daemon did not end")??)
    }

    /// SIGTERM, and exit code 0.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.terminate()?;
        let status = self.ended().await?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }
}

/// Status and body of any server's page.
pub(super) async fn page(server: SocketAddr, path: &str) -> Result<(u16, String)> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response = timeout(LIMIT, client.get(format!("http://{server}{path}").parse()?)).await??;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec())?))
}

/// A simulator that answers plain sentences after a while, and keeps all bodies.
pub(super) async fn simulator(latency: Duration) -> Result<SimServer> {
    let fixed_ms = u64::try_from(latency.as_millis())?;
    let behaviour = Behaviour { latency: Latency::Fixed { fixed_ms }, answers: Answers::Prose, ..Behaviour::default() };
    Ok(SimServer::start(SimSettings { behaviour, record: 10_000, ..SimSettings::default() }).await?)
}

/// Looks until there is what is looked for.
pub(super) async fn until<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "not within {limit:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The same for what the simulator counts at once.
pub(super) async fn until_in_flight(sim: &SimServer, calls: u64, limit: Duration) -> Result<()> {
    let look = || async { Ok((sim.stats().in_flight == calls).then_some(())) };
    until(&format!("{calls} calls in flight"), limit, look).await
}

/// The seed of this run, told so that it can be had again: `MOOTHALL_TEST_SEED`.
pub(super) fn seed() -> Result<u64> {
    let seed = match std::env::var("MOOTHALL_TEST_SEED") {
        Ok(text) => text.parse().context("MOOTHALL_TEST_SEED")?,
        Err(_) => rand::random(),
    };
    eprintln!("MOOTHALL_TEST_SEED={seed}");
    Ok(seed)
}
