//! Events in and out over NATS JetStream: the transport, and nothing of what events mean.
//!
//! ```text
//!             ┌─ connection ─ epoch, epoch, epoch … ─┐
//!             ▼                                      ▼
//!          streams (made where missing)           publisher ◀── Outbox ◀── journal
//!             │                                      │   repair, then at most one per key in flight
//!             ▼                                      ▼
//!          consumers ─ pull ─ envelope ─ Incoming   JetStream
//!             │
//!             └─▶ Inbox ─▶ Done, NotOurs: ack      Later: nak, 1 s → 60 s; the tenth is a dead letter
//!                          Rejected: dead letter, then term      Unavailable: kept in hand, pulling pauses
//! ```
//! What arrives is acknowledged only after its effect is durable, so that it may come twice: the inbox knows each by its
//! [`InboxKey`]. What goes out has its id as `Nats-Msg-Id`; after every doubt the streams' tails are read before
//! anything is sent again, so that it stands there once, even when the server was away for long or was set back.
//!
//! Nothing here stops the daemon's start: without a server the status says so, and all of it begins when there is one.

mod adapter;
mod check;
mod connection;
mod consumer;
mod cursor;
mod cut;
pub mod dead_letter;
mod envelope;
mod failures;
mod fields;
mod gate;
mod incoming;
pub mod outgoing;
mod phase;
mod port;
mod publisher;
mod settings;
mod status;
mod streams;
mod subject;

pub use adapter::{Drained, Nats};
pub use check::{CheckError, ConsumerFound, Found, Permission, Report, StreamFound, check};
pub use cursor::{Checkpoint, Cursor, Mark, Place};
pub use cut::sha256;
pub use dead_letter::dead_letter;
pub use envelope::PRODUCER;
pub use fields::FormatError;
pub use incoming::{
    AgentCompleted, AgentFailed, AgentProgress, ContextDecision, ContextMilestone, ContextUpdated, Incoming,
    PlanApproved, Said, StoryTransitioned,
};
pub use port::{Body, Delivery, Handled, Inbox, InboxKey, Origin, Outbox, Publication, Rejection, Unavailable};
pub use publisher::Speaker;
pub use settings::{Auth, Consume, Publish, Settings, SettingsError, Start, Tls};
pub use status::{Counts, Part, Status};
pub use subject::{CONSUMERS, ConsumerRow, DEAD_LETTERS, Kind, PUBLISHED_TO, STREAMS, StreamRow};
