//! A backup and its way back: nothing that was acknowledged before it is missing, and no store goes by mistake.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use moothall::store::{OpenError, RestoreError, SqliteJournal, StoreOptions};
use moothall_actors::domain::id::StreamId;
use moothall_actors::ports::Journal;
use rusqlite::Connection;

use super::sample::{accepted, call_failed, completed, on, on_task, task_id};

fn open(path: &Path) -> SqliteJournal {
    SqliteJournal::open(path, StoreOptions::default()).unwrap()
}

/// A store with one ended task, and a backup of it.
async fn backed_up(folder: &Path) -> (PathBuf, PathBuf) {
    let (store, backup) = (folder.join("a.db"), folder.join("a.backup"));
    let journal = open(&store);
    journal.commit(on_task("t", 0, [accepted("t", "DEV", None), completed(1)])).await.unwrap();
    journal.backup(&backup).await.unwrap();
    journal.close().await;
    (store, backup)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_under_load_brings_back_all_that_was_acknowledged_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, backup) = (folder.path().join("a.db"), folder.path().join("a.backup"));
    let journal = Arc::new(open(&store));
    let over = Arc::new(AtomicBool::new(false));
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..8).map(|_| AtomicU64::new(0)).collect());
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (journal, over, acknowledged) = (journal.clone(), over.clone(), acknowledged.clone());
            tokio::spawn(async move {
                for version in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    journal.commit(on(&format!("s-{writer}"), version, call_failed(1))).await.unwrap();
                    acknowledged[writer].store(version + 1, Ordering::Release);
                }
            })
        })
        .collect();
    while acknowledged.iter().any(|count| count.load(Ordering::Acquire) < 50) {
        tokio::task::yield_now().await;
    }
    let before: Vec<_> = acknowledged.iter().map(|count| count.load(Ordering::Acquire)).collect();
    journal.backup(&backup).await.unwrap();
    over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    journal.close().await;

    let restored = SqliteJournal::restore(&backup, &store, true).unwrap();
    let journal = open(&store);
    assert!(journal.verify().await.unwrap().is_sound());
    assert_eq!(restored.events, journal.stats().await.unwrap().events);
    for (writer, before) in before.into_iter().enumerate() {
        let events = journal.stream(&StreamId::named(&format!("s-{writer}")), 0, 1_000_000).await.unwrap();
        let versions = u64::try_from(events.len()).unwrap();
        assert!(versions >= before, "{writer}: {versions} of {before}");
        journal.commit(on(&format!("s-{writer}"), versions, call_failed(1))).await.unwrap();
    }
}

#[tokio::test]
async fn a_backup_makes_a_store_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (_, backup) = backed_up(folder.path()).await;
    let to = folder.path().join("new/folder/b.db");
    let restored = SqliteJournal::restore(&backup, &to, false).unwrap();
    assert_eq!((restored.events, restored.tasks, restored.last_seq), (2, 1, 2));
    let journal = open(&to);
    assert!(journal.task(&task_id("t")).await.unwrap().is_some());
    assert!(backup.exists());
}

#[tokio::test]
async fn a_store_in_use_or_unasked_for_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (store, backup) = backed_up(folder.path()).await;
    let journal = open(&store);
    journal.commit(on("later", 0, call_failed(1))).await.unwrap();
    let held = SqliteJournal::restore(&backup, &store, true);
    assert!(matches!(held, Err(RestoreError::Open(OpenError::Locked { .. }))), "{held:?}");
    drop(journal);
    let unasked = SqliteJournal::restore(&backup, &store, false);
    assert!(matches!(unasked, Err(RestoreError::Exists(_))), "{unasked:?}");
    let itself = SqliteJournal::restore(&store, &store, true);
    assert!(matches!(itself, Err(RestoreError::Itself(_))), "{itself:?}");
    assert_eq!(open(&store).stats().await.unwrap().events, 3);
}

#[tokio::test]
async fn what_is_no_sound_backup_leaves_the_store_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (store, backup) = backed_up(folder.path()).await;
    Connection::open(&backup).unwrap().execute_batch("UPDATE totals SET tasks = 9").unwrap();
    let unsound = SqliteJournal::restore(&backup, &store, true);
    assert!(matches!(&unsound, Err(RestoreError::Unsound { problems, .. }) if problems.len() == 1), "{unsound:?}");
    std::fs::write(&backup, "no database, but long enough to be taken for one".repeat(100)).unwrap();
    let other = SqliteJournal::restore(&backup, &store, true);
    assert!(matches!(&other, Err(RestoreError::Open(OpenError::Corrupt { .. }))), "{other:?}");
    let missing = SqliteJournal::restore(&folder.path().join("none"), &store, true);
    assert!(matches!(&missing, Err(RestoreError::Open(OpenError::Missing { .. }))), "{missing:?}");
    assert!(open(&store).verify().await.unwrap().is_sound());
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("restore")), "{names:?}");
}

/// As a kill leaves it: much stands only in the log.
#[tokio::test]
async fn the_log_of_the_store_that_goes_does_not_meet_the_one_that_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (store, backup) = backed_up(folder.path()).await;
    for damaged in [false, true] {
        let killed = tempfile::tempdir().unwrap();
        let path = killed.path().join("a.db");
        let journal = open(&store);
        for version in 0..20 {
            let stream = if damaged { "b" } else { "a" };
            journal.commit(on(stream, version, call_failed(1))).await.unwrap();
        }
        for name in ["a.db", "a.db-wal", "a.db-shm"] {
            std::fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
        }
        drop(journal);
        if damaged {
            std::fs::write(&path, "not a database any more").unwrap();
        }
        SqliteJournal::restore(&backup, &path, true).unwrap();
        let journal = open(&path);
        assert_eq!(journal.stats().await.unwrap().events, 2, "damaged: {damaged}");
        assert!(journal.verify().await.unwrap().is_sound());
    }
}
