//! One event of the journal in the words of `contract/nats.md`: its subject, its fields, what it belongs to.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use moothall_actors::domain::answer::Class;
use moothall_actors::domain::event::{Event, Recorded};
use moothall_actors::domain::id::{AgentId, RunId, TaskId};
use moothall_actors::domain::message::{Cause, Rejected};
use moothall_actors::domain::plan::Approval;
use moothall_actors::domain::queue::Entry;
use moothall_actors::domain::task::TaskSpec;
use moothall_actors::domain::verdict::{Ranked, Verdict};
use moothall_actors::domain::workflow::WorkflowId;
use moothall_actors::ports::JournalError;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::ends::{Of, named};
use super::facts::{Facts, OfTask};
use super::workflow;
use crate::nats::outgoing::{
    Decision, DeliberationCompleted, DeliberationFailed, Execute, Outgoing, PhaseChanged, PlanApproved, TaskDispatched,
    TaskHeld, TaskQueued,
};
use crate::nats::{Body, InboxKey, Origin, Publication, Rejection, dead_letter};

/// The tasks of which these events do not say all that others are told.
pub(super) fn tasks(page: &[Recorded]) -> BTreeSet<TaskId> {
    page.iter().filter_map(|recorded| Some(whose(recorded.stream.as_str(), &recorded.event.event)?.0)).collect()
}

/// `None` = nobody is told of it.
pub(super) async fn publication(facts: &Facts, recorded: Recorded) -> Result<Option<Publication>, JournalError> {
    let Some(place) = Place::of(&recorded) else { return Ok(None) };
    let Recorded { stream, event, .. } = recorded;
    match event.event {
        Event::MessageRejected(rejected) => Ok(Some(letter(&place, &rejected))),
        Event::PlanApproved(approval) => {
            facts.forget_plan(&approval.plan);
            approval.tasks.iter().for_each(|planned| facts.forget_task(&planned.task));
            Ok(place.publication(plan_approved(&approval, place.time), &approval.cause))
        }
        Event::StoryMoved { from, to, cause } => {
            let story = stream.as_str().strip_prefix("story/").unwrap_or_default();
            let moved = PhaseChanged {
                story_id: story.to_owned(),
                from_phase: from.as_deref().unwrap_or_default().to_owned(),
                to_phase: to.to_string(),
                timestamp: place.time,
            };
            Ok(place.publication(Outgoing::PhaseChanged(moved), &cause))
        }
        Event::TaskQueued(entry) => {
            facts.forget_task(&entry.task);
            let cause = facts.of_plan(&entry.plan.clone().unwrap_or_default()).await?;
            Ok(place.publication(queued(&entry, place.time), &cause))
        }
        Event::WorkflowAdvanced(step) => {
            let id = stream.as_str().strip_prefix("workflow/").and_then(WorkflowId::parse);
            let Some(id) = id else { return Ok(None) };
            let Some(of) = facts.of_workflow(id).await? else { return Ok(None) };
            Ok(place.publication(workflow::step(id, &of, &step, place.time), &Cause::default()))
        }
        event => {
            let Some((task, run)) = whose(stream.as_str(), &event) else { return Ok(None) };
            let Some(of) = facts.of_task(&task).await? else { return Ok(None) };
            let cause = facts.of_plan(&of.plan).await?;
            let told = Told { facts, run: RunId { task, run }, of, time: place.time };
            Ok(told.outgoing(event).await?.and_then(|outgoing| place.publication(outgoing, &cause)))
        }
    }
}

/// Where an event stands, and when it happened.
struct Place {
    seq: u64,
    event_id: Uuid,
    time: Timestamp,
    correlation: Option<Arc<str>>,
}

impl Place {
    fn of(recorded: &Recorded) -> Option<Self> {
        let time = Timestamp::from_millisecond(i64::try_from(recorded.event.at.0).ok()?).ok()?;
        let event_id = Uuid::from_bytes(recorded.event.id.0);
        Some(Self { seq: recorded.seq, event_id, time, correlation: recorded.event.correlation.clone() })
    }

