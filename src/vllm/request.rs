//! The bytes of a request: the same call gives the same bytes, whenever it is made.

use std::sync::Arc;

use moothall_actors::ports::{AnswerForm, ModelCall};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::settings::{ResponseFormat, VllmSettings};

/// Keys of ours that `extra_body` may not replace: the answer could not be understood.
const FIXED_KEYS: [&str; 4] = ["model", "messages", "stream", "stream_options"];

/// Of a body, around its texts.
const MODEL: &[u8] = br#"{"model":"#;
const MESSAGES: &[u8] = br#","messages":["#;
const SYSTEM: &[u8] = br#"{"role":"system","content":"#;
const USER: &[u8] = br#"{"role":"user","content":"#;

const JSON_OBJECT: &str = r#"{"type":"json_object"}"#;

/// The critique as the prompts ask for it.
const CRITIQUE_SCHEMA: &str = concat!(
    r#"{"type":"json_schema","json_schema":{"name":"critique","schema":{"type":"object","additionalProperties":false,"#,
    r#""required":["summary","findings","ratings"],"properties":{"summary":{"type":"string"},"#,
    r#""findings":{"type":"array","items":{"type":"object","additionalProperties":false,"#,
    r#""required":["claim","location","evidence","severity"],"properties":{"claim":{"type":"string"},"#,
    r#""location":{"type":"string"},"evidence":{"type":"string"},"#,
    r#""severity":{"type":"string","enum":["blocker","major","minor","nit"]}}}},"#,
    r#""ratings":{"type":"array","items":{"type":"object","additionalProperties":false,"#,
    r#""required":["requirement","rating","reason"],"properties":{"requirement":{"type":"integer","minimum":0},"#,
    r#""rating":{"type":"number","minimum":0,"maximum":10},"reason":{"type":"string"}}}}}}}}"#
);

/// The ballot as its prompt asks for it.
const BALLOT_SCHEMA: &str = concat!(
    r#"{"type":"json_schema","json_schema":{"name":"ballot","schema":{"type":"object","additionalProperties":false,"#,
    r#""required":["ranking"],"properties":{"ranking":{"type":"array","items":{"type":"object","#,
    r#""additionalProperties":false,"required":["candidate","reason"],"properties":{"#,
    r#""candidate":{"type":"string"},"reason":{"type":"string"}}}}}}}}"#
);

/// What every request has in common, encoded once.
pub(crate) struct Encoder {
    critique_format: Option<Box<RawValue>>,
    ballot_format: Option<Box<RawValue>>,
    stream_options: Option<Box<RawValue>>,
    temperature: f32,
    top_p: Option<f32>,
    /// What `extra_body` adds at the end: `,"key":value…}`, for Qwen3 models and for others.
    tail: [Vec<u8>; 2],
    own: OwnKeys,
}

/// Which optional keys stay ours: a key of `extra_body` replaces ours instead of standing beside it.
struct OwnKeys {
    temperature: bool,
    top_p: bool,
    seed: bool,
    max_tokens: bool,
    response_format: bool,
}

/// Settings that cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("model.extra_body may not have the key {0:?}: the adapter sets it")]
    FixedKey(String),
    #[error("cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// One request's JSON, as it goes out: what all calls of a deliberation share is not copied into it.
pub(crate) struct Body {
    pub(super) front: Vec<u8>,
    pub(super) shared: Option<Arc<str>>,
    pub(super) back: Vec<u8>,
}

impl Body {
    pub(crate) fn len(&self) -> usize {
        self.front.len() + self.shared.as_deref().map_or(0, str::len) + self.back.len()
    }
}

/// What follows the messages.
#[derive(Serialize)]
struct Rest<'a> {
    #[serde(flatten)]
    params: Params<'a>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<&'a RawValue>,
}

/// What a call wants of its answer.
#[derive(Serialize)]
struct Params<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<&'a RawValue>,
}

