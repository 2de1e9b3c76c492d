//! Section by section: which rule each key obeys, and what the section means.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moothall_actors::QueueSettings;
use moothall_actors::artifact::Guard;
use moothall_actors::domain::council::{MAX_COUNCILS, MAX_SEATS};
use moothall_actors::domain::id::Role;
use moothall_actors::domain::queue::OnDependencyFailure;
use moothall_actors::domain::task::MAX_ROUNDS;
use tracing_subscriber::EnvFilter;

use super::host::HostPattern;
use super::raw::{
    RawAgents, RawChecks, RawConfig, RawContext, RawCouncils, RawDeliberation, RawLimits, RawLog, RawNats, RawPlans,
    RawQueue, RawRetention, RawRunners, RawServer, RawStore,
};
use super::rule::{DAY, Rules};
use super::section::{
    AgentType, AgentsConfig, ChecksConfig, Config, ContextConfig, CouncilsConfig, DeliberationConfig, ExecutorConfig,
    LimitsConfig, LogConfig, LogFormat, NatsConfig, PlansConfig, ProfileConfig, QueueConfig, RetentionConfig,
    RunnersConfig, ServerConfig, StoreConfig, UnknownRole,
};
use super::{model, workflow};
use crate::context::ContextSettings;
use crate::line::ServiceAddress;
use crate::nats::Start;
use crate::plan::PHASES;
use crate::plan::limit::HARD_MAX_TASKS;
use crate::ray::RaySettings;
use crate::redis::{Address, Settings as RedisSettings};
use crate::store::DatabaseUrl;
use crate::vllm::VllmSettings;

/// More would hardly fit into the largest answer that is taken, 1 MiB.
const MOST_CONTEXT_TOKENS: i64 = 100_000;
/// A hundred years: longer is a slip.
const MOST_DAYS: i64 = 36_500;

/// `None` = some rule was broken, and noted.
pub(super) fn config(raw: &RawConfig, rules: &mut Rules<'_>) -> Option<Config> {
    let server = server(&raw.server, rules);
    let nats = nats(&raw.nats, rules);
    let store = store(&raw.store, rules);
    let retention = retention(&raw.retention, rules);
    let queue = queue(&raw.queue, rules);
    let plans = plans(&raw.plans, rules);
    let executor = executor(raw, rules);
    let context = context(&raw.context, rules);
    let hub = workflow::hub(&raw.hub, rules);
    let workflows = workflow::workflows(&raw.workflows, rules);
    let profiles = model::profiles(&raw.model.profiles, rules);
    let agents = agents(&raw.agents, rules);
    let runners = runners(&raw.runners, profiles.as_ref(), rules);
    let model = model::servers(&raw.model, rules);
    let councils = councils(&raw.councils, rules);
    let deliberation = deliberation(&raw.deliberation, rules);
    let checks = checks(&raw.checks, rules);
    let limits = limits(&raw.limits, rules);
    let drain = rules.time_within("drain.timeout", raw.drain.timeout, 0.0..=DAY);
    let log = log(&raw.log, rules);
    let agents = agents?;
    let model = VllmSettings {
        profiles: profiles.iter().flatten().filter_map(|(_, profile)| profile.key()).collect(),
        allowed_endpoints: allowed(&agents, profiles.as_ref()?),
        ..model?
    };
    Some(Config {
        server: server?,
        nats: nats?,
        store: store?,
        retention: retention?,
        queue: queue?,
        plans: plans?,
        executor: executor?,
        context: context?,
        hub: hub?,
        workflows: workflows?,
        model,
        profiles: profiles?,
        agents,
        runners: runners?,
        councils: councils?,
        deliberation: deliberation?,
        checks: checks?,
        limits: limits?,
        drain: drain?,
        log: log?,
    })
}

/// Empty means «none», which is never wrong.
pub(super) fn optional<T>(text: &str, rule: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { rule(text).map(Some) }
}

fn server(raw: &RawServer, rules: &mut Rules<'_>) -> Option<ServerConfig> {
    let bind: Option<IpAddr> = match raw.bind.parse() {
        Ok(address) => Some(address),
        Err(_) => rules.refuse("server.bind", "must be an IP address such as 127.0.0.1 or 0.0.0.0"),
    };
    let grpc = rules.whole::<u16>("server.grpc_port", raw.grpc_port, 0..=65_535);
    let http = rules.whole::<u16>("server.http_port", raw.http_port, 0..=65_535);
    if grpc.is_some_and(|port| port > 0) && grpc == http {
        return rules.refuse("server.http_port", "must differ from server.grpc_port");
    }
    Some(ServerConfig { grpc: SocketAddr::new(bind?, grpc?), http: SocketAddr::new(bind?, http?) })
}

