//! One writer per store: a lock on a file beside it, so that readers of other processes still get in.
//!
//! The operating system frees it when its holder dies, however it dies.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// Held by the writer's thread until it has ended.
#[derive(Debug)]
pub(super) struct StoreLock(#[expect(dead_code, reason = "held, never read")] File);

impl StoreLock {
    pub(super) fn take(store: &Path) -> Result<Self, OpenError> {
        let path = beside(store, ".lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(OpenError::io(store, "opening the lock file"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { path: store.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(OpenError::io(store, "locking")(source)),
        }
        // Only for the message of the next one who comes: a full disk must not keep the daemon from its start.
        if let Err(error) = sign(&mut file) {
            tracing::debug!(%error, "the lock file does not say who holds it");
        }
        Ok(Self(file))
    }
}

/// A file named like the store with something appended, as SQLite does it.
pub(super) fn beside(store: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(store);
    name.push(suffix);
    name.into()
}

fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(32).read_to_string(&mut text) {
        Ok(_) if text.trim().parse::<u32>().is_ok() => format!("process {}", text.trim()),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_learns_who_holds_it_and_gets_it_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("a.db");
        let held = StoreLock::take(&store).unwrap();
        let Err(OpenError::Locked { holder, .. }) = StoreLock::take(&store) else { panic!("taken twice") };
        assert_eq!(holder, format!("process {}", std::process::id()));
        drop(held);
        StoreLock::take(&store).unwrap();
    }
}
