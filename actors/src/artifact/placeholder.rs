//! Lines that stand for text that the author did not write: «… rest of file».

/// What opens and closes a comment in the languages that agents write.
const COMMENTS: [&str; 16] =
    ["{/*", "<!--", "\"\"\"", "///", "//", "/*", "--", "#", ";", "%", "'", "*/}", "-->", "*/", "*", "rem "];
const BRACKETS: [char; 8] = ['(', ')', '[', ']', '<', '>', '{', '}'];
/// Longest phrase of a placeholder: longer ones are sentences.
const WORDS: usize = 10;
/// Words that say that something stays.
const STAYS: [&str; 13] = [
    "rest",
    "existing",
    "remaining",
    "remainder",
    "unchanged",
    "omitted",
    "same",
    "previous",
    "other",
    "elided",
    "truncated",
    "snip",
    "above",
];
/// What is left out.
const THINGS: [&str; 18] = [
    "of",
    "code",
    "file",
    "lines",
    "functions",
    "methods",
    "imports",
    "tests",
    "implementation",
    "class",
    "content",
    "contents",
    "logic",
    "body",
    "module",
    "parts",
    "definitions",
    "function",
];
/// How a phrase without an ellipsis in front ends.
const ENDS: [&str; 8] = ["here", "unchanged", "omitted", "same", "before", "above", "remains", "is"];

/// Whether a line is a placeholder: an ellipsis and a few words that say that something stays, or a comment to that end.
pub(super) fn is_placeholder(line: &str) -> bool {
    let text = line.trim();
    // Most lines end here; a placeholder is short.
    if text.is_empty() || text.len() > 160 {
        return false;
    }
    let (text, comment) = uncommented(text);
    let text = text.trim_matches(|it: char| BRACKETS.contains(&it) || it.is_whitespace());
    let (leads, text) = without_dots(text, |it, dots| it.strip_prefix(dots));
    let (trails, text) = without_dots(text, |it, dots| it.strip_suffix(dots));
    let words: Vec<String> = text.split(|it: char| !it.is_alphanumeric()).map(str::to_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
    let words = words.strip_prefix(&["the"]).unwrap_or(&words);
    match words {
        [] => comment && leads && text.is_empty(),
        _ if words.len() > WORDS => false,
        _ if leads => words.iter().any(|word| STAYS.contains(word)),
        [first, second, ..] => {
            let last = words.last().is_some_and(|last| ENDS.contains(last));
            comment && STAYS.contains(first) && THINGS.contains(second) && (trails || last)
        }
        [word] => comment && matches!(*word, "unchanged" | "omitted" | "snip"),
    }
}

/// The text of a comment, and whether it was one.
fn uncommented(line: &str) -> (&str, bool) {
    let (mut text, mut comment) = (line, false);
    while let Some(mark) = COMMENTS.into_iter().find(|mark| text.starts_with(mark)) {
        (text, comment) = (text[mark.len()..].trim_start(), true);
    }
    while let Some(mark) = COMMENTS.into_iter().find(|mark| comment && text.ends_with(mark)) {
        text = text[..text.len() - mark.len()].trim_end();
    }
    (text, comment)
}

fn without_dots<'a>(text: &'a str, strip: impl Fn(&'a str, &'static str) -> Option<&'a str>) -> (bool, &'a str) {
    match strip(text, "...").or_else(|| strip(text, "…")) {
        Some(rest) => (true, rest.trim_matches(['.', ' '])),
        None => (false, text),
    }
}

/// The first placeholder among new lines that the base does not have.
pub(super) fn first<'a>(new: &[&'a str], known: impl Fn(&str) -> bool) -> Option<&'a str> {
    new.iter().copied().find(|line| is_placeholder(line) && !known(line.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_from_code_and_prose() {
        for line in [
            "… rest of file",
            "    # ... rest of the file ...",
            "// ... existing code ...",
            "/* ... unchanged ... */",
            "<!-- ... rest of the page unchanged ... -->",
            "# rest of the code remains unchanged",
            "// rest of file...",
            "# existing code here",
            "# ...",
            "[... remaining lines omitted ...]",
            "... (same as before)",
            "{/* ... other imports ... */}",
            "-- unchanged",
        ] {
            assert!(is_placeholder(line), "{line}");
        }
        for line in [
            "...",
            "def f(): ...",
            "    ...",
            "print('loading the rest of the file...')",
            "# wait for the remaining workers...",
            "# existing users are kept",
            "Text that goes on...",
            "for rest of",
            "x = [...]",
            "* other things we do not know",
            "same",
            "",
            "#",
            "# the same as before but with a longer explanation of what all of this is about ...",
        ] {
            assert!(!is_placeholder(line), "{line}");
        }
    }
}
