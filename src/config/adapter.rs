//! The configuration in the words of the gRPC services.

use moothall_actors::domain::council::Sampling;

use super::section::{Config, ProfileConfig};
use crate::grpc::{AgentSettings, AllowedHosts, ModelProfile};
use crate::vllm::HostPattern;

impl From<&Config> for AgentSettings {
    fn from(config: &Config) -> Self {
        let own = config.model.replicas.iter().filter_map(|url| url.host_str()).map(str::to_owned);
        let allowed = config.model.allowed_endpoints.iter().flat_map(names);
        Self {
            agent_type: config.agents.default_type.as_str().into(),
            allow_mock: config.agents.allow_mock,
            allowed_endpoints: AllowedHosts::new(allowed.chain(own)),
            profiles: config.profiles.iter().map(|(name, profile)| (name.clone(), profile.into())).collect(),
            default_model: config.model.model.as_str().into(),
        }
    }
}

impl From<&ProfileConfig> for ModelProfile {
    fn from(profile: &ProfileConfig) -> Self {
        Self {
            url: profile.url.as_ref().map(|url| url.as_str().trim_end_matches('/').into()),
            model: profile.name.clone().unwrap_or_default(),
            sampling: Sampling::default(),
        }
    }
}

fn names(pattern: &HostPattern) -> Vec<String> {
    match pattern {
        HostPattern::Loopback => ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec(),
        other => vec![other.to_string()],
    }
}
