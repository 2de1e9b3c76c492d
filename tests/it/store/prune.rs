//! Pruning: what goes, what stays, what is left, and that a stop at any step does no harm.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use moothall::store::{
    EventQuery, FaultHook, FaultPoint, PruneOrder, Pruned, SqliteJournal, StoreOptions, StoredEvent,
};
use moothall_actors::Hold;
use moothall_actors::domain::answer::Class;
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::{StreamId, Timestamp};
use moothall_actors::domain::message::{Cause, Rejected};
use moothall_actors::domain::receipt::ReceiptKey;
use moothall_actors::domain::task::TaskDraft;
use moothall_actors::error::SystemError;
use moothall_actors::ports::{Batch, Journal, JournalError, TaskQuery, TaskRow, TaskStatus};
use moothall_actors::testing::spec;
use moothall_actors::view::TaskState;
use rusqlite::Connection;

use super::sample::{
    accepted, agent, call_failed, completed, council, failed, large, new, on, on_task, task_id, task_stream,
};
use super::upgrade::Life;

struct Store {
    folder: tempfile::TempDir,
    journal: SqliteJournal,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(&folder.path().join("a.db"), StoreOptions::default()).unwrap();
        Self { folder, journal }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.db")
    }

    async fn commit(&self, batch: Batch) {
        self.journal.commit(batch).await.unwrap();
    }

    /// A task that ended after one deliberation of so many events.
    async fn ended(&self, name: &str, events: usize) {
        self.commit(on_task(name, 0, [accepted(name, "DEV", None)])).await;
        self.deliberated(name, 1, events).await;
        self.commit(on_task(name, 1, [completed(1)])).await;
    }

    async fn deliberated(&self, name: &str, run: u32, events: usize) {
        let stream = StreamId::named(&format!("deliberation/{name}/{run}"));
        let events = (0..events).map(|_| new(call_failed(1))).collect();
        self.commit(Batch::one(stream, 0, events)).await;
    }

    /// What is there, over the gaps.
    async fn kept(&self, after_seq: u64, limit: usize) -> Vec<StoredEvent> {
        let query = EventQuery { after_seq, limit, gaps: true, ..EventQuery::default() };
        self.journal.reader().select(query).await.unwrap()
    }

    async fn names(&self) -> Vec<String> {
        let events = self.kept(0, 10_000).await;
        events.iter().map(|event| format!("{}#{}", event.stream, event.version)).collect()
    }

    async fn assert_sound(&self) {
        let report = self.journal.verify().await.unwrap();
        assert!(report.is_sound(), "{report:?}");
    }

    /// Does what another program would do.
    fn sql(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }
}

/// Everything that ended before now goes.
fn all() -> PruneOrder {
    PruneOrder::older_than(Duration::ZERO, Timestamp(4_000_000_000_000))
}

/// Everything that ended before the next event that is made.
fn so_far() -> PruneOrder {
    PruneOrder::older_than(Duration::ZERO, new(call_failed(1)).at)
}

async fn left_of(journal: &SqliteJournal, task: &str) -> Option<TaskRow> {
    journal.tombstone(&task_id(task)).await.unwrap()
}

