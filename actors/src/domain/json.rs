//! JSON that passes through: what a client or an agent sent, kept as it came and never looked into here.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::task::hex;

/// One valid JSON value as text; cheap to clone. Stands in other JSON as itself, not as a string.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Arc<str>);

impl Json {
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(|raw| Self(raw.get().into()))
    }

    #[must_use]
    pub fn null() -> Self {
        Self("null".into())
    }

    /// Fails on what JSON cannot say, such as a map whose keys are no strings.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it says, where it has this shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// SHA-256 of the text, in hex.
    #[must_use]
    pub fn hash(&self) -> Arc<str> {
        hex(&Sha256::digest(self.0.as_bytes())).into()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(raw.get().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_in_other_json_as_it_came() {
        let json = Json::parse(r#" {"b": 1.0, "a": [12345678901234567890]} "#).unwrap();
        let within = serde_json::to_string(&Some(&json)).unwrap();
        assert_eq!(within, r#"{"b": 1.0, "a": [12345678901234567890]}"#);
        assert_eq!(serde_json::from_str::<Json>(&within).unwrap(), json);
        assert!(Json::parse("{").is_err());
    }

    #[test]
    fn a_null_is_a_value_like_others() {
        let json: Json = serde_json::from_str("null").unwrap();
        assert_eq!(json.as_str(), "null");
    }
}
