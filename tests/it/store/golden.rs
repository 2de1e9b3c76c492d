//! Events of every kind, as version 1 wrote them: they must be read for ever, and mean what they meant.
//!
//! A new kind is a new line: `MOOTHALL_WRITE_GOLDEN=1` writes the file anew. A changed line is a broken promise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use moothall::store::SqliteJournal;
use moothall_actors::artifact::{Code, Draft, Excerpt, Failure as ArtifactFailure, Rejected, Wanted};
use moothall_actors::domain::answer::{Answer, Class, Failure, Finish, Usage};
use moothall_actors::domain::check::{CheckOutcome, CheckReport};
use moothall_actors::domain::context::Informed;
use moothall_actors::domain::council::{Capabilities, Council, Defaults, Endpoint, Sampling, Seat};
use moothall_actors::domain::event::{Event, Plan, SCHEMA};
use moothall_actors::domain::execution::{Executed, Execution, Output};
use moothall_actors::domain::id::{CallId, RunId, Stage, StreamId, Timestamp, Wave};
use moothall_actors::domain::message::{self, Cause};
use moothall_actors::domain::plan::{Approval, Change, Planned};
use moothall_actors::domain::queue::{Entry, OnDependencyFailure, Priority};
use moothall_actors::domain::task::{OptionsDraft, TaskDraft, TaskSpec};
use moothall_actors::domain::verdict::{
    Ballot, Dropped, MissingSeat, Ranked, Scored, Selection, Selector, StopReason, Verdict, WaveTime,
};
use moothall_actors::ports::{Batch, Journal};
use serde_json::value::RawValue;

use super::sample::{accepted, agent, call_failed, cancelled, completed, council, failed, new, role, task_id};
use super::sample_workflows::workflows;

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/events-v1.jsonl")
}

fn wave(stage: Stage, round: u8) -> Wave {
    Wave { stage, round }
}

fn seats() -> Vec<Seat> {
    let plain = Seat {
        agent: agent("agent-dev-001"),
        endpoint: Endpoint::Pool,
        model: "".into(),
        sampling: Sampling::default(),
        capabilities: Capabilities::default(),
        metadata: BTreeMap::new(),
    };
    let full = Seat {
        agent: agent("agent-dev-002"),
        endpoint: Endpoint::Url("http://127.0.0.1:8000/v1".into()),
        model: "Qwen/Qwen3-0.6B".into(),
        sampling: Sampling { temperature: Some(0.5), top_p: Some(0.25), max_tokens: Some(512), seed: Some(7) },
        capabilities: Capabilities {
            supported_tasks: vec!["code".into()],
            model_profile: "small".into(),
            max_concurrent_tasks: 4,
            languages: vec!["python".into(), "rust".into()],
        },
        metadata: BTreeMap::from([("team".to_owned(), "zürich ✓".to_owned())]),
    };
    let mock = Seat { agent: agent("agent-dev-003"), endpoint: Endpoint::Mock, ..plain.clone() };
    vec![plain, full, mock]
}

fn full_task() -> Event {
    let metadata = [("story_id", "s-1"), ("budget_tokens", "9000"), ("strategy", "fast")];
    let draft = TaskDraft {
        orchestrate: true,
        role: "QA".into(),
        description: "line one\nline \"two\" \\ \u{1F600} \u{7}".into(),
        rubric: "correct, then short".into(),
        requirements: vec!["handles 1h30m".into(), "rejects -1".into()],
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        max_iterations: 3,
        timeout_seconds: 90,
        rounds: 2,
        num_agents: 3,
        options: Some(OptionsDraft { enable_architect_selection: true, ..OptionsDraft::default() }),
    };
    let spec = Arc::new(draft.check().unwrap());
    Event::TaskAccepted { task: task_id("task-2"), content_hash: spec.content_hash().into(), keyed: false, spec }
}

