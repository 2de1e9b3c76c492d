//! The real lines around the place that an anchor probably meant. Similarity is good enough to help an author, and is used
//! for nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::anchor::Index;
use super::bounds;
use super::failure::Excerpt;

/// Lines of an anchor that are looked for.
const ASKED: usize = 100;
/// A line that stands more often says nothing about the place.
const COMMON: usize = 20;
/// Lines of a file that are compared word by word.
const COMPARED: usize = 10_000;

/// The lines around the place that has most of the anchor's lines, else of the words of its first one. Of a long anchor
/// those around its first line that is different.
pub(super) fn nearest(index: &Index<'_>, old: &[&str]) -> Vec<Excerpt> {
    let Some(start) = by_lines(index, old).or_else(|| by_words(index, old)) else { return Vec::new() };
    let same = |(line, file): &(&&str, &&str)| line.trim() == **file;
    let same = old.iter().zip(&index.stripped[start..]).take_while(same).count();
    let spare = old.len().saturating_sub(bounds::EXCERPT_LINES);
    let skipped = same.saturating_sub(bounds::EXCERPT_LINES / 2).min(spare);
    vec![around(index, start + skipped, old.len(), bounds::EXCERPT_LINES)]
}

/// The lines around each place, sharing the room.
pub(super) fn places(index: &Index<'_>, starts: &[usize], len: usize) -> Vec<Excerpt> {
    let room = bounds::EXCERPT_LINES / starts.len().max(1);
    starts.iter().map(|start| around(index, *start, len, room)).collect()
}

fn around(index: &Index<'_>, start: usize, len: usize, room: usize) -> Excerpt {
    let first = start.saturating_sub(room.saturating_sub(len) / 2);
    let last = (first + room).min(index.len());
    let cut = |place: usize| index.line(place).chars().take(bounds::EXCERPT_WIDTH).collect();
    Excerpt { line: first + 1, lines: (first..last).map(cut).collect() }
}

/// Each line of the file that is one of the anchor's votes for where the anchor would begin.
fn by_lines(index: &Index<'_>, old: &[&str]) -> Option<usize> {
    let mut asked: BTreeMap<&str, (usize, Vec<usize>)> = BTreeMap::new();
    for (place, line) in old.iter().map(|line| line.trim()).enumerate().take(ASKED) {
        if !line.is_empty() {
            asked.entry(line).or_insert((place, Vec::new()));
        }
    }
    for (place, line) in index.stripped.iter().enumerate() {
        if let Some((_, places)) = asked.get_mut(line) {
            places.push(place);
        }
    }
    let mut votes: BTreeMap<usize, usize> = BTreeMap::new();
    for (offset, places) in asked.into_values().filter(|(_, places)| places.len() <= COMMON) {
        for place in places {
            *votes.entry(place.saturating_sub(offset)).or_default() += 1;
        }
    }
    // The earliest of those with most votes.
    votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(start, _)| start)
}

fn by_words(index: &Index<'_>, old: &[&str]) -> Option<usize> {
    let words = |line: &'_ str| -> BTreeSet<String> {
        let parts = line.split(|it: char| !it.is_alphanumeric()).filter(|it| it.len() > 1);
        parts.take(ASKED).map(str::to_owned).collect()
    };
    let (offset, asked) = old.iter().take(ASKED).map(|line| words(line)).enumerate().find(|(_, it)| !it.is_empty())?;
    let hits = |line: &str| words(line).intersection(&asked).count();
    let short = |line: &str| line.len() <= 4 * bounds::EXCERPT_WIDTH;
    let scored = index.stripped.iter().enumerate().take(COMPARED).filter(|(_, line)| short(line));
    let best = scored.map(|(place, line)| (hits(line), place)).filter(|(hits, _)| *hits > 0);
    let best = best.reduce(|best, it| if it.0 > best.0 { it } else { best });
    best.map(|(_, place)| place.saturating_sub(offset))
}

#[cfg(test)]
mod tests {
    use super::super::text::Text;
    use super::*;

    fn first(file: &str, old: &[&str]) -> Option<usize> {
        let text = Text::new(file);
        nearest(&Index::new(&text.lines), old).first().map(|it| it.line)
    }

    #[test]
    fn the_place_with_most_of_the_lines_is_nearest() {
        let file = (1..=100).map(|it| format!("line {it}\n")).collect::<String>();
        assert_eq!(first(&file, &["line 60", "line sixty-one", "  line 62"]), Some(56));
        assert_eq!(first(&file, &["nothing", "at all"]), None);
        assert_eq!(first("def other():\ndef parse(text):\n", &["def parse(text, strict):"]), Some(1));
        assert_eq!(first("", &["a"]), None);
        let mut long: Vec<&str> = file.lines().take(40).collect();
        long[30] = "other";
        assert_eq!(first(&file, &long), Some(25));
    }

    #[test]
    fn excerpts_share_twelve_lines() {
        let text = Text::new(Box::leak("x\n".repeat(100).into()));
        let found = places(&Index::new(&text.lines), &[3, 40, 70, 99], 1);
        assert!(found.iter().map(|it| it.lines.len()).sum::<usize>() <= bounds::EXCERPT_LINES);
    }
}
