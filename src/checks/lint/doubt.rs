//! Where an error is more likely the grammar's than the author's.
//!
//! Each rule here was found on real code that a compiler accepts.

use std::borrow::Cow;

use super::c_family::{self, Plain};
use super::finding::{Finding, What};
use super::language::Language;

/// How the text before fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The file is new, or nobody knows what it was.
    None,
    Clean,
    Faulty,
}

/// What is newer than a grammar, and words of the same length that it knows.
const NEWER_RUST: [(&str, &str); 2] = [(" safe fn ", "      fn "), (" safe static ", "      static ")];
const NEWER_JAVA: [(&str, &str); 1] = [("import module ", "import        ")];
const NEWER_SCRIPT: [(&str, &str); 9] = [
    ("import defer * as", "import       * as"),
    ("export type *", "export      *"),
    ("<in out ", "<       "),
    ("<in ", "<   "),
    ("<out ", "<    "),
    (" await using ", "       const "),
    (" using ", " const "),
    ("\nusing ", "\nconst "),
    (" accessor ", "          "),
];

fn put_differently(text: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(text.to_owned(), |text, (newer, known)| text.replace(newer, known))
}

/// The text with what the grammar is known to stumble on put differently, byte for byte as long; `None` if there is
/// nothing of that kind in it.
pub(super) fn eased(language: Language, text: &str) -> Option<String> {
    let eased: Cow<'_, str> = match language {
        Language::C | Language::Cpp | Language::Header => {
            Plain::of(text).code.replace("if consteval", "if (1)      ").into()
        }
        Language::Java => put_differently(text, &NEWER_JAVA).into(),
        Language::Rust => put_differently(&without_foreign_types(text), &NEWER_RUST).into(),
        Language::JavaScript => put_differently(text, &NEWER_SCRIPT).into(),
        Language::Json => without_signs_of_exponents(text).into(),
        Language::JsonWithComments => without_trailing_commas(&without_signs_of_exponents(text)).into(),
        Language::TypeScript | Language::Tsx => put_differently(&without_import_types(text), &NEWER_SCRIPT).into(),
        Language::Toml => with_line_continuations_at_the_end(text).into(),
        _ => text.into(),
    };
    (eased.len() == text.len() && eased != text).then(|| eased.into_owned())
}

/// Commas before a closing bracket; they are allowed in such files. Texts and comments are left alone.
fn without_trailing_commas(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut comma = None;
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'"', _) => {
                comma = None;
                at += 1;
                while at < bytes.len() && !matches!(bytes[at], b'"' | b'\n') {
                    at += 1 + usize::from(bytes[at] == b'\\');
                }
            }
            (b'/', Some(b'/')) => at += bytes[at..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - at),
            (b'/', Some(b'*')) => {
                at += 2 + bytes[at + 2..].windows(2).position(|two| two == b"*/").map_or(bytes.len(), |end| end + 1);
            }
            (b',', _) => comma = Some(at),
            (b']' | b'}', _) => {
                if let Some(comma) = comma.take() {
                    bytes[comma] = b' ';
                }
            }
            (byte, _) if byte.is_ascii_whitespace() => {}
            _ => comma = None,
        }
        at += 1;
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// `type X;` of an extern block is not in the grammar; `mod  X;` takes its place.
fn without_foreign_types(text: &str) -> String {
    let line = |line: &str| {
        let start = line.find("type ").filter(|start| {
            let name = line[start + "type ".len()..].trim_end().strip_suffix(';').unwrap_or(" ");
            let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            is_name && matches!(line[..*start].trim(), "" | "pub" | "pub(crate)")
        });
        match start {
            Some(start) => format!("{}mod  {}", &line[..start], &line[start + "type ".len()..]),
            None => line.to_owned(),
        }
    };
    text.split_inclusive('\n').map(line).collect()
}

