//! Where each stream stands, remembered: a batch is checked without a read, as long as its streams were used lately.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use moothall_actors::domain::id::StreamId;
use rusqlite::{Connection, OptionalExtension as _};

use super::row::unsigned;

/// Streams in one generation. Two are kept: more than twice the open deliberations' streams.
const GENERATION: usize = 32_768;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its number in the table `streams`.
    pub(super) id: i64,
    pub(super) version: u64,
    /// Its name was not there before.
    pub(super) new: bool,
    /// What it held is gone and only a tombstone is left: nobody writes to it any more.
    pub(super) pruned: bool,
}

/// Two generations: what is not used while the younger fills up is forgotten with the older.
#[derive(Debug, Default)]
pub(super) struct Streams {
    young: HashMap<StreamId, Standing>,
    old: HashMap<StreamId, Standing>,
}

impl Streams {
    /// Changing the standing is the caller's: it knows whether its transaction holds. `None` = there is no such stream.
    pub(super) fn standing(&mut self, conn: &Connection, stream: &StreamId) -> rusqlite::Result<Option<&mut Standing>> {
        self.find(stream, || read(conn, stream))
    }

    /// For a stream that should have no event yet. It gets its number at once: most are really new, and looking first
    /// would be another search.
    pub(super) fn standing_of_new(
        &mut self,
        conn: &Connection,
        stream: &StreamId,
    ) -> rusqlite::Result<Option<&mut Standing>> {
        self.find(stream, || match add(conn, stream)? {
            None => read(conn, stream),
            added => Ok(added),
        })
    }

    fn find(
        &mut self,
        stream: &StreamId,
        ask: impl FnOnce() -> rusqlite::Result<Option<Standing>>,
    ) -> rusqlite::Result<Option<&mut Standing>> {
        let vacant = match self.young.entry(stream.clone()) {
            Entry::Occupied(entry) => return Ok(Some(entry.into_mut())),
            Entry::Vacant(entry) => entry,
        };
        let standing = match self.old.remove(stream) {
            None => ask()?,
            remembered => remembered,
        };
        Ok(standing.map(|standing| vacant.insert(standing)))
    }

    /// Between batches, never inside one: a batch relies on what it noted.
    pub(super) fn trim(&mut self) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// What is known of one stream is not so any more.
    pub(super) fn forget_one(&mut self, stream: &StreamId) {
        self.young.remove(stream);
        self.old.remove(stream);
    }

    /// A transaction was rolled back: what was noted in it is not so.
    pub(super) fn forget(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

/// `None` = its name is there already.
fn add(conn: &Connection, stream: &StreamId) -> rusqlite::Result<Option<Standing>> {
    let mut insert = conn.prepare_cached("INSERT INTO streams (name) VALUES (?1) ON CONFLICT (name) DO NOTHING")?;
    let added = insert.execute([stream.as_str()])? > 0;
    Ok(added.then(|| Standing { id: conn.last_insert_rowid(), version: 0, new: true, pruned: false }))
}

fn read(conn: &Connection, stream: &StreamId) -> rusqlite::Result<Option<Standing>> {
    let mut statement = conn.prepare_cached(
        "SELECT id, (SELECT max(version) FROM events WHERE stream = streams.id), \
         (SELECT version FROM tombstones WHERE stream = streams.id) FROM streams WHERE name = ?1",
    )?;
    statement
        .query_row([stream.as_str()], |row| {
            let (version, buried): (Option<i64>, Option<i64>) = (row.get(1)?, row.get(2)?);
            let version = unsigned(buried.or(version).unwrap_or(0));
            Ok(Standing { id: row.get(0)?, version, new: false, pruned: buried.is_some() })
        })
        .optional()
}
