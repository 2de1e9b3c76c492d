//! What stands below a header: the fenced body, and what kind of edit it is.

use super::failure::Code;
use super::fence::Fence;
use super::patch::{self, Section};
use super::replace;

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) code: Code,
    pub(super) message: &'static str,
}

impl Unreadable {
    pub(super) fn new(code: Code, message: &'static str) -> Self {
        Self { code, message }
    }
}

/// Old lines and what comes in their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Swap<'a> {
    pub(super) old: Vec<&'a str>,
    pub(super) new: Vec<&'a str>,
}

/// One block of an edit. It has more than one reading if its texts contain lines that look like its divider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block<'a> {
    pub(super) readings: Vec<Swap<'a>>,
}

/// The body of an EDIT.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Edit<'a> {
    Blocks(Vec<Block<'a>>),
    /// The `*** Begin Patch` form, which names its own paths.
    Sections(Vec<Section<'a>>),
}

/// The lines between the first fence and the last one that closes it: fences inside need no care.
pub(super) fn fenced<'r, 'a>(region: &'r [&'a str]) -> Result<&'r [&'a str], Unreadable> {
    let opening = region.iter().enumerate().find_map(|(place, line)| Some((place, Fence::read(line)?)));
    let Some((opens, fence)) = opening else {
        return Err(Unreadable::new(Code::NoFence, "no fenced body follows the header"));
    };
    let inside = &region[opens + 1..];
    match inside.iter().rposition(|line| fence.closed_by(line)) {
        Some(end) => Ok(&inside[..end]),
        None => Err(Unreadable::new(Code::Truncated, "the fence of the body is not closed: the answer was cut off")),
    }
}

/// Whether lines are the body of an edit rather than a file.
pub(super) fn is_edit(body: &[&str]) -> bool {
    let starts = |line: &&str| replace::opens(line) || patch::begins(line) || line.starts_with("@@");
    let header = |line: &&str| line.starts_with("diff --git ") || line.starts_with("--- ");
    body.iter().find(|line| !line.trim().is_empty()).is_some_and(|line| starts(line) || header(line))
}

/// Reads the body of an EDIT; its first line that belongs to a form decides which form it is.
pub(super) fn edit<'a>(body: &[&'a str]) -> Result<Edit<'a>, Unreadable> {
    for line in body {
        if replace::opens(line) {
            return replace::blocks(body).map(Edit::Blocks);
        }
        if patch::begins(line) {
            return patch::sections(body).map(Edit::Sections);
        }
        if line.starts_with("@@") {
            return Ok(Edit::Blocks(patch::hunks(body, false)));
        }
    }
    Err(Unreadable::new(Code::EmptyAnchor, "the body has neither SEARCH blocks nor @@ hunks; a whole file is a FILE"))
}

/// A line of the answer without the carriage return that some clients put in.
pub(super) fn bare(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line)
}
