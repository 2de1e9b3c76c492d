//! The tables beside the journal, made anew from its events: for whoever doubts them, and after a change of their shape.
//!
//! In one transaction, with the store's lock held: whatever crashes, there are either the old rows or the new ones.

use std::path::Path;

use moothall_actors::ports::JournalError;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::connection::{self, Durability};
use super::error::{OpenError, ReadError, RebuildError};
use super::lock::StoreLock;
use super::projection::Projection;
use super::row::{StoredEvent, signed, unsigned};
use super::{Rebuilt, RebuiltTable};

/// What is made from events alone. Sums are not: they count what was pruned, too.
const TABLES: [&str; 6] = ["tasks", "queue", "councils", "workflows", "workflow_history", "feature_numbers"];

/// Events of what is just being deleted bring no row back.
const EVENTS: &str = "FROM events e CROSS JOIN streams s ON s.id = e.stream \
     WHERE NOT EXISTS (SELECT 1 FROM tombstones b WHERE b.stream = e.stream) ORDER BY e.seq";

/// Blocks for as long as the journal is big. `keep`: nothing is changed, it is only told what would be.
pub(super) fn rebuild(path: &Path, keep: bool) -> Result<Rebuilt, RebuildError> {
    let path = connection::place(path)?;
    if !path.exists() {
        return Err(OpenError::Missing { path }.into());
    }
    let _lock = StoreLock::take(&path)?;
    let mut conn = connection::create(&path, Durability::Full)?;
    Ok(in_place(&mut conn, keep).map_err(JournalError::from)?)
}

fn in_place(conn: &mut Connection, keep: bool) -> Result<Rebuilt, ReadError> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for table in TABLES {
        transaction.execute_batch(&format!("CREATE TEMP TABLE before_{table} AS SELECT * FROM main.{table}"))?;
        transaction.execute_batch(&format!("DELETE FROM main.{table}"))?;
    }
    let events = project(&transaction)?;
    let tables = TABLES.map(|table| compared(&transaction, table)).into_iter().collect::<Result<_, _>>()?;
    let rebuilt = Rebuilt { events, tables };
    match keep {
        true => transaction.rollback()?,
        false => transaction.commit()?,
    }
    Ok(rebuilt)
}

fn project(conn: &Transaction<'_>) -> Result<u64, ReadError> {
    // Its sums are left unsaved: they are right already.
    let mut projection = Projection::new(conn);
    let mut statement = conn.prepare(&format!("SELECT {} {EVENTS}", StoredEvent::COLUMNS))?;
    let mut rows = statement.query([])?;
    let mut events = 0;
    while let Some(row) = rows.next()? {
        let recorded = StoredEvent::read(row)?.decode()?;
        projection.apply(&recorded.stream, recorded.version, signed(recorded.seq), &recorded.event)?;
        events += 1;
    }
    Ok(events)
}

/// Rows that are there now, and those that were not there before in the same words.
fn compared(conn: &Transaction<'_>, table: &'static str) -> rusqlite::Result<RebuiltTable> {
    let count = |sql: String| conn.query_row(&sql, [], |row| row.get(0)).map(unsigned);
    let now = format!("SELECT * FROM main.{table}");
    let before = format!("SELECT * FROM before_{table}");
    Ok(RebuiltTable {
        table,
        rows: count(format!("SELECT count(*) FROM main.{table}"))?,
        new: count(format!("SELECT count(*) FROM ({now} EXCEPT {before})"))?,
        gone: count(format!("SELECT count(*) FROM ({before} EXCEPT {now})"))?,
    })
}
