//! What the daemon gives to this adapter: an inbox for what arrives and an outbox of what goes out.
//!
//! Both are small and know nothing of NATS beyond a stream's name and a sequence, so that the journal can stand behind
//! them, and a test's fake as well.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use super::cursor::Cursor;
use super::incoming::Incoming;

/// Journal or queue cannot be reached now. It is tried again; nothing is lost and nothing counted.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct Unavailable {
    pub why: String,
}

impl Unavailable {
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }
}

/// Where what arrives goes. Calls come from many tasks at once. Those of one subject row ([`super::CONSUMERS`]) about one
/// story or task come one after the other, as the server delivers them: in the order of the stream, but what is delivered
/// again comes after what was newer, as does what was answered with [`Handled::Later`]. Effects must not lean on order.
#[async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// Makes the effect durable, once per [`InboxKey`]: the same delivery can come again, also after `Done`. A panic counts
    /// as [`Handled::Later`]. It may be dropped at any await, when the daemon's time to drain is up.
    async fn receive(&self, delivery: Delivery) -> Handled;

    /// Journals a rejection and puts its dead letter into the outbox ([`super::dead_letter`]), once per [`InboxKey`].
    /// Only after `Ok` is the message terminated; until then, also after a panic, it stays in hand, pulling pauses and this
    /// is asked again.
    async fn rejected(&self, rejection: Rejection) -> Result<(), Unavailable>;
}

/// What goes out, in the order of the journal.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// The cursor that was saved last; `None` = nothing was ever published.
    async fn cursor(&self) -> Result<Option<Cursor>, Unavailable>;

    /// At most `limit` publications with a higher seq, in order; fewer only where there are no more now. The same ones
    /// are asked for again after a repair, back to the oldest checkpoint of the saved cursor.
    async fn next(&self, after_seq: u64, limit: usize) -> Result<Vec<Publication>, Unavailable>;

    /// Keeps the cursor instead of the one before.
    async fn saved(&self, cursor: Cursor) -> Result<(), Unavailable>;

    /// Journals that this one will never go out. [`Self::next`] does not bring it again: later ones of its key are out.
    async fn refused(&self, seq: u64, why: &str) -> Result<(), Unavailable>;

    /// Changes when there is more to publish; the value is the journal's head.
    fn news(&self) -> watch::Receiver<u64>;
}

/// A message's identity at the server. Sequences alone do not do: after a rollback of its data a server gives them again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InboxKey {
    pub stream: String,
    pub sequence: u64,
    /// When the server took it, in nanoseconds since 1970.
    pub published_ns: i64,
}

/// Where a message comes from and what it belongs to, as far as it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its own id: the envelope's `idempotency_key`, else the header `Nats-Msg-Id`. Foreign: no proof of a duplicate.
    pub event_id: Option<String>,
    /// The id of the event that caused it.
    pub causation_id: Option<String>,
    pub correlation_id: Option<String>,
    /// W3C trace context, as it came in the header.
    pub traceparent: Option<String>,
    /// The service that sent it.
    pub producer: Option<String>,
}

/// One message, understood.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub key: InboxKey,
    pub subject: String,
    pub incoming: Incoming,
    pub origin: Origin,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handled {
    /// The effect is durable: acknowledged.
    Done,
    /// Somebody else's: acknowledged.
    NotOurs,
    /// Its content is wrong in a way that only its meaning shows: dead letter, terminated.
    Rejected { reason: String },
    /// Our own handling failed: again after 1 s, 2 s … 60 s; the tenth time it becomes a dead letter. What is newer of
    /// the same story is handled meanwhile.
    Later { why: String },
    /// Journal or queue is down: it stays in hand, pulling pauses, it is tried again and not counted.
    Unavailable { why: String },
}

/// A message that will never be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub key: InboxKey,
    pub subject: String,
    /// Names the field where one is at fault.
    pub reason: String,
    /// As it came, cut to what fits into a dead letter.
    pub raw: Bytes,
    /// Of the whole message, in bytes.
    pub length: u64,
    /// Of the whole message, in lower-case hex.
    pub sha256: String,
    pub origin: Origin,
}

/// One event on its way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Its place in the journal; rising, with gaps.
    pub seq: u64,
    /// `Nats-Msg-Id`, and the envelope's `idempotency_key`.
    pub event_id: Uuid,
    pub subject: String,
    /// Publications of one key go out one after the other: the task, or the story ([`super::outgoing::Outgoing`] knows).
    pub ordering_key: String,
    pub body: Body,
    pub correlation_id: Option<String>,
    pub causation_id: Option<String>,
    pub traceparent: Option<String>,
    /// When it happened.
    pub time: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A JSON object; goes out in the envelope unless the settings say bare.
    Event(serde_json::Value),
    /// Bytes that go out as they are, with headers: a dead letter.
    Raw { bytes: Bytes, headers: Vec<(String, String)> },
}
