//! Where a runner is: `grpc://host:port`, or `grpcs://host:port` with TLS.
//!
//! Read as the web address that it stands for, so that a host is understood, matched against patterns and connected to
//! in one and the same way.

use std::sync::Arc;

use url::{Position, Url};

/// One runner's address. Two that mean the same place are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerAddress {
    shown: Arc<str>,
    url: Url,
}

/// A text that is no address of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an address of a runner: {0}; write grpc://host:port, or grpcs://host:port for TLS")]
pub struct NotARunner(&'static str);

/// Whether a text is meant as a runner's address, right or wrong.
#[must_use]
pub fn is_runner(text: &str) -> bool {
    web_scheme(text).is_some()
}

/// The scheme that the connection has below gRPC, and what follows it.
fn web_scheme(text: &str) -> Option<(&'static str, &str)> {
    match text.split_once("://")? {
        ("grpc", rest) => Some(("http", rest)),
        ("grpcs", rest) => Some(("https", rest)),
        _ => None,
    }
}

impl RunnerAddress {
    /// Checks a client's or the configuration's text.
    pub fn parse(text: &str) -> Result<Self, NotARunner> {
        let Some((scheme, rest)) = web_scheme(text) else {
            return Err(NotARunner("it must begin with grpc:// or grpcs://"));
        };
        let url = Url::parse(&format!("{scheme}://{rest}")).map_err(|_| NotARunner("it names no host"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NotARunner("it may not hold a user or password"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(NotARunner("it may not have a path, query or fragment"));
        }
        // The web's default port goes without saying on the web; gRPC has none.
        let port = url.port_or_known_default().filter(|port| *port > 0).ok_or(NotARunner("its port is 0"))?;
        if url.port().is_none() && !rest.trim_end_matches('/').ends_with(&format!(":{port}")) {
            return Err(NotARunner("it names no port"));
        }
        let host = &url[Position::BeforeHost..Position::AfterHost];
        let shown = format!("{}://{host}:{port}", if scheme == "http" { "grpc" } else { "grpcs" });
        Ok(Self { shown: shown.into(), url })
    }

    /// As journals, messages and metrics show it.
    #[must_use]
    pub fn shown(&self) -> &Arc<str> {
        &self.shown
    }

    /// As host patterns are matched against it: `http` or `https` in the place of `grpc` or `grpcs`.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_in_one_way() {
        for (text, shown, url) in [
            ("grpc://LocalHost:7000", "grpc://localhost:7000", "http://localhost:7000/"),
            ("grpcs://agents.example.com:443/", "grpcs://agents.example.com:443", "https://agents.example.com/"),
            ("grpc://[::1]:80", "grpc://[::1]:80", "http://[::1]/"),
            ("grpc://2130706433:1", "grpc://127.0.0.1:1", "http://127.0.0.1:1/"),
        ] {
            let address = RunnerAddress::parse(text).unwrap();
            assert_eq!((&**address.shown(), address.url().as_str()), (shown, url), "{text}");
            assert_eq!(RunnerAddress::parse(address.shown()).unwrap(), address);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let bad = [
            "",
            "localhost:7000",
            "http://localhost:7000",
            "grpc://",
            "grpc://localhost",
            "grpcs://localhost",
            "grpc://:7000",
            "grpc://localhost:0",
            "grpc://localhost:70000",
            "grpc://user:hidden@localhost:7000",
            "grpc://localhost:7000/path",
            "grpc://allowed\\@evil:7000",
            "grpc://localhost:7000?a=1",
            "grpc://localhost:7000#a",
        ];
        for text in bad {
            let error = RunnerAddress::parse(text).unwrap_err().to_string();
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
