//! What is too long for a message is cut, and says so: its hash tells the whole text apart from any other.

use bytes::Bytes;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The longest text in an event, in bytes.
pub(super) const LONGEST_TEXT: usize = 256 * 1024;
/// What a dead letter leaves of the server's limit to headers and protocol.
const HEADROOM: usize = 16 * 1024;

/// Lower-case hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a text cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The bytes of a dead letter.
pub(super) fn raw(bytes: &Bytes, max_payload: usize) -> Bytes {
    bytes.slice(..bytes.len().min(max_payload.saturating_sub(HEADROOM)))
}

/// Whether [`texts`] would change anything; most events are short, and need no copy.
pub(super) fn is_long(payload: &Value, longest: usize) -> bool {
    match payload {
        Value::String(text) => text.len() > longest,
        Value::Array(items) => items.iter().any(|item| is_long(item, longest)),
        Value::Object(fields) => fields.values().any(|value| is_long(value, longest)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Cuts every text over `longest` bytes. The object that holds one says `truncated: true` and, under `sha256`, the hash of the
/// whole text by the name of its field; texts of a list count to the field that holds the list.
pub(super) fn texts(payload: &mut Value, longest: usize) {
    match payload {
        Value::Object(fields) => object(fields, longest),
        Value::Array(items) => items.iter_mut().for_each(|item| texts(item, longest)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn object(fields: &mut Map<String, Value>, longest: usize) {
    let mut hashes = Map::new();
    for (name, value) in fields.iter_mut() {
        match value {
            Value::String(text) => {
                if let Some(hash) = cut(text, longest) {
                    hashes.insert(name.clone(), hash.into());
                }
            }
            Value::Array(items) => {
                let cut: Vec<Value> = items.iter_mut().filter_map(|item| cut_item(item, longest)).collect();
                if !cut.is_empty() {
                    hashes.insert(name.clone(), cut.into());
                }
            }
            other => texts(other, longest),
        }
    }
    if !hashes.is_empty() {
        fields.insert("truncated".into(), true.into());
        fields.insert("sha256".into(), hashes.into());
    }
}

fn cut_item(item: &mut Value, longest: usize) -> Option<Value> {
    if let Value::String(text) = item {
        return cut(text, longest).map(Into::into);
    }
    texts(item, longest);
    None
}

/// The end of the last character that fits.
pub(super) fn boundary(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// At a character's boundary; the hash is the whole text's.
fn cut(text: &mut String, longest: usize) -> Option<String> {
    if text.len() <= longest {
        return None;
    }
    let hash = sha256(text.as_bytes());
    text.truncate(boundary(text, longest));
    Some(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn short_texts_stay() {
        let mut payload = json!({"error": "abcd", "list": ["abcd"], "deep": {"x": "abcd"}, "n": 1});
        let before = payload.clone();
        texts(&mut payload, 4);
        assert_eq!(payload, before);
    }

    #[test]
    fn long_ones_are_cut_where_they_stand() {
        let mut payload = json!({"a": "abcde", "deep": [{"x": "äää"}], "list": ["ok", "abcdef"]});
        texts(&mut payload, 4);
        assert_eq!(
            payload,
            json!({
                "a": "abcd", "truncated": true,
                "sha256": {"a": sha256(b"abcde"), "list": [sha256(b"abcdef")]},
                "deep": [{"x": "ää", "truncated": true, "sha256": {"x": sha256("äää".as_bytes())}}],
                "list": ["ok", "abcd"],
            })
        );
    }

    #[test]
    fn a_hash_is_lower_case_hex() {
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn raw_bytes_leave_room_for_headers() {
        let bytes = Bytes::from(vec![b'x'; 40_000]);
        assert_eq!(raw(&bytes, 32_768).len(), 16_384);
        assert_eq!(raw(&bytes, 1_000_000), bytes);
        assert_eq!(raw(&bytes, 1_000).len(), 0);
    }

    proptest! {
        #[test]
        fn no_text_is_longer_than_it_may_be(text in ".{0,64}", longest in 0_usize..32) {
            let mut payload = json!({"text": text});
            texts(&mut payload, longest);
            let left = payload["text"].as_str().unwrap();
            prop_assert!(left.len() <= longest);
            prop_assert!(text.starts_with(left));
            prop_assert_eq!(payload.get("truncated").is_some(), text.len() > longest);
            prop_assert_eq!(is_long(&json!([{"text": text}]), longest), text.len() > longest);
        }
    }
}
