//! What the daemon calls: model servers, outside agents, the executor and the context service. Nothing is connected yet.

use std::sync::Arc;

use super::{AppError, settings};
use crate::config::Config;
use crate::context::ContextClient;
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
        Ok(Self { model, runners, executor, context })
    }
}
