//! What happens to a workflow, as the journal keeps it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::id::Timestamp;
use super::super::json::Json;
use super::{ApprovalRule, Dispatch, Phase, Trigger, WorkflowId, WorkflowStatus, WorkflowType};

/// A client's name for its request, so that the same one changes nothing when it comes again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// As the client sent it.
    pub key: Arc<str>,
    /// Of what it asks for: SHA-256, in hex.
    pub content: Arc<str>,
}

/// Which workflow it follows in its chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub workflow: WorkflowId,
    pub workflow_type: WorkflowType,
    /// What came of it.
    pub artifact: Json,
}

/// A workflow as it begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    pub workflow: WorkflowId,
    pub workflow_type: WorkflowType,
    /// `<number>-<slug>`; the same for all of a chain.
    pub feature_id: Arc<str>,
    pub description: Arc<str>,
    /// As the client sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Json>,
    pub dispatch: Dispatch,
    pub approval: ApprovalRule,
    /// What follows when it has completed, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<WorkflowType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Arc<Origin>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

/// What came of a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// As the hub, the client or, edited, the approver sent it.
    pub content: Json,
    /// SHA-256 of the content, in hex: approvals are of this.
    pub hash: Arc<str>,
    /// How sure whoever made it is, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Whether every check of it that ran passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks_passed: Option<bool>,
    /// The evidence, as the hub sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
}

impl Artifact {
    /// One of which nothing more is known.
    #[must_use]
    pub fn of(content: Json) -> Self {
        Self { hash: content.hash(), content, confidence: None, checks_passed: None, metadata: None }
    }
}

/// One step of a workflow; `from` and `to` are the same where it does not move, such as a vote that does not decide yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    pub from: WorkflowStatus,
    pub to: WorkflowStatus,
    pub trigger: Trigger,
    /// In which it happened.
    pub phase: Phase,
    /// Of that phase, from 1.
    pub attempt: u32,
    /// As the caller names itself, or the rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// What the caller sent along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// A new one: of the phase, or of whoever edited it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Arc<Artifact>>,
    /// The hash of the artifact that an approval is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Arc<str>>,
    /// Of the whole workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
    /// Until when somebody is to decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The next one of its chain, made by the same batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<WorkflowId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

impl Transition {
    /// One of which nothing more is said.
    #[must_use]
    pub fn plain(from: WorkflowStatus, to: WorkflowStatus, trigger: Trigger, phase: Phase, attempt: u32) -> Self {
        Self {
            from,
            to,
            trigger,
            phase,
            attempt,
            actor: None,
            reason: None,
            metadata: None,
            artifact: None,
            approved: None,
            result: None,
            error: None,
            due: None,
            next: None,
            request: None,
        }
    }
}

/// One line of the history of a workflow that another program kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub trigger: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    pub at: Timestamp,
}

/// A workflow that another program began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    pub created: Created,
    pub status: WorkflowStatus,
    pub phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Past>,
}
