//! Diffs as Git writes and takes them, byte for byte.

use std::fmt::Write;
use std::ops::Range;

use super::align;
use super::bounds::{CONTEXT, Effort};
use super::quote::{name_end, quoted};

/// The mode of every new file: the dialect has no word for others.
pub(super) const MODE: &str = "100644";

/// One file on both sides; `None` is no file.
pub(super) struct Sides<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) before: Option<&'a str>,
    pub(super) after: Option<&'a str>,
}

/// The diff of one file.
pub(super) struct Section {
    pub(super) text: String,
    pub(super) added: usize,
    pub(super) removed: usize,
}

/// Old and new lines that are not the same.
struct Change {
    old: Range<usize>,
    new: Range<usize>,
}

/// The first line of a file's section.
pub(super) fn opening(from: &str, to: &str) -> String {
    format!("diff --git {} {}\n", quoted("a/", from), quoted("b/", to))
}

impl Sides<'_> {
    /// Writes the section of this file.
    pub(super) fn section(&self, effort: &mut Effort) -> Section {
        let (old, new) = (lines(self.before), lines(self.after));
        let changes = changes(&old, &new, effort);
        let mut text = opening(self.from, self.to);
        self.extend_header(&mut text, kept_percent(&old, &new, &changes));
        if !changes.is_empty() {
            let name = |prefix, path| format!("{}{}", quoted(prefix, path), name_end(path));
            let nothing = || "/dev/null".to_owned();
            let from = self.before.map_or_else(nothing, |_| name("a/", self.from));
            let to = self.after.map_or_else(nothing, |_| name("b/", self.to));
            let _ = writeln!(text, "--- {from}\n+++ {to}");
        }
        for group in changes.chunk_by(|one, next| next.old.start - one.old.end <= 2 * CONTEXT) {
            hunk(&mut text, &old, &new, group);
        }
        let added = changes.iter().map(|it| it.new.len()).sum();
        Section { text, added, removed: changes.iter().map(|it| it.old.len()).sum() }
    }

    fn extend_header(&self, text: &mut String, kept: usize) {
        let _ = match (self.before, self.after) {
            (None, _) => writeln!(text, "new file mode {MODE}"),
            (_, None) => writeln!(text, "deleted file mode {MODE}"),
            _ if self.from == self.to => Ok(()),
            _ => {
                let (from, to) = (quoted("", self.from), quoted("", self.to));
                writeln!(text, "similarity index {kept}%\nrename from {from}\nrename to {to}")
            }
        };
    }
}

/// The lines of a side, with their ends.
fn lines(text: Option<&str>) -> Vec<&str> {
    text.unwrap_or_default().split_inclusive('\n').collect()
}

/// What stands between the runs that are the same.
fn changes(old: &[&str], new: &[&str], effort: &mut Effort) -> Vec<Change> {
    let (mut found, mut old_at, mut new_at) = (Vec::new(), 0, 0);
    let runs = align::common(old, new, effort);
    let end = align::Run { old: old.len(), new: new.len(), len: 0 };
    for run in runs.into_iter().chain([end]) {
        if old_at < run.old || new_at < run.new {
            found.push(Change { old: old_at..run.old, new: new_at..run.new });
        }
        (old_at, new_at) = (run.old + run.len, run.new + run.len);
    }
    found
}

/// How much of the text stayed, as Git shows it with renames; 100 only if all did.
fn kept_percent(old: &[&str], new: &[&str], changes: &[Change]) -> usize {
    let bytes = |lines: &[&str]| lines.iter().map(|line| line.len()).sum::<usize>();
    let gone: usize = changes.iter().map(|it| bytes(&old[it.old.clone()])).sum();
    let most = bytes(old).max(bytes(new));
    match (changes.is_empty(), most) {
        (true, _) => 100,
        (false, 0) => 0,
        (false, most) => ((bytes(old) - gone) * 100 / most).min(99),
    }
}

fn hunk(text: &mut String, old: &[&str], new: &[&str], group: &[Change]) {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return };
    let before = first.old.start.min(CONTEXT);
    let after = (old.len() - last.old.end).min(CONTEXT);
    let (old_range, new_range) =
        (first.old.start - before..last.old.end + after, first.new.start - before..last.new.end + after);
    let _ = writeln!(text, "@@ -{} +{} @@", numbers(&old_range), numbers(&new_range));
    let mut at = old_range.start;
    for change in group {
        push(text, ' ', &old[at..change.old.start]);
        push(text, '-', &old[change.old.clone()]);
        push(text, '+', &new[change.new.clone()]);
        at = change.old.end;
    }
    push(text, ' ', &old[at..old_range.end]);
}

/// Where a hunk begins and how many lines it has: the count is left out if it is 1, and a hunk without lines begins before
/// its place.
fn numbers(range: &Range<usize>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => (range.start + 1).to_string(),
        count => format!("{},{count}", range.start + 1),
    }
}

fn push(text: &mut String, sign: char, lines: &[&str]) {
    for line in lines {
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}
