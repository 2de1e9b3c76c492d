//! The model: one call in, one finished answer out. Retries, limits and replicas are the adapter's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::answer::{Answer, Failure};
use crate::domain::council::Endpoint;
use crate::domain::id::{CallId, Stage};
use crate::domain::prefix::Prefix;

/// What form of answer the prompt asks for. Only a hint: prose is always taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    Text,
    /// Structured findings; the adapter may send `response_format`.
    Critique,
    /// A ranking of candidates; likewise.
    Ballot,
}

/// One call, complete: the same call has the same bytes whenever it is made.
#[derive(Clone, Debug)]
pub struct ModelCall {
    pub id: CallId,
    pub endpoint: Endpoint,
    /// Empty = the configured model.
    pub model: Arc<str>,
    /// The system message: the same for all agents of a deliberation.
    pub shared: Prefix,
    /// The user message: what differs.
    pub ask: Arc<str>,
    pub form: AnswerForm,
    /// `None` = the configured one.
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub seed: Option<u32>,
    /// `None` = the stage's configured limit, times `room`.
    pub max_tokens: Option<u32>,
    /// 1, or 2 when the last answer was cut off.
    pub room: u32,
    /// For the whole call, retries included.
    pub timeout: Duration,
    /// HTTP requests it may take at most, at least 1.
    pub most_attempts: u32,
}

impl ModelCall {
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.id.wave.stage
    }
}

/// A model, or many behind one door.
#[async_trait]
pub trait Model: Send + Sync + 'static {
    /// Completes one call. Dropping the future closes its connection, so that the server stops generating.
    async fn complete(&self, call: &ModelCall) -> Result<Answer, Failure>;

    /// Whether calls of this form carry `response_format`: only then is broken JSON asked again.
    fn structured(&self, form: AnswerForm) -> bool;
}
