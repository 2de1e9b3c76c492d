//! A file as lines, with everything that must survive an edit: line ends, a missing newline at the end, a byte order mark.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::align;

const MARK: char = '\u{feff}';

/// How an anchor was matched, the worst of a file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    Exact,
    /// No anchor: the file came, went or moved as a whole.
    Whole,
    /// But for white space at line ends.
    TrailingSpace,
    /// With one uniform shift of indentation.
    Indent,
}

/// One line without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) crlf: bool,
}

/// The lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    mark: bool,
    pub(super) lines: Vec<Line<'a>>,
    /// Whether the last line has an end.
    closed: bool,
}

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let (mark, body) = text.strip_prefix(MARK).map_or((false, text), |body| (true, body));
        let closed = body.is_empty() || body.ends_with('\n');
        let mut lines: Vec<Line<'a>> = body.split_inclusive('\n').map(Line::new).collect();
        let crlf = lines.iter().filter(|line| line.crlf).count();
        if let Some(last) = lines.last_mut().filter(|_| !closed) {
            last.crlf = crlf > 0;
        }
        Self { mark, lines, closed }
    }

    /// Replaces all lines by those of an author, in the line ends of the file: a line that stays keeps its own.
    pub(super) fn rewrite(&mut self, body: &[&'a str], effort: &mut super::bounds::Effort) {
        let mut new: Vec<&'a str> = body.iter().map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        if let Some(first) = new.first_mut() {
            *first = first.strip_prefix(MARK).unwrap_or(first);
        }
        let crlf = self.crlf_at(0);
        let mut lines: Vec<Line<'a>> = new.iter().map(|text| Line { text: Cow::Borrowed(*text), crlf }).collect();
        if self.lines.iter().any(|line| line.crlf != crlf) {
            let old: Vec<&str> = self.lines.iter().map(|line| &*line.text).collect();
            for run in align::common(&old, &new, effort) {
                for place in 0..run.len {
                    lines[run.new + place].crlf = self.lines[run.old + place].crlf;
                }
            }
        }
        self.lines = lines;
    }

    /// The line end of a place, for lines that come in there.
    pub(super) fn crlf_at(&self, place: usize) -> bool {
        self.lines.get(place).or(self.lines.last()).is_some_and(|line| line.crlf)
    }

    pub(super) fn render(&self) -> String {
        let bytes: usize = self.lines.iter().map(|line| line.text.len() + 2).sum();
        let mut text = String::with_capacity(bytes + MARK.len_utf8());
        text.extend(self.mark.then_some(MARK));
        for (place, line) in self.lines.iter().enumerate() {
            text.push_str(&line.text);
            if self.closed || place + 1 < self.lines.len() {
                text.push_str(if line.crlf { "\r\n" } else { "\n" });
            }
        }
        text
    }
}

impl<'a> Line<'a> {
    fn new(raw: &'a str) -> Self {
        let text = raw.strip_suffix('\n').unwrap_or(raw);
        let bare = text.strip_suffix('\r').filter(|_| text.len() < raw.len());
        Self { text: Cow::Borrowed(bare.unwrap_or(text)), crlf: bare.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Effort;
    use super::*;

    #[test]
    fn every_text_comes_back_as_it_was() {
        for text in ["", "a", "a\n", "a\r\nb\n", "\r\n", "\n\n", "a\r", "\u{feff}a\r\nb", "a\rb\n", "\u{feff}"] {
            assert_eq!(Text::new(text).render(), text, "{text:?}");
        }
    }

    #[test]
    fn a_rewritten_file_keeps_its_line_ends() {
        let table = [
            ("a\r\nb\r\n", "a\r\nx\r\n"),
            ("a\r\nb", "a\r\nx"),
            ("a\nb\r\nc\r\n", "a\nx\n"),
            ("b\r\na\n", "a\nx\r\n"),
            ("\u{feff}a\n", "\u{feff}a\nx\n"),
            ("", "a\nx\n"),
        ];
        for (before, after) in table {
            let mut text = Text::new(before);
            text.rewrite(&["a", "x"], &mut Effort::new());
            assert_eq!(text.render(), after, "{before:?}");
        }
    }
}
