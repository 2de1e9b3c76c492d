//! What became of one agent's call, from whichever place it is heard: watching, asking, or an event.

use std::time::Duration;

use moothall_actors::domain::answer::{Answer, Class, Failure, Finish, Usage};
use moothall_actors::ports::ModelCall;
use moothall_actors::ports::executor::Result;
use serde::Deserialize;

use crate::error::cut;
use crate::grpc::proto::fleet::ray_executor::v1::DeliberationResult;
use crate::grpc::proto::moothall::v1::ExecutorAgentResult;
use crate::vllm::{Completion, MAX_TEXT, finish_of};

const MOST_ERROR_BYTES: usize = 4096;

/// One agent's result in the executor's words. Not all places say all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AgentResult {
    pub agent_id: String,
    /// `completed`, `failed` or `cancelled`.
    pub status: String,
    pub content: String,
    pub reasoning: String,
    pub model: String,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub duration_ms: u64,
    pub error: String,
    pub error_type: String,
    pub attempts: u32,
    pub finish_reason: String,
}

impl From<ExecutorAgentResult> for AgentResult {
    fn from(told: ExecutorAgentResult) -> Self {
        let number = |given: i64| u64::try_from(given).unwrap_or_default();
        Self {
            agent_id: told.agent_id,
            status: told.status,
            content: told.content,
            reasoning: told.reasoning,
            model: told.model,
            prompt_tokens: number(told.prompt_tokens),
            completion_tokens: number(told.completion_tokens),
            duration_ms: number(told.duration_ms),
            error: told.error,
            error_type: told.error_type,
            attempts: u32::try_from(told.attempts).unwrap_or_default(),
            finish_reason: told.finish_reason,
        }
    }
}

/// Those of a deliberation that was asked about. An executor that has no list of them tells the first agent's alone.
pub(super) fn listed(told: DeliberationResult) -> Vec<AgentResult> {
    let list = told.metadata.get("results").and_then(|json| serde_json::from_str(json).ok());
    list.unwrap_or_else(|| {
        let completed = !told.proposal.is_empty();
        let status = if completed { "completed" } else { "" }.to_owned();
        let (agent_id, content, reasoning) = (told.agent_id, told.proposal, told.reasoning);
        vec![AgentResult { agent_id, status, content, reasoning, ..AgentResult::default() }]
    })
}

impl AgentResult {
    /// Whether the call has ended.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }

    /// As the outcome of the call that it belongs to.
    pub(super) fn outcome(self, call: &ModelCall, executor: &str) -> Result {
        let requests = self.attempts.max(1);
        match self.status.as_str() {
            "completed" => {
                self.answer(call, requests).map_err(|what| failure(executor, Class::Refused, &what, requests))
            }
            // The model thought until it had no room left: that is an answer cut off, and more room helps.
            "failed" if self.error_type == "invalid_response" && !self.reasoning.is_empty() && self.is_cut_off() => {
                self.answer(call, requests).map_err(|what| failure(executor, Class::Refused, &what, requests))
            }
            _ => {
                let kind = if self.error_type.is_empty() { &self.status } else { &self.error_type };
                let what = format!("{kind}: {}", cut(&self.error, MOST_ERROR_BYTES));
                Err(failure(executor, class(kind), &what, requests))
            }
        }
    }

    fn is_cut_off(&self) -> bool {
        finish_of(&self.finish_reason) == Finish::Length
    }

    fn answer(self, call: &ModelCall, requests: u32) -> std::result::Result<Answer, String> {
        if self.content.len() + self.reasoning.len() > MAX_TEXT {
            return Err(format!("the answer has more than {MAX_TEXT} bytes of text"));
        }
        let usage = Usage { prompt: self.prompt_tokens, completion: self.completion_tokens };
        let completion = Completion {
            text: self.content.into(),
            reasoning: Some(self.reasoning),
            finish: Some(finish_of(&self.finish_reason)),
            usage: Some(usage).filter(|usage| usage.total() > 0),
            cached: None,
            model: Some(self.model.into()),
        };
        let completion = completion.tidied().map_err(|unusable| unusable.to_string())?;
        Ok(completion.answers(call, requests, Duration::from_millis(self.duration_ms)))
    }
}

fn failure(executor: &str, class: Class, what: &str, attempts: u32) -> Failure {
    Failure { attempts, ..Failure::new(class, format!("executor {executor}: {what}")) }
}

