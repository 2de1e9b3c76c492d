//! From the configuration to what each part wants to know.

use moothall_actors::domain::council::{Endpoint, Sampling};
use moothall_actors::queue::Limits;
use moothall_actors::{QueueSettings, Settings, WorkflowSettings};

use super::councils;
use crate::config::{AgentType, Config, HostPattern, ProfileConfig};
use crate::grpc::{AgentSettings, GrpcSettings, ModelProfile};
use crate::intake::IntakeSettings;
use crate::runner::RunnerSettings;

/// The dispatcher refuses what is too much; what is in the journal always fits.
pub(super) fn queue_limits(config: &Config) -> Limits {
    Limits { age: config.queue.age, most: usize::MAX, ..Limits::default() }
}

/// `store`: the id of the store, which says whose leases are whose.
pub(super) fn system(config: &Config, store: &str) -> Settings {
    Settings {
        open_deliberations: config.limits.open_deliberations.get(),
        deadline: config.deliberation.timeout,
        call_timeout: config.model.timeout,
        calls_per_agent: config.agents.max_concurrent_tasks.get() as usize,
        temperature: config.model.temperature,
        tokens_per_day: config.limits.tokens_per_day,
        protected: config.checks.protected.clone(),
        context_tokens: config.context.token_budget,
        ray_fallback: config.executor.ray_fallback,
        executor_waves: config.executor.waves,
        backlog_by_executor: config.executor.is_named,
        workflows: WorkflowSettings { phases: config.workflows.phases, ..WorkflowSettings::default() },
        queue: QueueSettings { holder: store.into(), ..config.queue.dispatch.clone() },
        ..Settings::default()
    }
}

pub(super) fn intake(config: &Config) -> IntakeSettings {
    IntakeSettings { plans: config.plans.clone(), council: councils::template(config) }
}

pub(super) fn grpc(config: &Config) -> GrpcSettings {
    let profiles = config.profiles.iter().map(|(name, profile)| (name.clone(), model_profile(profile)));
    GrpcSettings {
        agents: AgentSettings {
            agent_type: config.agents.default_type.as_str().into(),
            allow_mock: config.agents.allow_mock,
            allowed_endpoints: allowed(config).collect(),
            profiles: profiles.collect(),
            default_model: config.model.model.as_str().into(),
            has_executor: config.executor.service.is_some(),
        },
        simulated: config.agents.default_type == AgentType::Mock,
        ..GrpcSettings::default()
    }
}

/// Outside agents are called as patiently and as often as model servers.
pub(super) fn runners(config: &Config) -> RunnerSettings {
    RunnerSettings {
        keys: config.runners.keys.clone(),
        allowed_endpoints: allowed(config).collect(),
        silence: config.runners.silence,
        calls_per_runner: config.runners.calls,
        progress_per_second: config.runners.progress_per_second,
        timeout: config.model.timeout,
        waiting_per_runner: config.model.waiting_per_replica,
        retry: config.model.retry,
        breaker: config.model.breaker,
        temperature: config.model.temperature,
        max_tokens: config.model.max_tokens.clone(),
        ..RunnerSettings::default()
    }
}

/// `agents.allowed_endpoints`, the profiles' hosts and those of the model servers.
fn allowed(config: &Config) -> impl Iterator<Item = HostPattern> {
    let own = config.model.replicas.iter().filter_map(HostPattern::host_of);
    config.model.allowed_endpoints.iter().cloned().chain(own)
}

fn model_profile(profile: &ProfileConfig) -> ModelProfile {
    let server = profile.url.as_ref().map(|url| Endpoint::Url(url.as_str().trim_end_matches('/').into()));
    let runner = profile.runner.as_ref().map(|runner| Endpoint::Runner(runner.shown().clone()));
    ModelProfile {
        endpoint: server.or(runner).unwrap_or(Endpoint::Pool),
        model: profile.name.clone().unwrap_or_default(),
        sampling: Sampling::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn as_many_phases_are_executed_as_configured() {
        let sources = Sources { overrides: vec!["workflows.phases=7".to_owned()], ..Sources::default() };
        assert_eq!(system(&Config::load(&sources).unwrap().config, "store").workflows.phases, 7);
    }

    #[test]
    fn agents_may_name_this_machine_the_model_servers_and_the_profiles() {
        let flags = ["model.profiles.large.url=https://models.example.com/v1", "model.profiles.large.api_key=k"];
        let sources = Sources { overrides: flags.map(str::to_owned).to_vec(), ..Sources::default() };
        let settings = grpc(&Config::load(&sources).unwrap().config);
        let allowed = settings.agents.allowed_endpoints.to_string();
        assert_eq!(allowed, "loopback, models.example.com:443, vllm");
        let endpoint = Endpoint::Url("https://models.example.com/v1".into());
        assert_eq!(settings.agents.profiles["large"].endpoint, endpoint);
    }
}
