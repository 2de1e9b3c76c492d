//! What a model answered, or why it did not.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Tokens of one or many calls, as the model server counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub prompt: u64,
    pub completion: u64,
}

impl Usage {
    #[must_use]
    pub fn total(self) -> u64 {
        self.prompt.saturating_add(self.completion)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt = self.prompt.saturating_add(other.prompt);
        self.completion = self.completion.saturating_add(other.completion);
    }
}

/// Why the model stopped writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Stop,
    /// The token limit cut it off.
    Length,
    Other,
}

/// The models that only play one: the simulated server, and the script of agents that call no server.
pub const SIMULATOR_MODEL: &str = "moothall-sim";
pub const SCRIPTED_MODEL: &str = "simulated";

/// A finished model call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub text: Arc<str>,
    /// What the model thought aloud (`reasoning`, `<think>`); never shown to a reviewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Arc<str>>,
    pub usage: Usage,
    pub finish: Finish,
    /// The model that answered, as its server names it.
    pub model: Arc<str>,
    /// HTTP requests this call took, retries included; at least 1.
    pub attempts: u32,
    /// From the ask to the whole answer, retries included.
    #[serde(rename = "duration_ms", with = "millis")]
    pub duration: Duration,
}

impl Answer {
    /// Whether it is scripted: whoever shows it must say so.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        matches!(&*self.model, SIMULATOR_MODEL | SCRIPTED_MODEL)
    }
}

/// How a failure is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// May work when tried again: connection lost, 5xx, breaker open.
    Transient,
    /// The other side has too much to do (429, full queue).
    Busy,
    /// The request itself is wrong.
    Invalid,
    /// The other side will not: wrong key, unknown model, any other 4xx.
    Refused,
    TimedOut,
    /// Whoever should have answered is no more (actor restarted, seat left).
    Gone,
    /// A bug of ours.
    Internal,
}

impl Class {
    /// Whether the same work may succeed when it is tried again later, with nothing mended.
    #[must_use]
    pub fn may_heal(self) -> bool {
        matches!(self, Self::Transient | Self::Busy | Self::TimedOut | Self::Gone)
    }
}

/// A call that brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub class: Class,
    /// A lower-case fragment that names the server and what it said.
    pub message: Arc<str>,
    /// HTTP requests spent on it.
    #[serde(default)]
    pub attempts: u32,
    /// When the other side said when to come back.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "retry_after_ms", with = "opt_millis")]
    pub retry_after: Option<Duration>,
}

impl Failure {
    #[must_use]
    pub fn new(class: Class, message: impl Into<Arc<str>>) -> Self {
        Self { class, message: message.into(), attempts: 0, retry_after: None }
    }
}

/// Durations stand in events as whole milliseconds.
pub mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

mod opt_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde's `with` hands over a reference to the field")]
    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::millis::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}
