//! Looking at a store: filters, sizes, verification, copies.

use std::path::PathBuf;

use moothall::store::{EventQuery, SqliteJournal, StoreError, StoreOptions, StoredEvent, VerifyReport};
use moothall_actors::domain::event::{NewEvent, UnreadableEvent};
use moothall_actors::domain::id::{StreamId, Timestamp};
use moothall_actors::ports::{Batch, Journal, JournalError};
use rusqlite::Connection;

use super::sample::{accepted, call_failed, completed, large, new, on, on_task};

struct Store {
    _folder: tempfile::TempDir,
    path: PathBuf,
    journal: SqliteJournal,
}

impl Store {
    async fn with_tasks() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let journal = SqliteJournal::open(&path, StoreOptions::default()).unwrap();
        for n in 1..=3 {
            let name = format!("t-{n}");
            journal.commit(on_task(&name, 0, [accepted(&name, "DEV", None)])).await.unwrap();
            journal.commit(on(&format!("deliberation/{name}/1"), 0, call_failed(1))).await.unwrap();
        }
        journal.commit(on_task("t-1", 1, [completed(1)])).await.unwrap();
        Self { _folder: folder, path, journal }
    }

    /// Does behind the journal's back what must never happen.
    fn spoil(&self, sql: &str) {
        Connection::open(&self.path).unwrap().execute_batch(sql).unwrap();
    }

    async fn select(&self, query: EventQuery) -> Vec<StoredEvent> {
        self.journal.reader().select(query).await.unwrap()
    }

    async fn verified(&self) -> VerifyReport {
        self.journal.verify().await.unwrap()
    }
}

/// Every event.
fn all() -> EventQuery {
    EventQuery { limit: 100, ..EventQuery::default() }
}

