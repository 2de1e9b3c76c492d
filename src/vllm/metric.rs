//! What is counted: handles made once, so that a call formats nothing.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use moothall_actors::domain::answer::{Answer, Class, Failure};

use super::choice::Placement;
use super::response::Completion;

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
    describe_counter!(
        "moothall_model_placements_total",
        "Requests of several replicas' calls, by the replica that got it and why: home = where the deliberation's prefix \
         belongs, load, breaker, retry = moved from there"
    );
    describe_counter!(
        "moothall_model_prompt_tokens_total",
        "Prompt tokens as the servers count them, by replica and whether its prefix cache had them; a server that does \
         not say has only misses"
    );
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

/// How often one replica's prefix cache can have helped, and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixCounts {
    /// Requests whose deliberation belongs there.
    pub home: u64,
    /// Requests that belong elsewhere and were moved: by load, a breaker or a retry.
    pub moved: u64,
    /// As the server counts them.
    pub prompt_tokens: u64,
    /// Those of them that it had in its cache, if it says so.
    pub cached_tokens: u64,
}

/// The same as metrics.
pub(crate) struct PrefixMetrics {
    /// In the order of [`Placement::ALL`].
    placed: [Tally; Placement::ALL.len()],
    hit: Tally,
    miss: Tally,
}

impl PrefixMetrics {
    pub(crate) fn new(replica: &str) -> Self {
        let replica = || replica.to_owned();
        let tokens = |cache: &'static str| {
            Tally::new(counter!("moothall_model_prompt_tokens_total", "replica" => replica(), "cache" => cache))
        };
        let placed = |placement: Placement| {
            let placement = placement.as_str();
            Tally::new(counter!("moothall_model_placements_total", "replica" => replica(), "placement" => placement))
        };
        Self { placed: Placement::ALL.map(placed), hit: tokens("hit"), miss: tokens("miss") }
    }

    pub(crate) fn placed(&self, placement: Placement) {
        for (tally, known) in self.placed.iter().zip(Placement::ALL) {
            if known == placement {
                tally.add(1);
            }
        }
    }

    /// Only the server's own word counts: what it does not say is not estimated here. Some leave the cached tokens out
    /// when there are none.
    pub(crate) fn answered(&self, completion: &Completion) {
        let Some(usage) = completion.usage else { return };
        let cached = completion.cached.unwrap_or_default().min(usage.prompt);
        self.hit.add(cached);
        self.miss.add(usage.prompt - cached);
    }

    pub(crate) fn counts(&self) -> PrefixCounts {
        let [home, moved @ ..] = &self.placed;
        let cached_tokens = self.hit.read();
        PrefixCounts {
            home: home.read(),
            moved: moved.iter().map(Tally::read).sum(),
            prompt_tokens: cached_tokens + self.miss.read(),
            cached_tokens,
        }
    }
}

/// A counter that we can read too.
struct Tally {
    counter: Counter,
    count: AtomicU64,
}

impl Tally {
    fn new(counter: Counter) -> Self {
        Self { counter, count: AtomicU64::new(0) }
    }

    fn add(&self, more: u64) {
        self.counter.increment(more);
        self.count.fetch_add(more, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
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
