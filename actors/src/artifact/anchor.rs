//! Anchors: old lines that must stand at exactly one place of a file. Never by similarity: a near miss is a miss.

use std::borrow::Cow;

use super::bounds::{self, Effort};
use super::text::{Grade, Line};

/// The lines of a file as each grade compares them.
pub(super) struct Index<'t> {
    exact: Vec<&'t str>,
    trimmed: Vec<&'t str>,
    pub(super) stripped: Vec<&'t str>,
}

impl<'t> Index<'t> {
    pub(super) fn new(lines: &'t [Line<'_>]) -> Self {
        let exact: Vec<&str> = lines.iter().map(|line| &*line.text).collect();
        let trimmed: Vec<&str> = exact.iter().map(|line| line.trim_end()).collect();
        let stripped = trimmed.iter().map(|line| line.trim_start()).collect();
        Self { exact, trimmed, stripped }
    }

    /// A line as it stands in the file.
    pub(super) fn line(&self, place: usize) -> &'t str {
        self.exact.get(place).copied().unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.exact.len()
    }
}

/// How the indentation of a file differs from that of an anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    None,
    /// The file has this much more.
    Deeper(String),
    /// The anchor has this much more.
    Shallower(String),
}

impl Shift {
    /// New text as it belongs into the file; `None` if a line has less indentation than is to be taken away.
    pub(super) fn apply<'a>(&self, line: &'a str) -> Option<Cow<'a, str>> {
        match self {
            Self::None => Some(Cow::Borrowed(line)),
            _ if line.trim().is_empty() => Some(Cow::Borrowed("")),
            Self::Deeper(more) => Some(Cow::Owned(format!("{more}{line}"))),
            Self::Shallower(more) => line.strip_prefix(more.as_str()).map(Cow::Borrowed),
        }
    }

    /// The one shift that turns all lines of the anchor into those of the file.
    fn between(file: &[&str], anchor: &[&str]) -> Option<Self> {
        let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
        let mut pairs = file.iter().zip(anchor).filter(|(_, anchor)| !anchor.trim().is_empty());
        let pairs = pairs.by_ref().map(|(file, anchor)| (&file[..indent(file)], &anchor[..indent(anchor)]));
        let pairs: Vec<(&str, &str)> = pairs.collect();
        let (file, anchor) = *pairs.first()?;
        let (shift, more) = match (file.strip_suffix(anchor), anchor.strip_suffix(file)) {
            (Some(more), _) => (Self::Deeper(more.to_owned()), more),
            (None, Some(more)) => (Self::Shallower(more.to_owned()), more),
            (None, None) => return None,
        };
        let deeper = matches!(shift, Self::Deeper(_));
        let same = |(file, anchor): &(&str, &str)| match deeper {
            true => file.strip_prefix(more) == Some(anchor),
            false => anchor.strip_prefix(more) == Some(file),
        };
        pairs.iter().all(same).then_some(shift)
    }
}

/// Where an anchor stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    One {
        start: usize,
        grade: Grade,
        shift: Shift,
    },
    Nowhere,
    /// The first few places.
    Many(Vec<usize>),
    /// The effort is used up.
    Spent,
}

/// Looks an anchor up: exact, else without white space at line ends, else with one shift of indentation. The first grade
/// that has any place decides.
pub(super) fn find(index: &Index<'_>, old: &[&str], effort: &mut Effort) -> Found {
    let trimmed: Vec<&str> = old.iter().map(|line| line.trim_end()).collect();
    let stripped: Vec<&str> = trimmed.iter().map(|line| line.trim_start()).collect();
    let any = |_: usize| Some(Shift::None);
    let shifted = |start: usize| Shift::between(&index.trimmed[start..start + old.len()], &trimmed);
    let found = scan(&index.exact, old, effort, any).map(|places| (Grade::Exact, places));
    let found =
        found.or_else(|| scan(&index.trimmed, &trimmed, effort, any).map(|places| (Grade::TrailingSpace, places)));
    let found =
        found.or_else(|| scan(&index.stripped, &stripped, effort, shifted).map(|places| (Grade::Indent, places)));
    match found {
        None => Found::Nowhere,
        Some((_, None)) => Found::Spent,
        Some((grade, Some(places))) => match <[(usize, Shift); 1]>::try_from(places) {
            Ok([(start, shift)]) => Found::One { start, grade, shift },
            Err(places) => Found::Many(places.into_iter().map(|(start, _)| start).collect()),
        },
    }
}

