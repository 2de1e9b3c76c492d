//! The daemon under load: a process of its own with a durable journal, asked over gRPC.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::BenchError;
use super::measure::{Sample, measure, peak_memory};
use crate::folder::TemporaryFolder;
use crate::grpc::codec::StrictCodec;
use crate::grpc::proto::fleet::orchestrator::v1::orchestrator_service_client::OrchestratorServiceClient;
use crate::grpc::proto::fleet::orchestrator::v1::{DeliberateRequest, TaskConstraints};
use crate::grpc::proto::moothall::v1::StatsRequest;
use crate::grpc::proto::moothall::v1::journal_service_client::JournalServiceClient;
use crate::process::Process;

/// Workers that share a connection: a client has one for all its calls, and servers commonly let it have a hundred or so open.
const WORKERS_A_CHANNEL: usize = 128;
/// Connections at most: a client machine has few.
const CHANNELS: usize = 8;
const DESCRIPTION: &str = "Write a Python function that parses a duration such as 1h30m.";
const DELIBERATE: &str = "/fleet.orchestrator.v1.OrchestratorService/Deliberate";
/// One answer in so many is read.
const READ_EVERY: u64 = 64;
/// Deliberations before anything is measured: connections open, caches fill.
const WARM_UP: usize = 64;

pub(super) struct Daemon {
    process: Process,
    channels: Vec<Channel>,
    next: Arc<AtomicU64>,
    work: Work,
    _folder: TemporaryFolder,
}

/// What the daemon is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// The same deliberation again and again.
    Deliberation,
    /// Each has a prefix of its own, with this in it.
    Prefixes(&'static str),
    /// Proposals alone.
    OneWave,
}

impl Daemon {
    /// Starts a daemon with a fresh store on disk, three agents, and the simulators at `models` as its model servers.
    pub(super) async fn start(models: &[&str], checks: bool, more: &[(&str, &str)]) -> Result<Self, BenchError> {
        let folder = TemporaryFolder::new()?;
        let database = format!("sqlite:///{}", folder.path().join("bench.db").display());
        let urls: Vec<_> = models.iter().map(|model| format!("http://{model}")).collect();
        let environment = [
            ("GRPC_PORT", "0"),
            ("HTTP_PORT", "0"),
            ("BIND_ADDRESS", "127.0.0.1"),
            ("DATABASE_URL", database.as_str()),
            ("VLLM_URL", &urls.join(",")),
            ("VLLM_MODEL", "auto"),
            ("ENABLE_NATS", "false"),
            ("RUST_LOG", "warn"),
            ("MOOTHALL__COUNCILS__ROLES", "DEV"),
            ("MOOTHALL__CHECKS__ENABLED", if checks { "true" } else { "false" }),
        ];
        let process = Process::start(&["serve"], &[&environment, more].concat()).await?;
        let address = format!("http://{}", process.told("grpc")?);
        let endpoint = Endpoint::from_shared(address).map_err(|error| BenchError::Call(error.to_string()))?;
        let channels = (0..CHANNELS).map(|_| endpoint.clone().tcp_nodelay(true).connect_lazy()).collect();
        Ok(Self { process, channels, next: Arc::default(), work: Work::Deliberation, _folder: folder })
    }

    /// From now on this.
    pub(super) fn doing(self, work: Work) -> Self {
        Self { work, ..self }
    }

    pub(super) async fn warm_up(&self) -> Result<(), BenchError> {
        let mut deliberate = self.worker(0);
        for _ in 0..WARM_UP {
            deliberate().await?;
        }
        Ok(())
    }

    pub(super) async fn measure(&self, concurrency: usize, window: Duration) -> Result<Sample, BenchError> {
        measure(concurrency, window, self.pid()?, |number| self.worker(number)).await
    }

    /// Deliberates so many times.
    pub(super) async fn repeat(&self, concurrency: usize, times: u64) -> Result<(), BenchError> {
        let left = Arc::new(AtomicU64::new(times));
        let worker = async |number| {
            let mut deliberate = self.worker(number);
            let one_more = |left: u64| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok() {
                deliberate().await?;
            }
            Ok(())
        };
        futures::future::try_join_all((0..concurrency).map(worker)).await.map(drop)
    }

    pub(super) fn peak_memory(&self) -> u64 {
        self.process.pid().map(peak_memory).unwrap_or_default()
    }

    pub(super) fn pid(&self) -> Result<u32, BenchError> {
        self.process.pid().ok_or_else(|| BenchError::Call("the daemon has ended".to_owned()))
    }

    /// Deliberations that are admitted and not over.
    pub(super) async fn open_tasks(&self) -> Result<usize, BenchError> {
        let mut client = JournalServiceClient::new(self.channels[0].clone());
        let stats = client.stats(StatsRequest {}).await.map_err(|status| BenchError::Call(status.to_string()))?;
        Ok(usize::try_from(stats.into_inner().open_tasks).unwrap_or_default())
    }

    pub(super) fn worker(&self, number: usize) -> impl FnMut() -> WorkerCall + Send + 'static + use<> {
        let channel = self.channels[number / WORKERS_A_CHANNEL % CHANNELS].clone();
        let (next, work) = (self.next.clone(), self.work);
        move || {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let request = work.request(number);
            let channel = channel.clone();
            Box::pin(async move {
                match number.is_multiple_of(READ_EVERY) {
                    true => read(channel, request).await,
                    false => leave_unread(channel, request).await,
                }
            })
        }
    }
}

impl Work {
    fn request(self, number: u64) -> DeliberateRequest {
        let description = match self {
            Self::Prefixes(name) => format!("{DESCRIPTION} Case {name} {number}."),
            Self::Deliberation | Self::OneWave => DESCRIPTION.to_owned(),
        };
        let one_wave = || TaskConstraints {
            metadata: [("rounds".to_owned(), "none".to_owned())].into(),
            ..TaskConstraints::default()
        };
        DeliberateRequest {
            task_id: format!("bench-{number:08}"),
            task_description: description,
            role: "DEV".to_owned(),
            constraints: matches!(self, Self::OneWave).then(one_wave),
            ..DeliberateRequest::default()
        }
    }
}

/// What is measured must be what was asked for.
async fn read(channel: Channel, request: DeliberateRequest) -> Result<(), BenchError> {
    let answer = OrchestratorServiceClient::new(channel).deliberate(request).await.map_err(failed)?;
    match answer.into_inner().results.len() {
        3 => Ok(()),
        other => Err(BenchError::Call(format!("{other} results instead of 3"))),
    }
}

type WorkerCall = std::pin::Pin<Box<dyn Future<Output = Result<(), BenchError>> + Send>>;

/// Passes over the answer's fields, as the floor does over its answers' bodies: the client shares the machine with what it
/// measures.
async fn leave_unread(channel: Channel, request: DeliberateRequest) -> Result<(), BenchError> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| BenchError::Call(error.to_string()))?;
    let (path, codec) = (PathAndQuery::from_static(DELIBERATE), StrictCodec::<DeliberateRequest, ()>::default());
    client.unary(Request::new(request), path, codec).await.map(drop).map_err(failed)
}

fn failed(status: Status) -> BenchError {
    BenchError::Call(status.to_string())
}
