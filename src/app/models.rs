//! Who answers a call: model servers for most, runners for outside agents, the script for simulated ones.

use std::sync::Arc;

use futures::future::BoxFuture;
use moothall_actors::domain::answer::{Answer, Failure};
use moothall_actors::domain::council::Endpoint;
use moothall_actors::ports::{AnswerForm, Model, ModelCall};

use crate::runner::RunnerModel;
use crate::sim::{Answers, Latency, ScriptedModel};
use crate::vllm::VllmModel;

pub(super) struct Models {
    servers: Arc<VllmModel>,
    runners: Arc<RunnerModel>,
    script: ScriptedModel,
}

impl Models {
    pub(super) fn new(servers: Arc<VllmModel>, runners: Arc<RunnerModel>) -> Self {
        Self { servers, runners, script: ScriptedModel::new(&Answers::Prose, Latency::default()) }
    }
}

impl Model for Models {
    /// Hands on the call itself: another `async` around it would be another allocation for each.
    fn complete<'a, 'c, 'f>(&'a self, call: &'c ModelCall) -> BoxFuture<'f, Result<Answer, Failure>>
    where
        'a: 'f,
        'c: 'f,
    {
        match call.endpoint {
            Endpoint::Mock => self.script.complete(call),
            Endpoint::Runner(_) => self.runners.complete(call),
            Endpoint::Pool | Endpoint::Url(_) | Endpoint::Ray => self.servers.complete(call),
        }
    }

    fn structured(&self, form: AnswerForm) -> bool {
        self.servers.structured(form)
    }
}
