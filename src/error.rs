//! One table from classed errors to gRPC codes, HTTP codes and exit codes, so that the same failure never looks
//! different on another door.

use std::time::Duration;

use moothall_actors::domain::answer::Class;
use moothall_actors::domain::problem::Problems;
use moothall_actors::error::SystemError;
use moothall_actors::ports::JournalError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// What kind of failure it is, to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request breaks a rule.
    Invalid,
    /// A place that is no more (pruned), or a message that is too large.
    OutOfRange,
    /// Not set up, or not built in.
    Unimplemented,
    NotFound,
    Exists,
    /// Right, but not as things stand.
    WrongState,
    /// A bound is reached; nothing was started.
    Busy,
    /// Models, journal or daemon are down.
    Unavailable,
    TimedOut,
    Cancelled,
    /// Stored data is damaged.
    DataLoss,
    /// A bug.
    Internal,
}

struct Row {
    kind: Kind,
    grpc: Code,
    http: u16,
    /// As in sysexits.h; 1 = the task itself failed.
    exit: u8,
}

const fn row(kind: Kind, grpc: Code, http: u16, exit: u8) -> Row {
    Row { kind, grpc, http, exit }
}

const TABLE: [Row; 12] = [
    row(Kind::Invalid, Code::InvalidArgument, 400, 64),
    row(Kind::OutOfRange, Code::OutOfRange, 410, 64),
    row(Kind::Unimplemented, Code::Unimplemented, 501, 69),
    row(Kind::NotFound, Code::NotFound, 404, 66),
    row(Kind::Exists, Code::AlreadyExists, 409, 73),
    row(Kind::WrongState, Code::FailedPrecondition, 409, 77),
    row(Kind::Busy, Code::ResourceExhausted, 429, 75),
    row(Kind::Unavailable, Code::Unavailable, 503, 69),
    row(Kind::TimedOut, Code::DeadlineExceeded, 504, 75),
    row(Kind::Cancelled, Code::Cancelled, 409, 1),
    row(Kind::DataLoss, Code::DataLoss, 500, 65),
    row(Kind::Internal, Code::Internal, 500, 70),
];

const INTERNAL: &Row = &TABLE[TABLE.len() - 1];

impl Kind {
    fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.kind == self).unwrap_or(INTERNAL)
    }

    #[must_use]
    pub fn code(self) -> Code {
        self.row().grpc
    }

    #[must_use]
    pub fn http(self) -> u16 {
        self.row().http
    }

    #[must_use]
    pub fn exit(self) -> u8 {
        self.row().exit
    }

    /// What a code from the wire means; one that is not ours is taken as a bug.
    #[must_use]
    pub fn of_code(code: Code) -> Self {
        TABLE.iter().find(|row| row.grpc == code).unwrap_or(INTERNAL).kind
    }

    /// A run's failure: what went wrong behind the daemon, seen from its client.
    fn of_class(class: Class) -> Self {
        match class {
            Class::Transient | Class::Busy | Class::Gone => Self::Unavailable,
            Class::Invalid | Class::Refused => Self::WrongState,
            Class::TimedOut => Self::TimedOut,
            Class::Internal => Self::Internal,
        }
    }
}

/// An error that has a kind.
pub trait Kinded {
    fn kind(&self) -> Kind;
}

impl Kinded for SystemError {
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::NoCouncils => Kind::Unimplemented,
            Self::UnknownRole { .. } | Self::UnknownTask { .. } | Self::UnknownAgent { .. } => Kind::NotFound,
            Self::CouncilExists { .. } | Self::AgentExists { .. } | Self::OtherContent { .. } => Kind::Exists,
            Self::Parked { .. } | Self::WrongState(_) | Self::Received => Kind::WrongState,
            Self::Busy { .. } => Kind::Busy,
            Self::Unavailable(_) => Kind::Unavailable,
            Self::Failed { class, .. } => Kind::of_class(*class),
            // Here it was the client who asked.
            Self::Context(error) if error.class == Class::Invalid => Kind::Invalid,
            Self::Context(error) => Kind::of_class(error.class),
            Self::Cancelled { .. } => Kind::Cancelled,
            Self::Internal { .. } => Kind::Internal,
        }
    }
}

impl Kinded for JournalError {
    fn kind(&self) -> Kind {
        match self {
            Self::Conflict { .. } | Self::Received => Kind::WrongState,
            Self::Busy { .. } => Kind::Busy,
            Self::Pruned { .. } => Kind::OutOfRange,
            Self::Unusable(_) | Self::Closed => Kind::Unavailable,
        }
    }
}

