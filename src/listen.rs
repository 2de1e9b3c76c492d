//! Listening sockets, as all servers of this program open them.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted; the system may allow fewer (`net.core.somaxconn`). With the usual 128 a
/// fleet that connects at once overflows it, and whoever does not fit tries again after a whole second.
const BACKLOG: u32 = 4_096;

/// Listens on one address.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