fn plan() -> Event {
    let Event::TaskAccepted { task, spec, .. } = full_task() else { unreachable!() };
    Event::DeliberationStarted(Arc::new(Plan {
        run: RunId { task, run: 2 },
        spec,
        seats: seats(),
        architect: None,
        rounds: 2,
        wanted: Wanted::Auto,
        protected: Vec::new(),
        budget_tokens: None,
        clamped: true,
        prefix: "the shared part".into(),
        context: None,
        prompts_hash: "p-1".into(),
        policy_hash: "c-1".into(),
        ray_fallback: false,
        structured: true,
        salt: u64::MAX,
        execution_id: "0123456789abcdef".into(),
        outputs: Vec::new(),
        deadline: Duration::from_millis(300_000),
        call_timeout: Duration::from_millis(60_001),
    }))
}

fn call(stage: Stage, round: u8, ask: u8) -> CallId {
    let run = RunId { task: task_id("task-2"), run: 2 };
    CallId { run, wave: wave(stage, round), agent: agent("agent-dev-002"), ask }
}

fn answers() -> Vec<Event> {
    let plain = Answer {
        text: "def f():\n    return 1\n".into(),
        reasoning: None,
        usage: Usage { prompt: 120, completion: 45 },
        finish: Finish::Stop,
        model: "tiny".into(),
        attempts: 1,
        duration: Duration::from_millis(1_234),
    };
    let cut = Answer { reasoning: Some("let me see".into()), finish: Finish::Length, attempts: 3, ..plain.clone() };
    let other = Answer { finish: Finish::Other, ..plain.clone() };
    let busy = Failure {
        attempts: 4,
        retry_after: Some(Duration::from_millis(2_500)),
        ..Failure::new(Class::Busy, "http://127.0.0.1:8000 answered 429")
    };
    vec![
        Event::CallAnswered { call: call(Stage::Propose, 0, 1), answer: plain, draft: None },
        Event::CallAnswered { call: call(Stage::Critique, 1, 2), answer: cut, draft: None },
        Event::CallAnswered { call: call(Stage::Select, 0, 1), answer: other, draft: None },
        Event::CallFailed { call: call(Stage::Revise, 2, 1), failure: busy },
        call_failed(1),
    ]
}

fn verdict() -> Event {
    let findings = vec!["line 3: a secret".into()];
    let failed = CheckReport {
        policy: CheckOutcome::Failed { findings },
        additional: BTreeMap::from([("artifact".to_owned(), CheckOutcome::Passed)]),
        ..CheckReport::not_run(&"not in this version".into())
    };
    let ranked = |name, rank, score, quality, checks: CheckReport| Ranked {
        agent: agent(name),
        rank,
        text: None,
        dropped: vec![],
        score,
        quality,
        checks: Arc::new(checks),
    };
    Event::VerdictReached(Arc::new(Verdict {
        ranking: vec![
            ranked("agent-dev-001", 1, 0.9, Some(0.8), CheckReport::not_run(&"off".into())),
            ranked("agent-dev-002", 2, 0.25, None, failed),
        ],
        stop: StopReason::Deadline,
        selection: Selection::default(),
        missing: missing(),
        executor_left: None,
        calls: 9,
        attempts: 12,
        usage: Usage { prompt: 1_000, completion: 500 },
        waves: vec![WaveTime { wave: wave(Stage::Propose, 0), duration: Duration::from_millis(17) }],
        duration: Duration::from_millis(4_321),
    }))
}

