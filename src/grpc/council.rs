//! Councils and agents: requests parsed into drafts and seats, standings shown as messages.

use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::sync::Arc;

use moothall_actors::CouncilDraft;
use moothall_actors::artifact::Wanted;
use moothall_actors::domain::council::{Capabilities, Defaults, Endpoint, MAX_SEATS, Sampling, Seat};
use moothall_actors::domain::id::{AgentId, Role};
use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::task::{MAX_ROUNDS, MAX_TIMEOUT_SECONDS};
use moothall_actors::view::{AgentView, CouncilView};
use tonic::Status;
use url::Url;

use super::endpoint::{Address, AllowedHosts, ModelProfile, ModelProfiles, address, allowed, server_url};
use super::number::int;
use super::proto::fleet::orchestrator::v1 as fleet;
use super::request;
use crate::error::{Kind, invalid, refuse};

/// Agents of a council that names no number.
const DEFAULT_AGENTS: usize = 3;
const MAX_CALLS_AT_ONCE: i32 = 1024;
const MAX_DEADLINE: u32 = MAX_TIMEOUT_SECONDS.cast_unsigned();
const MAX_MODEL_BYTES: usize = 256;

/// What agents may be, as the configuration says.
#[derive(Clone, Debug, Default)]
pub struct AgentSettings {
    /// For councils that name none: `VLLM`, `RAY_VLLM` or `MOCK`.
    pub agent_type: Arc<str>,
    pub allow_mock: bool,
    pub allowed_endpoints: AllowedHosts,
    pub profiles: ModelProfiles,
    /// Shown for councils that name no model.
    pub default_model: Arc<str>,
    /// Whether agents can be of type `RAY_VLLM`.
    pub has_executor: bool,
}

/// The council that a request describes.
pub(super) fn draft(request: fleet::CreateCouncilRequest, settings: &AgentSettings) -> Result<CouncilDraft, Status> {
    let mut problems = Problems::default();
    let role = problems.keep(Role::parse("role", &request.role));
    let num_agents = agents(&mut problems, request.num_agents);
    let config = request.config.unwrap_or_default();
    let rounds = u8::try_from(config.deliberation_rounds).ok().filter(|&rounds| rounds <= MAX_ROUNDS);
    if rounds.is_none() {
        let given = config.deliberation_rounds;
        problems.push("config.deliberation_rounds", format!("is {given}; allowed are 0 (= 1) to {MAX_ROUNDS}"));
    }
    let review = peer_review(&mut problems, &config);
    let (profile, named_model) = profile(&mut problems, "config.model_profile", &config.model_profile, settings);
    let custom = Custom::parse(&mut problems, &config);
    let agent_type = agent_type(&mut problems, &config.agent_type, settings);
    let (Some(role), Some(rounds), true) = (role, rounds, problems.0.is_empty()) else {
        return Err(invalid(&problems));
    };
    let own = custom.url.map(Address::Server);
    let endpoint = endpoint(&agent_type, own.as_ref(), &profile, settings)?;
    let model = custom.model.unwrap_or(named_model);
    let sampling = custom.sampling.or(&profile.sampling);
    let defaults = custom.defaults;
    Ok(CouncilDraft { role, num_agents, rounds, review, agent_type, model, endpoint, sampling, defaults })
}

/// Where the calls of an agent of this type go. `own`: an address of its own.
fn endpoint(
    agent_type: &str,
    own: Option<&Address>,
    profile: &ModelProfile,
    settings: &AgentSettings,
) -> Result<Endpoint, Status> {
    let is_elsewhere = own.is_some() || profile.endpoint != Endpoint::Pool;
    match (agent_type, own) {
        ("MOCK", _) if !settings.allow_mock => Err(refuse(Kind::WrongState, NO_MOCK)),
        ("MOCK", _) => Ok(Endpoint::Mock),
        ("RAY_VLLM", _) if !settings.has_executor => Err(refuse(Kind::WrongState, NO_EXECUTOR)),
        ("RAY_VLLM", _) if is_elsewhere => Err(refuse(Kind::WrongState, NOT_BY_EXECUTOR)),
        ("RAY_VLLM", _) => Ok(Endpoint::Ray),
        (_, Some(address)) => allowed(address, &settings.allowed_endpoints),
        (_, None) => Ok(profile.endpoint.clone()),
    }
}

const NO_EXECUTOR: &str = "agent_type RAY_VLLM needs an executor, and executor.address (EXECUTOR_ADDRESS) is empty; VLLM \
                           agents call model servers directly";
const NOT_BY_EXECUTOR: &str = "agents of type RAY_VLLM are asked at the model servers of the configuration; one with a \
                               server of its own must be of type VLLM";
