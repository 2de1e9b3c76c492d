//! What pruning costs those who write meanwhile: windows of live work alone and beside a prune, in turn, on one store.

mod soak {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use moothall::store::{PruneOrder, SqliteJournal, StoreOptions};
    use moothall_actors::domain::id::{StreamId, Timestamp};
    use moothall_actors::ports::{Batch, Journal};
    use tokio::task::JoinSet;

    use super::super::sample::{accepted, completed, large, new, on, on_task};

    /// Finished tasks to prune: each has two streams.
    const FINISHED: usize = 50_000;
    /// Answers of one deliberation, and bytes of each.
    const ANSWERS: usize = 9;
    const ANSWER_BYTES: usize = 1_000;
    const WRITERS: usize = 64;
    const WINDOW: Duration = Duration::from_secs(4);
    const PAIRS: usize = 8;
    /// Part of the live throughput that pruning may cost.
    const MOST_COST: f64 = 0.10;

    /// All that there is to prune stands before the live work.
    async fn fill(journal: &SqliteJournal, finished: usize) -> Timestamp {
        for first in (0..finished).step_by(50) {
            let of = |number: usize| {
                let name = format!("old-{number}");
                let ended = on_task(&name, 0, [accepted(&name, "DEV", None), completed(1)]);
                let answers = (0..ANSWERS).map(|_| new(large(ANSWER_BYTES))).collect();
                let stream = StreamId::named(&format!("deliberation/{name}/1"));
                [ended, Batch::one(stream, 0, answers)].into_iter().flat_map(|batch| batch.appends)
            };
            let batch = Batch::of((first..(first + 50).min(finished)).flat_map(of).collect());
            journal.commit(batch).await.unwrap();
        }
        new(large(1)).at
    }

    /// Deliberations after each other: each waits for every answer's append.
    async fn work(journal: Arc<SqliteJournal>, writer: usize, commits: Arc<AtomicU64>) {
        for number in 0.. {
            let name = format!("live-{writer}-{number}");
            let stream = format!("deliberation/{name}/1");
            journal.commit(on_task(&name, 0, [accepted(&name, "DEV", None)])).await.unwrap();
            for version in 0..ANSWERS as u64 {
                journal.commit(on(&stream, version, large(ANSWER_BYTES))).await.unwrap();
            }
            journal.commit(on_task(&name, 1, [completed(1)])).await.unwrap();
            commits.fetch_add(ANSWERS as u64 + 2, Ordering::Relaxed);
        }
    }

    /// Commits per second.
    async fn window(commits: &AtomicU64) -> f64 {
        let (before, begun) = (commits.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(WINDOW).await;
        (commits.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64()
    }

    async fn cost(path: &Path, finished: usize) -> (f64, f64) {
        let journal = Arc::new(SqliteJournal::open(path, StoreOptions::default()).unwrap());
        let now = fill(&journal, finished).await;
        let order = PruneOrder { share: 5, ..PruneOrder::older_than(Duration::ZERO, now) };
        let commits = Arc::<AtomicU64>::default();
        let mut writers = JoinSet::new();
        (0..WRITERS).for_each(|writer| drop(writers.spawn(work(journal.clone(), writer, commits.clone()))));
        window(&commits).await;
        let mut ratios = Vec::new();
        for _ in 0..PAIRS {
            let before = window(&commits).await;
            let pruning = tokio::spawn({
                let journal = journal.clone();
                async move { journal.prune(&order).await }
            });
            let beside = window(&commits).await;
            pruning.abort();
            let _ = pruning.await;
            let after = window(&commits).await;
            ratios.push(beside / ((before + after) / 2.0));
            println!("{before:.0} {beside:.0} {after:.0}");
        }
        writers.shutdown().await;
        let pruned = journal.reader().retained().await.unwrap().tasks as f64;
        let all = PruneOrder { share: 100, ..order };
        let rest = journal.prune(&all).await.unwrap();
        println!("{pruned} tasks pruned beside the work, then {rest:?}");
        assert!(journal.verify().await.unwrap().is_sound());
        ratios.sort_by(f64::total_cmp);
        (1.0 - ratios[ratios.len() / 2], pruned)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn pruning_a_hundred_thousand_streams_costs_live_work_at_most_a_tenth() {
        let folder = tempfile::tempdir().unwrap();
        let (cost, pruned) = cost(&folder.path().join("a.db"), FINISHED).await;
        println!("{:.1} % of the live throughput", cost * 100.0);
        assert!(pruned > 0.0, "nothing was pruned beside the work");
        assert!(cost <= MOST_COST, "{cost}");
    }
}
