//! C and C++ without their preprocessor, and which errors to believe then.
//!
//! No grammar reads a macro that it has not expanded: `FOO(int) x` is right or wrong as `FOO` is defined elsewhere, and
//! half of all real files hold such a place. What can be said for sure is whether brackets and quotes pair up once one
//! branch of each `#if` is taken; and in a file that takes no macros from anywhere, the grammar can be believed.

use super::finding::{Finding, What, line_start};

/// A text with its directives, comments and literals blanked, byte for byte as long as before.
pub(super) struct Plain {
    /// Without directives and untaken branches; comments and literals stay.
    pub(super) code: String,
    /// The first bracket or quote that has no partner.
    pub(super) unpaired: Option<Finding>,
}

/// One `#if` that is open.
struct Condition {
    /// Whether its present branch is kept.
    kept: bool,
    /// Whether some branch was kept: only the first that can be is.
    settled: bool,
}

struct Scanner<'text> {
    text: &'text str,
    at: usize,
    code: Vec<u8>,
    conditions: Vec<Condition>,
    open: Vec<(u8, usize)>,
    unpaired: Option<Finding>,
}

impl Plain {
    pub(super) fn of(text: &str) -> Self {
        let code = text.as_bytes().to_vec();
        let mut scanner = Scanner { text, at: 0, code, conditions: Vec::new(), open: Vec::new(), unpaired: None };
        scanner.run();
        let unclosed = || scanner.open.last().map(|(bracket, at)| unclosed(char::from(*bracket), *at));
        let unpaired = scanner.unpaired.clone().or_else(unclosed);
        // Only whole lines and whole branches were blanked, so no character was cut.
        Self { code: String::from_utf8(scanner.code).unwrap_or_default(), unpaired }
    }
}

fn unclosed(sign: char, byte: usize) -> Finding {
    Finding { byte, what: What::Unclosed(sign) }
}

