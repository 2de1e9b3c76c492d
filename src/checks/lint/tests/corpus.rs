//! Real files: this repository's own, which compilers, linters and tests have accepted.

use std::path::{Path, PathBuf};

use super::super::*;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), found),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

#[test]
fn nothing_in_this_repository_is_red() {
    let linter = Linter::new();
    let mut paths = Vec::new();
    for folder in
        ["actors/src/domain", "actors/src/deliberation", "config", "scripts", "src/store", "src/sim", "tests/wire"]
    {
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut paths);
    }
    let mut linted = 0;
    for path in paths {
        let name = path.to_string_lossy();
        let (Some(language), Ok(text)) = (Language::of_path(&name), std::fs::read_to_string(&path)) else { continue };
        let outcome = linter.errors(language, None, &text);
        assert_eq!(outcome, Outcome::Clean, "{name}");
        linted += 1;
    }
    assert!(linted > 40, "only {linted} files were found");
}
