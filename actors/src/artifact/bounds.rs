//! The numbers that keep a hostile answer small, each with its reason.

/// The last place at or before `most` where a text may be cut.
pub(super) fn cut(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|&place| text.is_char_boundary(place)).unwrap_or_default()
}

/// Bytes of one answer: the new text and as much prose and anchors around it.
pub(super) const WORDS: usize = 2 * 1024 * 1024;
/// Bytes of new text in one artifact: beyond that nobody reviews it.
pub(super) const NEW_TEXT: usize = 1024 * 1024;
/// Bytes of one file after the change.
pub(super) const FILE: usize = 512 * 1024;
/// Files that one artifact may change.
pub(super) const FILES: usize = 200;
/// Headers of one answer: five for each file that it may change.
pub(super) const OPERATIONS: usize = 5 * FILES;
/// Blocks of all edits together: ten for each file that may change.
pub(super) const BLOCKS: usize = 10 * FILES;
/// Bytes of all files that a task carries: they stand in every prompt.
pub(super) const BASE_TEXT: usize = 256 * 1024;
/// Files that a task carries: a name costs a prompt about ten tokens even if the file is empty.
pub(super) const BASE_FILES: usize = 1_000;
/// Bytes of a path: a quarter of what Linux takes, so that a client may put a folder in front.
pub(super) const PATH: usize = 1_024;
/// Bytes of one part of a path: what file systems take.
pub(super) const PATH_PART: usize = 255;
/// Folders of a path: checks of a tree look at every prefix.
pub(super) const PATH_PARTS: usize = 64;
/// Globs of one guard, and bytes of each: every changed path is held against all of them.
pub(super) const GLOBS: usize = 256;
pub(super) const GLOB: usize = PATH;
/// Bytes of the notes for the reader.
pub(super) const NOTES: usize = 4 * 1024;
/// Bytes of all that goes back to the author: about 2,000 tokens of a second prompt.
pub(super) const REPORT: usize = 8 * 1024;
/// Real lines around one failed anchor.
pub(super) const EXCERPT_LINES: usize = 12;
/// Characters of one such line.
pub(super) const EXCERPT_WIDTH: usize = 200;
/// Failures that get an excerpt: more do not fit into the report.
const EXCERPTS: usize = 16;
/// Readings of a block whose texts contain divider lines: each is searched for.
pub(super) const READINGS: usize = 8;
/// Places of an ambiguous anchor that are named.
pub(super) const PLACES: usize = 4;
/// Lines around a change in a diff, as Git has it.
pub(super) const CONTEXT: usize = 3;
/// Steps of looking anchors up in one translation: a real answer (5,000 lines, 20 blocks) takes at most 300,000, and this
/// many take half a second. Beyond them the answer is refused.
const EFFORT: u64 = 16_000_000;
/// Steps of telling which lines of two texts are the same. Beyond them a diff is right, but longer than it had to be.
const ALIGNING: u64 = 16_000_000;
/// Bytes that count as one step when they are copied or compared in one go.
const BYTES_PER_STEP: usize = 16;

/// What a translation may still spend. Counted in steps, not in time: the same answer always gets the same end.
pub(super) struct Effort {
    steps: u64,
    aligning: u64,
    excerpts: usize,
}

impl Effort {
    pub(super) fn new() -> Self {
        Self { steps: EFFORT, aligning: ALIGNING, excerpts: EXCERPTS }
    }

    /// Takes `steps`; false when there are not that many left, and then nothing is taken.
    pub(super) fn spend(&mut self, steps: usize) -> bool {
        take(&mut self.steps, steps)
    }

    /// The same for aligning.
    pub(super) fn spend_aligning(&mut self, steps: usize) -> bool {
        take(&mut self.aligning, steps)
    }

    /// Whether one more failure gets an excerpt.
    pub(super) fn may_show(&mut self) -> bool {
        let left = self.excerpts.checked_sub(1);
        self.excerpts = left.unwrap_or(0);
        left.is_some()
    }

    /// Takes the steps of going over `bytes` once.
    pub(super) fn spend_bytes(&mut self, bytes: usize) -> bool {
        self.spend(1 + bytes / BYTES_PER_STEP)
    }
}

fn take(from: &mut u64, steps: usize) -> bool {
    let left = u64::try_from(steps).ok().and_then(|steps| from.checked_sub(steps));
    *from = left.unwrap_or(*from);
    left.is_some()
}
