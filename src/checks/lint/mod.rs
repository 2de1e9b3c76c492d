//! The syntax lint: which errors of syntax a change brings into a file.
//!
//! ```text
//! text after ─▶ parse ─▶ no error ──────────────────────────────▶ clean
//!                  │
//!                  └─ errors ─▶ the grammar's fault? ─▶ not run (a template, a macro, …)
//!                                 │ no
//!                                 └─ less those of the text before ─▶ clean │ errors │ not run
//! ```
//!
//! A red check that is wrong costs a team more than a missed error, which the build finds. So whatever a grammar is
//! known to stumble on is «not run», never red.

mod c_family;
mod doubt;
mod finding;
mod language;
mod locate;
mod pool;
mod python;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use finding::{SyntaxError, What};
pub(crate) use language::Language;

use self::doubt::Base;
use self::finding::Finding;
use self::pool::{NoTree, SharedPool};

/// Texts above this size are not parsed: no file of an artifact may be larger either.
const MOST_BYTES: usize = 512 * 1024;

/// A parse takes 0.1 ms per KB; one that takes this long has met something that the grammar cannot cope with.
const PARSE_LIMIT: Duration = Duration::from_millis(500);

/// The second parse, which only tells where the errors are, is many times slower; what it said until then will do.
const LOCATE_LIMIT: Duration = Duration::from_millis(100);

/// Errors reported of one file; a reader mends the first anyway.
const MOST_ERRORS: usize = 20;

/// What the lint has to say about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Parsed, and nothing new is wrong.
    Clean,
    /// New errors in the order of the text, at most 20, and how many more there are.
    Errors { first: Vec<SyntaxError>, more: usize },
    /// Shown as «not run: why».
    NotRun(Arc<str>),
}

impl Outcome {
    fn not_run(why: impl Into<Arc<str>>) -> Self {
        Self::NotRun(why.into())
    }
}

/// Parses texts; clones share their parsers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Linter {
    pool: SharedPool,
}

impl Linter {
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The errors that `after` has and `before` had not. Blocks for as long as the parses take: one when
    /// all is well; when not, up to four of each text (two grammars, each with its weaknesses taken out), each limited to
    /// half a second, and two short ones. Call it where blocking is allowed.
    #[must_use]
    pub(crate) fn errors(&self, language: Language, before: Option<&str>, after: &str) -> Outcome {
        let after = unix_lines(after);
        let found = match self.findings(language, &after) {
            Ok(found) if found.is_empty() => return Outcome::Clean,
            Ok(found) => found,
            Err(why) => return Outcome::not_run(why),
        };
        let before = before.map(unix_lines);
        let (new, base) = match before.as_deref() {
            None => (found, Base::None),
            Some(before) => match self.findings(language, before) {
                Ok(known) if known.is_empty() => (found, Base::Clean),
                Ok(known) => (subtract(&after, found, before, &known), Base::Faulty),
                Err(why) => return Outcome::not_run(format!("the base: {why}")),
            },
        };
        if new.is_empty() {
            return Outcome::Clean;
        }
        match doubt::judged(language, before.as_deref(), &after, new, base) {
            Ok(believed) => outcome(&after, believed),
            Err(why) => Outcome::not_run(why),
        }
    }

    /// All errors of one text, in its order; or why nobody knows.
    fn findings(&self, language: Language, text: &str) -> Result<Vec<Finding>, String> {
        if text.len() > MOST_BYTES {
            return Err(format!("too large: {} bytes, at most {MOST_BYTES} are parsed", text.len()));
        }
        let first = self.findings_of_one(language, text)?;
        if first.is_empty() || language != Language::Header {
            return Ok(first);
        }
        let second = self.findings_of_one(Language::Cpp, text)?;
        Ok(if second.len() < first.len() { second } else { first })
    }

    /// Those of one grammar: of the text as it is, or if that has any, of the text with the grammar's known weaknesses
    /// taken out.
    fn findings_of_one(&self, language: Language, text: &str) -> Result<Vec<Finding>, String> {
        let grammar = language.grammar();
        let mut parser = self.pool.take();
        let mut parse = |text: &str| {
            parser.parse(&grammar, text, PARSE_LIMIT).map_err(|error| match error {
                NoTree::TimedOut => format!("the parse of {} bytes took longer than {PARSE_LIMIT:?}", text.len()),
                NoTree::Grammar => format!("the {} grammar does not load", language.name()),
            })
        };
        let mut text = Cow::Borrowed(text);
        let mut tree = parse(&text)?;
        if tree.root_node().has_error()
            && let Some(eased) = doubt::eased(language, &text)
        {
            tree = parse(&eased)?;
            text = eased.into();
        }
        let mut findings = Vec::new();
        if tree.root_node().has_error() {
            findings = locate::findings(&mut parser, &grammar, &text, &tree, LOCATE_LIMIT);
        }
        if language == Language::Python {
            python::add(&mut findings, &text, &tree);
        }
        Ok(findings)
    }
}

/// Line ends as the grammars expect them; lines and columns stay what they are.
fn unix_lines(text: &str) -> Cow<'_, str> {
    if text.contains("\r\n") { text.replace("\r\n", "\n").into() } else { text.into() }
}

/// The findings that were not there before: as often as the same error stood on the same line of text, it is an old
/// one, wherever that line is now.
fn subtract(after: &str, mut found: Vec<Finding>, before: &str, known: &[Finding]) -> Vec<Finding> {
    let key = |finding: &Finding, text: &str| (finding.what.clone(), finding.line_text(text).to_owned());
    let mut old: BTreeMap<(What, String), usize> = BTreeMap::new();
    for finding in known {
        *old.entry(key(finding, before)).or_default() += 1;
    }
    found.retain(|finding| match old.get_mut(&key(finding, after)) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    });
    found
}

fn outcome(text: &str, mut findings: Vec<Finding>) -> Outcome {
    let more = findings.len().saturating_sub(MOST_ERRORS);
    findings.truncate(MOST_ERRORS);
    Outcome::Errors { first: findings.into_iter().map(|finding| finding.placed(text)).collect(), more }
}
