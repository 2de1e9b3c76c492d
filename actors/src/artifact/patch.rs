//! The other forms of an edit: `@@` hunks, whose numbers are wrong too often to be used, and `*** Begin Patch`.

use super::body::{Block, Swap, Unreadable, bare};
use super::failure::Code;

/// What the `*** Begin Patch` form does to one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section<'a> {
    pub(super) path: &'a str,
    pub(super) act: Act<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act<'a> {
    Add(Vec<&'a str>),
    Update { to: Option<&'a str>, blocks: Vec<Block<'a>> },
    Delete,
}

/// Whether a line begins the patch form.
pub(super) fn begins(line: &str) -> bool {
    line.trim_end() == "*** Begin Patch"
}

/// A hunk that is being read.
#[derive(Default)]
struct Hunk<'a> {
    swap: Swap<'a>,
    /// Lines at its end that are quite empty: more likely a gap in the answer than context.
    gap: usize,
}

impl<'a> Hunk<'a> {
    fn push(&mut self, line: &'a str) {
        self.gap = if line.is_empty() { self.gap + 1 } else { 0 };
        let (old, new, text) = match line.as_bytes().first() {
            Some(b'-') => (true, false, &line[1..]),
            Some(b'+') => (false, true, &line[1..]),
            Some(b' ') => (true, true, &line[1..]),
            Some(b'\\') => return,
            // Context without its blank.
            _ => (true, true, line),
        };
        self.swap.old.extend(old.then_some(text));
        self.swap.new.extend(new.then_some(text));
    }

    fn finish(mut self) -> Option<Block<'a>> {
        self.swap.old.truncate(self.swap.old.len() - self.gap);
        self.swap.new.truncate(self.swap.new.len() - self.gap);
        let some = !self.swap.old.is_empty() || !self.swap.new.is_empty();
        some.then(|| Block { readings: vec![self.swap] })
    }
}

/// The hunks of a diff. With `open` lines before the first `@@` are a hunk too.
pub(super) fn hunks<'a>(body: &[&'a str], open: bool) -> Vec<Block<'a>> {
    let (mut found, mut hunk) = (Vec::new(), open.then(Hunk::default));
    for (place, line) in body.iter().enumerate() {
        if line.starts_with("@@") {
            found.extend(hunk.replace(Hunk::default()).and_then(Hunk::finish));
        } else if begins_file(&body[place..]) {
            found.extend(hunk.take().and_then(Hunk::finish));
        } else if line.trim_end() != "*** End of File"
            && let Some(hunk) = &mut hunk
        {
            hunk.push(bare(line));
        }
    }
    found.extend(hunk.and_then(Hunk::finish));
    found
}

/// Whether the header of a file's diff begins here. `--- x` alone may as well be the removal of `-- x`.
fn begins_file(lines: &[&str]) -> bool {
    let starts = |place: usize, with: &str| lines.get(place).is_some_and(|line| line.starts_with(with));
    starts(0, "diff --git ") || (starts(0, "--- ") && starts(1, "+++ ") && starts(2, "@@"))
}

/// The sections of a `*** Begin Patch` body.
pub(super) fn sections<'a>(body: &[&'a str]) -> Result<Vec<Section<'a>>, Unreadable> {
    let begin = body.iter().position(|line| begins(line)).map_or(0, |place| place + 1);
    let Some(end) = body.iter().rposition(|line| line.trim_end() == "*** End Patch") else {
        return Err(Unreadable::new(Code::TruncatedEdit, "the patch has no line *** End Patch"));
    };
    let inside = body.get(begin..end).unwrap_or_default();
    let heads: Vec<_> = inside.iter().enumerate().filter_map(|(place, line)| Some((place, head(line)?))).collect();
    if heads.is_empty() {
        return Err(Unreadable::new(Code::EmptyAnchor, "the patch names no file"));
    }
    let ends = heads.iter().skip(1).map(|(place, _)| *place).chain([inside.len()]);
    let parts = heads.iter().zip(ends).map(|((place, head), end)| section(*head, &inside[place + 1..end]));
    parts.collect()
}

#[derive(Clone, Copy)]
enum Head<'a> {
    Add(&'a str),
    Update(&'a str),
    Delete(&'a str),
}

fn head(line: &str) -> Option<Head<'_>> {
    let rest = line.strip_prefix("*** ")?;
    let path = |verb: &str| rest.strip_prefix(verb).map(super::header::argument);
    let add = path("Add File:").map(Head::Add);
    add.or_else(|| path("Update File:").map(Head::Update)).or_else(|| path("Delete File:").map(Head::Delete))
}

fn section<'a>(head: Head<'a>, lines: &[&'a str]) -> Result<Section<'a>, Unreadable> {
    match head {
        Head::Add(path) => {
            let body = lines.iter().map(|line| line.strip_prefix('+').unwrap_or(line)).collect();
            Ok(Section { path, act: Act::Add(body) })
        }
        Head::Delete(path) => Ok(Section { path, act: Act::Delete }),
        Head::Update(path) => {
            let to = lines.first().and_then(|line| line.strip_prefix("*** Move to:")).map(super::header::argument);
            let blocks = hunks(&lines[usize::from(to.is_some())..], true);
            if blocks.is_empty() && to.is_none() {
                return Err(Unreadable::new(Code::EmptyAnchor, "a file of the patch has no hunks"));
            }
            Ok(Section { path, act: Act::Update { to, blocks } })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swaps(body: &str, open: bool) -> Vec<Swap<'static>> {
        let body: &'static str = Box::leak(body.into());
        let blocks = hunks(&body.lines().collect::<Vec<_>>(), open);
        blocks.into_iter().flat_map(|block| block.readings).collect()
    }

    #[test]
    fn hunks_are_read_without_their_numbers() {
        let body =
            "--- a/x\n+++ b/x\n@@ -9,99 +1 @@ fn f\n a\n-b\n+c\n\n d\n\n@@\n--- e\n+++ f\n\\ No newline at end of file";
        let expected = [
            Swap { old: vec!["a", "b", "", "d"], new: vec!["a", "c", "", "d"] },
            Swap { old: vec!["-- e"], new: vec!["++ f"] },
        ];
        assert_eq!(swaps(body, false), expected);
        assert_eq!(swaps("x\n-y\n+z\n*** End of File", true), [Swap { old: vec!["x", "y"], new: vec!["x", "z"] }]);
    }

    #[test]
    fn the_patch_form_names_its_own_files() {
        let body = "*** Begin Patch\n*** Update File: a.py\n*** Move to: b.py\n@@ def f\n-x\n+y\n*** Add File: c\n+1\n+\n\
                    *** Delete File: d\n*** End Patch";
        let found = sections(&body.lines().collect::<Vec<_>>()).unwrap();
        assert!(matches!(&found[0].act, Act::Update { to: Some("b.py"), blocks } if blocks.len() == 1));
        assert_eq!(found[1], Section { path: "c", act: Act::Add(vec!["1", ""]) });
        assert_eq!(found[2], Section { path: "d", act: Act::Delete });
        let cut = sections(&["*** Begin Patch", "*** Update File: a", "-x"]).unwrap_err();
        assert_eq!(cut.code, Code::TruncatedEdit);
    }
}
