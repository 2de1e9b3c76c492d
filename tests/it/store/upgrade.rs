//! Whole stores as older programs left them: today's opens each, finds everything in it, and goes on.
//!
//! A new schema is a new file: `MOOTHALL_WRITE_GOLDEN_STORE=1` writes `store-v<schema>.db.zst` with today's code. A file
//! of a released schema never changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moothall::store::{SqliteJournal, StoreOptions};
use moothall_actors::domain::answer::{Class, Failure};
use moothall_actors::domain::council::{Defaults, Endpoint, Sampling};
use moothall_actors::domain::id::{EventId, Stage};
use moothall_actors::domain::json::Json;
use moothall_actors::domain::task::TaskDraft;
use moothall_actors::domain::workflow::{ApprovalRule, Dispatch, WorkflowId, WorkflowStatus, WorkflowType};
use moothall_actors::error::SystemError;
use moothall_actors::ports::{IdSource, ModelCall, Ports, TaskStatus};
use moothall_actors::queue::{Limits, MemoryQueue};
use moothall_actors::testing::{FakeChecks, FakeClock, FakeModel, Reaction, embedded_prompts, spec};
use moothall_actors::view::TaskState;
use moothall_actors::{Asked, CouncilDraft, Hold, NewWorkflow, Prompts, Settings, System, Wish};
use rusqlite::Connection;

use super::sample::{role, task_id};

const WORKFLOW: WorkflowId = WorkflowId([5; 16]);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Numbers that grow, from a place of one's own: a store and its next life must not draw the same ids.
struct Ids(AtomicU64);

impl IdSource for Ids {
    fn event_id(&self) -> EventId {
        EventId(u128::from(self.random()).to_be_bytes())
    }

