//! HTTP/1.1 to model servers: one request at a time on a connection, driven by the call that waits for its answer.
//!
//! ```text
//! Pool ─▶ Wire (a kept one, or Connector opens) ─▶ request ─▶ Head ─▶ Reply ─▶ pieces of the body ─▶ Pool
//!                                                    dropped anywhere: the socket closes, the server stops generating
//! ```
//!
//! A deliberation's model calls are the largest part of its work here, and a general client does for each of them what
//! this one need not: its own task or queue for a connection, a map of headers, a channel for the body. Sockets, names
//! and TLS come from `hyper-util` and `hyper-rustls`, the syntax of heads and chunks from `httparse`.

mod connector;
mod framing;
mod pool;
mod reply;
mod wire;

use std::sync::Arc;

pub(crate) use connector::Connector;
pub(crate) use pool::Pool;
pub(crate) use reply::Reply;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request as it goes out, head and body, in parts so that what several have in common need not be copied. Its head
/// may hold a key: it is never shown.
pub(crate) struct Request {
    pub(crate) front: Vec<u8>,
    /// Of the body, where requests have it in common.
    pub(crate) shared: Option<Arc<str>>,
    pub(crate) back: Vec<u8>,
}

impl Request {
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        [&self.front, self.shared.as_deref().unwrap_or_default().as_bytes(), &self.back]
    }
}

/// Why no whole answer came over the wire.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("cannot connect: {0}")]
    Connect(#[source] BoxError),
    /// A kept connection was closed before it brought a byte: the request is safe to send again at once.
    #[error("the server closed the idle connection")]
    Stale,
    #[error("connection lost: {0}")]
    Lost(#[source] std::io::Error),
    #[error("connection lost")]
    Cut,
    #[error("the answer is no HTTP: {0}")]
    Garbled(&'static str),
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}
