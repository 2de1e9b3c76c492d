//! Headers: the lines of an answer that say what happens to which path.
//!
//! A header is one with this call's nonce, which no file and no critique can know. Answers that forget it altogether are
//! taken as meant, as long as no header has any nonce.

use super::fence::Fence;

/// What a header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    File,
    Edit,
    Move,
    Delete,
    Notes,
}

impl Verb {
    const ALL: [Self; 5] = [Self::File, Self::Edit, Self::Move, Self::Delete, Self::Notes];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::File => "FILE",
            Self::Edit => "EDIT",
            Self::Move => "MOVE",
            Self::Delete => "DELETE",
            Self::Notes => "NOTES",
        }
    }

    /// Splits a verb off, in any case; true if it was written in capitals.
    fn split(text: &str) -> Option<(Self, bool, &str)> {
        Self::ALL.into_iter().find_map(|verb| {
            let (start, rest) = text.split_at_checked(verb.as_str().len())?;
            start.eq_ignore_ascii_case(verb.as_str()).then_some((verb, start == verb.as_str(), rest))
        })
    }
}

/// One header line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) verb: Verb,
    /// What stands in brackets behind the verb.
    token: Option<&'a str>,
    /// Whether the line looks like a heading: with number signs, bold or back-ticked.
    marked: bool,
    capitals: bool,
    /// What follows, without decoration.
    pub(super) rest: &'a str,
}

/// Longest nonce that is looked for.
const LONGEST_TOKEN: usize = 64;
/// Bold and code around a header, at most two deep.
const WRAPS: [&str; 3] = ["**", "__", "`"];

/// Reads a line as a header, whatever its nonce.
pub(super) fn read(line: &str) -> Option<Header<'_>> {
    let line = line.trim_end();
    let text = line.trim_start_matches(' ');
    let plain = text.trim_start_matches('#');
    let signs = text.len() - plain.len();
    if line.len() - text.len() > 3 || signs > 6 {
        return None;
    }
    let mut text = plain.trim_start();
    let mut wraps: [Option<&str>; 2] = [None, None];
    for wrap in &mut wraps {
        *wrap = WRAPS.into_iter().find(|it| text.starts_with(it));
        text = &text[wrap.map_or(0, str::len)..];
    }
    let marked = signs > 0 || wraps[0].is_some();
    let (verb, capitals, rest) = Verb::split(text)?;
    let (token, rest) = split_token(rest);
    let ends = |it: char| it.is_whitespace() || matches!(it, ':' | '*' | '_' | '`');
    if token.is_none() && !rest.chars().next().is_none_or(ends) {
        return None;
    }
    Some(Header { verb, token, marked, capitals, rest: unwrapped(rest, wraps) })
}

fn split_token(rest: &str) -> (Option<&str>, &str) {
    let inner = rest.trim_start_matches(' ').strip_prefix('[');
    let found = inner.and_then(|inner| inner.find(']').map(|end| (inner[..end].trim(), &inner[end + 1..])));
    match found.filter(|(token, _)| token.len() <= LONGEST_TOKEN) {
        Some((token, rest)) => (Some(token), rest),
        None => (None, rest),
    }
}

/// The rest of a header without the ends of what was opened before the verb.
fn unwrapped<'a>(rest: &'a str, wraps: [Option<&str>; 2]) -> &'a str {
    let colon = |text: &'a str| text.strip_prefix(':').unwrap_or(text);
    let mut rest = colon(rest);
    // What ends right behind the verb was opened last; what ends with the line was opened first.
    let mut open = wraps.map(|wrap| wrap.unwrap_or_default());
    for wrap in open.iter_mut().rev() {
        if let Some(after) = rest.strip_prefix(*wrap) {
            (rest, *wrap) = (colon(after), "");
        }
    }
    for wrap in open {
        rest = rest.strip_suffix(wrap).unwrap_or(rest);
    }
    colon(rest).trim()
}

/// A path as written in a header: without back-ticks (and what follows them), bold, quotes, a colon at the end.
pub(super) fn argument(rest: &str) -> &str {
    let rest = rest.trim();
    let inner = rest.trim_start_matches('`');
    let ticks = &rest[..rest.len() - inner.len()];
    if !ticks.is_empty() {
        return inner.find(ticks).map_or(rest, |end| &inner[..end]);
    }
    let rest = rest.strip_suffix(':').unwrap_or(rest);
    for wrap in ["**", "__", "\""] {
        let inner = rest.strip_prefix(wrap).and_then(|it| it.strip_suffix(wrap));
        if let Some(inner) = inner.filter(|it| !it.is_empty()) {
            return inner;
        }
    }
    rest
}

/// Both paths of a move. Paths may contain arrows: the first split whose left side is known wins.
pub(super) fn arguments(rest: &str, known: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    const ARROWS: [&str; 3] = ["->", "=>", "→"];
    /// More arrows than that are no pair of paths.
    const SPLITS: usize = 16;
    let aside = |it: Option<char>| it.is_some_and(|it| it.is_whitespace() || it == '`');
    let at = |(place, _): (usize, char)| {
        let arrow = ARROWS.into_iter().find(|arrow| rest[place..].starts_with(arrow))?;
        let (left, right) = (&rest[..place], &rest[place + arrow.len()..]);
        let apart = aside(left.chars().next_back()) && aside(right.chars().next());
        apart.then(|| (argument(left), argument(right)))
    };
    let splits: Vec<_> = rest.char_indices().filter_map(at).take(SPLITS).collect();
    splits.iter().find(|(from, _)| known(from)).or(splits.first()).copied()
}

