//! The client of an outside agent hub against servers that behave and such that do not.

mod calls;
pub(crate) mod stand;
mod troubles;

use std::sync::Arc;
use std::time::Duration;

use moothall::config::{HubConfig, Secret};
use moothall::hub::HubClient;
use moothall::vllm::Retry;
use moothall_actors::domain::json::Json;
use moothall_actors::domain::workflow::{Artifact, Origin, Phase, WorkflowId, WorkflowType};
use moothall_actors::ports::{HubError, Invocation, InvocationId};
use url::Url;

use crate::place;
use stand::Stand;

/// Three retries that hardly wait, and a key.
fn config(stand: &Stand) -> HubConfig {
    let retry = Retry { times: 3, first: Duration::from_millis(1), last: Duration::from_millis(2) };
    let api_key = Some(Secret::new("sk-hub-1"));
    HubConfig { url: Some(stand.url()), api_key, timeout: Duration::from_secs(30), retry }
}

fn client(config: &HubConfig) -> HubClient {
    HubClient::new(config).unwrap().unwrap()
}

/// The second attempt at the first phase of a plan.
fn invocation() -> Invocation {
    let json = |text: &str| Json::parse(text).unwrap();
    let origin = Origin {
        workflow: WorkflowId([1; 16]),
        workflow_type: WorkflowType::Specify,
        artifact: json(r#"{"content": "the spec"}"#),
    };
    Invocation {
        id: InvocationId { workflow: WorkflowId([7; 16]), phase: Phase::One, attempt: 2 },
        workflow_type: WorkflowType::Plan,
        feature_id: "001-login".into(),
        description: "People log in with a passkey".into(),
        context: Some(json(r#"{"team": "blue"}"#)),
        origin: Some(Arc::new(origin)),
        previous: None,
        rejected: Some(Arc::new(Artifact::of(json(r#"{"content": "too short"}"#)))),
        rejection_reason: Some("say more".into()),
    }
}

async fn invoke(config: &HubConfig) -> Result<Artifact, HubError> {
    client(config).invoke(&invocation()).await
}

/// What the workflow would fail with.
async fn failure(config: &HubConfig) -> String {
    match invoke(config).await {
        Err(HubError::Failed(why)) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

fn nowhere() -> Url {
    Url::parse(&format!("http://{}", place::vacant())).unwrap()
}
