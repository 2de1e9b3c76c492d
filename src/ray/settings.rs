//! What the client can be told, with the defaults of the design; the configuration fills it.

use std::time::Duration;

use crate::backoff::Backoff;

/// Limits of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaySettings {
    /// How long the executor may be away before its waves are given up.
    pub away_limit: Duration,
    /// For one question and its answer. 5 s: an executor with a thousand waves answers within one.
    pub answer_within: Duration,
    /// Between questions that brought no answer.
    pub retry: Backoff,
    /// Between questions to an executor that cannot be watched.
    pub poll: Backoff,
    /// A watched wave that is silent for so long is asked about: a process that stands still says nothing of it.
    pub look_every: Duration,
    /// How long calling back is tried.
    pub cancel_within: Duration,
}

impl Default for RaySettings {
    fn default() -> Self {
        Self {
            away_limit: Duration::from_secs(30),
            answer_within: Duration::from_secs(5),
            retry: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(2) },
            poll: Backoff { first: Duration::from_millis(50), most: Duration::from_secs(1) },
            look_every: Duration::from_secs(10),
            cancel_within: Duration::from_secs(30),
        }
    }
}
