//! Results of waves that executors publish, for whoever follows the wave.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::nats::{AgentCompleted, AgentFailed, Handled, Said};
use crate::ray::{AgentResult, RayExecutor};

/// How long it may take until an outcome is durable, before the event is given back.
const DURABLE_WITHIN: Duration = Duration::from_secs(20);

/// Hands an answer to whoever follows its wave. `None` = nobody does here.
pub(super) async fn completed(executor: Option<&Arc<RayExecutor>>, event: &AgentCompleted) -> Option<Handled> {
    let durable = executor?.hear(&event.task_id, event.attempt, || answered(event)).await?;
    Some(until_durable(durable).await)
}

/// The same of a failure.
pub(super) async fn failed(executor: Option<&Arc<RayExecutor>>, event: &AgentFailed) -> Option<Handled> {
    let durable = executor?.hear(&event.task_id, event.attempt, || broke_down(event)).await?;
    Some(until_durable(durable).await)
}

async fn until_durable(durable: oneshot::Receiver<()>) -> Handled {
    match timeout(DURABLE_WITHIN, durable).await {
        Ok(Ok(())) => Handled::Done,
        Ok(Err(_)) => Handled::Later { why: "the run that waited for it was interrupted".into() },
        Err(_) => Handled::Later { why: format!("the outcome was not written within {DURABLE_WITHIN:?}") },
    }
}

fn answered(event: &AgentCompleted) -> AgentResult {
    // A text; anything else is told as it stands.
    let output = event.output.as_deref().unwrap_or_default();
    let content = serde_json::from_slice(output).unwrap_or_else(|_| String::from_utf8_lossy(output).into_owned());
    AgentResult {
        agent_id: event.agent_id.clone(),
        status: "completed".to_owned(),
        content,
        duration_ms: event.duration_ms.unwrap_or_default(),
        ..said(&event.said)
    }
}

fn broke_down(event: &AgentFailed) -> AgentResult {
    AgentResult {
        agent_id: event.agent_id.clone(),
        status: "failed".to_owned(),
        error: event.error.clone().unwrap_or_default(),
        error_type: event.error_type.clone().unwrap_or_default(),
        ..said(&event.said)
    }
}

fn said(said: &Said) -> AgentResult {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    AgentResult {
        reasoning: text(&said.reasoning),
        model: text(&said.model),
        finish_reason: text(&said.finish_reason),
        prompt_tokens: said.prompt_tokens.unwrap_or_default(),
        completion_tokens: said.completion_tokens.unwrap_or_default(),
        ..AgentResult::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_watching_would_have() {
        let event = AgentCompleted {
            agent_id: "a".into(),
            output: Some(r#""line\nline""#.into()),
            duration_ms: Some(7),
            ..AgentCompleted::default()
        };
        let result = answered(&event);
        assert_eq!((&*result.content, result.duration_ms, &*result.status), ("line\nline", 7, "completed"));
        let object = AgentCompleted { output: Some(r#"{"a": 1}"#.into()), ..event };
        assert_eq!(answered(&object).content, r#"{"a": 1}"#);
    }

    #[tokio::test]
    async fn without_an_executor_it_is_somebody_elses() {
        assert_eq!(failed(None, &AgentFailed::default()).await, None);
    }
}