#[tokio::test]
async fn what_ended_long_ago_goes_with_all_its_runs_and_the_rest_stays() {
    let store = Store::new();
    store.commit(on("council/DEV", 0, Event::CouncilCreated(council("DEV")))).await;
    store.commit(on("prompts/p-1", 0, Event::PromptsAdopted { hash: "p-1".into(), sources: vec![] })).await;
    store.commit(on("workflow/w-1", 0, call_failed(1))).await;
    store.commit(on_task("open", 0, [accepted("open", "DEV", None)])).await;
    store.commit(on_task("old", 0, [accepted("old", "DEV", Some("s"))])).await;
    store.deliberated("old", 1, 3).await;
    store.commit(on_task("old", 1, [failed(1), Event::TaskRetried { run: 2 }])).await;
    store.deliberated("old", 2, 40).await;
    store.commit(on_task("old", 3, [completed(2)])).await;
    // Of another task, although the name begins alike.
    store.commit(on_task("old/2", 0, [accepted("old/2", "DEV", None)])).await;
    store.deliberated("old/2", 1, 1).await;
    let row = store.journal.task(&task_id("old")).await.unwrap().unwrap();
    let order = so_far();
    store.ended("young", 2).await;

    assert_eq!(store.journal.prunable(order.ended_before.unwrap()).await, Ok(1));
    let pruned = store.journal.prune(&order).await.unwrap();
    assert_eq!((pruned.tasks, pruned.events), (1, 47));
    let kept = [
        "council/DEV#1",
        "prompts/p-1#1",
        "workflow/w-1#1",
        "task/open#1",
        "task/old/2#1",
        "deliberation/old/2/1#1",
        "task/young#1",
        "deliberation/young/1#1",
        "deliberation/young/1#2",
        "task/young#2",
    ];
    assert_eq!(store.names().await, kept);
    let left = left_of(&store.journal, "old").await.unwrap();
    assert_eq!(left, TaskRow { story_id: None, ..row });
    assert_eq!(store.journal.task(&task_id("old")).await.unwrap(), None);
    assert_eq!(left_of(&store.journal, "young").await, None);
    let listed = store.journal.tasks(&TaskQuery { limit: 10, ..TaskQuery::default() }).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.task.as_str()).collect::<Vec<_>>(), ["young", "old/2", "open"]);
    // What was ever completed is still counted.
    assert_eq!(store.journal.recovery().await.unwrap().finished[0].2, 2);
    let stats = store.journal.stats().await.unwrap();
    assert_eq!((stats.events, stats.streams, stats.tasks, stats.open_tasks), (10, 8, 3, 2));
    store.assert_sound().await;
    let again = store.journal.prune(&order).await.unwrap();
    assert!(again.tasks + again.events == 0, "{again:?}");
}

#[tokio::test]
async fn nothing_begins_or_goes_on_under_the_name_of_a_pruned_task() {
    let store = Store::new();
    store.ended("t", 2).await;
    store.journal.prune(&all()).await.unwrap();
    for expected in [0, 1, 2, 3] {
        let refused = store.journal.commit(on_task("t", expected, [accepted("t", "DEV", None)])).await;
        let conflict = JournalError::Conflict { stream: task_stream("t"), expected, actual: 2 };
        assert_eq!(refused, Err(conflict));
    }
    // Nor in the next life, which remembers nothing.
    let path = store.path();
    let Store { folder, journal } = store;
    drop(journal);
    let store = Store { folder, journal: SqliteJournal::open(&path, StoreOptions::default()).unwrap() };
    let refused = store.journal.commit(on_task("t", 2, [Event::TaskRetried { run: 2 }])).await;
    assert!(matches!(refused, Err(JournalError::Conflict { .. })), "{refused:?}");
    store.assert_sound().await;
}

#[tokio::test]
async fn what_some_reader_has_not_seen_stays() {
    let store = Store::new();
    store.ended("seen", 2).await;
    let seen = store.journal.stats().await.unwrap().last_seq;
    store.ended("unseen", 2).await;
    store.sql(&format!("INSERT INTO cursors (name, seq) VALUES ('slow', {seen}), ('quick', {})", seen + 9));
    assert_eq!(store.journal.prune(&all()).await.unwrap().tasks, 1);
    assert!(store.journal.task(&task_id("unseen")).await.unwrap().is_some());
    store.sql("DELETE FROM cursors WHERE name = 'slow'");
    assert_eq!(store.journal.prune(&all()).await.unwrap().tasks, 1);
    store.assert_sound().await;
}

#[tokio::test]
async fn rejected_messages_go_with_their_age_once_every_reader_has_seen_them() {
    let store = Store::new();
    // More than are looked at at once.
    let rejected = |number: u64| {
        let key = ReceiptKey::place("PLANNING_EVENTS", number, 0);
        let message = Rejected {
            subject: "planning.plan.approved".into(),
            reason: "it is no JSON".into(),
            stream: "PLANNING_EVENTS".into(),
            sequence: number,
            raw: "x".repeat(300).into(),
            length: 225,
            sha256: "0".repeat(64).into(),
            cause: Cause::default(),
        };
        Batch::one(StreamId::message(&key), 0, vec![new(Event::MessageRejected(Arc::new(message)))])
    };
    for number in 0..1_100 {
        store.commit(rejected(number)).await;
    }
    store.ended("kept", 1).await;
    let seen = store.journal.stats().await.unwrap().last_seq - 5;
    store.sql(&format!("INSERT INTO cursors (name, seq) VALUES ('slow', {seen})"));
    let order = PruneOrder { ended_before: None, ..all() };
    assert!(store.journal.prune(&order).await.unwrap().is_nothing(), "nothing is kept for a time only");
    // Five events are not seen yet: two messages, and the task's three.
    let pruned = store.journal.prune(&all()).await.unwrap();
    assert_eq!((pruned.events, pruned.tasks), (1_098, 0));
    let stats = store.journal.stats().await.unwrap();
    assert_eq!((stats.events, stats.streams), (5, 4));
    store.assert_sound().await;
    store.sql("DELETE FROM cursors");
    let pruned = store.journal.prune(&all()).await.unwrap();
    assert_eq!((pruned.events, pruned.tasks), (5, 1));
    // Its name is free again: a message that comes after so long is another one.
    store.commit(rejected(7)).await;
    store.assert_sound().await;
}

