//! Fences of Markdown, as far as they matter here: what opens, what closes, and which block is the only one.

/// Longest indentation of a fence.
const INDENT: usize = 3;
/// Shortest fence.
const SHORTEST: usize = 3;

/// An opening fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fence<'a> {
    mark: char,
    len: usize,
    /// What stands behind it, such as `python`.
    pub(super) info: &'a str,
}

impl<'a> Fence<'a> {
    /// Reads a line that opens a block (or, without `info`, closes one).
    pub(super) fn read(line: &'a str) -> Option<Self> {
        let text = line.trim_start_matches(' ');
        let mark = text.chars().next().filter(|it| matches!(it, '`' | '~'))?;
        let info = text.trim_start_matches(mark);
        let len = text.len() - info.len();
        let plain = len >= SHORTEST && line.len() - text.len() <= INDENT && !(mark == '`' && info.contains('`'));
        plain.then_some(Self { mark, len, info: info.trim() })
    }

    /// Whether `line` closes the block that this fence opened.
    pub(super) fn closed_by(&self, line: &str) -> bool {
        Fence::read(line).is_some_and(|it| it.info.is_empty() && it.mark == self.mark && it.len >= self.len)
    }

    /// The line that closes it.
    pub(super) fn closing(&self) -> String {
        self.mark.to_string().repeat(self.len)
    }
}

/// One block of a text, by line numbers from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block<'a> {
    pub(super) fence: Fence<'a>,
    pub(super) opens: usize,
    /// `None`: the text ended first.
    pub(super) closes: Option<usize>,
}

/// The blocks of a text, the way Markdown reads them; none if there are more than `most`.
pub(super) fn blocks<'a>(lines: &[&'a str], most: usize) -> Vec<Block<'a>> {
    let mut found: Vec<Block<'a>> = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let is_open = found.last().is_some_and(|block| block.closes.is_none());
        match found.last_mut().filter(|_| is_open) {
            Some(open) if open.fence.closed_by(line) => open.closes = Some(place),
            Some(_) => {}
            None => {
                let fence = Fence::read(line);
                if fence.is_some() && found.len() == most {
                    return Vec::new();
                }
                found.extend(fence.map(|fence| Block { fence, opens: place, closes: None }));
            }
        }
    }
    found
}

/// The block that stays open at the end of a text.
pub(super) fn dangling<'a>(lines: &[&'a str]) -> Option<Block<'a>> {
    blocks(lines, usize::MAX).pop().filter(|block| block.closes.is_none())
}

/// The language and the body of the only fenced block of a text; `None` if there are more or fewer, if it names no
/// language, or if it is not closed.
#[must_use]
pub fn lone_block(text: &str) -> Option<(String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let blocks = blocks(&lines, 1);
    let [Block { fence, opens, closes: Some(closes) }] = blocks.as_slice() else { return None };
    let language = fence.info.split([' ', '\t', ',', '{']).next().filter(|it| !it.is_empty())?;
    let body = lines[opens + 1..*closes].iter().flat_map(|line| [line, "\n"]).collect();
    Some((language.to_owned(), body))
}

/// A fence longer than any run of back-ticks in these lines.
pub(super) fn around<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let longest = lines.into_iter().flat_map(|line| line.split(|it| it != '`')).map(str::len).max().unwrap_or(0);
    "`".repeat(SHORTEST.max(longest + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_closed_block_with_a_language_is_the_lone_one() {
        let table = [
            ("a\n```python\nx = 1\n```\nb", Some(("python", "x = 1\n"))),
            ("~~~js title=\"a\"\n1\n~~~", Some(("js", "1\n"))),
            ("````md\n```\nx\n```\n````", Some(("md", "```\nx\n```\n"))),
            ("```\nx\n```", None),
            ("```python\nx", None),
            ("```python\nx\n```\n```sh\ny\n```", None),
            ("no block, only ```inline``` code", None),
            ("    ```python\n    x\n    ```", None),
        ];
        for (text, expected) in table {
            let found = lone_block(text);
            assert_eq!(found.as_ref().map(|(info, body)| (&**info, &**body)), expected, "{text}");
        }
    }

    #[test]
    fn a_fence_around_lines_is_longer_than_any_run_in_them() {
        assert_eq!(around(["a", "``b`"]), "```");
        assert_eq!(around(["a", " ````` b `"]), "``````");
    }
}
