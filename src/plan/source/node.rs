//! A value of JSON or YAML with its place: what both formats have in common.

use super::super::limit::{MAX_DEPTH, MAX_VALUES};
use super::super::place::Position;

/// A value and where it stands, if the format tells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) at: Option<Position>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// As written, so that `007` stays an id.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// In the order written; a key may come twice, which its reader refuses.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// What the value is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The first value under a key of an object; null is none.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(name, value)| name == key && !value.is_null()).map(|(_, value)| value)
    }

    /// A text, or a number or truth value as it was written.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }
}

/// Counts values while they are read, and says when there are too many or they stand too deep.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    values: usize,
}

impl Budget {
    pub(crate) fn take(&mut self, values: usize, depth: usize) -> Result<(), String> {
        self.values += values;
        if self.values > MAX_VALUES {
            return Err(format!("holds more than {MAX_VALUES} values"));
        }
        if depth > MAX_DEPTH {
            return Err(format!("is nested more than {MAX_DEPTH} deep"));
        }
        Ok(())
    }
}
