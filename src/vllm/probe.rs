//! How the servers are, asked on purpose: for the doctor and for health.

use std::time::{Duration, Instant};

use super::breaker::BreakerState;
use super::replica::Replica;
use super::settings::AUTO_MODEL;

/// What one server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaReport {
    pub url: String,
    pub reachable: bool,
    pub models: Vec<String>,
    /// Tokens that prompt and answer may have together.
    pub max_model_len: Option<u32>,
    /// Of the question, when it was answered.
    pub latency: Option<Duration>,
    /// Why calls to it would fail.
    pub error: Option<String>,
    pub breaker: BreakerState,
}

pub(crate) async fn probe(replica: &Replica, model: &str) -> ReplicaReport {
    let asked = Instant::now();
    let outcome = replica.learn().await;
    let report = ReplicaReport {
        url: replica.target.shown.clone(),
        reachable: outcome.is_ok(),
        models: Vec::new(),
        max_model_len: None,
        latency: outcome.is_ok().then(|| asked.elapsed()),
        error: None,
        breaker: replica.load.breaker_state(),
    };
    match outcome {
        Err(trouble) => ReplicaReport { error: Some(trouble.what), ..report },
        Ok(catalog) => {
            let error = if model == AUTO_MODEL {
                catalog.only().err()
            } else if catalog.serves(model) {
                None
            } else {
                Some(catalog.lacks(model))
            };
            let context = catalog.context_of(if model == AUTO_MODEL { "" } else { model });
            ReplicaReport { models: catalog.names(), max_model_len: context, error, ..report }
        }
    }
}
