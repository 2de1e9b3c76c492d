//! The actor system without a network: deliberations per second with a model that answers at once and a journal in
//! memory, and how long a start takes on a journal of 100,000 finished and 1,000 open deliberations on disk.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moothall::store::{SqliteJournal, StoreOptions};
use moothall_actors::domain::event::{Event, NewEvent, Recorded};
use moothall_actors::domain::id::{EventId, StreamId, Timestamp};
use moothall_actors::ports::{Ack, Append, Batch, Clock, IdSource, Journal, Ports};
use moothall_actors::queue::{Limits, MemoryQueue};
use moothall_actors::testing::{FakeChecks, FakeModel, Reaction, Scenario, Stage, draft, embedded_prompts, spec};
use moothall_actors::{Hold, Prompts, Settings, System};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Deliberations of one measured batch.
const BATCH: u64 = 256;
/// What a store has after a busy week.
const FINISHED: usize = 100_000;
const OPEN: usize = 1_000;
/// Deliberations written in one batch while the store is filled.
const FILL: usize = 50;
/// Events of an open run: accepted, started, two of three proposals.
const OPEN_EVENTS: usize = 4;
const NAME: &str = "template-000000";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Submits a batch at once and waits for all verdicts.
async fn deliberate(stage: &Stage) {
    let mut runs = JoinSet::new();
    for _ in 0..BATCH {
        let system = stage.system().clone();
        runs.spawn(async move {
            let attached = system.submit(None, spec(draft("parse a duration")), Hold::Call).await?;
            attached.outcome().await
        });
    }
    while let Some(ended) = runs.join_next().await {
        black_box(ended.unwrap().unwrap());
    }
}

fn throughput(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("flow");
    group.throughput(Throughput::Elements(BATCH)).sample_size(20);
    group.bench_function("deliberations of nine calls", |bencher| {
        bencher.to_async(&runtime).iter_custom(|batches| async move {
            let stage = Scenario::new().council("DEV", 3).start().await;
            let start = Instant::now();
            for _ in 0..batches {
                deliberate(&stage).await;
            }
            let elapsed = start.elapsed();
            stage.close().await;
            elapsed
        });
    });
    group.finish();
}

struct Real;

impl Clock for Real {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp(u64::try_from(since.as_millis()).unwrap())
    }
}

impl IdSource for Real {
    fn event_id(&self) -> EventId {
        EventId(*Uuid::now_v7().as_bytes())
    }

    fn random(&self) -> u64 {
        u64::from_le_bytes(Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext)).as_bytes()[8..].try_into().unwrap())
    }
}

/// The events of one deliberation of nine calls, and of the council that held it.
async fn template() -> Vec<Recorded> {
    let stage = Scenario::new().council("DEV", 3).start().await;
    let attached = stage.system().submit(Some(Stage::task(NAME)), spec(draft("d")), Hold::Call).await.unwrap();
    attached.outcome().await.unwrap();
    let events = stage.journal.events();
    stage.close().await;
    events
}

/// The same events as another task's, from their stored form.
fn renamed(recorded: &[Recorded], name: &str) -> Vec<Append> {
    let append = |recorded: &Recorded| {
        let event = &recorded.event.event;
        let payload = String::from_utf8(event.encode().unwrap()).unwrap().replace(NAME, name);
        let event = Event::decode(event.kind(), recorded.schema, payload.as_bytes()).unwrap();
        Append {
            stream: StreamId::named(&recorded.stream.as_str().replace(NAME, name)),
            expected_version: recorded.version - 1,
            events: [NewEvent { id: Real.event_id(), at: Real.now(), event, ..recorded.event.clone() }].into(),
        }
    };
    recorded.iter().map(append).collect()
}

async fn fill(path: &Path) {
    let store = SqliteJournal::open(path, StoreOptions::default()).unwrap();
    let recorded = template().await;
    let (run, council): (Vec<_>, Vec<_>) = recorded.into_iter().partition(|one| one.stream.as_str().contains(NAME));
    store.commit(Batch::of(renamed(&council, "none"))).await.unwrap();
    for first in (0..FINISHED + OPEN).step_by(FILL) {
        let numbers = first..(first + FILL).min(FINISHED + OPEN);
        let of = |number: usize| {
            let length = if number < FINISHED { run.len() } else { OPEN_EVENTS };
            renamed(&run[..length], &format!("filled-{number:08}"))
        };
        let batch = Batch::of(numbers.flat_map(of).collect());
        store.submit(batch, Ack::new(|written| assert!(written.is_ok(), "{written:?}")));
    }
    store.close().await;
}

async fn rise(path: &Path) -> Duration {
    let begun = Instant::now();
    let store = Arc::new(SqliteJournal::open(path, StoreOptions::default()).unwrap());
    let ports = Ports {
        model: Arc::new(FakeModel::new(|_, _| (Duration::ZERO, Reaction::Hang))),
        executor: None,
        hub: None,
        checks: Arc::new(FakeChecks),
        journal: store.clone(),
        queue: Arc::new(MemoryQueue::new(Limits::default(), Arc::new(Real))),
        shared: None,
        context: None,
        clock: Arc::new(Real),
        ids: Arc::new(Real),
    };
    let prompts = Prompts::compile(embedded_prompts()).unwrap();
    let system = System::start(ports, Settings::default(), prompts).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(system.status().open as usize, OPEN);
    system.kill().await;
    store.close().await;
    took
}

fn recovery(criterion: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    runtime.block_on(fill(&path));
    let mut group = criterion.benchmark_group("recovery");
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    group.bench_function("start on 100,000 finished and 1,000 open", |bencher| {
        let path = &path;
        bencher.to_async(&runtime).iter_custom(|times| async move {
            let mut took = Duration::ZERO;
            for _ in 0..times {
                took += rise(path).await;
            }
            took
        });
    });
    group.finish();
}

criterion_group!(benches, throughput, recovery);
criterion_main!(benches);
