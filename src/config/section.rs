//! The configuration as meant: every value has the type of what it is, and no combination is wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use moothall_actors::domain::id::Role;
use serde_json::{Map, Value};
use url::Url;

use super::secret::Secret;

/// Everything the daemon can be told.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub nats: NatsConfig,
    pub store: StoreConfig,
    /// `None` = the queue is in the store.
    pub queue: Option<Url>,
    /// `host:port`.
    pub executor: Arc<str>,
    pub context: Option<Arc<str>>,
    /// `None` = the built-in hub.
    pub hub: Option<Url>,
    pub model: ModelConfig,
    pub agents: AgentsConfig,
    pub councils: CouncilsConfig,
    pub deliberation: DeliberationConfig,
    pub checks: ChecksConfig,
    pub limits: LimitsConfig,
    /// How long running work may go on after SIGTERM.
    pub drain: Duration,
    pub log: LogConfig,
}

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
}

impl ServerConfig {
    /// Whether others than this machine can reach it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.grpc.ip().is_loopback()
    }
}

/// Parsed and checked; nothing connects yet.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    pub enabled: bool,
    pub urls: Vec<Url>,
}

/// Where the journal is.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `sqlite:///relative`, `sqlite:////absolute` or `memory://`.
    pub url: Arc<str>,
    /// The one folder that backups are written to.
    pub backups: PathBuf,
}

/// The model servers and how they are called.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// Replicas; never empty.
    pub urls: Vec<Url>,
    pub name: ModelName,
    pub api_key: Secret,
    pub temperature: f32,
    /// `None` = not sent.
    pub top_p: Option<f32>,
    pub max_tokens: TokenLimits,
    /// One call, retries included.
    pub timeout: Duration,
    /// `None` = answers are not streamed.
    pub stream: Option<StreamLimits>,
    pub concurrency_per_replica: NonZeroUsize,
    /// Calls that may wait, over all replicas.
    pub waiting: usize,
    pub retry: RetryConfig,
    pub breaker: BreakerConfig,
    pub response_format: ResponseFormat,
    pub extra_body: Map<String, Value>,
    pub profiles: BTreeMap<String, ProfileConfig>,
}

/// Which model to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelName {
    /// The one that is served.
    Auto,
    Named(Arc<str>),
}

/// Most tokens of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLimits {
    pub propose: NonZeroU32,
    pub critique: NonZeroU32,
    pub revise: NonZeroU32,
    pub select: NonZeroU32,
    /// Set: it holds for every stage instead of the above.
    pub every: Option<NonZeroU32>,
}

/// When a streaming server counts as silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    pub first_token: Duration,
    pub silence: Duration,
}

/// When a call is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    pub retries: u32,
    pub shortest: Duration,
    pub longest: Duration,
}

/// When a replica is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    pub failures: NonZeroU32,
    pub shortest: Duration,
    pub longest: Duration,
}

/// How critiques are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFormat {
    None,
    JsonObject,
    JsonSchema,
}

/// A named server and model; what is `None` is as for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileConfig {
    pub url: Option<Url>,
    pub name: Option<Arc<str>>,
    /// For the host of `url` only.
    pub api_key: Option<Secret>,
}

/// What agents may be.
#[derive(Clone, Debug)]
pub struct AgentsConfig {
    pub default_type: AgentType,
    pub allow_mock: bool,
    /// Host patterns, with the hosts of `model.urls` and of the profiles.
    pub allowed_endpoints: Vec<Arc<str>>,
    pub max_concurrent_tasks: NonZeroU32,
}

/// Who answers for an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentType {
    Vllm,
    RayVllm,
    Mock,
}

impl AgentType {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vllm => "VLLM",
            Self::RayVllm => "RAY_VLLM",
            Self::Mock => "MOCK",
        }
    }
}

/// The councils that are made when there is none.
#[derive(Clone, Debug)]
pub struct CouncilsConfig {
    pub init_default: bool,
    pub roles: Vec<Role>,
    pub agents: usize,
    pub rounds: u8,
}

/// How deliberations go.
#[derive(Clone, Debug)]
pub struct DeliberationConfig {
    pub timeout: Duration,
    /// Folder of prompts that take the place of built-in ones.
    pub prompts: Option<PathBuf>,
}

/// Whether and by which rules texts are checked.
#[derive(Clone, Debug)]
pub struct ChecksConfig {
    pub enabled: bool,
    /// `None` = the built-in rules.
    pub policy: Option<PathBuf>,
}

/// What the daemon takes on.
#[derive(Clone, Copy, Debug)]
pub struct LimitsConfig {
    pub open_deliberations: NonZeroU32,
    /// `None` = no limit.
    pub tokens_per_day: Option<u64>,
}

/// How it logs.
#[derive(Clone, Debug)]
pub struct LogConfig {
    pub format: LogFormat,
    pub filter: String,
}

/// For whom it logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
