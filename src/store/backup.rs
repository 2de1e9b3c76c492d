//! A copy of a store that is being written: one consistent file, compact, durable when it is reported.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use moothall_actors::ports::JournalError;
use rusqlite::Connection;

use super::error::{ReadError, StoreError};

/// One snapshot, whatever is written meanwhile. Refuses a file that exists; leaves none behind when it fails.
pub(super) fn backup(conn: &Connection, to: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io { path: to.to_owned(), source };
    let name = to.to_str().ok_or_else(|| failed(io::Error::other("the path is not UTF-8")))?;
    let mut claim = Claim::new(to)?;
    conn.execute("VACUUM INTO ?1", [name]).map_err(|error| JournalError::from(ReadError::from(error)))?;
    // SQLite leaves the copy in the system's cache: it is a backup only once it is on the disk.
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(to).and_then(|file| file.sync_all()).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    claim.kept = true;
    Ok(())
}

/// An empty file that SQLite may fill, made in one step with the question whether there is one.
struct Claim {
    path: PathBuf,
    kept: bool,
}

impl Claim {
    fn new(to: &Path) -> Result<Self, StoreError> {
        match File::create_new(to) {
            Ok(_) => Ok(Self { path: to.to_owned(), kept: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(StoreError::Exists(to.to_owned())),
            Err(source) => Err(StoreError::Io { path: to.to_owned(), source }),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
