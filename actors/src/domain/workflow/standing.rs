//! Where a workflow stands: what its events come to, small enough to be kept beside them.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::event::{Event, Recorded};
use super::super::id::{EventId, Timestamp};
use super::super::json::Json;
use super::{
    ApprovalRule, Artifact, Created, Dispatch, Imported, Origin, Phase, Request, Transition, Trigger, WorkflowId,
    WorkflowStatus, WorkflowType,
};

/// Requests that are remembered: a client that repeats one does so soon.
const MOST_REQUESTS: usize = 32;
/// Events that are remembered by their ids: of what was just asked for.
const MOST_EVENTS: usize = 8;

/// An approval that did not decide yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    pub actor: Arc<str>,
    pub at: Timestamp,
}

/// The artifact that waits for its decision, or that got it last; its text stands in the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArtifactPlace {
    pub phase: Phase,
    pub attempt: u32,
    pub hash: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks_passed: Option<bool>,
    /// Whether an approver changed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edited: bool,
    /// Of the event in the stream that holds it.
    pub version: u64,
}

/// How its last phase was approved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalApproval {
    pub trigger: Trigger,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// What the approver sent along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_result: Option<Json>,
    pub artifact_hash: Arc<str>,
    pub at: Timestamp,
}

/// A workflow. Its large texts are kept beside the rest, so that a step need not write them again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    pub id: WorkflowId,
    pub workflow_type: WorkflowType,
    pub status: WorkflowStatus,
    pub feature_id: Arc<str>,
    #[serde(skip)]
    pub description: Arc<str>,
    #[serde(skip)]
    pub context: Option<Json>,
    #[serde(skip)]
    pub result: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
    pub phase: Phase,
    /// Of the phase, from 1.
    pub attempt: u32,
    pub dispatch: Dispatch,
    pub approval: ApprovalRule,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<WorkflowType>,
    /// The one before it in its chain, and the one after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<WorkflowId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<WorkflowId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactPlace>,
    /// Of the artifact as it is, while they do not decide yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Vote>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// Whether any of its phases was ever decided on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decided: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// Of its stream; every step raises it.
    pub version: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    requests: VecDeque<Request>,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    events: VecDeque<Id>,
}

/// An event's id in a workflow's row: hyphenated, as ids of workflows are.
type Id = WorkflowId;

impl Workflow {
    /// What it is after one event of its stream. What does not fit, such as a step of what was never created, changes
    /// nothing.
    #[must_use]
    pub fn fold(current: Option<Self>, recorded: &Recorded) -> Option<Self> {
        let event = &recorded.event;
        let after = match (current, &event.event) {
            (_, Event::WorkflowCreated(created)) => Some(Self::created(created, event.at)),
            (_, Event::WorkflowImported(imported)) => Some(Self::imported(imported)),
            (Some(mut workflow), Event::WorkflowAdvanced(transition)) => {
                workflow.step(transition, event.at, recorded.version);
                Some(workflow)
            }
            (current, _) => current,
        };
        after.map(|mut workflow| {
            workflow.version = recorded.version;
            remember(&mut workflow.events, WorkflowId(event.id.0), MOST_EVENTS);
            workflow
        })
    }

    fn created(created: &Created, at: Timestamp) -> Self {
        let mut workflow = Self {
            id: created.workflow,
            workflow_type: created.workflow_type,
            status: WorkflowStatus::Pending,
            feature_id: created.feature_id.clone(),
            description: created.description.clone(),
            context: created.context.clone(),
            result: None,
            error: None,
            phase: Phase::One,
            attempt: 1,
            dispatch: created.dispatch,
            approval: created.approval.clone(),
            chain: created.chain.clone(),
            previous: created.origin.as_ref().map(|origin| origin.workflow),
            next: None,
            artifact: None,
            votes: Vec::new(),
            escalated: false,
            decided: false,
            due: None,
            version: 0,
            created_at: at,
            updated_at: at,
            completed_at: None,
            requests: VecDeque::new(),
            events: VecDeque::new(),
        };
        workflow.requests.extend(created.request.clone());
        workflow
    }

    fn imported(imported: &Imported) -> Self {
        let Imported { status, phase, updated_at, completed_at, .. } = *imported;
        let (result, error) = (imported.result.clone(), imported.error.clone());
        let before = Self::created(&imported.created, imported.created_at);
        Self { status, phase, result, error, updated_at, completed_at, ..before }
    }

