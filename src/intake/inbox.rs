//! Events that others published, each with its effect: durable before it is acknowledged, once however often it comes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use moothall_actors::domain::execution::Executed;
use moothall_actors::domain::id::{MAX_ID_BYTES, TaskId, Timestamp};
use moothall_actors::domain::message::{Cause, Rejected};
use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::receipt::{Receipt, ReceiptKey};
use moothall_actors::error::SystemError;
use moothall_actors::{ExecutionAnswer, Heard, StoryMove, StoryNote, System};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{By, Intake, wave};
use crate::error::cut;
use crate::nats::{
    AgentCompleted, AgentFailed, AgentProgress, Delivery, Handled, Inbox, InboxKey, Incoming, Origin, PlanApproved,
    Rejection, STREAMS, StoryTransitioned, Unavailable,
};
use crate::plan::approval;
use crate::ray::RayExecutor;

/// Of a phase of a story.
pub const MAX_PHASE_BYTES: usize = 64;
/// What a stream has dropped cannot come again; clocks and late pulls are given so much more.
const GRACE: Duration = Duration::from_secs(86_400);
/// Of what an agent says of its work; what is longer is cut.
const MAX_OUTPUT_BYTES: usize = 256 * 1024;
const MAX_ERROR_BYTES: usize = 4 * 1024;
/// Of what it says while it works.
const MAX_PROGRESS_BYTES: usize = 1024;
/// In the types of failures that pass.
const TRANSIENT: [&str; 7] = ["transient", "timeout", "timed", "unavailable", "connection", "rate", "lost"];
/// Of a stream that is none of ours.
const LONGEST_AGE: Duration = Duration::from_secs(30 * 86_400);

/// The daemon's inbox.
#[derive(Clone, Debug)]
pub struct EventInbox {
    system: System,
    intake: Intake,
    executor: Option<Arc<RayExecutor>>,
}

impl EventInbox {
    #[must_use]
    pub fn new(system: System, intake: Intake, executor: Option<Arc<RayExecutor>>) -> Self {
        Self { system, intake, executor }
    }

    async fn take(&self, delivery: Delivery) -> Result<Handled, SystemError> {
        let cause = cause(&delivery.origin);
        let mut receipt = receipt(&delivery.key);
        receipt.keys.extend(own_name(&delivery.incoming));
        match delivery.incoming {
            Incoming::PlanApproved(event) => self.plan_approved(event, cause, receipt).await?,
            Incoming::StoryTransitioned(event) => self.story_transitioned(event, cause, receipt).await?,
            Incoming::ContextDecision(event) => {
                let (id, kind) = (event.decision_id.into(), event.decision_type.map(Into::into));
                self.note(&event.story_id, StoryNote::Decision { id, kind }, receipt).await?;
            }
            Incoming::ContextMilestone(event) => {
                let (id, name) = (event.milestone_id.into(), event.milestone_name.into());
                self.note(&event.story_id, StoryNote::Milestone { id, name }, receipt).await?;
            }
            Incoming::AgentCompleted(event) => {
                return match wave::completed(self.executor.as_ref(), &event).await {
                    Some(handled) => Ok(handled),
                    None => self.executed(completed(event)?, receipt).await,
                };
            }
            Incoming::AgentFailed(event) => {
                return match wave::failed(self.executor.as_ref(), &event).await {
                    Some(handled) => Ok(handled),
                    None => self.executed(failed(event)?, receipt).await,
                };
            }
            // What is kept of a story is no truth: nothing has to be durable.
            Incoming::ContextUpdated(event) => {
                self.system.context_changed(&event.story_id, event.version.as_deref());
            }
            Incoming::AgentProgress(event) => return self.progressed(event).await,
        }
        Ok(Handled::Done)
    }

