//! `DATABASE_URL`: where the journal is kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use moothall_actors::domain::problem::Problem;

/// Where the journal is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite:///relative` or `sqlite:////absolute`.
    File(PathBuf),
    /// `memory://`: gone when the daemon ends.
    Memory,
}

const ALLOWED: &str = "allowed are sqlite:///relative/path, sqlite:////absolute/path and memory://";

impl DatabaseUrl {
    /// Checks a configured text. The problem names `field` and never repeats what may be a secret.
    pub fn parse(field: &str, text: &str) -> Result<Self, Problem> {
        let wrong = |what: &str| Err(Problem::new(field, format!("{what}; {ALLOWED}")));
        if text == "memory://" {
            return Ok(Self::Memory);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong(if text.is_empty() { "is empty" } else { "is not a URL" });
        };
        match scheme {
            "sqlite" => {}
            "memory" => return wrong("has something after memory://"),
            other => return wrong(&format!("has the scheme {:?}", other.chars().take(32).collect::<String>())),
        }
        let Some(path) = rest.strip_prefix('/') else {
            return wrong("names a host; a path has three slashes before it, an absolute one four");
        };
        if path.is_empty() || path.ends_with('/') {
            return wrong("names no file");
        }
        if path == ":memory:" {
            return wrong("asks for a store in memory, which is memory://");
        }
        if path.contains(['?', '#', '\0']) {
            return wrong("has options or signs that a path cannot have");
        }
        Ok(Self::File(path.into()))
    }

    /// The file, when there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Memory => None,
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::parse("DATABASE_URL", text)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "sqlite:///{}", path.display()),
            Self::Memory => f.write_str("memory://"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_slashes_are_relative_and_four_absolute() {
        let cases = [
            ("sqlite:///./data/orchestrator.db", "./data/orchestrator.db"),
            ("sqlite:///orchestrator.db", "orchestrator.db"),
            ("sqlite:////var/lib/moothall/a b.db", "/var/lib/moothall/a b.db"),
        ];
        for (text, path) in cases {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url.path(), Some(Path::new(path)));
            assert_eq!(url.to_string(), text);
        }
        assert_eq!("memory://".parse(), Ok(DatabaseUrl::Memory));
    }

    #[test]
    fn a_wrong_url_is_told_what_is_wrong_and_what_is_allowed() {
        let cases = [
            ("", "is empty"),
            ("orchestrator.db", "is not a URL"),
            ("sqlite://orchestrator.db", "names a host"),
            ("sqlite:///", "names no file"),
            ("sqlite:///data/", "names no file"),
            ("sqlite:///:memory:", "memory://"),
            ("sqlite:///a.db?mode=ro", "options"),
            ("memory://x", "after memory://"),
        ];
        for (text, said) in cases {
            let problem = text.parse::<DatabaseUrl>().unwrap_err();
            assert!(problem.message.contains(said) && problem.message.contains(ALLOWED), "{text}: {problem}");
            assert_eq!(problem.field, "DATABASE_URL");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        let problem = "postgres://user:hunter2@db/x".parse::<DatabaseUrl>().unwrap_err();
        assert!(problem.message.contains("postgres") && !problem.message.contains("hunter2"), "{problem}");
    }
}
