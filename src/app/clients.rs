//! What the daemon calls: model servers, outside agents, the executor, the context service and the agent hub. Nothing is
//! connected yet.

use std::sync::Arc;

use super::{AppError, settings};
use crate::config::Config;
use crate::context::ContextClient;
use crate::hub::{BuiltInHub, HubClient};
use crate::ray::RayExecutor;
use crate::runner::RunnerModel;
use crate::vllm::VllmModel;

#[derive(Clone)]
pub(super) struct Clients {
    pub(super) model: Arc<VllmModel>,
    pub(super) runners: Arc<RunnerModel>,
    /// `None` = there is none.
    pub(super) executor: Option<Arc<RayExecutor>>,
    /// Likewise.
    pub(super) context: Option<Arc<ContextClient>>,
    /// Likewise: the hub elsewhere.
    pub(super) hub: Option<Arc<HubClient>>,
    /// The hub here.
    pub(super) built_in: BuiltInHub,
}

impl Clients {
    pub(super) fn new(config: &Config) -> Result<Self, AppError> {
        let model = Arc::new(VllmModel::new(config.model.clone())?);
        let runners = Arc::new(RunnerModel::new(settings::runners(config)));
        let service = config.executor.service.clone();
        let executor = service.map(|service| RayExecutor::new(service, config.executor.settings, model.clone()));
        let context = config.context.service.clone();
        let context = context.map(|service| ContextClient::new(service, config.context.settings));
        let (executor, context) = (executor.transpose()?.map(Arc::new), context.transpose()?.map(Arc::new));
        let hub = HubClient::new(&config.hub)?.map(Arc::new);
        let built_in = BuiltInHub::new(config.workflows.roles.clone(), &config.hub);
        Ok(Self { model, runners, executor, context, hub, built_in })
    }
}
