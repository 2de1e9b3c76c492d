//! The schema and its steps: `user_version` counts those that were taken, each in a transaction of its own.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use uuid::Uuid;

use super::error::OpenError;
use super::foreign;

/// One script per schema version, the first makes version 1. A released script never changes.
const SCRIPTS: [&str; 5] = [
    include_str!("migrations/0001_journal.sql"),
    include_str!("migrations/0002_retention.sql"),
    include_str!("migrations/0003_queue.sql"),
    include_str!("migrations/0004_exchange.sql"),
    include_str!("migrations/0005_workflows.sql"),
];

/// The step whose tables have the names of another program's.
const WORKFLOWS: usize = 4;

/// Marks the file as ours for `file` and for us: the letters `Moot`.
const APPLICATION_ID: i64 = 0x4d6f_6f74;

/// `PRAGMA auto_vacuum`: freed pages go back to the file system step by step.
const INCREMENTAL: i64 = 2;

/// Refuses what this program cannot read; the number of steps that were taken.
pub(super) fn check(conn: &Connection, path: &Path) -> Result<usize, OpenError> {
    let found = pragma(conn, "user_version").map_err(OpenError::sqlite(path))?;
    let owner = pragma(conn, "application_id").map_err(OpenError::sqlite(path))?;
    if found != 0 && owner != APPLICATION_ID {
        return Err(OpenError::NotAStore { path: path.to_owned() });
    }
    match usize::try_from(found) {
        Ok(taken) if taken <= SCRIPTS.len() => Ok(taken),
        _ => {
            let known = i64::try_from(SCRIPTS.len()).unwrap_or(i64::MAX);
            Err(OpenError::TooNew { path: path.to_owned(), found, known })
        }
    }
}

/// Takes the steps after those that were `taken`. A file with other tables, such as one of an older program, keeps
/// them, some under another name.
pub(super) fn migrate(conn: &mut Connection, taken: usize) -> rusqlite::Result<()> {
    SCRIPTS.iter().enumerate().skip(taken).try_for_each(|(step, script)| take_step(conn, step, script))
}

/// A connection that may change nothing reads an older store as if the later steps were taken: their tables, empty, for
/// this connection alone. Works for steps that only make tables.
pub(super) fn stand_in(conn: &Connection) -> rusqlite::Result<()> {
    let taken = usize::try_from(pragma(conn, "user_version")?).unwrap_or_default();
    // 0 = no store of ours: whoever reads it will be told.
    let missing = if taken == 0 { &[] } else { SCRIPTS.get(taken..).unwrap_or_default() };
    missing.iter().try_for_each(|script| conn.execute_batch(&script.replace("CREATE TABLE", "CREATE TEMP TABLE")))
}

/// Belongs to the first step, but takes effect only before the first write, or with a rewrite of the file.
pub(super) fn reserve_auto_vacuum(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && pragma(conn, "auto_vacuum")? != INCREMENTAL {
        conn.execute_batch("VACUUM")?;
    }
    Ok(())
}

fn take_step(conn: &mut Connection, step: usize, script: &str) -> rusqlite::Result<()> {
    let transaction = conn.transaction()?;
    if step == WORKFLOWS {
        foreign::set_aside(&transaction)?;
    }
    transaction.execute_batch(script)?;
    if step == 0 {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let created_at = i64::try_from(now).unwrap_or(i64::MAX);
        let id = Uuid::now_v7().to_string();
        transaction.execute("INSERT INTO store (one, id, created_at) VALUES (1, ?1, ?2)", (id, created_at))?;
    }
    transaction.pragma_update(None, "user_version", i64::try_from(step + 1).unwrap_or(i64::MAX))?;
    transaction.commit()
}

fn pragma(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migrated(conn: &mut Connection) -> Result<(), OpenError> {
        let taken = check(conn, Path::new("a.db"))?;
        migrate(conn, taken).map_err(OpenError::sqlite("a.db"))
    }

    fn store_id(conn: &Connection) -> String {
        conn.query_row("SELECT id FROM store", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_second_migration_changes_nothing() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrated(&mut conn).unwrap();
        let first = store_id(&conn);
        migrated(&mut conn).unwrap();
        assert_eq!(store_id(&conn), first);
        assert_eq!(pragma(&conn, "user_version").unwrap(), 5);
    }

    #[test]
    fn an_older_store_is_read_with_empty_tables_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut older = Connection::open(&path).unwrap();
        take_step(&mut older, 0, SCRIPTS[0]).unwrap();
        drop(older);
        let before = std::fs::read(&path).unwrap();
        let conn = super::super::connection::read_only(&path).unwrap();
        let buried: i64 = conn.query_row("SELECT count(*) FROM tombstones", [], |row| row.get(0)).unwrap();
        let rows: i64 = conn.query_row("SELECT tombstones FROM pruned", [], |row| row.get(0)).unwrap();
        assert_eq!((buried, rows), (0, 0));
        drop(conn);
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_file_of_another_program_is_refused_and_one_without_a_version_is_shared() {
        let mut other = Connection::open_in_memory().unwrap();
        other.pragma_update(None, "user_version", 3).unwrap();
        assert!(matches!(migrated(&mut other), Err(OpenError::NotAStore { .. })));
        let mut older = Connection::open_in_memory().unwrap();
        older.execute_batch("CREATE TABLE workflows (id TEXT); INSERT INTO workflows VALUES ('w-1')").unwrap();
        migrated(&mut older).unwrap();
        let kept: String = older.query_row("SELECT id FROM speckit_workflows", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, "w-1");
    }

    #[test]
    fn auto_vacuum_holds_for_a_new_file_and_for_one_with_tables() {
        let folder = tempfile::tempdir().unwrap();
        for (name, before) in [("new.db", ""), ("old.db", "CREATE TABLE workflows (id TEXT)")] {
            let mut conn = Connection::open(folder.path().join(name)).unwrap();
            conn.execute_batch(before).unwrap();
            reserve_auto_vacuum(&conn).unwrap();
            migrated(&mut conn).unwrap();
            assert_eq!(pragma(&conn, "auto_vacuum").unwrap(), INCREMENTAL, "{name}");
        }
    }
}
