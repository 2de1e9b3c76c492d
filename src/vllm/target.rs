//! The address of one server: what its requests look like from the outside.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use moothall_actors::domain::id::CallId;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::Url;

use crate::config::Secret;

/// Names the call, so that the server's side can tell a repeated one.
pub(crate) const CALL_HEADER: HeaderName = HeaderName::from_static("x-moothall-call");

/// What is not visible ASCII, and the sign of an encoded byte itself.
const NOT_VISIBLE: AsciiSet = CONTROLS.add(b' ').add(b'%');

const AGENT: HeaderValue = HeaderValue::from_static(concat!("moothall/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An address or key that no request can be sent with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("{0} is not an address of a model server: {1}")]
    Address(String, &'static str),
    #[error("the key for {0} has characters that no header can carry")]
    Key(String),
}

pub(crate) struct Target {
    /// Without what an address may hide; for messages and metrics.
    pub(crate) shown: String,
    /// Where to connect to.
    pub(crate) origin: Uri,
    pub(crate) key: Option<Secret>,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    completions: Uri,
    models: Uri,
}

impl Target {
    pub(crate) fn new(url: &Url, key: Option<Secret>) -> Result<Self, BadTarget> {
        let shown = shown(url);
        let bad = |why| BadTarget::Address(shown.clone(), why);
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("it must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it may not hold a user or password; configure a key instead"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it may not have a query or fragment"));
        }
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        if authority.is_empty() {
            return Err(bad("it names no host"));
        }
        let prefix = url.path().trim_end_matches('/');
        let prefix = prefix.strip_suffix("/v1").unwrap_or(prefix);
        let uri = |text: String| text.parse::<Uri>().map_err(|_| bad("it cannot stand in a request"));
        let authorization = key.as_ref().map(|key| bearer(key, &shown)).transpose()?;
        Ok(Self {
            origin: uri(format!("{}://{authority}/", url.scheme()))?,
            host: HeaderValue::from_str(authority).map_err(|_| bad("its host cannot stand in a header"))?,
            completions: uri(format!("{prefix}/v1/chat/completions"))?,
            models: uri(format!("{prefix}/v1/models"))?,
            key,
            authorization,
            shown,
        })
    }

    pub(crate) fn completion(&self, call: &CallId, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = self.request(Method::POST, &self.completions, body);
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        let id = call.to_string();
        let encoded = match Cow::from(utf8_percent_encode(&id, &NOT_VISIBLE)) {
            Cow::Borrowed(_) => id,
            Cow::Owned(encoded) => encoded,
        };
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(encoded)) {
            request.headers_mut().insert(CALL_HEADER, value);
        }
        request
    }

    pub(crate) fn list(&self) -> Request<Full<Bytes>> {
        self.request(Method::GET, &self.models, Bytes::new())
    }

    fn request(&self, method: Method, uri: &Uri, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.reserve(5);
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, AGENT);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }
}

fn bearer(key: &Secret, shown: &str) -> Result<HeaderValue, BadTarget> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {}", key.reveal())).map_err(|_| BadTarget::Key(shown.to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn shown(url: &Url) -> String {
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    format!("{}://{host}{}", url.scheme(), url.path().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vllm::tests::call;

    fn target(url: &str) -> Result<Target, BadTarget> {
        Target::new(&Url::parse(url).unwrap(), None)
    }

    #[test]
    fn base_addresses_come_with_and_without_v1() {
        for (base, path) in [
            ("http://gpu:8000", "/v1/chat/completions"),
            ("http://gpu:8000/v1", "/v1/chat/completions"),
            ("http://gpu:8000/v1/", "/v1/chat/completions"),
            ("http://gpu:8000/models/a", "/models/a/v1/chat/completions"),
            ("http://gpu:8000/models/a/v1", "/models/a/v1/chat/completions"),
        ] {
            let target = target(base).unwrap();
            assert_eq!(target.completions.path(), path, "{base}");
            assert_eq!(target.host, "gpu:8000");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for bad in ["ftp://gpu", "http://user:hidden@gpu", "http://gpu/?a=1", "unix:/tmp/x"] {
            let error = target(bad).err().unwrap().to_string();
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn a_call_is_named_in_visible_ascii() {
        let mut id = call("propose").id;
        id.run.task = moothall_actors::domain::id::TaskId::parse("task", "grüß 100%").unwrap();
        let request = target("http://gpu").unwrap().completion(&id, Bytes::new());
        assert_eq!(request.headers()[CALL_HEADER], "gr%C3%BC%C3%9F%20100%25/1/propose-0/agent-dev-001");
    }
}