#[tokio::test]
async fn a_reader_from_a_pruned_place_is_told_from_where_on_nothing_is_missing() {
    let store = Store::new();
    store.commit(on("council/DEV", 0, Event::CouncilCreated(council("DEV")))).await;
    store.ended("old", 2).await;
    let order = so_far();
    store.ended("young", 1).await;
    store.journal.prune(&order).await.unwrap();
    let pruned = Err(JournalError::Pruned { first_kept: 6 });
    assert_eq!(store.journal.read(0, 10).await, pruned);
    assert_eq!(store.journal.read(4, 10).await, pruned);
    let seqs: Vec<_> = store.journal.read(5, 10).await.unwrap().iter().map(|event| event.seq).collect();
    assert_eq!(seqs, [6, 7, 8]);
    let over_the_gap = store.kept(0, 10).await;
    assert_eq!(over_the_gap.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 6, 7, 8]);
    let kept = store.journal.reader().retained().await.unwrap();
    assert_eq!((kept.first_kept, kept.tombstones, kept.last_tasks, kept.tasks), (6, 1, 1, 1));
    assert_eq!((kept.oldest, kept.newest), (Some(over_the_gap[1].at), Some(over_the_gap[over_the_gap.len() - 1].at)));
    assert_eq!(kept.last_prune, Some(order.now));
}

#[tokio::test]
async fn a_tombstone_goes_after_its_time_and_then_the_id_is_free() {
    let store = Store::new();
    store.ended("t", 2).await;
    store.journal.prune(&all()).await.unwrap();
    let later = PruneOrder { pruned_before: Some(all().now), ..all() };
    assert_eq!(store.journal.prune(&later).await.unwrap().tombstones, 0);
    let much_later = PruneOrder { pruned_before: Some(Timestamp(all().now.0 + 1)), ..all() };
    assert_eq!(store.journal.prune(&much_later).await.unwrap().tombstones, 1);
    assert_eq!(left_of(&store.journal, "t").await, None);
    store.assert_sound().await;
    store.ended("t", 1).await;
    assert_eq!(store.journal.stats().await.unwrap().streams, 2);
    store.assert_sound().await;
}

#[tokio::test]
async fn the_file_shrinks() {
    let store = Store::new();
    for n in 0..100 {
        let name = format!("t-{n}");
        store.commit(on_task(&name, 0, [accepted(&name, "DEV", None)])).await;
        store.commit(on(&format!("deliberation/{name}/1"), 0, large(50_000))).await;
        store.commit(on_task(&name, 1, [completed(1)])).await;
    }
    store.commit(on("council/DEV", 0, Event::CouncilCreated(council("DEV")))).await;
    let bytes = async || store.journal.stats().await.unwrap().bytes;
    let Pruned { bytes: freed, tasks, .. } = store.journal.prune(&all()).await.unwrap();
    assert!(tasks == 100 && freed > 4_500_000, "{freed}");
    store.assert_sound().await;
    store.journal.close().await;
    assert!(bytes().await < 600_000, "{}", bytes().await);
}

/// Panics the `nth` time that a point of pruning is reached.
fn panics(at: FaultPoint, nth: usize, fired: Arc<AtomicUsize>) -> FaultHook {
    Arc::new(move |point| {
        if point == at {
            assert!(fired.fetch_add(1, Ordering::Relaxed) + 1 != nth, "a fault on purpose at {}", point.as_str());
        }
    })
}

