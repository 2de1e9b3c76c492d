//! Results of waves that executors publish, for whoever follows the wave.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::nats::{AgentCompleted, AgentFailed, Handled};
use crate::ray::{AgentResult, RayExecutor, WaveEvent};

/// How long it may take until an outcome is durable, before the event is given back.
const DURABLE_WITHIN: Duration = Duration::from_secs(20);

/// Hands an event to whoever follows its wave. `None` = nobody does here.
pub(super) async fn hear(executor: Option<&Arc<RayExecutor>>, event: impl Into<WaveEvent>) -> Option<Handled> {
    let durable = executor?.hear(event.into()).await?;
    Some(match timeout(DURABLE_WITHIN, durable).await {
        Ok(Ok(())) => Handled::Done,
        Ok(Err(_)) => Handled::Later { why: "the run that waited for it was interrupted".into() },
        Err(_) => Handled::Later { why: format!("the outcome was not written within {DURABLE_WITHIN:?}") },
    })
}

impl From<&AgentCompleted> for WaveEvent {
    fn from(event: &AgentCompleted) -> Self {
        // A text; anything else is told as it stands.
        let output = event.output.as_deref().unwrap_or_default();
        let content = serde_json::from_slice(output).unwrap_or_else(|_| String::from_utf8_lossy(output).into_owned());
        let said = event.said.clone();
        let result = AgentResult {
            agent_id: event.agent_id.clone(),
            status: "completed".to_owned(),
            content,
            reasoning: said.reasoning.unwrap_or_default(),
            model: said.model.unwrap_or_default(),
            prompt_tokens: said.prompt_tokens.unwrap_or_default(),
            completion_tokens: said.completion_tokens.unwrap_or_default(),
            duration_ms: event.duration_ms.unwrap_or_default(),
            finish_reason: said.finish_reason.unwrap_or_default(),
            ..AgentResult::default()
        };
        Self { task_id: event.task_id.clone(), attempt: event.attempt, result }
    }
}

impl From<&AgentFailed> for WaveEvent {
    fn from(event: &AgentFailed) -> Self {
        let said = event.said.clone();
        let result = AgentResult {
            agent_id: event.agent_id.clone(),
            status: "failed".to_owned(),
            error: event.error.clone().unwrap_or_default(),
            error_type: event.error_type.clone().unwrap_or_default(),
            reasoning: said.reasoning.unwrap_or_default(),
            finish_reason: said.finish_reason.unwrap_or_default(),
            ..AgentResult::default()
        };
        Self { task_id: event.task_id.clone(), attempt: event.attempt, result }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_watching_would_have() {
        let event = AgentCompleted {
            task_id: "t-1/propose-0".into(),
            agent_id: "a".into(),
            output: Some(r#""line\nline""#.into()),
            attempt: Some(2),
            duration_ms: Some(7),
            ..AgentCompleted::default()
        };
        let WaveEvent { task_id, attempt, result } = WaveEvent::from(&event);
        assert_eq!((&*task_id, attempt), ("t-1/propose-0", Some(2)));
        assert_eq!((&*result.content, result.duration_ms, &*result.status), ("line\nline", 7, "completed"));
        let object = AgentCompleted { output: Some(r#"{"a": 1}"#.into()), ..event };
        assert_eq!(WaveEvent::from(&object).result.content, r#"{"a": 1}"#);
    }

    #[tokio::test]
    async fn without_an_executor_it_is_somebody_elses() {
        assert_eq!(hear(None, &AgentFailed::default()).await, None);
    }
}
