//! One runner: its connection, what it says of itself, and one exchange with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use metrics::{Counter, counter};
use moothall_actors::domain::id::Stage;
use moothall_actors::ports::ModelCall;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use super::address::RunnerAddress;
use super::request;
use super::settings::RunnerSettings;
use super::status::trouble;
use super::updates::{Reading, Taken};
use crate::config::Secret;
use crate::error::cut;
use crate::grpc::proto::moothall::v1::{DescribeRequest, DescribeResponse, RunRequest, RunUpdate};
use crate::line::Dialer;
use crate::vllm::{Completion, Connector, Load, MAX_TEXT, Standing, Trouble, place_of};

const DESCRIBE: &str = "/moothall.v1.AgentRunner/Describe";
const RUN: &str = "/moothall.v1.AgentRunner/Run";
const AGENT: &str = concat!("moothall/", env!("CARGO_PKG_VERSION"));

/// How long a runner may take to say who it is, and how long that holds: one that came back in between may be another.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);
const DESCRIBED_FOR: Duration = Duration::from_secs(60);
/// Longest name or version, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// A connection with open calls that brings nothing for so long is asked for a sign of life, and is closed when there
/// is none: 30 s until a peer that is gone is noticed. Not sooner: servers built on gRPC's own libraries close a
/// connection at the fourth such question without data in between, so that a call may be silent for three of them.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVES_IN_SILENCE: u32 = 3;
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);

/// The longest answer, with its names and lengths; longer ones are not even read.
const MAX_MESSAGE: usize = MAX_TEXT + 64 * 1024;
/// The runner is told a little more time than there is: who gives up first is this side, which knows why.
const GRACE: Duration = Duration::from_millis(250);
/// How long the end of a stream is waited for after its result: reset before, it would look like a cancelled call.
const GOODBYE: Duration = Duration::from_secs(1);

pub(super) struct Runner {
    pub(super) load: Load,
    channel: Channel,
    key: Option<Secret>,
    bearer: Option<MetadataValue<Ascii>>,
    known: Mutex<Option<Arc<Described>>>,
    /// Held by the one that asks who it is; the others wait for its answer.
    learning: tokio::sync::Mutex<()>,
    progress: Counter,
    dropped: Counter,
}

/// What a runner says of itself.
struct Described {
    name: String,
    stages: Vec<i32>,
    most: usize,
    /// As many as it takes at once.
    places: Arc<Semaphore>,
    since: Instant,
    /// It failed since: another one may have taken its place.
    doubted: AtomicBool,
}

