//! The address of one server: what its requests look like from the outside.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use http::{HeaderValue, Uri};
use moothall_actors::domain::id::CallId;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::Url;

use super::http1::Request;
use super::request::Body;
use crate::config::Secret;

/// What is not visible ASCII, and the sign of an encoded byte itself.
const NOT_VISIBLE: AsciiSet = CONTROLS.add(b' ').add(b'%');

const AGENT: &str = concat!("moothall/", env!("CARGO_PKG_VERSION"));

/// Bytes enough for the usual call's name and the length of its body.
const ROOM_FOR_CALL: usize = 128;

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
    /// Heads of requests, as far as all have them in common.
    completion: Vec<u8>,
    list: Vec<u8>,
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
        let path = |end: &str| uri(format!("{prefix}/v1/{end}"));
        let host = HeaderValue::from_str(authority).map_err(|_| bad("its host cannot stand in a header"))?;
        let mut common = [b"host: ", host.as_bytes(), b"\r\nuser-agent: ", AGENT.as_bytes(), b"\r\n"].concat();
        if let Some(key) = &key {
            common.extend([b"authorization: ", bearer(key, &shown)?.as_bytes(), b"\r\n"].concat());
        }
        let head = |line: String| [line.as_bytes(), &common].concat();
        Ok(Self {
            origin: uri(format!("{}://{authority}/", url.scheme()))?,
            completion: head(format!(
                "POST {} HTTP/1.1\r\ncontent-type: application/json\r\n",
                path("chat/completions")?
            )),
            list: head(format!("GET {} HTTP/1.1\r\n", path("models")?)),
            key,
            shown,
        })
    }

    /// `x-moothall-call` names the call, so that the server's side can tell a repeated one.
    pub(crate) fn completion(&self, call: &CallId, body: Body) -> Request {
        let mut head = Vec::with_capacity(self.completion.len() + ROOM_FOR_CALL + body.front.len());
        head.extend_from_slice(&self.completion);
        head.extend_from_slice(b"x-moothall-call: ");
        // Writing to memory does not fail.
        let _ = write!(Visible(&mut head), "{call}");
        let _ = write!(head, "\r\ncontent-length: {}\r\n\r\n", body.len());
        head.extend_from_slice(&body.front);
        Request { front: head, shared: body.shared, back: body.back }
    }

    pub(crate) fn list(&self) -> Request {
        Request { front: [&self.list[..], b"\r\n"].concat(), shared: None, back: Vec::new() }
    }
}

/// Writes text as visible ASCII.
struct Visible<'a>(&'a mut Vec<u8>);

impl fmt::Write for Visible<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        utf8_percent_encode(text, &NOT_VISIBLE).for_each(|part| self.0.extend_from_slice(part.as_bytes()));
        Ok(())
    }
}

fn bearer(key: &Secret, shown: &str) -> Result<HeaderValue, BadTarget> {
    HeaderValue::from_str(&format!("Bearer {}", key.reveal())).map_err(|_| BadTarget::Key(shown.to_owned()))
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
            let head = String::from_utf8(target(base).unwrap().completion).unwrap();
            assert!(head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{base}: {head}");
            assert!(head.contains("\r\nhost: gpu:8000\r\n"), "{head}");
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
        let body = Body { front: b"{".into(), shared: Some("1".into()), back: b"}".into() };
        let request = target("http://gpu").unwrap().completion(&id, body);
        let end =
            "\r\nx-moothall-call: gr%C3%BC%C3%9F%20100%25/1/propose-0/agent-dev-001\r\ncontent-length: 3\r\n\r\n{1}";
        assert!(String::from_utf8(request.parts().concat()).unwrap().ends_with(end));
    }

    #[test]
    fn a_request_without_a_body_is_whole() {
        let key = Some(Secret::new("sk-1"));
        let list = Target::new(&Url::parse("http://gpu:1/a b/").unwrap(), key).unwrap().list();
        let head = format!(
            "GET /a%20b/v1/models HTTP/1.1\r\nhost: gpu:1\r\nuser-agent: {AGENT}\r\nauthorization: Bearer sk-1\r\n\r\n"
        );
        assert_eq!(String::from_utf8(list.parts().concat()).unwrap(), head);
    }

    #[test]
    fn a_key_that_could_add_headers_is_refused() {
        let key = Some(Secret::new("sk-1\r\nx: y"));
        let error = Target::new(&Url::parse("http://gpu").unwrap(), key).err().unwrap();
        assert_eq!(error, BadTarget::Key("http://gpu".into()));
    }
}
