//! The notes for the reader, and the tests that an author declares in them with a line `tests: a.py, b.py`.

use std::collections::BTreeSet;

use super::{bounds, header};

/// The notes, cut to their bound; `None` if there are none.
pub(super) fn shortened(notes: &str) -> Option<String> {
    const CUT: &str = "…";
    let notes = notes.trim();
    if notes.len() <= bounds::NOTES {
        return Some(notes.to_owned()).filter(|it| !it.is_empty());
    }
    let end = bounds::cut(notes, bounds::NOTES - CUT.len());
    Some(format!("{}{CUT}", &notes[..end]))
}

/// The declared paths that exist, each once, at most as many as files may change.
pub(super) fn tests(notes: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = BTreeSet::new();
    for line in notes.lines() {
        let line = line.trim().trim_start_matches(['-', '*', ' ']);
        let Some((name, paths)) = line.split_once(':') else { continue };
        if !matches!(name.trim_end_matches('*').to_ascii_lowercase().as_str(), "test" | "tests") {
            continue;
        }
        let paths = paths.trim_start_matches('*').split(',').map(|path| header::argument(path).to_owned());
        found.extend(paths.filter(|path| exists(path)).take(bounds::FILES));
    }
    found.into_iter().take(bounds::FILES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_tests_that_exist_are_found() {
        let notes = "Risky.\n- **Tests:** `tests/a b.py`, tests/c.py, gone.py\ntest: tests/c.py\nattests: no.py";
        let exists = |path: &str| !matches!(path, "gone.py");
        assert_eq!(super::tests(notes, exists), ["tests/a b.py", "tests/c.py"]);
    }

    #[test]
    fn long_notes_are_cut_at_a_character() {
        let cut = shortened(&"é".repeat(5_000)).unwrap();
        assert!(cut.len() <= bounds::NOTES && cut.ends_with("é…"));
        assert_eq!(shortened(" \n"), None);
    }
}