const NO_MOCK: &str = "agent_type MOCK has scripted answers and is refused; agents.allow_mock (ALLOW_MOCK_AGENTS=true) \
                       allows it";

fn agents(problems: &mut Problems, given: i32) -> usize {
    let asked = usize::try_from(given).unwrap_or(0);
    if asked > MAX_SEATS {
        problems.push("num_agents", format!("is {given}; at most {MAX_SEATS} are allowed, 0 or less = 3"));
    }
    if asked == 0 { DEFAULT_AGENTS } else { asked }
}

/// `enable_peer_review=false` cannot be told from unset, so that it counts only beside `custom_params.peer_review`.
fn peer_review(problems: &mut Problems, config: &fleet::CouncilConfig) -> bool {
    match config.custom_params.get("peer_review").map(String::as_str) {
        None | Some("on") => true,
        Some("off") => config.enable_peer_review,
        Some(other) => {
            let shown = crate::error::cut(other, 64);
            problems.push("config.custom_params.peer_review", format!("is {shown:?}; allowed are \"on\" and \"off\""));
            true
        }
    }
}

fn agent_type(problems: &mut Problems, given: &str, settings: &AgentSettings) -> Arc<str> {
    let raised = given.to_ascii_uppercase();
    match raised.as_str() {
        "" => settings.agent_type.clone(),
        "VLLM" | "RAY_VLLM" | "MOCK" => raised.into(),
        _ => {
            let shown = crate::error::cut(given, 64);
            problems.push("config.agent_type", format!("is {shown:?}; allowed are VLLM, RAY_VLLM and MOCK"));
            settings.agent_type.clone()
        }
    }
}

/// A profile's name stands for its server and model; any other text is a model's name.
fn profile(problems: &mut Problems, field: &str, name: &str, settings: &AgentSettings) -> (ModelProfile, Arc<str>) {
    match settings.profiles.get(name) {
        Some(profile) => (profile.clone(), profile.model.clone()),
        None => (ModelProfile::default(), model(problems, field, name)),
    }
}

fn model(problems: &mut Problems, field: &str, name: &str) -> Arc<str> {
    if name.len() > MAX_MODEL_BYTES || name.chars().any(char::is_control) {
        problems
            .push(field, format!("is not a model's name: at most {MAX_MODEL_BYTES} bytes without control characters"));
    }
    name.into()
}

/// `custom_params`, as far as they are read.
struct Custom {
    url: Option<Url>,
    model: Option<Arc<str>>,
    sampling: Overrides,
    defaults: Defaults,
}

/// What a request sets goes before what its profile says.
struct Overrides(Sampling);

impl Overrides {
    fn or(self, profile: &Sampling) -> Sampling {
        Sampling {
            temperature: self.0.temperature.or(profile.temperature),
            top_p: self.0.top_p.or(profile.top_p),
            max_tokens: self.0.max_tokens.or(profile.max_tokens),
            seed: self.0.seed.or(profile.seed),
        }
    }
}

impl Custom {
    fn parse(problems: &mut Problems, config: &fleet::CouncilConfig) -> Self {
        request::map(problems, "config.custom_params", &config.custom_params);
        let param = |key: &str| {
            let text = config.custom_params.get(key).map(|text| text.trim()).filter(|text| !text.is_empty());
            text.map(|text| (format!("config.custom_params.{key}"), text))
        };
        let url = param("vllm_url").and_then(|(field, text)| problems.keep(server_url(&field, text)));
        let model = param("model").map(|(field, text)| model(problems, &field, text));
        let sampling = Sampling {
            temperature: within(problems, param("temperature"), "0 to 2", |&t: &f32| (0.0..=2.0).contains(&t)),
            top_p: within(problems, param("top_p"), "above 0 to 1", |&p: &f32| p > 0.0 && p <= 1.0),
            max_tokens: within(problems, param("max_tokens"), "1 to 1048576", |n: &u32| (1..=1 << 20).contains(n)),
            seed: within(problems, param("seed"), "0 to 4294967295", |_: &u32| true),
        };
        let deadline = 1..=MAX_DEADLINE;
        let rule = format!("1 to {MAX_DEADLINE}");
        let defaults = Defaults {
            artifact: param("artifact").and_then(|(field, text)| artifact(problems, field, text)),
            persona: param("persona").map(|(_, text)| text.into()),
            deadline_seconds: within(problems, param("deadline_seconds"), &rule, |s: &NonZeroU32| {
                deadline.contains(&s.get())
            }),
            budget_tokens: within(problems, param("budget_tokens"), "a whole number from 1", |_: &NonZeroU64| true),
        };
        Self { url, model, sampling: Overrides(sampling), defaults }
    }
}