/// Places where all lines are the same: `None` for none, `Some(None)` when the effort is used up.
fn scan(
    file: &[&str],
    anchor: &[&str],
    effort: &mut Effort,
    accept: impl Fn(usize) -> Option<Shift>,
) -> Option<Option<Vec<(usize, Shift)>>> {
    let mut places = Vec::new();
    for start in 0..(file.len() + 1).saturating_sub(anchor.len()) {
        let mut same = 0;
        while same < anchor.len() && file[start + same] == anchor[same] {
            if !effort.spend_bytes(anchor[same].len()) {
                return Some(None);
            }
            same += 1;
        }
        if !effort.spend(1) {
            return Some(None);
        }
        if same == anchor.len() {
            if !effort.spend(2 * same) {
                return Some(None);
            }
            places.extend(accept(start).map(|shift| (start, shift)));
        }
        if places.len() == bounds::PLACES {
            break;
        }
    }
    (!places.is_empty()).then_some(Some(places))
}

#[cfg(test)]
mod tests {
    use super::super::text::Text;
    use super::*;

    fn look(file: &str, old: &[&str]) -> Found {
        let text = Text::new(file);
        find(&Index::new(&text.lines), old, &mut Effort::new())
    }

    #[test]
    fn the_first_grade_with_a_place_decides() {
        let deeper = |more: &str| Shift::Deeper(more.into());
        let one = |start, grade, shift| Found::One { start, grade, shift };
        let table = [
            ("a\nb\n", vec!["b"], one(1, Grade::Exact, Shift::None)),
            ("b \nb\n", vec!["b"], one(1, Grade::Exact, Shift::None)),
            ("a\nb  \n", vec!["b\t"], one(1, Grade::TrailingSpace, Shift::None)),
            ("b \nb  \n", vec!["b"], Found::Many(vec![0, 1])),
            ("a\n  b\n\n    c\n", vec!["b", "", "  c"], one(1, Grade::Indent, deeper("  "))),
            ("b\n  c\n", vec!["\tb", "\t  c"], one(0, Grade::Indent, Shift::Shallower("\t".into()))),
            ("  b\n   c\n", vec!["b", "  c"], Found::Nowhere),
            ("  b\n  c\n", vec!["b", "  c"], Found::Nowhere),
            ("\tb\n", vec!["  b"], Found::Nowhere),
            ("x\ny\nx\n", vec!["x"], Found::Many(vec![0, 2])),
            ("a\n", vec!["a", "b"], Found::Nowhere),
            ("aa\n", vec!["a"], Found::Nowhere),
        ];
        for (file, old, expected) in table {
            assert_eq!(look(file, &old), expected, "{file:?} {old:?}");
        }
    }

    #[test]
    fn new_text_moves_with_the_anchor() {
        assert_eq!(Shift::Deeper("  ".into()).apply("x").as_deref(), Some("  x"));
        assert_eq!(Shift::Deeper("  ".into()).apply(" ").as_deref(), Some(""));
        assert_eq!(Shift::Shallower("\t".into()).apply("\t\tx").as_deref(), Some("\tx"));
        assert_eq!(Shift::Shallower("\t".into()).apply("x"), None);
    }

    #[test]
    fn an_anchor_made_to_be_slow_is_given_up() {
        let file = "a\n".repeat(120_000);
        let mut old = vec!["a"; 60_000];
        old.push("b");
        assert_eq!(look(&file, &old), Found::Spent);
    }
}
