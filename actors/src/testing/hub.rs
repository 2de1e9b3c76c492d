//! A hub that answers as told, in virtual time, and remembers what it was asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::json::Json;
use crate::domain::workflow::Artifact;
use crate::ports::{Hub, HubError, Invocation, InvocationId};

/// After how long, and what.
type Script = Arc<dyn Fn(&Invocation) -> (Duration, Result<Artifact, HubError>) + Send + Sync>;

/// Each clone is the same hub.
#[derive(Clone)]
pub struct FakeHub {
    script: Script,
    invoked: Arc<Mutex<Vec<Arc<Invocation>>>>,
    withdrawn: Arc<Mutex<Vec<InvocationId>>>,
}

impl FakeHub {
    pub fn new(script: impl Fn(&Invocation) -> (Duration, Result<Artifact, HubError>) + Send + Sync + 'static) -> Self {
        let (invoked, withdrawn) = Default::default();
        Self { script: Arc::new(script), invoked, withdrawn }
    }

    /// After a second, an answer that names its invocation.
    #[must_use]
    pub fn willing() -> Self {
        Self::new(|invocation| (Duration::from_secs(1), Ok(Self::artifact(&invocation.id.to_string(), 90.0))))
    }

    /// All of whose checks passed.
    #[must_use]
    pub fn artifact(content: &str, confidence: f64) -> Artifact {
        let content = Json::of(&serde_json::json!({ "content": content, "simulated": true }));
        let content = content.unwrap_or_else(|error| std::panic::panic_any(error.to_string()));
        Artifact { confidence: Some(confidence), checks_passed: Some(true), ..Artifact::of(content) }
    }

    #[must_use]
    pub fn invoked(&self) -> Vec<Arc<Invocation>> {
        self.invoked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[must_use]
    pub fn withdrawn(&self) -> Vec<InvocationId> {
        self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Hub for FakeHub {
    async fn invoke(&self, invocation: Arc<Invocation>) -> Result<Artifact, HubError> {
        self.invoked.lock().unwrap_or_else(PoisonError::into_inner).push(invocation.clone());
        let (after, answer) = (self.script)(&invocation);
        tokio::time::sleep(after).await;
        answer
    }

    fn withdraw(&self, id: InvocationId) {
        self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }
}
