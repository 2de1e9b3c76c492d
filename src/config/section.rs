//! The configuration as meant: every value has the type of what it is, and no combination is wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use moothall_actors::QueueSettings;
use moothall_actors::domain::id::Role;
use moothall_actors::domain::queue::OnDependencyFailure;
use moothall_actors::domain::workflow::{ApprovalRule, Dispatch, Phase, WorkflowType};
use url::Url;

use super::host::HostPattern;
use super::secret::Secret;
use crate::context::ContextSettings;
use crate::line::ServiceAddress;
use crate::ray::RaySettings;
use crate::runner::{RunnerAddress, RunnerKey};
use crate::store::DatabaseUrl;
use crate::vllm::{Retry, VllmSettings};

/// Everything the daemon can be told.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub nats: NatsConfig,
    pub store: StoreConfig,
    pub retention: RetentionConfig,
    pub queue: QueueConfig,
    pub plans: PlansConfig,
    pub executor: ExecutorConfig,
    pub context: ContextConfig,
    pub hub: HubConfig,
    pub workflows: WorkflowsConfig,
    /// The servers and how they are called, ready for the adapter.
    pub model: VllmSettings,
    /// By name, for councils and agents that ask for one.
    pub profiles: BTreeMap<String, ProfileConfig>,
    pub agents: AgentsConfig,
    pub runners: RunnersConfig,
    pub councils: CouncilsConfig,
    pub deliberation: DeliberationConfig,
    pub checks: ChecksConfig,
    pub limits: LimitsConfig,
    /// How long running work may go on after SIGTERM.
    pub drain: Duration,
    pub log: LogConfig,
}

/// Where waves are made on a cluster.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// `None` = there is none.
    pub service: Option<ServiceAddress>,
    /// Somebody said that there is one: reviews of backlogs go there too.
    pub is_named: bool,
    /// Whether runs ask model servers themselves when it is away for too long.
    pub ray_fallback: bool,
    /// There at once; others wait.
    pub waves: usize,
    pub settings: RaySettings,
}

/// What is known of stories, and how it is asked for.
#[derive(Clone, Debug)]
pub struct ContextConfig {
    /// `None` = there is no context service.
    pub service: Option<ServiceAddress>,
    pub token_budget: u32,
    pub settings: ContextSettings,
}

/// Who executes the phases of workflows, and how it is called.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// `None` = the built-in hub.
    pub url: Option<Url>,
    /// For that hub only.
    pub api_key: Option<Secret>,
    /// Of one invocation, retries included.
    pub timeout: Duration,
    pub retry: Retry,
}

/// What becomes of workflows.
#[derive(Clone, Debug)]
pub struct WorkflowsConfig {
    /// Of those that are created from now on.
    pub dispatch: Dispatch,
    /// That the hub executes at once; others wait.
    pub phases: usize,
    pub roles: PhaseRoles,
    pub approval: ApprovalRule,
}

/// Which council of the built-in hub answers for which phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseRoles(pub(super) BTreeMap<(WorkflowType, Phase), Role>);

impl PhaseRoles {
    #[must_use]
    pub fn of(&self, workflow_type: WorkflowType, phase: Phase) -> Role {
        // The rules leave no phase out.
        self.0.get(&(workflow_type, phase)).cloned().unwrap_or_else(Role::dev)
    }
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

/// Where events come from and go to.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    pub enabled: bool,
    pub urls: Vec<Url>,
    pub credentials: Option<PathBuf>,
    /// Instead of the system's authorities.
    pub ca: Option<PathBuf>,
    /// Certificate and key of this client.
    pub client: Option<(PathBuf, PathBuf)>,
    /// `first_start`, `all`, or a time in RFC 3339.
    pub start: Arc<str>,
    pub replicas: usize,
    pub envelope: bool,
}

/// Where the journal is.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub url: DatabaseUrl,
    /// The one folder that backups are written to.
    pub backups: PathBuf,
}

/// How long finished tasks are kept, and how they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// `None` = for ever.
    pub tasks: Option<Duration>,
    /// After the task was pruned; `None` = for ever.
    pub tombstones: Option<Duration>,
    pub every: Duration,
    /// Most events of one transaction.
    pub batch: usize,
    /// Of the journal's time, in percent.
    pub share: u8,
}

/// Where tasks wait, and how they are worked through.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Where several daemons share it; `None` = in this process, filled from the store.
    pub shared: Option<crate::redis::Settings>,
    /// How much earlier one step of priority makes a task.
    pub age: Duration,
    pub dispatch: QueueSettings,
}

/// What becomes of plans.
#[derive(Clone, Debug)]
pub struct PlansConfig {
    pub max_tasks: usize,
    pub unknown_role: UnknownRole,
    /// `None` = tasks are queued at once.
    pub hold_until_phase: Option<Arc<str>>,
    pub on_dependency_failure: OnDependencyFailure,
}

/// What becomes of a plan's tasks whose role has no council.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownRole {
    /// A slip of the pen must not cost GPU time.
    Park,
    Create,
}

/// A named server and model; what is `None` is as for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileConfig {
    pub url: Option<Url>,
    /// In the place of `url`: an outside agent.
    pub runner: Option<RunnerAddress>,
    pub name: Option<Arc<str>>,
    /// For that server or runner only.
    pub api_key: Option<Secret>,
}

/// What agents may be.
#[derive(Clone, Debug)]
pub struct AgentsConfig {
    pub default_type: AgentType,
    pub allow_mock: bool,
    /// Hosts that agents may be registered with, beside the model servers'.
    pub allowed_endpoints: Vec<HostPattern>,
    pub max_concurrent_tasks: NonZeroU32,
}

/// How outside agents are called.
#[derive(Clone, Debug)]
pub struct RunnersConfig {
    /// Calls in flight at one runner.
    pub calls: usize,
    /// The longest pause between two signs of life.
    pub silence: Duration,
    /// Of one call; more are dropped.
    pub progress_per_second: u32,
    /// Of the profiles that are runners.
    pub keys: Vec<RunnerKey>,
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
    /// Globs of what no proposal may change.
    pub protected: Vec<Arc<str>>,
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
