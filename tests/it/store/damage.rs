//! Files that are damaged, of somebody else, too new, or gone: each is told apart, none is written to.

use std::path::Path;

use moothall::store::{OpenError, SqliteJournal, StoreOptions};
use moothall_actors::ports::{Journal, JournalError, JournalHealth};
use rusqlite::Connection;

use super::sample::{call_failed, large, on};

fn open(path: &Path) -> Result<SqliteJournal, OpenError> {
    SqliteJournal::open(path, StoreOptions::default())
}

#[test]
fn a_file_that_is_no_database_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let text = "no database, but long enough for a header ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }) && error.exit_code() == 65, "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    open(&path).unwrap().close().await;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::TooNew { found: 99, known: 5, .. }), "{error}");
    assert!(matches!(SqliteJournal::open_read_only(&path), Err(OpenError::TooNew { .. })));
    assert_eq!(error.exit_code(), 65);
}

#[test]
fn looking_into_nothing_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let Err(missing) = SqliteJournal::open_read_only(&path) else { panic!("opened") };
    assert!(matches!(missing, OpenError::Missing { .. }) && missing.exit_code() == 66, "{missing}");
    assert!(!path.exists());
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE workflows (id TEXT)").unwrap();
    assert!(matches!(SqliteJournal::open_read_only(&path), Err(OpenError::NotAStore { .. })));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let path = folder.path().join("file/data/a.db");
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }) && error.exit_code() == 74, "{error}");
    assert!(error.to_string().contains("file/data/a.db"), "{error}");
}

#[tokio::test]
async fn a_store_whose_file_is_taken_away_is_lost_before_anything_more_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let journal = open(&path).unwrap();
    journal.commit(on("a", 0, call_failed(1))).await.unwrap();
    std::fs::rename(&path, folder.path().join("b.db")).unwrap();
    let answer = journal.commit(on("a", 1, call_failed(1))).await;
    assert!(matches!(answer, Err(JournalError::Unusable(_))), "{answer:?}");
    assert!(matches!(journal.health(), JournalHealth::Lost { exit_code: 74, .. }), "{:?}", journal.health());
}

#[tokio::test]
async fn damage_found_by_a_reader_loses_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let journal = open(&path).unwrap();
    for version in 0..200 {
        journal.commit(on("a", version, large(2_000))).await.unwrap();
    }
    journal.close().await;
    drop(journal);
    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    // The first pages stay, so it opens; the events are overwritten.
    bytes[half..].fill(0xff);
    std::fs::write(&path, bytes).unwrap();

    let journal = open(&path).unwrap();
    let answer = journal.read(0, 1_000).await;
    assert!(matches!(answer, Err(JournalError::Unusable(_))), "{answer:?}");
    assert!(matches!(journal.health(), JournalHealth::Lost { exit_code: 65, .. }), "{:?}", journal.health());
    assert!(matches!(journal.commit(on("b", 0, call_failed(1))).await, Err(JournalError::Unusable(_))));
}
