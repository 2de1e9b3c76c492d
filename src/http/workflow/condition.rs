//! Under which conditions a request is meant: only while nobody else changed the workflow, only once, only if there is
//! something new.

use axum::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue};
use moothall_actors::System;
use moothall_actors::domain::json::Json;
use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::workflow::{Request, Workflow, WorkflowId};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::refusal::{Cause, Refusal};
use super::super::visible_ascii;

/// Longest key of a request: it is kept beside its workflow.
const MAX_KEY_CHARS: usize = 255;
/// Ids of workflows follow from keys within it; drawn once, it never changes.
const KEYS: Uuid = Uuid::from_u128(0x9c0d_6f52_41e7_4b0a_8f3e_52c1_7a94_de06);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How a version is told to clients.
pub(super) fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// Which versions a request is meant for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// Any.
    Any,
    /// One of these; tags that are no versions are left out, since no workflow has them.
    OneOf(Vec<u64>),
}

impl IfMatch {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        if !headers.contains_key(IF_MATCH) {
            return Self::Any;
        }
        let tags: Vec<_> = tags(headers, &IF_MATCH).collect();
        if tags.contains(&"*") {
            return Self::Any;
        }
        // A weak tag never matches here: whoever has one has not seen exactly this version.
        Self::OneOf(tags.into_iter().filter_map(version).collect())
    }

    /// The version that the workflow must be at when its turn comes. A request that was carried out already is let
    /// through: its repeat changes nothing.
    pub(super) async fn expected(
        &self,
        system: &System,
        id: WorkflowId,
        request: Option<&Request>,
    ) -> Result<Option<u64>, Refusal> {
        let versions = match self {
            Self::Any => return Ok(None),
            // The workflow itself compares: nothing comes between that and the step.
            Self::OneOf(versions) if versions.len() == 1 => return Ok(versions.first().copied()),
            Self::OneOf(versions) => versions,
        };
        let workflow = system.workflow(id).await?;
        if request.is_some_and(|request| workflow.request(&request.key).is_some()) {
            return Ok(None);
        }
        if versions.contains(&workflow.version) {
            return Ok(Some(workflow.version));
        }
        let actual = etag(workflow.version);
        Err(Refusal::new(Cause::Precondition, format!("the workflow is at {actual}, which If-Match does not name")))
    }
}

/// Whether the client has this version already.
pub(super) fn is_known(headers: &HeaderMap, workflow: &Workflow) -> bool {
    let has = |tag: &str| tag == "*" || version(tag.strip_prefix("W/").unwrap_or(tag)) == Some(workflow.version);
    tags(headers, &IF_NONE_MATCH).any(has)
}

fn tags<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lists = headers.get_all(name).into_iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|tag| !tag.is_empty())
}

fn version(tag: &str) -> Option<u64> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    digits.parse().ok().filter(|version: &u64| version.to_string() == digits)
}

/// The client's name for its request, if it gave one; `content` is what it asks for.
pub(super) fn request(
    headers: &HeaderMap,
    content: (&'static str, &Map<String, Value>),
    problems: &mut Problems,
) -> Option<Request> {
    let key = idempotency_key(headers, problems)?.into();
    let (kind, fields) = content;
    let content = Json::of(&(kind, sorted(&Value::Object(fields.clone())))).ok()?.hash();
    Some(Request { key, content })
}

pub(crate) fn idempotency_key(headers: &HeaderMap, problems: &mut Problems) -> Option<String> {
    let mut keys = headers.get_all(&IDEMPOTENCY_KEY).into_iter();
    let first = keys.next()?;
    let key = Some(first).filter(|_| keys.next().is_none()).and_then(readable);
    if key.is_none() {
        problems.push("Idempotency-Key", format!("is not one key of 1 to {MAX_KEY_CHARS} visible ASCII characters"));
    }
    key.map(str::to_owned)
}

fn readable(value: &HeaderValue) -> Option<&str> {
    visible_ascii(value, MAX_KEY_CHARS)
}

/// The workflow that a key creates, whenever it comes.
pub(super) fn keyed_id(key: &str) -> WorkflowId {
    WorkflowId(Uuid::new_v5(&KEYS, key.as_bytes()).into_bytes())
}

/// The same with all fields in one order: how a client arranged them says nothing.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<_> = fields.keys().collect();
            names.sort();
            Value::Object(names.into_iter().map(|name| (name.clone(), sorted(&fields[name]))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn if_match(values: &[&str]) -> IfMatch {
        IfMatch::read(&headers(IF_MATCH, values))
    }

    #[test]
    fn tags_are_read_from_lists_and_from_several_headers() {
        assert_eq!(if_match(&[]), IfMatch::Any);
        assert_eq!(if_match(&["*"]), IfMatch::Any);
        assert_eq!(if_match(&["\"3\""]), IfMatch::OneOf(vec![3]));
        assert_eq!(if_match(&["\"3\", \"5\"", "\"7\""]), IfMatch::OneOf(vec![3, 5, 7]));
        for wrong in ["", "3", "W/\"3\"", "\"x\"", "\"03\"", "\"+3\""] {
            assert_eq!(if_match(&[wrong]), IfMatch::OneOf(Vec::new()), "{wrong}");
        }
    }

    fn keyed(key: &str, body: &str) -> (Option<Request>, usize) {
        let mut problems = Problems::default();
        let body: Value = serde_json::from_str(body).unwrap();
        let content = ("create", body.as_object().unwrap());
        let request = request(&headers(IDEMPOTENCY_KEY, &[key]), content, &mut problems);
        (request, problems.0.len())
    }

    #[test]
    fn a_body_is_the_same_however_it_is_arranged() {
        let content = |body| keyed("k", body).0.unwrap().content;
        assert_eq!(content(r#"{"a": 1, "b": {"d": [1], "c": 2}}"#), content(r#"{"b":{"c":2,"d":[1]},"a":1}"#));
        assert_ne!(content(r#"{"a": [1, 2]}"#), content(r#"{"a": [2, 1]}"#));
        assert_ne!(content(r#"{"a": 1}"#), content(r#"{"a": "1"}"#));
    }

    #[test]
    fn a_key_is_1_to_255_visible_characters() {
        for right in ["k", &"k".repeat(MAX_KEY_CHARS)] {
            assert_eq!(&*keyed(right, "{}").0.unwrap().key, right);
        }
        for wrong in ["", "a b", &"k".repeat(MAX_KEY_CHARS + 1)] {
            assert_eq!(keyed(wrong, "{}"), (None, 1), "{wrong}");
        }
        assert_eq!(request(&HeaderMap::new(), ("create", &Map::new()), &mut Problems::default()), None);
    }

    #[test]
    fn a_key_always_creates_the_same_workflow() {
        assert_eq!(keyed_id("order-7").to_string(), "d9658c0f-1412-5ac2-a402-85feee74e20f");
        assert_ne!(keyed_id("order-7"), keyed_id("order-8"));
    }
}
