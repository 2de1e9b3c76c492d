//! Messages from elsewhere, as far as the journal keeps them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What brought an event about that came from elsewhere; carried through to what is published of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The id of the event, as its sender names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Arc<str>>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Arc<str>>,
}

impl Cause {
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// A message that nobody can act on; its dead letter is made of this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    pub subject: Arc<str>,
    /// Names the field where one is at fault.
    pub reason: Arc<str>,
    /// Where it lay: a stream's name and the place in it.
    pub stream: Arc<str>,
    pub sequence: u64,
    /// As it came, in base64, cut to what fits into a dead letter.
    pub raw: Arc<str>,
    /// Of the whole message, in bytes.
    pub length: u64,
    /// Of the whole message, in lower-case hex.
    pub sha256: Arc<str>,
    #[serde(default, skip_serializing_if = "Cause::is_unknown")]
    pub cause: Cause,
}
