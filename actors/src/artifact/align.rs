//! Which lines of two texts are the same ones: a patience diff, with Myers' in the small gaps.
//!
//! Myers' alone is quadratic for texts that have nothing in common, and its time limits would make the outcome depend on
//! the machine. Here the effort is counted; what cannot be afforded counts as replaced, which is right but longer.

use std::collections::BTreeMap;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::bounds::Effort;

/// Lines of both sides that Myers' is still asked about.
const SMALL: usize = 2_000;
/// Gaps within gaps within gaps: each level goes over the lines once.
const DEPTH: usize = 8;

/// Lines that are the same in both texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) old: usize,
    pub(super) new: usize,
    pub(super) len: usize,
}

/// The runs of equal lines, in order, none touching the next on both sides.
pub(super) fn common(old: &[&str], new: &[&str], effort: &mut Effort) -> Vec<Run> {
    let mut names: BTreeMap<&str, u32> = BTreeMap::new();
    let mut name = |line| {
        let next = u32::try_from(names.len()).unwrap_or(u32::MAX);
        *names.entry(line).or_insert(next)
    };
    let (old, new): (Vec<u32>, Vec<u32>) =
        (old.iter().map(|it| name(*it)).collect(), new.iter().map(|it| name(*it)).collect());
    let mut aligned = Aligned { runs: Vec::new(), effort };
    aligned.gap(Side { lines: &old, from: 0 }, Side { lines: &new, from: 0 }, DEPTH);
    aligned.runs
}

/// A stretch of one text.
#[derive(Clone, Copy)]
struct Side<'a> {
    lines: &'a [u32],
    from: usize,
}

impl Side<'_> {
    fn part(&self, range: std::ops::Range<usize>) -> Self {
        Self { lines: &self.lines[range.clone()], from: self.from + range.start }
    }
}

struct Aligned<'e> {
    runs: Vec<Run>,
    effort: &'e mut Effort,
}

impl Aligned<'_> {
    fn push(&mut self, old: usize, new: usize, len: usize) {
        match self.runs.last_mut() {
            _ if len == 0 => {}
            Some(last) if last.old + last.len == old && last.new + last.len == new => last.len += len,
            _ => self.runs.push(Run { old, new, len }),
        }
    }

    fn gap(&mut self, old: Side<'_>, new: Side<'_>, depth: usize) {
        let head = old.lines.iter().zip(new.lines).take_while(|(a, b)| a == b).count();
        self.push(old.from, new.from, head);
        let (old, new) = (old.part(head..old.lines.len()), new.part(head..new.lines.len()));
        let tail = old.lines.iter().rev().zip(new.lines.iter().rev()).take_while(|(a, b)| a == b).count();
        let (old_end, new_end) = (old.lines.len() - tail, new.lines.len() - tail);
        self.middle(old.part(0..old_end), new.part(0..new_end), depth);
        self.push(old.from + old_end, new.from + new_end, tail);
    }

    fn middle(&mut self, old: Side<'_>, new: Side<'_>, depth: usize) {
        let lines = old.lines.len() + new.lines.len();
        if old.lines.is_empty() || new.lines.is_empty() || depth == 0 || !self.effort.spend_aligning(8 * lines) {
            return;
        }
        let anchors = rising(&unique(old.lines, new.lines));
        if anchors.is_empty() {
            if lines <= SMALL && self.effort.spend_aligning(lines * lines) {
                self.small(old, new);
            }
            return;
        }
        let (mut old_at, mut new_at) = (0, 0);
        for (old_line, new_line) in anchors {
            self.gap(old.part(old_at..old_line), new.part(new_at..new_line), depth - 1);
            self.push(old.from + old_line, new.from + new_line, 1);
            (old_at, new_at) = (old_line + 1, new_line + 1);
        }
        self.gap(old.part(old_at..old.lines.len()), new.part(new_at..new.lines.len()), depth - 1);
    }

    fn small(&mut self, old: Side<'_>, new: Side<'_>) {
        for op in capture_diff_slices(Algorithm::Myers, old.lines, new.lines) {
            match op {
                DiffOp::Equal { old_index, new_index, len } => {
                    self.push(old.from + old_index, new.from + new_index, len);
                }
                DiffOp::Delete { .. } | DiffOp::Insert { .. } | DiffOp::Replace { .. } => {}
            }
        }
    }
}

/// Lines that stand exactly once on each side, in the order of the new one: (old, new).
fn unique(old: &[u32], new: &[u32]) -> Vec<(usize, usize)> {
    let mut seen: BTreeMap<u32, [(usize, usize); 2]> = BTreeMap::new();
    for (side, lines) in [old, new].into_iter().enumerate() {
        for (place, line) in lines.iter().enumerate() {
            let (count, last) = &mut seen.entry(*line).or_default()[side];
            (*count, *last) = (*count + 1, place);
        }
    }
    let pairs = seen.into_values().filter(|[old, new]| old.0 == 1 && new.0 == 1);
    let mut pairs: Vec<_> = pairs.map(|[old, new]| (old.1, new.1)).collect();
    pairs.sort_unstable_by_key(|pair| pair.1);
    pairs
}

/// The longest part of the pairs that rises on both sides.
fn rising(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // For each length the pair that ends such a part lowest, and for each pair the one before it.
    let (mut ends, mut before): (Vec<usize>, Vec<Option<usize>>) = (Vec::new(), Vec::with_capacity(pairs.len()));
    for (place, pair) in pairs.iter().enumerate() {
        let len = ends.partition_point(|end: &usize| pairs[*end].0 < pair.0);
        before.push(len.checked_sub(1).map(|it| ends[it]));
        match ends.get_mut(len) {
            Some(end) => *end = place,
            None => ends.push(place),
        }
    }
    let mut found: Vec<_> = std::iter::successors(ends.last().copied(), |place| before[*place]).collect();
    found.reverse();
    found.into_iter().map(|place| pairs[place]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(old: &str, new: &str) -> Vec<(usize, usize, usize)> {
        let split = |text: &'static str| text.split_terminator(' ').collect::<Vec<_>>();
        let (old, new) = (split(Box::leak(old.into())), split(Box::leak(new.into())));
        common(&old, &new, &mut Effort::new()).iter().map(|it| (it.old, it.new, it.len)).collect()
    }

    #[test]
    fn equal_lines_are_found_around_changes() {
        assert_eq!(runs("a b c d", "a x c d"), [(0, 0, 1), (2, 2, 2)]);
        assert_eq!(runs("a b c", "a b c"), [(0, 0, 3)]);
        assert_eq!(runs("", "a"), []);
        assert_eq!(runs("} } x }", "} } }"), [(0, 0, 2), (3, 2, 1)]);
        assert_eq!(runs("p a b q", "x b a y"), [(1, 2, 1)]);
    }

    #[test]
    fn texts_with_nothing_in_common_are_not_compared_line_by_line() {
        let old: Vec<String> = (0..60_000).map(|it| (it % 7).to_string()).collect();
        let new: Vec<String> = (0..60_000).map(|it| (it % 5).to_string()).collect();
        let (old, new): (Vec<&str>, Vec<&str>) =
            (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
        assert!(common(&old, &new, &mut Effort::new()).len() < 60_000);
    }
}