/// A revision was dropped, and an architect chose.
fn selected() -> [Event; 3] {
    let (Event::DeliberationStarted(plan), Event::VerdictReached(verdict)) = (plan(), verdict()) else {
        unreachable!()
    };
    let architect = Seat { agent: agent("agent-architect-001"), ..seats().remove(0) };
    let plan = Plan { architect: Some(architect.clone()), ..(*plan).clone() };
    let dropped = Dropped { text: 1, checks: verdict.ranking[1].checks.clone() };
    let ranked = Ranked { text: Some(0), dropped: vec![dropped], ..verdict.ranking[0].clone() };
    let ranking = vec![ranked, verdict.ranking[1].clone()];
    let scored = Scored { ranking: ranking.clone(), stop: StopReason::Complete };
    let valid = Ballot {
        shown: vec![agent("agent-dev-001"), agent("agent-dev-002")],
        ranking: vec![agent("agent-dev-001"), agent("agent-dev-002")],
        reasons: vec!["it handles 45m".into(), "".into()],
        spoiled: None,
    };
    let spoiled = Ballot { ranking: vec![], reasons: vec![], spoiled: Some("it ranks nobody".into()), ..valid.clone() };
    let selection = Selection {
        by: Selector::Architect,
        why: "it handles 45m".into(),
        architect: Some(architect.agent),
        ballots: vec![valid, spoiled],
    };
    let verdict = Verdict { ranking, selection, ..(*verdict).clone() };
    [
        Event::DeliberationStarted(Arc::new(plan)),
        Event::ProposalsScored(Arc::new(scored)),
        Event::VerdictReached(Arc::new(verdict)),
    ]
}

/// A council asks for changes; one answer is an artifact, one is not.
fn drafted() -> [Event; 4] {
    let Event::DeliberationStarted(plan) = plan() else { unreachable!() };
    let plan = Plan {
        wanted: Wanted::Patch,
        protected: vec!["*.lock".into()],
        budget_tokens: Some(200_000),
        ..(*plan).clone()
    };
    let Some(Event::CallAnswered { call, answer, .. }) = answers().into_iter().next() else { unreachable!() };
    let excerpt = Excerpt { line: 3, lines: vec!["x = 1".into()] };
    let failure = ArtifactFailure {
        code: Code::AnchorNotFound,
        path: Some("src/a.py".into()),
        operation: "EDIT src/a.py, block 2".into(),
        message: "the old lines are not there".into(),
        excerpt: vec![excerpt],
    };
    let rejected = Draft::Rejected(Arc::new(Rejected { failures: vec![failure] }));
    let defaults = Defaults {
        artifact: Some(Wanted::Patch),
        persona: Some("You are brief.".into()),
        deadline_seconds: NonZeroU32::new(600),
        budget_tokens: NonZeroU64::new(200_000),
    };
    [
        Event::DeliberationStarted(Arc::new(plan)),
        Event::CallAnswered { call: call.clone(), answer: answer.clone(), draft: Some(Draft::Sound("a diff".into())) },
        Event::CallAnswered { call, answer, draft: Some(rejected) },
        Event::CouncilCreated(Council { defaults, ..council("DEV") }),
    ]
}

fn missing() -> Vec<MissingSeat> {
    let seat = |class, stage| MissingSeat {
        agent: agent("agent-dev-003"),
        wave: wave(stage, 1),
        class,
        reason: "no answer".into(),
    };
    vec![
        seat(Class::Transient, Stage::Critique),
        seat(Class::Invalid, Stage::Revise),
        seat(Class::Refused, Stage::Score),
        seat(Class::Gone, Stage::Select),
    ]
}

fn councils() -> Vec<Event> {
    let full = Council { rounds: 2, review: false, seats: seats(), parked: Some("crashed".into()), ..council("DEV") };
    vec![
        Event::CouncilCreated(council("DEV")),
        Event::CouncilCreated(full),
        Event::CouncilDeleted { role: role("DEV") },
        Event::SeatJoined { seat: seats().remove(1) },
        Event::SeatLeft { agent: agent("agent-dev-002") },
        Event::RoleParked { reason: "5 restarts in 60 s".into() },
        Event::RoleResumed {},
    ]
}