fn nats(raw: &RawNats, rules: &mut Rules<'_>) -> Option<NatsConfig> {
    let urls = rules.urls("nats.url", &raw.url, &["nats", "tls", "ws", "wss"]);
    let mut file = |key, given| rules.path(key, given, Path::is_file, "file");
    let credentials = file("nats.credentials", &raw.credentials);
    let ca = file("nats.ca", &raw.ca);
    let (cert, key) = (file("nats.cert", &raw.cert), file("nats.key", &raw.key));
    if raw.cert.is_empty() != raw.key.is_empty() {
        rules.refuse::<()>("nats.key", "must be given with nats.cert, and that with it");
    }
    let start = match Start::parse(&raw.start, jiff::Timestamp::UNIX_EPOCH) {
        Ok(_) => Some(raw.start.as_str().into()),
        Err(_) => rules.refuse("nats.start", "must be first_start, all or a time such as 2026-01-02T03:04:05Z"),
    };
    let replicas = match raw.replicas {
        1 | 3 | 5 => usize::try_from(raw.replicas).ok(),
        _ => rules.refuse("nats.replicas", "must be 1, 3 or 5"),
    };
    Some(NatsConfig {
        enabled: raw.enabled,
        urls: urls?,
        credentials: credentials?,
        ca: ca?,
        client: cert?.zip(key?),
        start: start?,
        replicas: replicas?,
        envelope: raw.envelope,
    })
}

fn store(raw: &RawStore, rules: &mut Rules<'_>) -> Option<StoreConfig> {
    let url = match DatabaseUrl::parse("store.url", &raw.url) {
        Ok(url) => Some(url),
        Err(problem) => rules.refuse("store.url", problem.message),
    };
    let backups = rules.text("store.backups", &raw.backups);
    Some(StoreConfig { url: url?, backups: PathBuf::from(&*backups?) })
}

fn retention(raw: &RawRetention, rules: &mut Rules<'_>) -> Option<RetentionConfig> {
    let mut days = |key, given| {
        let days = rules.whole::<u64>(key, given, 0..=MOST_DAYS)?;
        Some(Some(days).filter(|&days| days > 0).map(|days| Duration::from_secs(days * 86_400)))
    };
    let tasks = days("retention.days", raw.days);
    let tombstones = days("retention.tombstone_days", raw.tombstone_days);
    let every = rules.time_within("retention.every", raw.every, 1.0..=DAY);
    let batch = rules.whole("retention.batch", raw.batch, 1..=65_536);
    let share = rules.whole("retention.share", raw.share, 1..=100);
    Some(RetentionConfig { tasks: tasks?, tombstones: tombstones?, every: every?, batch: batch?, share: share? })
}

fn queue(raw: &RawQueue, rules: &mut Rules<'_>) -> Option<QueueConfig> {
    let shared = shared_queue(raw, rules);
    let age = rules.time_within("queue.age", raw.age, 0.001..=DAY);
    let most = rules.whole("queue.max_tasks", raw.max_tasks, 1..=100_000_000);
    let per_role = rules.whole("queue.per_role", raw.per_role, 1..=65_536);
    let per_story = rules.whole("queue.per_story", raw.per_story, 1..=65_536);
    let share = rules.whole("queue.share", raw.share, 1..=100);
    let retries = rules.whole("queue.retries", raw.retries, 0..=1_000);
    let retry_min = rules.time_within("queue.retry_min", raw.retry_min, 0.001..=DAY);
    let retry_max = rules.time_within("queue.retry_max", raw.retry_max, 0.001..=DAY);
    let stall = rules.time_within("queue.stall", raw.stall, 1.0..=30.0 * DAY);
    if raw.retry_min > raw.retry_max {
        return rules.refuse("queue.retry_max", "must not be below queue.retry_min");
    }
    let dispatch = QueueSettings {
        most: most?,
        per_role: per_role?,
        per_story: per_story?,
        share_percent: share?,
        retries: retries?,
        retry_min: retry_min?,
        retry_max: retry_max?,
        stall: stall?,
        ..QueueSettings::default()
    };
    let age = age?;
    let shared = shared?.map(|shared| RedisSettings { age, ..shared });
    Some(QueueConfig { shared, age, dispatch })
}

