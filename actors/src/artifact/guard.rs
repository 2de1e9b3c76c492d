//! Where an artifact may write: globs that protect, and globs of what a task is about.

use super::bounds;

/// Policy over paths. The default one allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    protected: Vec<String>,
    paths: Vec<String>,
    /// The only one of `paths`, if it is a file's.
    only: Option<String>,
}

impl Guard {
    /// `protected` may not be changed; if there are `paths`, nothing else may be.
    ///
    /// `*` and `?` stay within one part of a path, `**` as a part stands for any number of parts. What lies below a match
    /// of `protected` is protected too, in any case of letters, and a pattern without a slash protects at any depth.
    /// `paths` are narrower: from the root, in the case as written, and only a pattern that ends in a plain name or in `**`
    /// covers what lies below.
    ///
    /// # Errors
    ///
    /// Each pattern that is empty or longer than 1,024 bytes, and more than 256 of a kind.
    pub fn new(
        protected: impl IntoIterator<Item = String>,
        paths: impl IntoIterator<Item = String>,
    ) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let protected = patterns(protected, &mut wrong).into_iter().map(|it| it.to_lowercase()).collect();
        let paths: Vec<String> = paths.into_iter().take(bounds::GLOBS + 1).collect();
        let only = match paths.as_slice() {
            [path] if !path.contains(['*', '?']) && !path.ends_with('/') => Some(path.clone()),
            _ => None,
        };
        let paths = patterns(paths, &mut wrong);
        if wrong.is_empty() { Ok(Self { protected, paths, only }) } else { Err(wrong) }
    }

    /// Why a path may not be changed.
    pub(super) fn objection(&self, path: &str) -> Option<String> {
        let lower = path.to_lowercase();
        if let Some(pattern) = self.protected.iter().find(|pattern| protects(pattern, &lower)) {
            return Some(format!("{path} is protected by {pattern}"));
        }
        if self.paths.is_empty() || self.paths.iter().any(|pattern| allows(pattern, path)) {
            return None;
        }
        let shown = self.paths.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
        Some(format!("{path} is outside of what the task may change: {shown}"))
    }

    /// The one path that the task names, if it names exactly one.
    pub(super) fn only_path(&self) -> Option<&str> {
        self.only.as_deref()
    }

    /// Whether the task names paths at all.
    pub(super) fn names_paths(&self) -> bool {
        !self.paths.is_empty()
    }
}

fn patterns(globs: impl IntoIterator<Item = String>, wrong: &mut Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    for glob in globs {
        let plain = glob.strip_prefix("./").unwrap_or(&glob).trim_end_matches('/');
        if plain.is_empty() || glob.len() > bounds::GLOB {
            wrong.push("a path pattern is empty or too long; allowed are 1 to 1,024 bytes".into());
        } else if kept.len() == bounds::GLOBS {
            wrong.push("too many path patterns; allowed are 256".into());
            break;
        } else {
            kept.push(plain.to_owned());
        }
    }
    kept
}

fn protects(pattern: &str, path: &str) -> bool {
    if pattern.contains('/') {
        return matches(pattern.trim_start_matches('/'), path, true);
    }
    path.split('/').any(|part| pattern == "**" || part_matches(pattern, part))
}

fn allows(pattern: &str, path: &str) -> bool {
    let last = pattern.rsplit('/').next().unwrap_or(pattern);
    matches(pattern.trim_start_matches('/'), path, !last.contains(['*', '?']))
}

/// Greedy with one point of return for `**`: parts of the pattern times parts of the path, never more.
fn matches(pattern: &str, path: &str, below: bool) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    let (mut at, mut place, mut retry) = (0, 0, None);
    loop {
        if at == pattern.len() && (place == path.len() || below) {
            return true;
        }
        if pattern.get(at) == Some(&"**") {
            retry = Some((at + 1, place));
            at += 1;
        } else if place < path.len() && pattern.get(at).is_some_and(|it| part_matches(it, path[place])) {
            (at, place) = (at + 1, place + 1);
        } else if let Some((after, from)) = retry.filter(|(_, from)| *from < path.len()) {
            retry = Some((after, from + 1));
            (at, place) = (after, from + 1);
        } else {
            return false;
        }
    }
}

