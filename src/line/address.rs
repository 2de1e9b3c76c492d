//! Where a gRPC service is: `host:port`, `http://host:port`, or `https://host:port` with TLS.

use std::sync::Arc;

use tonic::transport::Uri;

/// Two that mean the same place are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddress {
    shown: Arc<str>,
    is_tls: bool,
}

/// A text that is no address of a service. It does not repeat the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an address of a gRPC service: {0}; write host:port, http://host:port, or https://host:port for TLS")]
pub struct NoAddress(&'static str);

impl ServiceAddress {
    /// Reads an address; `None` = empty, which means off.
    pub fn parse(text: &str) -> Result<Option<Self>, NoAddress> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let (is_tls, rest) = scheme(text)?;
        let place = rest.strip_suffix('/').unwrap_or(rest);
        if place.contains('@') {
            return Err(NoAddress("it may not hold a user or password"));
        }
        if place.contains(['/', '?', '#']) {
            return Err(NoAddress("it may not have a path, query or fragment"));
        }
        let uri: Uri = place.parse().map_err(|_| NoAddress("it names no host"))?;
        let authority = uri.authority().ok_or(NoAddress("it names no port"))?;
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() || host == "[]" {
            return Err(NoAddress("it names no host"));
        }
        // gRPC has no port that goes without saying.
        let port =
            authority.port_u16().filter(|port| *port > 0).ok_or(NoAddress("it names no port from 1 to 65535"))?;
        let web = if is_tls { "https" } else { "http" };
        Ok(Some(Self { shown: format!("{web}://{host}:{port}").into(), is_tls }))
    }

    /// As messages show it, and as it is connected to.
    #[must_use]
    pub fn shown(&self) -> &Arc<str> {
        &self.shown
    }

    /// `host:port`.
    #[must_use]
    pub fn place(&self) -> &str {
        self.shown.split_once("://").map_or(&self.shown, |(_, place)| place)
    }

    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }
}

fn scheme(text: &str) -> Result<(bool, &str), NoAddress> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok((false, text)) };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok((false, rest)),
        "https" => Ok((true, rest)),
        _ => Err(NoAddress("its scheme is neither http nor https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_in_one_way() {
        for (text, shown, is_tls) in [
            ("context:50054", "http://context:50054", false),
            (" LocalHost:50054\n", "http://localhost:50054", false),
            ("HTTP://context:80/", "http://context:80", false),
            ("https://context.example.com:443", "https://context.example.com:443", true),
            ("[::1]:50054", "http://[::1]:50054", false),
            ("127.0.0.1:1", "http://127.0.0.1:1", false),
        ] {
            let address = ServiceAddress::parse(text).unwrap().unwrap();
            assert_eq!((&**address.shown(), address.is_tls()), (shown, is_tls), "{text}");
            assert!(shown.ends_with(&format!("://{}", address.place())), "{text}");
            assert_eq!(ServiceAddress::parse(address.shown()).unwrap(), Some(address));
        }
    }

    #[test]
    fn empty_means_off() {
        assert_eq!(ServiceAddress::parse("").unwrap(), None);
        assert_eq!(ServiceAddress::parse("  ").unwrap(), None);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "context",
            "http://context",
            "http://",
            ":50054",
            "[]:50054",
            "[::1",
            "context:",
            "context:0",
            "context:70000",
            "context:50054x",
            "grpc://context:50054",
            "unix:///run/context",
            "http://user:hidden@context:50054",
            "context:50054/path",
            "context:50054?a=1",
            "context:50054#a",
            "two words:50054",
        ] {
            let error = ServiceAddress::parse(text).unwrap_err().to_string();
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
