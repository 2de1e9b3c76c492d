//! Blocks of an edit against the lines of a file: each anchor at its one place, all of them or none.

use super::align;
use super::anchor::{self, Found, Index};
use super::body::{Block, Swap};
use super::bounds::Effort;
use super::excerpt;
use super::failure::{Code, Excerpt};
use super::placeholder;
use super::text::{Grade, Line, Text};

/// Why a block has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Miss {
    /// From 1.
    pub(super) block: usize,
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) excerpt: Vec<Excerpt>,
}

/// Lines that a block replaces, and by what.
struct Hit<'a> {
    start: usize,
    len: usize,
    grade: Grade,
    lines: Vec<Line<'a>>,
}

/// Why one block has no place.
enum NoPlace {
    Nowhere,
    Many(Vec<usize>),
    Empty,
    Spent,
}

/// Applies all blocks; the worst grade of them.
///
/// All anchors are looked up in the file as the author saw it. Only if some are not there, or overlap, the blocks are
/// taken one after the other; an anchor that was ambiguous stays so.
pub(super) fn edit<'a>(text: &mut Text<'a>, blocks: &[Block<'a>], effort: &mut Effort) -> Result<Grade, Vec<Miss>> {
    let index = Index::new(&text.lines);
    let (mut hits, mut misses, mut in_order) = (Vec::new(), Vec::new(), true);
    for (place, block) in blocks.iter().enumerate() {
        match look(text, &index, block, effort) {
            Ok(hit) => hits.push(hit),
            Err(why) => {
                in_order &= matches!(why, NoPlace::Nowhere);
                misses.push(miss(place + 1, block, &why, &index, effort));
            }
        }
        if misses.last().is_some_and(|miss| miss.code == Code::TooLarge) {
            break;
        }
    }
    hits.sort_by_key(|hit| hit.start);
    let apart = |pair: &[Hit<'a>]| pair[0].start + pair[0].len <= pair[1].start && pair[0].start < pair[1].start;
    if misses.is_empty() && hits.windows(2).all(apart) {
        return Ok(splice(text, hits));
    }
    if !in_order {
        return Err(misses);
    }
    one_by_one(text, blocks, effort).map_err(|miss| if misses.is_empty() { vec![miss] } else { misses })
}

/// Each block against the outcome of those before it.
fn one_by_one<'a>(text: &mut Text<'a>, blocks: &[Block<'a>], effort: &mut Effort) -> Result<Grade, Miss> {
    let mut grade = Grade::Exact;
    for (place, block) in blocks.iter().enumerate() {
        let bytes: usize = text.lines.iter().map(|line| 16 + line.text.len()).sum();
        let index = Index::new(&text.lines);
        let outcome = if effort.spend_bytes(bytes) { look(text, &index, block, effort) } else { Err(NoPlace::Spent) };
        match outcome {
            Ok(hit) => grade = grade.max(splice(text, vec![hit])),
            Err(why) => return Err(miss(place + 1, block, &why, &index, effort)),
        }
    }
    Ok(grade)
}

/// Looks up all readings of a block: exactly one of them must have exactly one place.
fn look<'a>(text: &Text<'a>, index: &Index<'_>, block: &Block<'a>, effort: &mut Effort) -> Result<Hit<'a>, NoPlace> {
    let mut found = Err(NoPlace::Nowhere);
    for swap in &block.readings {
        found = match (found, look_up(text, index, swap, effort)) {
            (_, Err(NoPlace::Spent)) => return Err(NoPlace::Spent),
            (Err(NoPlace::Nowhere | NoPlace::Empty), found) => found,
            (found, Err(NoPlace::Nowhere | NoPlace::Empty)) => found,
            (Ok(hit), _) => Err(NoPlace::Many(vec![hit.start])),
            (found, _) => found,
        };
    }
    found
}

fn look_up<'a>(text: &Text<'a>, index: &Index<'_>, swap: &Swap<'a>, effort: &mut Effort) -> Result<Hit<'a>, NoPlace> {
    if swap.old.iter().all(|line| line.trim().is_empty()) {
        let fresh = text.lines.is_empty() && swap.old.is_empty();
        let lines = || swap.new.iter().map(|line| Line { text: (*line).into(), crlf: false }).collect();
        let hit = || Hit { start: 0, len: 0, grade: Grade::Exact, lines: lines() };
        return if fresh { Ok(hit()) } else { Err(NoPlace::Empty) };
    }
    match anchor::find(index, &swap.old, effort) {
        Found::Nowhere => Err(NoPlace::Nowhere),
        Found::Many(places) => Err(NoPlace::Many(places)),
        Found::Spent => Err(NoPlace::Spent),
        Found::One { start, grade, shift } => {
            let lines = replacement(text, start, swap, &shift, effort).ok_or(NoPlace::Nowhere)?;
            Ok(Hit { start, len: swap.old.len(), grade, lines })
        }
    }
}

/// The new lines. What the author left as it was stays as the file has it, with its white space and line end.
fn replacement<'a>(
    text: &Text<'a>,
    start: usize,
    swap: &Swap<'a>,
    shift: &anchor::Shift,
    effort: &mut Effort,
) -> Option<Vec<Line<'a>>> {
    let crlf = text.crlf_at(start);
    let mut lines = Vec::with_capacity(swap.new.len());
    let fresh = |lines: &mut Vec<Line<'a>>, range: std::ops::Range<usize>| {
        for line in &swap.new[range] {
            lines.push(Line { text: shift.apply(line)?, crlf });
        }
        Some(())
    };
    let mut at = 0;
    for run in align::common(&swap.old, &swap.new, effort) {
        fresh(&mut lines, at..run.new)?;
        lines.extend_from_slice(&text.lines[start + run.old..start + run.old + run.len]);
        at = run.new + run.len;
    }
    fresh(&mut lines, at..swap.new.len())?;
    Some(lines)
}