/// What follows from an error's type. Those of other executors are read by their words: what is not known to pass costs
/// GPU time for nothing.
fn class(kind: &str) -> Class {
    match kind {
        "timeout" => Class::TimedOut,
        "rate_limited" => Class::Busy,
        "worker_lost" | "cluster_unavailable" => Class::Gone,
        "model_unavailable" | "connection" | "invalid_response" => Class::Transient,
        "internal" => Class::Internal,
        _ => {
            match ["timeout", "timed", "unavailable", "connection", "transient"].iter().any(|word| kind.contains(word))
            {
                true => Class::Transient,
                false => Class::Refused,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use moothall_actors::testing::wave_call as wave;

    use super::*;

    fn told(status: &str) -> AgentResult {
        AgentResult {
            agent_id: "agent-dev-001".into(),
            status: status.into(),
            content: "text".into(),
            model: "m".into(),
            prompt_tokens: 3,
            completion_tokens: 4,
            duration_ms: 50,
            attempts: 2,
            finish_reason: "stop".into(),
            ..AgentResult::default()
        }
    }

    fn outcome(told: AgentResult) -> Result {
        told.outcome(&wave(1).calls[0], "http://ray:1")
    }

    #[test]
    fn an_answer_is_taken_whole() {
        let answer = outcome(told("completed")).unwrap();
        assert_eq!((&*answer.text, answer.reasoning, answer.finish), ("text", None, Finish::Stop));
        assert_eq!((answer.usage, answer.attempts), (Usage { prompt: 3, completion: 4 }, 2));
        assert_eq!((&*answer.model, answer.duration), ("m", Duration::from_millis(50)));
    }

    #[test]
    fn what_the_model_server_did_not_count_is_estimated() {
        let silent = AgentResult { prompt_tokens: 0, completion_tokens: 0, attempts: 0, ..told("completed") };
        let answer = outcome(silent).unwrap();
        assert_eq!((answer.usage, answer.attempts), (Usage { prompt: 3, completion: 1 }, 1));
    }

    #[test]
    fn thoughts_without_an_answer_count_when_the_limit_cut_them_off() {
        let thought = AgentResult {
            content: String::new(),
            reasoning: "hm".into(),
            error_type: "invalid_response".into(),
            finish_reason: "length".into(),
            ..told("failed")
        };
        let answer = outcome(thought.clone()).unwrap();
        assert_eq!((&*answer.text, answer.finish), ("", Finish::Length));
        let ended = AgentResult { finish_reason: "stop".into(), ..thought };
        assert_eq!(outcome(ended).unwrap_err().class, Class::Transient);
    }

    #[test]
    fn each_error_has_its_class() {
        for (kind, expected) in [
            ("timeout", Class::TimedOut),
            ("rate_limited", Class::Busy),
            ("connection", Class::Transient),
            ("worker_lost", Class::Gone),
            ("cluster_unavailable", Class::Gone),
            ("rejected", Class::Refused),
            ("answer_too_large", Class::Refused),
            ("ConnectionResetError connection", Class::Transient),
            ("", Class::Refused),
        ] {
            let failed = AgentResult { error_type: kind.into(), error: "why".into(), ..told("failed") };
            let failure = outcome(failed).unwrap_err();
            assert_eq!((failure.class, failure.attempts), (expected, 2), "{kind}");
            assert!(failure.message.starts_with("executor http://ray:1: ") && failure.message.ends_with("why"));
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_refused() {
        let long = AgentResult { content: "x".repeat(MAX_TEXT + 1), ..told("completed") };
        assert_eq!(outcome(long).unwrap_err().class, Class::Refused);
    }

    #[test]
    fn an_executor_may_list_its_results_or_tell_the_first() {
        let json =
            r#"[{"agent_id":"a","status":"completed","content":"x","prompt_tokens":1,"more":true},{"agent_id":"b"}]"#;
        let metadata = [("results".to_owned(), json.to_owned())].into();
        let list = listed(DeliberationResult { metadata, ..DeliberationResult::default() });
        assert_eq!((list.len(), list[0].is_final(), list[1].is_final()), (2, true, false));
        let first = DeliberationResult { agent_id: "a".into(), proposal: "x".into(), ..DeliberationResult::default() };
        assert!(matches!(&listed(first)[..], [one] if one.is_final() && one.content == "x"));
        assert!(!listed(DeliberationResult::default())[0].is_final());
    }
}
