//! Bodies of requests: read as JSON whatever their content type says, every misfit told at once, in FastAPI's words.

use std::collections::BTreeMap;

use moothall_actors::domain::json::Json;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::refusal::{Misfit, Refusal};

/// Longest input that an error repeats, in bytes: a client knows what it sent.
const MAX_ECHO_BYTES: usize = 4 * 1024;

/// An object that passes through: as it came, and to be looked into.
pub(crate) struct Passing {
    pub(crate) raw: Json,
    pub(crate) fields: Map<String, Value>,
}

/// The fields of an object, and what was found wrong with those that were asked for.
pub(crate) struct Body {
    fields: Map<String, Value>,
    raw: BTreeMap<String, Box<RawValue>>,
    misfits: Vec<Misfit>,
}

impl Body {
    /// A body that must be there.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        match Self::maybe(bytes)? {
            Some(body) => Ok(body),
            None => Err(Refusal::misshapen(vec![missing(vec!["body".into()], Value::Null)])),
        }
    }

    /// A body that may be empty or `null`.
    pub(crate) fn maybe(bytes: &[u8]) -> Result<Option<Self>, Refusal> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let text = std::str::from_utf8(bytes).map_err(|error| no_json(error.valid_up_to(), &error))?;
        // The limit on how deep values nest is that of `Value`: raw ones have none.
        let whole: Value = serde_json::from_str(text).map_err(|error| no_json(place(text, &error), &error))?;
        match whole {
            Value::Null => Ok(None),
            Value::Object(fields) => {
                let raw = serde_json::from_str(text).map_err(|error| no_json(place(text, &error), &error))?;
                Ok(Some(Self { fields, raw, misfits: Vec::new() }))
            }
            other => Err(Refusal::misshapen(vec![Misfit {
                kind: "model_attributes_type",
                loc: vec!["body".into()],
                msg: "Input should be a valid dictionary or object to extract fields from".to_owned(),
                input: echo(&other),
                ctx: None,
            }])),
        }
    }

    /// A body that says nothing.
    pub(crate) fn empty() -> Self {
        Self { fields: Map::new(), raw: BTreeMap::new(), misfits: Vec::new() }
    }

    /// All that was said, for those who compare requests.
    pub(crate) fn whole(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// A text that must be there; without it an empty one, and [`Body::check`] fails.
    pub(crate) fn text(&mut self, name: &'static str) -> String {
        if !self.fields.contains_key(name) {
            let input = echo(&Value::Object(self.fields.clone()));
            self.misfits.push(missing(vec!["body".into(), name.into()], input));
            return String::new();
        }
        match &self.fields[name] {
            Value::String(text) => text.clone(),
            other => {
                self.misfits.push(no_text(name, other));
                String::new()
            }
        }
    }

    /// A text, if there is one.
    pub(crate) fn maybe_text(&mut self, name: &'static str) -> Option<String> {
        match self.fields.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => {
                self.misfits.push(no_text(name, other));
                None
            }
        }
    }

    /// An object, if there is one.
    pub(crate) fn maybe_object(&mut self, name: &'static str) -> Option<Passing> {
        match self.fields.get(name)? {
            Value::Null => None,
            Value::Object(fields) => {
                let raw = Json::parse(self.raw.get(name)?.get()).ok()?;
                Some(Passing { raw, fields: fields.clone() })
            }
            other => {
                let msg = "Input should be a valid dictionary";
                self.misfits.push(misfit("dict_type", name, msg, other));
                None
            }
        }
    }

    /// Once every field was asked for.
    pub(crate) fn check(&mut self) -> Result<(), Refusal> {
        let misfits = std::mem::take(&mut self.misfits);
        if misfits.is_empty() { Ok(()) } else { Err(Refusal::misshapen(misfits)) }
    }
}

fn misfit(kind: &'static str, name: &str, msg: &str, input: &Value) -> Misfit {
    Misfit { kind, loc: vec!["body".into(), name.into()], msg: msg.to_owned(), input: echo(input), ctx: None }
}

fn no_text(name: &str, input: &Value) -> Misfit {
    misfit("string_type", name, "Input should be a valid string", input)
}

