//! Where a text is wrong: one finding for each outermost faulty place of its tree.
//!
//! A faulty node often begins far before the mistake (an unclosed call takes the rest of the function in). Where the
//! parser itself stopped is what a reader wants to see, and only its log tells that. So a text with errors is parsed
//! once more, with the log on; should the log not help, the node's beginning must do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tree_sitter::{Language as Grammar, Node, Tree};

use super::finding::{Finding, What};
use super::pool::Taken;

/// Faulty places looked at in one text; a text with more is no text of this language.
const MOST_PLACES: usize = 1000;

/// Where the parser could not go on, in the order of the text.
#[derive(Clone, Debug, Default)]
struct Stop {
    row: usize,
    /// In bytes, from 0: the end of the last token that was good.
    column: usize,
    /// The grammar's name of the token that came then.
    token: String,
}

/// The log, read line by line.
#[derive(Debug, Default)]
struct Log {
    now: (usize, usize),
    /// The farthest place that some branch of the parser came to.
    farthest: Option<Stop>,
    stops: Vec<Stop>,
}

impl Log {
    fn read(&mut self, message: &str) {
        if message.starts_with("process version:") {
            let number = |key| number_after(message, key);
            self.now = (number(" row:").unwrap_or_default(), number(" col:").unwrap_or_default());
        } else if let Some(token) = message.strip_prefix("detect_error lookahead:") {
            let (row, column) = self.now;
            if self.farthest.as_ref().is_none_or(|stop| (stop.row, stop.column) < (row, column)) {
                self.farthest = Some(Stop { row, column, token: token.to_owned() });
            }
        } else if message.starts_with("resume version:") && self.stops.len() < MOST_PLACES {
            self.stops.extend(self.farthest.take());
        }
    }
}

fn number_after(message: &str, key: &str) -> Option<usize> {
    let rest = &message[message.find(key)? + key.len()..];
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// The findings of a tree, in the order of the text. `limit` bounds the second parse.
pub(super) fn findings(
    parser: &mut Taken<'_>,
    grammar: &Grammar,
    text: &str,
    tree: &Tree,
    limit: Duration,
) -> Vec<Finding> {
    let places = faulty(tree);
    if places.is_empty() {
        return Vec::new();
    }
    let starts = line_starts(text);
    let stops: Vec<_> = stops(parser, grammar, text, limit)
        .into_iter()
        .filter_map(|stop| Some((starts.get(stop.row)? + stop.column, stop.token)))
        .collect();
    let mut findings: Vec<Finding> = places.iter().map(|place| place.finding(text, &stops)).collect();
    findings.sort_by_key(|finding| finding.byte);
    findings.dedup_by_key(|finding| finding.byte);
    findings
}

/// What the log says; nothing if that took too long.
fn stops(parser: &mut Taken<'_>, grammar: &Grammar, text: &str, limit: Duration) -> Vec<Stop> {
    let log = Arc::new(Mutex::new(Log::default()));
    let reader = log.clone();
    // What was read until the limit is as good as all of it.
    let _ = parser.trace(grammar, text, limit, move |message| {
        reader.lock().unwrap_or_else(PoisonError::into_inner).read(message);
    });
    std::mem::take(&mut log.lock().unwrap_or_else(PoisonError::into_inner).stops)
}

fn line_starts(text: &str) -> Vec<usize> {
    let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect()
}

/// An outermost faulty node.
struct Place<'tree> {
    start: usize,
    end: usize,
    /// The token that the parser put in.
    missing: Option<Node<'tree>>,
}

impl Place<'_> {
    fn finding(&self, text: &str, stops: &[(usize, String)]) -> Finding {
        if let Some(node) = self.missing {
            return Finding { byte: end_of_text_before(text, self.start), what: missing(node) };
        }
        // The last good token may end where the faulty node begins.
        let before = end_of_text_before(text, self.start);
        match stops.iter().find(|(at, _)| (before..=self.end).contains(at)) {
            Some((at, token)) => stopped(text, *at, token),
            None => stopped(text, self.start, ""),
        }
    }
}

