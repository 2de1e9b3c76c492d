//! The journal's vocabulary: everything that ever happened, as it stays readable for ever.
//!
//! A payload is the JSON of one variant's fields. A changed shape is a new `schema` number with a reader for the old
//! one, never a changed meaning: golden files of every released shape are read back in tests.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::{Answer, Class, Failure, millis};
use super::context::Informed;
use super::council::{Council, Seat};
use super::execution::{Execution, Output};
use super::id::{AgentId, CallId, EventId, Role, RunId, StreamId, TaskId, Timestamp, Wave};
use super::json::Json;
use super::message::{Cause, Rejected};
use super::plan::Approval;
use super::prefix::Prefix;
use super::queue::Entry;
use super::task::TaskSpec;
use super::verdict::{MissingSeat, Scored, Verdict};
use super::workflow::{Created, Imported, Transition};
use crate::artifact::{Draft, Wanted};

/// Everything later prompts and a resume need: a resume uses only this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub run: RunId,
    pub spec: Arc<TaskSpec>,
    /// In seat order; the ring runs over it.
    pub seats: Vec<Seat>,
    /// Who chooses among the best; `None` = the score does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architect: Option<Seat>,
    /// Review rounds to hold; 0 = none.
    pub rounds: u8,
    /// `num_agents` asked for more than there are.
    #[serde(default)]
    pub clamped: bool,
    /// The part of every prompt that all agents share, byte for byte.
    pub prefix: Prefix,
    /// Whether the prefix says what is known of the task's story; `None` = it has none, or nobody asked at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Informed>,
    pub prompts_hash: Arc<str>,
    pub policy_hash: Arc<str>,
    /// What the proposals are to be.
    #[serde(default, skip_serializing_if = "Wanted::is_auto")]
    pub wanted: Wanted,
    /// Globs of what no proposal may change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protected: Vec<Arc<str>>,
    /// No new call once this many tokens were used: the task's own number, else the council's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_tokens: Option<u64>,
    /// Critiques carry `response_format`: only then is broken JSON asked again.
    #[serde(default)]
    pub structured: bool,
    /// Whether the run asks model servers itself when the executor is away for too long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ray_fallback: bool,
    /// Nonces, seeds and temperatures derive from it and the call id.
    pub salt: u64,
    /// 16 hex digits.
    pub execution_id: Arc<str>,
    /// What the agents of others made of the task, by seat; then nobody is asked for a proposal, and nobody revises.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
    /// Running time for the whole deliberation, and for one call.
    #[serde(rename = "deadline_ms", with = "millis")]
    pub deadline: Duration,
    #[serde(rename = "call_timeout_ms", with = "millis")]
    pub call_timeout: Duration,
}

impl Plan {
    /// Plans of earlier versions left the number with the task.
    pub(crate) fn budget(&self) -> Option<u64> {
        self.budget_tokens.or(self.spec.budget_tokens)
    }
}

/// How a task's run ended, as its final event says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFailure {
    pub run: u32,
    pub class: Class,
    pub message: Arc<str>,
}

