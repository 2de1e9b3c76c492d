//! YAML to nodes.
//!
//! The parser is `granit-parser`, the one below `serde-saphyr`: kept, fuzzed, without `unsafe`, and it tells the line
//! and column of every value, which no serde layer does for keys. `serde_yaml` is archived, `serde_yml` withdrawn.
//!
//! YAML can say much more than a plan needs. Aliases and merge keys work, but what they copy is counted, so a small text
//! cannot grow large. Tags of applications, keys that are no text, and a second document are refused.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, Span, StrInput, Tag};
use moothall_actors::domain::problem::Problem;

use super::super::limit::{MAX_DEPTH, MAX_PLAN_BYTES};
use super::super::place::{Place, Position};
use super::super::report::quote;
use super::node::{Budget, Node, Value};

pub(crate) fn read(text: &str) -> Result<Node, Problem> {
    let mut options = Options::default();
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let parser = Parser::with_options(StrInput::new(text), options);
    let mut composer = Composer { parser, anchors: BTreeMap::new(), budget: Budget::default(), copied: 0 };
    composer.document()
}

/// Builds nodes from the parser's events.
struct Composer<'input> {
    parser: Parser<'input, StrInput<'input>>,
    anchors: BTreeMap<usize, Node>,
    budget: Budget,
    /// Bytes of text that anchors and aliases copied.
    copied: usize,
}

impl<'input> Composer<'input> {
    fn document(&mut self) -> Result<Node, Problem> {
        let mut found = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                _ if found.is_some() => return Err(refused(span, "begins a second document; a plan is one")),
                event => found = Some(self.node(event, span, 1)?),
            }
        }
        Ok(found.unwrap_or(Node { value: Value::Null, at: None }))
    }

    fn next(&mut self) -> Result<Option<(Event<'input>, Span)>, Problem> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(found)) => Ok(Some(found)),
            Some(Err(error)) => {
                let place = Place::Text(position(error.marker().line(), error.marker().col()));
                let rule = match error.kind() {
                    ErrorKind::RecursionLimitExceeded => format!("is nested more than {MAX_DEPTH} deep"),
                    _ => format!("is not YAML: {}", error.info()),
                };
                Err(Problem::new(place.to_string(), rule))
            }
        }
    }

    /// The event of a value inside a collection.
    fn inner(&mut self, opened: Span) -> Result<(Event<'input>, Span), Problem> {
        self.next()?.ok_or_else(|| refused(opened, "is not closed"))
    }

    fn node(&mut self, event: Event<'input>, span: Span, depth: usize) -> Result<Node, Problem> {
        self.budget.take(1, depth).map_err(|rule| refused(span, rule))?;
        let at = Some(position(span.start.line(), span.start.col()));
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span, depth),
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref(), span)?, anchor),
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), span)?;
                (self.list(span, depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), span)?;
                (self.map(span, depth)?, anchor)
            }
            _ => return Err(refused(span, "is not a value")),
        };
        let node = Node { value, at };
        if anchor > 0 {
            self.charge(&node, span, depth)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, opened: Span, depth: usize) -> Result<Value, Problem> {
        let mut entries = Vec::new();
        loop {
            match self.inner(opened)? {
                (Event::SequenceEnd, _) => return Ok(Value::List(entries)),
                (event, span) => entries.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, opened: Span, depth: usize) -> Result<Value, Problem> {
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.inner(opened)?;
            if event == Event::MappingEnd {
                break;
            }
            let merges = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.node(event, span, depth + 1)?;
            let (event, value_span) = self.inner(opened)?;
            let value = self.node(event, value_span, depth + 1)?;
            if merges {
                merged.push((value, value_span));
            } else {
                entries.push((key_text(&key, span)?, value));
            }
        }
        merge(&mut entries, merged)?;
        Ok(Value::Map(entries))
    }

    fn alias(&mut self, anchor: usize, span: Span, depth: usize) -> Result<Node, Problem> {
        let node = self.anchors.remove(&anchor).ok_or_else(|| refused(span, "is an alias of what contains it"))?;
        self.charge(&node, span, depth)?;
        self.anchors.insert(anchor, node.clone());
        Ok(node)
    }

    /// Counts a copy of a node that is about to stand at `depth`.
    fn charge(&mut self, node: &Node, span: Span, depth: usize) -> Result<(), Problem> {
        let size = measure(node);
        self.copied += size.bytes;
        self.budget.take(size.values, depth + size.height - 1).map_err(|rule| refused(span, rule))?;
        if self.copied > MAX_PLAN_BYTES {
            return Err(refused(span, format!("and the aliases before copy more than {MAX_PLAN_BYTES} bytes")));
        }
        Ok(())
    }
}

struct Size {
    values: usize,
    bytes: usize,
    height: usize,
}

/// Recurses no deeper than nodes are allowed to be.
fn measure(node: &Node) -> Size {
    let own = |bytes| Size { values: 1, bytes, height: 1 };
    let with = |mut size: Size, (bytes, child): (usize, &Node)| {
        let inner = measure(child);
        size.values += inner.values;
        size.bytes += inner.bytes + bytes;
        size.height = size.height.max(inner.height + 1);
        size
    };
    match &node.value {
        Value::Null | Value::Bool(_) => own(0),
        Value::Number(text) | Value::Text(text) => own(text.len()),
        Value::List(entries) => entries.iter().map(|entry| (0, entry)).fold(own(0), with),
        Value::Map(entries) => entries.iter().map(|(key, value)| (key.len(), value)).fold(own(0), with),
    }
}

