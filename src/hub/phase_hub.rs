//! The port: which of the three ways an invocation goes.

use std::sync::Arc;

use async_trait::async_trait;
use moothall_actors::domain::workflow::{Artifact, Phase};
use moothall_actors::ports::{Hub, HubError, Invocation, InvocationId};
use tokio::runtime::Handle;

use super::built_in::BuiltInHub;
use super::client::HubClient;
use super::task_list;

/// Executes the phases of this daemon's workflows.
pub struct PhaseHub {
    built_in: BuiltInHub,
    /// `None` = the built-in one deliberates.
    outside: Option<Arc<HubClient>>,
}

impl PhaseHub {
    #[must_use]
    pub fn new(built_in: BuiltInHub, outside: Option<Arc<HubClient>>) -> Self {
        Self { built_in, outside }
    }
}

#[async_trait]
impl Hub for PhaseHub {
    async fn invoke(&self, invocation: Arc<Invocation>) -> Result<Artifact, HubError> {
        if let Some(list) = task_list::of(&invocation) {
            return task_list::carry_out(&self.built_in, &invocation, &list).await;
        }
        match &self.outside {
            Some(outside) => outside.invoke(&invocation).await,
            None => self.built_in.invoke(&invocation).await,
        }
    }

    /// An outside hub sees its connection close, which is all that the contract has for it.
    fn withdraw(&self, id: InvocationId) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (hub, deliberates) = (self.built_in.clone(), self.outside.is_none());
        runtime.spawn(async move {
            if id.phase == Phase::One {
                task_list::cancel(&hub, id).await;
            }
            if deliberates {
                hub.cancel(id).await;
            }
        });
    }
}
