//! What went wrong in one call, and what follows from it: the one table of what a status means.

use std::error::Error as _;
use std::time::Duration;

use moothall_actors::domain::answer::Class;
use moothall_actors::ports::ContextError;
use tonic::{Code, Status};

/// Longest quote of what the service said, in characters.
const EXCERPT: usize = 200;
/// How tonic begins when an answer is larger than it may be. A test holds the two together.
const TOO_LARGE: &str = "Error, decoded message length too large";

/// A call that brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) class: Class,
    pub(super) what: String,
    /// Whether the same call may be sent again.
    pub(super) may_retry: bool,
    /// Whether it speaks against the service, and not only against this query.
    pub(super) is_outage: bool,
}

impl Trouble {
    fn new(class: Class, is_outage: bool, what: impl Into<String>) -> Self {
        Self { class, what: what.into(), may_retry: false, is_outage }
    }

    /// The query is wrong; nothing was sent.
    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::new(Class::Invalid, false, what)
    }

    /// All places stayed taken.
    pub(super) fn crowded(calls: usize, waited: Duration) -> Self {
        Self::new(Class::TimedOut, true, format!("{calls} calls were under way for all of {waited:?}"))
    }

    /// `before` is what went wrong before the retry that was not answered.
    pub(super) fn silent(waited: Duration, before: Option<&Self>) -> Self {
        let before = before.map(|trouble| format!("; before that, {}", trouble.what)).unwrap_or_default();
        Self::new(Class::TimedOut, true, format!("no answer within {waited:?}{before}"))
    }

    /// A status as the service sent it, or as it was made on this side.
    pub(super) fn of(status: &Status, most_bytes: usize) -> Self {
        // One that was made on this side: the connection broke, or never was.
        if let Some(cause) = status.source() {
            let lost = Self::new(Class::Transient, true, format!("no connection: {}", excerpt(&root(cause))));
            return Self { may_retry: true, ..lost };
        }
        if status.code() == Code::OutOfRange && status.message().starts_with(TOO_LARGE) {
            return Self::new(
                Class::Refused,
                true,
                format!("the answer is larger than the limit of {most_bytes} bytes"),
            );
        }
        let (name, class, is_outage) = row(status.code());
        let said = excerpt(status.message());
        let what = if said.is_empty() { format!("status {name}") } else { format!("status {name}: {said}") };
        Self { may_retry: status.code() == Code::Unavailable, ..Self::new(class, is_outage, what) }
    }

    /// As the caller gets it: which service, and the cause.
    pub(super) fn into_error(self, address: &str) -> ContextError {
        ContextError { class: self.class, message: format!("context service {address}: {}", self.what).into() }
    }
}

fn row(code: Code) -> (&'static str, Class, bool) {
    use Class::{Invalid, Refused, TimedOut, Transient};
    match code {
        Code::Unavailable => ("UNAVAILABLE", Transient, true),
        Code::Internal => ("INTERNAL", Transient, true),
        Code::Unknown => ("UNKNOWN", Transient, true),
        Code::DataLoss => ("DATA_LOSS", Transient, true),
        Code::ResourceExhausted => ("RESOURCE_EXHAUSTED", Transient, true),
        Code::Ok => ("OK without an answer", Transient, true),
        Code::Aborted => ("ABORTED", Transient, false),
        Code::Cancelled => ("CANCELLED", Transient, false),
        Code::DeadlineExceeded => ("DEADLINE_EXCEEDED", TimedOut, true),
        Code::InvalidArgument => ("INVALID_ARGUMENT", Invalid, false),
        Code::Unauthenticated => ("UNAUTHENTICATED", Refused, true),
        Code::PermissionDenied => ("PERMISSION_DENIED", Refused, true),
        Code::Unimplemented => ("UNIMPLEMENTED", Refused, true),
        // Of this story nothing is known; of others there may be.
        Code::NotFound => ("NOT_FOUND", Refused, false),
        Code::AlreadyExists => ("ALREADY_EXISTS", Refused, false),
        Code::FailedPrecondition => ("FAILED_PRECONDITION", Refused, false),
        Code::OutOfRange => ("OUT_OF_RANGE", Refused, false),
    }
}

/// The innermost cause: «connection refused», not «transport error».
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// A short quote on one line.
fn excerpt(said: &str) -> String {
    let words: Vec<_> = said.split(|c: char| c.is_whitespace() || c.is_control()).filter(|it| !it.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_class() {
        for (code, class, may_retry, is_outage) in [
            (Code::Unavailable, Class::Transient, true, true),
            (Code::Internal, Class::Transient, false, true),
            (Code::ResourceExhausted, Class::Transient, false, true),
            (Code::Cancelled, Class::Transient, false, false),
            (Code::DeadlineExceeded, Class::TimedOut, false, true),
            (Code::InvalidArgument, Class::Invalid, false, false),
            (Code::Unauthenticated, Class::Refused, false, true),
            (Code::Unimplemented, Class::Refused, false, true),
            (Code::NotFound, Class::Refused, false, false),
            (Code::OutOfRange, Class::Refused, false, false),
        ] {
            let trouble = Trouble::of(&Status::new(code, "said"), 9);
            assert_eq!(
                (trouble.class, trouble.may_retry, trouble.is_outage),
                (class, may_retry, is_outage),
                "{code:?}"
            );
            assert!(trouble.what.ends_with(": said"), "{}", trouble.what);
        }
    }

    #[test]
    fn an_error_names_the_service_and_the_cause() {
        let error = Trouble::of(&Status::not_found("no such story"), 9).into_error("http://context:50054");
        assert_eq!(error.to_string(), "context service http://context:50054: status NOT_FOUND: no such story");
        assert_eq!(Trouble::of(&Status::unavailable(""), 9).what, "status UNAVAILABLE");
    }

    #[test]
    fn what_the_service_says_is_quoted_briefly_on_one_line() {
        let said = format!("a\nb\u{1b}[31m {}", "ä".repeat(1_000));
        let what = Trouble::of(&Status::internal(said), 9).what;
        assert!(what.starts_with("status INTERNAL: a b [31m ää") && what.ends_with('…'), "{what}");
        assert!(what.chars().count() < 230, "{what}");
    }

    #[test]
    fn silence_after_a_retry_says_what_came_before() {
        let before = Trouble::of(&Status::unavailable("starting"), 9);
        let silent = Trouble::silent(Duration::from_secs(2), Some(&before));
        assert_eq!(silent.what, "no answer within 2s; before that, status UNAVAILABLE: starting");
    }
}
