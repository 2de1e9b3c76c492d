//! Checkpoints beside the commits: the write-ahead log stays small while the store is written, and nothing is lost.

use std::path::PathBuf;

use moothall::store::{SqliteJournal, StoreOptions};
use moothall_actors::ports::Journal;

use super::sample::{large, on};

/// Half a MiB of write-ahead log.
const PAGES: u32 = 64;
const EVENT_BYTES: usize = 20_000;
/// 12 MiB are written in all.
const EVENTS: u64 = 600;

fn open() -> (tempfile::TempDir, PathBuf, SqliteJournal) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let options = StoreOptions { checkpoint_pages: PAGES, ..StoreOptions::default() };
    let journal = SqliteJournal::open(&path, options).unwrap();
    (folder, path, journal)
}

async fn write(journal: &SqliteJournal, from: u64) {
    for version in from..from + EVENTS {
        journal.commit(on("long", version, large(EVENT_BYTES))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_written_back_while_commits_go_on() {
    let (_folder, _path, journal) = open();
    write(&journal, 0).await;
    let sizes = journal.reader().file_sizes().await.unwrap();
    let written = EVENTS * EVENT_BYTES as u64;
    assert!(sizes.database > written / 2, "most of it stands in the file: {sizes:?}");
    assert!(sizes.wal < written / 4, "and its place in the log is used again: {sizes:?}");
    assert!(journal.verify().await.unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_old_pages_is_in_nobodys_way() {
    let (_folder, path, journal) = open();
    write(&journal, 0).await;
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let seen = |conn: &rusqlite::Connection| -> i64 {
        conn.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(seen(&reader), EVENTS as i64);
    write(&journal, EVENTS).await;
    assert_eq!(seen(&reader), EVENTS as i64, "it sees what it saw");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(seen(&reader), 2 * EVENTS as i64);
    write(&journal, 2 * EVENTS).await;
    let sizes = journal.reader().file_sizes().await.unwrap();
    assert!(sizes.database > 5 * EVENTS * EVENT_BYTES as u64 / 2, "all but the end was written back: {sizes:?}");
    assert!(journal.verify().await.unwrap().is_sound());
}