#[tokio::test]
async fn events_are_found_by_stream_and_type() {
    let store = Store::with_tasks().await;
    let found = async |after, limit, prefix: &str, kinds: &[&str]| -> Vec<u64> {
        let kinds: Vec<_> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let events =
            store.select(EventQuery { after_seq: after, limit, stream_prefix: prefix.into(), kinds, ..all() }).await;
        events.iter().map(|event| event.seq).collect()
    };
    assert_eq!(found(0, 100, "", &[]).await, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(found(0, 100, "task/", &[]).await, [1, 3, 5, 7]);
    assert_eq!(found(1, 2, "task/", &[]).await, [3, 5]);
    assert_eq!(found(0, 100, "task/t-1", &[]).await, [1, 7]);
    assert_eq!(found(0, 100, "task/t-1", &["TaskCompleted"]).await, [7]);
    assert_eq!(found(0, 100, "", &["CallFailed", "TaskCompleted"]).await, [2, 4, 6, 7]);
    assert_eq!(found(0, 100, "nothing", &[]).await, [0; 0]);
    let many = (0..300).flat_map(|n| on(&format!("many/{n}"), 0, call_failed(1)).appends).collect();
    store.journal.commit(Batch::of(many)).await.unwrap();
    assert_eq!(found(8, 3, "many/", &[]).await, [9, 10, 11]);
    let raw = &store.select(EventQuery { after_seq: 6, ..all() }).await[0];
    assert!(raw.payload.contains(r#""winner":"agent-dev-001""#), "{}", raw.payload);
    assert_eq!(raw.clone().decode().unwrap(), store.journal.read(6, 1).await.unwrap()[0]);
}

const MINUTE: u64 = 60_000;

/// As [`all`], of these times.
fn between(since: u64, until: u64) -> EventQuery {
    EventQuery { since: Some(Timestamp(since)), until: Some(Timestamp(until)), limit: 1_000, ..all() }
}

/// An event for each time, and one place in three empty.
async fn with_times(times: &[u64]) -> Store {
    let store = Store::with_tasks().await;
    let timed = |at: &u64| NewEvent { at: Timestamp(*at), ..new(call_failed(1)) };
    let events = times.iter().map(timed).collect();
    store.journal.commit(Batch::one(StreamId::named("timed"), 0, events)).await.unwrap();
    store.spoil("DELETE FROM events WHERE seq <= 7 OR seq % 3 = 0");
    store
}

#[tokio::test]
async fn events_are_found_by_time_though_the_clock_is_set_back_a_little() {
    // A minute for each event; from time to time the clock is set back by most of an hour, and on again.
    let times: Vec<u64> = (0..400).map(|n| (1_000 + n - n / 50 % 2 * 55) * MINUTE).collect();
    let store = with_times(&times).await;
    let left = store.select(EventQuery { limit: 1_000, ..all() }).await;
    assert_eq!(left.len(), 267);
    let prefix = |query| EventQuery { stream_prefix: "timed".into(), ..query };
    for (since, until) in [(0, 1), (900, 1_000), (1_000, 1_001), (1_040, 1_060), (1_200, 1_210), (1_390, 9_000)] {
        let (since, until) = (since * MINUTE, until * MINUTE);
        let of_time = |event: &&StoredEvent| (since..until).contains(&event.at.0);
        let expected: Vec<_> = left.iter().filter(of_time).cloned().collect();
        assert_eq!(store.select(between(since, until)).await, expected, "{since}..{until}");
        assert_eq!(store.select(prefix(between(since, until))).await, expected, "{since}..{until}");
        let after_seq = expected.first().map_or(0, |first| first.seq);
        let rest = store.select(EventQuery { after_seq, ..between(since, until) }).await;
        assert_eq!(rest[..], expected[expected.len().min(1)..], "{since}..{until} after {after_seq}");
    }
    assert_eq!(store.select(between(0, u64::MAX)).await, left);
}

#[tokio::test]
async fn no_event_of_another_time_is_found_whatever_the_clock_did() {
    let times: Vec<u64> = (0..200).map(|n| (n * 7_919 % 1_009) * 60 * MINUTE).collect();
    let store = with_times(&times).await;
    for (since, until) in [(100, 200), (500, 900), (0, 50)] {
        let (since, until) = (since * 60 * MINUTE, until * 60 * MINUTE);
        let found = store.select(between(since, until)).await;
        assert!(found.iter().all(|event| (since..until).contains(&event.at.0)), "{since}..{until}");
    }
}

#[tokio::test]
async fn events_before_a_pruned_one_are_refused_with_the_first_kept() {
    let store = Store::with_tasks().await;
    store.spoil("DELETE FROM events WHERE seq < 3; UPDATE store SET first_kept = 3");
    assert_eq!(store.journal.read(1, 10).await, Err(JournalError::Pruned { first_kept: 3 }));
    assert_eq!(store.journal.read(0, 10).await, Err(JournalError::Pruned { first_kept: 3 }));
    assert_eq!(store.journal.read(2, 10).await.unwrap()[0].seq, 3);
}

#[tokio::test]
async fn a_sound_store_is_called_sound() {
    let store = Store::with_tasks().await;
    let report = store.verified().await;
    assert_eq!((report.events, report.streams, report.tasks), (7, 6, 3));
    assert!(report.is_sound(), "{report:?}");
}

#[tokio::test]
async fn every_kind_of_damage_is_found_and_named() {
    let cases = [
        ("UPDATE events SET version = 9 WHERE seq = 7", "stream task/t-1 has 2 events with versions 1 to 9"),
        ("UPDATE events SET stream = 99 WHERE seq = 2", "belong to no stream"),
        ("UPDATE events SET payload = '{}' WHERE seq = 2", "event 2: event of type CallFailed"),
        ("UPDATE events SET payload = 'x' WHERE seq = 7", "event 7"),
        ("UPDATE events SET type = 'Unheard' WHERE seq = 4", "event 4: event of type Unheard, schema 1"),
        ("UPDATE events SET schema = 2 WHERE seq = 4", "schema 2"),
        ("UPDATE totals SET tasks = 8", "the count of tasks is 8, there are 3"),
        ("DELETE FROM finished", "the count of completed tasks is 0, there are 1"),
        (
            "INSERT INTO events (stream, version, event_id, type, schema, at, payload) SELECT stream, 3, zeroblob(16), type, \
             1, 0, payload FROM events WHERE seq = 7; UPDATE totals SET events = 8",
            "task/t-1 has 2 final events of run 1",
        ),
        ("UPDATE tasks SET status = 'failed' WHERE task = 't-2'", "task t-2 is failed in run 1 and has 0 final events"),
        ("UPDATE tasks SET run = 3 WHERE task = 't-1'", "task t-1 is completed in run 3 and has 1 final events"),
    ];
    for (sql, said) in cases {
        let store = Store::with_tasks().await;
        store.spoil(sql);
        let report = store.verified().await;
        assert!(report.first_problems.iter().any(|line| line.contains(said)), "{sql}: {report:?}");
        assert!(!report.is_sound() && report.problems >= report.first_problems.len() as u64);
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_told_apart_from_the_rest() {
    let store = Store::with_tasks().await;
    store.spoil("UPDATE events SET schema = 2 WHERE seq = 2");
    let Err(JournalError::Unusable(why)) = store.journal.read(0, 10).await else { panic!("read") };
    assert!(why.contains("CallFailed, schema 2"), "{why}");
    let raw = store.select(EventQuery { after_seq: 1, ..all() }).await.remove(0);
    let UnreadableEvent { kind, schema, .. } = raw.decode().unwrap_err();
    assert_eq!((kind.as_str(), schema), ("CallFailed", 2));
    assert_eq!(store.journal.read(2, 10).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_copy_is_a_whole_store_and_overwrites_nothing() {
    let store = Store::with_tasks().await;
    let to = store.path.with_file_name("copy.db");
    store.journal.backup(&to).await.unwrap();
    store.journal.commit(on("later", 0, call_failed(1))).await.unwrap();
    let refused = store.journal.backup(&to).await;
    assert!(matches!(refused, Err(StoreError::Exists(_))), "{refused:?}");
    let nowhere = store.journal.backup(&store.path.join("no/such/folder")).await;
    assert!(matches!(nowhere, Err(StoreError::Io { .. })), "{nowhere:?}");

    let copy = SqliteJournal::open(&to, StoreOptions::default()).unwrap();
    assert_eq!(copy.store_id(), store.journal.store_id());
    assert_eq!(copy.read(0, 100).await.unwrap(), store.journal.read(0, 7).await.unwrap());
    assert!(copy.verify().await.unwrap().is_sound());
    assert_eq!(copy.commit(on("later", 0, call_failed(1))).await.unwrap().first_seq, 8);
}

#[tokio::test]
async fn sizes_are_those_of_the_files() {
    let store = Store::with_tasks().await;
    store.journal.commit(on("big", 0, large(100_000))).await.unwrap();
    let sizes = store.journal.reader().file_sizes().await.unwrap();
    assert!(sizes.wal > 100_000, "{sizes:?}");
    assert_eq!(store.journal.stats().await.unwrap().bytes, sizes.database + sizes.wal);
    store.journal.close().await;
    let sizes = store.journal.reader().file_sizes().await.unwrap();
    assert!(sizes.wal == 0 && sizes.database > 100_000, "{sizes:?}");
}

#[tokio::test]
async fn what_is_stored_is_json_that_other_programs_can_read() {
    let store = Store::with_tasks().await;
    let conn = Connection::open(&store.path).unwrap();
    let role: String = conn
        .query_row("SELECT payload ->> '$.spec.role' FROM events WHERE type = 'TaskAccepted' LIMIT 1", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(role, "DEV");
}
