//! Spec Kit's ids, `T\d{3,}[a-z]?`, and where a text mentions them.

use std::collections::BTreeMap;
use std::ops::Bound::Excluded;

use super::super::limit::MAX_DEPENDENCIES;

/// What stands between the two ends of a range.
const RANGE: [&str; 7] = ["-", "–", "—", "..", "…", "to", "through"];

/// The id that a text begins with.
pub(crate) fn leading_id(text: &str) -> Option<&str> {
    let digits = text.strip_prefix('T')?.bytes().take_while(u8::is_ascii_digit).count();
    let suffix = text.get(1 + digits..)?.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let end = 1 + digits + usize::from(suffix);
    let goes_on = text.get(end..)?.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (digits >= 3 && !goes_on).then(|| text.get(..end)).flatten()
}

/// The number and suffix of an id, for ranges. A number beyond all bounds is the last.
pub(crate) fn number(id: &str) -> (u64, &str) {
    let rest = id.strip_prefix('T').unwrap_or(id);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = rest.split_at_checked(digits).unwrap_or((rest, ""));
    (number.parse().unwrap_or(u64::MAX), suffix)
}

/// The ids of every `(depends on T012, T013)`; `T012-T015` means all tasks from one to the other.
pub(crate) fn depends_on<'t>(text: &'t str, known: &BTreeMap<(u64, &str), &'t str>) -> Vec<&'t str> {
    const BEGIN: &str = "(depends on";
    let lower = text.to_ascii_lowercase();
    let mut ids = Vec::new();
    let mut from = 0;
    while let Some(begin) = lower.get(from..).and_then(|rest| rest.find(BEGIN)) {
        let inner = from + begin + BEGIN.len();
        let rest = text.get(inner..).unwrap_or("");
        let list = rest.split_once(')').map_or(rest, |(list, _)| list);
        in_list(list, known, &mut ids);
        from = inner + list.len();
    }
    ids
}

/// Stops when there are too many for any plan.
fn in_list<'t>(list: &'t str, known: &BTreeMap<(u64, &str), &'t str>, ids: &mut Vec<&'t str>) {
    let mut last: Option<(usize, &str)> = None;
    for (start, id) in all(list) {
        if ids.len() > MAX_DEPENDENCIES {
            return;
        }
        if let Some((end, first)) = last {
            let between = list.get(end..start).unwrap_or("").trim().trim_matches(['*', '`']);
            let (from, to) = (number(first), number(id));
            if RANGE.contains(&between) && from < to {
                ids.extend(known.range((Excluded(from), Excluded(to))).map(|(_, id)| *id));
            }
        }
        ids.push(id);
        last = Some((start + id.len(), id));
    }
}

/// Every id in a text, with where it begins.
fn all(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices('T').filter_map(move |(start, _)| {
        let before = text.get(..start)?.chars().next_back();
        let begins = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        begins.then(|| leading_id(text.get(start..)?)).flatten().map(|id| (start, id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_three_digits_or_more_and_at_most_one_letter() {
        for (text, id) in [("T001 x", "T001"), ("T1234b: x", "T1234b"), ("T001]", "T001"), ("T001", "T001")] {
            assert_eq!(leading_id(text), Some(id), "{text}");
        }
        for text in ["T01 x", "t001", "TXXX", "T001ab", "T001A", "T001_1", "001", "", "T"] {
            assert_eq!(leading_id(text), None, "{text}");
        }
    }

    #[test]
    fn dependencies_are_read_from_their_brackets_only() {
        let ids = ["T010", "T011", "T012", "T012a", "T013", "T014"];
        let known = ids.iter().map(|id| (number(id), *id)).collect();
        let table: [(&str, &[&str]); 9] = [
            ("x (depends on T012, T013)", &["T012", "T013"]),
            ("x (Depends on **T010** and T011) y (depends on T014)", &["T010", "T011", "T014"]),
            ("x (depends on T011-T013)", &["T011", "T012", "T012a", "T013"]),
            ("x (depends on T010 to T011; T014)", &["T010", "T011", "T014"]),
            ("x (depends on T014-T010)", &["T014", "T010"]),
            ("x (depends on T099)", &["T099"]),
            ("x (depends on T010", &["T010"]),
            ("T010 depends on T011 (see T012)", &[]),
            ("x (depends on nothing) ß(DEPENDS ON T010)", &["T010"]),
        ];
        for (text, expected) in table {
            assert_eq!(depends_on(text, &known), expected, "{text}");
        }
    }
}