fn faulty(tree: &Tree) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    let mut cursor = tree.walk();
    loop {
        let node: Node<'_> = cursor.node();
        // Inside a macro any token may stand; only its brackets must pair up.
        let faulty = (node.is_error() && !in_macro(node)) || node.is_missing();
        if faulty {
            let missing = node.is_missing().then_some(node);
            places.push(Place { start: node.start_byte(), end: node.end_byte(), missing });
        }
        if places.len() == MOST_PLACES {
            return places;
        }
        if !faulty && node.has_error() && cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return places;
            }
        }
    }
}

/// Whether a node stands among the tokens of a Rust macro, or in a literal there.
fn in_macro(node: Node<'_>) -> bool {
    let near = std::iter::successors(node.parent(), Node::parent).take(3);
    near.map(|node| node.kind()).any(|kind| kind.starts_with("token_tree") || kind.starts_with("macro_"))
}

/// What stands where the parser stopped after `at`.
fn stopped(text: &str, at: usize, token: &str) -> Finding {
    let rest = text.get(at..).unwrap_or_default();
    let byte = at + (rest.len() - rest.trim_start().len());
    let rest = rest.trim_start();
    let found = |byte, what| Finding { byte, what };
    if rest.is_empty() {
        return found(end_of_text_before(text, text.len()), What::Other("unexpected end of file"));
    }
    if !token.is_empty() && rest.starts_with(token) {
        return found(byte, What::unexpected(token));
    }
    // Tokens without text of their own: how a scanner tells of line ends and indentation.
    match token {
        "_indent" => found(byte, What::Other("unexpected indentation")),
        "_dedent" => found(byte, What::Other("unexpected end of the block")),
        "_newline" | "\n" | "_line_break" | "_automatic_semicolon" => {
            found(end_of_text_before(text, at), What::Other("unexpected end of line"))
        }
        _ => found(byte, What::unexpected(word(rest))),
    }
}

/// The word or the sign that a text begins with.
fn word(text: &str) -> &str {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let first = text.chars().next().map_or(0, char::len_utf8);
    &text[..end.max(first)]
}

/// The end of what is not blank before a place.
fn end_of_text_before(text: &str, byte: usize) -> usize {
    text.get(..byte).map_or(byte, |before| before.trim_end().len())
}

fn missing(node: Node<'_>) -> What {
    match node.kind() {
        "\n" | "_newline" | "_automatic_semicolon" => What::Other("missing end of line"),
        // The grammar of JSON puts in the value that comes first in it.
        "number" => What::MissingKind("value".to_owned()),
        kind if node.is_named() => What::MissingKind(kind.trim_start_matches('_').replace('_', " ")),
        kind => What::Missing(kind.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_the_farthest_stop_of_each_recovery() {
        let mut log = Log::default();
        for message in [
            "process version:0, version_count:2, state:7, row:1, col:4",
            "detect_error lookahead:)",
            "process version:1, version_count:2, state:9, row:1, col:9",
            "detect_error lookahead:}",
            "process version:0, version_count:2, state:7, row:1, col:2",
            "detect_error lookahead:;",
            "resume version:0",
            "resume version:0",
        ] {
            log.read(message);
        }
        let stop = log.stops.first().unwrap();
        assert_eq!((stop.row, stop.column, stop.token.as_str(), log.stops.len()), (1, 9, "}", 1));
    }

    #[test]
    fn a_stop_is_named_by_what_stands_there() {
        let what = |text, at, token| stopped(text, at, token).what.to_string();
        assert_eq!(what("f(  )\n", 2, ")"), "unexpected `)`");
        assert_eq!(what("f( äx.y", 2, "identifier"), "unexpected `äx`");
        assert_eq!(what("x = \ny", 3, "_newline"), "unexpected end of line");
        assert_eq!(what("f(\n\n", 2, "end"), "unexpected end of file");
        assert_eq!(what("a\n  b", 1, "_indent"), "unexpected indentation");
    }
}
