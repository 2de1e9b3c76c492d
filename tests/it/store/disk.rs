//! What only a disk can do: be found again, be held by another, be full.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use moothall::store::{OpenError, SqliteJournal, StoreOptions};
use moothall_actors::domain::event::Event;
use moothall_actors::ports::{Ack, Committed, Journal, JournalError, JournalHealth};

use super::sample::{accepted, call_failed, completed, council, large, on, on_task, task_id};

fn open(path: &Path) -> SqliteJournal {
    SqliteJournal::open(path, StoreOptions::default()).unwrap()
}

#[tokio::test]
async fn a_reopened_store_has_everything_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let journal = open(&path);
    journal.commit(on_task("t", 0, [accepted("t", "DEV", None)])).await.unwrap();
    journal.commit(on("council/DEV", 0, Event::CouncilCreated(council("DEV")))).await.unwrap();
    let (id, events) = (journal.store_id().to_owned(), journal.read(0, 10).await.unwrap());
    let row = journal.task(&task_id("t")).await.unwrap();
    let stats = journal.stats().await.unwrap();
    journal.close().await;

    let journal = open(&path);
    assert_eq!(journal.store_id(), id);
    assert_eq!(journal.read(0, 10).await.unwrap(), events);
    assert_eq!(journal.task(&task_id("t")).await.unwrap(), row);
    assert_eq!(journal.recovery().await.unwrap().councils, [(council("DEV"), 1)]);
    let again = journal.stats().await.unwrap();
    assert_eq!((again.events, again.streams, again.tasks), (stats.events, stats.streams, stats.tasks));
    let stale = journal.commit(on_task("t", 0, [completed(1)])).await;
    assert!(matches!(stale, Err(JournalError::Conflict { actual: 1, .. })), "{stale:?}");
    assert_eq!(journal.commit(on_task("t", 1, [completed(1)])).await, Ok(Committed { first_seq: 3 }));
}

#[tokio::test]
async fn a_store_in_use_is_not_opened_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let journal = open(&path);
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for other in [&path, &link] {
        let error = SqliteJournal::open(other, StoreOptions::default()).unwrap_err();
        assert!(matches!(error, OpenError::Locked { .. }) && error.exit_code() == 75, "{error}");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    }
    journal.close().await;
    assert_eq!(journal.commit(on("a", 0, call_failed(1))).await, Err(JournalError::Closed));
    drop(open(&path));
}

#[tokio::test]
async fn a_reader_sees_what_a_running_daemon_committed_and_what_a_dead_one_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let journal = open(&path);
    let reader = SqliteJournal::open_read_only(&path).unwrap();
    for version in 0..3 {
        journal.commit(on("a", version, call_failed(1))).await.unwrap();
    }
    assert_eq!(reader.events(0, 10).await.unwrap(), journal.read(0, 10).await.unwrap());

    // The files as a kill leaves them: nothing was written back.
    let left = tempfile::tempdir().unwrap();
    for name in ["a.db", "a.db-wal"] {
        std::fs::copy(folder.path().join(name), left.path().join(name)).unwrap();
    }
    let dead = SqliteJournal::open_read_only(&left.path().join("a.db")).unwrap();
    assert_eq!(dead.store_id(), journal.store_id());
    assert_eq!(dead.events(0, 10).await.unwrap(), journal.read(0, 10).await.unwrap());
    assert_eq!(open(&left.path().join("a.db")).read(0, 10).await.unwrap(), journal.read(0, 10).await.unwrap());
}

#[tokio::test]
async fn a_dropped_store_has_written_what_waited() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let journal = open(&path);
    let told = Arc::new(AtomicUsize::new(0));
    for version in 0..500 {
        let told = told.clone();
        let ack = Ack::new(move |result| drop(result.map(|_| told.fetch_add(1, Ordering::Relaxed))));
        journal.submit(on("a", version, call_failed(1)), ack);
    }
    drop(journal);
    assert_eq!(told.load(Ordering::Relaxed), 500);
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(names.len() == 2, "one file and its lock: {names:?}");
    assert_eq!(open(&path).stats().await.unwrap().events, 500);
}

#[tokio::test]
async fn a_temporary_store_leaves_nothing() {
    let journal = SqliteJournal::temporary().unwrap();
    let folder = journal.reader().path().parent().unwrap().to_owned();
    journal.commit(on("a", 0, call_failed(1))).await.unwrap();
    assert!(folder.exists());
    drop(journal);
    assert!(!folder.exists());
}

/// A file system of its own that can be full.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where it may not be mounted.
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(folder.path()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder))
    }

    /// Takes all the room there is.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        std::io::copy(&mut std::io::repeat(0), &mut filler).unwrap_err();
    }

    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn filler(&self) -> std::path::PathBuf {
        self.0.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_stalls_loses_nothing_and_heals() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let options = StoreOptions { retry_every: Duration::from_millis(20), ..StoreOptions::default() };
    let journal = SqliteJournal::open(&disk.0.path().join("a.db"), options).unwrap();
    let mut health = journal.watch_health();
    journal.commit(on("a", 0, large(1_000))).await.unwrap();
    disk.fill();

    let acks = Arc::new(AtomicUsize::new(0));
    for version in 1..=50 {
        let acks = acks.clone();
        let ack = Ack::new(move |result| {
            result.unwrap();
            acks.fetch_add(1, Ordering::Relaxed);
        });
        journal.submit(on("a", version, large(10_000)), ack);
    }
    health.wait_for(|health| matches!(health, JournalHealth::Stalled { .. })).await.unwrap();
    assert!(acks.load(Ordering::Relaxed) < 50);
    assert!(!journal.read(0, 100).await.unwrap().is_empty(), "reading goes on");

    disk.make_room();
    health.wait_for(|health| *health == JournalHealth::Writable).await.unwrap();
    journal.commit(on("b", 0, call_failed(1))).await.unwrap();
    assert_eq!(acks.load(Ordering::Relaxed), 50);
    let events = journal.stream(&moothall_actors::domain::id::StreamId::named("a"), 0, 100).await.unwrap();
    assert!(events.iter().map(|e| e.version).eq(1..=51));
    assert!(journal.verify().await.unwrap().is_sound());
    drop(journal);
}

#[tokio::test]
async fn a_store_closed_on_a_full_disk_ends_and_tells_who_waits() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let options = StoreOptions { retry_every: Duration::from_secs(3_600), ..StoreOptions::default() };
    let journal = Arc::new(SqliteJournal::open(&disk.0.path().join("a.db"), options).unwrap());
    let mut health = journal.watch_health();
    disk.fill();
    let writer = journal.clone();
    let waiting = tokio::spawn(async move { writer.commit(on("a", 0, large(1_000_000))).await });
    health.wait_for(|health| matches!(health, JournalHealth::Stalled { .. })).await.unwrap();
    journal.close().await;
    assert_eq!(waiting.await.unwrap(), Err(JournalError::Closed));
}
