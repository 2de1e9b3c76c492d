//! One call: which replica, how often, how long.
//!
//! ```text
//!  pick the least busy ─▶ wait for a place ─▶ ask ─▶ answer
//!       ▲                                      │
//!       └── wait, with jitter ◀── may help ◀── trouble ──▶ failure
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use moothall_actors::domain::answer::{Answer, Failure, Finish, Usage};
use moothall_actors::ports::ModelCall;
use tokio::time::{sleep, timeout_at};

use super::breaker::Standing;
use super::exchange::Exchange;
use super::replica::Replica;
use super::response::Completion;
use super::trouble::{Again, Trouble};

/// A silence this long speaks against the server, however short the call's own time is.
const PATIENCE: Duration = Duration::from_secs(60);

/// One call under way.
pub(crate) struct Course<'a> {
    exchange: &'a Exchange,
    replicas: &'a [Arc<Replica>],
    call: &'a ModelCall,
    started: Instant,
    deadline: tokio::time::Instant,
    /// HTTP requests spent.
    attempts: u32,
    retries: u32,
    /// Who was asked last: another one is preferred next.
    last: Option<usize>,
}

impl<'a> Course<'a> {
    pub(crate) fn new(exchange: &'a Exchange, replicas: &'a [Arc<Replica>], call: &'a ModelCall) -> Self {
        let deadline = tokio::time::Instant::now() + call.timeout.min(exchange.settings.timeout);
        Self { exchange, replicas, call, started: Instant::now(), deadline, attempts: 0, retries: 0, last: None }
    }

    pub(crate) async fn run(mut self, turn: &AtomicUsize) -> Result<Answer, Failure> {
        loop {
            let trouble = match self.attempt(turn).await {
                Ok(completion) => return Ok(self.answer(completion)),
                Err(trouble) => trouble,
            };
            match self.wait_before_next(&trouble) {
                Some(wait) if wait.is_zero() => {}
                Some(wait) => sleep(wait).await,
                None => return Err(self.failure(trouble)),
            }
        }
    }

    async fn attempt(&mut self, turn: &AtomicUsize) -> Result<Completion, Trouble> {
        let Some(place) = pick(self.replicas, self.last, turn) else {
            let asked = self.last.and_then(|place| self.replicas.get(place)).or(self.replicas.first());
            return Err(asked.map_or_else(|| Trouble::refused("no model server is configured"), |one| one.left_alone()));
        };
        self.last = Some(place);
        let replica = &self.replicas[place];
        let _outstanding = replica.enter();
        let _permit = replica.place(self.deadline).await?;
        let trial = replica.trial()?;
        self.attempts += 1;
        let sent = Instant::now();
        let outcome = match timeout_at(self.deadline, self.exchange.ask(replica, self.call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.out_of_time(sent)),
        };
        match &outcome {
            Ok(_) => trial.answered(),
            Err(trouble) => trial.failed(trouble),
        }
        outcome
    }

    /// A caller with little time left says nothing of the server; a long silence does.
    fn out_of_time(&self, sent: Instant) -> Trouble {
        let waited = sent.elapsed();
        let long = waited >= PATIENCE.min(self.exchange.settings.timeout);
        let standing = if long { Standing::Failed } else { Standing::Unknown };
        Trouble::out_of_time(standing, format!("no answer within {:.1} s", waited.as_secs_f64()))
    }

    /// How long to wait before the next attempt; `None` = there is none.
    fn wait_before_next(&mut self, trouble: &Trouble) -> Option<Duration> {
        if self.attempts >= self.call.most_attempts.max(1) {
            return None;
        }
        let retry = &self.exchange.settings.retry;
        match trouble.again {
            Again::Never => None,
            Again::AtOnce => Some(Duration::ZERO),
            Again::Later if self.retries >= retry.times => None,
            Again::Later => {
                self.retries += 1;
                let jittered = retry.bound(self.retries).mul_f64(rand::random());
                let wait = trouble.retry_after.unwrap_or(jittered);
                (tokio::time::Instant::now() + wait < self.deadline).then_some(wait)
            }
        }
    }

    fn answer(&self, completion: Completion) -> Answer {
        let Completion { text, reasoning, finish, usage, model } = completion;
        let usage = usage.unwrap_or_else(|| self.estimate(&text, reasoning.as_deref()));
        Answer {
            usage,
            text: text.into(),
            reasoning: reasoning.map(Into::into),
            finish: finish.unwrap_or(Finish::Other),
            model: model.unwrap_or_default().into(),
            attempts: self.attempts,
            duration: self.started.elapsed(),
        }
    }

    /// Four bytes a token, for servers that do not count.
    fn estimate(&self, text: &str, reasoning: Option<&str>) -> Usage {
        let tokens = |bytes: usize| (bytes as u64).div_ceil(4);
        Usage {
            prompt: tokens(self.call.shared.len() + self.call.ask.len()),
            completion: tokens(text.len() + reasoning.map_or(0, str::len)),
        }
    }

    fn failure(&self, trouble: Trouble) -> Failure {
        let server = self.last.and_then(|place| self.replicas.get(place)).or(self.replicas.first());
        trouble.into_failure(server.map_or("", |replica| &replica.target.shown), self.attempts)
    }
}

/// The replica with the fewest calls, among those not left alone; the one asked `last` only if it is the only one.
/// Equal ones take turns.
fn pick(replicas: &[Arc<Replica>], last: Option<usize>, turn: &AtomicUsize) -> Option<usize> {
    let now = Instant::now();
    if let [only] = replicas {
        return only.admits(now).then_some(0);
    }
    let start = turn.fetch_add(1, Ordering::Relaxed);
    (0..replicas.len())
        .map(|step| start.wrapping_add(step) % replicas.len())
        .filter(|&place| replicas[place].admits(now))
        .min_by_key(|&place| (last == Some(place), replicas[place].outstanding()))
}
