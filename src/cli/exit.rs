//! How a command ends: exit codes as sysexits.h has them, and the one error that is told.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::config::ConfigError;
use crate::error::Kind;
use crate::store::{OpenError, RebuildError, RestoreError, StoreError};

/// Shown by `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done
  1    the task failed or was cancelled, or a check found something
  64   wrong use or configuration; all problems are named
  65   stored data is damaged
  66   no such task, council, agent or file
  69   the daemon or a model server cannot be reached, or lacks what was asked for
  70   a bug; the message names what the log has
  73   exists already
  74   reading or writing failed
  75   busy or too slow now; try again
  77   refused as things stand
  130  interrupted";

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    pub(crate) const FAILED: Self = Self(1);
    pub(crate) const USAGE: Self = Self(64);
    pub(crate) const DATA: Self = Self(65);
    pub(crate) const NO_INPUT: Self = Self(66);
    pub(crate) const UNAVAILABLE: Self = Self(69);
    pub(crate) const INTERNAL: Self = Self(70);
    pub(crate) const EXISTS: Self = Self(73);
    pub(crate) const IO: Self = Self(74);
    pub(crate) const REFUSED: Self = Self(77);
    pub(crate) const INTERRUPTED: Self = Self(130);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// Why a command did not do what it should: one text with all there is to say.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Empty = all has been said already.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// The output has said it; only the code is left.
    pub(crate) fn told(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::USAGE, message)
    }

    /// With all causes of an error, outermost first.
    pub(crate) fn of(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Self::new(exit, message)
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n{hint}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // Whoever read our output has seen enough.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::told(Exit(0));
        }
        Self::new(Exit::IO, error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::of(Exit(error.exit_code()), &error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = if matches!(error, StoreError::Exists(_)) { Exit::EXISTS } else { Exit::IO };
        Self::of(exit, &error)
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Open(error) => error.into(),
            RestoreError::Copy(error) => error.into(),
            RestoreError::Exists(_) => Self::of(Exit::EXISTS, &error).hint("--force replaces it."),
            RestoreError::Itself(_) => Self::of(Exit::USAGE, &error),
            RestoreError::Unsound { .. } => Self::of(Exit::DATA, &error),
        }
    }
}

impl From<RebuildError> for Failure {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Open(error) => error.into(),
            RebuildError::Read(_) => Self::of(Exit::DATA, &error),
        }
    }
}

impl From<moothall_actors::ports::JournalError> for Failure {
    fn from(error: moothall_actors::ports::JournalError) -> Self {
        Self::of(Exit::IO, &error)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        if is_lost(&status) {
            return Self::new(Exit::UNAVAILABLE, "the connection to the daemon was lost")
                .hint("Is it still running? Its log says why it ended.");
        }
        let failure = Self::new(Exit(Kind::of_code(status.code()).exit()), plain_message(&status));
        match status.get_error_details().retry_info().and_then(|info| info.retry_delay) {
            Some(delay) => failure.hint(format!("It asks to come back in {} ms.", delay.as_millis())),
            None => failure,
        }
    }
}

/// Whether the daemon did not answer at all, as opposed to answering with an error.
pub(crate) fn is_lost(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
        && status.source().is_some()
}

/// Every problem of a request on a line of its own.
fn plain_message(status: &Status) -> String {
    let details = status.get_error_details();
    match details.bad_request().map(|bad| bad.field_violations.as_slice()) {
        Some(problems @ [_, _, ..]) => {
            let lines = problems.iter().map(|problem| format!("\n  {} {}", problem.field, problem.description));
            format!("the request has {} problems{}", problems.len(), lines.collect::<String>())
        }
        _ if status.message().is_empty() => format!("the daemon answered {:?}", status.code()),
        _ => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use moothall_actors::domain::problem::{Problem, Problems};

    use super::*;

    #[test]
    fn every_problem_of_a_request_is_told() {
        let problems = Problems(vec![Problem::new("role", "is empty"), Problem::new("rounds", "is 9")]);
        let failure = Failure::from(crate::error::invalid(&problems));
        assert_eq!(failure.exit, Exit::USAGE);
        assert_eq!(failure.to_string(), "error: the request has 2 problems\n  role is empty\n  rounds is 9");
    }

    #[test]
    fn every_code_is_in_the_help() {
        for code in [1, 64, 65, 66, 69, 70, 73, 74, 75, 77, 130] {
            assert!(HELP.contains(&format!("\n  {code} ")), "{code}");
        }
        for code in (0..=16).map(Code::from_i32) {
            assert!(HELP.contains(&format!("\n  {} ", Kind::of_code(code).exit())), "{code:?}");
        }
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit, failure.message.as_str()), (Exit(0), ""));
    }
}
