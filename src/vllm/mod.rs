//! Model servers that speak the OpenAI-compatible protocol, such as vLLM.
//!
//! Behind the port stands everything that a caller should not think about: replicas, connections, retries, limits. A
//! call is driven by the future that the caller holds, down to the socket: dropping it stops the generation.

mod breaker;
mod call;
mod catalog;
mod choice;
mod commission;
mod endpoints;
mod exchange;
mod http1;
mod load;
mod metric;
mod probe;
mod replica;
mod request;
mod response;
mod settings;
mod stream;
mod target;
mod tries;
mod trouble;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use moothall_actors::domain::answer::{Answer, Class, Failure};
use moothall_actors::domain::council::Endpoint;
use moothall_actors::ports::{AnswerForm, Model, ModelCall};
use url::Url;

pub use breaker::BreakerState;
pub use load::ReplicaState;
pub use metric::PrefixCounts;
pub use probe::ReplicaReport;
pub use request::BodyError;
pub use settings::{
    AUTO_MODEL, Balance, BreakerSettings, ContextLength, Profile, ResponseFormat, Retry, StreamLimits, TokenLimits,
    VllmSettings,
};
pub use target::BadTarget;

// What an adapter for other servers needs too.
pub(crate) use breaker::Standing;
pub(crate) use commission::Commission;
#[cfg(test)]
pub(crate) use commission::Commissioned;
pub(crate) use endpoints::Endpoints;
pub(crate) use exchange::MAX_TEXT;
pub(crate) use http1::{Connector, WireError};
pub(crate) use load::{Load, place_of};
pub(crate) use metric::{CallMetrics, Counted};
pub(crate) use response::{Completion, finish_of};
pub(crate) use tries::Tries;
pub(crate) use trouble::{Again, Trouble, excerpt, retry_after, root};

use call::Course;
use exchange::Exchange;
use replica::Replica;
use request::Encoder;
use target::Target;

