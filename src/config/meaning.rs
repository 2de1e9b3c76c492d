//! Section by section: which rule each key obeys, and what the section means.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moothall_actors::domain::council::{MAX_COUNCILS, MAX_SEATS};
use moothall_actors::domain::id::Role;
use moothall_actors::domain::task::MAX_ROUNDS;
use serde::Deserialize;
use serde_json::Map;
use toml::Value;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::raw::{
    RawAgents, RawChecks, RawConfig, RawCouncils, RawDeliberation, RawLimits, RawLog, RawModel, RawNats, RawProfile,
    RawServer, RawStore,
};
use super::rule::{DAY, Rules, is_host};
use super::secret::Secret;
use super::section::{
    AgentType, AgentsConfig, BreakerConfig, ChecksConfig, Config, CouncilsConfig, DeliberationConfig, LimitsConfig,
    LogConfig, LogFormat, ModelConfig, ModelName, NatsConfig, ProfileConfig, ResponseFormat, RetryConfig, ServerConfig,
    StoreConfig, StreamLimits, TokenLimits,
};

/// `None` = some rule was broken, and noted.
pub(super) fn config(raw: &RawConfig, rules: &mut Rules<'_>) -> Option<Config> {
    let server = server(&raw.server, rules);
    let nats = nats(&raw.nats, rules);
    let store = store(&raw.store, rules);
    let queue = optional(&raw.queue.url, |text| rules.url("queue.url", text, &["redis", "rediss"]));
    let executor = rules.address("executor.address", &raw.executor.address);
    let context = optional(&raw.context.address, |text| rules.address("context.address", text));
    let hub = optional(&raw.hub.url, |text| rules.web("hub.url", text));
    let model = model(&raw.model, rules);
    let agents = agents(&raw.agents, model.as_ref(), rules);
    let councils = councils(&raw.councils, rules);
    let deliberation = deliberation(&raw.deliberation, rules);
    let checks = checks(&raw.checks, rules);
    let limits = limits(&raw.limits, rules);
    let drain = rules.time_within("drain.timeout", raw.drain.timeout, 0.0..=DAY);
    let log = log(&raw.log, rules);
    Some(Config {
        server: server?,
        nats: nats?,
        store: store?,
        queue: queue?,
        executor: executor?,
        context: context?,
        hub: hub?,
        model: model?,
        agents: agents?,
        councils: councils?,
        deliberation: deliberation?,
        checks: checks?,
        limits: limits?,
        drain: drain?,
        log: log?,
    })
}

/// Empty means «none», which is never wrong.
fn optional<T>(text: &str, rule: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
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
    Some(NatsConfig { enabled: raw.enabled, urls: urls? })
}

fn store(raw: &RawStore, rules: &mut Rules<'_>) -> Option<StoreConfig> {
    let file = raw.url.strip_prefix("sqlite:///").is_some_and(|path| !path.trim_matches('/').is_empty());
    let url = if file || raw.url == "memory://" {
        Some(Arc::from(raw.url.as_str()))
    } else {
        rules.refuse("store.url", "must be sqlite:///relative/path, sqlite:////absolute/path or memory://")
    };
    let backups = rules.text("store.backups", &raw.backups);
    Some(StoreConfig { url: url?, backups: PathBuf::from(&*backups?) })
}

