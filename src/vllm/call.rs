//! One call: which replica, how often, how long.
//!
//! ```text
//!  pick a replica ─▶ wait for a place ─▶ ask ─▶ answer
//!       ▲                                 │
//!       └─ wait, with jitter ◀─ may help ◀─ trouble ──▶ failure
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use moothall_actors::domain::answer::{Answer, Failure};
use moothall_actors::ports::ModelCall;
use tokio::time::{sleep, timeout_at};

use super::choice::{self, Candidate, Key};
use super::exchange::Exchange;
use super::replica::Replica;
use super::response::Completion;
use super::settings::Balance;
use super::tries::Tries;
use super::trouble::Trouble;

/// One call under way.
pub(crate) struct Course<'a> {
    exchange: &'a Exchange,
    replicas: &'a [Arc<Replica>],
    call: &'a ModelCall,
    tries: Tries<'a>,
    /// Who was asked last: another one is preferred next.
    last: Option<usize>,
}

impl<'a> Course<'a> {
    pub(crate) fn new(exchange: &'a Exchange, replicas: &'a [Arc<Replica>], call: &'a ModelCall) -> Self {
        let tries = Tries::new(call, exchange.settings.timeout, exchange.settings.retry);
        Self { exchange, replicas, call, tries, last: None }
    }

    pub(crate) async fn run(mut self, turn: &AtomicUsize) -> Result<Answer, Failure> {
        loop {
            let trouble = match self.attempt(turn).await {
                Ok(completion) => return Ok(self.tries.answer(completion)),
                Err(trouble) => trouble,
            };
            match self.tries.wait_before_next(&trouble) {
                Some(Duration::ZERO) => {}
                Some(wait) => sleep(wait).await,
                None => return Err(self.failure(trouble)),
            }
        }
    }

    async fn attempt(&mut self, turn: &AtomicUsize) -> Result<Completion, Trouble> {
        let Some(place) = self.pick(turn) else {
            let asked = self.last.and_then(|place| self.replicas.get(place)).or(self.replicas.first());
            return Err(
                asked.map_or_else(|| Trouble::refused("no model server is configured"), |one| one.load.left_alone())
            );
        };
        self.last = Some(place);
        let replica = &self.replicas[place];
        let _outstanding = replica.load.enter();
        let _permit = replica.load.place(self.tries.deadline).await?;
        let trial = replica.load.trial()?;
        self.tries.made += 1;
        let sent = Instant::now();
        let outcome = match timeout_at(self.tries.deadline, self.exchange.ask(replica, self.call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.tries.out_of_time(sent)),
        };
        trial.ended(&outcome);
        if let Ok(completion) = &outcome {
            replica.prefix.answered(completion);
        }
        outcome
    }

    /// The replica to ask now, if any admits a call.
    fn pick(&self, turn: &AtomicUsize) -> Option<usize> {
        let now = Instant::now();
        if let [only] = self.replicas {
            return only.load.admits(now).then_some(0);
        }
        let candidates: Vec<Candidate> = self.replicas.iter().map(|replica| replica.candidate(now)).collect();
        match self.exchange.settings.balance {
            Balance::LeastOutstanding => {
                choice::least_outstanding(&candidates, self.last, turn.fetch_add(1, Ordering::Relaxed))
            }
            Balance::Prefix => {
                let (place, placement) = choice::by_prefix(Key::of(&self.call.id.run), &candidates, self.last)?;
                self.replicas[place].prefix.placed(placement);
                Some(place)
            }
        }
    }

    fn failure(&self, trouble: Trouble) -> Failure {
        let server = self.last.and_then(|place| self.replicas.get(place)).or(self.replicas.first());
        trouble.into_failure(server.map_or("", |replica| &replica.target.shown), self.tries.made)
    }
}