impl Runner {
    /// Nothing is connected yet.
    pub(super) fn new(
        address: RunnerAddress,
        connector: &Connector,
        settings: &RunnerSettings,
    ) -> Result<Self, &'static str> {
        let key = settings.key_for(&address).cloned();
        let bearer = key.as_ref().map(|key| MetadataValue::try_from(format!("Bearer {}", key.reveal())));
        let mut bearer = bearer.transpose().map_err(|_| "has a key that no metadata can carry")?;
        bearer.iter_mut().for_each(|value| value.set_sensitive(true));
        let endpoint =
            Endpoint::from_shared(address.url().as_str().to_owned()).map_err(|_| "cannot be connected to")?;
        let endpoint = endpoint.user_agent(AGENT).map_err(|_| "cannot be connected to")?;
        let channel = endpoint
            .http2_keep_alive_interval(KEEPALIVE.max(settings.silence / KEEPALIVES_IN_SILENCE))
            .keep_alive_timeout(KEEPALIVE_ANSWER)
            .connect_with_connector_lazy(Dialer(connector.clone()));
        let shown = address.shown();
        let told =
            |outcome| counter!("moothall_runner_progress_total", "runner" => shown.to_string(), "outcome" => outcome);
        Ok(Self {
            load: Load::new(shown, (settings.calls_per_runner, settings.waiting_per_runner), settings.breaker),
            channel,
            key,
            bearer,
            known: Mutex::default(),
            learning: tokio::sync::Mutex::default(),
            progress: told("taken"),
            dropped: told("dropped"),
        })
    }

    /// Asks once.
    pub(super) async fn ask(
        &self,
        call: &ModelCall,
        settings: &RunnerSettings,
        deadline: tokio::time::Instant,
    ) -> Result<Completion, Trouble> {
        let known = self.described(settings).await?;
        known.takes(call.stage())?;
        let _place = place_of(&known.places, deadline).await?;
        let outcome = self.run(call, settings, deadline).await;
        if outcome.as_ref().is_err_and(|trouble| trouble.standing == Standing::Failed) {
            known.doubted.store(true, Ordering::Relaxed);
        }
        let named = || Some(if call.model.is_empty() { known.name.as_str().into() } else { call.model.clone() });
        outcome.map(|completion| Completion { model: completion.model.or_else(named), ..completion })
    }

    async fn run(
        &self,
        call: &ModelCall,
        settings: &RunnerSettings,
        deadline: tokio::time::Instant,
    ) -> Result<Completion, Trouble> {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let mut request = self.request(request::request(call, settings, left));
        request.set_timeout(left + GRACE);
        let silent = |_| silent(settings.silence);
        let mut updates = timeout(settings.silence, self.open(request)).await.map_err(silent)??;
        let mut reading = Reading::new(settings.progress_per_second);
        loop {
            let next = timeout(settings.silence, updates.message()).await.map_err(silent)?;
            let Some(update) = next.map_err(|status| self.trouble(&status))? else {
                return Err(Trouble::transient("its stream ended without a result"));
            };
            match reading.take(update, Instant::now())? {
                Taken::Answer(completion) => {
                    let _ = timeout(GOODBYE, updates.message()).await;
                    return Ok(completion);
                }
                Taken::Progress(text) => {
                    self.progress.increment(1);
                    tracing::debug!(call = %call.id, progress = ?text, "a runner is at work");
                }
                Taken::Dropped => self.dropped.increment(1),
                Taken::Alive => {}
            }
        }
    }

    async fn open(&self, request: Request<RunRequest>) -> Result<Streaming<RunUpdate>, Trouble> {
        let mut grpc = self.ready().await?;
        let codec = ProstCodec::<RunRequest, RunUpdate>::default();
        let opened = grpc.server_streaming(request, PathAndQuery::from_static(RUN), codec).await;
        opened.map(tonic::Response::into_inner).map_err(|status| self.trouble(&status))
    }

    /// Who it is, asked unless that is known.
    async fn described(&self, settings: &RunnerSettings) -> Result<Arc<Described>, Trouble> {
        let known = || self.lock_known().clone().filter(|known| known.holds());
        if let Some(known) = known() {
            return Ok(known);
        }
        let _one = self.learning.lock().await;
        if let Some(known) = known() {
            return Ok(known);
        }
        let asked = timeout(DESCRIBE_TIMEOUT, self.describe()).await;
        let said = asked.unwrap_or_else(|_| Err(Trouble::silent("does not say in time who it is")))?;
        let described = Arc::new(Described::new(said, settings.calls_per_runner, self.lock_known().as_deref()));
        *self.lock_known() = Some(Arc::clone(&described));
        Ok(described)
    }

    async fn describe(&self) -> Result<DescribeResponse, Trouble> {
        let mut grpc = self.ready().await?;
        let mut request = self.request(DescribeRequest {});
        request.set_timeout(DESCRIBE_TIMEOUT);
        let codec = ProstCodec::<DescribeRequest, DescribeResponse>::default();
        let answered = grpc.unary(request, PathAndQuery::from_static(DESCRIBE), codec).await;
        answered.map(tonic::Response::into_inner).map_err(|status| self.trouble(&status))
    }

    /// A client with a codec of tonic's own: what cannot be decoded is the runner's fault here, not the caller's.
    async fn ready(&self) -> Result<Grpc<Channel>, Trouble> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let ready = grpc.ready().await;
        ready.map_err(|error| self.trouble(&tonic::Status::from_error(Box::new(error))))?;
        Ok(grpc)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        request
    }

    fn trouble(&self, status: &tonic::Status) -> Trouble {
        trouble(status, self.key.as_ref().map(Secret::reveal))
    }

    fn lock_known(&self) -> MutexGuard<'_, Option<Arc<Described>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that was silent for so long is not asked again for this call: its wave waits for it.
fn silent(limit: Duration) -> Trouble {
    Trouble::out_of_time(Standing::Failed, format!("silent for {limit:?}"))
}

impl Described {
    /// Places that are taken stay taken when it says the same as before.
    fn new(said: DescribeResponse, most_allowed: usize, before: Option<&Self>) -> Self {
        let own = usize::try_from(said.max_concurrent).unwrap_or(usize::MAX);
        let most = if own == 0 { most_allowed } else { own.min(most_allowed) }.clamp(1, Semaphore::MAX_PERMITS);
        let kept = before.filter(|before| before.most == most).map(|before| Arc::clone(&before.places));
        let plain = |text: &str| cut(text.replace(char::is_control, "").trim(), MAX_NAME_BYTES);
        let (name, version) = (plain(&said.name), plain(&said.version));
        tracing::debug!(?name, ?version, most, "a runner said who it is");
        Self {
            name,
            stages: said.stages,
            most,
            places: kept.unwrap_or_else(|| Arc::new(Semaphore::new(most))),
            since: Instant::now(),
            doubted: AtomicBool::new(false),
        }
    }

    fn holds(&self) -> bool {
        !self.doubted.load(Ordering::Relaxed) && self.since.elapsed() < DESCRIBED_FOR
    }

    fn takes(&self, stage: Stage) -> Result<(), Trouble> {
        if self.stages.is_empty() || self.stages.contains(&request::stage(stage).into()) {
            return Ok(());
        }
        Err(Trouble::refused(format!("does not take calls of stage {stage}")))
    }
}