    /// Under the correlation of what caused it from elsewhere, else under its own.
    fn publication(&self, outgoing: Outgoing, cause: &Cause) -> Option<Publication> {
        let payload = outgoing.payload();
        let payload = payload.inspect_err(|error| tracing::error!(self.seq, %error, "an event cannot be published"));
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        Some(Publication {
            seq: self.seq,
            event_id: self.event_id,
            subject: outgoing.subject().to_owned(),
            ordering_key: outgoing.ordering_key().to_owned(),
            body: Body::Event(payload.ok()?),
            correlation_id: text(&cause.correlation_id).or_else(|| text(&self.correlation)),
            causation_id: text(&cause.event_id),
            traceparent: text(&cause.traceparent),
            time: self.time,
        })
    }
}

fn letter(place: &Place, rejected: &Rejected) -> Publication {
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let rejection = Rejection {
        key: InboxKey { stream: rejected.stream.to_string(), sequence: rejected.sequence, published_ns: 0 },
        subject: rejected.subject.to_string(),
        reason: rejected.reason.to_string(),
        // It was written here.
        raw: BASE64.decode(rejected.raw.as_bytes()).unwrap_or_default().into(),
        length: rejected.length,
        sha256: rejected.sha256.to_string(),
        origin: Origin {
            event_id: text(&rejected.cause.event_id),
            correlation_id: text(&rejected.cause.correlation_id),
            traceparent: text(&rejected.cause.traceparent),
            ..Origin::default()
        },
    };
    dead_letter(place.seq, place.event_id, place.time, &rejection)
}

fn plan_approved(approval: &Approval, timestamp: Timestamp) -> Outgoing {
    Outgoing::PlanApproved(PlanApproved {
        story_id: approval.story.as_deref().unwrap_or_default().to_owned(),
        plan_id: approval.plan.to_string(),
        approved_by: approval.approved_by.as_deref().unwrap_or_default().to_owned(),
        roles: approval.roles.iter().map(ToString::to_string).collect(),
        task_ids: approval.tasks.iter().map(|planned| planned.task.to_string()).collect(),
        timestamp,
    })
}

/// It says all itself, of however many tasks of a plan.
fn queued(entry: &Entry, timestamp: Timestamp) -> Outgoing {
    let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    Outgoing::TaskQueued(TaskQueued {
        story_id: text(&entry.story),
        plan_id: text(&entry.plan),
        task_id: entry.task.to_string(),
        run: entry.run,
        role: entry.role.to_string(),
        priority: entry.priority.get().into(),
        dependencies: entry.needs.iter().map(ToString::to_string).collect(),
        timestamp,
    })
}

/// The run that an event of a task's or a deliberation's stream is about.
fn whose(stream: &str, event: &Event) -> Option<(TaskId, u32)> {
    if let Some(name) = stream.strip_prefix("deliberation/") {
        let (task, run) = name.rsplit_once('/')?;
        return Some((TaskId::parse("task", task).ok()?, run.parse().ok()?));
    }
    let task = TaskId::parse("task", stream.strip_prefix("task/")?).ok()?;
    Some((task, run(event)?))
}

/// The run that an event of a task's stream is about, if others are told of it.
pub(super) fn run(event: &Event) -> Option<u32> {
    match event {
        Event::TaskFailed(failure) => Some(failure.run),
        Event::TaskAssigned { run, .. }
        | Event::TaskBlocked { run, .. }
        | Event::TaskCancelled { run, .. }
        | Event::TaskCompleted { run, .. }
        | Event::TaskDispatched { run, .. }
        | Event::TaskParked { run, .. }
        | Event::TaskSkipped { run, .. }
        | Event::ExecutionRequested { run, .. } => Some(*run),
        _ => None,
    }
}

/// A run's event, and what is known of its task.
struct Told<'f> {
    facts: &'f Facts,
    run: RunId,
    of: Arc<OfTask>,
    time: Timestamp,
}

