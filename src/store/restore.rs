//! A backup takes a store's place: looked at first, copied beside it, and renamed when it is whole and on the disk.
//!
//! At any moment there is either the old store or the new one, whatever crashes. The lock is held all the while, so that
//! no daemon starts on what is about to go.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use moothall_actors::ports::JournalError;
use rusqlite::Connection;

use super::backup::backup;
use super::connection::{self, Durability};
use super::error::{OpenError, ReadError, RestoreError};
use super::lock::{StoreLock, beside};
use super::query;
use super::verify::verify;

/// Nobody is in the way but readers.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    pub events: u64,
    pub tasks: u64,
    /// The last event that is in it.
    pub last_seq: u64,
}

/// Blocks for as long as the backup is big. `replace`: a store that is there may go.
pub(super) fn restore(from: &Path, to: &Path, replace: bool) -> Result<Restored, RestoreError> {
    let backup_conn = connection::read_only_checked(from)?;
    let to = connection::place(to)?;
    if from.canonicalize().is_ok_and(|from| from == to) {
        return Err(RestoreError::Itself(to));
    }
    let _lock = StoreLock::take(&to)?;
    if to.exists() && !replace {
        return Err(RestoreError::Exists(to));
    }
    let restored = examine(&backup_conn, from)?;
    let aside = beside(&to, ".restore");
    for left_over in [aside.clone(), beside(&aside, "-journal")] {
        let _ = fs::remove_file(left_over);
    }
    backup(&backup_conn, &aside)?;
    set_log_aside(&to).map_err(OpenError::io(&to, "setting the old log aside"))?;
    fs::rename(&aside, &to).map_err(OpenError::io(&to, "putting the backup in its place"))?;
    let folder = to.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(OpenError::io(&to, "syncing the folder"))?;
    Ok(restored)
}

fn examine(conn: &Connection, path: &Path) -> Result<Restored, RestoreError> {
    let unreadable = |error: ReadError| super::StoreError::from(JournalError::from(error));
    let report = verify(conn).map_err(unreadable)?;
    if !report.is_sound() {
        return Err(RestoreError::Unsound { path: path.to_owned(), problems: report.first_problems });
    }
    let last_seq = query::stats(conn).map_err(unreadable)?.last_seq;
    Ok(Restored { events: report.events, tasks: report.tasks, last_seq })
}

/// The old store's log must not meet the new store's file. What is in it goes into the old file; where that cannot be,
/// it stays under another name.
fn set_log_aside(store: &Path) -> io::Result<()> {
    if !store.exists() {
        return Ok(());
    }
    let settled = connection::reopen(store, Durability::Full)
        .and_then(|conn| connection::empty_wal(&conn, PATIENCE))
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "the log of the store that is replaced is kept beside it");
            false
        });
    let log = beside(store, "-wal");
    if log.exists() {
        match settled {
            true => fs::remove_file(&log)?,
            false => fs::rename(&log, beside(store, "-wal.replaced"))?,
        }
    }
    match fs::remove_file(beside(store, "-shm")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