fn missing(loc: Vec<Value>, input: Value) -> Misfit {
    Misfit { kind: "missing", loc, msg: "Field required".to_owned(), input, ctx: None }
}

fn no_json(at: usize, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::misshapen(vec![Misfit {
        kind: "json_invalid",
        loc: vec!["body".into(), at.into()],
        msg: "JSON decode error".to_owned(),
        input: json!({}),
        ctx: Some(json!({ "error": error.to_string() })),
    }])
}

/// Where a parser stopped, counted from the beginning.
fn place(text: &str, error: &serde_json::Error) -> usize {
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    before + error.column().saturating_sub(1)
}

/// What a client sent, or its beginning.
fn echo(input: &Value) -> Value {
    let text = input.to_string();
    if text.len() <= MAX_ECHO_BYTES { input.clone() } else { crate::error::cut(&text, MAX_ECHO_BYTES).into() }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;

    use super::*;

    async fn shown(refusal: Refusal) -> Value {
        let body = refusal.into_response().into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    async fn refused(bytes: &[u8]) -> Value {
        let mut read = Body::read(bytes);
        if let Ok(body) = &mut read {
            body.text("a");
            body.maybe_text("b");
            body.maybe_object("c");
            return shown(body.check().err().unwrap()).await;
        }
        shown(read.err().unwrap()).await
    }

    #[tokio::test]
    async fn what_is_no_json_is_told_with_its_place() {
        for wrong in [&b"{\"a\":\n nope}"[..], b"{\"a\": \"x\"} y", b"\xff", &[b'['; 500], b"{\"a\": \"\\ud800\"}"] {
            let said = refused(wrong).await;
            assert_eq!(said["error"]["code"], "VALIDATION_ERROR");
            assert_eq!(said["detail"][0]["type"], "json_invalid", "{said}");
            assert!(said["detail"][0]["loc"][1].is_u64() && said["detail"][0]["ctx"]["error"].is_string(), "{said}");
        }
        assert_eq!(refused(b"{\"a\":\n nope}").await["detail"][0]["loc"], json!(["body", 8]));
    }

    #[tokio::test]
    async fn a_body_that_is_missing_or_no_object_is_refused() {
        for nothing in [&b""[..], b"null"] {
            let said = refused(nothing).await;
            assert_eq!(said["detail"][0]["type"], "missing");
            assert_eq!(said["detail"][0]["loc"], json!(["body"]));
        }
        for other in [&b"[]"[..], b"\"text\"", b"7"] {
            assert_eq!(refused(other).await["detail"][0]["type"], "model_attributes_type");
        }
    }

    #[tokio::test]
    async fn every_misfit_is_told_at_once_in_both_shapes() {
        let said = refused(br#"{"b": 7, "c": []}"#).await;
        let kinds: Vec<_> = said["detail"].as_array().unwrap().iter().map(|misfit| &misfit["type"]).collect();
        assert_eq!(kinds, ["missing", "string_type", "dict_type"]);
        assert_eq!(said["detail"][1]["input"], 7);
        assert_eq!(said["error"]["details"][1], "body.b: Input should be a valid string");
        assert_eq!(refused(br#"{"a": null}"#).await["detail"][0]["type"], "string_type");
    }

    #[tokio::test]
    async fn an_input_that_is_long_is_not_repeated_whole() {
        let long = "x".repeat(2 * MAX_ECHO_BYTES);
        let said = refused(json!({ "a": [long] }).to_string().as_bytes()).await;
        assert_eq!(said["detail"][0]["input"].as_str().unwrap().len(), MAX_ECHO_BYTES);
    }

    #[test]
    fn an_object_passes_as_it_came() {
        let mut body = Body::read(br#"{"c": {"n": 12345678901234567890123, "b": 1.0}}"#).ok().unwrap();
        let passing = body.maybe_object("c").unwrap();
        assert_eq!(passing.raw.as_str(), r#"{"n": 12345678901234567890123, "b": 1.0}"#);
        assert!(passing.fields.contains_key("b") && body.check().is_ok());
    }
}
