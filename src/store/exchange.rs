//! What was taken in from elsewhere, and how far readers of every event have come: written in the transaction of the
//! events that belong to it.

use moothall_actors::domain::receipt::Receipt;
use moothall_actors::ports::Cursor;
use rusqlite::{Connection, OptionalExtension as _};

use super::row::{signed, unsigned};

/// Old receipts that each new one takes away: more than one, so that they become fewer after a flood.
const FORGOTTEN: i64 = 4;

pub(super) fn is_received(conn: &Connection, receipt: &Receipt) -> rusqlite::Result<bool> {
    let mut find = conn.prepare_cached("SELECT 1 FROM receipts WHERE key = ?1")?;
    for key in &receipt.keys {
        if find.exists([key.0])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes away some that nobody needs any more: those of messages that cannot come again at `now`.
pub(super) fn note(conn: &Connection, receipt: &Receipt, now: i64) -> rusqlite::Result<()> {
    let mut insert = conn.prepare_cached("INSERT OR IGNORE INTO receipts (key, until) VALUES (?1, ?2)")?;
    let until = i64::try_from(receipt.until.0).unwrap_or(i64::MAX);
    for key in &receipt.keys {
        insert.execute((key.0, until))?;
    }
    let mut forget = conn.prepare_cached(
        "DELETE FROM receipts WHERE key IN (SELECT key FROM receipts WHERE until < ?1 ORDER BY until LIMIT ?2)",
    )?;
    forget.execute((now, FORGOTTEN)).map(drop)
}

/// The place where pruning looks at it, and the rest beside it.
pub(super) fn save(conn: &Connection, cursor: &Cursor) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO cursors (name, seq) VALUES (?1, ?2)")?
        .execute((&*cursor.name, signed(cursor.seq)))?;
    conn.prepare_cached("INSERT OR REPLACE INTO cursor_states (name, state) VALUES (?1, ?2)")?
        .execute((&*cursor.name, &*cursor.state))
        .map(drop)
}

pub(super) fn cursor(conn: &Connection, name: &str) -> rusqlite::Result<Option<Cursor>> {
    let mut find =
        conn.prepare_cached("SELECT c.seq, s.state FROM cursors c JOIN cursor_states s USING (name) WHERE name = ?1")?;
    let found = find.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(found.map(|(seq, state)| Cursor { name: name.into(), seq: unsigned(seq), state }))
}

#[cfg(test)]
mod tests {
    use moothall_actors::domain::id::Timestamp;
    use moothall_actors::domain::receipt::ReceiptKey;

    use super::*;
    use crate::store::migration;

    fn migrated() -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        migration::migrate(&mut conn, 0).unwrap();
        conn
    }

    fn receipt(number: u64, until: u64) -> Receipt {
        Receipt { keys: vec![ReceiptKey::of(&[&number.to_string()])], until: Timestamp(until) }
    }

    #[test]
    fn receipts_are_forgotten_when_their_messages_cannot_come_again() {
        let conn = migrated();
        (0..40).for_each(|number| note(&conn, &receipt(number, 10), 0).unwrap());
        assert!(is_received(&conn, &receipt(7, 10)).unwrap());
        (100..110).for_each(|number| note(&conn, &receipt(number, 99), 11).unwrap());
        let left: i64 = conn.query_row("SELECT count(*) FROM receipts", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 10);
        assert!(!is_received(&conn, &receipt(7, 10)).unwrap());
    }

    #[test]
    fn a_cursor_is_found_as_it_was_saved_last() {
        let conn = migrated();
        assert_eq!(cursor(&conn, "outbox").unwrap(), None);
        for seq in [3, 9] {
            let saved = Cursor { name: "outbox".into(), seq, state: format!("at {seq}").into() };
            save(&conn, &saved).unwrap();
            assert_eq!(cursor(&conn, "outbox").unwrap(), Some(saved));
        }
    }
}
