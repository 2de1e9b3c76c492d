//! Which parts of a text are code: its fenced blocks, or all of it when it has none.
//!
//! A sentence that warns of `os.system` is no use of it. A model that answers bare code writes no fences, so a text
//! without any is taken as code.

use std::ops::Range;

/// The fenced blocks of one text, as byte ranges in order.
#[derive(Debug)]
pub(super) struct CodeBlocks {
    /// `None` = no fence at all.
    blocks: Option<Vec<Range<usize>>>,
    /// The info string of the first fence, as a byte range.
    info: Range<usize>,
    /// The last block has no closing fence.
    cut_off: bool,
}

impl CodeBlocks {
    pub(super) fn of(text: &str) -> Self {
        let mut blocks = Vec::new();
        let mut open: Option<(&str, usize)> = None;
        let mut info = None;
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let end = start + line.len();
            match (open, fence(line)) {
                (None, Some(mark)) => {
                    let after = line.find(mark).map_or(end, |place| start + place + mark.len());
                    info.get_or_insert(after..end);
                    open = Some((mark, end));
                }
                (Some((mark, from)), Some(other)) if closes(mark, other, line) => {
                    blocks.push(from..start);
                    open = None;
                }
                _ => {}
            }
            start = end;
        }
        let cut_off = open.is_some();
        let fenced = cut_off || !blocks.is_empty();
        // A block that was cut off goes to the end.
        blocks.extend(open.map(|(_, from)| from..text.len()));
        Self { blocks: fenced.then_some(blocks), info: info.unwrap_or_default(), cut_off }
    }

    /// The only block, with what its fence says of it, when there is exactly one and it is whole.
    pub(super) fn lone<'t>(&self, text: &'t str) -> Option<(&'t str, &'t str)> {
        let [block] = self.blocks.as_deref()? else { return None };
        (!self.cut_off).then(|| (text[self.info.clone()].trim(), &text[block.clone()]))
    }

    /// Whether a match touches code.
    pub(super) fn hold(&self, found: Range<usize>) -> bool {
        let touches = |block: &Range<usize>| found.start < block.end && block.start < found.end;
        self.blocks.as_ref().is_none_or(|blocks| blocks.iter().any(touches))
    }
}

/// The run of back-ticks or tildes that a fence line begins with.
fn fence(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let run = line.len() - line.trim_start_matches(mark).len();
    (run >= 3).then(|| &line[..run])
}

/// A fence closes with at least as many of the same mark, and nothing after it.
fn closes(open: &str, other: &str, line: &str) -> bool {
    other.starts_with(open) && line.trim().len() == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<&str> {
        CodeBlocks::of(text).blocks.unwrap().into_iter().map(|block| &text[block]).collect()
    }

    #[test]
    fn fenced_blocks_are_code() {
        assert_eq!(code("a\n```py\nx\n```\nb\n~~~\ny\n~~~\n"), ["x\n", "y\n"]);
        assert_eq!(code("  ````\n```\nx\n```\n  ````\n"), ["```\nx\n```\n"]);
        assert_eq!(code("```\ncut off"), ["cut off"]);
        assert_eq!(code("```\n```\n"), [""]);
    }

    #[test]
    fn the_only_block_is_found_with_its_language() {
        let lone = |text: &'static str| CodeBlocks::of(text).lone(text);
        assert_eq!(lone("so:\n  ```py title=a\nx = 1\n```\nand on"), Some(("py title=a", "x = 1\n")));
        assert_eq!(lone("```\nx\n```"), Some(("", "x\n")));
        assert_eq!(lone("```py\nx\n```\n```py\ny\n```"), None, "which of them is it?");
        assert_eq!(lone("```py\ncut o"), None);
        assert_eq!(lone("no code"), None);
    }

    #[test]
    fn a_text_without_fences_is_code() {
        assert!(CodeBlocks::of("x `y` ``").hold(0..1));
        assert!(!CodeBlocks::of("x\n```\ny\n```\n").hold(0..1));
    }
}