    async fn plan_approved(&self, event: PlanApproved, cause: Cause, receipt: Receipt) -> Result<(), SystemError> {
        // Reading it is the most of it; all else is known by the batch that would write it.
        if self.system.received(&receipt).await? {
            return Err(SystemError::Received);
        }
        let source = payload(&event);
        let origin = self.intake.origin(&event.plan_id, &event.story_id, Vec::new());
        let read = approval(source.as_bytes(), &origin).map_err(SystemError::Invalid)?;
        let by = By { approved_by: read.approved_by.unwrap_or_default(), cause, receipt: Some(receipt) };
        self.intake.submit(read.plan, by, &source).await.map(drop)
    }

    async fn story_transitioned(
        &self,
        event: StoryTransitioned,
        cause: Cause,
        receipt: Receipt,
    ) -> Result<(), SystemError> {
        short(&[
            ("story_id", &event.story_id, MAX_ID_BYTES),
            ("from_phase", &event.from_phase, MAX_PHASE_BYTES),
            ("to_phase", &event.to_phase, MAX_PHASE_BYTES),
        ])?;
        let moves = StoryMove {
            story: event.story_id.into(),
            from: Some(event.from_phase.into()),
            to: event.to_phase.into(),
            cause,
            receipt: Some(receipt),
        };
        self.system.move_story(moves).await.map(drop)
    }

    async fn executed(&self, answer: ExecutionAnswer, receipt: Receipt) -> Result<Handled, SystemError> {
        let is_ours = self.system.executed(answer, receipt).await?;
        Ok(if is_ours { Handled::Done } else { Handled::NotOurs })
    }

    /// Nothing of it has to be durable: the agent says it again.
    async fn progressed(&self, event: AgentProgress) -> Result<Handled, SystemError> {
        let task = whose(&event.task_id, &event.agent_id)?;
        let heard = Heard {
            agent: event.agent_id.into(),
            percent: event.progress_pct.map(percent),
            message: event.message.map(|message| cut(&message, MAX_PROGRESS_BYTES).into()),
            at: self.system.now(),
        };
        let is_ours = self.system.progressed(&task, heard).await?;
        Ok(if is_ours { Handled::Done } else { Handled::NotOurs })
    }

    async fn note(&self, story: &str, note: StoryNote, receipt: Receipt) -> Result<(), SystemError> {
        let (id, text) = match &note {
            StoryNote::Decision { id, kind } => (("decision_id", &**id), ("decision_type", kind.as_deref())),
            StoryNote::Milestone { id, name } => (("milestone_id", &**id), ("milestone_name", Some(&**name))),
        };
        short(&[
            ("story_id", story, MAX_ID_BYTES),
            (id.0, id.1, MAX_ID_BYTES),
            (text.0, text.1.unwrap_or_default(), MAX_ID_BYTES),
        ])?;
        self.system.note_of_story(story, note, receipt).await
    }
}

#[async_trait]
impl Inbox for EventInbox {
    async fn receive(&self, delivery: Delivery) -> Handled {
        match self.take(delivery).await {
            Ok(handled) => handled,
            Err(SystemError::Received) => Handled::Done,
            Err(error @ (SystemError::Busy { .. } | SystemError::Unavailable(_))) => {
                Handled::Unavailable { why: error.to_string() }
            }
            // A plan whose ids others take again and again is right all the same: it has another try.
            Err(error @ (SystemError::Internal { .. } | SystemError::OtherContent { .. })) => {
                Handled::Later { why: error.to_string() }
            }
            Err(error) => Handled::Rejected { reason: error.to_string() },
        }
    }

    async fn rejected(&self, rejection: Rejection) -> Result<(), Unavailable> {
        let receipt = receipt(&rejection.key);
        let told = self.system.reject(kept(rejection), receipt).await;
        told.map_err(|error| Unavailable::new(error.to_string()))
    }
}

fn cause(origin: &Origin) -> Cause {
    let text = |text: &Option<String>| text.as_deref().map(Arc::from);
    Cause {
        event_id: text(&origin.event_id),
        correlation_id: text(&origin.correlation_id),
        traceparent: text(&origin.traceparent),
    }
}

