//! What a task says of the changes it wants, in `constraints.metadata`.
//!
//! | key | meaning |
//! |---|---|
//! | `artifact` | `auto`, `files`, `patch`, `document` or `none`; without it as the council has it |
//! | `file:<path>` | a file's text, whole; all together at most 1,000 files and 256 KiB |
//! | `repo.name`, `repo.commit` | where these files are from, for whoever applies the change |
//! | `repo.paths` | globs of what may be changed, separated by commas or lines |
//! | `context.bundle` | the hash that the files together must have |
//! | `artifact.sections` | headings that a document must have, separated by commas or lines |

use std::collections::BTreeMap;

use super::problem::Problems;
use super::task::TaskSpec;
use crate::artifact::{Base, Guard, Wanted};

const ARTIFACT: &str = "artifact";
const FILE: &str = "file:";
const REPO_NAME: &str = "repo.name";
const REPO_COMMIT: &str = "repo.commit";
const REPO_PATHS: &str = "repo.paths";
const BUNDLE: &str = "context.bundle";
const SECTIONS: &str = "artifact.sections";

/// Longest name of a repository, in bytes: it stands in every artifact.
const MAX_REPO_NAME_BYTES: usize = 256;
/// Most sections that a document must have: a check looks for each.
const MAX_SECTIONS: usize = 64;

type Metadata = BTreeMap<String, String>;

/// Whether the key carries a file: those have a limit of their own.
pub(super) fn is_file(key: &str) -> bool {
    key.starts_with(FILE)
}

/// Every problem of these keys.
pub(super) fn check(metadata: &Metadata, problems: &mut Problems) {
    let wanted = metadata.get(ARTIFACT).map(|text| Wanted::parse(text).ok_or(text));
    if let Some(Err(text)) = wanted {
        let rule = format!("is {text:?}; allowed are auto, files, patch, document and none");
        problems.push(field(ARTIFACT), rule);
    }
    match Base::new(files(metadata)) {
        Ok(base) => check_base(metadata, &base, wanted == Some(Ok(Wanted::Patch)), problems),
        Err(wrong) => wrong.into_iter().for_each(|why| problems.push(field("file:<path>"), why)),
    }
    if let Err(wrong) = Guard::new([], listed(metadata, REPO_PATHS)) {
        wrong.into_iter().for_each(|why| problems.push(field(REPO_PATHS), why));
    }
    if metadata.get(REPO_COMMIT).is_some_and(|commit| !is_commit(commit)) {
        problems.push(field(REPO_COMMIT), "is no commit; allowed are 7 to 64 hexadecimal digits");
    }
    if metadata.get(REPO_NAME).is_some_and(|name| name.len() > MAX_REPO_NAME_BYTES || name.contains(char::is_control)) {
        problems.push(field(REPO_NAME), "is no name; allowed are up to 256 bytes without control characters");
    }
    let sections = listed(metadata, SECTIONS).count();
    if sections > MAX_SECTIONS {
        problems.push(field(SECTIONS), format!("names {sections} sections; at most {MAX_SECTIONS} are allowed"));
    }
}

fn check_base(metadata: &Metadata, base: &Base, patch: bool, problems: &mut Problems) {
    if patch && base.is_empty() {
        let rule = "is \"patch\", but the task carries no file; send them as file:<path>, or ask for files";
        problems.push(field(ARTIFACT), rule);
    }
    if let Some(named) = metadata.get(BUNDLE)
        && *named != base.bundle()
    {
        let rule = format!("is {:?}, but the files that the task carries have {}", shown(named), base.bundle());
        problems.push(field(BUNDLE), rule);
    }
}

impl TaskSpec {
    /// The artifact that the task names.
    #[must_use]
    pub fn wanted(&self) -> Option<Wanted> {
        Wanted::parse(self.metadata.get(ARTIFACT)?)
    }

    #[must_use]
    pub fn carries_files(&self) -> bool {
        self.metadata.keys().any(|key| is_file(key))
    }

