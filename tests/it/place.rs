//! Where servers of these tests listen.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// The loopback address of this process alone, which is one test under nextest: a port that a server gave up is taken by
/// no other test's server, and by no connection.
pub(crate) fn own() -> Ipv4Addr {
    // A pid has 22 bits at most; one more keeps away from 127.0.0.1.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | high & 63, middle, low)
}

/// Any free port there.
pub(crate) fn any() -> SocketAddr {
    (own(), 0).into()
}

/// A free port there, at which nobody listens yet.
pub(crate) fn vacant() -> SocketAddr {
    TcpListener::bind(any()).unwrap().local_addr().unwrap()
}
