//! How often one call is tried, when again, and until when.

use std::time::{Duration, Instant};

use moothall_actors::domain::answer::{Answer, Finish, Usage};
use moothall_actors::ports::ModelCall;

use super::breaker::Standing;
use super::response::Completion;
use super::settings::Retry;
use super::trouble::{Again, Trouble};

/// A silence this long speaks against the server, however short the call's own time is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The tries of one call.
pub(crate) struct Tries<'a> {
    call: &'a ModelCall,
    started: Instant,
    /// Most that any call may take.
    limit: Duration,
    pub(crate) deadline: tokio::time::Instant,
    retry: Retry,
    /// Requests spent.
    pub(crate) made: u32,
    retries: u32,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(call: &'a ModelCall, limit: Duration, retry: Retry) -> Self {
        let deadline = tokio::time::Instant::now() + call.timeout.min(limit);
        Self { call, started: Instant::now(), limit, deadline, retry, made: 0, retries: 0 }
    }

    /// How long to wait before the next one; `None` = there is none.
    pub(crate) fn wait_before_next(&mut self, trouble: &Trouble) -> Option<Duration> {
        if self.made >= self.call.most_attempts.max(1) {
            return None;
        }
        match trouble.again {
            Again::Never => None,
            Again::AtOnce => Some(Duration::ZERO),
            Again::Later if self.retries >= self.retry.times => None,
            Again::Later => {
                self.retries += 1;
                let jittered = self.retry.bound(self.retries).mul_f64(rand::random());
                let wait = trouble.retry_after.unwrap_or(jittered);
                (tokio::time::Instant::now() + wait < self.deadline).then_some(wait)
            }
        }
    }

    /// A caller with little time left says nothing of the server; a long silence does.
    pub(crate) fn out_of_time(&self, sent: Instant) -> Trouble {
        let waited = sent.elapsed();
        let long = waited >= PATIENCE.min(self.limit);
        let standing = if long { Standing::Failed } else { Standing::Unknown };
        Trouble::out_of_time(standing, format!("no answer within {:.1} s", waited.as_secs_f64()))
    }

    pub(crate) fn answer(&self, completion: Completion) -> Answer {
        completion.answers(self.call, self.made, self.started.elapsed())
    }
}

impl Completion {
    /// The answer to this call, after so many requests.
    pub(crate) fn answers(self, call: &ModelCall, attempts: u32, duration: Duration) -> Answer {
        let Self { text, reasoning, finish, usage, cached: _, model } = self;
        let usage = usage.unwrap_or_else(|| estimate(call, &text, reasoning.as_deref()));
        Answer {
            usage,
            text,
            reasoning: reasoning.map(Into::into),
            finish: finish.unwrap_or(Finish::Other),
            model: model.unwrap_or_default(),
            attempts,
            duration,
        }
    }
}

/// Four bytes a token, for servers that do not count.
fn estimate(call: &ModelCall, text: &str, reasoning: Option<&str>) -> Usage {
    let tokens = |bytes: usize| (bytes as u64).div_ceil(4);
    Usage {
        prompt: tokens(call.shared.len() + call.ask.len()),
        completion: tokens(text.len() + reasoning.map_or(0, str::len)),
    }
}