/// Where several daemons share the queue.
fn shared_queue(raw: &RawQueue, rules: &mut Rules<'_>) -> Option<Option<RedisSettings>> {
    let given = if raw.url == "memory" { "" } else { &raw.url };
    let address = optional(given, |text| {
        rules.url("queue.url", text, &["redis", "rediss"])?;
        match Address::parse(text) {
            Ok(address) => Some(address),
            Err(error) => rules.refuse("queue.url", error.to_string()),
        }
    });
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let prefix = match raw.prefix.as_str() {
        text if !text.is_empty() && text.len() <= 64 && text.chars().all(is_plain) => Some(text.to_owned()),
        _ => rules.refuse("queue.prefix", "must be 1 to 64 letters, digits, or of - _ . :"),
    };
    let lease = rules.time_within("queue.lease", raw.lease, 1.0..=3_600.0);
    let (prefix, lease) = (prefix?, lease?);
    // The dispatcher refuses what is too much; what is in a journal always fits.
    let most = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
    Some(address?.map(|address| RedisSettings { prefix, lease, most, ..RedisSettings::new(address) }))
}

fn plans(raw: &RawPlans, rules: &mut Rules<'_>) -> Option<PlansConfig> {
    let max_tasks = rules.whole("plans.max_tasks", raw.max_tasks, 1..=HARD_MAX_TASKS as i64);
    let kinds = [("park", UnknownRole::Park), ("create", UnknownRole::Create)];
    let unknown_role = rules.word("plans.unknown_role", &raw.unknown_role, &kinds);
    let kinds =
        [("block", OnDependencyFailure::Block), ("skip", OnDependencyFailure::Skip), ("run", OnDependencyFailure::Run)];
    let on_failure = rules.word("plans.on_dependency_failure", &raw.on_dependency_failure, &kinds);
    let kinds = PHASES.map(|phase| (phase, phase));
    let hold_until_phase = optional(&raw.hold_until_phase, |text| rules.word("plans.hold_until_phase", text, &kinds));
    Some(PlansConfig {
        max_tasks: max_tasks?,
        unknown_role: unknown_role?,
        hold_until_phase: hold_until_phase?.map(Into::into),
        on_dependency_failure: on_failure?,
    })
}

fn executor(raw: &RawConfig, rules: &mut Rules<'_>) -> Option<ExecutorConfig> {
    let given = &raw.executor;
    let service = match ServiceAddress::parse(&given.address) {
        Ok(service) => Some(service),
        Err(error) => rules.refuse("executor.address", error.to_string()),
    };
    let ray_fallback = rules.word("executor.ray_fallback", &given.ray_fallback, &[("none", false), ("direct", true)]);
    let away_limit = rules.time_within("executor.away_limit", given.away_limit, 0.1..=DAY);
    let waves = rules.whole("executor.waves", given.waves, 1..=65_536);
    // That it has an address by default does not mean that there is one.
    let is_named = rules.is_set("executor.address") || raw.agents.r#type == AgentType::RayVllm.as_str();
    Some(ExecutorConfig {
        is_named: is_named && service.as_ref()?.is_some(),
        service: service?,
        ray_fallback: ray_fallback?,
        waves: waves?,
        settings: ray_settings(away_limit?),
    })
}

/// Who is impatient looks sooner.
fn ray_settings(away_limit: Duration) -> RaySettings {
    let usual = RaySettings::default();
    RaySettings { away_limit, look_every: usual.look_every.min(away_limit), ..usual }
}

fn context(raw: &RawContext, rules: &mut Rules<'_>) -> Option<ContextConfig> {
    let service = match ServiceAddress::parse(&raw.address) {
        Ok(service) => Some(service),
        Err(error) => rules.refuse("context.address", error.to_string()),
    };
    let token_budget = rules.whole("context.token_budget", raw.token_budget, 1..=MOST_CONTEXT_TOKENS);
    let deadline = rules.time_within("context.timeout", raw.timeout, 0.01..=30.0);
    let kept_for = rules.time_within("context.keep", raw.keep, 0.0..=DAY);
    let settings = ContextSettings { deadline: deadline?, kept_for: kept_for?, ..ContextSettings::default() };
    Some(ContextConfig { service: service?, token_budget: token_budget?, settings })
}