impl Scanner<'_> {
    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(b'\n')
    }

    fn kept(&self) -> bool {
        self.conditions.iter().all(|condition| condition.kept)
    }

    fn run(&mut self) {
        let mut line_is_blank = true;
        while self.at < self.text.len() {
            let byte = self.byte(0);
            if byte == b'#' && line_is_blank {
                self.directive();
                continue;
            }
            line_is_blank = byte == b'\n' || (line_is_blank && byte.is_ascii_whitespace());
            match (byte, self.byte(1)) {
                (b'/', b'/') => self.skip_to(self.line_end()),
                (b'/', b'*') => self.skip_to(self.after("*/", 2)),
                _ if !self.kept() => {
                    if byte != b'\n' {
                        self.code[self.at] = b' ';
                    }
                    self.at += 1;
                }
                (b'"' | b'\'', _) => self.literal(byte),
                _ => {
                    self.bracket(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// Goes on at `end`; what lies between stays only in a branch that is kept.
    fn skip_to(&mut self, end: usize) {
        if !self.kept() {
            self.blank(end);
        }
        self.at = end;
    }

    fn blank(&mut self, end: usize) {
        for byte in &mut self.code[self.at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }

    /// The end of the logical line, before its line break.
    fn line_end(&self) -> usize {
        let bytes = self.text.as_bytes();
        let mut at = self.at;
        while at < bytes.len() && (bytes[at] != b'\n' || bytes[at - 1] == b'\\') {
            at += 1;
        }
        at
    }

    fn after(&self, mark: &str, skip: usize) -> usize {
        let from = self.at + skip;
        let found = self
            .text
            .as_bytes()
            .get(from..)
            .and_then(|rest| rest.windows(mark.len()).position(|window| window == mark.as_bytes()));
        found.map_or(self.text.len(), |found| from + found + mark.len())
    }

    /// A string or a character, or the `'` inside a number.
    fn literal(&mut self, quote: u8) {
        let before = self.at.checked_sub(1).map_or(b' ', |at| self.text.as_bytes()[at]);
        if quote == b'\'' && before.is_ascii_hexdigit() {
            self.at += 1;
            return;
        }
        let word = self.text[..self.at].rsplit(|c: char| !c.is_alphanumeric() && c != '_').next();
        if quote == b'"' && matches!(word, Some("R" | "LR" | "uR" | "UR" | "u8R")) {
            let rest = &self.text[self.at + 1..];
            let delimiter = rest.find('(').map_or("", |end| &rest[..end]);
            self.at = self.after(&format!("){delimiter}\""), 1);
            return;
        }
        let start = self.at;
        self.at += 1;
        loop {
            match self.byte(0) {
                b'\\' => self.at += 2,
                b'\n' => {
                    self.unpaired.get_or_insert_with(|| unclosed(char::from(quote), start));
                    return;
                }
                byte => {
                    self.at += 1;
                    if byte == quote {
                        return;
                    }
                }
            }
        }
    }

    fn bracket(&mut self, byte: u8) {
        let partner = match byte {
            b'(' | b'[' | b'{' => return self.open.push((byte, self.at)),
            b')' => b'(',
            b']' => b'[',
            b'}' => b'{',
            _ => return,
        };
        if self.open.pop().is_none_or(|(open, _)| open != partner) && self.unpaired.is_none() {
            let what = What::unexpected(char::from(byte).encode_utf8(&mut [0; 4]));
            self.unpaired = Some(Finding { byte: self.at, what });
        }
    }

    fn directive(&mut self) {
        let line = &self.text[self.at..self.line_end()];
        let words = line[1..].trim_start();
        let name_end = words.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(words.len());
        let (name, rest) = words.split_at(name_end);
        let never = rest.trim_start().split(|c: char| !c.is_ascii_alphanumeric()).next() == Some("0");
        match (name, self.conditions.last_mut()) {
            ("if" | "ifdef" | "ifndef", _) => {
                let kept = !(name == "if" && never);
                self.conditions.push(Condition { kept, settled: kept });
            }
            ("elif" | "elifdef" | "elifndef" | "else", Some(condition)) => {
                let taken = condition.settled || (name == "elif" && never);
                condition.kept = !taken;
                condition.settled |= condition.kept;
            }
            ("endif", _) => drop(self.conditions.pop()),
            _ => {}
        }
        // A comment that begins in a directive may go on after it.
        let end = self.at + open_comment(line).unwrap_or(line.len());
        self.blank(end);
        self.at = end;
    }
}

/// Where a comment begins that a directive does not end.
fn open_comment(line: &str) -> Option<usize> {
    let start = line.rfind("/*").filter(|start| !line[*start..].contains("*/"))?;
    let is_quoted = line[..start].matches('"').count() % 2 == 1;
    (!is_quoted && !line[..start].contains("//")).then_some(start)
}

/// Whether nothing in a text can be a macro from elsewhere: it includes standard headers only, and defines none but
/// guards and plain numbers or texts.
pub(super) fn is_self_contained(text: &str) -> bool {
    text.lines().map(str::trim).filter_map(|line| line.strip_prefix('#')).map(str::trim_start).all(|line| {
        let (name, rest) = line.split_once(|c: char| c.is_whitespace() || c == '<').unwrap_or((line, ""));
        match name {
            "include" => {
                let header = rest.trim().trim_start_matches('<').split('>').next().unwrap_or_default();
                !rest.contains('"') && is_standard(header)
            }
            "define" => defines_a_constant(rest),
            "pragma" | "ifndef" | "endif" => true,
            _ => false,
        }
    })
}

fn is_standard(header: &str) -> bool {
    const OF_C: &str = " assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign \
        stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar unistd wchar \
        wctype pthread ";
    match header.strip_suffix(".h") {
        Some(name) => OF_C.contains(&format!(" {name} ")),
        // Those of C++ have one word and no extension.
        None => !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
    }
}

fn defines_a_constant(rest: &str) -> bool {
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let value = rest[end..].trim();
    // A parameter list follows its name without a blank.
    !rest[end..].starts_with('(')
        && (value.is_empty() || value.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '"' | '\'' | '-' | '(')))
        && !value.ends_with('\\')
}

/// Whether a macro may explain an error: a name in capitals on its line, a word where none can stand, a call as a
/// whole line, or a directive close by.
pub(super) fn may_be_a_macro(text: &str, finding: &Finding) -> bool {
    let line = finding.line_text(text);
    let capitals = |word: &str| {
        word.len() > 2 && word.contains(|c: char| c.is_ascii_uppercase()) && !word.contains(|c: char| c.is_lowercase())
    };
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    let is_word =
        matches!(&finding.what, What::Unexpected(token) if token.starts_with(|c: char| c.is_alphabetic() || c == '_'));
    let is_call = matches!(&finding.what, What::Missing(token) if token == ";") && line.ends_with(')');
    is_word || is_call || words.any(capitals) || directive_near(text, finding.byte.min(text.len()))
}

/// Within two lines before, on the line itself, and two lines after.
fn directive_near(text: &str, byte: usize) -> bool {
    let mut start = line_start(text, byte);
    for _ in 0..2 {
        start = line_start(text, start.saturating_sub(1));
    }
    text.get(start..).unwrap_or_default().lines().take(5).any(|line| line.trim_start().starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpaired(text: &str) -> Option<(usize, String)> {
        Plain::of(text).unpaired.map(|finding| (finding.byte, finding.what.to_string()))
    }

    #[test]
    fn one_branch_of_each_condition_stays() {
        let text = "#if A\na {\n#elif B\nb {\n#else\nc {\n#endif\n}\n#if 0\nit's\n#else\nd\n#endif\n";
        let plain = Plain::of(text);
        assert_eq!(plain.code.split_whitespace().collect::<Vec<_>>(), ["a", "{", "}", "d"]);
        assert_eq!((plain.code.len(), plain.unpaired), (text.len(), None));
    }

    #[test]
    fn directives_go_with_their_continuations() {
        assert_eq!(Plain::of("#define A(x) { \\\n  don't\nint a; /* ' */\n").code.trim(), "int a; /* ' */");
        assert_eq!(Plain::of("#define A /* x */ { \\\n } /* y */ }\n#define B \"*.c/*\"\n").code.trim(), "");
        assert_eq!(Plain::of("#define A /* {\n*/\nint a;").code.trim(), "/* {\n*/\nint a;");
    }

    #[test]
    fn brackets_and_quotes_pair_up() {
        assert_eq!(unpaired("f(1'000, '(', \"}\\\"\", R\"x({)\")x\"); // {\n/* [ */"), None);
        assert_eq!(unpaired("f(\"%\"FMT_PTR\" (\", u8R\"x(\")x\")"), None);
        assert_eq!(unpaired("f(]"), Some((2, "unexpected `]`".into())));
        assert_eq!(unpaired("{ f("), Some((3, "`(` is not closed".into())));
        assert_eq!(unpaired("x = \"a;\n\""), Some((4, "`\"` is not closed".into())));
        assert_eq!(unpaired("}"), Some((0, "unexpected `}`".into())));
    }

    #[test]
    fn a_text_with_foreign_macros_is_not_self_contained() {
        assert!(is_self_contained("#include <stdio.h>\n#include<vector>\n#define N 10\n#define GUARD\nint x;\n"));
        for text in ["#include \"own.h\"", "#include <boost/any.hpp>", "#define F(x) x", "#define API extern", "#if X"]
        {
            assert!(!is_self_contained(text), "{text}");
        }
    }
}
