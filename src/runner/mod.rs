//! Outside agents: processes that serve `moothall.v1.AgentRunner` and take seats in councils.
//!
//! ```text
//!  call ─▶ place ─▶ breaker ─▶ Describe, unless known ─▶ place of its own ─▶ Run ─▶ progress … ─▶ result
//!   ▲                                                                                │ dropped anywhere: the stream
//!   └──────────── wait, with jitter ◀── may help ◀── trouble ◀───────────────────────┘ is reset, the runner stops
//! ```
//!
//! The daemon is the client. What a runner says is data, like what a model says: bounded, never obeyed. Load, tries and
//! troubles are those of model servers (`src/vllm`); only the exchange itself is another.

mod address;
mod client;
mod request;
mod settings;
mod status;
mod updates;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use moothall_actors::domain::answer::{Answer, Class, Failure};
use moothall_actors::domain::council::Endpoint;
use moothall_actors::ports::{AnswerForm, Model, ModelCall};
use tokio::time::{sleep, timeout_at};

pub use address::{NotARunner, RunnerAddress, is_runner};
pub use settings::{RunnerKey, RunnerSettings};

use crate::vllm::{CallMetrics, Completion, Connector, Counted, Endpoints, ReplicaState, Tries, Trouble};
use client::Runner;

/// The model port for seats that are outside agents.
pub struct RunnerModel {
    settings: RunnerSettings,
    connector: Connector,
    runners: Endpoints<Runner>,
    metrics: CallMetrics,
}

impl RunnerModel {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(settings: RunnerSettings) -> Self {
        let connector = Connector::for_http2(settings.connect_timeout);
        Self { settings, connector, runners: Endpoints::default(), metrics: CallMetrics::new() }
    }

    /// How each runner that was called stands, without asking it.
    #[must_use]
    pub fn states(&self) -> Vec<ReplicaState> {
        self.runners.all().iter().map(|runner| runner.load.state()).collect()
    }

    fn runner(&self, shown: &Arc<str>) -> Result<Arc<Runner>, Failure> {
        if let Some(known) = self.runners.get(shown) {
            return Ok(known);
        }
        let invalid = |why: &dyn std::fmt::Display| Failure::new(Class::Invalid, format!("endpoint {shown:?} {why}"));
        let address = RunnerAddress::parse(shown).map_err(|error| invalid(&error))?;
        // Journaled seats are held to what is allowed today.
        if !self.settings.allowed_endpoints.iter().any(|pattern| pattern.matches(address.url())) {
            let why = format!("endpoint {shown:?}: its host is not in agents.allowed_endpoints");
            return Err(Failure::new(Class::Refused, why));
        }
        let runner = Runner::new(address, &self.connector, &self.settings).map_err(|error| invalid(&error))?;
        self.runners.keep(shown, runner, |runner| runner.load.outstanding() == 0)
    }

    async fn course(&self, call: &ModelCall) -> Result<Answer, Failure> {
        let Endpoint::Runner(shown) = &call.endpoint else {
            return Err(Failure::new(Class::Refused, "only outside agents are answered by a runner"));
        };
        let runner = self.runner(shown)?;
        let mut tries = Tries::new(call, self.settings.timeout, self.settings.retry);
        loop {
            let trouble = match self.attempt(&runner, call, &mut tries).await {
                Ok(completion) => return Ok(tries.answer(completion)),
                Err(trouble) => trouble,
            };
            match tries.wait_before_next(&trouble) {
                Some(wait) => sleep(wait).await,
                None => return Err(trouble.into_failure(shown, tries.made)),
            }
        }
    }

    async fn attempt(&self, runner: &Runner, call: &ModelCall, tries: &mut Tries<'_>) -> Result<Completion, Trouble> {
        let _outstanding = runner.load.enter();
        let _permit = runner.load.place(tries.deadline).await?;
        let trial = runner.load.trial()?;
        tries.made += 1;
        let sent = Instant::now();
        let asked = runner.ask(call, &self.settings, tries.deadline);
        let outcome = match timeout_at(tries.deadline, asked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(tries.out_of_time(sent)),
        };
        trial.ended(&outcome);
        outcome
    }
}

#[async_trait]
impl Model for RunnerModel {
    async fn complete(&self, call: &ModelCall) -> Result<Answer, Failure> {
        let counted = Counted::begin(&self.metrics);
        let outcome = self.course(call).await;
        counted.ended(&outcome);
        outcome
    }

    /// Runners are told the form that is wanted.
    fn structured(&self, form: AnswerForm) -> bool {
        form == AnswerForm::Critique
    }
}