impl Told<'_> {
    async fn outgoing(&self, event: Event) -> Result<Option<Outgoing>, JournalError> {
        Ok(Some(match event {
            Event::VerdictReached(verdict) => self.decided(&verdict),
            Event::DeliberationFailed { class, message, .. } => self.undecided(class, &message),
            Event::TaskAssigned { seat, .. } => self.dispatched(&seat.agent),
            Event::TaskDispatched { winner, .. } => self.dispatched(&winner),
            Event::ExecutionRequested { agent, .. } => return self.execute(&agent).await,
            Event::TaskParked { reason, .. } => Outgoing::TaskParked(self.held(&reason, None)),
            Event::TaskBlocked { cause, .. } => {
                let reason = format!("{cause} did not complete");
                Outgoing::TaskBlocked(self.held(&reason, Some(&cause)))
            }
            event => {
                let is_completed = matches!(event, Event::TaskCompleted { .. });
                let passed = is_completed && self.facts.checks_passed(&self.run, &self.of).await?;
                let of = Of { run: &self.run, story: &self.of.story, role: &self.of.role, time: self.time };
                return Ok(of.end(&event, passed));
            }
        }))
    }

    fn story(&self) -> String {
        self.of.story.to_string()
    }

    fn task(&self) -> String {
        self.run.task.to_string()
    }

    fn role(&self) -> String {
        self.of.role.to_string()
    }

    fn decided(&self, verdict: &Verdict) -> Outgoing {
        self.facts.decided(&self.run, verdict.winner());
        Outgoing::DeliberationCompleted(DeliberationCompleted {
            story_id: self.story(),
            task_id: self.task(),
            decisions: verdict.ranking.iter().map(|ranked| self.decision(verdict, ranked)).collect(),
            winner_id: verdict.winner().map(|winner| winner.agent.to_string()).unwrap_or_default(),
            duration_ms: u64::try_from(verdict.duration.as_millis()).unwrap_or(u64::MAX),
            timestamp: self.time,
        })
    }

    fn decision(&self, verdict: &Verdict, ranked: &Ranked) -> Decision {
        let rationale = match ranked.rank {
            1 => verdict.selection.why.to_string(),
            _ if !ranked.checks.any_failed() => "all checks passed; others were preferred".to_owned(),
            _ => "some checks failed".to_owned(),
        };
        Decision {
            id: format!("{}/{}", self.run, ranked.agent),
            kind: "proposal".to_owned(),
            agent_id: ranked.agent.to_string(),
            rank: ranked.rank,
            score: ranked.score,
            rationale,
        }
    }

    fn undecided(&self, class: Class, message: &str) -> Outgoing {
        Outgoing::DeliberationFailed(DeliberationFailed {
            story_id: self.story(),
            task_id: self.task(),
            error: message.to_owned(),
            error_type: named(class),
            timestamp: self.time,
        })
    }

    fn dispatched(&self, agent: &AgentId) -> Outgoing {
        Outgoing::TaskDispatched(TaskDispatched {
            story_id: self.story(),
            task_id: self.task(),
            run: self.run.run,
            agent_id: agent.to_string(),
            role: self.role(),
            timestamp: self.time,
        })
    }

    /// With all that the task asks for, and the winner's own words; where there is none, since several carry the task itself
    /// out, those of the task.
    async fn execute(&self, agent: &AgentId) -> Result<Option<Outgoing>, JournalError> {
        let Some(spec) = self.facts.spec(&self.run.task).await? else { return Ok(None) };
        let proposal = match spec.collective {
            true => spec.description.to_string(),
            false => {
                let Some(outcome) = self.facts.outcome(&self.run).await? else { return Ok(None) };
                outcome.proposals.first().map(|proposal| proposal.text.to_string()).unwrap_or_default()
            }
        };
        Ok(Some(Outgoing::Execute(Execute {
            task_id: self.task(),
            story_id: self.story(),
            role: self.role(),
            agent_id: agent.to_string(),
            proposal,
            constraints: constraints(&spec),
        })))
    }

    fn held(&self, reason: &str, cause: Option<&TaskId>) -> TaskHeld {
        TaskHeld {
            story_id: self.story(),
            task_id: self.task(),
            run: self.run.run,
            role: self.role(),
            reason: reason.to_owned(),
            cause_task_id: cause.map(ToString::to_string),
            timestamp: self.time,
        }
    }
}

/// What the task asks of whoever carries it out.
fn constraints(spec: &TaskSpec) -> Map<String, Value> {
    let mut constraints = Map::new();
    constraints.insert("rubric".to_owned(), (*spec.rubric).into());
    constraints.insert("requirements".to_owned(), spec.requirements.iter().map(|text| &**text).collect());
    let metadata: Map<String, Value> =
        spec.metadata.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    constraints.insert("metadata".to_owned(), metadata.into());
    let seconds = spec.execution.map_or(0, |limit| limit.as_secs());
    constraints.insert("timeout_seconds".to_owned(), seconds.into());
    constraints
}