fn kept(rejection: Rejection) -> Rejected {
    Rejected {
        subject: rejection.subject.into(),
        reason: rejection.reason.into(),
        stream: rejection.key.stream.into(),
        sequence: rejection.key.sequence,
        raw: BASE64.encode(&rejection.raw).into(),
        length: rejection.length,
        sha256: rejection.sha256.into(),
        cause: cause(&rejection.origin),
    }
}

/// By its place: known for as long as its stream can hold it.
fn receipt(key: &InboxKey) -> Receipt {
    let InboxKey { stream, sequence, published_ns } = key;
    let name = ReceiptKey::place(stream, *sequence, *published_ns);
    let age = STREAMS.iter().find(|row| row.name == stream).map_or(LONGEST_AGE, |row| row.max_age);
    let published = Duration::from_nanos(u64::try_from(*published_ns).unwrap_or_default());
    let until = published.saturating_add(age).saturating_add(GRACE);
    Receipt { keys: vec![name], until: Timestamp(u64::try_from(until.as_millis()).unwrap_or(u64::MAX)) }
}

/// By what it says of itself, where that is enough to know it again under another place. A plan's is found when it is read.
fn own_name(incoming: &Incoming) -> Option<ReceiptKey> {
    match incoming {
        Incoming::StoryTransitioned(event) => {
            let StoryTransitioned { story_id, from_phase, to_phase, timestamp } = event;
            Some(ReceiptKey::of(&["story", story_id, from_phase, to_phase, timestamp.as_ref()?]))
        }
        Incoming::ContextDecision(event) => Some(ReceiptKey::of(&["decision", &event.story_id, &event.decision_id])),
        Incoming::ContextMilestone(event) => Some(ReceiptKey::of(&["milestone", &event.story_id, &event.milestone_id])),
        _ => None,
    }
}

fn completed(event: AgentCompleted) -> Result<ExecutionAnswer, SystemError> {
    let output = event.output.as_deref().map(|output| cut(&String::from_utf8_lossy(output), MAX_OUTPUT_BYTES));
    let outcome = Executed::Completed {
        checks_passed: event.checks_passed,
        duration_ms: event.duration_ms,
        output: output.map(Into::into),
    };
    answer(&event.task_id, &event.agent_id, event.attempt, outcome)
}

fn failed(event: AgentFailed) -> Result<ExecutionAnswer, SystemError> {
    let kind = event.error_type.unwrap_or_default();
    let error = event.error.unwrap_or_else(|| kind.clone());
    let outcome =
        Executed::Failed { error: cut(&error, MAX_ERROR_BYTES).into(), may_heal: may_heal(&kind.to_ascii_lowercase()) };
    answer(&event.task_id, &event.agent_id, event.attempt, outcome)
}

/// Whether a failure of this type is worth another attempt. What is not known to pass costs an agent's time for nothing.
fn may_heal(kind: &str) -> bool {
    TRANSIENT.iter().any(|word| kind.contains(word))
}

fn answer(task: &str, agent: &str, attempt: Option<u32>, outcome: Executed) -> Result<ExecutionAnswer, SystemError> {
    Ok(ExecutionAnswer { task: whose(task, agent)?, agent: agent.into(), attempt, outcome })
}

/// The task that an agent speaks of.
fn whose(task: &str, agent: &str) -> Result<TaskId, SystemError> {
    short(&[("agent_id", agent, MAX_ID_BYTES)])?;
    TaskId::parse("task_id", task).map_err(|problem| SystemError::Invalid(Problems(vec![problem])))
}

/// Whole, and within 0 and 100 whatever was said.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within 0 and 100")]
fn percent(said: f64) -> u8 {
    if said.is_nan() { 0 } else { said.clamp(0.0, 100.0) as u8 }
}

