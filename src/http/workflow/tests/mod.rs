//! The contract of workflows over HTTP, told against the router with a running system in virtual time.

mod changes;
mod creation;
mod document;
mod events;
mod past;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use moothall_actors::domain::workflow::{ApprovalRule, Dispatch};
use moothall_actors::testing::{FakeHub, Scenario, Stage};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::super::{Doors, Readiness, WorkflowDoor, router};
use crate::config::{Config, Sources};
use crate::hub::BuiltInHub;

/// A router with a system behind it.
struct Stand {
    stage: Stage,
    router: Router,
    doors: Arc<Doors>,
}

/// A whole answer; an empty body is `null`.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Self { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// Status and code of an error.
    fn error(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or_default())
    }

    fn text(&self, key: &str) -> &str {
        self.body[key].as_str().unwrap_or_else(|| panic!("{key}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

fn bare_router() -> (Router, Arc<Doors>) {
    let doors = Arc::new(Doors::default());
    (router(Arc::new(Readiness::default()), doors.clone(), Arc::new(String::new)), doors)
}

impl Stand {
    /// Clients execute the phases themselves.
    async fn manual() -> Self {
        Self::with(Scenario::new(), Dispatch::Manual, ApprovalRule::default()).await
    }

    async fn with(scenario: Scenario, dispatch: Dispatch, approval: ApprovalRule) -> Self {
        let stage = scenario.start().await;
        let (router, doors) = bare_router();
        let config = Config::load(&Sources::default()).unwrap().config;
        let hub = BuiltInHub::new(config.workflows.roles, &config.hub);
        doors.open_workflows(WorkflowDoor { system: stage.system().clone(), approval, dispatch, hub });
        Self { stage, router, doors }
    }

    /// A hub that answers after a second.
    async fn with_hub() -> Self {
        Self::with(Scenario::new().hub(FakeHub::willing()), Dispatch::Auto, ApprovalRule::default()).await
    }

    async fn close(self) {
        self.stage.close().await;
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
    }

    async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        Answer::of(self.send("POST", path, headers, &body.to_string()).await).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body).await
    }

    async fn get(&self, path: &str) -> Answer {
        Answer::of(self.send("GET", path, &[], "").await).await
    }

    async fn create(&self, description: &str) -> Answer {
        let created = self.post("/workflows", &wanted(description)).await;
        assert_eq!(created.status, 201, "{created:?}");
        created
    }

    async fn advance(&self, id: &str, body: &Value) -> Answer {
        self.post(&format!("/workflows/{id}/advance"), body).await
    }

    /// The workflow once it has come to this status.
    async fn until(&self, id: &str, status: &str) -> Answer {
        for _ in 0..1_000 {
            let found = self.get(&format!("/workflows/{id}")).await;
            if found.text("status") == status {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("workflow {id} does not become {status}")
    }
}

fn wanted(description: &str) -> Value {
    json!({ "workflow_type": "specify", "feature_description": description })
}

fn trigger(name: &str) -> Value {
    json!({ "trigger": name })
}

fn complete(text: &str) -> Value {
    json!({ "trigger": "agent_complete", "phase_result": { "content": text, "confidence": 70 } })
}
