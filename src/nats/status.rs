//! How it goes: connected or not, what is degraded and why, counts. A `watch`, so that asking costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;

use super::subject::{CONSUMERS, STREAMS};

/// What a report shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub connected: bool,
    /// Name and version of the server, once there was one.
    pub server: Option<String>,
    /// Empty when all is well.
    pub degraded: BTreeMap<Part, String>,
    /// Not yet looked at on this connection.
    pub settling: BTreeSet<Part>,
    pub counts: Counts,
}

impl Status {
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.connected && self.degraded.is_empty() && self.settling.is_empty()
    }
}

/// What can be degraded by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Connection,
    /// Too old, or without JetStream.
    Server,
    /// Missing and cannot be made, or without a subject.
    Stream(String),
    /// By the name of its row.
    Consumer(String),
    /// Journal or queue is down: pulling pauses.
    Inbox,
    /// The outbox cannot be read or its cursor not saved.
    Outbox,
    /// What is published may be there twice, or be missing.
    Publishing,
    /// What is published under it is refused, or waits.
    Subject(String),
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connection => f.write_str("connection"),
            Self::Server => f.write_str("server"),
            Self::Stream(name) => write!(f, "stream {name}"),
            Self::Consumer(name) => write!(f, "consumer {name}"),
            Self::Inbox => f.write_str("inbox"),
            Self::Outbox => f.write_str("outbox"),
            Self::Publishing => f.write_str("publishing"),
            Self::Subject(subject) => write!(f, "subject {subject}"),
        }
    }
}

/// Since the start of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that came about, the first one included.
    pub connects: u64,
    /// Messages taken in hand, again and again.
    pub received: u64,
    pub done: u64,
    pub not_ours: u64,
    pub rejected: u64,
    /// Own failed handlings.
    pub later: u64,
    /// Tries that found journal or queue down.
    pub unavailable: u64,
    pub published: u64,
    /// The server had it already.
    pub duplicates: u64,
    /// Found in the stream's tail, so not sent.
    pub found: u64,
    pub refused: u64,
    /// Looks at the streams' tails.
    pub repairs: u64,
}

/// Where the parts write; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Board(Arc<watch::Sender<Status>>);

impl Board {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Status::default())))
    }

    pub(super) fn watch(&self) -> watch::Receiver<Status> {
        self.0.subscribe()
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut Counts)) {
        self.0.send_modify(|status| add(&mut status.counts));
    }

    /// What was refused on the connection before may be allowed on this one.
    pub(super) fn connected(&self) {
        self.0.send_modify(|status| {
            status.connected = true;
            status.counts.connects += 1;
            status.degraded.retain(|part, _| !matches!(part, Part::Connection | Part::Subject(_)));
            status.settling = settling();
        });
    }

    pub(super) fn server(&self, server: String) {
        self.0.send_modify(|status| status.server = Some(server));
    }

    pub(super) fn disconnected(&self, why: &str) {
        self.0.send_modify(|status| {
            status.connected = false;
            status.degraded.insert(Part::Connection, why.to_owned());
        });
    }

    /// Logged once, when it begins or its reason changes.
    pub(super) fn degraded(&self, part: Part, why: impl Into<String>) {
        let why = why.into();
        self.0.send_if_modified(|status| {
            let settled = status.settling.remove(&part);
            let new = status.degraded.get(&part) != Some(&why);
            if new {
                tracing::warn!(part = %part, why, "NATS is degraded");
                status.degraded.insert(part, why);
            }
            new || settled
        });
    }

    pub(super) fn well(&self, part: &Part) {
        self.0.send_if_modified(|status| {
            let settled = status.settling.remove(part);
            let was = status.degraded.remove(part).is_some();
            if was {
                tracing::info!(part = %part, "NATS is no longer degraded");
            }
            was || settled
        });
    }
}

/// What has to be looked at on every new connection.
fn settling() -> BTreeSet<Part> {
    let streams = STREAMS.iter().map(|row| Part::Stream(row.name.into()));
    let consumers = CONSUMERS.iter().map(|row| Part::Consumer(row.durable.into()));
    streams.chain(consumers).chain([Part::Server, Part::Publishing]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_degrades_is_named_until_it_is_well() {
        let board = Board::new();
        let status = board.watch();
        board.connected();
        // Connected is not yet well.
        assert!(!status.borrow().is_well());
        settling().iter().for_each(|part| board.well(part));
        assert!(status.borrow().is_well());
        board.degraded(Part::Stream("CONTEXT".into()), "no");
        assert!(!status.borrow().is_well());
        board.well(&Part::Stream("CONTEXT".into()));
        assert!(status.borrow().is_well());
        board.disconnected("gone");
        assert!(!status.borrow().connected && !status.borrow().is_well());
    }

    #[test]
    fn the_same_trouble_again_is_no_news() {
        let board = Board::new();
        board.degraded(Part::Inbox, "down");
        let mut status = board.watch();
        status.borrow_and_update();
        board.degraded(Part::Inbox, "down");
        assert!(!status.has_changed().unwrap());
    }
}