/// Puts sorted, disjoint hits into the text.
fn splice<'a>(text: &mut Text<'a>, hits: Vec<Hit<'a>>) -> Grade {
    let grade = hits.iter().map(|hit| hit.grade).max().unwrap_or(Grade::Exact);
    let mut old = std::mem::take(&mut text.lines).into_iter();
    let mut at = 0;
    for hit in hits {
        text.lines.extend(old.by_ref().take(hit.start - at));
        old.by_ref().take(hit.len).for_each(drop);
        text.lines.extend(hit.lines);
        at = hit.start + hit.len;
    }
    text.lines.extend(old);
    grade
}

fn miss(block: usize, asked: &Block<'_>, why: &NoPlace, index: &Index<'_>, effort: &mut Effort) -> Miss {
    let old: &[&str] = asked.readings.first().map_or(&[], |swap| &swap.old);
    let count = old.len();
    let (code, message) = match why {
        NoPlace::Many(places) => (Code::AnchorAmbiguous, ambiguous(places)),
        NoPlace::Empty => {
            (Code::EmptyAnchor, "there are no old lines to look for; name at least one that is not blank".into())
        }
        NoPlace::Spent => (Code::TooLarge, "the edits ask for too much searching; send the file whole".into()),
        NoPlace::Nowhere if old.iter().any(|line| placeholder::is_placeholder(line)) => {
            (Code::Placeholder, "the old lines contain a placeholder; copy every line".into())
        }
        NoPlace::Nowhere => {
            (Code::AnchorNotFound, format!("the {count} old lines are not in the file; copy them as they are"))
        }
    };
    let excerpt = match why {
        NoPlace::Many(places) if effort.may_show() => excerpt::places(index, places, count),
        NoPlace::Nowhere if effort.may_show() => excerpt::nearest(index, old),
        NoPlace::Many(_) | NoPlace::Nowhere | NoPlace::Empty | NoPlace::Spent => Vec::new(),
    };
    Miss { block, code, message, excerpt }
}

fn ambiguous(places: &[usize]) -> String {
    let shown: Vec<String> = places.iter().map(|place| (place + 1).to_string()).collect();
    let more = if places.len() == super::bounds::PLACES { " and maybe more" } else { "" };
    let shown = shown.join(", ");
    format!(
        "the old lines fit more than one place or can be read in two ways: lines {shown}{more}; add lines around them"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swap<'a>(old: &'a str, new: &'a str) -> Block<'a> {
        let split = |text: &'a str| text.lines().collect();
        Block { readings: vec![Swap { old: split(old), new: split(new) }] }
    }

    fn edited(file: &str, blocks: &[Block<'_>]) -> Result<(String, Grade), Vec<(usize, Code)>> {
        let mut text = Text::new(file);
        let blocks: Vec<Block<'_>> = blocks.to_vec();
        let grade = edit(&mut text, &blocks, &mut Effort::new());
        grade
            .map(|grade| (text.render(), grade))
            .map_err(|misses| misses.into_iter().map(|miss| (miss.block, miss.code)).collect())
    }

    #[test]
    fn all_blocks_are_looked_up_in_the_file_as_it_was() {
        // The first block makes a second `b`; the anchor of the second block was unique when the author wrote it.
        let blocks = [swap("a", "b"), swap("b", "c")];
        assert_eq!(edited("a\nb\n", &blocks).unwrap().0, "b\nc\n");
    }

    #[test]
    fn blocks_that_overlap_or_build_on_each_other_are_taken_in_order() {
        let sharing = [swap("a\nb\nc", "A\nb\nc"), swap("c\nd", "c\nD")];
        assert_eq!(edited("a\nb\nc\nd\n", &sharing).unwrap().0, "A\nb\nc\nD\n");
        let building = [swap("a", "x\ny"), swap("y", "z")];
        assert_eq!(edited("a\n", &building).unwrap().0, "x\nz\n");
        let fighting = [swap("a\nb", "x"), swap("b\nc", "y")];
        assert_eq!(edited("a\nb\nc\n", &fighting), Err(vec![(2, Code::AnchorNotFound)]));
    }

    #[test]
    fn an_ambiguous_anchor_is_not_saved_by_the_order() {
        let twice = [swap("a", "x"), swap("a", "y")];
        assert_eq!(edited("a\na\n", &twice), Err(vec![(1, Code::AnchorAmbiguous), (2, Code::AnchorAmbiguous)]));
    }

    #[test]
    fn lines_that_stay_keep_their_white_space_and_line_ends() {
        let blocks = [swap("a\nb\nc", "a\nB\nc")];
        assert_eq!(edited("a \r\nb\nc\t\n", &blocks).unwrap(), ("a \r\nB\r\nc\t\n".into(), Grade::TrailingSpace));
        assert_eq!(edited("  a\n  b\n  c", &blocks).unwrap(), ("  a\n  B\n  c".into(), Grade::Indent));
    }

    #[test]
    fn an_empty_anchor_fits_only_an_empty_file() {
        assert_eq!(edited("", &[swap("", "a")]).unwrap().0, "a\n");
        assert_eq!(edited("x\n", &[swap("", "a")]), Err(vec![(1, Code::EmptyAnchor)]));
        assert_eq!(edited("x\n\n", &[swap("\n", "a")]), Err(vec![(1, Code::EmptyAnchor)]));
    }
}
