//! Where each stream stands, remembered: a batch is checked without a read, as long as its streams were used lately.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use moothall_actors::domain::id::StreamId;
use rusqlite::{Connection, OptionalExtension as _};

use super::row::unsigned;

/// Streams in one generation. Two are kept: more than twice the open deliberations' streams.
const GENERATION: usize = 32_768;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its number in the table `streams`; `None` = it has no event yet.
    pub(super) id: Option<i64>,
    pub(super) version: u64,
}

/// Two generations: what is not used while the younger fills up is forgotten with the older.
#[derive(Debug, Default)]
pub(super) struct Streams {
    young: HashMap<StreamId, Standing>,
    old: HashMap<StreamId, Standing>,
}

impl Streams {
    /// Changing the standing is the caller's: it knows whether its transaction holds.
    pub(super) fn standing(&mut self, conn: &Connection, stream: &StreamId) -> rusqlite::Result<&mut Standing> {
        let vacant = match self.young.entry(stream.clone()) {
            Entry::Occupied(entry) => return Ok(entry.into_mut()),
            Entry::Vacant(entry) => entry,
        };
        let standing = match self.old.remove(stream) {
            Some(standing) => standing,
            None => read(conn, stream)?,
        };
        Ok(vacant.insert(standing))
    }

    /// Between batches, never inside one: a batch relies on what it noted.
    pub(super) fn trim(&mut self) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// A transaction was rolled back: what was noted in it is not so.
    pub(super) fn forget(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

fn read(conn: &Connection, stream: &StreamId) -> rusqlite::Result<Standing> {
    let mut statement = conn.prepare_cached(
        "SELECT id, (SELECT coalesce(max(version), 0) FROM events WHERE stream = streams.id) FROM streams WHERE name = ?1",
    )?;
    let found = statement
        .query_row([stream.as_str()], |row| Ok(Standing { id: Some(row.get(0)?), version: unsigned(row.get(1)?) }))
        .optional()?;
    Ok(found.unwrap_or_default())
}