/// The same within one part, for `*` and `?`.
fn part_matches(pattern: &str, part: &str) -> bool {
    let (pattern, part): (Vec<char>, Vec<char>) = (pattern.chars().collect(), part.chars().collect());
    let (mut at, mut place, mut retry) = (0, 0, None);
    while place < part.len() {
        if pattern.get(at) == Some(&'*') {
            retry = Some((at + 1, place));
            at += 1;
        } else if pattern.get(at).is_some_and(|it| *it == '?' || *it == part[place]) {
            (at, place) = (at + 1, place + 1);
        } else if let Some((after, from)) = retry {
            retry = Some((after, from + 1));
            (at, place) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|it| *it == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(protected: &[&str], paths: &[&str]) -> Guard {
        let owned = |globs: &[&str]| globs.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        Guard::new(owned(protected), owned(paths)).unwrap()
    }

    #[test]
    fn protected_patterns_cover_what_lies_below_at_any_depth_and_case() {
        let table = [
            ("*.lock", "Cargo.lock", true),
            ("*.lock", "a/b/Cargo.LOCK", true),
            ("*.lock", "a/b/lock.rs", false),
            (".github", ".github/workflows/ci.yml", true),
            (".github/**", ".github/workflows/ci.yml", true),
            (".github/workflows", ".GitHub/Workflows/ci.yml", true),
            ("/deploy/*", "deploy/a/b", true),
            ("deploy/*", "src/deploy/a", false),
            ("**/secret?.txt", "secret1.txt", true),
            ("**/secret?.txt", "x/y/secret1.txt", true),
            ("**/secret?.txt", "x/y/secret12.txt", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "a/b/c/y", false),
            ("**", "anything/at/all", true),
        ];
        for (pattern, path, protected) in table {
            assert_eq!(guard(&[pattern], &[]).objection(path).is_some(), protected, "{pattern} {path}");
        }
    }

    #[test]
    fn allowed_patterns_are_narrow() {
        let table = [
            ("src", "src/a/b.py", true),
            ("src/", "src/a.py", true),
            ("src/*", "src/a.py", true),
            ("src/*", "src/a/b.py", false),
            ("src/**", "src/a/b.py", true),
            ("src", "srcs/a.py", false),
            ("src", "Src/a.py", false),
            ("README.md", "docs/README.md", false),
            ("**/*.py", "a.py", true),
            ("**/*.py", "x/y/a.py", true),
            ("**/*.py", "x/y/a.pyc", false),
        ];
        for (pattern, path, allowed) in table {
            assert_eq!(guard(&[], &[pattern]).objection(path).is_none(), allowed, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_full_of_stars_takes_no_time() {
        let (stars, deep) = ("*a".repeat(500), "**/".repeat(300) + "z");
        let path = format!("{}b", "a".repeat(250));
        assert!(guard(&[], &[&stars]).objection(&path).is_some());
        assert!(guard(&[], &[&deep]).objection(&"a/".repeat(60)).is_some());
    }

    #[test]
    fn only_a_single_plain_path_is_the_only_path() {
        assert_eq!(guard(&[], &["src/a.py"]).only_path(), Some("src/a.py"));
        assert_eq!(guard(&[], &["src/*.py"]).only_path(), None);
        assert_eq!(guard(&[], &["a", "b"]).only_path(), None);
        assert_eq!(guard(&[], &["src/"]).only_path(), None);
        assert!(Guard::new([String::new()], ["x".repeat(2_000)]).is_err_and(|wrong| wrong.len() == 2));
    }
}
