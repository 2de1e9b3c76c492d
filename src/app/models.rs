//! Which model answers a call: servers for most, the script for agents that are only simulated.

use std::sync::Arc;

use futures::future::BoxFuture;
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

impl Model for Models {
    /// Hands on the call itself: another `async` around it would be another allocation for each.
    fn complete<'a, 'c, 'f>(&'a self, call: &'c ModelCall) -> BoxFuture<'f, Result<Answer, Failure>>
    where
        'a: 'f,
        'c: 'f,
    {
        match call.endpoint {
            Endpoint::Mock => self.script.complete(call),
            Endpoint::Pool | Endpoint::Url(_) => self.servers.complete(call),
        }
    }

    fn structured(&self, form: AnswerForm) -> bool {
        self.servers.structured(form)
    }
}