/// The headers of an answer with their line numbers: those with the nonce, or, if none has any, those without.
pub(super) fn find<'a>(lines: &[&'a str], nonce: &str) -> Vec<(usize, Header<'a>)> {
    let all = lines.iter().enumerate().filter_map(|(place, line)| Some((place, read(line)?)));
    let all: Vec<_> = all.filter(|(_, it)| it.marked || it.token == Some(nonce)).collect();
    let ours = |it: &Header| !nonce.is_empty() && it.token == Some(nonce);
    if all.iter().any(|(_, it)| ours(it)) {
        return all.into_iter().filter(|(_, it)| ours(it)).collect();
    }
    if all.iter().any(|(_, it)| it.token.is_some()) {
        return Vec::new();
    }
    let bare: Vec<_> = all.into_iter().filter(|(_, it)| it.capitals).collect();
    outside_of_blocks(lines, bare)
}

/// Without a nonce a header inside of a block is text, if the fences of the answer can be told apart at all.
fn outside_of_blocks<'a>(lines: &[&'a str], headers: Vec<(usize, Header<'a>)>) -> Vec<(usize, Header<'a>)> {
    if headers.is_empty() {
        return headers;
    }
    let mut open: Vec<Fence<'_>> = Vec::new();
    let mut outside = vec![false; lines.len()];
    for (place, line) in lines.iter().enumerate() {
        outside[place] = open.is_empty();
        match (Fence::read(line), open.last()) {
            (None, _) => {}
            (Some(_), Some(last)) if last.closed_by(line) => drop(open.pop()),
            (Some(fence), None) => open.push(fence),
            (Some(fence), Some(_)) if !fence.info.is_empty() => open.push(fence),
            (Some(_), Some(_)) => {}
        }
    }
    let kept: Vec<_> = headers.iter().filter(|(place, _)| outside[*place]).cloned().collect();
    if kept.is_empty() || !open.is_empty() { headers } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_in_every_decoration() {
        for line in [
            "### FILE[k7] src/a b.py",
            "# FILE[k7] src/a b.py",
            "###FILE[k7] src/a b.py  ",
            "### FILE [k7] src/a b.py",
            "### FILE[k7]: src/a b.py",
            "### FILE[k7] `src/a b.py`",
            "### FILE[k7] `src/a b.py` (new)",
            "### `FILE[k7] src/a b.py`",
            "### `FILE[k7]` `src/a b.py`",
            "**FILE[k7] src/a b.py**",
            "**FILE[k7]** src/a b.py",
            "**FILE[k7]:** `src/a b.py`",
            "**`FILE[k7]`** **src/a b.py**",
            "**`FILE[k7] src/a b.py`**",
            "### **FILE[k7] `src/a b.py`**",
            "### FILE[k7] \"src/a b.py\"",
            "### FILE[k7] src/a b.py:",
            "file[k7] src/a b.py",
            "   FILE[k7] src/a b.py\r",
        ] {
            let header = read(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!((header.verb, header.token), (Verb::File, Some("k7")), "{line}");
            assert_eq!(argument(header.rest), "src/a b.py", "{line}");
        }
    }

    #[test]
    fn other_lines_are_no_headers() {
        for line in
            ["### FILES[k7] a", "    ### FILE[k7] a", "####### FILE[k7] a", "FILENAME = 1", "### Filed under a", ""]
        {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn a_move_is_split_at_the_arrow_whose_left_side_is_known() {
        let table = [
            ("a.py -> b.py", Some(("a.py", "b.py"))),
            ("`a.py` -> `b.py`", Some(("a.py", "b.py"))),
            ("`a.py`->`b.py`", Some(("a.py", "b.py"))),
            ("a.py → b.py", Some(("a.py", "b.py"))),
            ("x -> y -> z", Some(("x -> y", "z"))),
            ("a->b", None),
            ("a.py b.py", None),
        ];
        for (rest, expected) in table {
            assert_eq!(arguments(rest, |path| path == "x -> y"), expected, "{rest}");
        }
    }

    fn verbs(text: &str) -> Vec<Verb> {
        find(&text.lines().collect::<Vec<_>>(), "k7").into_iter().map(|(_, it)| it.verb).collect()
    }

    #[test]
    fn one_header_with_the_nonce_makes_all_others_text() {
        assert_eq!(verbs("### FILE[k7] a\n### DELETE b\n### MOVE[zz] a -> b"), [Verb::File]);
        assert_eq!(verbs("### FILE a\n### DELETE b"), [Verb::File, Verb::Delete]);
        assert_eq!(verbs("### FILE a\n### DELETE[zz] b"), []);
        assert_eq!(verbs("### FILE a\n```md\n### DELETE b\n```"), [Verb::File]);
        assert_eq!(verbs("```md\n### FILE a\n```"), [Verb::File]);
        assert_eq!(verbs("FILE a\n### file b\n### Notes"), []);
    }
}
