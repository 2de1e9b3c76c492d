//! Answers written beforehand: which text is given to which call.

use std::sync::Arc;

use moothall_actors::domain::answer::Finish;
use moothall_actors::domain::id::Stage;
use serde::{Deserialize, Serialize};

use super::call_name::CallName;

/// A script, as its file has it. The first entry that fits a call answers it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The task that it was written for, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<ScriptedTask>,
    #[serde(default)]
    pub answers: Vec<ScriptedAnswer>,
    /// What calls get that no entry fits.
    #[serde(default)]
    pub otherwise: Otherwise,
}

/// A task with scripted answers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedTask {
    pub role: String,
    pub description: String,
    #[serde(default)]
    pub rubric: String,
    #[serde(default)]
    pub requirements: Vec<String>,
}

/// One answer, and the calls that it is for. What is absent fits every call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedAnswer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u8>,
    /// The end of the agent's id, such as `001`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<String>,
    /// Each stands somewhere in the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contains: Vec<String>,
    pub text: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// Instead of the general latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
}

/// What to say when a script has nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Otherwise {
    #[default]
    Prose,
    Bench,
}

/// A text that is no script.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    #[error("not a script in TOML: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("not a script in JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Script {
    /// Reads JSON when the text begins like it, else TOML.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        if text.trim_start().starts_with('{') { Ok(serde_json::from_str(text)?) } else { Ok(toml::from_str(text)?) }
    }

    /// The demo: a duration such as 1h30m is to be parsed.
    pub fn demo() -> Result<Self, ScriptError> {
        Self::parse(include_str!("../../config/demo/duration.toml"))
    }

    /// `prompt` is everything that was asked, in as many parts as it came.
    pub(crate) fn find(&self, call: Option<&CallName<'_>>, prompt: &[&str]) -> Option<&ScriptedAnswer> {
        self.answers.iter().find(|answer| answer.fits(call, prompt))
    }
}

impl ScriptedAnswer {
    fn fits(&self, call: Option<&CallName<'_>>, prompt: &[&str]) -> bool {
        self.stage.is_none_or(|stage| call.is_some_and(|call| call.stage == stage))
            && self.round.is_none_or(|round| call.is_some_and(|call| call.round == round))
            && self.seat.as_ref().is_none_or(|seat| call.is_some_and(|call| call.seat.ends_with(seat)))
            && self.contains.iter().all(|text| prompt.iter().any(|part| part.contains(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_that_fits_answers() {
        let script = Script::parse(
            r#"
            [[answers]]
            stage = "critique"
            seat = "002"
            text = "of the second critic"
            [[answers]]
            stage = "critique"
            round = 2
            text = "of the second round"
            [[answers]]
            contains = ["duration"]
            text = "of the prompt"
            "#,
        )
        .unwrap();
        let find = |id: &str, prompt: &str| {
            script.find(CallName::parse(id).as_ref(), &["", prompt]).map(|answer| answer.text.to_string())
        };
        assert_eq!(find("t/1/critique-2/a-002", "").as_deref(), Some("of the second critic"));
        assert_eq!(find("t/1/critique-2/a-001", "").as_deref(), Some("of the second round"));
        assert_eq!(find("t/1/critique-1/a-001", "a duration").as_deref(), Some("of the prompt"));
        assert_eq!(find("", "duration").as_deref(), Some("of the prompt"));
        assert_eq!(find("t/1/propose-0/a-002", ""), None);
    }

    #[test]
    fn json_is_a_script_too() {
        let script = Script::parse(r#" {"answers":[{"text":"hello","finish":"length"}],"otherwise":"bench"}"#).unwrap();
        assert_eq!((script.otherwise, script.answers[0].finish), (Otherwise::Bench, Some(Finish::Length)));
        assert!(Script::parse("[[answers]]\ntexts = 1").is_err());
    }
}
