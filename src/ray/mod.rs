//! The Ray executor's client: waves of calls that are made on a cluster.
//!
//! ```text
//!  wave ─▶ which server, which model (as a call from here) ─▶ ExecuteDeliberation ─▶ its name ─▶ follow ─▶ outcomes
//!               ▲                                                   │                             ▲  ▲  ▲
//!               └── wait, while it is away or has too much to do ◀──┘                         watch poll events
//! ```
//!
//! Submits and watches of all waves share one stream where the executor has it. The same wave handed over again is the same
//! wave there, so that whatever was not answered is asked again. What the executor says is data, like what a model says:
//! bounded, never obeyed. Nothing is connected before the first wave.

mod attend;
mod exchange;
mod follow;
mod hearing;
mod request;
mod result;
mod settings;
mod standing;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moothall_actors::domain::answer::Failure;
use moothall_actors::ports::ModelCall;
use moothall_actors::ports::executor::{Executor, Followed, NotTaken, Told, WaveCall};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

pub use result::AgentResult;
pub use settings::RaySettings;
pub use standing::RayState;

use crate::line::ServiceAddress;
use crate::vllm::{Commission, VllmModel};
use exchange::Exchange;
use hearing::{Heard, Hearing};
use trouble::Trouble;

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
#[error("the executor {address} cannot be connected to")]
pub struct StartError {
    address: Arc<str>,
    source: tonic::transport::Error,
}

/// The executor as the daemon sees it.
pub struct RayExecutor {
    exchange: Exchange,
    hearing: Hearing,
    /// Knows what calls are made of.
    model: Arc<VllmModel>,
}

impl std::fmt::Debug for RayExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RayExecutor").field("address", self.exchange.shown()).finish_non_exhaustive()
    }
}

impl RayExecutor {
    /// Connects nowhere yet.
    pub fn new(address: ServiceAddress, settings: RaySettings, model: Arc<VllmModel>) -> Result<Self, StartError> {
        let shown = address.shown().clone();
        let exchange = Exchange::new(address, settings).map_err(|source| StartError { address: shown, source })?;
        Ok(Self { exchange, hearing: Hearing::default(), model })
    }

    /// How it stood in the last exchange; `None` = it was not used yet.
    #[must_use]
    pub fn state(&self) -> Option<RayState> {
        self.exchange.standing.state()
    }

    /// Asks how it is; answers with what it says, or why it does not.
    pub async fn probe(&self) -> Result<String, String> {
        let answered = self.exchange.health().await;
        answered.map(|status| status.status).map_err(|trouble| trouble.what().to_owned())
    }

    /// Takes in what an event told of a wave, such as `T-1/propose-0`; `result` is made only for whoever follows it. `None` =
    /// nobody does here; else resolves when the outcome is durable, and to an error when it was lost on its way.
    pub async fn hear(
        &self,
        task_id: &str,
        attempt: Option<u32>,
        result: impl FnOnce() -> AgentResult,
    ) -> Option<oneshot::Receiver<()>> {
        let follower = self.hearing.follower(task_id, attempt)?;
        let (durable, kept) = oneshot::channel();
        follower.send(Heard { result: result(), by: "event", durable: Some(durable) }).await.ok()?;
        Some(kept)
    }

    /// Jittered, so that waves that failed together do not come back together.
    fn pause(&self, failures: u32) -> Duration {
        self.exchange.settings.retry.after(failures).mul_f64(0.5 + 0.5 * rand::random::<f64>())
    }

    /// Whether it is waited for, and for how long.
    fn wait(&self, trouble: &Trouble, failures: u32, until: Instant) -> Option<Duration> {
        let settings = &self.exchange.settings;
        let wait = self.pause(failures);
        let goes_on = match trouble {
            Trouble::Away(_) => self.exchange.standing.away_for() < settings.away_limit,
            Trouble::Busy(_) => Instant::now() + wait < until,
            Trouble::Unknown(_) | Trouble::Lacking(_) | Trouble::Refused(..) => false,
        };
        goes_on.then_some(wait)
    }

    /// A model server that is to choose the model and cannot be asked is waited for.
    async fn commission(&self, calls: &[ModelCall], until: Instant) -> Result<Commission, Failure> {
        let mut failures = 0;
        loop {
            let failure = match self.model.commission(calls).await {
                Ok(commission) => return Ok(commission),
                Err(failure) => failure,
            };
            failures += 1;
            let wait = self.pause(failures);
            if !failure.class.may_heal() || Instant::now() + wait >= until {
                return Err(failure);
            }
            sleep(wait).await;
        }
    }
}

#[async_trait]
impl Executor for RayExecutor {
    async fn submit(&self, wave: &WaveCall) -> Result<Arc<str>, NotTaken> {
        let time = wave.calls.iter().map(|call| call.timeout).max().unwrap_or_default();
        let until = Instant::now() + time;
        let commission = self.commission(&wave.calls, until).await.map_err(NotTaken::Refused)?;
        let mut failures = 0;
        loop {
            let trouble = match self.exchange.submit(wave, &commission).await {
                Ok(name) => return Ok(name),
                Err(trouble) => trouble,
            };
            failures += 1;
            let executor = self.exchange.shown();
            match self.wait(&trouble, failures, until) {
                Some(wait) => sleep(wait).await,
                None if matches!(trouble, Trouble::Away(_)) => {
                    return Err(NotTaken::Away { why: trouble.named(executor).into() });
                }
                None => return Err(NotTaken::Refused(trouble.into_failure(executor))),
            }
        }
    }

    async fn follow(&self, name: &str, wave: &WaveCall, told: mpsc::Sender<Told>) -> Followed {
        follow::follow(&self.exchange, &self.hearing, (name, wave), told).await
    }

    async fn cancel(&self, name: &str) {
        let settings = &self.exchange.settings;
        let calling_back = async {
            let mut failures = 0;
            loop {
                match self.exchange.cancel(name).await {
                    Ok(()) | Err(Trouble::Unknown(_) | Trouble::Refused(..)) => return,
                    Err(Trouble::Lacking(_)) => {
                        return tracing::debug!(wave = name, "this executor cannot be told to cancel: its calls go on");
                    }
                    Err(Trouble::Away(_) | Trouble::Busy(_)) => failures += 1,
                }
                sleep(settings.retry.after(failures)).await;
            }
        };
        if timeout(settings.cancel_within, calling_back).await.is_err() {
            tracing::warn!(wave = name, "the executor was not told to cancel: it is away, and its calls may go on");
        }
    }
}
