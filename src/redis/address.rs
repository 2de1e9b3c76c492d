//! Where the server is. It may hold a password, so that it never shows itself but by host and port.

use std::fmt;

use redis::{ConnectionInfo, IntoConnectionInfo};

/// `redis://` or `rediss://` (TLS), with user, password and database if need be. For TLS the process must have
/// installed a default provider of cryptography.
#[derive(Clone)]
pub struct Address(ConnectionInfo);

/// The text is not repeated: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address of the queue is not of the form redis[s]://[user:password@]host[:port][/database]: {why}")]
pub struct AddressError {
    why: String,
}

impl AddressError {
    pub(super) fn unusable() -> Self {
        Self { why: "it cannot be used".to_owned() }
    }
}

impl Address {
    /// Checks the form; nothing is asked of the network.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let wrong = |why: &str| AddressError { why: why.to_owned() };
        if !["redis://", "rediss://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(wrong("another scheme"));
        }
        text.into_connection_info().map(Self).map_err(|error| wrong(error.detail().unwrap_or("it cannot be read")))
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        self.0.clone()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0.addr(), f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let address = Address::parse("redis://someone:very-secret@queue.example:6380/2").unwrap();
        assert_eq!(
            (address.to_string(), format!("{address:?}")),
            ("queue.example:6380".to_owned(), "Address(queue.example:6380)".to_owned())
        );
        let wrong = Address::parse("http://someone:very-secret@queue.example").unwrap_err();
        assert!(!format!("{wrong} {wrong:?}").contains("very-secret"));
        let wrong = Address::parse("redis://someone:very-secret@queue.example:port").unwrap_err();
        assert!(!format!("{wrong} {wrong:?}").contains("very-secret"));
    }

    #[test]
    fn tls_is_asked_for_by_the_scheme() {
        let address = Address::parse("rediss://:very-secret@queue.example").unwrap();
        assert!(matches!(address.info().addr(), redis::ConnectionAddr::TcpTls { insecure: false, .. }));
    }
}
