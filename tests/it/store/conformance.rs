//! What every journal keeps to. Another one is one more line at the end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use moothall::store::{SqliteJournal, StoreOptions};
use moothall_actors::domain::event::{Event, NewEvent};
use moothall_actors::domain::id::{StreamId, Timestamp};
use moothall_actors::domain::queue::{Entry, OnDependencyFailure, Priority, QueueState, Standing};
use moothall_actors::domain::receipt::{Receipt, ReceiptKey};
use moothall_actors::domain::task::TaskKind;
use moothall_actors::ports::{
    AT_THE_END, Ack, Append, Batch, Committed, Cursor, Journal, JournalError, JournalHealth, TaskQuery, TaskRow,
    TaskStatus,
};

use super::sample::{
    accepted, agent, call_failed, cancelled, completed, council, event_id, failed, new, on, on_task, role, spec,
    task_id, task_stream,
};

/// A journal, and what has to live as long.
struct Subject {
    journal: Arc<dyn Journal>,
    _folder: Option<tempfile::TempDir>,
}

async fn committed(journal: &dyn Journal, batch: Batch) -> u64 {
    journal.commit(batch).await.unwrap().first_seq
}

async fn row(journal: &dyn Journal, task: &str) -> TaskRow {
    journal.task(&task_id(task)).await.unwrap().unwrap()
}

async fn what_was_committed_is_read_back_in_order(journal: &dyn Journal) {
    let caused = NewEvent { correlation: None, causation: Some(event_id()), at: Timestamp(7), ..new(call_failed(2)) };
    let first = vec![new(call_failed(1)), caused.clone()];
    let (a, b) = (StreamId::named("a"), StreamId::named("b"));
    assert_eq!(committed(journal, Batch::one(a.clone(), 0, first.clone())).await, 1);
    assert_eq!(committed(journal, Batch::one(b.clone(), 0, vec![new(call_failed(9))])).await, 3);
    committed(journal, Batch::one(a.clone(), 2, vec![new(call_failed(3))])).await;

    let all = journal.read(0, 100).await.unwrap();
    let places: Vec<_> = all.iter().map(|e| (e.seq, e.stream.clone(), e.version)).collect();
    assert_eq!(places, [(1, a.clone(), 1), (2, a.clone(), 2), (3, b, 1), (4, a.clone(), 3)]);
    assert_eq!(all[..2].iter().map(|e| e.event.clone()).collect::<Vec<_>>(), first);
    assert_eq!(journal.read(1, 2).await.unwrap(), all[1..3]);
    assert_eq!(journal.read(4, 10).await.unwrap(), []);
    assert_eq!(journal.stream(&a, 0, 10).await.unwrap(), [all[0].clone(), all[1].clone(), all[3].clone()]);
    assert_eq!(journal.stream(&a, 1, 1).await.unwrap(), [all[1].clone()]);
    assert_eq!(journal.stream(&StreamId::named("c"), 0, 10).await.unwrap(), []);
}

async fn a_conflict_touches_nothing(journal: &dyn Journal) {
    committed(journal, on_task("t", 0, [accepted("t", "DEV", None)])).await;
    let before = (journal.read(0, 100).await.unwrap(), row(journal, "t").await, journal.stats().await.unwrap());
    for (expected, actual) in [(0, 1), (2, 1)] {
        let good = Append { stream: StreamId::named("new"), expected_version: 0, events: [new(call_failed(1))].into() };
        let stale = Append { stream: task_stream("t"), expected_version: expected, events: [new(completed(1))].into() };
        let refused = journal.commit(Batch::of(vec![good, stale])).await;
        assert_eq!(refused, Err(JournalError::Conflict { stream: task_stream("t"), expected, actual }));
    }
    assert_eq!(journal.read(0, 100).await.unwrap(), before.0);
    assert_eq!(row(journal, "t").await, before.1);
    let after = journal.stats().await.unwrap();
    assert_eq!((after.events, after.streams, after.last_seq), (before.2.events, before.2.streams, before.2.last_seq));
    committed(journal, on("new", 0, call_failed(1))).await;
}

async fn a_batch_that_comes_again_is_told_its_first_place(journal: &dyn Journal) {
    committed(journal, on("a", 0, call_failed(1))).await;
    let both = Batch::of(vec![
        Append { stream: StreamId::named("a"), expected_version: 1, events: [new(call_failed(2))].into() },
        Append { stream: task_stream("t"), expected_version: 0, events: [new(accepted("t", "DEV", None))].into() },
    ]);
    let first = journal.commit(both.clone()).await;
    assert_eq!(first, Ok(Committed { first_seq: 2 }));
    committed(journal, on("a", 2, call_failed(3))).await;
    assert_eq!(journal.commit(both.clone()).await, first);
    assert_eq!(journal.commit(both).await, first);
    assert_eq!(journal.read(0, 100).await.unwrap().len(), 4);
    assert_eq!(journal.stats().await.unwrap().tasks, 1);
}

