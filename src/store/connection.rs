//! How connections are set up: one that writes, any number that read.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::error::OpenError;
use super::lock::beside;
use super::migration;

/// How long SQLite itself waits for a lock of another process before it reports one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Of new stores: several answers of a model fit in one page, so that little of it stays empty and a commit writes few.
const PAGE_BYTES: i64 = 8_192;

/// What stays of the WAL file once it was written back.
const WAL_KEPT_BYTES: i64 = 48 << 20;

/// The writer's page cache, in KiB (negative as SQLite wants it): the inner pages of all indexes stay in it.
const CACHE_KIB: i64 = -16_384;

/// When a commit counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On the disk before it is acknowledged.
    #[default]
    Full,
    /// Handed to the operating system: survives a kill of the process, not a loss of power. Only for stores that are
    /// thrown away.
    Off,
}

/// Makes the folder and gives the store's path without links, so that two spellings take one lock.
pub(super) fn place(path: &Path) -> Result<PathBuf, OpenError> {
    let Some(name) = path.file_name() else {
        return Err(OpenError::NotAStore { path: path.to_owned() });
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.exists() {
        fs::create_dir_all(folder).map_err(OpenError::io(path, "making the folder"))?;
        sync_upwards(folder).map_err(OpenError::io(path, "making the folder"))?;
    }
    if path.exists() {
        return path.canonicalize().map_err(OpenError::io(path, "finding the file"));
    }
    Ok(folder.canonicalize().map_err(OpenError::io(path, "finding the folder"))?.join(name))
}

/// New folders must outlive a loss of power before anything in them is acknowledged.
fn sync_upwards(folder: &Path) -> io::Result<()> {
    folder.canonicalize()?.ancestors().take(3).try_for_each(|level| File::open(level)?.sync_all())
}

/// Opens for writing, makes or migrates the schema.
pub(super) fn create(path: &Path, durability: Durability) -> Result<Connection, OpenError> {
    if !path.exists() {
        make(path, durability)?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(OpenError::sqlite(path))?;
    settle(&conn).map_err(OpenError::sqlite(path))?;
    let taken = migration::check(&conn, path)?;
    if taken == 0 {
        migration::reserve_auto_vacuum(&conn).map_err(OpenError::sqlite(path))?;
    }
    prepare_to_write(&conn, durability).map_err(OpenError::sqlite(path))?;
    migration::migrate(&mut conn, taken).map_err(OpenError::sqlite(path))?;
    Ok(conn)
}

/// Makes a new store under another name and renames it when it is whole: two waits for the disk instead of twelve, and
/// a crash leaves no half of a store.
fn make(path: &Path, durability: Durability) -> Result<(), OpenError> {
    let aside = beside(path, ".new");
    for left_over in [aside.clone(), beside(&aside, "-wal"), beside(&aside, "-shm")] {
        let _ = fs::remove_file(left_over);
    }
    fill(&aside).map_err(OpenError::sqlite(path))?;
    let synced = match durability {
        Durability::Full => File::open(&aside).and_then(|file| file.sync_all()),
        Durability::Off => Ok(()),
    };
    synced.and_then(|()| fs::rename(&aside, path)).map_err(OpenError::io(path, "making the file"))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(OpenError::io(path, "making the file"))
}

fn fill(aside: &Path) -> rusqlite::Result<()> {
    let mut conn = Connection::open(aside)?;
    conn.pragma_update(None, "page_size", PAGE_BYTES)?;
    migration::reserve_auto_vacuum(&conn)?;
    conn.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    migration::migrate(&mut conn, 0)?;
    conn.execute_batch("PRAGMA journal_mode = WAL")?;
    conn.close().map_err(|(_, error)| error)
}

/// Opens the file that was there a moment ago; never makes a new one.
pub(super) fn reopen(path: &Path, durability: Durability) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    settle(&conn)?;
    prepare_to_write(&conn, durability)?;
    Ok(conn)
}

/// What every connection keeps to. A plan of SQLite depends on no bound value: without that rule a statement with a bound
/// LIMIT is compiled anew each time it runs, which takes several times as long as running it.
fn settle(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn prepare_to_write(conn: &Connection, durability: Durability) -> rusqlite::Result<()> {
    // A file system that cannot share memory answers with another mode; FULL keeps that durable, only slower.
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        tracing::warn!(
            mode,
            "the store cannot use a write-ahead log here; readers and the writer will wait for each other"
        );
    }
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Off => "OFF",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    // Checkpoints are beside the commits, not inside.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
    conn.pragma_update(None, "cache_size", CACHE_KIB)?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Opens for reading what a daemon, running or dead, has written.
pub(super) fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    settle(&conn)?;
    migration::stand_in(&conn)?;
    Ok(conn)
}

/// Like [`read_only`], with a typed refusal of what is no store.
pub(super) fn read_only_checked(path: &Path) -> Result<Connection, OpenError> {
    if !path.exists() {
        return Err(OpenError::Missing { path: path.to_owned() });
    }
    let conn = read_only(path).map_err(OpenError::sqlite(path))?;
    if migration::check(&conn, path)? == 0 {
        return Err(OpenError::NotAStore { path: path.to_owned() });
    }
    Ok(conn)
}

/// The last event's place; 0 = there is none.
pub(super) fn head(conn: &Connection) -> rusqlite::Result<u64> {
    // SQLite's own note: the table's end is not read for it.
    let highest = conn.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'events'", [], |row| row.get(0));
    Ok(highest.optional()?.map_or(0, super::row::unsigned))
}

pub(super) fn store_id(conn: &Connection) -> rusqlite::Result<String> {
    conn.query_row("SELECT id FROM store", [], |row| row.get(0))
}

/// Which file a path leads to: device and number.
pub(super) type FileIdentity = (u64, u64);

pub(super) fn identity(path: &Path) -> io::Result<FileIdentity> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Writes the WAL back and empties its file, waiting so long for readers to let go of it; whether it is empty now.
pub(super) fn empty_wal(conn: &Connection, patience: Duration) -> rusqlite::Result<bool> {
    conn.busy_timeout(patience)?;
    let busy = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(busy? == 0)
}

/// Writes back what no reader is in the way of, and waits for nobody.
pub(super) fn write_back(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    /// How often a statement was compiled anew while it ran a few times.
    fn compiled_anew(conn: &Connection) -> i32 {
        conn.execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY)").unwrap();
        let mut some = conn.prepare("SELECT number FROM numbers WHERE number > ?1 LIMIT ?2").unwrap();
        for limit in 1..5 {
            assert!(!some.exists((0, limit)).unwrap());
        }
        some.get_status(StatementStatus::RePrepare)
    }

    #[test]
    fn a_statement_with_a_bound_limit_is_compiled_once() {
        let settled = Connection::open_in_memory().unwrap();
        settle(&settled).unwrap();
        assert_eq!(compiled_anew(&settled), 0);
        assert_ne!(compiled_anew(&Connection::open_in_memory().unwrap()), 0, "SQLite does it by itself by now");
    }
}
