//! What can go wrong with a store, told apart by what is to be done: each kind has its own exit code or its own cure.

use std::io;
use std::path::PathBuf;

use moothall_actors::domain::event::UnreadableEvent;
use moothall_actors::ports::JournalError;
use rusqlite::{ErrorCode, ffi};

/// The data cannot be read by this program (`EX_DATAERR`).
pub(super) const EXIT_DATA: u8 = 65;
/// There is no such store (`EX_NOINPUT`).
const EXIT_NO_INPUT: u8 = 66;
/// The device failed (`EX_IOERR`).
pub(super) const EXIT_IO: u8 = 74;
/// Somebody else has it now (`EX_TEMPFAIL`).
const EXIT_HELD: u8 = 75;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the store {} is in use by {holder}; one daemon at a time may write it", path.display())]
    Locked { path: PathBuf, holder: String },
    #[error("the store {} is damaged; restore a backup", path.display())]
    Corrupt { path: PathBuf, source: rusqlite::Error },
    #[error("the store {} has schema {found}, this program knows up to {known}; use a newer one", path.display())]
    TooNew { path: PathBuf, found: i64, known: i64 },
    #[error("{} is no store of this program", path.display())]
    NotAStore { path: PathBuf },
    #[error("there is no store at {}", path.display())]
    Missing { path: PathBuf },
    #[error("{what} of the store {} failed", path.display())]
    Io { path: PathBuf, what: &'static str, source: io::Error },
    #[error("the store {} cannot be used", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
}

impl OpenError {
    /// What the process ends with when it cannot go on without the store.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } => EXIT_HELD,
            Self::Corrupt { .. } | Self::TooNew { .. } | Self::NotAStore { .. } => EXIT_DATA,
            Self::Missing { .. } => EXIT_NO_INPUT,
            Self::Io { .. } | Self::Sqlite { .. } => EXIT_IO,
        }
    }

    pub(super) fn sqlite(path: impl Into<PathBuf>) -> impl FnOnce(rusqlite::Error) -> Self {
        let path = path.into();
        move |source| if is_corrupt(&source) { Self::Corrupt { path, source } } else { Self::Sqlite { path, source } }
    }

    pub(super) fn io(path: impl Into<PathBuf>, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, what, source }
    }
}

/// Why a store could not be checked or copied.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    #[error("writing {} failed", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Read(#[from] JournalError),
}

/// Why the tables beside the journal were not made anew. They are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] JournalError),
}

/// Why a backup did not take a store's place. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the store {} exists; say that it may be replaced", .0.display())]
    Exists(PathBuf),
    #[error("{} is the store itself", .0.display())]
    Itself(PathBuf),
    #[error("the backup {} is damaged: {}", path.display(), problems.join("; "))]
    Unsound { path: PathBuf, problems: Vec<String> },
    #[error(transparent)]
    Copy(#[from] StoreError),
}

/// What one read came to, before it is told in the words of the port.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    #[error("events before {first_kept} were pruned")]
    Pruned { first_kept: u64 },
    #[error("a read ended early")]
    Interrupted,
}

impl ReadError {
    /// SQLite itself says that the file is damaged.
    pub(super) fn is_damage(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

impl From<ReadError> for JournalError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Pruned { first_kept } => Self::Pruned { first_kept },
            other => Self::Unusable(chain(&other).into()),
        }
    }
}

/// What the writer does about a failed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// Keep everything and try again every second: no room, or somebody else writes.
    Wait,
    /// Open the file anew; it may have been a passing fault of the device.
    Reopen,
    /// One batch is at fault: find it and refuse it alone.
    Sift,
    /// Nothing helps but a backup.
    GiveUp,
}

impl Cure {
    pub(super) fn of(error: &rusqlite::Error) -> Self {
        if is_corrupt(error) {
            return Self::GiveUp;
        }
        let rusqlite::Error::SqliteFailure(failure, _) = error else {
            return Self::Reopen;
        };
        match failure.code {
            ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Wait,
            // The shared index beside the WAL is grown by writing to it: on a full disk it fails with this code.
            _ if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Self::Wait,
            ErrorCode::ConstraintViolation | ErrorCode::TooBig => Self::Sift,
            _ => Self::Reopen,
        }
    }
}

/// Damaged bytes, or values that no program of ours wrote.
pub(super) fn is_corrupt(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        }
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..) => true,
        _ => false,
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: std::ffi::c_int) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn every_failure_has_its_cure() {
        let cures = [
            (ffi::SQLITE_FULL, Cure::Wait),
            (ffi::SQLITE_IOERR_SHMSIZE, Cure::Wait),
            (ffi::SQLITE_BUSY, Cure::Wait),
            (ffi::SQLITE_IOERR_FSYNC, Cure::Reopen),
            (ffi::SQLITE_CANTOPEN, Cure::Reopen),
            (ffi::SQLITE_READONLY_DBMOVED, Cure::Reopen),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, Cure::Sift),
            (ffi::SQLITE_CORRUPT, Cure::GiveUp),
            (ffi::SQLITE_NOTADB, Cure::GiveUp),
        ];
        for (code, cure) in cures {
            assert_eq!(Cure::of(&failure(code)), cure, "code {code}");
        }
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        let error = ReadError::from(failure(ffi::SQLITE_FULL));
        assert_eq!(chain(&error).matches("full").count(), 1);
    }
}