/// The values behind the lines of the file, in its order.
fn values() -> Vec<Event> {
    let tasks = [
        accepted("task-1", "DEV", None),
        full_task(),
        Event::TaskRetried { run: 2 },
        completed(2),
        failed(1),
        cancelled(3),
    ];
    let ends = [
        Event::WaveClosed { wave: wave(Stage::Critique, 1), missing: missing() },
        verdict(),
        Event::DeliberationFailed { class: Class::Internal, message: "internal error 17".into(), missing: missing() },
        Event::DeliberationCancelled { reason: "its last client left".into() },
    ];
    let prompts = Event::PromptsAdopted {
        hash: "p-1".into(),
        sources: vec![("propose".into(), "{{ brief }}\n".into()), ("critique".into(), "".into())],
    };
    let runner = Seat { endpoint: Endpoint::Runner("grpcs://agents.example.com:7000".into()), ..seats().remove(0) };
    let later = [prompts, Event::SeatJoined { seat: runner }];
    let deliberation = [plan(), Event::DeliberationResumed {}].into_iter().chain(answers()).chain(ends);
    let first = tasks.into_iter().chain(deliberation).chain(councils()).chain(later).chain(selected()).chain(drafted());
    first
        .chain(queued())
        .chain(informed())
        .chain(shared())
        .chain(made_by_several())
        .chain(executed())
        .chain(workflows())
        .collect()
}

/// A wave that went to the executor, a run that left it, and a task whose calls it makes where one is named.
fn executed() -> [Event; 6] {
    let (Event::DeliberationStarted(plan), Event::VerdictReached(verdict)) = (plan(), verdict()) else {
        unreachable!()
    };
    let Event::TaskAccepted { task, content_hash, keyed, spec } = full_task() else { unreachable!() };
    let spec = TaskSpec { backlog: true, ..(*spec).clone() };
    let ray = Seat { endpoint: Endpoint::Ray, ..seats().remove(0) };
    let wave = wave(Stage::Critique, 1);
    let (calls, reason) = (vec![call(Stage::Critique, 1, 1), call(Stage::Critique, 1, 2)], Arc::from("no connection"));
    [
        Event::DeliberationStarted(Arc::new(Plan { seats: vec![ray], ray_fallback: true, ..(*plan).clone() })),
        Event::WaveSubmitting { wave, attempt: 1, calls },
        Event::WaveAccepted { wave, attempt: 1, name: "deliberation-task-2/critique-1-0123".into() },
        Event::ExecutorLeft { reason: Arc::clone(&reason) },
        Event::VerdictReached(Arc::new(Verdict { executor_left: Some(reason), ..(*verdict).clone() })),
        Event::TaskAccepted { task, content_hash, keyed, spec: spec.into() },
    ]
}

/// Tasks of a queue that other daemons share.
fn shared() -> [Event; 2] {
    [Event::TaskTakenOver { run: 2, from: "store-1".into() }, Event::RunSuperseded { run: 1 }]
}

/// A task that several agents carry out before it is deliberated on.
fn made_by_several() -> [Event; 3] {
    let (Event::TaskAccepted { task, content_hash, keyed, spec }, Event::DeliberationStarted(plan)) =
        (full_task(), plan())
    else {
        unreachable!()
    };
    let spec = TaskSpec { execution: Some(Duration::from_secs(60)), collective: true, ..(*spec).clone() };
    let outputs = vec![
        Output::Made { text: "two files".into(), at: Timestamp(1_800_000_000_000), checks_passed: Some(true) },
        Output::Made { text: "{\"files\":2}".into(), at: Timestamp(1_800_000_000_001), checks_passed: None },
        Output::Missing { class: Class::TimedOut, reason: "no answer within 60 s".into() },
    ];
    [
        Event::TaskAccepted { task, content_hash, keyed, spec: spec.into() },
        Event::TaskAssigned { run: 1, seat: Box::new(seats().remove(1)) },
        Event::DeliberationStarted(Arc::new(Plan { outputs, ..(*plan).clone() })),
    ]
}

