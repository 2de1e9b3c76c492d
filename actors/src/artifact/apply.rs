//! An artifact's own diff put onto its base, exactly: no fuzz, no offsets, and the hashes must be right before and after.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::{FromStr, SplitInclusive};
use std::sync::Arc;

use super::base::{Base, sha256};
use super::canonical::Artifact;
use super::change::{FileChange, Op};
use super::diff;
use super::failure::Code;

/// Why an artifact cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotApplied {
    /// A file is not what the change was made against.
    #[error("{path} is not as it was when the change was made")]
    BaseMoved { path: String },
    /// The diff is not one of ours.
    #[error("the diff of {path} is damaged")]
    Damaged { path: String },
}

impl NotApplied {
    /// The code of a moved base; a damaged diff has none, because no artifact that was read back has one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::BaseMoved { .. } => Some(Code::BaseMoved),
            Self::Damaged { .. } => None,
        }
    }
}

/// A changed file with both texts, for a linter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub path: String,
    /// Of a renamed file the text at its old path.
    pub before: Option<Arc<str>>,
    pub after: Option<Arc<str>>,
}

impl Artifact {
    /// All files after the change, by path.
    ///
    /// # Errors
    ///
    /// A file of the base is missing, changed, or in the way; or the diff is damaged.
    pub fn apply(&self, base: &Base) -> Result<BTreeMap<String, Arc<str>>, NotApplied> {
        let changed = self.changed(base)?;
        let mut files: BTreeMap<String, Arc<str>> =
            base.iter().map(|(path, text)| (path.to_owned(), text.clone())).collect();
        for file in &self.files {
            files.remove(file.source());
        }
        files.extend(changed.into_iter().filter_map(|it| Some((it.path, it.after?))));
        Ok(files)
    }

    /// The changed files before and after, by path.
    ///
    /// # Errors
    ///
    /// As [`Artifact::apply`].
    pub fn changed(&self, base: &Base) -> Result<Vec<Changed>, NotApplied> {
        let mut lines = self.diff.split_inclusive('\n').peekable();
        self.files.iter().map(|file| changed(file, base, &mut lines)).collect()
    }
}

type Lines<'a> = Peekable<SplitInclusive<'a, char>>;

fn changed(file: &FileChange, base: &Base, lines: &mut Lines<'_>) -> Result<Changed, NotApplied> {
    let path = || file.path.clone();
    let before = base.get(file.source()).cloned();
    let in_the_way = file.op == Op::Rename && base.get(&file.path).is_some();
    if in_the_way || before.as_deref().map(sha256) != file.before {
        return Err(NotApplied::BaseMoved { path: path() });
    }
    let text = patched(file, before.as_deref().unwrap_or_default(), lines);
    let text = text.ok_or_else(|| NotApplied::Damaged { path: path() })?;
    let after = match (&file.after, text.is_empty()) {
        (Some(hash), _) if *hash == sha256(&text) => Some(Arc::from(text)),
        (None, true) => None,
        _ => return Err(NotApplied::Damaged { path: path() }),
    };
    Ok(Changed { path: path(), before, after })
}

/// The text after the hunks of one section.
fn patched(file: &FileChange, before: &str, lines: &mut Lines<'_>) -> Option<String> {
    if lines.next()? != diff::opening(file.source(), &file.path) {
        return None;
    }
    while lines.next_if(|line| !line.starts_with("@@ ") && !line.starts_with("diff --git ")).is_some() {}
    let mut old = before.split_inclusive('\n');
    let (mut text, mut at) = (String::with_capacity(before.len()), 0);
    while let Some(head) = lines.next_if(|line| line.starts_with("@@ ")) {
        let (start, old_count, new_count) = counts(head)?;
        for line in old.by_ref().take(start.checked_sub(at)?) {
            text.push_str(line);
        }
        at = start + old_count;
        hunk(&mut text, &mut old, lines, (old_count, new_count))?;
    }
    text.extend(old);
    Some(text)
}

fn hunk(
    text: &mut String,
    old: &mut SplitInclusive<'_, char>,
    lines: &mut Lines<'_>,
    counts: (usize, usize),
) -> Option<()> {
    let (mut old_left, mut new_left) = counts;
    while old_left > 0 || new_left > 0 {
        let line = lines.next()?;
        let unclosed = lines.next_if(|next| next.starts_with('\\')).is_some();
        let (sign, body) = line.split_at_checked(1)?;
        let body = if unclosed { body.strip_suffix('\n')? } else { body };
        let (is_old, is_new) = (sign != "+", sign != "-");
        if !matches!(sign, " " | "+" | "-") || (is_old && old.next()? != body) {
            return None;
        }
        if is_new {
            text.push_str(body);
        }
        old_left = old_left.checked_sub(usize::from(is_old))?;
        new_left = new_left.checked_sub(usize::from(is_new))?;
    }
    Some(())
}

/// Lines before a hunk, and how many old and new ones it has.
fn counts(head: &str) -> Option<(usize, usize, usize)> {
    let mut parts = head.split(' ').skip(1);
    let mut side = |sign: char| {
        let part = parts.next()?.strip_prefix(sign)?;
        let (start, count) = part.split_once(',').unwrap_or((part, "1"));
        Some((usize::from_str(start).ok()?, usize::from_str(count).ok()?))
    };
    let ((start, old_count), (_, new_count)) = (side('-')?, side('+')?);
    let before = if old_count == 0 { start } else { start.checked_sub(1)? };
    Some((before, old_count, new_count))
}