/// The grammar does not know the plus of `1e+3`.
fn without_signs_of_exponents(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for at in 0..bytes.len().saturating_sub(3) {
        if let [before, b'e' | b'E', b'+', after] = bytes[at..at + 4]
            && before.is_ascii_digit()
            && after.is_ascii_digit()
        {
            bytes[at + 2] = b'0';
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// `import('x').T[]` is a type that the grammar does not know, as `x.T[]` it does; and `in2?:` after a line without
/// semicolon it takes for the operator.
fn without_import_types(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("in").into_iter().chain(rest.find("import(")).min() {
        let before_is_word = rest[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let imported = rest.strip_prefix("import(").and_then(|path| {
            let quote = path.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
            let end = path[1..].find([quote, '\n'])? + 1;
            path[end + 1..].starts_with(")").then_some("import(".len() + end + 2)
        });
        let (taken, replaced) = match imported {
            Some(length) if !before_is_word => (length, "i".repeat(length)),
            None if !before_is_word && is_name_in(&rest[2..]) => (2, "iN".to_owned()),
            _ => (2, rest[..2].to_owned()),
        };
        out.push_str(&replaced);
        rest = &rest[taken..];
    }
    out + rest
}

/// Whether a name begins with the `in` before this, or is all of it.
fn is_name_in(rest: &str) -> bool {
    rest.starts_with("?:") || rest.starts_with(|c: char| c.is_ascii_digit())
}

/// The grammar wants the line break at once after the `\` of a text in several lines; blanks may stand between.
fn with_line_continuations_at_the_end(text: &str) -> String {
    let line = |line: &str| {
        let body = line.trim_end_matches(['\n', ' ', '\t']);
        let blanks = line.trim_end_matches('\n').len() - body.len();
        match body.strip_suffix('\\') {
            Some(before) if blanks > 0 => {
                let end = &line[body.len() + blanks..];
                format!("{before}{}\\{end}", " ".repeat(blanks))
            }
            _ => line.to_owned(),
        }
    };
    text.split_inclusive('\n').map(line).collect()
}

/// The new errors that are to be believed, or why none is.
pub(super) fn judged(
    language: Language,
    before: Option<&str>,
    after: &str,
    new: Vec<Finding>,
    base: Base,
) -> Result<Vec<Finding>, String> {
    // Later errors may only follow from the first.
    let Some(first) = new.first() else { return Ok(new) };
    if let Some(other) = other_language(language, after, first) {
        return Err(format!("not {}: {other}", language.name()));
    }
    if is_template(language, after, first) {
        return Err("a template".to_owned());
    }
    let believed = match language {
        Language::C | Language::Cpp | Language::Header => return judged_c(language, before, after, new, base),
        Language::Yaml if base == Base::Faulty => return Err("a template, or broken before".to_owned()),
        Language::Bash => base != Base::Faulty && believed_in_bash(first),
        _ => !is_gap(language, after, first),
    };
    if believed { Ok(new) } else { Err(unsure(language, after, first)) }
}

fn unsure(language: Language, text: &str, finding: &Finding) -> String {
    let line = finding.clone().placed(text).line;
    format!("the {} grammar stops at line {line}, which may be right", language.name())
}

fn judged_c(
    language: Language,
    before: Option<&str>,
    after: &str,
    new: Vec<Finding>,
    base: Base,
) -> Result<Vec<Finding>, String> {
    let unpaired = |text: &str| Plain::of(text).unpaired;
    // What a header needs is often included before it.
    let is_header = language == Language::Header;
    let gap = new.first().is_some_and(|first| is_gap_of_c(after, first));
    if base != Base::Faulty && !is_header && !gap && c_family::is_self_contained(after) {
        return Ok(new);
    }
    if let Some(finding) = unpaired(after)
        && before.is_none_or(|before| unpaired(before).is_none())
    {
        return Ok(vec![finding]);
    }
    match new.first() {
        Some(first) if base != Base::Clean || gap || c_family::may_be_a_macro(after, first) => {
            Err(unsure(language, after, first))
        }
        _ => Ok(new),
    }
}

/// What is right and rare, or newer than the grammar, and stops it in a way that is easily told.
fn is_gap(language: Language, text: &str, first: &Finding) -> bool {
    let line = first.line_text(text);
    let before = text.get(..first.byte).unwrap_or_default();
    let after_last = |mark: &str, others: [char; 3]| before.rfind(mark) > before.rfind(others);
    match language {
        // Macros whose names are words of the language; attributes in rare places; `struct A where B: C;`; bounds
        // that are empty or of `()`.
        Language::Rust => {
            let of_bound = matches!(&first.what, What::MissingKind(kind) if kind == "type identifier");
            is_one_of(&first.what, &["!", "#"])
                || ((of_bound || is_one_of(&first.what, &[";"])) && after_last("where", ['{', '}', ';']))
        }
        // Defaults of type parameters.
        Language::Python => is_one_of(&first.what, &["="]) && has_type_parameters(line),
        // Statements before the constructor that is called.
        Language::Java => is_one_of(&first.what, &[";"]) && (line.contains("this(") || line.contains("super(")),
        // TOML 1.1: inline tables in several lines, and more escapes.
        Language::Toml => {
            let in_table =
                after_last("{", ['}', '}', '}']) && before.rfind('{').is_some_and(|open| before[open..].contains('\n'));
            in_table || (is_one_of(&first.what, &["\\"]) && (line.contains("\\e") || line.contains("\\x")))
        }
        _ => false,
    }
}

/// Modules, GNU's ranges and computed jumps, and bit fields without a name.
fn is_gap_of_c(text: &str, finding: &Finding) -> bool {
    let line = finding.line_text(text);
    let of_module = ["import ", "export ", "module "].iter().any(|word| line.starts_with(word));
    let unnamed = matches!(&finding.what, What::MissingKind(kind) if kind == "field identifier");
    of_module || unnamed || is_one_of(&finding.what, &["..."]) || line.contains("goto *") || line.contains(" ... ")
}

fn is_one_of(what: &What, tokens: &[&str]) -> bool {
    matches!(what, What::Unexpected(token) | What::Missing(token) if tokens.contains(&token.as_str()))
}

fn has_type_parameters(line: &str) -> bool {
    ["type ", "class ", "def ", "async def "].iter().any(|word| line.starts_with(word)) && line.contains('[')
}

/// Words and signs whose absence or presence the Bash grammar is right about; on patterns, arithmetic and words it
/// often is not.
fn believed_in_bash(first: &Finding) -> bool {
    const SURE: [&str; 16] =
        ["fi", "done", "esac", "then", "else", "elif", "do", "in", ")", "}", "]]", "))", ";;", "\"", "'", "|"];
    is_one_of(&first.what, &SURE) || matches!(first.what, What::Other(_) | What::Unclosed(_))
}

/// Marks of Helm, Jinja, ERB and the like: anywhere in data, on the line of the error in code.
fn is_template(language: Language, text: &str, first: &Finding) -> bool {
    let spans = |text: &str, open: &str, close: &str| text.find(open).is_some_and(|at| text[at..].contains(close));
    match language {
        Language::Yaml | Language::Json | Language::JsonWithComments | Language::Toml => {
            // `${{ x }}` of workflows is a plain text to YAML.
            let text = text.replace("${{", "");
            spans(&text, "{{", "}}") || spans(&text, "{%", "%}") || spans(&text, "<%", "%>")
        }
        _ => {
            let line = first.line_text(text);
            // In markup of JavaScript two braces are an object.
            let is_script = matches!(language, Language::JavaScript | Language::TypeScript | Language::Tsx);
            let braces = !is_script && spans(line, "{{ ", " }}");
            braces || spans(line, "{%", "%}") || spans(line, "<%", "%>")
        }
    }
}

/// Another language that goes by the same name.
fn other_language(language: Language, text: &str, first: &Finding) -> Option<&'static str> {
    let start = text.trim_start_matches('\u{feff}').trim_start();
    let first_line = start.lines().next().unwrap_or_default();
    let head: String = start.chars().take(1000).collect();
    match language {
        Language::JavaScript if head.contains("@flow") => Some("Flow"),
        Language::TypeScript if start.starts_with("<?xml") || start.starts_with("<!DOCTYPE") => Some("XML"),
        Language::Bash if first_line.starts_with("#!") && first_line.contains("zsh") => Some("zsh"),
        Language::Bash if first_line.starts_with("#compdef") || first_line.starts_with("#autoload") => Some("zsh"),
        Language::Python if first_line.starts_with("#!") && first_line.contains("python2") => Some("Python 2"),
        Language::Python if start.starts_with(">>> ") => Some("a console session"),
        Language::Python if first.line_text(text).starts_with(['%', '!']) => Some("a notebook"),
        Language::Header if ["@interface", "@protocol", "@end", "@class"].iter().any(|mark| text.contains(mark)) => {
            Some("Objective-C")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_commas_go_and_texts_stay() {
        let text = r#"{"a,]": [1, 2, // , ]
            ], /* ,} */ "b\",}": 3, }"#;
        let expected = r#"{"a,]": [1, 2  // , ]
            ], /* ,} */ "b\",}": 3  }"#;
        assert_eq!(without_trailing_commas(text), expected);
        assert_eq!(without_trailing_commas("[1,\"x"), "[1,\"x");
        assert_eq!(without_trailing_commas("/*"), "/*");
    }

    #[test]
    fn foreign_types_become_modules() {
        let text = "  pub type A;\ntype B: C;\ntype D = E;\n// type F;\n";
        assert_eq!(without_foreign_types(text), "  pub mod  A;\ntype B: C;\ntype D = E;\n// type F;\n");
    }

    #[test]
    fn import_types_become_names_of_the_same_length() {
        assert_eq!(without_import_types("a: import('x').T[]; min2"), "a: iiiiiiiiiii.T[]; min2");
        assert_eq!(without_import_types("in2?: x; in x"), "iN2?: x; in x");
        assert_eq!(without_import_types("import('ü"), "import('ü");
    }

    #[test]
    fn a_continuation_may_have_blanks_after_it() {
        assert_eq!(with_line_continuations_at_the_end("a \\  \nb\\\n c \\ "), "a   \\\nb\\\n c  \\");
    }
}
