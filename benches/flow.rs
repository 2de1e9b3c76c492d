//! The actor system alone: deliberations per second with a model that answers at once and a journal in memory, and how
//! fast open runs are taken up again. Nothing here waits for a disk or a network: it is the ceiling, not the promise.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moothall_actors::Hold;
use moothall_actors::testing::{MemoryJournal, Scenario, Stage, draft, spec};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Deliberations of one measured batch.
const BATCH: u64 = 256;

fn runtime() -> Runtime {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => std::panic::panic_any(error),
    }
}

async fn fresh() -> Stage {
    Scenario::new().council("DEV", 3).journal(MemoryJournal::new()).start().await
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
        drop(black_box(ended));
    }
}

fn throughput(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("flow");
    group.throughput(Throughput::Elements(BATCH)).sample_size(20);
    group.bench_function("deliberations of nine calls", |bencher| {
        bencher.to_async(&runtime).iter_custom(|batches| async move {
            let stage = fresh().await;
            let start = Instant::now();
            for _ in 0..batches {
                deliberate(&stage).await;
            }
            start.elapsed()
        });
    });
    group.finish();
}

criterion_group!(benches, throughput);
criterion_main!(benches);