/// Runs whose prompts were told what is known of their story, or were not.
fn informed() -> [Event; 2] {
    let Event::DeliberationStarted(plan) = plan() else { unreachable!() };
    let told = |context| Event::DeliberationStarted(Arc::new(Plan { context: Some(context), ..(*plan).clone() }));
    [
        told(Informed::With { version_hash: "ba7816bf".into(), tokens: 200 }),
        told(Informed::Without { why: "context service http://context:50054: no connection".into() }),
    ]
}

fn queued() -> Vec<Event> {
    let plain = Entry {
        task: task_id("task-1"),
        run: 1,
        role: role("DEV"),
        story: None,
        plan: None,
        priority: Priority::MEDIUM,
        enqueued_at: Timestamp(1_700_000_000_000),
        not_before: None,
        needs: Vec::new(),
        on_failure: OnDependencyFailure::Block,
        hold: None,
        parked: false,
    };
    let full = Entry {
        run: 2,
        story: Some("story-1".into()),
        plan: Some("plan-1".into()),
        priority: Priority::CRITICAL,
        not_before: Some(Timestamp(1_700_000_000_500)),
        needs: vec![task_id("task-0"), task_id("plan-1/task-0")],
        on_failure: OnDependencyFailure::Skip,
        hold: Some("BUILD".into()),
        ..plain.clone()
    };
    let Event::TaskAccepted { content_hash, spec, .. } = full_task() else { panic!("it is accepted") };
    let approval = approval();
    let bare = Approval { story: None, approved_by: None, source: "".into(), ..approval.clone() };
    let amended = Event::TaskAmended { content_hash, spec };
    let first = [Event::TaskQueued(Arc::new(plain)), Event::TaskQueued(Arc::new(full)), amended];
    let approvals = [Event::PlanApproved(Arc::new(approval)), Event::PlanApproved(Arc::new(bare))];
    first.into_iter().chain(approvals).chain(dispatched()).chain(exchanged()).collect()
}

fn approval() -> Approval {
    let planned = |task, change| Planned { task: task_id(task), change };
    Approval {
        plan: "plan-1".into(),
        story: Some("story-1".into()),
        content_hash: "hash".into(),
        approved_by: Some("ann".into()),
        cause: Cause::default(),
        roles: vec![role("DEV"), role("QA")],
        tasks: vec![
            planned("task-0", Change::Added),
            planned("task-1", Change::Updated),
            planned("task-2", Change::Unchanged),
            planned("task-3", Change::Left),
        ],
        source: "## DEV Tasks\n".into(),
    }
}

