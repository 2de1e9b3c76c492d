//! A JSON object, field by field: what is missing or of another type is said with the field's name.
//!
//! Foreign services write the same thing in several ways. Numbers may come as text, `null` is the same as nothing, an
//! unknown field is nobody's trouble. What stays wrong is wrong for ever, so one clear reason is all that is needed.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

/// Why a message is no event. Its text names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("{length} bytes are more than the {limit} that are taken")]
    TooLarge { length: usize, limit: usize },
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("not a JSON object but {0}")]
    NotAnObject(&'static str),
    #[error("field {0:?} is missing")]
    Missing(&'static str),
    #[error("field {field:?} is {found}, not {wanted}")]
    WrongType { field: &'static str, wanted: &'static str, found: &'static str },
}

/// The fields of one object; the last of equal names counts.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    whole: &'a Bytes,
    fields: BTreeMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// `text` is a part of `whole`, or all of it.
    pub(super) fn parse(whole: &'a Bytes, text: &'a [u8]) -> Result<Self, FormatError> {
        let raw: &RawValue = serde_json::from_slice(text).map_err(|error| FormatError::NotJson(error.to_string()))?;
        if !raw.get().starts_with('{') {
            return Err(FormatError::NotAnObject(type_of(raw)));
        }
        let fields = serde_json::from_str(raw.get()).map_err(|error| FormatError::NotJson(error.to_string()))?;
        Ok(Self { whole, fields })
    }

    /// `null` is nothing.
    pub(super) fn get(&self, field: &str) -> Option<&'a RawValue> {
        self.fields.get(field).copied().filter(|raw| raw.get() != "null")
    }

    /// A required text that says something.
    pub(super) fn text(&self, field: &'static str) -> Result<String, FormatError> {
        self.text_of(&[field])
    }

    /// The first of several names of a required text.
    pub(super) fn text_of(&self, names: &[&'static str]) -> Result<String, FormatError> {
        let first = names.first().copied().unwrap_or_default();
        self.maybe_text_of(names)?.ok_or(FormatError::Missing(first))
    }

    pub(super) fn maybe_text(&self, field: &'static str) -> Result<Option<String>, FormatError> {
        self.maybe_text_of(&[field])
    }

    /// An empty text is nothing; a number is read as its digits, since versions and times come as both.
    pub(super) fn maybe_text_of(&self, names: &[&'static str]) -> Result<Option<String>, FormatError> {
        for &field in names {
            let text = match self.value(field)? {
                None => continue,
                Some(Value::String(text)) => text,
                Some(Value::Number(number)) => number.to_string(),
                Some(other) => return Err(wrong(field, "a text", &other)),
            };
            if !text.trim().is_empty() {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    pub(super) fn maybe_number(&self, field: &'static str) -> Result<Option<f64>, FormatError> {
        let number = match self.value(field)? {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(other) => return Err(wrong(field, "a number", &other)),
        };
        let number = number.filter(|number: &f64| number.is_finite());
        number.map(Some).ok_or(FormatError::WrongType { field, wanted: "a number", found: "another text" })
    }

    /// Rounded towards zero, since some senders measure in floats; beyond the largest count it is the largest.
    pub(super) fn maybe_count(&self, field: &'static str) -> Result<Option<u64>, FormatError> {
        match self.maybe_number(field)? {
            Some(number) if number < 0.0 => {
                Err(FormatError::WrongType { field, wanted: "a count", found: "a negative number" })
            }
            number => Ok(number.map(|number| number as u64)),
        }
    }

    pub(super) fn maybe_small(&self, field: &'static str) -> Result<Option<u32>, FormatError> {
        Ok(self.maybe_count(field)?.map(|count| u32::try_from(count).unwrap_or(u32::MAX)))
    }

    pub(super) fn maybe_bool(&self, field: &'static str) -> Result<Option<bool>, FormatError> {
        match self.value(field)? {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong(field, "true or false", &other)),
        }
    }

    /// Nothing is no texts.
    pub(super) fn texts(&self, field: &'static str) -> Result<Vec<String>, FormatError> {
        let items = match self.value(field)? {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(wrong(field, "a list of texts", &other)),
        };
        let text = |item: Value| match item {
            Value::String(text) => Ok(text),
            other => Err(FormatError::WrongType { field, wanted: "a list of texts", found: list_with(&other) }),
        };
        items.into_iter().map(text).collect()
    }

    /// A list as it stands in the message.
    pub(super) fn maybe_raw_list(&self, field: &'static str) -> Result<Option<Bytes>, FormatError> {
        match self.get(field) {
            Some(raw) if !raw.get().starts_with('[') => {
                Err(FormatError::WrongType { field, wanted: "a list", found: type_of(raw) })
            }
            raw => Ok(raw.map(|raw| self.slice(raw))),
        }
    }

    /// Any JSON as it stands in the message; an empty text is nothing.
    pub(super) fn maybe_raw(&self, names: &[&'static str]) -> Option<Bytes> {
        let mut found = names.iter().filter_map(|field| self.get(field));
        found.find(|raw| raw.get() != "\"\"").map(|raw| self.slice(raw))
    }

    /// Without a copy: the message is held as long as its part.
    fn slice(&self, raw: &RawValue) -> Bytes {
        self.whole.slice_ref(raw.get().as_bytes())
    }

    fn value(&self, field: &'static str) -> Result<Option<Value>, FormatError> {
        let value = self.get(field).map(|raw| serde_json::from_str(raw.get()));
        value.transpose().map_err(|error| FormatError::NotJson(format!("field {field:?}: {error}")))
    }
}

fn wrong(field: &'static str, wanted: &'static str, found: &Value) -> FormatError {
    FormatError::WrongType { field, wanted, found: type_of_value(found) }
}

pub(super) fn type_of(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn type_of_value(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn list_with(item: &Value) -> &'static str {
    match item {
        Value::Null => "a list with null",
        Value::Bool(_) => "a list with true or false",
        Value::Number(_) => "a list with a number",
        Value::String(_) => "a list with a text",
        Value::Array(_) => "a list with a list",
        Value::Object(_) => "a list with an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &'static str, ask: impl Fn(&Fields<'_>) -> Result<String, FormatError>) -> String {
        let whole = Bytes::from_static(json.as_bytes());
        match Fields::parse(&whole, &whole).and_then(|fields| ask(&fields)) {
            Ok(text) => text,
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let story = |json| said(json, |fields| fields.text("story_id"));
        assert_eq!(story(r#"{"story_id": "s"}"#), "s");
        assert_eq!(story(r#"{"story_id": 7}"#), "7");
        assert_eq!(story("{}"), r#"field "story_id" is missing"#);
        assert_eq!(story(r#"{"story_id": null}"#), r#"field "story_id" is missing"#);
        assert_eq!(story(r#"{"story_id": "  "}"#), r#"field "story_id" is missing"#);
        assert_eq!(story(r#"{"story_id": ["s"]}"#), r#"field "story_id" is a list, not a text"#);
        assert_eq!(story("[1]"), "not a JSON object but a list");
        assert!(story("{").starts_with("not JSON: "));
        assert!(story("").starts_with("not JSON: "));
        assert!(story("{} {}").starts_with("not JSON: "));
    }

    #[test]
    fn the_first_name_that_says_something_counts() {
        let phase = |json| said(json, |fields| fields.text_of(&["to_phase", "to_state"]));
        assert_eq!(phase(r#"{"to_phase": "BUILD", "to_state": "TEST"}"#), "BUILD");
        assert_eq!(phase(r#"{"to_phase": "", "to_state": "TEST"}"#), "TEST");
        assert_eq!(phase("{}"), r#"field "to_phase" is missing"#);
    }

    #[test]
    fn numbers_come_in_many_ways() {
        let count = |json| said(json, |fields| Ok(format!("{:?}", fields.maybe_count("n")?)));
        assert_eq!(count(r#"{"n": 12}"#), "Some(12)");
        assert_eq!(count(r#"{"n": 12.9}"#), "Some(12)");
        assert_eq!(count(r#"{"n": " 12 "}"#), "Some(12)");
        assert_eq!(count(r#"{"n": ""}"#), "None");
        assert_eq!(count(r#"{"n": -1}"#), r#"field "n" is a negative number, not a count"#);
        assert_eq!(count(r#"{"n": "many"}"#), r#"field "n" is another text, not a number"#);
        assert_eq!(count(r#"{"n": "NaN"}"#), r#"field "n" is another text, not a number"#);
    }

    #[test]
    fn lists_are_looked_into() {
        let roles = |json| said(json, |fields| Ok(fields.texts("roles")?.join(",")));
        assert_eq!(roles(r#"{"roles": ["DEV", "QA"]}"#), "DEV,QA");
        assert_eq!(roles(r#"{"roles": ["DEV", 1]}"#), r#"field "roles" is a list with a number, not a list of texts"#);
        assert_eq!(roles(r#"{"roles": "DEV"}"#), r#"field "roles" is a text, not a list of texts"#);
    }

    #[test]
    fn raw_parts_share_the_bytes_of_the_message() {
        let whole = Bytes::from_static(br#"{"plan": { "b" : 1,"a":2}, "tasks": [1]}"#);
        let fields = Fields::parse(&whole, &whole).unwrap();
        let plan = fields.maybe_raw(&["plan"]).unwrap();
        assert_eq!(&plan[..], br#"{ "b" : 1,"a":2}"#);
        assert!(whole.as_ptr_range().contains(&plan.as_ptr()));
        assert_eq!(fields.maybe_raw_list("tasks").unwrap().as_deref(), Some(&b"[1]"[..]));
        assert!(fields.maybe_raw_list("plan").is_err());
    }
}
