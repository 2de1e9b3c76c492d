//! What an artifact says is what real Git does with its diff.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::bounds::Effort;
use super::story::{NONCE, Random, Story, story};
use super::{Artifact, Base, Code, Guard, Wanted, change, dialect, translate, tree};

/// Stories of one Git process: it takes longer to start than to apply.
const BATCH: usize = 100;

type Files = BTreeMap<String, String>;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn write(root: &Path, files: &Files) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn read(root: &Path, folder: &Path, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().unwrap() != ".git" {
                read(root, &path, files);
            }
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

fn git(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("git");
    let command = command.args(arguments).current_dir(root).env("HOME", root);
    let command = command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = command.output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The files that Git makes of a diff.
fn applied_by_git(files: &Files, diff: &str) -> Result<Files, String> {
    let root = tempfile::tempdir().unwrap();
    let work = root.path().join("work");
    fs::create_dir(&work).unwrap();
    git(&work, &["init", "-q", "."]).unwrap();
    write(&work, files);
    fs::write(root.path().join("all.diff"), diff).unwrap();
    git(&work, &["apply", "../all.diff"])?;
    let mut after = Files::new();
    read(&work, &work, &mut after);
    Ok(after)
}

fn owned(files: BTreeMap<String, std::sync::Arc<str>>) -> Files {
    files.into_iter().map(|(path, text)| (path, text.to_string())).collect()
}

/// The artifact of a story and the files that the resolver came to; `None` if it was refused for a lawful reason.
fn resolved(told: &Story) -> Option<(Artifact, Files)> {
    let base = Base::new(told.base.clone()).unwrap();
    let guard = Guard::default();
    let artifact = match translate(&told.words, NONCE, Wanted::Patch, &base, &guard) {
        Ok(artifact) => artifact,
        Err(rejected) => {
            let lawful = [Code::AnchorAmbiguous, Code::EmptyAnchor, Code::NoChange, Code::NoArtifact];
            let lawful = rejected.failures.iter().all(|it| lawful.contains(&it.code));
            assert!(lawful, "{rejected}\n{}\n{:?}", told.words, told.base);
            return None;
        }
    };
    let script = dialect::read(&told.words, NONCE, &base, &guard).unwrap();
    let files = tree::run(script.operations, &base, &guard).unwrap().files;
    let files: Files = files.into_iter().map(|(path, entry)| (path, entry.text.to_string())).collect();
    assert_eq!(owned(artifact.apply(&base).unwrap()), files, "{}", told.words);
    let back = Artifact::read(&artifact.canonical()).unwrap();
    assert_eq!(back, artifact, "{}", told.words);
    if let Some(expected) = &told.expected {
        assert_eq!(&files, expected, "{}", told.words);
    }
    Some((artifact, files))
}

#[test]
fn git_makes_of_a_diff_what_the_resolver_made_of_the_answer() {
    let (count, seed) = (number("MOOTHALL_ARTIFACT_CHANGES", 500), number("MOOTHALL_ARTIFACT_SEED", 20_260_101));
    println!("{count} changes, MOOTHALL_ARTIFACT_SEED={seed}");
    let mut random = Random(seed);
    let (mut told, mut kept, mut certain) = (0, 0, 0);
    while told < count {
        let (mut base, mut after, mut diff) = (Files::new(), Files::new(), String::new());
        for place in 0..BATCH {
            let story = story(&mut random, &format!("c{place}/"));
            told += 1;
            let Some((artifact, files)) = resolved(&story) else { continue };
            kept += 1;
            certain += u64::from(story.expected.is_some());
            base.extend(story.base);
            after.extend(files);
            diff.push_str(&artifact.diff);
        }
        let made = applied_by_git(&base, &diff).unwrap_or_else(|error| panic!("git: {error}"));
        for (path, text) in &after {
            assert_eq!(made.get(path), Some(text), "{path}");
        }
        assert_eq!(made.len(), after.len());
    }
    println!("{told} told, {kept} accepted, {certain} of them with a known outcome");
    assert!(kept * 100 > told * 70 && certain * 100 > kept * 60, "{kept} of {told}, {certain}");
}

#[test]
fn git_takes_what_is_hard_to_write() {
    let files = |pairs: &[(&str, &str)]| -> Files {
        pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    };
    let table = [
        ("a file becomes a folder", files(&[("a", "1\n")]), files(&[("a/b", "1\n")])),
        ("a folder becomes a file", files(&[("a/b", "1\n")]), files(&[("a", "2\n")])),
        ("two files change places", files(&[("a", "1\n"), ("b", "2\n")]), files(&[("a", "2\n"), ("b", "1\n")])),
        ("an empty file comes", files(&[("a", "1\n")]), files(&[("a", "1\n"), ("b", "")])),
        ("an empty file goes", files(&[("a", "1\n"), ("b", "")]), files(&[("a", "1\n")])),
        ("a file becomes empty", files(&[("a", "1\n2")]), files(&[("a", "")])),
        ("an empty file gets text", files(&[("a", "")]), files(&[("a", "1")])),
        ("the last newline goes", files(&[("a", "1\n2\n")]), files(&[("a", "1\n2")])),
        ("the last newline comes", files(&[("a", "1\n2")]), files(&[("a", "1\n2\n")])),
        ("line ends change", files(&[("a", "1\r\n2\r\n")]), files(&[("a", "1\n2\r\n")])),
        ("odd names", files(&[("a \"b\"", "1\n")]), files(&[("a \"b\"", "2\n"), ("ü/é è", "1"), ("x b/x", "")])),
        ("odd bytes", files(&[("a", "\0\r\u{b}\n")]), files(&[("a", "\0\r\u{b}\n\0")])),
    ];
    for (what, before, after) in table {
        let base = Base::new(before.clone()).unwrap();
        let entry = |(path, text): (&String, &String)| {
            let origin = base.get(path).map(|_| path.clone());
            (path.clone(), tree::Entry { text: text.as_str().into(), origin, grade: None })
        };
        let tree = after.iter().map(entry).collect();
        let (_, diff) = change::between(&base, &tree, &mut Effort::new());
        assert_eq!(applied_by_git(&before, &diff), Ok(after), "{what}\n{diff}");
    }
}

#[test]
fn git_takes_renames_with_and_without_other_changes() {
    let base: Files = [("a b", "1\n2\n3\n"), ("c\"d", "x"), ("e", ""), ("f", "y\n")]
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .collect();
    let words = "### MOVE[k] a b -> ü/n\n```\n@@\n 1\n-2\n+two\n```\n### MOVE[k] c\"d -> c\"d/e\n### MOVE[k] e -> g h\n\
                 ### MOVE[k] f -> t\n### FILE[k] f\n```\nnew\n```";
    let carried = Base::new(base.clone()).unwrap();
    let artifact = translate(words, "k", Wanted::Patch, &carried, &Guard::default()).unwrap();
    let made = applied_by_git(&base, &artifact.diff).unwrap_or_else(|error| panic!("{error}\n{}", artifact.diff));
    assert_eq!(made, owned(artifact.apply(&carried).unwrap()));
    assert_eq!(made["ü/n"], "1\ntwo\n3\n");
    assert_eq!(artifact.diff.matches("rename from").count(), 3, "{}", artifact.diff);
}
