//! After any doubt, a look at the streams: what do they hold of what was sent?
//!
//! The newest checkpoint whose places the streams still show is the ground to stand on. From there the tails are read, and
//! what stands in them is not sent again. This holds however long ago it was sent: it does not lean on the server's
//! window for duplicates, which only covers what is under way at the very moment.
//!
//! | the place of a mark | means |
//! |---|---|
//! | holds its id | intact |
//! | is before the stream's first | aged out: intact, since sequences only rise |
//! | holds nothing, amid others | deleted by somebody: intact |
//! | holds another id, or is beyond the last | the server was set back |

use async_trait::async_trait;
use uuid::Uuid;

use super::super::cursor::{Checkpoint, Cursor, Mark};
use super::window::Ground;

/// What is asked of the streams.
#[async_trait]
pub(super) trait Streams: Send + Sync {
    /// `None` = there is no such stream.
    async fn extent(&self, stream: &str) -> Result<Option<Extent>, String>;
    /// The `Nats-Msg-Id` at one place.
    async fn at(&self, stream: &str, sequence: u64) -> Result<Found, String>;
    /// All ids after a place, up to the end that `extent` told.
    async fn tail(&self, stream: &str, after: u64, last: u64) -> Result<Vec<(u64, Uuid)>, String>;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// One more than `last` in an empty stream.
    pub(super) first: u64,
    pub(super) last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Id(Option<Uuid>),
    Nothing,
}

/// What the look came to.
#[derive(Debug)]
pub(super) struct Repair {
    pub(super) ground: Ground,
    /// The cursor without what does not hold.
    pub(super) cursor: Cursor,
    /// A stream was set back further than the trail goes.
    pub(super) beyond: Option<String>,
}

/// `wanted` are the streams that are published to; the cursor may know others.
pub(super) async fn look(streams: &dyn Streams, cursor: &Cursor, wanted: &[&str]) -> Result<Repair, String> {
    let extents = extents(streams, cursor, wanted).await?;
    let mut cursor = cursor.clone();
    let mut beyond = None;
    let base = loop {
        let Some(checkpoint) = cursor.trail.last() else { break Checkpoint::default() };
        let Some(broken) = broken(streams, checkpoint, &extents).await? else { break checkpoint.clone() };
        if cursor.trail.len() == 1 {
            // The oldest that can be asked for again; nothing proves what came before.
            beyond = Some(broken);
            let seq = checkpoint.seq;
            cursor.trail.clear();
            break Checkpoint { seq, ..Checkpoint::default() };
        }
        cursor.trail.pop();
    };
    let fresh = cursor.trail.is_empty() && beyond.is_none();
    let ground = ground(streams, base, extents, fresh).await?;
    Ok(Repair { ground, cursor, beyond })
}

type Extents = Vec<(String, Extent)>;

async fn extents(streams: &dyn Streams, cursor: &Cursor, wanted: &[&str]) -> Result<Extents, String> {
    let known = cursor.trail.iter().flat_map(|checkpoint| &checkpoint.marks).map(|mark| mark.stream.as_str());
    let names: std::collections::BTreeSet<&str> = wanted.iter().copied().chain(known).collect();
    let mut extents = Vec::with_capacity(names.len());
    for name in names {
        let extent = streams.extent(name).await?.unwrap_or(Extent { first: 1, last: 0 });
        extents.push((name.to_owned(), extent));
    }
    Ok(extents)
}

/// The first stream whose place does not hold any more.
async fn broken(streams: &dyn Streams, checkpoint: &Checkpoint, extents: &Extents) -> Result<Option<String>, String> {
    for mark in &checkpoint.marks {
        let extent = extents.iter().find(|(name, _)| *name == mark.stream).map(|(_, extent)| *extent);
        if !intact(streams, mark, extent.unwrap_or_default()).await? {
            return Ok(Some(mark.stream.clone()));
        }
    }
    Ok(None)
}

pub(super) async fn intact(streams: &dyn Streams, mark: &Mark, extent: Extent) -> Result<bool, String> {
    // A stream that ends before its tail would begin was set back, whoever wrote what is gone.
    if extent.last < mark.read_from {
        return Ok(false);
    }
    let Some(place) = mark.last else { return Ok(true) };
    if extent.last < place.sequence {
        return Ok(false);
    }
    if place.sequence < extent.first {
        return Ok(true);
    }
    Ok(match streams.at(&mark.stream, place.sequence).await? {
        Found::Id(id) => id == Some(place.event_id),
        Found::Nothing => true,
    })
}

/// `fresh` = nothing was ever published, so that nothing in the streams is ours.
async fn ground(streams: &dyn Streams, base: Checkpoint, extents: Extents, fresh: bool) -> Result<Ground, String> {
    let mut ground = Ground { seq: base.seq, ..Ground::default() };
    for (name, extent) in extents {
        let mark = base.marks.iter().find(|mark| mark.stream == name);
        let read_from = if fresh { extent.last } else { mark.map_or(0, |mark| mark.read_from) };
        if read_from < extent.last {
            let tail = streams.tail(&name, read_from, extent.last).await?;
            ground.present.extend(tail.into_iter().map(|(sequence, id)| (id, (name.clone(), sequence))));
        }
        if let Some(last) = mark.and_then(|mark| mark.last) {
            ground.last.insert(name.clone(), last);
        }
        ground.read_from.insert(name.clone(), read_from);
        ground.seen.insert(name, extent.last);
    }
    Ok(ground)
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
