//! From the configuration to what each part wants to know.

use std::str::FromStr;
use std::sync::Arc;

use moothall_actors::Settings;
use moothall_actors::domain::council::Sampling;

use super::AppError;
use crate::config::{AgentType, Config, ModelName, ResponseFormat};
use crate::grpc::{AgentSettings, AllowedHosts, GrpcSettings, ModelProfile};
use crate::vllm::{self, AUTO_MODEL, BreakerSettings, HostPattern, Profile, Retry, VllmSettings};

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

pub(super) fn vllm(config: &Config) -> Result<VllmSettings, AppError> {
    let model = &config.model;
    let mut settings = VllmSettings::new(model.urls.clone());
    settings.model = match &model.name {
        ModelName::Auto => AUTO_MODEL.to_owned(),
        ModelName::Named(name) => name.to_string(),
    };
    settings.api_key = Some(model.api_key.clone()).filter(|key| !key.is_empty());
    let profiles =
        model.profiles.values().filter_map(|profile| Some((profile.url.as_ref()?, profile.api_key.clone()?)));
    for (url, api_key) in profiles {
        let host = url.host_str().unwrap_or_default();
        let hosts = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        settings.profiles.push(Profile { hosts: pattern(&hosts)?, api_key });
    }
    settings.allowed_endpoints =
        config.agents.allowed_endpoints.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?;
    settings.temperature = model.temperature;
    settings.top_p = model.top_p;
    let tokens = &model.max_tokens;
    settings.max_tokens = vllm::TokenLimits {
        propose: tokens.propose.get(),
        critique: tokens.critique.get(),
        revise: tokens.revise.get(),
        score: tokens.critique.get(),
        select: tokens.select.get(),
        overall: tokens.every.map(std::num::NonZeroU32::get),
    };
    settings.timeout = model.timeout;
    settings.stream =
        model.stream.map(|limits| vllm::StreamLimits { first_token: limits.first_token, silence: limits.silence });
    settings.calls_per_replica = model.concurrency_per_replica.get();
    settings.waiting_per_replica = model.waiting;
    settings.retry = Retry { times: model.retry.retries, first: model.retry.shortest, last: model.retry.longest };
    settings.breaker = BreakerSettings {
        failures: model.breaker.failures.get(),
        open_first: model.breaker.shortest,
        open_most: model.breaker.longest,
    };
    settings.response_format = match model.response_format {
        ResponseFormat::None => vllm::ResponseFormat::None,
        ResponseFormat::JsonObject => vllm::ResponseFormat::JsonObject,
        ResponseFormat::JsonSchema => vllm::ResponseFormat::JsonSchema,
    };
    settings.extra_body = Some(model.extra_body.clone()).filter(|body| !body.is_empty());
    Ok(settings)
}

fn pattern(text: &str) -> Result<HostPattern, AppError> {
    HostPattern::from_str(text).map_err(|error| AppError::Configuration(format!("agents.allowed_endpoints: {error}")))
}

pub(super) fn grpc(config: &Config) -> GrpcSettings {
    let hosts = config.model.urls.iter().filter_map(|url| url.host_str()).map(str::to_owned);
    let allowed = config.agents.allowed_endpoints.iter().map(ToString::to_string).chain(hosts);
    let profiles = config.model.profiles.iter().map(|(name, profile)| {
        let profile = ModelProfile {
            url: profile.url.as_ref().map(|url| url.as_str().trim_end_matches('/').into()),
            model: profile.name.clone().unwrap_or_default(),
            sampling: Sampling::default(),
        };
        (name.clone(), profile)
    });
    let default_model: Arc<str> = match &config.model.name {
        ModelName::Auto => AUTO_MODEL.into(),
        ModelName::Named(name) => name.clone(),
    };
    GrpcSettings {
        agents: AgentSettings {
            agent_type: config.agents.default_type.as_str().into(),
            allow_mock: config.agents.allow_mock,
            allowed_endpoints: AllowedHosts::new(allowed),
            profiles: profiles.collect(),
            default_model,
        },
        simulated: config.agents.default_type == AgentType::Mock,
        ..GrpcSettings::default()
    }
}