async fn what_goes_to_the_end_stands_behind_whatever_is_there(journal: &dyn Journal) {
    let at_the_end = |call| on("a", AT_THE_END, call_failed(call));
    let first = at_the_end(1);
    assert_eq!(committed(journal, first.clone()).await, 1);
    committed(journal, on("a", 1, call_failed(2))).await;
    committed(journal, at_the_end(3)).await;
    committed(journal, on("a", 3, call_failed(4))).await;
    let stream = journal.stream(&StreamId::named("a"), 0, 10).await.unwrap();
    let events: Vec<_> = stream.iter().map(|recorded| (recorded.version, &recorded.event.event)).collect();
    let calls = [call_failed(1), call_failed(2), call_failed(3), call_failed(4)];
    assert_eq!(events, (1..).zip(&calls).collect::<Vec<_>>());
    let known = Batch { receipt: Some(receipt(&["name"])), ..at_the_end(5) };
    committed(journal, known).await;
    let again = Batch { receipt: Some(receipt(&["name"])), ..at_the_end(6) };
    assert_eq!(journal.commit(again).await, Err(JournalError::Received));
    // Nothing of it is left behind: the next version is as if it had never come.
    committed(journal, on("a", 5, call_failed(7))).await;
    assert_eq!(journal.commit(first).await, Ok(Committed { first_seq: 1 }), "the same batch again");
}

async fn an_empty_batch_is_acknowledged(journal: &dyn Journal) {
    assert!(journal.commit(Batch::default()).await.is_ok());
    assert_eq!(journal.stats().await.unwrap().events, 0);
    assert_eq!(journal.health(), JournalHealth::Writable);
}

async fn batches_are_written_and_told_in_the_order_of_the_calls(journal: &dyn Journal) {
    let told = Arc::new(Mutex::new(Vec::new()));
    for version in 0..300 {
        let told = told.clone();
        let ack = Ack::new(move |result| told.lock().unwrap().push(result.unwrap().first_seq));
        journal.submit(on("a", version, call_failed(1)), ack);
    }
    assert_eq!(committed(journal, on("b", 0, call_failed(1))).await, 301);
    assert_eq!(*told.lock().unwrap(), (1..=300).collect::<Vec<u64>>());
}