fn key_text(key: &Node, span: Span) -> Result<String, Problem> {
    let text = key.scalar().or_else(|| key.is_null().then_some("null"));
    text.map(str::to_owned).ok_or_else(|| refused(span, format!("is {} as a key; a text is allowed", key.kind())))
}

/// `<<`: the entries of one object or several, where they are not given beside it or by an earlier one.
fn merge(entries: &mut Vec<(String, Node)>, from: Vec<(Node, Span)>) -> Result<(), Problem> {
    let mut given: BTreeSet<String> = entries.iter().map(|(key, _)| key.clone()).collect();
    for (node, span) in from {
        let several = match node.value {
            Value::List(several) => several,
            _ => vec![node],
        };
        for one in several {
            let Value::Map(inherited) = one.value else {
                return Err(refused(span, "merges what is no object"));
            };
            entries.extend(inherited.into_iter().filter(|(key, _)| given.insert(key.clone())));
        }
    }
    Ok(())
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Value, Problem> {
    refuse_tag(tag, span)?;
    let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
    if style != ScalarStyle::Plain || is_text {
        return Ok(Value::Text(text.to_owned()));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if is_number(text) => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    })
}

fn is_number(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok()
}

fn refuse_tag(tag: Option<&Tag>, span: Span) -> Result<(), Problem> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            Err(refused(span, format!("has the tag {}; a plan has none", quote(&tag.original()))))
        }
        _ => Ok(()),
    }
}

fn refused(span: Span, rule: impl Into<String>) -> Problem {
    Problem::new(Place::Text(position(span.start.line(), span.start.col())).to_string(), rule)
}

/// The parser counts columns from 0.
fn position(line: usize, column: usize) -> Position {
    Position { line: line.max(1), column: column + 1 }
}

#[cfg(test)]
mod tests {
    use super::super::super::limit::MAX_VALUES;
    use super::*;

    fn problem(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    fn scalar_of<'a>(node: &'a Node, keys: &[&str]) -> Option<&'a str> {
        keys.iter().try_fold(node, |node, key| node.get(key)).and_then(Node::scalar)
    }

    #[test]
    fn values_keep_how_they_are_written_and_where() {
        let node = read("a: 007\nb: [x, ~, true]\nc:\n  d: !!str 1\n").unwrap();
        assert_eq!(node.get("a").unwrap().value, Value::Number("007".into()));
        assert_eq!(node.get("c").unwrap().get("d").unwrap().value, Value::Text("1".into()));
        let Value::List(list) = &node.get("b").unwrap().value else { panic!("{node:?}") };
        assert_eq!((&list[1].value, &list[2].value), (&Value::Null, &Value::Bool(true)));
        assert_eq!(list[2].at, Some(Position { line: 2, column: 11 }));
        assert!(read("").unwrap().is_null());
    }

    #[test]
    fn aliases_and_merge_keys_work() {
        let text = "base: &b {rubric: r, timeout_seconds: 5}\nuse: {<<: *b, rubric: own}\nall: {<<: [{x: 1}, *b]}\n";
        let node = read(text).unwrap();
        assert_eq!(scalar_of(&node, &["use", "rubric"]), Some("own"));
        assert_eq!(scalar_of(&node, &["use", "timeout_seconds"]), Some("5"));
        assert_eq!(scalar_of(&node, &["all", "x"]), Some("1"));
        assert_eq!(scalar_of(&node, &["all", "rubric"]), Some("r"));
    }

    #[test]
    fn what_is_refused_is_named_with_its_place() {
        let table = [
            ("a: 1\n---\nb: 2\n", "line 3, column 1 begins a second document; a plan is one"),
            ("a: !ruby/object x\n", "line 1, column 17 has the tag \"!ruby/object\"; a plan has none"),
            ("{[1, 2]: x}", "line 1, column 2 is a list as a key; a text is allowed"),
            ("<<: 1\n", "line 1, column 5 merges what is no object"),
            ("a: &a [*a]\n", "line 1, column 8 is an alias of what contains it"),
        ];
        for (text, expected) in table {
            assert_eq!(problem(text), expected);
        }
        assert!(problem("a: [1\nb: 2\n").contains("is not YAML"), "{}", problem("a: [1\nb: 2\n"));
        assert!(problem("a: *nothing\n").starts_with("line 1, column 4 is not YAML"));
    }

    #[test]
    fn depth_and_number_of_values_end_at_their_limits() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        for deep in [nested(MAX_DEPTH + 1), "- ".repeat(1_000_000), "[".repeat(1_000_000)] {
            assert!(problem(&deep).ends_with("is nested more than 32 deep"), "{}", problem(&deep));
        }
        let wide = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        assert!(read(&wide(MAX_VALUES)).is_ok());
        assert!(problem(&wide(MAX_VALUES + 1)).contains("more than 500000 values"));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..20 {
            let before = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert!(problem(&bomb).contains("more than 500000 values"), "{}", problem(&bomb));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 60].join(", "));
        assert!(problem(&long).contains("copy more than 4194304 bytes"), "{}", problem(&long));
        let mut deep = "a0: &a0 [x]\n".to_owned();
        (1..40).for_each(|level| deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1)));
        assert!(problem(&deep).contains("nested more than 32 deep"), "{}", problem(&deep));
    }
}
