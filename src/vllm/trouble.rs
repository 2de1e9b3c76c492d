//! What went wrong in one request, and what follows from it: the one table of what is tried again.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use moothall_actors::domain::answer::{Class, Failure};
use serde_json::Value;

use super::breaker::Standing;
use super::http1::WireError;
use super::response::Unusable;

/// Longest quote of what a server said, in characters.
const EXCERPT: usize = 200;

/// Whether the same call may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Never,
    /// It is as if it had not been sent.
    AtOnce,
    /// After a wait.
    Later,
}

/// A request that brought no answer.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) class: Class,
    pub(crate) what: String,
    pub(crate) again: Again,
    /// What it says of the server.
    pub(crate) standing: Standing,
    pub(crate) retry_after: Option<Duration>,
}

impl Trouble {
    pub(crate) fn new(class: Class, again: Again, standing: Standing, what: impl Into<String>) -> Self {
        Self { class, what: what.into(), again, standing, retry_after: None }
    }

    /// The server will not, or cannot be understood, and will do the same again.
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self::new(Class::Refused, Again::Never, Standing::Alive, what)
    }

    /// The server failed; it may do better next time.
    pub(crate) fn transient(what: impl Into<String>) -> Self {
        Self::new(Class::Transient, Again::Later, Standing::Failed, what)
    }

    /// Nothing was sent, because the server is left alone for now.
    pub(crate) fn left_alone(cause: &str) -> Self {
        let what = format!("left alone for a moment after failures in a row, the last: {cause}");
        Self::new(Class::Transient, Again::Later, Standing::Unknown, what)
    }

    /// Nothing was sent, because too many wait already.
    pub(crate) fn queue_full(waiting: usize) -> Self {
        let what = format!("{waiting} calls wait for it already");
        let busy = Self::new(Class::Busy, Again::Never, Standing::Unknown, what);
        Self { retry_after: Some(Duration::from_secs(1)), ..busy }
    }

    /// The call's own time is over.
    pub(crate) fn out_of_time(standing: Standing, what: impl Into<String>) -> Self {
        Self::new(Class::TimedOut, Again::Never, standing, what)
    }

    /// The server is silent, but the call has time left.
    pub(crate) fn silent(what: impl Into<String>) -> Self {
        Self::new(Class::TimedOut, Again::Later, Standing::Failed, what)
    }

    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::new(Class::Internal, Again::Never, Standing::Unknown, what)
    }

    /// Any status but success.
    pub(crate) fn status(status: StatusCode, headers: &HeaderMap, said: &str) -> Self {
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let what = format!("status {status}{said}");
        let trouble = match status {
            StatusCode::TOO_MANY_REQUESTS => Self::new(Class::Busy, Again::Later, Standing::Alive, what),
            _ if status.is_server_error() => Self::transient(what),
            _ if status.is_redirection() => {
                let to = headers.get(http::header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
                let to: String = to.chars().take(EXCERPT).collect();
                Self::refused(format!("status {status} to {to}; redirects are not followed, name that address instead"))
            }
            _ if speaks_of_context(&what) => {
                Self::refused(format!("the prompt does not fit into the model's context, {what}"))
            }
            _ => Self::refused(what),
        };
        Self { retry_after: retry_after(headers), ..trouble }
    }

    /// As the caller gets it: which server, and what it said.
    pub(crate) fn into_failure(self, server: &str, attempts: u32) -> Failure {
        let message = if server.is_empty() { self.what } else { format!("{server}: {}", self.what) };
        Failure { class: self.class, message: message.into(), attempts, retry_after: self.retry_after }
    }
}

impl From<WireError> for Trouble {
    fn from(error: WireError) -> Self {
        let what = match &error {
            WireError::Connect(cause) => format!("cannot connect: {}", root(cause.as_ref())),
            _ => error.to_string(),
        };
        match error {
            WireError::Stale => Self::new(Class::Transient, Again::AtOnce, Standing::Unknown, what),
            WireError::TooLarge(_) => Self::refused(what),
            WireError::Connect(_) | WireError::Lost(_) | WireError::Cut | WireError::Garbled(_) => {
                Self::transient(what)
            }
        }
    }
}

