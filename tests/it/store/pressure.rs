//! The writer held still at its fault points: what waits, what is told when, and what a panic costs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use moothall::store::{FaultHook, FaultPoint, SqliteJournal, StoreOptions};
use moothall_actors::domain::id::StreamId;
use moothall_actors::ports::{Ack, Append, Batch, Committed, Journal, JournalError, JournalHealth};

use super::sample::{accepted, call_failed, large, new, on, on_task, task_id};

fn open(options: StoreOptions) -> (tempfile::TempDir, SqliteJournal) {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(&folder.path().join("a.db"), options).unwrap();
    (folder, journal)
}

/// Stops the writer at a point until it is let go; says when it is there.
fn gate(at: FaultPoint) -> (FaultHook, Receiver<()>, Sender<()>) {
    let (reached, is_reached) = channel();
    let (go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    let hook: FaultHook = Arc::new(move |point| {
        if point == at {
            let _ = reached.send(());
            // An error: whoever let go is gone, and so the gate is open.
            let _ = may_go.lock().unwrap().recv();
        }
    });
    (hook, is_reached, go)
}

/// Panics at a point, so many times.
fn panics(at: FaultPoint, times: usize) -> FaultHook {
    let left = AtomicUsize::new(times);
    Arc::new(move |point| {
        let due = point == at && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
        assert!(!due, "a fault on purpose at {}", point.as_str());
    })
}

type Told = Arc<Mutex<Vec<Result<Committed, JournalError>>>>;

fn submit(journal: &SqliteJournal, told: &Told, batch: Batch) {
    let told = told.clone();
    journal.submit(batch, Ack::new(move |result| told.lock().unwrap().push(result)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_and_nothing_is_read_before_the_commit() {
    let (hook, reached, go) = gate(FaultPoint::BeforeCommit);
    let (_folder, journal) = open(StoreOptions { fault: Some(hook), ..StoreOptions::default() });
    let told = Told::default();
    submit(&journal, &told, on("a", 0, call_failed(1)));
    reached.recv().unwrap();
    assert_eq!(journal.read(0, 10).await.unwrap(), []);
    assert_eq!(*told.lock().unwrap(), []);
    drop(go);
    journal.close().await;
    assert_eq!(*told.lock().unwrap(), [Ok(Committed { first_seq: 1 })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_busy_at_once_and_takes_more_when_it_is_written() {
    let (hook, reached, go) = gate(FaultPoint::BeforeCommit);
    let (_folder, journal) = open(StoreOptions { fault: Some(hook), queue_batches: 3, ..StoreOptions::default() });
    let told = Told::default();
    submit(&journal, &told, on("a", 0, call_failed(1)));
    reached.recv().unwrap();
    submit(&journal, &told, on("a", 1, call_failed(1)));
    submit(&journal, &told, on("a", 2, call_failed(1)));
    submit(&journal, &told, on("b", 0, call_failed(1)));
    assert!(matches!(told.lock().unwrap()[..], [Err(JournalError::Busy { retry_after })] if !retry_after.is_zero()));
    drop(go);
    while told.lock().unwrap().len() < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(journal.commit(on("b", 0, call_failed(1))).await, Ok(Committed { first_seq: 4 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_bounded_in_bytes_too_but_one_batch_always_goes_in() {
    let (hook, reached, go) = gate(FaultPoint::BeforeCommit);
    let (_folder, journal) = open(StoreOptions { fault: Some(hook), queue_bytes: 10_000, ..StoreOptions::default() });
    let told = Told::default();
    submit(&journal, &told, on("a", 0, large(20_000)));
    reached.recv().unwrap();
    submit(&journal, &told, on("a", 1, call_failed(1)));
    assert!(matches!(told.lock().unwrap()[..], [Err(JournalError::Busy { .. })]));
    drop(go);
    journal.close().await;
    assert_eq!(told.lock().unwrap()[1], Ok(Committed { first_seq: 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_at_any_point_costs_nothing() {
    for point in FaultPoint::OF_A_GROUP {
        let (_folder, journal) = open(StoreOptions { fault: Some(panics(point, 2)), ..StoreOptions::default() });
        let told = Told::default();
        for version in 0..50 {
            submit(&journal, &told, on("a", version, call_failed(1)));
        }
        submit(&journal, &told, on("a", 7, call_failed(1)));
        assert_eq!(
            journal.commit(on_task("t", 0, [accepted("t", "DEV", None)])).await,
            Ok(Committed { first_seq: 51 })
        );
        let mut expected: Vec<_> = (1..=50).map(|first_seq| Ok(Committed { first_seq })).collect();
        let stream = StreamId::named("a");
        expected.push(Err(JournalError::Conflict { stream, expected: 7, actual: 50 }));
        assert_eq!(*told.lock().unwrap(), expected, "{point:?}");
        assert_eq!(journal.health(), JournalHealth::Writable);
        let report = journal.verify().await.unwrap();
        assert!(report.is_sound() && report.events == 51 && report.tasks == 1, "{point:?}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_fails_again_and_again_is_lost() {
    let hook = panics(FaultPoint::BeforeCommit, usize::MAX);
    let (folder, journal) = open(StoreOptions { fault: Some(hook), ..StoreOptions::default() });
    let mut health = journal.watch_health();
    let answer = journal.commit(on("a", 0, call_failed(1))).await;
    assert!(matches!(answer, Err(JournalError::Unusable(_))), "{answer:?}");
    let lost = health.wait_for(|health| matches!(health, JournalHealth::Lost { .. })).await.unwrap().clone();
    assert!(matches!(lost, JournalHealth::Lost { exit_code: 74, .. }), "{lost:?}");
    assert!(matches!(journal.commit(on("b", 0, call_failed(1))).await, Err(JournalError::Unusable(_))));
    drop(journal);
    let again = SqliteJournal::open(&folder.path().join("a.db"), StoreOptions::default()).unwrap();
    assert_eq!(again.read(0, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_id_in_another_place_is_refused_alone() {
    let (hook, reached, go) = gate(FaultPoint::BeforeCommit);
    let (_folder, journal) = open(StoreOptions { fault: Some(hook), ..StoreOptions::default() });
    let told = Told::default();
    let first = new(call_failed(1));
    submit(&journal, &told, Batch::one(StreamId::named("a"), 0, vec![first.clone()]));
    reached.recv().unwrap();
    // One group: its neighbours must not suffer, before and after.
    submit(&journal, &told, on_task("t", 0, [accepted("t", "DEV", None)]));
    let mixed =
        Append { stream: StreamId::named("b"), expected_version: 0, events: [new(call_failed(2)), first].into() };
    let fresh = Append { stream: StreamId::named("c"), expected_version: 0, events: [new(call_failed(3))].into() };
    submit(&journal, &told, Batch::of(vec![fresh, mixed]));
    submit(&journal, &told, on("d", 0, call_failed(4)));
    drop(go);
    journal.close().await;
    let told = told.lock().unwrap().clone();
    assert_eq!(told[..2], [Ok(Committed { first_seq: 1 }), Ok(Committed { first_seq: 2 })]);
    assert!(matches!(told[2], Err(JournalError::Conflict { .. })), "{told:?}");
    assert_eq!(told[3], Ok(Committed { first_seq: 3 }));
    assert!(journal.task(&task_id("t")).await.unwrap().is_some());
    assert_eq!(journal.stream(&StreamId::named("c"), 0, 10).await.unwrap(), []);
    assert!(journal.verify().await.unwrap().is_sound());
}

#[tokio::test]
async fn one_batch_may_append_to_a_stream_twice() {
    let (_folder, journal) = open(StoreOptions::default());
    let stream = StreamId::named("a");
    let append =
        |expected_version, n| Append { stream: stream.clone(), expected_version, events: [new(call_failed(n))].into() };
    let batch = Batch::of(vec![append(0, 1), append(1, 2)]);
    assert_eq!(journal.commit(batch).await, Ok(Committed { first_seq: 1 }));
    let wrong = Batch::of(vec![append(2, 3), append(2, 4)]);
    let conflict = Err(JournalError::Conflict { stream: stream.clone(), expected: 2, actual: 3 });
    assert_eq!(journal.commit(wrong).await, conflict);
    assert_eq!(journal.commit(Batch::of(vec![append(2, 5)])).await, Ok(Committed { first_seq: 3 }));
}