macro_rules! events {
    ($($(#[$doc:meta])* $kind:ident $body:tt)*) => {
        events!(@enum [] $($(#[$doc])* $kind $body)*);

        impl Event {
            /// The name that stands in the journal's `type` column.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$kind { .. } => stringify!($kind),)* }
            }

            /// Every name there is, in the order of a task's life.
            pub const KINDS: &'static [&'static str] = &[$(stringify!($kind)),*];
        }
    };
    (@enum [$($done:tt)*]) => {
        /// One thing that happened. Names are past, the subject first.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type", content = "payload")]
        pub enum Event { $($done)* }
    };
    (@enum [$($done:tt)*] $(#[$doc:meta])* $kind:ident $body:tt $($rest:tt)*) => {
        events!(@enum [$($done)* $(#[$doc])* $kind $body,] $($rest)*);
    };
}

events! {
    /// `task/<id>`: admitted; from here on it ends in exactly one final event per run.
    TaskAccepted {
        task: TaskId,
        content_hash: Arc<str>,
        /// Whether the client can find the task again; without, it ends with its last client.
        keyed: bool,
        spec: Arc<TaskSpec>,
    }
    /// `task/<id>`: it waits in the queue. Stands behind the acceptance, behind each retry, and wherever the entry changed:
    /// it was released, its phase has come, its plan was approved anew.
    TaskQueued(Arc<Entry>)
    /// `task/<id>`: taken from the queue; the same batch begins its deliberation.
    TaskClaimed { run: u32 }
    /// `task/<id>`: what it waited for is there, or is tried again.
    TaskReleased { run: u32, cause: TaskId }
    /// `task/<id>`: one that it needs did not complete.
    TaskBlocked { run: u32, cause: TaskId }
    /// `task/<id>`: its queue is shared, and another daemon had it: this journal heard of the task, or of this run, from the
    /// queue alone, or whoever held it is gone.
    TaskTakenOver { run: u32, from: Arc<str> }
    /// `task/<id>`: another daemon has the run by now. What was made of it here counts no more, and nobody is told of it.
    RunSuperseded { run: u32 }
    /// `task/<id>`: left alone until somebody releases it.
    TaskParked { run: u32, reason: Arc<str> }
    /// `task/<id>`, final: it never ran, because one that it needs did not complete.
    TaskSkipped { run: u32, cause: TaskId }
    /// `task/<id>`: its plan was approved anew before it began, and wants something else of it.
    TaskAmended { content_hash: Arc<str>, spec: Arc<TaskSpec> }
    /// `task/<id>`: run 2 and later.
    TaskRetried { run: u32 }
    /// `task/<id>`, final.
    TaskCompleted {
        run: u32,
        winner: AgentId,
        #[serde(rename = "duration_ms", with = "millis")]
        duration: Duration,
    }
    /// `task/<id>`: its deliberation has a winner, which an agent of others is to carry out.
    TaskDispatched {
        run: u32,
        winner: AgentId,
        /// Of the deliberation.
        #[serde(rename = "duration_ms", with = "millis")]
        duration: Duration,
    }
    /// `task/<id>`: the agent of this seat is one of several that carry the task out, each by itself.
    TaskAssigned { run: u32, seat: Box<Seat> }
    /// `task/<id>`: an agent is told to carry the winner or, where each has its own, the task out, for the first time or again.
    ExecutionRequested { run: u32, attempt: u32, agent: AgentId }
    /// `task/<id>`: what came of that.
    ExecutionEnded(Arc<Execution>)
    /// `task/<id>`, final.
    TaskFailed(TaskFailure)
    /// `task/<id>`, final.
    TaskCancelled { run: u32, reason: Arc<str> }
    /// `deliberation/<task>/<run>`: the first of its stream.
    DeliberationStarted(Arc<Plan>)
    /// Taken up again after a crash or restart; the time before it counts as down.
    DeliberationResumed {}
    /// Calls of the current wave go to the executor together, as this attempt of it: written before it is asked.
    WaveSubmitting { wave: Wave, attempt: u32, calls: Vec<CallId> }
    /// It has taken them, under this name: whoever works on the run later attaches to it, and submits nothing again.
    WaveAccepted { wave: Wave, attempt: u32, name: Arc<str> }
    /// The executor could not be reached for too long: from here on the run asks model servers itself.
    ExecutorLeft { reason: Arc<str> }
    /// A model call finished. It is here before anything uses it.
    CallAnswered {
        call: CallId,
        answer: Answer,
        /// What the answer is as an artifact, where changes are wanted: translated once, beside the model's own words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        draft: Option<Draft>,
    }
    /// A call brought nothing: its seat is missing in that wave.
    CallFailed { call: CallId, failure: Failure }
    /// A wave was closed before all its seats had answered.
    WaveClosed { wave: Wave, missing: Vec<MissingSeat> }
    /// All proposals are checked and ranked by score; the architect chooses next.
    ProposalsScored(Arc<Scored>)
    /// `deliberation/…`, last.
    VerdictReached(Arc<Verdict>)
    /// `deliberation/…`, last: no verdict, and why.
    DeliberationFailed { class: Class, message: Arc<str>, missing: Vec<MissingSeat> }
    /// `deliberation/…`, last.
    DeliberationCancelled { reason: Arc<str> }
    /// `council/<ROLE>`: created, or created anew after it was deleted.
    CouncilCreated(Council)
    /// `council/<ROLE>`.
    CouncilDeleted { role: Role }
    /// `council/<ROLE>`: an agent registered, or registered anew.
    SeatJoined { seat: Seat }
    /// `council/<ROLE>`.
    SeatLeft { agent: AgentId }
    /// `council/<ROLE>`: it crashed too often; `council resume` or a restart of the daemon takes it back.
    RoleParked { reason: Arc<str> }
    /// `council/<ROLE>`.
    RoleResumed {}
    /// `plan/<id>`: its tasks are in the queue, by the same batch.
    PlanApproved(Arc<Approval>)
    /// `story/<id>`: tasks that wait for this phase wait for it no longer.
    StoryMoved {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Arc<str>>,
        to: Arc<str>,
        #[serde(default, skip_serializing_if = "Cause::is_unknown")]
        cause: Cause,
    }
    /// `story/<id>`: known to the prompts of its later tasks.
    DecisionAdded {
        decision: Arc<str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<Arc<str>>,
    }
    /// `story/<id>`: known to the prompts of its later tasks.
    MilestoneReached { milestone: Arc<str>, name: Arc<str> }
    /// `message/<key>`: one from elsewhere that nobody can act on.
    MessageRejected(Arc<Rejected>)
    /// `outbox`: the event at this place will never be published.
    PublishRefused { seq: u64, why: Arc<str> }
    /// `dispatch`: nothing of this role begins, or nothing at all.
    DispatchPaused {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
    }
    /// `dispatch`: a pause is over; without a role, all are.
    DispatchResumed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
    }
    /// `workflow/<id>`: the first of its stream, and in the same batch its start.
    WorkflowCreated(Arc<Created>)
    /// `workflow/<id>`: it went on, or somebody had a say in it.
    WorkflowAdvanced(Arc<Transition>)
    /// `workflow/<id>`, in the place of its creation: another program began it.
    WorkflowImported(Arc<Imported>)
    /// `prompts/<hash>`: the templates as they were, so that a resume renders what the start would have.
    PromptsAdopted { hash: Arc<str>, sources: Vec<(Arc<str>, Arc<str>)> }
}

/// The shape that [`Event::encode`] writes today.
pub const SCHEMA: u32 = 1;

/// A stored event that this version cannot read.
#[derive(Debug, thiserror::Error)]
#[error("event of type {kind}, schema {schema}, cannot be read")]
pub struct UnreadableEvent {
    pub kind: String,
    pub schema: u32,
    #[source]
    pub source: Option<serde_json::Error>,
}

impl Event {
    /// The payload as stored: JSON without the type, which stands beside it.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut whole = Vec::with_capacity(self.room());
        serde_json::to_writer(&mut whole, self)?;
        let before = r#"{"type":"","payload":"#.len() + self.kind().len();
        whole.pop();
        whole.drain(..before);
        Ok(whole)
    }

    /// Bytes enough for the usual payload with its escapes, so that encoding allocates once.
    fn room(&self) -> usize {
        let texts = match self {
            Self::CallAnswered { answer, draft, .. } => {
                let reasoning = answer.reasoning.as_ref().map_or(0, |text| text.len());
                answer.text.len() + reasoning + draft.as_ref().map_or(0, Draft::room)
            }
            Self::TaskAccepted { spec, .. } | Self::TaskAmended { spec, .. } => spec.description.len(),
            Self::MessageRejected(rejected) => rejected.raw.len(),
            Self::PlanApproved(approval) => approval.source.len() + approval.tasks.len() * 64,
            Self::DeliberationStarted(plan) => {
                let made = |output: &Output| if let Output::Made { text, .. } = output { text.len() } else { 0 };
                let outputs: usize = plan.outputs.iter().map(made).sum();
                plan.prefix.len() + plan.spec.description.len() + plan.seats.len() * size_of::<Seat>() + outputs
            }
            Self::WorkflowCreated(created) => {
                let context = created.context.as_ref().map_or(0, |context| context.as_str().len());
                let origin = created.origin.as_ref().map_or(0, |origin| origin.artifact.as_str().len());
                created.description.len() + context + origin
            }
            Self::WorkflowAdvanced(transition) => {
                let length = |json: &Option<Json>| json.as_ref().map_or(0, |json| json.as_str().len());
                let artifact = transition.artifact.as_ref();
                artifact.map_or(0, |artifact| artifact.content.as_str().len() + length(&artifact.metadata))
                    + length(&transition.result)
                    + length(&transition.metadata)
            }
            Self::VerdictReached(verdict) => verdict.ranking.len() * 512,
            Self::ProposalsScored(scored) => scored.ranking.len() * 512,
            _ => 0,
        };
        texts + texts / 8 + 512
    }

    /// Reads a stored payload.
    pub fn decode(kind: &str, schema: u32, payload: &[u8]) -> Result<Self, UnreadableEvent> {
        let unreadable = |source| UnreadableEvent { kind: kind.to_owned(), schema, source };
        if schema > SCHEMA || !Self::KINDS.contains(&kind) {
            return Err(unreadable(None));
        }
        let raw: &serde_json::value::RawValue =
            serde_json::from_slice(payload).map_err(|source| unreadable(Some(source)))?;
        let whole = format!("{{\"type\":\"{kind}\",\"payload\":{}}}", raw.get());
        serde_json::from_str(&whole).map_err(|source| unreadable(Some(source)))
    }

    /// Whether it ends a task's run.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::TaskCompleted { .. } | Self::TaskFailed(_) | Self::TaskCancelled { .. } | Self::TaskSkipped { .. }
        )
    }
}

/// An event to append; its place in the stream comes from the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    pub id: EventId,
    pub at: Timestamp,
    /// What it belongs to, carried through from the first cause; mostly the task id.
    pub correlation: Option<Arc<str>>,
    /// The event that caused it.
    pub causation: Option<EventId>,
    pub event: Event,
}

/// An event as the journal holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Place in the whole journal, from 1, growing, gaps allowed.
    pub seq: u64,
    pub stream: StreamId,
    /// Place in its stream, from 1, without gaps.
    pub version: u64,
    pub schema: u32,
    pub event: NewEvent,
}