fn model(raw: &RawModel, rules: &mut Rules<'_>) -> Option<ModelConfig> {
    let urls = model_urls(&raw.urls, rules);
    let name = rules.text("model.name", &raw.name);
    let api_key = key("model.api_key", &raw.api_key, rules);
    let temperature = rules.number("model.temperature", raw.temperature, 0.0..=2.0);
    let top_p = rules.number("model.top_p", raw.top_p, 0.0..=1.0);
    let max_tokens = max_tokens(raw, rules);
    let timeout = rules.time("model.timeout", raw.timeout);
    let first_token = rules.time("model.first_token_timeout", raw.first_token_timeout);
    let silence = rules.time("model.silence_timeout", raw.silence_timeout);
    let concurrency = rules.at_least_one("model.concurrency_per_replica", raw.concurrency_per_replica, 65_536);
    let waiting = rules.whole("model.waiting", raw.waiting, 0..=1_000_000);
    let retry = retry(raw, rules);
    let breaker = breaker(raw, rules);
    let formats = [
        ("json_object", ResponseFormat::JsonObject),
        ("json_schema", ResponseFormat::JsonSchema),
        ("none", ResponseFormat::None),
    ];
    let response_format = rules.word("model.response_format", &raw.response_format, &formats);
    let extra_body = extra_body(&raw.extra_body, rules);
    let profiles = profiles(&raw.profiles, rules);
    let stream = StreamLimits { first_token: first_token?, silence: silence? };
    let name = name?;
    Some(ModelConfig {
        urls: urls?,
        name: if &*name == "auto" { ModelName::Auto } else { ModelName::Named(name) },
        api_key: api_key?,
        temperature: temperature?,
        top_p: Some(top_p?).filter(|share| *share > 0.0),
        max_tokens: max_tokens?,
        timeout: timeout?,
        stream: raw.stream.then_some(stream),
        concurrency_per_replica: concurrency?,
        waiting: waiting?,
        retry: retry?,
        breaker: breaker?,
        response_format: response_format?,
        extra_body: extra_body?,
        profiles: profiles?,
    })
}

fn model_urls(given: &[String], rules: &mut Rules<'_>) -> Option<Vec<Url>> {
    if given.is_empty() {
        return rules.refuse("model.urls", "must name at least one server");
    }
    let parsed: Vec<_> = given.iter().map(|text| rules.web("model.urls", text)).collect();
    let urls: Vec<Url> = parsed.into_iter().collect::<Option<_>>()?;
    let twice = urls.iter().enumerate().find(|(place, url)| urls[..*place].contains(url));
    match twice {
        Some((_, url)) => rules.refuse("model.urls", format!("names {url} twice")),
        None => Some(urls),
    }
}

/// A key stands in a header.
fn key(name: &str, text: &str, rules: &mut Rules<'_>) -> Option<Secret> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(Secret::new(text));
    }
    rules.refuse(name, "must be visible ASCII without blanks")
}

fn max_tokens(raw: &RawModel, rules: &mut Rules<'_>) -> Option<TokenLimits> {
    let every = rules.whole::<u32>("model.max_tokens", raw.max_tokens, 0..=1_000_000);
    let propose = rules.tokens("model.max_tokens_propose", raw.max_tokens_propose);
    let critique = rules.tokens("model.max_tokens_critique", raw.max_tokens_critique);
    let revise = rules.tokens("model.max_tokens_revise", raw.max_tokens_revise);
    let select = rules.tokens("model.max_tokens_select", raw.max_tokens_select);
    Some(TokenLimits {
        propose: propose?,
        critique: critique?,
        revise: revise?,
        select: select?,
        every: NonZeroU32::new(every?),
    })
}

fn retry(raw: &RawModel, rules: &mut Rules<'_>) -> Option<RetryConfig> {
    let retries = rules.whole("model.retries", raw.retries, 0..=20);
    let span = rules.span(("model.retry_min", raw.retry_min), ("model.retry_max", raw.retry_max));
    let (shortest, longest) = span?;
    Some(RetryConfig { retries: retries?, shortest, longest })
}

fn breaker(raw: &RawModel, rules: &mut Rules<'_>) -> Option<BreakerConfig> {
    let failures = rules.whole::<u32>("model.breaker_failures", raw.breaker_failures, 1..=1_000);
    let span =
        rules.span(("model.breaker_open_min", raw.breaker_open_min), ("model.breaker_open_max", raw.breaker_open_max));
    let (shortest, longest) = span?;
    Some(BreakerConfig { failures: NonZeroU32::new(failures?)?, shortest, longest })
}