    fn random(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Each task meets its own fate; in the next life the models are well.
fn script(first_life: bool) -> impl Fn(&ModelCall, u32) -> (Duration, Reaction) {
    move |call, _| {
        let fail = |class| Reaction::Fail(Failure::new(class, "http://models:8000 says no"));
        let reaction = match (call.id.run.task.as_str(), call.id.run.run, call.stage()) {
            ("g-failed", ..) => fail(Class::Refused),
            ("g-retried", 1, _) => fail(Class::Transient),
            ("g-cancelled", ..) => Reaction::Silence,
            ("g-open", _, Stage::Critique) if first_life => Reaction::Silence,
            _ => Reaction::Answer(FakeModel::usual(call)),
        };
        (Duration::ZERO, reaction)
    }
}

/// A system on a store, from its start to its end.
pub(super) struct Life {
    pub(super) store: Arc<SqliteJournal>,
    pub(super) system: System,
    pub(super) model: FakeModel,
}

impl Life {
    pub(super) async fn begin(path: &Path, first: bool) -> Self {
        let store = Arc::new(SqliteJournal::open(path, StoreOptions::default()).unwrap());
        let model = FakeModel::new(script(first));
        let ports = Ports {
            model: Arc::new(model.clone()),
            executor: None,
            hub: None,
            checks: Arc::new(FakeChecks),
            journal: store.clone(),
            queue: Arc::new(MemoryQueue::new(Limits::default(), Arc::new(FakeClock::default()))),
            shared: None,
            context: None,
            clock: Arc::new(FakeClock::default()),
            ids: Arc::new(Ids(AtomicU64::new(if first { 1 } else { 1 << 32 }))),
        };
        let prompts = Prompts::compile(embedded_prompts()).unwrap();
        let system = System::start(ports, Settings::default(), prompts).await.unwrap();
        Self { store, system, model }
    }

    pub(super) async fn council(&self, name: &str, agents: usize) {
        let draft = CouncilDraft {
            role: role(name),
            num_agents: agents,
            rounds: 1,
            review: true,
            agent_type: "VLLM".into(),
            model: "fake".into(),
            endpoint: Endpoint::Pool,
            sampling: Sampling::default(),
            defaults: Defaults::default(),
        };
        self.system.create_council(draft).await.unwrap();
    }

    pub(super) async fn submit(&self, task: &str) -> moothall_actors::Attached {
        let metadata = BTreeMap::from([("story_id".to_owned(), "s-golden".to_owned())]);
        let (orchestrate, description) = (task == "g-retried", format!("what {task} asks for"));
        let draft = TaskDraft { role: "DEV".into(), description, orchestrate, metadata, ..TaskDraft::default() };
        self.system.submit(Some(task_id(task)), spec(draft), Hold::Background).await.unwrap()
    }

    /// One that waits for its approval.
    async fn workflow(&self) {
        let new = NewWorkflow {
            id: Some(WORKFLOW),
            workflow_type: WorkflowType::Specify,
            description: "what the workflow asks for".into(),
            slug: "golden".into(),
            context: Some(Json::parse(r#"{"priority":"P1"}"#).unwrap()),
            dispatch: Dispatch::Manual,
            approval: ApprovalRule::default(),
            chain: vec![WorkflowType::Plan],
            request: None,
        };
        self.system.create_workflow(new).await.unwrap();
        let phase_result = Some(Json::parse(r#"{"content":"draft"}"#).unwrap());
        let asked = Asked { phase_result, ..Asked::plain(Wish::Complete) };
        self.system.advance_workflow(WORKFLOW, asked).await.unwrap();
    }

    pub(super) async fn end(self) {
        self.system.kill().await;
        self.store.close().await;
    }
}

/// What the golden stores hold, told once.
async fn write(path: &Path) {
    let life = Life::begin(path, true).await;
    for (name, agents) in [("DEV", 3), ("QA", 2), ("OPS", 1)] {
        life.council(name, agents).await;
    }
    life.system.unregister_agent(&role("QA"), &super::sample::agent("agent-qa-002")).await.unwrap();
    life.system.delete_council(&role("OPS")).await.unwrap();
    life.submit("g-completed").await.outcome().await.unwrap();
    life.submit("g-failed").await.outcome().await.unwrap_err();
    life.submit("g-retried").await.outcome().await.unwrap_err();
    life.submit("g-retried").await.outcome().await.unwrap();
    let cancelled = life.submit("g-cancelled").await;
    life.system.cancel(&task_id("g-cancelled"), "not needed").await.unwrap();
    cancelled.outcome().await.unwrap_err();
    life.workflow().await;
    let _open = life.submit("g-open").await;
    while life.model.in_flight() < 3 || life.model.counts().keys().all(|call| call.wave.stage != Stage::Critique) {
        tokio::task::yield_now().await;
    }
    life.end().await;
}

/// Every golden store, by its name.
fn golden() -> Vec<(String, PathBuf)> {
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let mut stores: Vec<_> = files
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .filter(|(name, _)| name.starts_with("store-v") && name.ends_with(".db.zst"))
        .collect();
    stores.sort();
    stores
}

fn unpacked(path: &Path, to: &Path) -> PathBuf {
    let store = to.join("golden.db");
    let bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    std::fs::write(&store, bytes).unwrap();
    store
}

fn schema_of(path: &Path) -> i64 {
    Connection::open(path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_golden_store_is_written_when_asked_for_and_each_schema_has_one() {
    let folder_of_test = tempfile::tempdir().unwrap();
    let path = folder_of_test.path().join("a.db");
    write(&path).await;
    let name = format!("store-v{}.db.zst", schema_of(&path));
    if std::env::var_os("MOOTHALL_WRITE_GOLDEN_STORE").is_some() {
        let packed = zstd::encode_all(std::fs::File::open(&path).unwrap(), 19).unwrap();
        assert!(packed.len() < 200_000, "{} bytes", packed.len());
        std::fs::write(folder().join(&name), packed).unwrap();
    }
    assert!(golden().iter().any(|(there, _)| *there == name), "{name} is missing");
}

#[tokio::test]
async fn a_golden_store_is_sound_to_a_reader_that_may_not_change_it() {
    for (name, packed) in golden() {
        let folder = tempfile::tempdir().unwrap();
        let path = unpacked(&packed, folder.path());
        let before = std::fs::read(&path).unwrap();
        let reader = SqliteJournal::open_read_only(&path).unwrap();
        let report = reader.verify().await.unwrap();
        assert!(report.is_sound() && report.tasks == 5, "{name}: {report:?}");
        assert!(reader.task(&task_id("g-completed")).await.unwrap().is_some(), "{name}");
        assert_eq!(reader.task(&task_id("g-unknown")).await.unwrap(), None, "{name}");
        assert_eq!(reader.stats().await.unwrap().open_tasks, 1, "{name}");
        drop(reader);
        assert_eq!(std::fs::read(&path).unwrap(), before, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_verdicts_and_councils_of_a_golden_store_are_there_and_it_goes_on() {
    let golden = golden();
    assert!(!golden.is_empty());
    for (name, packed) in golden {
        let folder = tempfile::tempdir().unwrap();
        let life = Life::begin(&unpacked(&packed, folder.path()), false).await;
        councils_are_there(&life, &name);
        ended_tasks_are_there(&life, &name).await;
        the_open_one_goes_on(&life, &name).await;
        the_workflow_goes_on(&life, &name).await;
        life.submit("g-new").await.outcome().await.unwrap();
        let report = life.store.verify().await.unwrap();
        assert!(report.is_sound() && report.tasks == 6, "{name}: {report:?}");
        life.end().await;
    }
}

fn councils_are_there(life: &Life, name: &str) {
    let councils: Vec<_> =
        life.system.councils().iter().map(|view| (view.council.role.to_string(), view.council.seats.len())).collect();
    assert_eq!(councils, [("DEV".to_owned(), 3), ("QA".to_owned(), 1)], "{name}");
}

async fn ended_tasks_are_there(life: &Life, name: &str) {
    for (task, run) in [("g-completed", 1), ("g-retried", 2)] {
        let view = life.system.task(&task_id(task)).await.unwrap();
        let TaskState::Completed(outcome) = view.state else { panic!("{name}: {task} is {:?}", view.state) };
        assert_eq!((view.row.run, view.row.story_id.as_deref()), (run, Some("s-golden")), "{name}: {task}");
        assert_eq!(outcome.proposals.len(), 3, "{name}: {task}");
        assert_eq!(outcome.verdict.winner().map(|winner| &winner.agent), view.row.winner.as_ref(), "{name}: {task}");
        let revised = format!("revise of {} in round 1", outcome.proposals[0].agent);
        assert_eq!(*outcome.proposals[0].text, *revised, "{name}: {task}");
        // The same content is answered from the store, nobody is asked.
        let again = life.submit(task).await.outcome().await.unwrap();
        assert_eq!(again, outcome, "{name}: {task}");
    }
    let failed = life.system.task(&task_id("g-failed")).await.unwrap();
    let TaskState::Ended(SystemError::Failed { class: Class::Refused, .. }) = failed.state else {
        panic!("{name}: {:?}", failed.state)
    };
    let cancelled = life.system.task(&task_id("g-cancelled")).await.unwrap();
    assert_eq!(cancelled.row.status, TaskStatus::Cancelled, "{name}");
    assert!(
        matches!(&cancelled.state, TaskState::Ended(SystemError::Cancelled { reason }) if **reason == *"not needed")
    );
}

/// Stores of before the fifth schema have none.
async fn the_workflow_goes_on(life: &Life, name: &str) {
    let Ok(waiting) = life.system.workflow(WORKFLOW).await else {
        assert!(["store-v1", "store-v2", "store-v3", "store-v4"].iter().any(|early| name.starts_with(early)), "{name}");
        return;
    };
    assert_eq!((waiting.status, &*waiting.feature_id), (WorkflowStatus::WaitingApproval, "001-golden"), "{name}");
    for wish in [Wish::Approve, Wish::Complete, Wish::Approve] {
        life.system.advance_workflow(WORKFLOW, Asked::plain(wish)).await.unwrap();
    }
    let done = life.system.workflow(WORKFLOW).await.unwrap();
    assert_eq!(done.status, WorkflowStatus::Completed, "{name}");
    let next = life.system.workflow(done.next.unwrap()).await.unwrap();
    assert_eq!((next.workflow_type, &next.feature_id), (WorkflowType::Plan, &done.feature_id), "{name}");
}

/// Its proposals were durable: they are not asked for again.
async fn the_open_one_goes_on(life: &Life, name: &str) {
    life.submit("g-open").await.outcome().await.unwrap();
    let asked: Vec<_> = life.model.counts().into_keys().filter(|call| call.run.task.as_str() == "g-open").collect();
    assert!(!asked.is_empty() && asked.iter().all(|call| call.wave.stage != Stage::Propose), "{name}: {asked:?}");
}
