//! Scripted answers inside the daemon: what `MOCK` agents say, without a server.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use moothall_actors::domain::answer::{Answer, Class, Failure};
use moothall_actors::domain::council::Endpoint;
use moothall_actors::ports::{AnswerForm, Model, ModelCall};
use tokio::time::{sleep, timeout};

use super::behaviour::{Answers, Latency};
use super::call_name::CallName;
use super::completion::Source;

/// The model that answers of a script name, so that nobody takes them for real ones.
pub const SIMULATED_MODEL: &str = moothall_actors::domain::answer::SCRIPTED_MODEL;

/// The model port for `Endpoint::Mock`.
pub struct ScriptedModel {
    source: Source,
    latency: Latency,
    name: Arc<str>,
}

impl ScriptedModel {
    #[must_use]
    pub fn new(answers: &Answers, latency: Latency) -> Self {
        Self { source: Source::new(answers), latency, name: SIMULATED_MODEL.into() }
    }
}

#[async_trait]
impl Model for ScriptedModel {
    async fn complete(&self, call: &ModelCall) -> Result<Answer, Failure> {
        if call.endpoint != Endpoint::Mock {
            return Err(Failure::new(Class::Refused, "the script answers scripted agents only"));
        }
        let started = Instant::now();
        let id = call.id.to_string();
        let said = self.source.say(CallName::parse(&id).as_ref(), &[&call.shared, &call.ask]);
        let latency = said.latency_ms.map_or_else(|| self.latency.draw(), std::time::Duration::from_millis);
        if timeout(call.timeout, sleep(latency)).await.is_err() {
            return Err(Failure::new(Class::TimedOut, "the scripted answer takes longer than the call may"));
        }
        Ok(Answer {
            usage: said.usage(call.shared.len() + call.ask.len()),
            text: said.text,
            reasoning: said.reasoning,
            finish: said.finish,
            model: Arc::clone(&self.name),
            attempts: 1,
            duration: started.elapsed(),
        })
    }

    fn structured(&self, _form: AnswerForm) -> bool {
        false
    }
}
