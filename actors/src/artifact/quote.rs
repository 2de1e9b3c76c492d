//! Git's way of writing a path into a diff: as it is, or in quotes with C escapes, so that any path survives.

use std::fmt::Write;

/// `prefix` (`a/`, `b/` or nothing) and the path, quoted if Git would.
pub(super) fn quoted(prefix: &str, path: &str) -> String {
    let plain = path.bytes().all(|it| (0x20..0x7f).contains(&it) && it != b'"' && it != b'\\');
    let mut text = String::with_capacity(prefix.len() + path.len() + 2);
    if plain {
        text.push_str(prefix);
        text.push_str(path);
        return text;
    }
    text.push('"');
    text.push_str(prefix);
    for byte in path.bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            0x20..0x7f => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:03o}");
            }
        }
    }
    text.push('"');
    text
}

/// What ends a `---` or `+++` line: Git puts a tab behind names with blanks, else readers cut them there.
pub(super) fn name_end(path: &str) -> &'static str {
    if path.contains(' ') { "\t" } else { "" }
}
