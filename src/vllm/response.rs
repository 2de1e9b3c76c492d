//! The bytes of an answer: what the model said, apart from what it thought.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use memchr::memmem;
use moothall_actors::domain::answer::{Finish, Usage};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, de};

/// An answer as the server gave it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) text: Arc<str>,
    pub(crate) reasoning: Option<String>,
    pub(crate) finish: Option<Finish>,
    pub(crate) usage: Option<Usage>,
    /// Tokens of the prompt that the server had in its prefix cache, if it says so.
    pub(crate) cached: Option<u64>,
    pub(crate) model: Option<Arc<str>>,
}

/// An answer that nothing can be made of.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("answered without a usable message: {0}")]
    Broken(String),
    /// The model ended before it said anything.
    #[error("answered without a usable message: its text is empty")]
    Empty,
}

#[derive(Deserialize)]
struct Body<'b> {
    #[serde(borrow)]
    model: Option<Word<'b>>,
    choices: Vec<Choice<'b>>,
    usage: Option<UsageBody>,
}

#[derive(Deserialize)]
struct Choice<'b> {
    message: Message,
    #[serde(borrow)]
    finish_reason: Option<Word<'b>>,
}

/// Read where it stands, unless it has escapes.
#[derive(Deserialize)]
struct Word<'b>(#[serde(borrow)] Cow<'b, str>);

/// Copied once, from the body to where it stays.
pub(crate) struct Text(pub(crate) Arc<str>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.into()))
            }
        }

        deserializer.deserialize_str(Reader)
    }
}