/// Statuses travel in HTTP/2 trailers, where clients take 8 KiB in all: a longer text would hide its own cause.
const MAX_MESSAGE_BYTES: usize = 1000;
const MAX_FIELD_BYTES: usize = 100;
const MAX_PROBLEM_BYTES: usize = 200;
const MAX_PROBLEMS: usize = 8;

/// A system's error as the wire tells it.
#[must_use]
pub fn status(error: &SystemError) -> Status {
    match error {
        SystemError::Invalid(problems) => invalid(problems),
        SystemError::Busy { retry_after, .. } => busy(&error.to_string(), *retry_after),
        other => refuse(other.kind(), &other.to_string()),
    }
}

/// A journal's error as the wire tells it.
#[must_use]
pub fn journal_status(error: &JournalError) -> Status {
    match error {
        JournalError::Busy { retry_after } => busy(&error.to_string(), *retry_after),
        other => refuse(other.kind(), &other.to_string()),
    }
}

/// A status of this kind.
#[must_use]
pub fn refuse(kind: Kind, message: &str) -> Status {
    Status::new(kind.code(), cut(message, MAX_MESSAGE_BYTES))
}

/// INVALID_ARGUMENT with every problem: readable in the message, by field in `BadRequest`.
#[must_use]
pub fn invalid(problems: &Problems) -> Status {
    let mut violations: Vec<_> = (problems.0.iter().take(MAX_PROBLEMS))
        .map(|problem| {
            FieldViolation::new(cut(&problem.field, MAX_FIELD_BYTES), cut(&problem.message, MAX_PROBLEM_BYTES))
        })
        .collect();
    let mut lines: Vec<_> =
        violations.iter().map(|violation| format!("{} {}", violation.field, violation.description)).collect();
    let left_out = problems.0.len().saturating_sub(MAX_PROBLEMS);
    if left_out > 0 {
        let more = format!("{left_out} more problems");
        violations.push(FieldViolation::new("", more.clone()));
        lines.push(more);
    }
    let message = cut(&lines.join("; "), MAX_MESSAGE_BYTES);
    Status::with_error_details(Code::InvalidArgument, message, ErrorDetails::with_bad_request(violations))
}

fn busy(message: &str, retry_after: Duration) -> Status {
    let details = ErrorDetails::with_retry_info(Some(retry_after));
    Status::with_error_details(Code::ResourceExhausted, cut(message, MAX_MESSAGE_BYTES), details)
}

/// The text's beginning, whole characters, at most so many bytes.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most.saturating_sub('…'.len_utf8())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use moothall_actors::domain::problem::Problem;

    use super::*;

    #[test]
    fn every_code_leads_back_to_its_kind() {
        for row in &TABLE {
            assert_eq!(Kind::of_code(row.kind.code()), row.kind);
        }
        assert_eq!(Kind::of_code(Code::Unknown), Kind::Internal);
    }

    #[test]
    fn a_failed_run_tells_whether_the_models_or_the_request_are_to_blame() {
        let failed = |class| status(&SystemError::Failed { class, message: "no model answered".into() }).code();
        assert_eq!(failed(Class::Transient), Code::Unavailable);
        assert_eq!(failed(Class::Refused), Code::FailedPrecondition);
        assert_eq!(failed(Class::TimedOut), Code::DeadlineExceeded);
        assert_eq!(failed(Class::Internal), Code::Internal);
    }

    #[test]
    fn a_full_gate_says_when_to_come_back() {
        let retry_after = Duration::from_millis(250);
        let status = status(&SystemError::Busy { what: Arc::from("too many deliberations are open"), retry_after });
        assert_eq!(status.code(), Code::ResourceExhausted);
        let details = status.get_error_details();
        assert_eq!(details.retry_info().and_then(|info| info.retry_delay), Some(retry_after));
    }

    #[test]
    fn every_problem_is_in_the_details_and_in_the_message() {
        let problems = Problems(vec![Problem::new("role", "is empty"), Problem::new("rounds", "is 9")]);
        let status = invalid(&problems);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "role is empty; rounds is 9");
        let details = status.get_error_details();
        let fields: Vec<_> =
            details.bad_request().unwrap().field_violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["role", "rounds"]);
    }

    #[test]
    fn a_flood_of_long_problems_still_fits_into_the_trailers() {
        let long = "ü".repeat(100_000);
        let problems = Problems((0..500).map(|_| Problem::new(long.clone(), long.clone())).collect());
        let status = invalid(&problems);
        // Percent-encoding makes a byte three, base64 makes three four.
        let sent = status.message().len() * 3 + status.details().len() * 4 / 3;
        assert!(sent < 8 * 1024, "{sent}");
        assert!(status.message().len() <= MAX_MESSAGE_BYTES);
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("üüü", 5), "ü…");
        assert_eq!(cut("üüü", 0), "…");
    }
}