/// The event as the plan's reader takes it, in the words in which it came.
fn payload(event: &PlanApproved) -> String {
    #[derive(Serialize)]
    struct Payload<'e> {
        story_id: &'e str,
        plan_id: &'e str,
        #[serde(skip_serializing_if = "Option::is_none")]
        approved_by: Option<&'e str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        timestamp: Option<&'e str>,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        roles: &'e [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        plan: Option<&'e RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tasks: Option<&'e RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tasks_outline: Option<&'e RawValue>,
    }
    let raw =
        |bytes: &'_ Option<bytes::Bytes>| -> Option<Box<RawValue>> { serde_json::from_slice(bytes.as_deref()?).ok() };
    let (plan, tasks, outline) = (raw(&event.plan), raw(&event.tasks), raw(&event.tasks_outline));
    let payload = Payload {
        story_id: &event.story_id,
        plan_id: &event.plan_id,
        approved_by: event.approved_by.as_deref(),
        timestamp: event.timestamp.as_deref(),
        roles: &event.roles,
        plan: plan.as_deref(),
        tasks: tasks.as_deref(),
        tasks_outline: outline.as_deref(),
    };
    serde_json::to_string(&payload).unwrap_or_default()
}

/// Each of these texts has at most so many bytes, and some.
fn short(texts: &[(&str, &str, usize)]) -> Result<(), SystemError> {
    let mut problems = Problems::default();
    for (field, text, most) in texts {
        if text.len() > *most {
            problems.push(*field, format!("has {} bytes; at most {most} are allowed", text.len()));
        }
    }
    if problems.0.is_empty() { Ok(()) } else { Err(SystemError::Invalid(problems)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stream: &str, sequence: u64, published_ns: i64) -> Receipt {
        receipt(&InboxKey { stream: stream.into(), sequence, published_ns })
    }

    #[test]
    fn a_place_is_known_for_as_long_as_its_stream_can_hold_it_and_a_day() {
        let hour = 3_600_000;
        assert_eq!(at("AGENT_RESPONSES", 1, 5_000_000).until, Timestamp(5 + hour + 24 * hour));
        assert_eq!(at("PLANNING_EVENTS", 1, 0).until, Timestamp(31 * 24 * hour));
        assert_ne!(
            at("CONTEXT", 1, 1).keys,
            at("CONTEXT", 1, 2).keys,
            "a sequence that was given again is another place"
        );
    }

    #[test]
    fn a_move_without_a_time_is_known_by_its_place_alone() {
        let moves = |timestamp: Option<&str>| {
            own_name(&Incoming::StoryTransitioned(StoryTransitioned {
                story_id: "s".into(),
                from_phase: "PLAN".into(),
                to_phase: "BUILD".into(),
                timestamp: timestamp.map(Into::into),
            }))
        };
        assert_eq!(moves(None), None);
        assert_eq!(moves(Some("1")), moves(Some("1")));
        assert_ne!(moves(Some("1")), moves(Some("2")));
    }

    #[test]
    fn progress_is_a_whole_number_of_percent_whatever_is_said() {
        for (said, shown) in [(0.0, 0), (41.7, 41), (100.0, 100), (250.0, 100), (-3.0, 0), (f64::NAN, 0)] {
            assert_eq!(percent(said), shown, "{said}");
        }
    }

    #[test]
    fn failures_that_pass_are_worth_another_attempt() {
        for kind in ["timeout", "connection_error", "transienterror", "rate_limited", "unavailable", "worker_lost"] {
            assert!(may_heal(kind), "{kind}");
        }
        for kind in ["", "syntaxerror", "permission_denied"] {
            assert!(!may_heal(kind), "{kind}");
        }
    }

    #[test]
    fn a_plan_goes_to_its_reader_in_the_words_in_which_it_came() {
        let event = PlanApproved {
            story_id: "s".into(),
            plan_id: "p".into(),
            plan: Some(r#"{"tasks": [ {"id":1.50} ]}"#.into()),
            ..PlanApproved::default()
        };
        assert_eq!(payload(&event), r#"{"story_id":"s","plan_id":"p","plan":{"tasks": [ {"id":1.50} ]}}"#);
    }
}