fn copy(from: &Path, folder: &Path) -> PathBuf {
    let to = folder.join("a.db");
    std::fs::copy(from, &to).unwrap();
    to
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_at_any_step_leaves_a_sound_store_and_the_next_prune_goes_on() {
    let original = Store::new();
    for name in ["a", "b"] {
        original.ended(name, 7).await;
    }
    original.commit(on_task("open", 0, [accepted("open", "DEV", None)])).await;
    original.journal.close().await;
    let order = PruneOrder { batch: 3, ..all() };
    for point in [FaultPoint::BeforePrune, FaultPoint::AfterPrune] {
        for nth in 1.. {
            let (folder, reached) = (tempfile::tempdir().unwrap(), Arc::<AtomicUsize>::default());
            let path = copy(&original.path(), folder.path());
            let fault = Some(panics(point, nth, reached.clone()));
            let journal = SqliteJournal::open(&path, StoreOptions { fault, ..StoreOptions::default() }).unwrap();
            let outcome = journal.prune(&order).await;
            let report = journal.verify().await.unwrap();
            assert!(report.is_sound(), "{point:?} {nth}: {report:?}");
            // At no time is an id free, and a store that met trouble in a chore takes the next append.
            let refused = journal.commit(on_task("a", 0, [accepted("a", "DEV", None)])).await;
            assert!(matches!(refused, Err(JournalError::Conflict { .. })), "{point:?} {nth}: {refused:?}");
            journal.commit(on("later", 0, call_failed(1))).await.unwrap();
            drop(journal);

            let store = Store { folder, journal: SqliteJournal::open(&path, StoreOptions::default()).unwrap() };
            store.journal.prune(&order).await.unwrap();
            assert_eq!(store.names().await, ["task/open#1", "later#1"], "{point:?} {nth}");
            assert!(left_of(&store.journal, "a").await.is_some() && left_of(&store.journal, "b").await.is_some());
            store.assert_sound().await;
            if outcome.is_ok() {
                assert!(nth > 6, "few steps were taken: {nth}");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_go_on_beside_a_prune_and_a_task_that_is_tried_again_stays() {
    let store = Store::new();
    for n in 0..200 {
        store.ended(&format!("t-{n}"), 5).await;
    }
    let order = PruneOrder { batch: 8, ..all() };
    // Found by the prune, perhaps, but open when its turn comes.
    let (pruned, ()) = tokio::join!(store.journal.prune(&order), async {
        store.commit(on_task("t-199", 2, [Event::TaskRetried { run: 2 }])).await;
        for version in 0..100 {
            store.commit(on("live", version, call_failed(1))).await;
        }
    });
    assert_eq!(pruned.unwrap().tasks, 199);
    assert_eq!(store.journal.task(&task_id("t-199")).await.unwrap().unwrap().status, TaskStatus::Open);
    assert_eq!(store.journal.stats().await.unwrap().events, 100 + 3 + 5);
    store.assert_sound().await;
}

#[tokio::test]
async fn a_prune_of_a_closed_store_says_so() {
    let store = Store::new();
    store.ended("t", 1).await;
    store.journal.close().await;
    assert_eq!(store.journal.prune(&all()).await, Err(JournalError::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pruned_task_answers_how_it_ended_and_asks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::begin(&folder.path().join("a.db"), true).await;
    life.council("DEV", 3).await;
    let before = life.submit("g-completed").await.outcome().await.unwrap();
    for failing in ["g-failed", "g-retried"] {
        life.submit(failing).await.outcome().await.unwrap_err();
    }
    assert_eq!(life.store.prune(&all()).await.unwrap().tasks, 3);
    let asked = life.model.counts().len();

    let after = life.submit("g-completed").await.outcome().await.unwrap();
    let winner = |outcome: &moothall_actors::domain::verdict::Outcome| outcome.verdict.winner().unwrap().agent.clone();
    assert_eq!((winner(&after), after.verdict.duration), (winner(&before), before.verdict.duration));
    assert!(after.proposals.is_empty());
    let view = life.system.task(&task_id("g-completed")).await.unwrap();
    assert!(matches!(view.state, TaskState::Completed(_)), "{:?}", view.state);
    assert_eq!(view.row.winner, Some(agent(winner(&before).as_str())));
    // Also where the next run might have healed it.
    for (failing, class) in [("g-failed", Class::Refused), ("g-retried", Class::Transient)] {
        let error = life.submit(failing).await.outcome().await.unwrap_err();
        assert!(matches!(&error, SystemError::Failed { class: told, .. } if *told == class), "{error:?}");
    }
    let other = TaskDraft { role: "DEV".into(), description: "something else".into(), ..TaskDraft::default() };
    let refused = life.system.submit(Some(task_id("g-completed")), spec(other), Hold::Call).await;
    assert!(matches!(refused.err(), Some(SystemError::OtherContent { .. })));
    let cancelled = life.system.cancel(&task_id("g-completed"), "late").await;
    assert!(matches!(cancelled, Err(SystemError::WrongState(_))), "{cancelled:?}");
    assert_eq!(life.model.counts().len(), asked);
    life.end().await;
}