fn agents(raw: &RawAgents, rules: &mut Rules<'_>) -> Option<AgentsConfig> {
    let kinds = [("VLLM", AgentType::Vllm), ("RAY_VLLM", AgentType::RayVllm), ("MOCK", AgentType::Mock)];
    let mut default_type = rules.word("agents.type", &raw.r#type, &kinds);
    if default_type == Some(AgentType::Mock) && !raw.allow_mock {
        default_type = rules.refuse("agents.type", "MOCK needs agents.allow_mock = true");
    }
    let most = rules.whole::<u32>("agents.max_concurrent_tasks", raw.max_concurrent_tasks, 1..=65_536);
    let allowed: Vec<_> = raw.allowed_endpoints.iter().map(|text| pattern(text, rules)).collect();
    Some(AgentsConfig {
        default_type: default_type?,
        allow_mock: raw.allow_mock,
        allowed_endpoints: allowed.into_iter().collect::<Option<_>>()?,
        max_concurrent_tasks: NonZeroU32::new(most?)?,
    })
}

/// Every host at once is refused: agents bring addresses over the network, and those reach inside hosts too.
fn pattern(text: &str, rules: &mut Rules<'_>) -> Option<HostPattern> {
    let key = "agents.allowed_endpoints";
    match text.parse() {
        Ok(HostPattern::Any) => rules.refuse(key, "must name hosts; \"*\" would let agents reach every inside host"),
        Ok(pattern) => Some(pattern),
        Err(error) => rules.refuse(key, error.to_string()),
    }
}

fn runners(
    raw: &RawRunners,
    profiles: Option<&BTreeMap<String, ProfileConfig>>,
    rules: &mut Rules<'_>,
) -> Option<RunnersConfig> {
    let calls = rules.whole("runners.calls", raw.calls, 1..=65_536);
    let silence = rules.time_within("runners.silence_timeout", raw.silence_timeout, 0.1..=DAY);
    let progress = rules.whole("runners.progress_per_second", raw.progress_per_second, 1..=1_000);
    let keys = profiles?.values().filter_map(ProfileConfig::runner_key).collect();
    Some(RunnersConfig { calls: calls?, silence: silence?, progress_per_second: progress?, keys })
}

/// The operator's own addresses are allowed too.
fn allowed(agents: &AgentsConfig, profiles: &BTreeMap<String, ProfileConfig>) -> Vec<HostPattern> {
    let own = profiles.values().filter_map(ProfileConfig::host);
    agents.allowed_endpoints.iter().cloned().chain(own).collect()
}

fn councils(raw: &RawCouncils, rules: &mut Rules<'_>) -> Option<CouncilsConfig> {
    let mut roles: Vec<Role> = Vec::new();
    for text in &raw.roles {
        match Role::parse("role", text) {
            Ok(role) if roles.contains(&role) => return rules.refuse("councils.roles", format!("names {role} twice")),
            Ok(role) => roles.push(role),
            Err(problem) => return rules.refuse("councils.roles", problem.message),
        }
    }
    if roles.len() > MAX_COUNCILS {
        return rules.refuse("councils.roles", format!("names {} roles; at most {MAX_COUNCILS} fit", roles.len()));
    }
    let agents = rules.whole("councils.agents", raw.agents, 1..=MAX_SEATS as i64);
    let rounds = rules.whole("councils.rounds", raw.rounds, 1..=i64::from(MAX_ROUNDS));
    Some(CouncilsConfig { init_default: raw.init_default, roles, agents: agents?, rounds: rounds? })
}

fn deliberation(raw: &RawDeliberation, rules: &mut Rules<'_>) -> Option<DeliberationConfig> {
    let timeout = rules.time_within("deliberation.timeout", raw.timeout, 1.0..=DAY);
    let prompts = rules.path("deliberation.prompts", &raw.prompts, Path::is_dir, "folder");
    Some(DeliberationConfig { timeout: timeout?, prompts: prompts? })
}

fn checks(raw: &RawChecks, rules: &mut Rules<'_>) -> Option<ChecksConfig> {
    let policy = rules.path("checks.policy", &raw.policy, Path::is_file, "file");
    let protected = match Guard::new(raw.protected.iter().cloned(), []) {
        Ok(_) => Some(raw.protected.iter().map(|glob| glob.as_str().into()).collect()),
        Err(wrong) => rules.refuse("checks.protected", wrong.join("; ")),
    };
    Some(ChecksConfig { enabled: raw.enabled, policy: policy?, protected: protected? })
}

fn limits(raw: &RawLimits, rules: &mut Rules<'_>) -> Option<LimitsConfig> {
    let open = rules.whole::<u32>("limits.open_deliberations", raw.open_deliberations, 1..=1_000_000);
    let tokens = rules.whole::<u64>("limits.tokens_per_day", raw.tokens_per_day, 0..=i64::MAX);
    Some(LimitsConfig {
        open_deliberations: NonZeroU32::new(open?)?,
        tokens_per_day: Some(tokens?).filter(|most| *most > 0),
    })
}

fn log(raw: &RawLog, rules: &mut Rules<'_>) -> Option<LogConfig> {
    let format = rules.word("log.format", &raw.format, &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    let filter = match EnvFilter::try_new(&raw.filter) {
        Ok(_) => Some(raw.filter.clone()),
        Err(error) => rules.refuse("log.filter", format!("is not a log filter: {error}")),
    };
    Some(LogConfig { format: format?, filter: filter? })
}
