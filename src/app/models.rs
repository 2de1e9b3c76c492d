//! Which model answers a call: servers for most, the script for agents that are only simulated.

use std::sync::Arc;

use async_trait::async_trait;
use moothall_actors::domain::answer::{Answer, Failure};
use moothall_actors::domain::council::Endpoint;
use moothall_actors::ports::{AnswerForm, Model, ModelCall};

use crate::sim::{Answers, Latency, ScriptedModel};
use crate::vllm::VllmModel;

pub(super) struct Models {
    servers: Arc<VllmModel>,
    script: ScriptedModel,
}

impl Models {
    pub(super) fn new(servers: Arc<VllmModel>) -> Self {
        Self { servers, script: ScriptedModel::new(&Answers::Prose, Latency::default()) }
    }
}

#[async_trait]
impl Model for Models {
    async fn complete(&self, call: &ModelCall) -> Result<Answer, Failure> {
        match call.endpoint {
            Endpoint::Mock => self.script.complete(call).await,
            Endpoint::Pool | Endpoint::Url(_) => self.servers.complete(call).await,
        }
    }

    fn structured(&self, form: AnswerForm) -> bool {
        self.servers.structured(form)
    }
}
