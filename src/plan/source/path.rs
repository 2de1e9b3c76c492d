//! File paths that a task names, so that two tasks never write the same file side by side.
//!
//! There is no grammar for this: a path is a word with a file's ending, a word that ends in a slash, or one with
//! several slashes or in code marks. `and/or` and `/api/users` are none. Taking too many costs time, too few costs work.

use std::collections::BTreeSet;

/// Products that look like files.
const NO_FILES: [&str; 9] =
    ["node.js", "next.js", "vue.js", "nuxt.js", "nest.js", "express.js", "react.js", "three.js", "asp.net"];
/// Longest ending of a file, in bytes: `.properties`.
const MAX_ENDING: usize = 10;

pub(crate) fn named(text: &str) -> BTreeSet<String> {
    text.split(|c: char| c.is_whitespace() || ",;()[]<>\"'|".contains(c)).filter_map(path).collect()
}

fn path(word: &str) -> Option<String> {
    let is_code = word.contains('`');
    let bare = word.trim_matches(['`', '*', '.', ':', '!', '?', '=', '—', '–']);
    let bare = without_line(bare);
    let shown = if word.trim_start_matches(['`', '*']).starts_with('.') { hidden_name(word) } else { bare };
    let path = shown.trim_start_matches("./");
    if path.contains("://") || NO_FILES.contains(&path.to_ascii_lowercase().as_str()) {
        return None;
    }
    let file = path.rsplit('/').next().unwrap_or(path);
    let slashes = path.bytes().filter(|byte| *byte == b'/').count();
    let is_folder = !path.starts_with('/') && (path.ends_with('/') || slashes > 1 || (is_code && slashes == 1));
    let is_path = path.chars().any(char::is_alphanumeric) && (has_ending(file) || is_folder);
    is_path.then(|| path.trim_end_matches('/').to_owned())
}

/// `.gitignore` and `./src/a.rs` begin with the dot that others end a sentence with.
fn hidden_name(word: &str) -> &str {
    without_line(word.trim_matches(['`', '*']).trim_end_matches(['.', ':', '!', '?']))
}

/// `src/a.rs:12` is `src/a.rs`.
fn without_line(word: &str) -> &str {
    match word.split_once(':') {
        Some((path, line)) if line.starts_with(|c: char| c.is_ascii_digit()) => path,
        _ => word,
    }
}

/// `a.rs` and `.gitignore`, but neither `1.2` nor `e.g`.
fn has_ending(file: &str) -> bool {
    let Some((name, ending)) = file.rsplit_once('.') else { return false };
    let is_ending = ending.len() <= MAX_ENDING
        && ending.starts_with(|c: char| c.is_ascii_alphabetic())
        && ending.chars().all(|c| c.is_ascii_alphanumeric());
    is_ending && !name.ends_with('.') && !matches!(file, "e.g" | "i.e")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_words() {
        let table: [(&str, &[&str]); 13] = [
            ("Create User model in src/models/user.py", &["src/models/user.py"]),
            ("Update `Cargo.toml`, ./src/lib.rs and src/lib.rs:12.", &["Cargo.toml", "src/lib.rs"]),
            ("Docs in docs/ (see README.md)", &["README.md", "docs"]),
            ("Add .gitignore and `.env`", &[".env", ".gitignore"]),
            ("Set up src/app/models", &["src/app/models"]),
            ("Move `src/models`", &["src/models"]),
            ("read and/or write, e.g. CI/CD, i.e. both", &[]),
            ("Node.js 18.2 with v1.2", &[]),
            ("POST /api/users and https://example.org/a.html", &[]),
            ("Serve /static/app.js", &["/static/app.js"]),
            ("[x] in [src/a.rs](src/a.rs)", &["src/a.rs"]),
            ("**src/b.rs**:", &["src/b.rs"]),
            ("... and … / .", &[]),
        ];
        for (text, paths) in table {
            assert_eq!(named(text).iter().map(String::as_str).collect::<Vec<_>>(), paths, "{text}");
        }
    }
}