    /// The files that it carries, copied. They were checked when it was accepted.
    #[must_use]
    pub fn base(&self) -> Base {
        let base = Base::new(files(&self.metadata)).unwrap_or_default();
        match self.metadata.get(REPO_COMMIT) {
            Some(commit) => base.at_commit(self.metadata.get(REPO_NAME).cloned(), commit.clone()),
            None => base,
        }
    }

    /// Globs of what may be changed; none = everything.
    pub fn paths(&self) -> impl Iterator<Item = String> + '_ {
        listed(&self.metadata, REPO_PATHS)
    }

    /// Headings that a document must have.
    pub fn sections(&self) -> impl Iterator<Item = String> + '_ {
        listed(&self.metadata, SECTIONS)
    }
}

fn files(metadata: &Metadata) -> impl Iterator<Item = (String, String)> + '_ {
    metadata.iter().filter_map(|(key, text)| Some((key.strip_prefix(FILE)?.to_owned(), text.clone())))
}

fn listed<'m>(metadata: &'m Metadata, key: &str) -> impl Iterator<Item = String> + 'm {
    let all = metadata.get(key).map(String::as_str).unwrap_or_default();
    all.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned)
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn field(key: &str) -> String {
    format!("constraints.metadata.{key}")
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::task::TaskDraft;

    fn draft(metadata: &[(&str, &str)]) -> TaskDraft {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        TaskDraft { role: "DEV".into(), description: "d".into(), metadata, ..TaskDraft::default() }
    }

    fn problems(metadata: &[(&str, &str)]) -> Vec<String> {
        let problems = draft(metadata).check().map(drop).unwrap_err();
        problems.0.iter().map(|problem| format!("{} {}", problem.field, problem.message)).collect()
    }

    #[test]
    fn a_task_carries_files_and_says_where_they_are_from() {
        let spec = draft(&[
            ("artifact", "patch"),
            ("file:src/a.py", "x = 1\n"),
            ("repo.commit", "0123abcd"),
            ("repo.name", "core"),
            ("repo.paths", "src, tests\n docs/*.md"),
        ]);
        let spec = spec.check().unwrap();
        assert_eq!(spec.wanted(), Some(Wanted::Patch));
        assert_eq!(spec.base().get("src/a.py").map(|text| &**text), Some("x = 1\n"));
        assert_eq!(serde_json::to_string(&spec.base().id()).unwrap(), r#"{"repo":"core","commit":"0123abcd"}"#);
        assert_eq!(spec.paths().collect::<Vec<_>>(), ["src", "tests", "docs/*.md"]);
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let all = problems(&[
            ("artifact", "diff"),
            ("file:../a", ""),
            ("repo.commit", "main"),
            ("repo.name", "a\nb"),
            ("repo.paths", &"x,".repeat(300)),
        ]);
        let fields: Vec<_> = all.iter().map(|problem| problem.split(' ').next().unwrap()).collect();
        let names = ["artifact", "file:<path>", "repo.paths", "repo.commit", "repo.name"];
        assert_eq!(fields, names.map(|name| format!("constraints.metadata.{name}")), "{all:?}");
        assert!(all[0].contains("auto, files, patch, document and none"), "{all:?}");
    }

    #[test]
    fn a_patch_needs_files_and_a_bundle_is_held_against_them() {
        assert!(problems(&[("artifact", "patch")])[0].contains("carries no file"));
        let bundle = draft(&[("file:a", "1")]).check().unwrap().base().bundle();
        assert!(draft(&[("file:a", "1"), ("context.bundle", &bundle)]).check().is_ok());
        assert!(problems(&[("file:a", "2"), ("context.bundle", &bundle)])[0].contains(&bundle[..8]));
    }

    #[test]
    fn files_have_a_limit_of_their_own() {
        let large = "x".repeat(200 * 1024);
        assert!(draft(&[("file:a", &large)]).check().is_ok(), "longer than any other value may be");
        assert!(problems(&[("file:a", &large), ("file:b", &large)])[0].contains("262,144 bytes together"));
        let many: Vec<String> = (0..900).map(|number| format!("file:{number}")).collect();
        let many: Vec<_> = many.iter().map(|key| (key.as_str(), "")).collect();
        assert!(draft(&many).check().is_ok());
    }
}
