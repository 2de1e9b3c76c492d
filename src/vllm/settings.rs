//! What the adapter can be told, with the defaults of the design; the configuration fills it.

use std::time::Duration;

use moothall_actors::domain::id::Stage;
use serde_json::{Map, Value};
use url::Url;

use crate::config::{HostPattern, Secret};

/// Asks each server which model it serves and takes that.
pub const AUTO_MODEL: &str = "auto";

/// Everything about the model servers.
#[derive(Clone, Debug)]
pub struct VllmSettings {
    /// Base addresses, with or without `/v1`.
    pub replicas: Vec<Url>,
    /// Which of them a call goes to.
    pub balance: Balance,
    /// The name calls use that bring none; [`AUTO_MODEL`] = the one served.
    pub model: String,
    /// Sent to the origins of `replicas` only.
    pub api_key: Option<Secret>,
    /// Keys of other servers; the first pattern that matches counts.
    pub profiles: Vec<Profile>,
    /// Which hosts an agent of its own endpoint may name, besides the hosts of `replicas`.
    pub allowed_endpoints: Vec<HostPattern>,
    pub temperature: f32,
    pub top_p: Option<f32>,
    pub max_tokens: TokenLimits,
    /// Most a call may take, retries and waiting included.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// Below the 5 s after which usual servers close an idle connection.
    pub idle_timeout: Duration,
    /// `Some` = answers are streamed, and silence is noticed.
    pub stream: Option<StreamLimits>,
    /// Calls at once per replica; each holds one connection, so it bounds those too. A small cap ruins throughput at
    /// real latencies.
    pub calls_per_replica: usize,
    /// Calls that may wait for one replica; one more is refused as busy. 65,536 = the gate's 16,384 deliberations with
    /// a wave of four each.
    pub waiting_per_replica: usize,
    pub retry: Retry,
    pub breaker: BreakerSettings,
    pub response_format: ResponseFormat,
    /// Merged into every request; `None` = `enable_thinking=false` for Qwen3 models, nothing for others.
    pub extra_body: Option<Map<String, Value>>,
    pub context: ContextLength,
}

/// How calls spread over replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// All calls of a deliberation to one replica, whose cache holds their common prefix, unless it has too many.
    Prefix,
    /// Each call to the replica with the fewest.
    LeastOutstanding,
}

/// A key for servers outside the pool.
#[derive(Clone, Debug)]
pub struct Profile {
    pub hosts: HostPattern,
    pub api_key: Secret,
}

/// How many tokens an answer may have, per stage.
#[derive(Clone, Debug)]
pub struct TokenLimits {
    pub propose: u32,
    pub critique: u32,
    pub revise: u32,
    pub score: u32,
    pub select: u32,
    /// Replaces all of them.
    pub overall: Option<u32>,
}

impl TokenLimits {
    pub(crate) fn of(&self, stage: Stage) -> u32 {
        self.overall.unwrap_or(match stage {
            Stage::Propose => self.propose,
            Stage::Critique => self.critique,
            Stage::Revise => self.revise,
            Stage::Score => self.score,
            Stage::Select => self.select,
        })
    }
}

/// Limits that only a streamed answer can have.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    pub first_token: Duration,
    pub silence: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { first_token: Duration::from_secs(60), silence: Duration::from_secs(20) }
    }
}

/// How often a failed request is sent again. The bound of the wait grows from `first` to `last` over the retries; the
/// wait itself is drawn between zero and the bound, so that callers that failed together do not come back together.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    pub times: u32,
    pub first: Duration,
    pub last: Duration,
}

impl Retry {
    /// The bound of the wait before retry `nth` (from 1).
    pub(crate) fn bound(&self, nth: u32) -> Duration {
        let (first, last) = (self.first.as_secs_f64(), self.last.as_secs_f64().max(self.first.as_secs_f64()));
        let steps = f64::from(self.times.max(2) - 1);
        let done = f64::from(nth.saturating_sub(1)).min(steps) / steps;
        if first <= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(first * (last / first).powf(done))
    }
}

/// When a replica is left alone for a while.
#[derive(Clone, Copy, Debug)]
pub struct BreakerSettings {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open at first; doubled by each failed probe up to `open_most`.
    pub open_first: Duration,
    pub open_most: Duration,
}

/// The form that critiques are asked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFormat {
    None,
    JsonObject,
    JsonSchema,
}

/// Where the server's limit for prompt and answer together comes from; answers are asked to fit in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextLength {
    /// `max_model_len` of `/v1/models`, read once before the first call and again after the server was away.
    Learned,
    Tokens(u32),
    Unlimited,
}

impl VllmSettings {
    /// The defaults of the design, for these servers.
    #[must_use]
    pub fn new(replicas: Vec<Url>) -> Self {
        Self {
            replicas,
            balance: Balance::Prefix,
            model: AUTO_MODEL.into(),
            api_key: None,
            profiles: Vec::new(),
            allowed_endpoints: vec![HostPattern::Loopback],
            temperature: 0.7,
            top_p: None,
            max_tokens: TokenLimits {
                propose: 4096,
                critique: 1024,
                revise: 4096,
                score: 1024,
                select: 512,
                overall: None,
            },
            timeout: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            stream: None,
            calls_per_replica: 1024,
            waiting_per_replica: 65_536,
            retry: Retry { times: 3, first: Duration::from_millis(200), last: Duration::from_secs(5) },
            breaker: BreakerSettings {
                failures: 5,
                open_first: Duration::from_secs(1),
                open_most: Duration::from_secs(4),
            },
            response_format: ResponseFormat::JsonObject,
            extra_body: None,
            context: ContextLength::Learned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_from_the_first_bound_to_the_last() {
        let retry = VllmSettings::new(Vec::new()).retry;
        let bounds: Vec<_> = (1..=4).map(|nth| retry.bound(nth).as_millis()).collect();
        assert_eq!(bounds, [200, 1000, 5000, 5000]);
    }

    #[test]
    fn a_single_retry_waits_the_first_bound() {
        let retry = Retry { times: 1, first: Duration::from_millis(200), last: Duration::from_secs(5) };
        assert_eq!(retry.bound(1), Duration::from_millis(200));
        assert_eq!(Retry { first: Duration::ZERO, ..retry }.bound(1), Duration::ZERO);
    }

    #[test]
    fn an_overall_limit_replaces_those_of_the_stages() {
        let mut limits = VllmSettings::new(Vec::new()).max_tokens;
        assert_eq!(limits.of(Stage::Critique), 1024);
        limits.overall = Some(99);
        assert_eq!(limits.of(Stage::Critique), 99);
    }
}
