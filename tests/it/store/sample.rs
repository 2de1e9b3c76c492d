//! Events to write: small, valid, each with an id of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moothall_actors::domain::answer::{Class, Failure};
use moothall_actors::domain::council::{Council, Defaults};
use moothall_actors::domain::event::{Event, NewEvent, TaskFailure};
use moothall_actors::domain::id::{AgentId, CallId, EventId, Role, RunId, Stage, StreamId, TaskId, Timestamp, Wave};
use moothall_actors::domain::task::{TaskDraft, TaskSpec};
use moothall_actors::ports::Batch;

static NEXT: AtomicU64 = AtomicU64::new(1);

pub(crate) fn event_id() -> EventId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    EventId(bytes)
}

/// At a time that grows with every event.
pub(crate) fn new(event: Event) -> NewEvent {
    let id = event_id();
    let at = Timestamp(1_700_000_000_000 + u64::from_be_bytes(id.0[8..].try_into().unwrap()));
    NewEvent { id, at, correlation: Some("task-1".into()), causation: None, event }
}

pub(crate) fn task_id(name: &str) -> TaskId {
    TaskId::parse("task", name).unwrap()
}

pub(crate) fn agent(name: &str) -> AgentId {
    AgentId::parse("agent", name).unwrap()
}

pub(crate) fn role(name: &str) -> Role {
    Role::parse("role", name).unwrap()
}

pub(crate) fn spec(role: &str, story: Option<&str>) -> TaskSpec {
    let metadata: BTreeMap<_, _> = story.map(|story| ("story_id".to_owned(), story.to_owned())).into_iter().collect();
    let draft =
        TaskDraft { role: role.into(), description: "parse a duration".into(), metadata, ..TaskDraft::default() };
    draft.check().unwrap()
}

pub(crate) fn accepted(name: &str, role: &str, story: Option<&str>) -> Event {
    let spec = spec(role, story);
    Event::TaskAccepted {
        task: task_id(name),
        content_hash: spec.content_hash().into(),
        keyed: true,
        spec: spec.into(),
    }
}

pub(crate) fn completed(run: u32) -> Event {
    Event::TaskCompleted { run, winner: agent("agent-dev-001"), duration: Duration::from_millis(1_500) }
}

pub(crate) fn failed(run: u32) -> Event {
    Event::TaskFailed(TaskFailure { run, class: Class::TimedOut, message: "no answer: 300 s".into() })
}

pub(crate) fn cancelled(run: u32) -> Event {
    Event::TaskCancelled { run, reason: "not needed".into() }
}

/// An event of a stream that nothing is projected from.
pub(crate) fn call_failed(ask: u8) -> Event {
    let run = RunId { task: task_id("task-1"), run: 1 };
    let call = CallId { run, wave: Wave { stage: Stage::Propose, round: 0 }, agent: agent("agent-dev-001"), ask };
    Event::CallFailed { call, failure: Failure::new(Class::Transient, "connection refused") }
}

/// As [`call_failed`], with so many bytes of text.
pub(crate) fn large(bytes: usize) -> Event {
    Event::DeliberationCancelled { reason: "x".repeat(bytes).into() }
}

pub(crate) fn council(role_name: &str) -> Council {
    Council {
        role: role(role_name),
        rounds: 1,
        review: true,
        defaults: Defaults::default(),
        agent_type: "VLLM".into(),
        model: "tiny".into(),
        seats: Vec::new(),
        created_at: Timestamp(1),
        parked: None,
    }
}

pub(crate) fn task_stream(name: &str) -> StreamId {
    StreamId::task(&task_id(name))
}

/// One append of events to a task's stream.
pub(crate) fn on_task(name: &str, expected_version: u64, events: impl IntoIterator<Item = Event>) -> Batch {
    Batch::one(task_stream(name), expected_version, events.into_iter().map(new).collect())
}

/// One append of one event to a stream of that name.
pub(crate) fn on(stream: &str, expected_version: u64, event: Event) -> Batch {
    Batch::one(StreamId::named(stream), expected_version, vec![new(event)])
}
