//! What a Markdown text shows of itself: its headings, and which lines are text rather than code or comment.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Parser, Tag, TagEnd};

/// Longest heading that is kept, in characters.
const MAX_HEADING: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heading {
    pub(crate) offset: usize,
    pub(crate) level: HeadingLevel,
    pub(crate) text: String,
}

/// Headings and hidden places of a text, in order.
#[derive(Debug, Default)]
pub(crate) struct Outline<'t> {
    text: &'t str,
    pub(crate) headings: Vec<Heading>,
    /// Fenced code and HTML comments.
    hidden: Vec<Range<usize>>,
}

impl<'t> Outline<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        let mut outline = Self { text, ..Self::default() };
        let mut open: Option<Heading> = None;
        for (event, range) in Parser::new(text).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { level, .. }) => {
                    open = Some(Heading { offset: range.start, level, text: String::new() });
                }
                Event::End(TagEnd::Heading(_)) => outline.headings.extend(open.take()),
                Event::Text(part) | Event::Code(part) => {
                    if let Some(heading) = &mut open {
                        let room = MAX_HEADING.saturating_sub(heading.text.chars().count());
                        heading.text.extend(part.chars().take(room));
                    }
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => outline.hidden.push(range),
                Event::Start(Tag::HtmlBlock) | Event::InlineHtml(_) => outline.hide_comments(range),
                _ => {}
            }
        }
        outline
    }

    /// A comment ends where a browser would end it, also beyond its block; without an end it hides all the rest.
    fn hide_comments(&mut self, html: Range<usize>) {
        let mut at = self.hidden.last().map_or(0, |last| last.end).max(html.start);
        while let Some(begin) = self.text.get(at..html.end).and_then(|rest| rest.find("<!--")) {
            let begin = at + begin;
            let end = self.text.get(begin..).and_then(|rest| rest.find("-->"));
            at = end.map_or(self.text.len(), |end| begin + end + 3);
            self.hidden.push(begin..at);
        }
    }

    /// Lines that begin in neither code nor comment, each with where it begins.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &'t str)> {
        let mut hidden = self.hidden.iter().peekable();
        let mut offset = 0;
        self.text.split_inclusive('\n').filter_map(move |line| {
            let begin = offset;
            offset += line.len();
            while hidden.next_if(|range| range.end <= begin).is_some() {}
            let is_hidden = hidden.peek().is_some_and(|range| range.start <= begin);
            (!is_hidden).then(|| (begin, line.trim_end()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_comments_are_no_lines() {
        let text =
            "a\n```\nb\n```\nc\n<!-- d\n\ne -->\nf <!-- g\nh --> i\n~~~md\nj\n~~~\n<!-- k --> <!-- l\nm -->\nn\n";
        let lines: Vec<&str> = Outline::of(text).lines().map(|(_, line)| line).collect();
        assert_eq!(lines, ["a", "c", "f <!-- g", "n"]);
    }

    #[test]
    fn what_is_never_closed_hides_the_rest() {
        let visible = |text| Outline::of(text).lines().count();
        assert_eq!(visible("a\n<!-- b\nc\n\nd\n"), 1);
        assert_eq!(visible("a\n```\nb\nc\n"), 1);
    }

    #[test]
    fn headings_have_their_level_and_plain_text() {
        let headings = Outline::of("# A\n\n## **B** `c`\n\n```\n# d\n```\n").headings;
        let found: Vec<_> = headings.iter().map(|heading| (heading.level, heading.text.as_str())).collect();
        assert_eq!(found, [(HeadingLevel::H1, "A"), (HeadingLevel::H2, "B c")]);
    }
}
