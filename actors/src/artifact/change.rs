//! What happened to each file: the difference between the base and the tree after all operations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::base::{Base, sha256};
use super::bounds::Effort;
use super::diff::{MODE, Sides};
use super::text::Grade;
use super::tree::Entry;

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Add,
    Modify,
    Delete,
    /// With or without other changes.
    Rename,
}

/// One changed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    pub path: String,
    pub op: Op,
    /// The path before, of a renamed file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Git's mode of a new file, in octal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Sha256 of the text before, in hex; none for a new file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Sha256 of the text after, in hex; none for a deleted file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How well its anchors matched.
    #[serde(rename = "match")]
    pub matched: Grade,
    /// Lines.
    pub added: usize,
    pub removed: usize,
}

impl FileChange {
    /// The path in the base.
    #[must_use]
    pub fn source(&self) -> &str {
        self.from.as_deref().unwrap_or(&self.path)
    }
}

/// All changes by path, and their diff.
pub(super) fn between(base: &Base, tree: &BTreeMap<String, Entry>, effort: &mut Effort) -> (Vec<FileChange>, String) {
    let renames = renames(base, tree);
    let sources: BTreeSet<&str> = renames.values().copied().collect();
    let gone = base.iter().map(|(path, _)| path).filter(|path| !tree.contains_key(*path) && !sources.contains(path));
    let paths: BTreeSet<&str> = tree.keys().map(String::as_str).chain(gone).collect();
    let (mut files, mut diff) = (Vec::new(), String::new());
    for path in paths {
        let from = renames.get(path).copied();
        let (before, entry) = (base.get(from.unwrap_or(path)), tree.get(path));
        let after = entry.map(|it| &it.text);
        if from.is_none() && before == after {
            continue;
        }
        let text = |it: Option<&'_ Arc<str>>| it.map(|it| sha256(it));
        let sides = Sides {
            from: from.unwrap_or(path),
            to: path,
            before: before.map(|it| &**it),
            after: after.map(|it| &**it),
        };
        let section = sides.section(effort);
        diff.push_str(&section.text);
        let op = match (before, after, from) {
            (_, _, Some(_)) => Op::Rename,
            (None, _, _) => Op::Add,
            (_, None, _) => Op::Delete,
            (Some(_), Some(_), None) => Op::Modify,
        };
        files.push(FileChange {
            path: path.to_owned(),
            op,
            from: from.map(str::to_owned),
            mode: (op == Op::Add).then(|| MODE.to_owned()),
            before: text(before),
            after: text(after),
            matched: entry.and_then(|it| it.grade).unwrap_or(Grade::Whole),
            added: section.added,
            removed: section.removed,
        });
    }
    (files, diff)
}

/// Files at a new path: where nothing was, from where nothing is any more. Others are shown as what they are on both paths,
/// so that no section of the diff depends on another.
fn renames<'t>(base: &Base, tree: &'t BTreeMap<String, Entry>) -> BTreeMap<&'t str, &'t str> {
    let renamed = |(path, entry): (&'t String, &'t Entry)| {
        let origin = entry.origin.as_deref()?;
        let clear = base.get(path).is_none() && !tree.contains_key(origin);
        clear.then_some((path.as_str(), origin))
    };
    tree.iter().filter_map(renamed).collect()
}
