//! What a runner's status means: the one table of what is tried again.

use std::error::Error as _;
use std::time::Duration;

use moothall_actors::domain::answer::Class;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::vllm::{Again, Standing, Trouble, excerpt, root};

/// A status as trouble, without `key`.
pub(super) fn trouble(status: &Status, key: Option<&str>) -> Trouble {
    // One that was made on this side: the connection broke, or never was.
    if let Some(cause) = status.source() {
        return Trouble::transient(format!("no connection: {}", root(cause)));
    }
    let (name, class, again, standing) = row(status.code());
    let said = excerpt(status.message().as_bytes(), key);
    let what = if said.is_empty() { format!("status {name}") } else { format!("status {name}: {said}") };
    let retry_after = (class == Class::Busy).then(|| retry_after(status)).flatten();
    Trouble { retry_after, ..Trouble::new(class, again, standing, what) }
}

fn row(code: Code) -> (&'static str, Class, Again, Standing) {
    use Again::{Later, Never};
    use Class::{Busy, Invalid, Refused, TimedOut, Transient};
    use Standing::{Alive, Failed};
    match code {
        Code::Unavailable => ("UNAVAILABLE", Transient, Later, Failed),
        Code::Internal => ("INTERNAL", Transient, Later, Failed),
        Code::Unknown => ("UNKNOWN", Transient, Later, Failed),
        Code::DataLoss => ("DATA_LOSS", Transient, Later, Failed),
        Code::Aborted => ("ABORTED", Transient, Later, Alive),
        Code::Cancelled => ("CANCELLED", Transient, Later, Alive),
        Code::ResourceExhausted => ("RESOURCE_EXHAUSTED", Busy, Later, Alive),
        Code::DeadlineExceeded => ("DEADLINE_EXCEEDED", TimedOut, Never, Alive),
        Code::InvalidArgument => ("INVALID_ARGUMENT", Invalid, Never, Alive),
        Code::Unauthenticated => ("UNAUTHENTICATED", Refused, Never, Alive),
        Code::PermissionDenied => ("PERMISSION_DENIED", Refused, Never, Alive),
        Code::Unimplemented => ("UNIMPLEMENTED", Refused, Never, Alive),
        Code::NotFound => ("NOT_FOUND", Refused, Never, Alive),
        Code::AlreadyExists => ("ALREADY_EXISTS", Refused, Never, Alive),
        Code::FailedPrecondition => ("FAILED_PRECONDITION", Refused, Never, Alive),
        // Also what an answer beyond the limits is made into on this side.
        Code::OutOfRange => ("OUT_OF_RANGE", Refused, Never, Alive),
        Code::Ok => ("OK without an answer", Transient, Later, Failed),
    }
}

fn retry_after(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info()?.retry_delay
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn each_status_has_its_class() {
        for (code, class, again, standing) in [
            (Code::Unavailable, Class::Transient, Again::Later, Standing::Failed),
            (Code::Internal, Class::Transient, Again::Later, Standing::Failed),
            (Code::Cancelled, Class::Transient, Again::Later, Standing::Alive),
            (Code::ResourceExhausted, Class::Busy, Again::Later, Standing::Alive),
            (Code::DeadlineExceeded, Class::TimedOut, Again::Never, Standing::Alive),
            (Code::InvalidArgument, Class::Invalid, Again::Never, Standing::Alive),
            (Code::Unauthenticated, Class::Refused, Again::Never, Standing::Alive),
            (Code::PermissionDenied, Class::Refused, Again::Never, Standing::Alive),
            (Code::Unimplemented, Class::Refused, Again::Never, Standing::Alive),
            (Code::NotFound, Class::Refused, Again::Never, Standing::Alive),
        ] {
            let trouble = trouble(&Status::new(code, "said"), None);
            assert_eq!((trouble.class, trouble.again, trouble.standing), (class, again, standing), "{code:?}");
            assert!(trouble.what.ends_with(": said"), "{}", trouble.what);
        }
    }

    #[test]
    fn a_full_runner_says_when_to_come_back() {
        let delay = Duration::from_millis(1_500);
        let details = ErrorDetails::with_retry_info(Some(delay));
        let full = Status::with_error_details(Code::ResourceExhausted, "full", details.clone());
        assert_eq!(trouble(&full, None).retry_after, Some(delay));
        let down = Status::with_error_details(Code::Unavailable, "down", details);
        assert_eq!(trouble(&down, None).retry_after, None);
    }

    #[test]
    fn what_a_runner_says_is_short_and_holds_no_key() {
        let said = format!("bad key sk-1\n{}", "x".repeat(1000));
        let trouble = trouble(&Status::unauthenticated(said), Some("sk-1"));
        assert!(trouble.what.starts_with("status UNAUTHENTICATED: bad key *** xxx"), "{}", trouble.what);
        assert!(trouble.what.chars().count() < 250, "{}", trouble.what);
    }
}
