//! JSON to nodes. Keys that come twice are kept, so that they can be refused by name.

use std::fmt;

use moothall_actors::domain::problem::Problem;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::super::place::{Place, Position};
use super::node::{Budget, Node, Value};

pub(crate) fn read(text: &str) -> Result<Node, Problem> {
    let mut budget = Budget::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Reading { budget: &mut budget, depth: 1 }.deserialize(&mut deserializer);
    read.and_then(|node| deserializer.end().map(|()| node)).map_err(|error| problem(&error))
}

fn problem(error: &serde_json::Error) -> Problem {
    let place = Place::Text(Position { line: error.line().max(1), column: error.column().max(1) });
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    Problem::new(place.to_string(), format!("is not JSON: {what}"))
}

/// Reads one value at a depth, counting.
struct Reading<'a> {
    budget: &'a mut Budget,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.budget.take(1, self.depth).map_err(D::Error::custom)?;
        Ok(Node { value: deserializer.deserialize_any(self)?, at: None })
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        let depth = self.depth + 1;
        while let Some(node) = list.next_element_seed(Reading { budget: self.budget, depth })? {
            entries.push(node);
        }
        Ok(Value::List(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        let depth = self.depth + 1;
        while let Some(Key(key)) = map.next_key()? {
            let node = map.next_value_seed(Reading { budget: self.budget, depth })?;
            entries.push((key, node));
        }
        Ok(Value::Map(entries))
    }
}

#[derive(Deserialize)]
struct Key(String);

#[cfg(test)]
mod tests {
    use super::super::super::limit::{MAX_DEPTH, MAX_VALUES};
    use super::*;

    #[test]
    fn values_keep_their_order_and_their_doubles() {
        let node = read(r#"{"b": [1, -2, 1.5, "x", true, null], "a": {}, "b": 2}"#).unwrap();
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        let keys: Vec<_> = entries.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["b", "a", "b"]);
        let Value::List(list) = &entries[0].1.value else { panic!("{node:?}") };
        let scalars: Vec<_> = list.iter().map(Node::scalar).collect();
        assert_eq!(scalars, [Some("1"), Some("-2"), Some("1.5"), Some("x"), Some("true"), None]);
    }

    #[test]
    fn what_is_no_json_is_named_with_its_place() {
        let table = [
            ("{\n  \"tasks\": [,]\n}", "line 2, column 13 is not JSON: expected value"),
            ("{}{}", "line 1, column 3 is not JSON: trailing characters"),
            ("", "line 1, column 1 is not JSON: EOF while parsing a value"),
        ];
        for (text, problem) in table {
            assert_eq!(read(text).unwrap_err().to_string(), problem);
        }
    }

    #[test]
    fn depth_and_number_of_values_end_at_their_limits() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        assert!(read(&nested(MAX_DEPTH + 1)).unwrap_err().message.contains("nested more than 32"));
        assert!(read(&nested(1_000_000)).is_err());
        let wide = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        assert!(read(&wide(MAX_VALUES)).is_ok());
        assert!(read(&wide(MAX_VALUES + 1)).unwrap_err().message.contains("more than 500000 values"));
    }
}
