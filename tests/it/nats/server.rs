//! A NATS server of its own: a child process at a place of its own, with its own folder, ended by its pid.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::consumer::pull::Config as Pull;
use async_nats::jetstream::consumer::{AckPolicy, Info as ConsumerInfo};
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, HeaderMap, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use moothall::nats::STREAMS;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use super::{LIMIT, millis, until};
use crate::place;

pub(crate) struct Server {
    folder: TempDir,
    address: SocketAddr,
    child: Option<Child>,
    other: OnceCell<Client>,
}

/// A stored message.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) id: Option<String>,
    headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl Stored {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }
}

impl Server {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with("").await
    }

    /// With more lines of configuration.
    pub(crate) async fn start_with(more: &str) -> Result<Self> {
        let mut server = Self::prepare(more)?;
        server.run().await?;
        Ok(server)
    }

    /// Not running yet.
    pub(crate) fn prepare(more: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let address = place::vacant();
        let server = Self { folder, address, child: None, other: OnceCell::new() };
        let config = format!(
            "listen: \"{address}\"\nmax_payload: 16MB\njetstream {{ store_dir: {:?}, sync_interval: always }}\n{more}\n",
            server.data()
        );
        std::fs::write(server.config(), config)?;
        Ok(server)
    }

    pub(crate) async fn run(&mut self) -> Result<()> {
        let log = std::fs::File::create(self.folder.path().join("log"))?;
        let child = Command::new(binary())
            .arg("-c")
            .arg(self.config())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be run", binary().display()))?;
        self.child = Some(child);
        let address = self.address;
        until("the server listens", async || Ok(tokio::net::TcpStream::connect(address).await.is_ok())).await
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("server.conf")
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        self.other.take();
        child.kill().await?;
        Ok(())
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.as_ref().and_then(Child::id).context("it does not run")?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Keeps its data of now; it must not run.
    pub(crate) fn snapshot(&self) -> Result<TempDir> {
        ensure!(self.child.is_none(), "it runs");
        let copy = TempDir::new()?;
        copy_folder(&self.data(), copy.path())?;
        Ok(copy)
    }

    /// Sets its data back; it must not run.
    pub(crate) fn restore(&self, snapshot: &TempDir) -> Result<()> {
        ensure!(self.child.is_none(), "it runs");
        std::fs::remove_dir_all(self.data())?;
        copy_folder(snapshot.path(), &self.data())
    }

    /// Somebody else's connection, one for the server's life: each look at a condition goes over it.
    pub(crate) async fn client(&self) -> Result<Client> {
        // What a test waits for must not end before the test's own limit does.
        let connect = || async_nats::ConnectOptions::new().connection_timeout(LIMIT).connect(self.url());
        Ok(self.other.get_or_try_init(connect).await?.clone())
    }

    pub(crate) async fn js(&self) -> Result<jetstream::Context> {
        Ok(ContextBuilder::new().timeout(LIMIT).build(self.client().await?))
    }

    /// All streams as Moothall makes them, but for a window for duplicates so short that it hides nothing.
    pub(crate) async fn make_streams(&self) -> Result<()> {
        let js = self.js().await?;
        for row in STREAMS {
            let config = stream::Config {
                name: row.name.into(),
                subjects: row.subjects.iter().map(|subject| (*subject).into()).collect(),
                duplicate_window: millis(100),
                ..stream::Config::default()
            };
            js.create_stream(config).await?;
        }
        Ok(())
    }

    /// Stored when this returns.
    pub(crate) async fn send(&self, subject: &str, payload: impl Into<Bytes>) -> Result<u64> {
        let js = self.js().await?;
        Ok(js.publish(subject.to_owned(), payload.into()).await?.await?.sequence)
    }

    /// Everything in a stream, in its order.
    pub(crate) async fn all(&self, stream: &str) -> Result<Vec<Stored>> {
        let js = self.js().await?;
        let config = Pull { ack_policy: AckPolicy::None, ..Pull::default() };
        let reader = js.create_consumer_on_stream(config, stream).await?;
        let count = usize::try_from(reader.cached_info().num_pending)?;
        let mut all = Vec::new();
        while all.len() < count {
            let mut batch = reader.fetch().max_messages(500).messages().await?;
            while let Some(message) = batch.next().await {
                let message = message.map_err(|error| anyhow::anyhow!(error))?;
                let headers = message.headers.clone().unwrap_or_default();
                let id = headers.get("Nats-Msg-Id").map(|id| id.as_str().to_owned());
                let subject = message.subject.to_string();
                all.push(Stored { subject, id, headers, payload: message.payload.clone() });
            }
        }
        Ok(all)
    }

    /// What consumers of this server are told from now on: acknowledgements, naks, progress.
    pub(crate) async fn acks(&self) -> Result<Subscriber> {
        let client = self.client().await?;
        let acks = client.subscribe("$JS.ACK.>").await?;
        // The server has heard of it when it has answered.
        client.flush().await?;
        Ok(acks)
    }

    pub(crate) async fn consumer(&self, stream: &str, name: &str) -> Result<ConsumerInfo> {
        let js = self.js().await?;
        let mut consumer = js.get_consumer_from_stream::<Pull, _, _>(name, stream).await?;
        Ok(consumer.info().await?.clone())
    }

    /// Nothing is left to deliver or to acknowledge.
    pub(crate) async fn settled(&self, stream: &str, name: &str) -> Result<()> {
        until(&format!("{name} is through"), async || {
            let info = self.consumer(stream, name).await?;
            Ok(info.num_pending == 0 && info.num_ack_pending == 0)
        })
        .await
    }
}

/// Where `NATS_SERVER` says, else the one of the test environment.
fn binary() -> PathBuf {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/nats-server");
    std::env::var_os("NATS_SERVER").map_or_else(|| here.into(), PathBuf::from)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
