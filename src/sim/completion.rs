//! Answers in the form of the protocol, whole or in the pieces of a stream.

use std::sync::Arc;

use bytes::Bytes;
use moothall_actors::domain::answer::{Finish, Usage};
use moothall_actors::domain::id::Stage;
use serde_json::{Value, json};

use super::behaviour::{Answers, MODEL};
use super::call_name::CallName;
use super::canned;
use super::script::{Otherwise, Script};

/// Bytes of text in one piece of a stream.
const PIECE: usize = 48;

/// What is said, whatever the form.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) text: Arc<str>,
    pub(crate) reasoning: Option<Arc<str>>,
    pub(crate) finish: Finish,
    /// Instead of the general latency.
    pub(crate) latency_ms: Option<u64>,
}

impl Said {
    fn plainly(text: String) -> Self {
        Self { text: text.into(), reasoning: None, finish: Finish::Stop, latency_ms: None }
    }

    /// For a prompt of so many bytes.
    pub(crate) fn usage(&self, prompt_bytes: usize) -> Usage {
        let completion = self.text.len() + self.reasoning.as_ref().map_or(0, |thoughts| thoughts.len());
        Usage { prompt: tokens(prompt_bytes), completion: tokens(completion) }
    }

    fn finish_reason(&self) -> &'static str {
        match self.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Other => "content_filter",
        }
    }

    /// The answer as one JSON document.
    pub(crate) fn whole(&self, used: Tokens) -> Bytes {
        let mut message = json!({"role": "assistant", "content": &*self.text});
        if let Some(thoughts) = &self.reasoning {
            message["reasoning_content"] = Value::from(&**thoughts);
        }
        let body = json!({
            "id": "chatcmpl-sim", "object": "chat.completion", "created": 0, "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason()}],
            "usage": used.json(),
        });
        body.to_string().into()
    }

    /// The answer as the events of a stream.
    pub(crate) fn pieces(&self, used: Tokens) -> Vec<Bytes> {
        let event = |choices: Value, usage: Value| {
            let chunk = json!({
                "id": "chatcmpl-sim", "object": "chat.completion.chunk", "created": 0, "model": MODEL,
                "choices": choices, "usage": usage,
            });
            Bytes::from(format!("data: {chunk}\n\n"))
        };
        let delta = |delta: Value, finish: Value| {
            event(json!([{"index": 0, "delta": delta, "finish_reason": finish}]), Value::Null)
        };
        let mut pieces = vec![delta(json!({"role": "assistant", "content": ""}), Value::Null)];
        if let Some(thoughts) = &self.reasoning {
            pieces.extend(cut(thoughts).map(|part| delta(json!({"reasoning_content": part}), Value::Null)));
        }
        pieces.extend(cut(&self.text).map(|part| delta(json!({"content": part}), Value::Null)));
        pieces.push(delta(json!({}), json!(self.finish_reason())));
        pieces.push(event(json!([]), used.json()));
        pieces.push(Bytes::from_static(b"data: [DONE]\n\n"));
        pieces
    }
}

/// What an answer says that it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    usage: Usage,
    /// Of the prompt, those in the prefix cache; `None` = there is no cache.
    cached: Option<u64>,
}

/// Four bytes a token.
fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

impl Tokens {
    /// With so many bytes of the prompt cached.
    pub(crate) fn new(usage: Usage, cached_bytes: Option<usize>) -> Self {
        Self { usage, cached: cached_bytes.map(tokens) }
    }

    fn json(self) -> Value {
        let Self { usage, cached } = self;
        let mut json = json!({"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": usage.total()});
        if let Some(cached) = cached {
            json["prompt_tokens_details"] = json!({"cached_tokens": cached});
        }
        json
    }
}

/// Parts of at least [`PIECE`] bytes, never inside a character.
fn cut(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = (PIECE..rest.len()).find(|&end| rest.is_char_boundary(end)).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        rest = after;
        Some(part)
    })
}

/// Where answers come from, with what can be built beforehand.
pub(crate) enum Source {
    /// In the order of stages and variants.
    Bench(Vec<Ready>),
    Prose,
    Script(Script),
}

/// An answer built beforehand: its usage is that of a prompt of 4 KB.
#[derive(Clone)]
pub(crate) struct Ready {
    pub(crate) whole: Bytes,
    pub(crate) stream: Bytes,
}

const STAGES: [Stage; 5] = [Stage::Propose, Stage::Critique, Stage::Revise, Stage::Score, Stage::Select];

impl Source {
    pub(crate) fn new(answers: &Answers) -> Self {
        match answers {
            Answers::Prose => Self::Prose,
            Answers::Script(script) => Self::Script(script.clone()),
            Answers::Bench => {
                let both = STAGES.iter().flat_map(|&stage| (0..canned::VARIANTS).map(move |variant| (stage, variant)));
                let ready = |(stage, variant)| {
                    let said = Said::plainly(canned::bench(stage, variant));
                    let used = Tokens::new(said.usage(4096), None);
                    Ready { whole: said.whole(used), stream: said.pieces(used).concat().into() }
                };
                Self::Bench(both.map(ready).collect())
            }
        }
    }

    /// What was built beforehand for this call, if anything was.
    pub(crate) fn ready(&self, call: Option<&CallName<'_>>) -> Option<&Ready> {
        let Self::Bench(ready) = self else { return None };
        let (stage, variant) = place(call);
        let row = STAGES.iter().position(|&known| known == stage)?;
        ready.get(row * canned::VARIANTS + variant)
    }

    pub(crate) fn say(&self, call: Option<&CallName<'_>>, prompt: &[&str]) -> Said {
        let (stage, variant) = place(call);
        let otherwise = match self {
            Self::Bench(_) => Otherwise::Bench,
            Self::Prose => Otherwise::Prose,
            Self::Script(script) => match script.find(call, prompt) {
                Some(answer) => {
                    return Said {
                        text: Arc::clone(&answer.text),
                        reasoning: answer.reasoning.clone(),
                        finish: answer.finish.unwrap_or(Finish::Stop),
                        latency_ms: answer.latency_ms,
                    };
                }
                None => script.otherwise,
            },
        };
        Said::plainly(match otherwise {
            Otherwise::Bench => canned::bench(stage, variant),
            Otherwise::Prose => canned::prose(stage, variant),
        })
    }
}

/// A call without a name is taken for a proposal.
fn place(call: Option<&CallName<'_>>) -> (Stage, usize) {
    call.map_or((Stage::Propose, 0), |call| (call.stage, canned::variant(call.seat)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_up_the_whole() {
        let text = "grüß ".repeat(100);
        assert_eq!(cut(&text).collect::<String>(), text);
        assert!(cut(&text).all(|part| (1..PIECE + 4).contains(&part.len())));
        assert_eq!(cut("").count(), 0);
    }

    #[test]
    fn a_bench_answer_is_built_beforehand() {
        let source = Source::new(&Answers::Bench);
        let call = CallName::parse("t/1/critique-1/agent-dev-002");
        let ready = source.ready(call.as_ref()).unwrap();
        let body: Value = serde_json::from_slice(&ready.whole).unwrap();
        assert_eq!(body["choices"][0]["message"]["content"], *source.say(call.as_ref(), &[]).text);
        assert_eq!(body["model"], MODEL);
    }
}