/// What came from others, what went to them, and what they carry out.
fn exchanged() -> Vec<Event> {
    let cause = Cause {
        event_id: Some("event-7".into()),
        correlation_id: Some("story-1".into()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    };
    let rejected = message::Rejected {
        subject: "planning.plan.approved".into(),
        reason: "field \"plan_id\" is missing".into(),
        stream: "PLANNING_EVENTS".into(),
        sequence: 12,
        raw: "e30=".into(),
        length: 2,
        sha256: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a".into(),
        cause: cause.clone(),
    };
    let ended = |attempt, outcome| {
        Event::ExecutionEnded(Arc::new(Execution { run: 1, attempt, agent: "workspace-1".into(), outcome }))
    };
    let (checks_passed, duration_ms, output) = (Some(true), Some(1_500), Some("{\"files\":2}".into()));
    vec![
        Event::TaskDispatched { run: 1, winner: agent("agent-dev-001"), duration: Duration::from_millis(1_234) },
        Event::ExecutionRequested { run: 1, attempt: 1, agent: agent("agent-dev-001") },
        ended(1, Executed::Failed { error: "no disk".into(), may_heal: true }),
        ended(2, Executed::Silent),
        ended(3, Executed::Completed { checks_passed, duration_ms, output }),
        ended(1, Executed::Completed { checks_passed: None, duration_ms: None, output: None }),
        Event::PlanApproved(Arc::new(Approval { cause: cause.clone(), ..approval() })),
        Event::StoryMoved { from: Some("PLAN".into()), to: "BUILD".into(), cause },
        Event::DecisionAdded { decision: "decision-1".into(), kind: Some("ARCHITECTURE".into()) },
        Event::DecisionAdded { decision: "decision-2".into(), kind: None },
        Event::MilestoneReached { milestone: "milestone-1".into(), name: "Beta".into() },
        Event::MessageRejected(Arc::new(rejected)),
        Event::PublishRefused { seq: 9, why: "larger than the server takes".into() },
    ]
}

fn dispatched() -> Vec<Event> {
    let cause = task_id("task-0");
    vec![
        Event::TaskClaimed { run: 1 },
        Event::TaskReleased { run: 1, cause: cause.clone() },
        Event::TaskBlocked { run: 1, cause: cause.clone() },
        Event::TaskParked { run: 2, reason: "no council has the role QA".into() },
        Event::TaskSkipped { run: 1, cause },
        Event::StoryMoved { from: Some("PLAN".into()), to: "BUILD".into(), cause: Cause::default() },
        Event::StoryMoved { from: None, to: "TEST".into(), cause: Cause::default() },
        Event::DispatchPaused { role: Some(role("DEV")) },
        Event::DispatchPaused { role: None },
        Event::DispatchResumed { role: Some(role("DEV")) },
        Event::DispatchResumed { role: None },
    ]
}

#[derive(serde::Deserialize)]
struct Line<'a> {
    r#type: &'a str,
    schema: u32,
    #[serde(borrow)]
    payload: &'a RawValue,
}

fn golden() -> String {
    if std::env::var_os("MOOTHALL_WRITE_GOLDEN").is_some() {
        let mut text = String::new();
        for event in values() {
            let payload = String::from_utf8(event.encode().unwrap()).unwrap();
            writeln!(text, r#"{{"type":"{}","schema":{SCHEMA},"payload":{payload}}}"#, event.kind()).unwrap();
        }
        std::fs::write(file(), text).unwrap();
    }
    std::fs::read_to_string(file()).unwrap()
}

#[test]
fn every_kind_of_event_has_a_line() {
    let there: BTreeSet<_> = values().iter().map(Event::kind).collect();
    let missing: Vec<_> = Event::KINDS.iter().filter(|kind| !there.contains(*kind)).collect();
    assert!(missing.is_empty(), "no line for {missing:?}");
}

#[test]
fn events_of_version_1_are_read_as_they_were_meant() {
    let golden = golden();
    assert_eq!(golden.lines().count(), values().len());
    for (line, value) in golden.lines().zip(values()) {
        let Line { r#type, schema, payload } = serde_json::from_str(line).unwrap();
        let read = Event::decode(r#type, schema, payload.get().as_bytes()).unwrap();
        assert_eq!(read, value, "{line}");
    }
}

#[test]
fn today_they_are_still_written_so() {
    assert_eq!(SCHEMA, 1, "a new schema has a golden file of its own; this one then tests reading only");
    let golden = golden();
    for (line, value) in golden.lines().zip(values()) {
        let Line { payload, .. } = serde_json::from_str(line).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&value.encode().unwrap()).unwrap();
        // As values: the order of keys is nobody's business.
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(payload.get()).unwrap(), "{line}");
    }
}

#[tokio::test]
async fn the_store_gives_back_every_kind_unchanged() {
    let journal = SqliteJournal::temporary().unwrap();
    let stream = StreamId::named("golden");
    let mut events: Vec<_> = values().into_iter().map(new).collect();
    events[0].at = Timestamp(u64::MAX);
    journal.commit(Batch::one(stream.clone(), 0, events.clone())).await.unwrap();
    let read: Vec<_> = journal.stream(&stream, 0, 100).await.unwrap().into_iter().map(|e| e.event).collect();
    assert_eq!(read, events);
}
