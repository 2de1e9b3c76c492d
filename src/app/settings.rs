//! From the configuration to what each part wants to know.

use moothall_actors::Settings;
use moothall_actors::domain::council::Sampling;

use crate::config::{AgentType, Config, HostPattern, ProfileConfig};
use crate::grpc::{AgentSettings, GrpcSettings, ModelProfile};

pub(super) fn system(config: &Config) -> Settings {
    Settings {
        open_deliberations: config.limits.open_deliberations.get(),
        deadline: config.deliberation.timeout,
        call_timeout: config.model.timeout,
        calls_per_agent: config.agents.max_concurrent_tasks.get() as usize,
        temperature: config.model.temperature,
        tokens_per_day: config.limits.tokens_per_day,
        ..Settings::default()
    }
}

pub(super) fn grpc(config: &Config) -> GrpcSettings {
    let own = config.model.replicas.iter().filter_map(HostPattern::host_of);
    let allowed = config.model.allowed_endpoints.iter().cloned();
    let profiles = config.profiles.iter().map(|(name, profile)| (name.clone(), model_profile(profile)));
    GrpcSettings {
        agents: AgentSettings {
            agent_type: config.agents.default_type.as_str().into(),
            allow_mock: config.agents.allow_mock,
            allowed_endpoints: allowed.chain(own).collect(),
            profiles: profiles.collect(),
            default_model: config.model.model.as_str().into(),
        },
        simulated: config.agents.default_type == AgentType::Mock,
        ..GrpcSettings::default()
    }
}

fn model_profile(profile: &ProfileConfig) -> ModelProfile {
    ModelProfile {
        url: profile.url.as_ref().map(|url| url.as_str().trim_end_matches('/').into()),
        model: profile.name.clone().unwrap_or_default(),
        sampling: Sampling::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn agents_may_name_this_machine_the_model_servers_and_the_profiles() {
        let flags = ["model.profiles.large.url=https://models.example.com/v1", "model.profiles.large.api_key=k"];
        let sources = Sources { overrides: flags.map(str::to_owned).to_vec(), ..Sources::default() };
        let settings = grpc(&Config::load(&sources).unwrap().config);
        let allowed = settings.agents.allowed_endpoints.to_string();
        assert_eq!(allowed, "loopback, models.example.com:443, vllm");
        assert_eq!(settings.agents.profiles["large"].url.as_deref(), Some("https://models.example.com/v1"));
    }
}