/// A whole message or, streamed, the next piece of one.
#[derive(Deserialize, Default)]
pub(crate) struct Message {
    pub(crate) content: Option<Text>,
    pub(crate) reasoning: Option<String>,
    pub(crate) reasoning_content: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct UsageBody {
    prompt_tokens: u64,
    /// Some servers leave it out when it is zero.
    #[serde(default)]
    completion_tokens: u64,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl UsageBody {
    pub(crate) fn cached(&self) -> Option<u64> {
        self.prompt_tokens_details.as_ref()?.cached_tokens
    }
}

impl From<UsageBody> for Usage {
    fn from(body: UsageBody) -> Self {
        Self { prompt: body.prompt_tokens, completion: body.completion_tokens }
    }
}

pub(crate) fn finish_of(reason: &str) -> Finish {
    match reason {
        "stop" => Finish::Stop,
        "length" => Finish::Length,
        _ => Finish::Other,
    }
}

/// Reads an answer that came whole.
pub(crate) fn parse(body: &[u8]) -> Result<Completion, Unusable> {
    let body: Body<'_> =
        serde_json::from_slice(body).map_err(|error| Unusable::Broken(format!("not a completion: {error}")))?;
    let Some(Choice { message, finish_reason }) = body.choices.into_iter().next() else {
        return Err(Unusable::Broken("it has no choices".into()));
    };
    Completion {
        text: message.content.map(|text| text.0).unwrap_or_default(),
        reasoning: message.reasoning.or(message.reasoning_content),
        finish: finish_reason.map(|reason| finish_of(&reason.0)),
        cached: body.usage.as_ref().and_then(UsageBody::cached),
        usage: body.usage.map(Usage::from),
        model: body.model.map(|name| name.0.into()),
    }
    .tidied()
}

impl Completion {
    /// Takes the thoughts out of the text. An empty text counts only when the token limit cut off the thoughts before
    /// it: then asking again with more room helps.
    pub(crate) fn tidied(mut self) -> Result<Self, Unusable> {
        if let Some((thoughts, text)) = split_thoughts(&self.text) {
            self.reasoning = Some(match self.reasoning {
                Some(before) if !before.trim().is_empty() => format!("{before}\n{thoughts}"),
                _ => thoughts.to_owned(),
            });
            self.text = text.into();
        }
        self.reasoning = self.reasoning.filter(|thoughts| !thoughts.trim().is_empty());
        if self.text.trim().is_empty() && !(self.reasoning.is_some() && self.finish == Some(Finish::Length)) {
            return Err(Unusable::Empty);
        }
        Ok(self)
    }
}

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Thoughts and text, when the text begins with thoughts. Some templates write the opening tag themselves, so that only
/// the closing one comes from the model.
fn split_thoughts(text: &str) -> Option<(&str, &str)> {
    let start = text.trim_start();
    if let Some(inside) = start.strip_prefix(OPEN) {
        let (thoughts, rest) = inside.split_once(CLOSE).unwrap_or((inside, ""));
        return Some((thoughts.trim(), rest.trim_start()));
    }
    // Nearly every text is looked through in vain.
    let (thoughts, rest) = start.split_at(memmem::find(start.as_bytes(), CLOSE.as_bytes())?);
    let rest = &rest[CLOSE.len()..];
    (!thoughts.contains(OPEN)).then(|| (thoughts.trim(), rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_message(message: &str, finish: &str) -> Result<Completion, Unusable> {
        parse(
            format!(r#"{{"model":"m","choices":[{{"message":{message},"finish_reason":"{finish}"}}],"usage":{{"prompt_tokens":3,"completion_tokens":4}}}}"#)
                .as_bytes(),
        )
    }

    #[test]
    fn a_plain_answer_is_read_whole() {
        let answer = with_message(r#"{"role":"assistant","content":"a \"b\"\n"}"#, "stop").unwrap();
        assert_eq!(&*answer.text, "a \"b\"\n");
        assert_eq!(answer.finish, Some(Finish::Stop));
        assert_eq!(answer.usage, Some(Usage { prompt: 3, completion: 4 }));
        assert_eq!(answer.model.as_deref(), Some("m"));
    }

    #[test]
    fn cached_tokens_are_read_where_the_server_says_them() {
        let cases = [
            ("", None),
            (r#","prompt_tokens_details":null"#, None),
            (r#","prompt_tokens_details":{"audio_tokens":1}"#, None),
            (r#","prompt_tokens_details":{"cached_tokens":null}"#, None),
            (r#","prompt_tokens_details":{"cached_tokens":16}"#, Some(16)),
        ];
        for (details, cached) in cases {
            let usage = format!(r#"{{"prompt_tokens":24,"completion_tokens":1{details}}}"#);
            let body = format!(r#"{{"choices":[{{"message":{{"content":"yes"}}}}],"usage":{usage}}}"#);
            assert_eq!(parse(body.as_bytes()).unwrap().cached, cached, "{body}");
        }
    }

    #[test]
    fn thoughts_are_kept_apart() {
        let cases = [
            (r#"{"content":"<think>hm</think>\n\nyes"}"#, "yes", Some("hm")),
            (r#"{"content":"hm\n</think>\nyes"}"#, "yes", Some("hm")),
            (r#"{"content":"<think>\n\n</think>\n\nyes"}"#, "yes", None),
            (r#"{"content":"yes","reasoning":"hm"}"#, "yes", Some("hm")),
            (r#"{"content":"yes","reasoning_content":"hm"}"#, "yes", Some("hm")),
            (r#"{"content":"use <think> and </think>"}"#, "use <think> and </think>", None),
        ];
        for (message, text, thoughts) in cases {
            let answer = with_message(message, "stop").unwrap();
            assert_eq!((&*answer.text, answer.reasoning.as_deref()), (text, thoughts), "{message}");
        }
    }

    #[test]
    fn thoughts_cut_off_leave_an_empty_text_that_was_too_long() {
        let answer = with_message(r#"{"content":"<think>on and on"}"#, "length").unwrap();
        assert_eq!((&*answer.text, answer.reasoning.as_deref()), ("", Some("on and on")));
        assert!(with_message(r#"{"content":"<think>on and on"}"#, "stop").is_err());
        assert!(with_message(r#"{"content":null,"reasoning":"hm"}"#, "length").is_ok());
    }

    #[test]
    fn what_says_nothing_is_unusable() {
        for message in [r#"{"content":null}"#, r#"{"content":" \n"}"#, r#"{"role":"assistant"}"#] {
            assert!(with_message(message, "stop").is_err(), "{message}");
        }
        for body in ["", "garbage", "{}", r#"{"choices":[]}"#, r#"{"choices":[{"message":{"content":"#, "[1]"] {
            let why = parse(body.as_bytes()).unwrap_err().to_string();
            assert!(why.starts_with("answered without a usable message"), "{why}");
        }
    }
}
