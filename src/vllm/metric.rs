//! What is counted: handles made once, so that a call formats nothing.

use std::sync::Once;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use moothall_actors::domain::answer::{Answer, Class, Failure};

/// Of all model calls.
pub(crate) struct CallMetrics {
    answered: Counter,
    cancelled: Counter,
    /// In the order of [`CLASSES`].
    failed: [Counter; CLASSES.len()],
    seconds: Histogram,
    prompt_tokens: Counter,
    completion_tokens: Counter,
}

const CLASSES: [(Class, &str); 7] = [
    (Class::Transient, "transient"),
    (Class::Busy, "busy"),
    (Class::Invalid, "invalid"),
    (Class::Refused, "refused"),
    (Class::TimedOut, "timed_out"),
    (Class::Gone, "gone"),
    (Class::Internal, "internal"),
];

fn describe() {
    describe_counter!("moothall_model_calls_total", "Model calls by outcome; a call may take several requests");
    describe_counter!("moothall_model_requests_total", "Requests to model servers and runners, by replica and outcome");
    describe_counter!("moothall_model_tokens_total", "Tokens of finished calls, by kind");
    describe_histogram!("moothall_model_call_seconds", Unit::Seconds, "Time of finished calls, retries included");
    describe_gauge!("moothall_model_outstanding", "Calls at or waiting for a replica");
    describe_gauge!("moothall_model_breaker_open", "1 while a replica is left alone after failures");
}

impl CallMetrics {
    pub(crate) fn new() -> Self {
        static DESCRIBED: Once = Once::new();
        DESCRIBED.call_once(describe);
        let calls = |outcome: &'static str| counter!("moothall_model_calls_total", "outcome" => outcome);
        Self {
            answered: calls("answered"),
            cancelled: calls("cancelled"),
            failed: CLASSES.map(|(_, name)| calls(name)),
            seconds: histogram!("moothall_model_call_seconds"),
            prompt_tokens: counter!("moothall_model_tokens_total", "kind" => "prompt"),
            completion_tokens: counter!("moothall_model_tokens_total", "kind" => "completion"),
        }
    }

    fn ended(&self, outcome: &Result<Answer, Failure>) {
        match outcome {
            Ok(answer) => {
                self.answered.increment(1);
                self.seconds.record(answer.duration);
                self.prompt_tokens.increment(answer.usage.prompt);
                self.completion_tokens.increment(answer.usage.completion);
            }
            Err(failure) => {
                for (counter, (class, _)) in self.failed.iter().zip(CLASSES) {
                    if class == failure.class {
                        counter.increment(1);
                    }
                }
            }
        }
    }

    fn cancelled(&self) {
        self.cancelled.increment(1);
    }
}

/// Of one replica.
pub(crate) struct ReplicaMetrics {
    pub(crate) answered: Counter,
    pub(crate) failed: Counter,
    pub(crate) outstanding: Gauge,
    pub(crate) breaker_open: Gauge,
}

impl ReplicaMetrics {
    pub(crate) fn new(replica: &str) -> Self {
        let replica = || replica.to_owned();
        Self {
            answered: counter!("moothall_model_requests_total", "replica" => replica(), "outcome" => "answered"),
            failed: counter!("moothall_model_requests_total", "replica" => replica(), "outcome" => "failed"),
            outstanding: gauge!("moothall_model_outstanding", "replica" => replica()),
            breaker_open: gauge!("moothall_model_breaker_open", "replica" => replica()),
        }
    }
}

/// One call until it ends; one whose caller left is counted as cancelled.
pub(crate) struct Counted<'a> {
    metrics: &'a CallMetrics,
    ended: bool,
}

impl<'a> Counted<'a> {
    pub(crate) fn begin(metrics: &'a CallMetrics) -> Self {
        Self { metrics, ended: false }
    }

    pub(crate) fn ended(mut self, outcome: &Result<Answer, Failure>) {
        self.ended = true;
        self.metrics.ended(outcome);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.metrics.cancelled();
        }
    }
}
