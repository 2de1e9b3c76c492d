//! The head of a list item: `TASK-001: text`, with the bold and code marks that people put around ids.

/// Splits `TASK-001: text` into id and text. An id has no blanks.
pub(crate) fn split_id(text: &str) -> Option<(&str, &str)> {
    let (before, after) = text.split_once(':')?;
    let id = before.trim().trim_matches(MARKS);
    let is_word = !id.is_empty() && !id.chars().any(char::is_whitespace) && !after.starts_with("//");
    is_word.then(|| (id, unmarked(before, after)))
}

/// Marks that may stand around an id.
pub(crate) const MARKS: [char; 2] = ['*', '`'];

/// The text after an id, without the marks that were opened before it.
fn unmarked<'t>(before: &str, after: &'t str) -> &'t str {
    let bold = before.trim_start().starts_with("**");
    let closed = before.trim_end().ends_with("**") && before.trim().len() > 2;
    let after = after.trim();
    if !bold || closed {
        return after;
    }
    match after.strip_prefix("**") {
        Some(rest) => rest.trim_start(),
        None => after.strip_suffix("**").unwrap_or(after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_whatever_marks_they_wear() {
        let table = [
            ("TASK-001: text", Some(("TASK-001", "text"))),
            ("**TASK-001**: a **b**", Some(("TASK-001", "a **b**"))),
            ("**TASK-001:** text", Some(("TASK-001", "text"))),
            ("**TASK-001: text**", Some(("TASK-001", "text"))),
            ("`T-1`: a: b", Some(("T-1", "a: b"))),
            ("T-1:", Some(("T-1", ""))),
            ("two words: text", None),
            ("no id", None),
            (": text", None),
            ("http://host", None),
        ];
        for (text, expected) in table {
            assert_eq!(split_id(text), expected, "{text}");
        }
    }
}