impl From<Unusable> for Trouble {
    fn from(unusable: Unusable) -> Self {
        // Who has nothing to say is no broken server, and others may be answered well.
        let standing = if unusable == Unusable::Empty { Standing::Alive } else { Standing::Failed };
        Self { standing, ..Self::transient(unusable.to_string()) }
    }
}

/// The innermost cause: «connection refused», not «error trying to connect».
pub(crate) fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// The three ways in which servers say that a prompt is too long.
fn speaks_of_context(what: &str) -> bool {
    let what = what.to_ascii_lowercase();
    ["maximum context length", "context_length_exceeded", "available context size"]
        .iter()
        .any(|sign| what.contains(sign))
}

/// Seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// A short, printable quote of an error's body, without `key`.
pub(crate) fn excerpt(body: &[u8], key: Option<&str>) -> String {
    let said = match serde_json::from_slice::<Value>(body) {
        Ok(json) => message_of(&json).unwrap_or_else(|| json.to_string()),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let safe = match key {
        Some(key) if !key.is_empty() => said.replace(key, "***"),
        _ => said,
    };
    let words: Vec<_> =
        safe.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// `{"error": {"message": …}}`, `{"error": …}`, `{"message": …}` or `{"detail": …}`.
fn message_of(json: &Value) -> Option<String> {
    let error = &json["error"];
    [&error["message"], error, &json["message"], &json["detail"]].into_iter().find_map(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_retry_after(text: &str) -> Option<Duration> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
        Trouble::status(StatusCode::TOO_MANY_REQUESTS, &headers, "").retry_after
    }

    #[test]
    fn each_status_has_its_class() {
        let cases = [
            (429, Class::Busy, Again::Later, Standing::Alive),
            (500, Class::Transient, Again::Later, Standing::Failed),
            (503, Class::Transient, Again::Later, Standing::Failed),
            (307, Class::Refused, Again::Never, Standing::Alive),
            (400, Class::Refused, Again::Never, Standing::Alive),
            (401, Class::Refused, Again::Never, Standing::Alive),
            (408, Class::Refused, Again::Never, Standing::Alive),
        ];
        for (status, class, again, standing) in cases {
            let trouble = Trouble::status(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), "said");
            assert_eq!((trouble.class, trouble.again, trouble.standing), (class, again, standing), "{status}");
            assert!(trouble.what.contains(&status.to_string()), "{}", trouble.what);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(with_retry_after("2"), Some(Duration::from_secs(2)));
        assert_eq!(with_retry_after("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(with_retry_after("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(with_retry_after(&soon).is_some_and(|wait| wait > Duration::from_secs(90)));
        for bad in ["soon", "-1", "NaN", "1e300"] {
            assert_eq!(with_retry_after(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_excerpt_is_short_printable_and_holds_no_key() {
        assert_eq!(excerpt(br#"{"error":{"message":"no key sk-1\n here"}}"#, Some("sk-1")), "no key *** here");
        assert_eq!(excerpt(br#"{"detail":"Not Found"}"#, None), "Not Found");
        assert_eq!(excerpt(b"a\x1b[31mb\xff\0c", None), "a [31mb\u{fffd} c");
        let long = excerpt("ä".repeat(500).as_bytes(), None);
        assert_eq!(long.chars().count(), EXCERPT + 1);
    }

    #[test]
    fn a_prompt_too_long_is_said_clearly() {
        let said = "This model's maximum context length is 1024 tokens. However, you requested 4096";
        let trouble = Trouble::status(StatusCode::BAD_REQUEST, &HeaderMap::new(), said);
        assert!(trouble.what.starts_with("the prompt does not fit into the model's context, status 400"));
    }
}
