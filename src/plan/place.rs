//! Where something stands in a plan: line and column of a text, the path of keys in JSON and YAML.

use std::fmt;

use super::limit::MAX_COLUMN;

/// Line and column, both from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What a problem names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The plan as a whole.
    Plan,
    /// A place in a text.
    Text(Position),
    /// A value under its keys, with its place where the format tells.
    Key { path: String, at: Option<Position> },
}

impl Place {
    /// A key below this one: `tasks[3]` and `role` make `tasks[3].role`.
    pub(crate) fn key(&self, key: &str, at: Option<Position>) -> Self {
        let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        let path = match self {
            Self::Key { path, .. } if plain => format!("{path}.{key}"),
            Self::Key { path, .. } => format!("{path}[{}]", super::report::quote(key)),
            _ if plain => key.to_owned(),
            _ => format!("[{}]", super::report::quote(key)),
        };
        Self::Key { path, at }
    }

    /// An entry of a list, from 0: `tasks` and 3 make `tasks[3]`.
    pub(crate) fn entry(&self, index: usize, at: Option<Position>) -> Self {
        let path = match self {
            Self::Key { path, .. } => format!("{path}[{index}]"),
            _ => format!("[{index}]"),
        };
        Self::Key { path, at }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan => f.write_str("plan"),
            Self::Text(position) => position.fmt(f),
            Self::Key { path, at: None } => f.write_str(path),
            Self::Key { path, at: Some(position) } => write!(f, "{path} ({position})"),
        }
    }
}

/// Finds the line and column of a byte.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(place, _)| place + 1);
        Self { text, starts: std::iter::once(0).chain(ends).collect() }
    }

    pub(crate) fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|line| self.starts.get(line)).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        Position { line, column: before.chars().take(MAX_COLUMN - 1).count() + 1 }
    }

    pub(crate) fn place(&self, offset: usize) -> Place {
        Place::Text(self.position(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let lines = Lines::new("ab\näöx\n");
        let at = |offset| (lines.position(offset).line, lines.position(offset).column);
        assert_eq!((at(0), at(1), at(3), at(7), at(9)), ((1, 1), (1, 2), (2, 1), (2, 3), (3, 1)));
    }

    #[test]
    fn columns_end_somewhere() {
        let long = "x".repeat(MAX_COLUMN + 10);
        assert_eq!(Lines::new(&long).position(MAX_COLUMN - 1).column, MAX_COLUMN);
        assert_eq!(Lines::new(&long).position(MAX_COLUMN + 5).column, MAX_COLUMN);
    }

    #[test]
    fn paths_read_as_they_are_written() {
        let tasks = Place::Plan.key("tasks", None);
        let role = tasks.entry(3, None).key("role", Some(Position { line: 12, column: 11 }));
        assert_eq!(role.to_string(), "tasks[3].role (line 12, column 11)");
        assert_eq!(tasks.key("a.b", None).to_string(), r#"tasks["a.b"]"#);
        assert_eq!(Place::Plan.to_string(), "plan");
    }
}
