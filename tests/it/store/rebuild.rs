//! The tables beside the journal, made anew: the same rows, whatever happened to them.

use moothall::store::{SqliteJournal, StoreOptions};
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::{StreamId, Timestamp};
use moothall_actors::domain::queue::{Entry, OnDependencyFailure, Priority};
use moothall_actors::ports::{Append, Batch, Journal};
use rusqlite::Connection;

use super::sample::{accepted, completed, council, new, role, task_id};
use super::workflows::finished;

/// Some of everything that has a row.
async fn filled(path: &std::path::Path) {
    let journal = SqliteJournal::open(path, StoreOptions::default()).unwrap();
    let task = task_id("task-1");
    let events = vec![new(accepted("task-1", "DEV", Some("story-1"))), new(completed(1))];
    journal.commit(Batch::one(StreamId::task(&task), 0, events)).await.unwrap();
    let created = new(Event::CouncilCreated(council("DEV")));
    journal.commit(Batch::one(StreamId::council(&role("DEV")), 0, vec![created])).await.unwrap();
    let entry = Entry {
        task: task_id("task-2"),
        run: 1,
        role: role("DEV"),
        story: None,
        plan: None,
        priority: Priority::MEDIUM,
        enqueued_at: Timestamp(1),
        not_before: None,
        needs: Vec::new(),
        on_failure: OnDependencyFailure::Block,
        hold: None,
        parked: false,
    };
    let queued = Event::TaskQueued(entry.into());
    let events = vec![new(accepted("task-2", "DEV", None)), new(queued)];
    journal.commit(Batch::one(StreamId::task(&task_id("task-2")), 0, events)).await.unwrap();
    let appends: Vec<Append> = finished();
    journal.commit(Batch::of(appends)).await.unwrap();
    journal.close().await;
}

#[tokio::test]
async fn what_was_rebuilt_is_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    filled(&path).await;
    let rebuilt = SqliteJournal::rebuild(&path, false).unwrap();
    for table in &rebuilt.tables {
        assert!(table.rows > 0, "{table:?} was not tried");
        assert_eq!((table.new, table.gone), (0, 0), "{table:?}");
    }
    let journal = SqliteJournal::open(&path, StoreOptions::default()).unwrap();
    let report = journal.verify().await.unwrap();
    assert!(report.is_sound(), "{:?}", report.first_problems);
}

#[tokio::test]
async fn what_was_changed_by_hand_is_told_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    filled(&path).await;
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("UPDATE workflows SET status = 'failed'; DELETE FROM workflow_history").unwrap();
    drop(conn);
    let told = |keep| {
        let rebuilt = SqliteJournal::rebuild(&path, keep).unwrap();
        let of = |name| rebuilt.tables.iter().find(|table| table.table == name).cloned().unwrap();
        let (rows, history) = (of("workflows"), of("workflow_history"));
        ((rows.new, rows.gone), (history.new, history.gone))
    };
    let history = told(true).1.0;
    assert!(history > 3);
    assert_eq!(told(true), ((1, 1), (history, 0)), "only told, not done");
    assert_eq!(told(false), ((1, 1), (history, 0)));
    assert_eq!(told(true), ((0, 0), (0, 0)));
}

#[tokio::test]
async fn a_store_that_somebody_holds_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let journal = SqliteJournal::open(&path, StoreOptions::default()).unwrap();
    let refused = SqliteJournal::rebuild(&path, false).unwrap_err().to_string();
    assert!(refused.contains("process"), "{refused}");
    journal.close().await;
    assert!(SqliteJournal::rebuild(&folder.path().join("none.db"), false).is_err());
}
