//! A text that many requests begin with.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The beginning that all prompts of a deliberation share; cheap to clone. It may carry whole files, so that it is
/// written as JSON once and not for each call.
#[derive(Clone)]
pub struct Prefix(Arc<Inner>);

struct Inner {
    text: Arc<str>,
    json: OnceLock<Arc<str>>,
}

impl Prefix {
    /// The text as a JSON string, with its quotes.
    #[must_use]
    pub fn json(&self) -> &Arc<str> {
        // Any text can be written as JSON.
        self.0.json.get_or_init(|| serde_json::to_string(&*self.0.text).unwrap_or_default().into())
    }
}

impl Deref for Prefix {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.text
    }
}

impl From<Arc<str>> for Prefix {
    fn from(text: Arc<str>) -> Self {
        Self(Arc::new(Inner { text, json: OnceLock::new() }))
    }
}

impl From<&str> for Prefix {
    fn from(text: &str) -> Self {
        Self::from(Arc::<str>::from(text))
    }
}

impl PartialEq for Prefix {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.text == other.0.text
    }
}

impl Eq for Prefix {}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.text, f)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Arc::<str>::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clones_share_one_json_that_says_the_text() {
        let prefix = Prefix::from("a \"b\"\n\u{1}ß");
        let clone = prefix.clone();
        assert_eq!(serde_json::from_str::<String>(prefix.json()).unwrap(), *prefix);
        assert!(Arc::ptr_eq(prefix.json(), clone.json()));
    }

    #[test]
    fn in_events_it_is_the_text_that_it_was() {
        let prefix = Prefix::from("a \"b\"\n");
        let written = serde_json::to_string(&prefix).unwrap();
        assert_eq!(written, **prefix.json());
        assert_eq!(serde_json::from_str::<Prefix>(&written).unwrap(), prefix);
    }
}