/// What Moothall itself puts into a request cannot be merged over.
const OWN_FIELDS: [&str; 3] = ["messages", "model", "stream"];

fn extra_body(given: &toml::Table, rules: &mut Rules<'_>) -> Option<Map<String, serde_json::Value>> {
    if let Some(own) = OWN_FIELDS.iter().find(|name| given.contains_key(**name)) {
        return rules.refuse("model.extra_body", format!("must not hold `{own}`"));
    }
    match serde_json::to_value(given) {
        Ok(serde_json::Value::Object(map)) => Some(map),
        _ => rules.refuse("model.extra_body", "must be a table that JSON can express"),
    }
}

fn profiles(given: &toml::Table, rules: &mut Rules<'_>) -> Option<BTreeMap<String, ProfileConfig>> {
    let parsed: Vec<_> = given.iter().map(|(name, value)| profile(name, value, rules)).collect();
    parsed.into_iter().collect()
}

fn profile(name: &str, value: &Value, rules: &mut Rules<'_>) -> Option<(String, ProfileConfig)> {
    let place = "model.profiles";
    let Ok(raw) = RawProfile::deserialize(value.clone()) else {
        return rules.refuse(place, format!("`{name}` may hold the texts url, name and api_key, and nothing else"));
    };
    let before = rules.problems.len();
    let url = raw.url.as_deref().map(|text| rules.web(place, text));
    let api_key = raw.api_key.as_deref().map(|text| key(place, text, rules));
    if raw.api_key.is_some() && raw.url.is_none() {
        rules.refuse::<()>(place, "has an api_key but no url: it would be sent nowhere");
    }
    for problem in &mut rules.problems[before..] {
        problem.rule = format!("`{name}` {}", problem.rule);
    }
    let profile = ProfileConfig { url: url.flatten(), name: raw.name.map(Into::into), api_key: api_key.flatten() };
    (rules.problems.len() == before).then(|| (name.to_owned(), profile))
}

fn agents(raw: &RawAgents, model: Option<&ModelConfig>, rules: &mut Rules<'_>) -> Option<AgentsConfig> {
    let kinds = [("VLLM", AgentType::Vllm), ("RAY_VLLM", AgentType::RayVllm), ("MOCK", AgentType::Mock)];
    let mut default_type = rules.word("agents.type", &raw.r#type, &kinds);
    if default_type == Some(AgentType::Mock) && !raw.allow_mock {
        default_type = rules.refuse("agents.type", "MOCK needs agents.allow_mock = true");
    }
    let most = rules.whole::<u32>("agents.max_concurrent_tasks", raw.max_concurrent_tasks, 1..=65_536);
    let wrong = raw.allowed_endpoints.iter().find(|text| !is_pattern(text));
    if let Some(text) = wrong {
        return rules.refuse(
            "agents.allowed_endpoints",
            format!("{text:?} is no host pattern; allowed are \"host\", \"host:port\", \"*.example.com\" and \"*\""),
        );
    }
    let own = model
        .into_iter()
        .flat_map(|model| model.urls.iter().chain(model.profiles.values().filter_map(|profile| profile.url.as_ref())));
    let mut allowed: Vec<Arc<str>> = raw.allowed_endpoints.iter().map(|text| text.as_str().into()).collect();
    for host in own.filter_map(Url::host_str) {
        if !allowed.iter().any(|there| &**there == host) {
            allowed.push(host.into());
        }
    }
    Some(AgentsConfig {
        default_type: default_type?,
        allow_mock: raw.allow_mock,
        allowed_endpoints: allowed,
        max_concurrent_tasks: NonZeroU32::new(most?)?,
    })
}

fn is_pattern(text: &str) -> bool {
    text == "*" || is_host(text.strip_prefix("*.").unwrap_or(text))
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
    Some(ChecksConfig { enabled: raw.enabled, policy: policy? })
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