/// Settings that no adapter can be made of.
#[derive(Debug, thiserror::Error)]
pub enum VllmError {
    #[error(transparent)]
    Target(#[from] BadTarget),
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// The model port over HTTP.
pub struct VllmModel {
    exchange: Exchange,
    connector: Connector,
    pool: Vec<Arc<Replica>>,
    /// Servers that agents bring.
    endpoints: Endpoints<Replica>,
    turn: AtomicUsize,
    metrics: CallMetrics,
}

impl VllmModel {
    /// Nothing is connected yet.
    pub fn new(settings: VllmSettings) -> Result<Self, VllmError> {
        let connector = Connector::new(settings.connect_timeout);
        let encoder = Encoder::new(&settings)?;
        let replica = |url: &Url| {
            let target = Target::new(url, key_for(&settings, url))?;
            Ok(Arc::new(Replica::new(target, connector.clone(), &settings)))
        };
        let pool = settings.replicas.iter().map(replica).collect::<Result<_, BadTarget>>()?;
        Ok(Self {
            pool,
            exchange: Exchange { settings, encoder },
            connector,
            endpoints: Endpoints::default(),
            turn: AtomicUsize::new(0),
            metrics: CallMetrics::new(),
        })
    }

    /// Asks every server of the pool what it serves. What it learns is used by calls from then on.
    pub async fn probe(&self) -> Vec<ReplicaReport> {
        let model = &self.exchange.settings.model;
        futures::future::join_all(self.pool.iter().map(|replica| probe::probe(replica, model))).await
    }

    /// How each server of the pool stands, without asking it.
    #[must_use]
    pub fn replica_states(&self) -> Vec<ReplicaState> {
        self.pool.iter().map(|replica| replica.state()).collect()
    }

    /// Whether an agent may bring this address.
    pub fn check_endpoint(&self, address: &str) -> Result<Url, Failure> {
        let invalid =
            |why: &dyn std::fmt::Display| Failure::new(Class::Invalid, format!("endpoint {address:?}: {why}"));
        let url = Url::parse(address).map_err(|error| invalid(&error))?;
        Target::new(&url, None).map_err(|error| invalid(&error))?;
        let settings = &self.exchange.settings;
        let of_pool = settings.replicas.iter().any(|replica| replica.host_str() == url.host_str());
        if of_pool || settings.allowed_endpoints.iter().any(|pattern| pattern.matches(&url)) {
            return Ok(url);
        }
        let host = url.host_str().unwrap_or_default();
        let why = format!("endpoint {address:?}: host {host} is not in agents.allowed_endpoints");
        Err(Failure::new(Class::Refused, why))
    }

    fn endpoint(&self, address: &Arc<str>) -> Result<Arc<Replica>, Failure> {
        if let Some(known) = self.endpoints.get(address) {
            return Ok(known);
        }
        let url = self.check_endpoint(address)?;
        let settings = &self.exchange.settings;
        let target = Target::new(&url, key_for(settings, &url))
            .map_err(|error| Failure::new(Class::Invalid, error.to_string()))?;
        let replica = Replica::new(target, self.connector.clone(), settings);
        self.endpoints.keep(address, replica, |replica| replica.load.outstanding() == 0)
    }

    async fn course(&self, call: &ModelCall) -> Result<Answer, Failure> {
        match &call.endpoint {
            Endpoint::Pool => Course::new(&self.exchange, &self.pool, call).run(&self.turn).await,
            Endpoint::Url(address) => {
                let own = [self.endpoint(address)?];
                Course::new(&self.exchange, &own, call).run(&self.turn).await
            }
            Endpoint::Mock | Endpoint::Ray | Endpoint::Runner(_) => {
                Err(Failure::new(Class::Refused, "only model agents are answered by a model server"))
            }
        }
    }
}

#[async_trait]
impl Model for VllmModel {
    async fn complete(&self, call: &ModelCall) -> Result<Answer, Failure> {
        let counted = Counted::begin(&self.metrics);
        let outcome = self.course(call).await;
        counted.ended(&outcome);
        outcome
    }

    fn structured(&self, form: AnswerForm) -> bool {
        self.exchange.encoder.structured(form)
    }
}

/// The pool's key for the pool's origins only: another port of the same host may be somebody else's server.
fn key_for(settings: &VllmSettings, url: &Url) -> Option<crate::config::Secret> {
    if settings.replicas.iter().any(|replica| replica.origin() == url.origin()) {
        return settings.api_key.clone();
    }
    settings.profiles.iter().find(|profile| profile.hosts.matches(url)).map(|profile| profile.api_key.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use moothall_actors::domain::id::{Stage, Wave};
    use moothall_actors::testing::model_call;

    use super::*;

    /// A call as the deliberation makes it.
    pub(crate) fn call(stage: &str) -> ModelCall {
        let stage = if stage == "critique" { Stage::Critique } else { Stage::Propose };
        let made = model_call("t-1", Wave { stage, round: 0 }, 1);
        ModelCall { shared: "shared \"text\"\n".into(), ask: "ask".into(), timeout: Duration::from_secs(5), ..made }
    }

    fn settings() -> VllmSettings {
        let replicas = ["http://gpu:8000", "http://gpu:8001/v1"].map(|url| Url::parse(url).unwrap());
        VllmSettings {
            api_key: Some(crate::config::Secret::new("pool-key")),
            profiles: vec![Profile {
                hosts: "*.cloud.net".parse().unwrap(),
                api_key: crate::config::Secret::new("cloud-key"),
            }],
            allowed_endpoints: vec!["*.cloud.net".parse().unwrap()],
            ..VllmSettings::new(replicas.to_vec())
        }
    }

    #[test]
    fn a_key_goes_only_where_it_belongs() {
        let key = |url| key_for(&settings(), &Url::parse(url).unwrap()).map(|key| key.reveal().to_owned());
        assert_eq!(key("http://gpu:8001/other").as_deref(), Some("pool-key"));
        assert_eq!(key("http://gpu:9999"), None);
        assert_eq!(key("https://gpu:8000"), None);
        assert_eq!(key("https://api.cloud.net").as_deref(), Some("cloud-key"));
        assert_eq!(key("https://cloud.net.evil.com"), None);
    }

    #[test]
    fn thirty_thousand_waiting_calls_need_little_memory() {
        let model = VllmModel::new(settings()).unwrap();
        let bytes = size_of_val(&model.course(&call("propose")));
        assert!(bytes <= 4096, "one call holds {bytes} bytes");
    }

    #[test]
    fn an_agent_may_bring_only_allowed_addresses() {
        let model = VllmModel::new(settings()).unwrap();
        assert!(model.check_endpoint("http://gpu:9").is_ok());
        assert!(model.check_endpoint("https://api.cloud.net/v1").is_ok());
        let refused = model.check_endpoint("http://169.254.169.254/latest").unwrap_err();
        assert_eq!(refused.class, Class::Refused);
        assert!(refused.message.contains("agents.allowed_endpoints"), "{refused}");
        assert_eq!(model.check_endpoint("gpu:8000").unwrap_err().class, Class::Invalid);
    }
}
