//! Where an agent's calls may go: a client that may name any address could make the daemon call inside hosts and send
//! them a task's texts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use moothall_actors::domain::council::{Endpoint, Sampling};
use moothall_actors::domain::problem::Problem;
use tonic::Status;
use url::{Position, Url};

use crate::error::{Kind, refuse};

const MAX_URL_BYTES: usize = 2048;

/// `agents.allowed_endpoints`: `host`, `host:port`, `*.example.com`, each also with a port; `[::1]` for IPv6.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    #[must_use]
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Self {
        Self(patterns.into_iter().map(|pattern| pattern.trim().to_ascii_lowercase()).collect())
    }

    fn allow(&self, url: &Url) -> bool {
        let Some(host) = url.host_str().map(str::to_ascii_lowercase) else {
            return false;
        };
        let port = url.port_or_known_default();
        self.0.iter().any(|pattern| {
            let (name, wanted) = split_port(pattern);
            let same_host = match name.strip_prefix('*') {
                Some(suffix) => suffix.starts_with('.') && host.len() > suffix.len() && host.ends_with(suffix),
                None => name == host,
            };
            same_host && (wanted.is_none() || wanted == port)
        })
    }
}

impl fmt::Display for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&if self.0.is_empty() { "none".to_owned() } else { self.0.join(", ") })
    }
}

/// An IPv6 address has its colons in brackets.
fn split_port(pattern: &str) -> (&str, Option<u16>) {
    match pattern.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (pattern, None),
        },
        _ => (pattern, None),
    }
}

/// A named model server of the configuration (`model.profiles.<name>`). Its address is the operator's: always allowed.
#[derive(Clone, Debug, Default)]
pub struct ModelProfile {
    /// `None` = the configured servers.
    pub url: Option<Arc<str>>,
    /// Empty = the configured model.
    pub model: Arc<str>,
    pub sampling: Sampling,
}

/// By name.
pub type ModelProfiles = BTreeMap<String, ModelProfile>;

/// An OpenAI-compatible server's address, as a client wrote it.
pub(super) fn server_url(field: &str, text: &str) -> Result<Url, Problem> {
    let refuse = |what: &str| Err(Problem::new(field, format!("{what}; write http://host:port")));
    if text.len() > MAX_URL_BYTES {
        return refuse(&format!("has {} bytes of at most {MAX_URL_BYTES}", text.len()));
    }
    let Ok(url) = Url::parse(text) else {
        return refuse("is not a URL");
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return refuse("is not an http(s) URL with a host");
    }
    // It is journaled and shown: a key belongs into a profile of the configuration.
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("must not hold a user or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("must not have a query or fragment");
    }
    Ok(url)
}

/// The endpoint at this address, or FAILED_PRECONDITION when its host is not allowed.
pub(super) fn allowed(url: &Url, hosts: &AllowedHosts) -> Result<Endpoint, Status> {
    if hosts.allow(url) {
        return Ok(Endpoint::Url(url.as_str().trim_end_matches('/').into()));
    }
    let shown = &url[..Position::BeforePath];
    let message = format!("{shown} is not among the hosts of agents.allowed_endpoints; these are: {hosts}");
    Err(refuse(Kind::WrongState, &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(patterns: &[&str], url: &str) -> bool {
        AllowedHosts::new(patterns.iter().map(|&pattern| pattern.to_owned())).allow(&Url::parse(url).unwrap())
    }

    #[test]
    fn hosts_are_allowed_by_the_table() {
        let table = [
            (&["localhost"][..], "http://localhost:8000/v1", true),
            (&["LocalHost"], "http://LOCALHOST:8000", true),
            (&["localhost:8000"], "http://localhost:8000", true),
            (&["localhost:8000"], "http://localhost:8001", false),
            (&["models:80"], "http://models", true),
            (&["models:443"], "https://models", true),
            (&["[::1]"], "http://[::1]:9000", true),
            (&["[::1]:9000"], "http://[::1]:9000", true),
            (&["[::1]:9000"], "http://[::1]:9001", false),
            (&["127.0.0.1"], "http://2130706433", true),
            (&["127.0.0.1"], "http://127.0.0.2", false),
            (&["*.example.com"], "https://a.b.example.com", true),
            (&["*.example.com"], "https://example.com", false),
            (&["*.example.com"], "https://badexample.com", false),
            (&["*.example.com:8443"], "https://a.example.com:8443", true),
            (&["*"], "https://anything", false),
            (&["localhost"], "http://localhost.evil.com", false),
            (&[], "http://localhost", false),
        ];
        for (patterns, url, expected) in table {
            assert_eq!(allow(patterns, url), expected, "{patterns:?} {url}");
        }
    }

    #[test]
    fn an_address_must_be_plain_http() {
        for good in ["http://localhost:8000", "https://models.example.com/openai/v1/"] {
            assert!(server_url("endpoint", good).is_ok(), "{good}");
        }
        let long = format!("http://localhost/{}", "x".repeat(MAX_URL_BYTES));
        for bad in
            ["", "localhost:8000", "ftp://host", "http://", "http://u:p@host", "http://h/?k=1", "http://h/#f", &long]
        {
            assert!(server_url("endpoint", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refused_host_names_the_key_and_what_is_allowed() {
        let hosts = AllowedHosts::new(["localhost".to_owned()]);
        let status = allowed(&Url::parse("http://10.0.0.1:8000/secret").unwrap(), &hosts).unwrap_err();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert!(status.message().contains("agents.allowed_endpoints") && status.message().contains("localhost"));
        assert!(!status.message().contains("secret"));
    }
}