fn artifact(problems: &mut Problems, field: String, text: &str) -> Option<Wanted> {
    let wanted = Wanted::parse(text);
    if wanted.is_none() {
        let shown = crate::error::cut(text, 64);
        problems.push(field, format!("is {shown:?}; allowed are auto, files, patch, document and none"));
    }
    wanted
}

fn within<T: FromStr>(
    problems: &mut Problems,
    given: Option<(String, &str)>,
    rule: &str,
    good: impl Fn(&T) -> bool,
) -> Option<T> {
    let (field, text) = given?;
    let parsed = text.parse().ok().filter(|value| good(value));
    if parsed.is_none() {
        problems.push(field, format!("is {:?}; allowed is {rule}", crate::error::cut(text, 64)));
    }
    parsed
}

/// The seat that an agent asks for, and whose it is.
pub(super) fn seat(
    request: fleet::RegisterAgentRequest,
    settings: &AgentSettings,
    type_of: impl Fn(&Role) -> Option<Arc<str>>,
) -> Result<(Role, Seat), Status> {
    let mut problems = Problems::default();
    let agent = problems.keep(AgentId::parse("agent_id", &request.agent_id));
    let role = problems.keep(Role::parse("role", &request.role));
    let capabilities = capabilities(&mut problems, request.capabilities.unwrap_or_default());
    let field = "capabilities.model_profile";
    let (profile, model) = profile(&mut problems, field, &capabilities.model_profile, settings);
    request::map(&mut problems, "metadata", &request.metadata);
    let (kind, own) = match request.endpoint.as_str() {
        "" => (None, None),
        "pool" => (Some("VLLM"), None),
        "ray" => (Some("RAY_VLLM"), None),
        text => (Some("VLLM"), problems.keep(address("endpoint", text))),
    };
    let (Some(agent), Some(role), true) = (agent, role, problems.0.is_empty()) else {
        return Err(invalid(&problems));
    };
    let of_council = type_of(&role);
    let endpoint = match (kind, of_council.as_deref()) {
        (Some(kind), _) => endpoint(kind, own.as_ref(), &profile, settings)?,
        // As its council's are, unless its profile names a server.
        (None, Some("MOCK")) => Endpoint::Mock,
        (None, Some("RAY_VLLM")) if profile.endpoint == Endpoint::Pool => Endpoint::Ray,
        (None, _) => profile.endpoint,
    };
    let seat = Seat { agent, endpoint, model, sampling: profile.sampling, capabilities, metadata: request.metadata };
    Ok((role, seat))
}

fn capabilities(problems: &mut Problems, given: fleet::AgentCapabilities) -> Capabilities {
    request::texts(problems, "capabilities.supported_tasks", &given.supported_tasks);
    request::texts(problems, "capabilities.languages", &given.languages);
    let calls = given.max_concurrent_tasks;
    if !(0..=MAX_CALLS_AT_ONCE).contains(&calls) {
        let rule = format!("is {calls}; allowed are 0 (the configured number) to {MAX_CALLS_AT_ONCE}");
        problems.push("capabilities.max_concurrent_tasks", rule);
    }
    Capabilities {
        supported_tasks: given.supported_tasks,
        model_profile: given.model_profile,
        max_concurrent_tasks: u32::try_from(calls).unwrap_or(0),
        languages: given.languages,
    }
}

/// A council as it stands.
pub(super) fn info(view: &CouncilView, include_agents: bool, settings: &AgentSettings) -> fleet::CouncilInfo {
    let council = &view.council;
    let model = match &*council.model {
        "" if &*council.agent_type == "MOCK" => "scripted",
        "" => &settings.default_model,
        named => named,
    };
    let agents = view.agents.iter().filter(|_| include_agents).map(|agent| agent_info(agent, &council.role)).collect();
    fleet::CouncilInfo {
        council_id: council.role.council_id(),
        role: council.role.to_string(),
        num_agents: int(view.agents.len()),
        agents,
        status: view.status.as_str().to_owned(),
        model: model.to_owned(),
    }
}

fn agent_info(view: &AgentView, role: &Role) -> fleet::AgentInfo {
    let capabilities = &view.seat.capabilities;
    fleet::AgentInfo {
        agent_id: view.seat.agent.to_string(),
        role: role.to_string(),
        status: view.status.as_str().to_owned(),
        capabilities: Some(fleet::AgentCapabilities {
            supported_tasks: capabilities.supported_tasks.clone(),
            model_profile: capabilities.model_profile.clone(),
            max_concurrent_tasks: int(capabilities.max_concurrent_tasks),
            languages: capabilities.languages.clone(),
        }),
    }
}

#[cfg(test)]
#[path = "council_tests.rs"]
mod tests;
