//! Paths that an artifact may name: relative, normalised, and a file on every system, because the text of a model decides
//! where a client writes.

use std::collections::BTreeMap;

use super::bounds;
use super::failure::Code;

/// Invisible characters that some file systems drop (`.g\u{200c}it` is `.git` there) or that turn the reading direction.
const INVISIBLE: [std::ops::RangeInclusive<char>; 5] = [
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
    '\u{ad}'..='\u{ad}',
];

/// Whether a path can be used as it stands; else what is wrong with it.
pub(super) fn check(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("no path is named");
    }
    if path.len() > bounds::PATH || path.split('/').count() > bounds::PATH_PARTS {
        return Err("the path is too long; allowed are 1,024 bytes and 64 parts");
    }
    if path.chars().any(|it| it.is_control() || INVISIBLE.iter().any(|range| range.contains(&it))) {
        return Err("the path has control characters");
    }
    if path.starts_with('/') {
        return Err("the path is absolute; allowed are relative ones");
    }
    if path.contains('\\') {
        return Err("the path has a backslash; parts are divided by /");
    }
    if path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic() {
        return Err("the path names a drive");
    }
    path.split('/').try_for_each(check_part)
}

fn check_part(part: &str) -> Result<(), &'static str> {
    match part {
        "" => Err("the path has an empty part"),
        "." | ".." => Err("the path has a part . or .."),
        _ if part.len() > bounds::PATH_PART => Err("a part of the path is longer than 255 bytes"),
        _ if part.trim() != part => Err("a part of the path begins or ends with a blank"),
        _ if is_git(part) => Err("the path leads into .git"),
        _ => Ok(()),
    }
}

/// `.git` under any of the names that some system takes for it: other case, dots or blanks at the end, a stream, a
/// short name.
fn is_git(part: &str) -> bool {
    let name = part.split(':').next().unwrap_or(part).trim_end_matches(['.', ' ']);
    name.eq_ignore_ascii_case(".git") || name.eq_ignore_ascii_case("git~1")
}

/// Two paths that cannot both be files of one tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clash<'a> {
    pub(super) code: Code,
    pub(super) path: &'a str,
    pub(super) other: &'a str,
}

/// All clashes among the files of a tree: names that differ only in case, and files below files.
pub(super) fn clashes<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<Clash<'a>> {
    // Lower case → (as first written, whose path, whether it is the file itself).
    let mut seen: BTreeMap<String, (&str, &str, bool)> = BTreeMap::new();
    let mut found = Vec::new();
    for path in paths {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        let clash = ends.into_iter().find_map(|end| {
            let (prefix, is_file) = (&path[..end], end == path.len());
            let &mut (written, other, was_file) = seen.entry(prefix.to_lowercase()).or_insert((prefix, path, is_file));
            let code = match (written == prefix, is_file || was_file) {
                (false, _) => Code::CaseCollision,
                (true, true) if other != path => Code::FileIsDirectory,
                (true, _) => return None,
            };
            Some(Clash { code, path, other })
        });
        found.extend(clash);
    }
    found
}