async fn of_writers_at_one_version_one_wins(journal: Arc<dyn Journal>) {
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let journal = journal.clone();
            tokio::spawn(async move { append_until_written(&*journal, 25).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let events = journal.stream(&StreamId::named("shared"), 0, 1_000).await.unwrap();
    assert!(events.iter().map(|e| e.version).eq(1..=200));
    let own = journal.read(0, 1_000).await.unwrap();
    assert!(own.windows(2).all(|pair| pair[0].seq < pair[1].seq) && own.len() == 200);
}

/// As an actor does that came second: takes the version it was told, and tries again.
async fn append_until_written(journal: &dyn Journal, times: usize) {
    let mut version = 0;
    for _ in 0..times {
        let mut batch = on("shared", version, call_failed(1));
        while let Err(error) = journal.commit(batch.clone()).await {
            let JournalError::Conflict { actual, .. } = error else { panic!("{error}") };
            batch.appends[0].expected_version = actual;
        }
        version = batch.appends[0].expected_version + 1;
    }
}

async fn writers_of_many_streams_do_not_meet(journal: Arc<dyn Journal>) {
    let writers: Vec<_> = (0..16)
        .map(|n| {
            let journal = journal.clone();
            tokio::spawn(async move {
                for version in 0..20 {
                    committed(&*journal, on(&format!("s-{n}"), version, call_failed(1))).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for n in 0..16 {
        let events = journal.stream(&StreamId::named(&format!("s-{n}")), 0, 100).await.unwrap();
        assert!(events.iter().map(|e| e.version).eq(1..=20));
    }
    let stats = journal.stats().await.unwrap();
    assert_eq!((stats.events, stats.streams, stats.first_seq, stats.last_seq), (320, 16, 1, 320));
}

async fn a_task_stands_as_its_events_say(journal: &dyn Journal) {
    assert_eq!(journal.task(&task_id("t")).await, Ok(None));
    let batch = on_task("t", 0, [accepted("t", "DEV", Some("s-1"))]);
    let accepted_at = batch.appends[0].events[0].at;
    committed(journal, batch).await;
    let open = row(journal, "t").await;
    let expected = TaskRow {
        task: task_id("t"),
        role: role("DEV"),
        kind: TaskKind::Deliberate,
        status: TaskStatus::Open,
        run: 1,
        queue: None,
        keyed: true,
        content_hash: spec("DEV", None).content_hash().into(),
        version: 1,
        story_id: Some("s-1".into()),
        winner: None,
        error: None,
        duration: None,
        accepted_at,
        ended_at: None,
    };
    assert_eq!(open, expected);

    let at = commit_on_task(journal, 1, failed(1)).await;
    let row_after = row(journal, "t").await;
    let error = Some("timed_out: no answer: 300 s".into());
    let ended = TaskRow { status: TaskStatus::Failed, version: 2, error, ended_at: Some(at), ..expected.clone() };
    assert_eq!(row_after, ended);
    let Event::TaskFailed(failure) = failed(1) else { unreachable!() };
    assert_eq!(row_after.failure(), Some(failure));

    commit_on_task(journal, 2, Event::TaskRetried { run: 2 }).await;
    assert_eq!(row(journal, "t").await, TaskRow { run: 2, version: 3, ..expected.clone() });

    let at = commit_on_task(journal, 3, completed(2)).await;
    let ended = TaskRow {
        status: TaskStatus::Completed,
        run: 2,
        version: 4,
        winner: Some(agent("agent-dev-001")),
        duration: Some(Duration::from_millis(1_500)),
        ended_at: Some(at),
        ..expected
    };
    assert_eq!(row(journal, "t").await, ended);
}

async fn commit_on_task(journal: &dyn Journal, expected_version: u64, event: Event) -> Timestamp {
    let batch = on_task("t", expected_version, [event]);
    let at = batch.appends[0].events[0].at;
    committed(journal, batch).await;
    at
}

async fn a_cancelled_task_says_why(journal: &dyn Journal) {
    committed(journal, on_task("t", 0, [accepted("t", "DEV", None), cancelled(1)])).await;
    let row = row(journal, "t").await;
    assert_eq!((row.status, row.error.as_deref(), row.version), (TaskStatus::Cancelled, Some("not needed"), 2));
}

async fn tasks_are_listed_newest_first_from_a_cursor(journal: &dyn Journal) {
    for (n, role, story) in [(1, "DEV", Some("s")), (2, "QA", None), (3, "DEV", None), (4, "DEV", Some("s"))] {
        let name = format!("t-{n}");
        committed(journal, on_task(&name, 0, [accepted(&name, role, story)])).await;
    }
    committed(journal, on_task("t-3", 1, [completed(1)])).await;
    committed(journal, on_task("t-4", 1, [failed(1)])).await;
    let listed = async |query: TaskQuery| -> Vec<String> {
        journal.tasks(&query).await.unwrap().iter().map(|row| row.task.to_string()).collect()
    };
    let any = TaskQuery { limit: 10, ..TaskQuery::default() };
    assert_eq!(listed(any.clone()).await, ["t-4", "t-3", "t-2", "t-1"]);
    assert_eq!(listed(TaskQuery { limit: 2, ..any.clone() }).await, ["t-4", "t-3"]);
    assert_eq!(listed(TaskQuery { before: Some(task_id("t-3")), ..any.clone() }).await, ["t-2", "t-1"]);
    assert_eq!(listed(TaskQuery { role: Some(role("DEV")), ..any.clone() }).await, ["t-4", "t-3", "t-1"]);
    assert_eq!(listed(TaskQuery { story_id: Some("s".into()), ..any.clone() }).await, ["t-4", "t-1"]);
    for (status, expected) in [
        (TaskStatus::Open, vec!["t-2", "t-1"]),
        (TaskStatus::Completed, vec!["t-3"]),
        (TaskStatus::Failed, vec!["t-4"]),
        (TaskStatus::Cancelled, vec![]),
    ] {
        assert_eq!(listed(TaskQuery { status: Some(status), ..any.clone() }).await, expected);
    }
    let before_and_role = TaskQuery { before: Some(task_id("t-4")), role: Some(role("DEV")), limit: 1, ..any };
    assert_eq!(listed(before_and_role).await, ["t-3"]);
}

async fn a_start_finds_open_tasks_councils_and_sums(journal: &dyn Journal) {
    for n in 1..=5 {
        let name = format!("t-{n}");
        committed(journal, on_task(&name, 0, [accepted(&name, "DEV", None)])).await;
    }
    committed(journal, on_task("t-2", 1, [completed(1)])).await;
    committed(journal, on_task("t-3", 1, [completed(1)])).await;
    committed(journal, on_task("t-4", 1, [failed(1), Event::TaskRetried { run: 2 }])).await;
    // Completed, tried again: it counts once, with its last run.
    committed(journal, on_task("t-3", 2, [Event::TaskRetried { run: 2 }, completed(2)])).await;
    let recovery = journal.recovery().await.unwrap();
    let open: Vec<_> = recovery.open_tasks.iter().map(|row| (row.task.to_string(), row.run)).collect();
    assert_eq!(open, [("t-1".to_owned(), 1), ("t-4".to_owned(), 2), ("t-5".to_owned(), 1)]);
    let sums = vec![(role("DEV"), TaskKind::Deliberate, 2, Duration::from_secs(3))];
    assert_eq!(recovery.finished, sums);
    let stats = journal.stats().await.unwrap();
    assert_eq!((stats.tasks, stats.open_tasks), (5, 3));
}

async fn councils_come_back_as_they_were_left(journal: &dyn Journal) {
    let stream = |name: &str| format!("council/{name}");
    committed(journal, on(&stream("QA"), 0, Event::CouncilCreated(council("QA")))).await;
    committed(journal, on(&stream("DEV"), 0, Event::CouncilCreated(council("DEV")))).await;
    let parked = Event::RoleParked { reason: "crashed".into() };
    committed(journal, on(&stream("DEV"), 1, parked)).await;
    committed(journal, on(&stream("QA"), 1, Event::CouncilDeleted { role: role("QA") })).await;
    let mut expected = council("DEV");
    expected.parked = Some("crashed".into());
    assert_eq!(journal.recovery().await.unwrap().councils, [(expected.clone(), 2)]);
    committed(journal, on(&stream("QA"), 2, Event::CouncilCreated(council("QA")))).await;
    assert_eq!(journal.recovery().await.unwrap().councils, [(expected, 2), (council("QA"), 3)]);
}

async fn a_task_of_the_queue_stands_where_its_events_left_it(journal: &dyn Journal) {
    let entry = |name: &str, needs: &[&str]| Entry {
        task: task_id(name),
        run: 1,
        role: role("DEV"),
        story: Some("s-1".into()),
        plan: None,
        priority: Priority::HIGH,
        enqueued_at: Timestamp(5),
        not_before: None,
        needs: needs.iter().map(|need| task_id(need)).collect(),
        on_failure: OnDependencyFailure::Skip,
        hold: None,
        parked: false,
    };
    for (name, needs) in [("a", vec![]), ("b", vec!["a"]), ("c", vec!["a"]), ("d", vec![])] {
        let queued = Event::TaskQueued(Arc::new(entry(name, &needs)));
        committed(journal, on_task(name, 0, [accepted(name, "DEV", Some("s-1")), queued])).await;
    }
    committed(journal, on_task("direct", 0, [accepted("direct", "DEV", None)])).await;
    let standing = |name: &str, needs: &[&str], state| Standing { entry: Arc::new(entry(name, needs)), state };
    let found = journal.recovery().await.unwrap();
    let expected = [
        standing("a", &[], QueueState::Queued),
        standing("b", &["a"], QueueState::Blocked),
        standing("c", &["a"], QueueState::Blocked),
        standing("d", &[], QueueState::Queued),
    ];
    assert_eq!(found.queued, expected);
    assert_eq!(found.open_tasks.iter().map(|row| row.task.as_str()).collect::<Vec<_>>(), ["direct"]);

    committed(journal, on_task("a", 2, [Event::TaskClaimed { run: 1 }])).await;
    committed(journal, on_task("b", 2, [Event::TaskReleased { run: 1, cause: task_id("a") }])).await;
    committed(journal, on_task("c", 2, [Event::TaskSkipped { run: 1, cause: task_id("a") }])).await;
    committed(journal, on_task("d", 2, [Event::TaskParked { run: 1, reason: "no council".into() }])).await;
    let states = [("a", QueueState::InProgress), ("b", QueueState::Queued), ("d", QueueState::Parked)];
    for (name, state) in states {
        assert_eq!((row(journal, name).await.status, row(journal, name).await.queue), (TaskStatus::Open, Some(state)));
    }
    let skipped = row(journal, "c").await;
    assert_eq!((skipped.status, skipped.queue), (TaskStatus::Skipped, None));
    assert_eq!(skipped.error.as_deref(), Some("skipped: a did not complete"));
    let found = journal.recovery().await.unwrap();
    assert_eq!(found.queued.iter().map(|standing| standing.state).collect::<Vec<_>>(), states.map(|(_, state)| state));
    assert_eq!(found.open_tasks.iter().map(|row| row.task.as_str()).collect::<Vec<_>>(), ["a", "direct"]);

    committed(journal, on_task("a", 3, [completed(1)])).await;
    assert_eq!(row(journal, "a").await.queue, None);
    assert_eq!(journal.stats().await.unwrap().open_tasks, 3);
}

fn receipt(names: &[&str]) -> Receipt {
    let keys = names.iter().map(|name| ReceiptKey::of(&[name])).collect();
    Receipt { keys, until: Timestamp(u64::MAX) }
}

async fn a_message_has_its_effect_once_whatever_it_is_known_by(journal: &dyn Journal) {
    let take =
        |names: &[&str], version, call| Batch { receipt: Some(receipt(names)), ..on("a", version, call_failed(call)) };
    let first = take(&["place 1", "name"], 0, 1);
    committed(journal, first.clone()).await;
    assert_eq!(journal.commit(first).await, Ok(Committed { first_seq: 1 }), "the same batch again");
    for again in [take(&["place 1"], 1, 2), take(&["place 2", "name"], 1, 2)] {
        assert_eq!(journal.commit(again).await, Err(JournalError::Received));
    }
    assert!(!journal.received(&receipt(&["place 2"])).await.unwrap(), "nothing of a refused batch is kept");
    let alone = Batch { receipt: Some(receipt(&["place 2"])), ..Batch::default() };
    journal.commit(alone.clone()).await.unwrap();
    assert_eq!(journal.commit(alone).await, Err(JournalError::Received));
    assert!(journal.received(&receipt(&["unknown", "place 2"])).await.unwrap());
    let stale = take(&["place 3"], 0, 2);
    let conflict = JournalError::Conflict { stream: StreamId::named("a"), expected: 0, actual: 1 };
    assert_eq!(journal.commit(stale).await, Err(conflict));
    assert!(!journal.received(&receipt(&["place 3"])).await.unwrap());
    committed(journal, take(&["place 3"], 1, 2)).await;
    assert_eq!(journal.read(0, 10).await.unwrap().len(), 2);
}

async fn a_cursor_stands_where_it_was_saved_last(journal: &dyn Journal) {
    let at = |name: &str, seq| Cursor { name: name.into(), seq, state: format!("at {seq}").into() };
    let save = |cursor| Batch { cursor: Some(cursor), ..Batch::default() };
    assert_eq!(journal.cursor("outbox").await.unwrap(), None);
    for (name, seq) in [("outbox", 3), ("other", 7), ("outbox", 5)] {
        journal.commit(save(at(name, seq))).await.unwrap();
    }
    assert_eq!(journal.cursor("outbox").await.unwrap(), Some(at("outbox", 5)));
    assert_eq!(journal.cursor("other").await.unwrap(), Some(at("other", 7)));
}

macro_rules! conforms {
    ($name:ident, $make:expr) => {
        conforms!(@ $name, $make,
            (&*) what_was_committed_is_read_back_in_order,
            (&*) a_conflict_touches_nothing,
            (&*) a_batch_that_comes_again_is_told_its_first_place,
            (&*) an_empty_batch_is_acknowledged,
            (&*) batches_are_written_and_told_in_the_order_of_the_calls,
            (&*) what_goes_to_the_end_stands_behind_whatever_is_there,
            (&*) a_task_stands_as_its_events_say,
            (&*) a_cancelled_task_says_why,
            (&*) tasks_are_listed_newest_first_from_a_cursor,
            (&*) a_start_finds_open_tasks_councils_and_sums,
            (&*) councils_come_back_as_they_were_left,
            (&*) a_task_of_the_queue_stands_where_its_events_left_it,
            (&*) a_message_has_its_effect_once_whatever_it_is_known_by,
            (&*) a_cursor_stands_where_it_was_saved_last,
            () of_writers_at_one_version_one_wins,
            () writers_of_many_streams_do_not_meet,
        );
    };
    (@ $name:ident, $make:expr, $(($($borrow:tt)*) $aspect:ident,)*) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $aspect() {
                    let subject: super::Subject = $make;
                    super::$aspect($($borrow)* subject.journal.clone()).await;
                }
            )*
        }
    };
}

fn on_disk() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(&folder.path().join("data/a.db"), StoreOptions::default()).unwrap();
    Subject { journal: Arc::new(journal), _folder: Some(folder) }
}

fn alone(journal: impl Journal) -> Subject {
    Subject { journal: Arc::new(journal), _folder: None }
}

conforms!(sqlite, super::on_disk());
conforms!(temporary, super::alone(super::SqliteJournal::temporary().unwrap()));
conforms!(memory, super::alone(moothall_actors::testing::MemoryJournal::new()));
