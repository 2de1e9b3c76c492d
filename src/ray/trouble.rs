//! What went wrong in one exchange with the executor, and what follows from it: the one table of what a status means.

use std::error::Error as _;
use std::time::Duration;

use moothall_actors::domain::answer::{Class, Failure};
use tonic::{Code, Status};

use crate::error::cut;
use crate::vllm::root;

/// Longest quote of what the executor said, in bytes.
const EXCERPT: usize = 300;

/// An exchange that brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody answers, or it says that it cannot work now: the same again, later.
    Away(String),
    /// It has too much to do: likewise, but it is there.
    Busy(String),
    /// It does not know this wave.
    Unknown(String),
    /// It has no such method.
    Lacking(String),
    /// It will not, and would say the same again.
    Refused(Class, String),
}

impl Trouble {
    pub(super) fn silent(waited: Duration) -> Self {
        Self::Away(format!("no answer within {waited:?}"))
    }

    /// A status as the executor sent it, or as it was made on this side.
    pub(super) fn of(status: &Status) -> Self {
        // One that was made on this side: the connection broke, or never was.
        if let Some(cause) = status.source() {
            return Self::Away(format!("no connection: {}", cut(&root(cause), EXCERPT)));
        }
        let said = cut(status.message(), EXCERPT);
        let what =
            if said.is_empty() { format!("{:?}", status.code()) } else { format!("{:?}: {said}", status.code()) };
        match status.code() {
            Code::ResourceExhausted => Self::Busy(what),
            Code::NotFound => Self::Unknown(what),
            Code::Unimplemented => Self::Lacking(what),
            Code::InvalidArgument | Code::OutOfRange => Self::Refused(Class::Invalid, what),
            Code::PermissionDenied | Code::Unauthenticated | Code::FailedPrecondition | Code::AlreadyExists => {
                Self::Refused(Class::Refused, what)
            }
            _ => Self::Away(what),
        }
    }

    pub(super) fn what(&self) -> &str {
        match self {
            Self::Away(what)
            | Self::Busy(what)
            | Self::Unknown(what)
            | Self::Lacking(what)
            | Self::Refused(_, what) => what,
        }
    }

    /// As a call's failure: which executor, and what it said.
    pub(super) fn into_failure(self, executor: &str) -> Failure {
        let class = match &self {
            Self::Away(_) | Self::Unknown(_) => Class::Transient,
            Self::Busy(_) => Class::Busy,
            Self::Lacking(_) => Class::Refused,
            Self::Refused(class, _) => *class,
        };
        Failure::new(class, self.named(executor))
    }

    pub(super) fn named(&self, executor: &str) -> String {
        format!("executor {executor}: {}", self.what())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_to_do_next() {
        let of = |code| Trouble::of(&Status::new(code, "said"));
        for code in [Code::Unavailable, Code::Internal, Code::Cancelled, Code::DeadlineExceeded, Code::Unknown] {
            assert!(matches!(of(code), Trouble::Away(_)), "{code:?}");
        }
        assert!(matches!(of(Code::ResourceExhausted), Trouble::Busy(_)));
        assert!(matches!(of(Code::NotFound), Trouble::Unknown(_)));
        assert!(matches!(of(Code::Unimplemented), Trouble::Lacking(_)));
        assert!(matches!(of(Code::InvalidArgument), Trouble::Refused(Class::Invalid, _)));
        assert!(matches!(of(Code::PermissionDenied), Trouble::Refused(Class::Refused, _)));
    }

    #[test]
    fn a_failure_names_the_executor_and_its_words() {
        let long = "x".repeat(2 * EXCERPT);
        let failure = Trouble::of(&Status::invalid_argument(long)).into_failure("http://ray:50056");
        assert_eq!(failure.class, Class::Invalid);
        assert!(failure.message.starts_with("executor http://ray:50056: InvalidArgument: xxx"), "{failure}");
        assert!(failure.message.len() < 2 * EXCERPT);
    }
}
