//! What went wrong in one request to an outside hub, and whether it is tried again: the one table of that.

use std::time::Duration;

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::config::{HIDDEN, Secret};
use crate::vllm::{retry_after, root};

/// Longest quote of a body that says nothing in a form that is known, in characters.
const EXCERPT: usize = 500;
/// Longest error that a hub states, in characters: it stands in the workflow, and in every answer about it.
const STATED: usize = 4_000;

/// A request that brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) may_retry: bool,
    /// As the hub wants it.
    pub(super) retry_after: Option<Duration>,
}

impl Fault {
    /// It would be the same again.
    pub(super) fn lasting(what: impl Into<String>) -> Self {
        Self { what: what.into(), may_retry: false, retry_after: None }
    }

    /// The connection was not made, or broke before the answer was whole.
    pub(super) fn lost(error: &reqwest::Error) -> Self {
        let cause = root(error);
        if error.is_builder() {
            return Self::lasting(format!("the request cannot be made: {cause}"));
        }
        let what = match error.is_connect() {
            true => format!("cannot connect: {cause}"),
            false => format!("the connection was lost: {cause}"),
        };
        Self { may_retry: true, ..Self::lasting(what) }
    }

    /// Any status but success.
    pub(super) fn status(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        if status.is_redirection() {
            let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
            let to = quote(to);
            let what = format!("status {status} to {to}; redirects are not followed, name that address instead");
            return Self::lasting(what);
        }
        let said = said(body).unwrap_or_else(|| quote(&String::from_utf8_lossy(body)));
        let what = if said.is_empty() { format!("status {status}") } else { format!("status {status}: {said}") };
        let may_retry = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        Self { what, may_retry, retry_after: retry_after(headers) }
    }

    /// Without the key, should the hub have repeated it.
    pub(super) fn without(self, key: Option<&Secret>) -> Self {
        match key.filter(|key| !key.is_empty()) {
            Some(key) => Self { what: self.what.replace(key.reveal(), HIDDEN), ..self },
            None => self,
        }
    }
}

/// What a body says of an error: in `error`, else in `detail`.
pub(super) fn said(body: &[u8]) -> Option<String> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let detail = &json["detail"];
    stated(&json["error"]).or_else(|| stated(&detail["error"])).or_else(|| stated(detail)).or_else(|| listed(detail))
}

/// A text, or an object's `message`.
fn stated(error: &Value) -> Option<String> {
    let text = error.as_str().or_else(|| error["message"].as_str())?;
    Some(line(text, STATED)).filter(|text| !text.is_empty())
}

/// A list's `msg`s.
fn listed(detail: &Value) -> Option<String> {
    let told: Vec<&str> = detail.as_array()?.iter().filter_map(|entry| entry["msg"].as_str()).collect();
    (!told.is_empty()).then(|| line(&told.join("; "), STATED))
}

/// A short piece of what came.
pub(super) fn quote(text: &str) -> String {
    line(text, EXCERPT)
}

/// On one line, printable, at most so many characters.
fn line(text: &str, most: usize) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::*;

    fn status(code: u16, body: &str) -> Fault {
        Fault::status(StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn errors_are_read_in_every_form() {
        for (body, said) in [
            (r#"{"error": "no agent"}"#, "no agent"),
            (r#"{"error": {"code": "X", "message": "no agent"}, "detail": "other"}"#, "no agent"),
            (r#"{"detail": {"error": "no agent"}}"#, "no agent"),
            (r#"{"detail": {"error": {"message": "no agent"}}}"#, "no agent"),
            (r#"{"error": null, "detail": "no agent"}"#, "no agent"),
            (r#"{"error": "", "detail": {"message": "no agent"}}"#, "no agent"),
            (
                r#"{"detail": [{"loc": ["body"], "msg": "field required"}, {"msg": "too long"}]}"#,
                "field required; too long",
            ),
            (r#"{"other": 1}"#, r#"{"other": 1}"#),
            ("<h1>no\n agent</h1>", "<h1>no agent</h1>"),
            ("[1]", "[1]"),
        ] {
            assert_eq!(status(400, body).what, format!("status 400 Bad Request: {said}"), "{body}");
        }
        assert_eq!(status(404, "").what, "status 404 Not Found");
    }

    #[test]
    fn only_too_many_requests_and_a_failing_server_are_tried_again() {
        for (code, may_retry) in [(429, true), (500, true), (503, true), (400, false), (401, false), (408, false)] {
            assert_eq!(status(code, "x").may_retry, may_retry, "{code}");
        }
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "2".parse().unwrap())]);
        let busy = Fault::status(StatusCode::TOO_MANY_REQUESTS, &headers, b"");
        assert_eq!(busy.retry_after, Some(Duration::from_secs(2)));
        let headers = HeaderMap::from_iter([(LOCATION, "http://b/".parse().unwrap())]);
        let moved = Fault::status(StatusCode::TEMPORARY_REDIRECT, &headers, b"");
        assert!(!moved.may_retry && moved.what.contains("to http://b/; redirects are not followed"), "{}", moved.what);
    }

    #[test]
    fn what_is_said_is_cut_and_holds_no_key() {
        let text = status(500, &"ä".repeat(600)).what;
        assert_eq!(text.chars().filter(|c| *c == 'ä').count(), EXCERPT);
        let long = format!(r#"{{"error": "{}"}}"#, "b".repeat(5_000));
        assert_eq!(said(long.as_bytes()).unwrap().chars().count(), STATED + 1);
        let key = Secret::new("sk-1");
        assert_eq!(status(401, "bad key sk-1").without(Some(&key)).what, "status 401 Unauthorized: bad key ***");
        assert_eq!(status(401, "bad").without(Some(&Secret::default())).what, "status 401 Unauthorized: bad");
    }
}
