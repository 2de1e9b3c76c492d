//! Where an agent's calls may go: a client that may name any address could make the daemon call inside hosts and send
//! them a task's texts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use moothall_actors::domain::council::{Endpoint, Sampling};
use moothall_actors::domain::problem::Problem;
use tonic::Status;
use url::{Position, Url};

use crate::config::HostPattern;
use crate::error::{Kind, refuse};
use crate::runner::{RunnerAddress, is_runner};

const MAX_URL_BYTES: usize = 2048;

/// `agents.allowed_endpoints`, and the hosts of the configured servers.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts(Vec<HostPattern>);

impl FromIterator<HostPattern> for AllowedHosts {
    fn from_iter<I: IntoIterator<Item = HostPattern>>(patterns: I) -> Self {
        Self(patterns.into_iter().collect())
    }
}

impl fmt::Display for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&if shown.is_empty() { "none".to_owned() } else { shown.join(", ") })
    }
}

/// A named model server or runner of the configuration (`model.profiles.<name>`). Its address is the operator's: always allowed.
#[derive(Clone, Debug)]
pub struct ModelProfile {
    /// [`Endpoint::Pool`] = the configured servers.
    pub endpoint: Endpoint,
    /// Empty = the configured model.
    pub model: Arc<str>,
    pub sampling: Sampling,
}

impl Default for ModelProfile {
    fn default() -> Self {
        Self { endpoint: Endpoint::Pool, model: "".into(), sampling: Sampling::default() }
    }
}

/// By name.
pub type ModelProfiles = BTreeMap<String, ModelProfile>;

/// What a client may name for an agent.
#[derive(Debug)]
pub(super) enum Address {
    Server(Url),
    Runner(RunnerAddress),
}

/// An agent's address, as a client wrote it.
pub(super) fn address(field: &str, text: &str) -> Result<Address, Problem> {
    if !is_runner(text) {
        return server_url(field, text).map(Address::Server);
    }
    match RunnerAddress::parse(text) {
        Ok(runner) if text.len() <= MAX_URL_BYTES => Ok(Address::Runner(runner)),
        Ok(_) => Err(Problem::new(field, format!("has {} bytes of at most {MAX_URL_BYTES}", text.len()))),
        Err(error) => Err(Problem::new(field, error.to_string())),
    }
}

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
pub(super) fn allowed(address: &Address, hosts: &AllowedHosts) -> Result<Endpoint, Status> {
    let (url, shown) = match address {
        Address::Server(url) => (url, &url[..Position::BeforePath]),
        Address::Runner(runner) => (runner.url(), &**runner.shown()),
    };
    if hosts.0.iter().any(|pattern| pattern.matches(url)) {
        return Ok(match address {
            Address::Server(url) => Endpoint::Url(url.as_str().trim_end_matches('/').into()),
            Address::Runner(runner) => Endpoint::Runner(runner.shown().clone()),
        });
    }
    let message = format!("{shown} is not among the hosts of agents.allowed_endpoints; these are: {hosts}");
    Err(refuse(Kind::WrongState, &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(patterns: &[&str]) -> AllowedHosts {
        patterns.iter().map(|pattern| pattern.parse().unwrap()).collect()
    }

    #[test]
    fn an_allowed_host_is_an_endpoint_and_no_other_is() {
        let allow = |patterns: &[&str], url: &str| allowed(&address("a", url).unwrap(), &hosts(patterns)).is_ok();
        assert!(allow(&["gpu:8000", "*.example.com"], "http://a.example.com/v1/"));
        assert!(allow(&["loopback"], "http://127.0.0.1:8000"));
        assert!(!allow(&["gpu:8000", "*.example.com"], "http://gpu:8001"));
        assert!(!allow(&[], "http://localhost"));
        assert!(allow(&["loopback"], "grpc://127.0.0.1:7000"));
        assert!(allow(&["agents:7000"], "grpcs://AGENTS:7000/"));
        assert!(!allow(&["agents:7000"], "grpcs://agents:7001"));
        assert!(!allow(&["loopback"], "grpc://localhost.evil.com:7000"));
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
        let hosts = hosts(&["localhost"]);
        let status = allowed(&address("a", "http://10.0.0.1:8000/secret").unwrap(), &hosts).unwrap_err();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert!(status.message().contains("agents.allowed_endpoints") && status.message().contains("localhost"));
        assert!(!status.message().contains("secret"));
    }
}
