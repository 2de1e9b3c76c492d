//! What a server serves (`/v1/models`): the name to use when none is configured, and how much fits into a request.

use serde::Deserialize;

/// The models of one server.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Catalog {
    #[serde(rename = "data")]
    models: Vec<Served>,
}

#[derive(Clone, Debug, Deserialize)]
struct Served {
    id: String,
    /// What an alias or adapter stands for.
    root: Option<String>,
    max_model_len: Option<u32>,
}

impl Catalog {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.models.iter().map(|model| model.id.clone()).collect()
    }

    pub(crate) fn serves(&self, name: &str) -> bool {
        self.models.iter().any(|model| model.id == name)
    }

    /// That it does not serve `name`, and what it does.
    pub(crate) fn lacks(&self, name: &str) -> String {
        format!("model {name:?} is not served here; served: {}", self.names().join(", "))
    }

    /// The one model, or the first of several names for one; else what to say.
    pub(crate) fn only(&self) -> Result<&str, String> {
        let Some(first) = self.models.first() else { return Err("it serves no model".into()) };
        let same = |model: &Served| first.root.is_some() && model.root == first.root;
        if self.models[1..].iter().all(same) {
            return Ok(&first.id);
        }
        Err(format!("it serves several models, name one of them: {}", self.names().join(", ")))
    }

    /// Tokens that prompt and answer may have together.
    pub(crate) fn context_of(&self, name: &str) -> Option<u32> {
        let named = self.models.iter().find(|model| model.id == name).and_then(|model| model.max_model_len);
        // An adapter has none of its own: its base model's counts.
        named.or_else(|| self.models.iter().find_map(|model| model.max_model_len))
    }
}

/// How many tokens to ask for, so that they fit beside a prompt of so many bytes. Two bytes per token are more tokens
/// than usual texts have (three to four), since a refusal is worse than a shorter answer; a quarter of the context is
/// asked for in any case.
pub(crate) fn fit(wanted: u32, context: Option<u32>, prompt_bytes: usize) -> u32 {
    const TEMPLATE: u32 = 64;
    let Some(context) = context else { return wanted };
    let prompt = u32::try_from(prompt_bytes / 2).unwrap_or(u32::MAX).saturating_add(TEMPLATE);
    wanted.min(context.saturating_sub(prompt).max(context / 4)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(models: &str) -> Catalog {
        Catalog::parse(format!(r#"{{"object":"list","data":[{models}]}}"#).as_bytes()).unwrap()
    }

    #[test]
    fn the_only_model_is_taken() {
        assert_eq!(catalog(r#"{"id":"a"}"#).only(), Ok("a"));
        assert_eq!(catalog(r#"{"id":"a","root":"r"},{"id":"b","root":"r"}"#).only(), Ok("a"));
        assert!(catalog("").only().is_err());
        assert!(catalog(r#"{"id":"a"},{"id":"b"}"#).only().unwrap_err().ends_with("a, b"));
    }

    #[test]
    fn an_adapter_has_the_context_of_its_base() {
        let catalog = catalog(r#"{"id":"base","max_model_len":1024},{"id":"lora","max_model_len":null}"#);
        assert_eq!(catalog.context_of("lora"), Some(1024));
        assert!(catalog.serves("lora") && !catalog.serves("other"));
    }

    #[test]
    fn an_answer_is_asked_to_fit() {
        assert_eq!(fit(4096, None, 1 << 20), 4096);
        assert_eq!(fit(4096, Some(32_768), 10_000), 4096);
        assert_eq!(fit(4096, Some(1024), 200), 1024 - 100 - 64);
        assert_eq!(fit(4096, Some(1024), 1 << 20), 256);
        assert_eq!(fit(100, Some(1024), 1 << 20), 100);
    }
}
