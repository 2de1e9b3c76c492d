//! A few parsers that every lint shares: one takes some memory and more time to make than a short file to parse.

use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tree_sitter::{Language as Grammar, LogType, ParseOptions, Parser, Tree};

/// Parsers made at most. Parsing is CPU-bound, so more would only take turns; who finds none waits for one, and not
/// long, since each parse is limited.
const PARSERS: usize = 4;

#[derive(Debug, Default)]
struct Idle {
    parsers: Vec<ParserBox>,
    made: usize,
}

/// `Parser` has no `Debug`.
struct ParserBox(Parser);

impl std::fmt::Debug for ParserBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parser")
    }
}

/// The parsers that nobody uses now.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Idle>,
    returned: Condvar,
}

/// Why there is no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTree {
    /// Longer than the limit.
    TimedOut,
    /// A grammar that this tree-sitter cannot run; a test keeps that from happening.
    Grammar,
}

impl Pool {
    /// A parser, as soon as there is one; it goes back when dropped.
    pub(super) fn take(&self) -> Taken<'_> {
        let mut idle = self.lock();
        loop {
            if let Some(ParserBox(parser)) = idle.parsers.pop() {
                return Taken { pool: self, parser: Some(parser) };
            }
            if idle.made < PARSERS {
                idle.made += 1;
                return Taken { pool: self, parser: Some(Parser::new()) };
            }
            idle = self.returned.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing that can panic runs under this lock, so what a poisoned one holds is whole.
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn made(&self) -> (usize, usize) {
        let idle = self.lock();
        (idle.made, idle.parsers.len())
    }
}

/// A parser in use.
pub(super) struct Taken<'pool> {
    pool: &'pool Pool,
    /// `None` only while it goes back.
    parser: Option<Parser>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(parser) = self.parser.take() {
            self.pool.lock().parsers.push(ParserBox(parser));
            self.pool.returned.notify_one();
        }
    }
}

impl Taken<'_> {
    /// The tree of a text. Checked every hundred steps of the parser, the limit is kept to some microseconds.
    pub(super) fn parse(&mut self, grammar: &Grammar, text: &str, limit: Duration) -> Result<Tree, NoTree> {
        let parser = self.parser.as_mut().ok_or(NoTree::Grammar)?;
        parser.set_language(grammar).map_err(|_| NoTree::Grammar)?;
        let started = Instant::now();
        let mut progress = |_: &_| match started.elapsed() {
            passed if passed > limit => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let options = ParseOptions::new().progress_callback(&mut progress);
        let bytes = text.as_bytes();
        let tree = parser.parse_with_options(&mut |at, _| bytes.get(at..).unwrap_or_default(), None, Some(options));
        // A parser that was stopped would go on with the old text.
        parser.reset();
        tree.ok_or(NoTree::TimedOut)
    }

    /// Parses once more and tells each step to `step`; many times slower.
    pub(super) fn trace(
        &mut self,
        grammar: &Grammar,
        text: &str,
        limit: Duration,
        mut step: impl FnMut(&str) + Send + 'static,
    ) -> Result<(), NoTree> {
        if let Some(parser) = self.parser.as_mut() {
            parser.set_logger(Some(Box::new(move |kind, message| {
                if matches!(kind, LogType::Parse) {
                    step(message);
                }
            })));
        }
        let tree = self.parse(grammar, text, limit);
        if let Some(parser) = self.parser.as_mut() {
            parser.set_logger(None);
        }
        tree.map(|_| ())
    }
}

/// The pool, shared.
pub(super) type SharedPool = Arc<Pool>;
