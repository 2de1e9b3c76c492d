//! One syntax error, as a reader and the base rule need it.
//!
//! Text from a proposal stands in it, so it is cut and its control characters are escaped: a finding goes into events,
//! terminals and prompts.

use std::fmt;
use std::fmt::Write as _;

/// Characters of the proposal's text that a finding quotes at most.
const QUOTED_CHARS: usize = 40;

/// A place where the grammar could not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub what: What,
}

/// What is wrong at that place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// A token that cannot stand there; at most 40 characters, escaped.
    Unexpected(String),
    /// A token that had to stand there.
    Missing(String),
    /// Something that had to stand there, by its name in the grammar (`identifier`).
    MissingKind(String),
    /// A bracket or quote without its partner.
    Unclosed(char),
    /// Something else, in words of this program.
    Other(&'static str),
}

impl What {
    /// A token as it stands in the text.
    pub(super) fn unexpected(token: &str) -> Self {
        Self::Unexpected(quoted(token))
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected(token) => write!(f, "unexpected `{token}`"),
            Self::Missing(token) => write!(f, "missing `{token}`"),
            Self::MissingKind(kind) => write!(f, "missing {kind}"),
            Self::Unclosed(sign) => write!(f, "`{sign}` is not closed"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

/// An error while its place is still a byte of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) byte: usize,
    pub(super) what: What,
}

impl Finding {
    /// The line it stands on, without blanks at its ends: what the base rule compares.
    pub(super) fn line_text<'text>(&self, text: &'text str) -> &'text str {
        let byte = self.byte.min(text.len());
        let start = line_start(text, byte);
        let end = text.as_bytes()[byte..].iter().position(|b| *b == b'\n').map_or(text.len(), |at| byte + at);
        text.get(start..end).unwrap_or_default().trim()
    }

    pub(super) fn placed(self, text: &str) -> SyntaxError {
        let byte = self.byte.min(text.len());
        let start = line_start(text, byte);
        let line = 1 + text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count();
        // Bytes that do not continue a character begin one; a byte order mark is none that a reader counts.
        let line_bytes = text.as_bytes()[start..byte].strip_prefix("\u{feff}".as_bytes());
        let line_bytes = line_bytes.unwrap_or(&text.as_bytes()[start..byte]);
        let column = 1 + line_bytes.iter().filter(|b| **b & 0xC0 != 0x80).count();
        SyntaxError { line, column, what: self.what }
    }
}

/// Where the line of a byte begins.
pub(super) fn line_start(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
}

/// At most 40 characters, with everything escaped that could move a cursor or turn the direction of the text.
fn quoted(token: &str) -> String {
    let mut out = String::new();
    for (count, c) in token.chars().enumerate() {
        if count == QUOTED_CHARS {
            out.push('…');
            break;
        }
        let turns =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || turns {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_a_sentence() {
        let error = |what| SyntaxError { line: 3, column: 14, what }.to_string();
        assert_eq!(error(What::unexpected(")")), "line 3, column 14: unexpected `)`");
        assert_eq!(error(What::Missing(":".into())), "line 3, column 14: missing `:`");
        assert_eq!(error(What::MissingKind("identifier".into())), "line 3, column 14: missing identifier");
    }

    #[test]
    fn quoted_text_is_cut_and_escaped() {
        assert_eq!(quoted("a\u{1b}[31m\u{202e}"), "a\\u{1b}[31m\\u{202e}");
        assert_eq!(quoted(&"ü".repeat(40)), "ü".repeat(40));
        assert_eq!(quoted(&"ü".repeat(41)), "ü".repeat(40) + "…");
    }

    #[test]
    fn columns_count_characters() {
        let text = "x\näöü )\n";
        let finding = Finding { byte: text.find(')').unwrap(), what: What::unexpected(")") };
        assert_eq!(finding.line_text(text), "äöü )");
        let error = finding.placed(text);
        assert_eq!((error.line, error.column), (2, 5));
    }
}