    fn step(&mut self, step: &Transition, at: Timestamp, version: u64) {
        let approval_is_new = step.approved.is_some() && step.to == WorkflowStatus::WaitingApproval;
        if let Some(artifact) = &step.artifact {
            self.take_artifact(artifact, step, version);
        }
        if let Some(actor) = step.actor.as_ref().filter(|_| approval_is_new) {
            self.votes.push(Vote { actor: actor.clone(), at });
        }
        self.escalated |= step.trigger == Trigger::Escalated;
        if step.from == WorkflowStatus::WaitingApproval && step.to != WorkflowStatus::WaitingApproval {
            self.decide(step);
        }
        self.status = step.to;
        self.due = step.due;
        self.next = step.next.or(self.next);
        self.error = step.error.clone().or_else(|| self.error.take());
        self.result = step.result.clone().or_else(|| self.result.take());
        self.updated_at = at;
        self.completed_at = (step.to == WorkflowStatus::Completed).then_some(at);
        if let Some(request) = &step.request {
            // The first stays: it is mostly that of its creation, which may be repeated long after.
            if self.requests.len() >= MOST_REQUESTS {
                self.requests.remove(1);
            }
            self.requests.push_back(request.clone());
        }
    }

    /// Votes are of one artifact: another one takes them all away.
    fn take_artifact(&mut self, artifact: &Artifact, step: &Transition, version: u64) {
        self.votes.clear();
        self.artifact = Some(ArtifactPlace {
            phase: step.phase,
            attempt: step.attempt,
            hash: artifact.hash.clone(),
            confidence: artifact.confidence,
            checks_passed: artifact.checks_passed,
            edited: step.from == WorkflowStatus::WaitingApproval,
            version,
        });
    }

    fn decide(&mut self, step: &Transition) {
        self.votes.clear();
        self.escalated = false;
        self.decided = true;
        if step.to != WorkflowStatus::InProgress {
            return;
        }
        match step.trigger {
            Trigger::HumanRejected | Trigger::Expired => self.attempt += 1,
            Trigger::HumanApproved | Trigger::AutoApproved => (self.phase, self.attempt) = (Phase::Two, 1),
            Trigger::Start | Trigger::AgentComplete | Trigger::Error | Trigger::Escalated | Trigger::Cancelled => {}
        }
    }

    /// When somebody is to look at it without being asked: at once (0) while the hub is to execute its phase, at its
    /// deadline while it waits for a decision.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        match self.status {
            WorkflowStatus::InProgress if self.dispatch == Dispatch::Auto => Some(Timestamp(0)),
            WorkflowStatus::WaitingApproval => self.due,
            WorkflowStatus::Pending
            | WorkflowStatus::InProgress
            | WorkflowStatus::Completed
            | WorkflowStatus::Failed => None,
        }
    }

    /// The request under this key, when it was carried out of late.
    #[must_use]
    pub fn request(&self, key: &str) -> Option<&Request> {
        self.requests.iter().find(|request| *request.key == *key)
    }

    /// Whether this event is one of its last.
    #[must_use]
    pub fn has_event(&self, id: EventId) -> bool {
        self.events.contains(&WorkflowId(id.0))
    }

    /// The number that its feature id begins with; 0 where it begins with none.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.feature_id.split('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }
}

fn remember<T>(kept: &mut VecDeque<T>, new: T, most: usize) {
    if kept.len() >= most {
        kept.pop_front();
    }
    kept.push_back(new);
}

/// The texts that a phase is worked on with; kept only while somebody works on the workflow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    pub origin: Option<Arc<Origin>>,
    /// Of the first phase, once it was approved.
    pub approved: Option<Arc<Artifact>>,
    /// The artifact that waits for its decision, or that got it last.
    pub current: Option<Arc<Artifact>>,
    /// Why the attempt before this one was rejected.
    pub rejection: Option<Arc<str>>,
}

impl Outputs {
    /// Takes in one event of the stream.
    pub fn take_in(&mut self, event: &Event) {
        let step = match event {
            Event::WorkflowCreated(created) => return self.origin = created.origin.clone(),
            Event::WorkflowImported(imported) => {
                // That program kept what it had last, and nothing else.
                return self.current = imported.result.clone().map(|content| Arc::new(Artifact::of(content)));
            }
            Event::WorkflowAdvanced(step) => step,
            _ => return,
        };
        if let Some(artifact) = &step.artifact {
            self.current = Some(artifact.clone());
        }
        let was_decided = step.from == WorkflowStatus::WaitingApproval && step.to == WorkflowStatus::InProgress;
        match step.trigger {
            Trigger::HumanApproved | Trigger::AutoApproved if was_decided => {
                self.approved = self.current.take();
                self.rejection = None;
            }
            Trigger::HumanRejected | Trigger::Expired if was_decided => {
                self.rejection = Some(step.reason.clone().unwrap_or_else(|| "no reason was given".into()));
            }
            _ => {}
        }
    }
}
