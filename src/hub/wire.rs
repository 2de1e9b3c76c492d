//! What is said between a workflow and its hub, the same on both ends of the wire.

use std::sync::Arc;

use moothall_actors::domain::json::Json;
use moothall_actors::domain::workflow::{Artifact, Phase, WorkflowType};
use moothall_actors::ports::Invocation;
use serde::{Deserialize, Serialize};

/// The body of `POST /invoke/{agent}`. Every key is sent, `null` where there is nothing; none has to be there when one comes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InvokeRequest {
    /// Of which the agent has the name too.
    pub workflow_type: Option<Arc<str>>,
    pub context: InvokeContext,
    /// Of this daemon it is always empty, and for it it means nothing.
    pub parameters: Option<Json>,
    /// The workflow's id.
    pub session_id: Option<Arc<str>>,
}

/// What the agent needs to know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InvokeContext {
    pub feature_id: Option<Arc<str>>,
    pub feature_description: Option<Arc<str>>,
    /// `phase_1` or `phase_2`; without one the first.
    pub phase: Option<Arc<str>>,
    /// Such as `draft`.
    pub phase_title: Option<Arc<str>>,
    /// Of this phase, from 1.
    pub attempt: Option<u32>,
    /// As the client sent it that created the workflow.
    pub additional_context: Option<Json>,
    /// What came of the workflow before this one in its chain.
    pub input: Option<Json>,
    /// What came of the phase before, as it was approved.
    pub previous_result: Option<Json>,
    /// What came of the attempt before, and why it was rejected.
    pub rejected_result: Option<Json>,
    pub rejection_reason: Option<Arc<str>>,
}

impl InvokeRequest {
    pub(super) fn of(invocation: &Invocation) -> Self {
        let Invocation { id, workflow_type, .. } = *invocation;
        let content = |artifact: &Option<Arc<Artifact>>| artifact.as_ref().map(|artifact| artifact.content.clone());
        Self {
            workflow_type: Some(workflow_type.as_str().into()),
            context: InvokeContext {
                feature_id: Some(invocation.feature_id.clone()),
                feature_description: Some(invocation.description.clone()),
                phase: Some(id.phase.as_str().into()),
                phase_title: Some(workflow_type.title(id.phase).into()),
                attempt: Some(id.attempt),
                additional_context: invocation.context.clone(),
                input: invocation.origin.as_ref().map(|origin| origin.artifact.clone()),
                previous_result: content(&invocation.previous),
                rejected_result: content(&invocation.rejected),
                rejection_reason: invocation.rejection_reason.clone(),
            },
            parameters: Json::parse("{}").ok(),
            session_id: Some(id.workflow.to_string().into()),
        }
    }
}

/// The answer to it. Every key is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InvokeResponse {
    pub success: bool,
    pub result: Option<Json>,
    /// 0 to 100.
    pub confidence: Option<f64>,
    /// The evidence.
    pub metadata: Option<Json>,
    /// Why there is no result.
    pub error: Option<Arc<str>>,
    /// This daemon escalates nothing: its workflows have their own rules for that.
    pub escalation_id: Option<Arc<str>>,
}

impl InvokeResponse {
    pub(super) fn done(artifact: Artifact) -> Self {
        let Artifact { content, confidence, metadata, .. } = artifact;
        Self { success: true, result: Some(content), confidence, metadata, error: None, escalation_id: None }
    }

    pub(super) fn failed(why: impl Into<Arc<str>>) -> Self {
        let (result, confidence, metadata) = (None, None, None);
        Self { success: false, result, confidence, metadata, error: Some(why.into()), escalation_id: None }
    }
}

/// An agent of the built-in hub: one for each type of workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentView {
    pub name: &'static str,
    pub workflow_type: WorkflowType,
    pub phases: Vec<PhaseView>,
}

/// What it does in a phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhaseView {
    pub phase: Phase,
    pub title: &'static str,
    /// Of the council that answers.
    pub role: Arc<str>,
    /// What is wanted of it, such as `spec.md`.
    pub artifact: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_to_be_there_and_every_key_is_sent() {
        let request: InvokeRequest = serde_json::from_str(r#"{"context": {"phase": "phase_2", "new": 1}}"#).unwrap();
        assert_eq!(request.context.phase.as_deref(), Some("phase_2"));
        let sent = serde_json::to_value(InvokeRequest::default()).unwrap();
        for key in ["workflow_type", "context", "parameters", "session_id"] {
            assert!(sent.get(key).is_some(), "{key}");
        }
        for key in ["feature_id", "additional_context", "previous_result", "rejection_reason", "input", "attempt"] {
            assert!(sent["context"][key].is_null() && sent["context"].get(key).is_some(), "{key}");
        }
        let answer = serde_json::to_value(InvokeResponse::failed("no")).unwrap();
        assert_eq!(answer.as_object().unwrap().len(), 6);
    }
}