impl Encoder {
    pub(crate) fn new(settings: &VllmSettings) -> Result<Self, BodyError> {
        let raw = |text: &str| RawValue::from_string(text.to_owned());
        let extra = settings.extra_body.as_ref();
        if let Some(key) = extra.and_then(|map| map.keys().find(|key| FIXED_KEYS.contains(&key.as_str()))) {
            return Err(BodyError::FixedKey(key.clone()));
        }
        let format = |schema| match settings.response_format {
            ResponseFormat::None => Ok(None),
            ResponseFormat::JsonObject => raw(JSON_OBJECT).map(Some),
            ResponseFormat::JsonSchema => raw(schema).map(Some),
        };
        let own = |key| extra.is_none_or(|map| !map.contains_key(key));
        let quiet = Map::from_iter([("chat_template_kwargs".into(), serde_json::json!({"enable_thinking": false}))]);
        let none = Map::new();
        Ok(Self {
            critique_format: format(CRITIQUE_SCHEMA)?,
            ballot_format: format(BALLOT_SCHEMA)?,
            stream_options: settings.stream.map(|_| raw(r#"{"include_usage":true}"#)).transpose()?,
            temperature: settings.temperature,
            top_p: settings.top_p,
            tail: [tail(extra.unwrap_or(&quiet))?, tail(extra.unwrap_or(&none))?],
            own: OwnKeys {
                temperature: own("temperature"),
                top_p: own("top_p"),
                seed: own("seed"),
                max_tokens: own("max_tokens") && own("max_completion_tokens"),
                response_format: own("response_format"),
            },
        })
    }

    /// Whether calls of this form carry `response_format`.
    pub(crate) fn structured(&self, form: AnswerForm) -> bool {
        self.format(form).is_some()
    }

    fn format(&self, form: AnswerForm) -> Option<&RawValue> {
        match form {
            AnswerForm::Text => None,
            AnswerForm::Critique => self.critique_format.as_deref(),
            AnswerForm::Ballot => self.ballot_format.as_deref(),
        }
    }

    pub(crate) fn encode(&self, call: &ModelCall, model: &str, max_tokens: u32) -> Result<Body, BodyError> {
        let mut front = Vec::with_capacity(MODEL.len() + model.len() + MESSAGES.len() + SYSTEM.len() + 2);
        front.extend_from_slice(MODEL);
        serde_json::to_writer(&mut front, model)?;
        front.extend_from_slice(MESSAGES);
        let tail = self.tail(model);
        let mut back = Vec::with_capacity(room(&call.ask) + tail.len());
        // Some chat templates refuse an empty system message.
        let shared = if call.shared.is_empty() {
            None
        } else {
            front.extend_from_slice(SYSTEM);
            back.extend_from_slice(b"},");
            Some(call.shared.json().clone())
        };
        back.extend_from_slice(USER);
        serde_json::to_writer(&mut back, &*call.ask)?;
        back.extend_from_slice(b"}]");
        let rest = Rest {
            params: self.params(call, max_tokens),
            stream: self.stream_options.is_some(),
            stream_options: self.stream_options.as_deref(),
        };
        let begins = back.len();
        serde_json::to_writer(&mut back, &rest)?;
        back[begins] = b',';
        back.pop();
        back.extend_from_slice(tail);
        Ok(Body { front, shared, back })
    }

    /// What a request of the same call holds beside its model and its messages, for whoever makes it elsewhere.
    pub(crate) fn encode_params(&self, call: &ModelCall, model: &str, max_tokens: u32) -> Result<String, BodyError> {
        let mut text = serde_json::to_string(&self.params(call, max_tokens))?;
        text.pop();
        let tail = String::from_utf8_lossy(self.tail(model));
        text.push_str(if text == "{" { tail.trim_start_matches(',') } else { &tail });
        Ok(text)
    }

    fn params(&self, call: &ModelCall, max_tokens: u32) -> Params<'_> {
        Params {
            temperature: Some(call.temperature.unwrap_or(self.temperature)).filter(|_| self.own.temperature),
            top_p: call.top_p.or(self.top_p).filter(|_| self.own.top_p),
            seed: call.seed.filter(|_| self.own.seed),
            max_tokens: Some(max_tokens).filter(|_| self.own.max_tokens),
            response_format: self.format(call.form).filter(|_| self.own.response_format),
        }
    }

    fn tail(&self, model: &str) -> &[u8] {
        &self.tail[usize::from(!is_qwen3(model))]
    }
}

/// Enough for the usual text with its escapes (line ends, quotes), so that encoding allocates once.
fn room(ask: &str) -> usize {
    ask.len() + ask.len() / 8 + 512
}

fn tail(extra: &Map<String, Value>) -> Result<Vec<u8>, serde_json::Error> {
    if extra.is_empty() {
        return Ok(b"}".to_vec());
    }
    let mut tail = serde_json::to_vec(extra)?;
    tail[0] = b',';
    Ok(tail)
}

/// These think aloud unless their template is told not to.
fn is_qwen3(model: &str) -> bool {
    model.as_bytes().windows(5).any(|part| part.eq_ignore_ascii_case(b"qwen3"))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::vllm::settings::StreamLimits;
    use crate::vllm::tests::call;

    fn settings() -> VllmSettings {
        VllmSettings::new(vec![Url::parse("http://localhost").unwrap()])
    }

    fn encoded(settings: &VllmSettings, call: &ModelCall, model: &str) -> String {
        let body = Encoder::new(settings).unwrap().encode(call, model, 512).unwrap();
        let whole = [&body.front[..], body.shared.as_deref().unwrap_or_default().as_bytes(), &body.back].concat();
        assert_eq!(whole.len(), body.len());
        String::from_utf8(whole).unwrap()
    }

    fn extra(json: Value) -> VllmSettings {
        let Value::Object(map) = json else { panic!("not an object") };
        VllmSettings { extra_body: Some(map), ..settings() }
    }

    #[test]
    fn the_keys_stand_in_the_agreed_order() {
        let mut call = call("propose");
        call.top_p = Some(0.5);
        call.seed = Some(7);
        call.form = AnswerForm::Critique;
        let settings =
            VllmSettings { stream: Some(StreamLimits::default()), ..extra(serde_json::json!({"top_k": 20})) };
        assert_eq!(
            encoded(&settings, &call, "m"),
            concat!(
                r#"{"model":"m","messages":[{"role":"system","content":"shared \"text\"\n"},"#,
                r#"{"role":"user","content":"ask"}],"temperature":0.7,"top_p":0.5,"seed":7,"max_tokens":512,"#,
                r#""response_format":{"type":"json_object"},"stream":true,"stream_options":{"include_usage":true},"#,
                r#""top_k":20}"#
            )
        );
    }

    #[test]
    fn nothing_optional_is_sent_unasked() {
        let call = ModelCall { shared: "".into(), ..call("propose") };
        let body = r#"{"model":"m","messages":[{"role":"user","content":"ask"}],"temperature":0.7,"max_tokens":512,"stream":false}"#;
        assert_eq!(encoded(&settings(), &call, "m"), body);
    }

    #[test]
    fn qwen3_does_not_think_aloud_unless_told_otherwise() {
        let call = call("propose");
        let quiet = r#""stream":false,"chat_template_kwargs":{"enable_thinking":false}}"#;
        assert!(encoded(&settings(), &call, "Qwen/Qwen3-0.6B").ends_with(quiet));
        assert!(encoded(&settings(), &call, "Qwen/Qwen2").ends_with(r#""stream":false}"#));
        assert!(encoded(&extra(serde_json::json!({})), &call, "Qwen/Qwen3-0.6B").ends_with(r#""stream":false}"#));
    }

    #[test]
    fn an_extra_key_replaces_ours() {
        let body = encoded(&extra(serde_json::json!({"temperature": 0.1})), &call("propose"), "m");
        assert_eq!(body.matches("temperature").count(), 1);
        assert!(body.ends_with(r#""temperature":0.1}"#), "{body}");
    }

    #[test]
    fn a_key_that_the_adapter_needs_cannot_be_replaced() {
        let error = Encoder::new(&extra(serde_json::json!({"stream": true}))).err().unwrap();
        assert!(error.to_string().contains("\"stream\""));
    }

    #[test]
    fn the_schemas_are_json() {
        let required = |schema: &str| {
            let schema: Value = serde_json::from_str(schema).unwrap();
            schema["json_schema"]["schema"]["required"].as_array().unwrap().len()
        };
        assert_eq!((required(CRITIQUE_SCHEMA), required(BALLOT_SCHEMA)), (3, 1));
    }
}
