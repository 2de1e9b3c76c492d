//! The councils that are made when there is none.

use std::sync::Arc;

use moothall_actors::domain::council::{Defaults, Endpoint, Sampling};
use moothall_actors::domain::id::Role;
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
    let Some(template) = template(config) else {
        tracing::warn!("no default councils: agents of type RAY_VLLM need executor.address, which is empty");
        return Ok(());
    };
    for role in &config.councils.roles {
        match system.create_council(CouncilDraft { role: role.clone(), ..template.clone() }).await {
            Ok(_) | Err(SystemError::CouncilExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    tracing::info!(roles = config.councils.roles.len(), "default councils made");
    Ok(())
}

/// What a council is when nobody says more than its role; `None` = agents of this type cannot be made.
pub(super) fn template(config: &Config) -> Option<CouncilDraft> {
    let endpoint = match config.agents.default_type {
        AgentType::Vllm => Endpoint::Pool,
        AgentType::Mock => Endpoint::Mock,
        AgentType::RayVllm => config.executor.service.as_ref().map(|_| Endpoint::Ray)?,
    };
    let model: Arc<str> = match config.model.model.as_str() {
        AUTO_MODEL => "".into(),
        name => name.into(),
    };
    Some(CouncilDraft {
        role: Role::dev(),
        num_agents: config.councils.agents,
        rounds: config.councils.rounds,
        review: true,
        agent_type: config.agents.default_type.as_str().into(),
        model,
        endpoint,
        sampling: Sampling::default(),
        defaults: Defaults::default(),
    })
}
