//! The councils that are made when there is none.

use std::sync::Arc;

use moothall_actors::domain::council::{Defaults, Endpoint, Sampling};
use moothall_actors::error::SystemError;
use moothall_actors::{CouncilDraft, System};

use super::AppError;
use crate::config::{AgentType, Config};
use crate::vllm::AUTO_MODEL;

/// Only a store without any council gets them: one that was deleted stays deleted.
pub(super) async fn make_default(system: &System, config: &Config) -> Result<(), AppError> {
    if !config.councils.init_default || !system.councils().is_empty() {
        return Ok(());
    }
    let endpoint = match config.agents.default_type {
        AgentType::Vllm => Endpoint::Pool,
        AgentType::Mock => Endpoint::Mock,
        AgentType::RayVllm => {
            tracing::warn!("no default councils: agents of type RAY_VLLM need the executor, which is not in use yet");
            return Ok(());
        }
    };
    let model: Arc<str> = match config.model.model.as_str() {
        AUTO_MODEL => "".into(),
        name => name.into(),
    };
    for role in &config.councils.roles {
        let draft = CouncilDraft {
            role: role.clone(),
            num_agents: config.councils.agents,
            rounds: config.councils.rounds,
            review: true,
            agent_type: config.agents.default_type.as_str().into(),
            model: model.clone(),
            endpoint: endpoint.clone(),
            sampling: Sampling::default(),
            defaults: Defaults::default(),
        };
        match system.create_council(draft).await {
            Ok(_) | Err(SystemError::CouncilExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    tracing::info!(roles = config.councils.roles.len(), "default councils made");
    Ok(())
}
