//! One wave on its way: watched, asked about, or heard of by events, whichever comes first.
//!
//! ```text
//!  watch ─▶ result, result … ─▶ end            no such method ─▶ ask again and again
//!    │ silent: ask once       │ broken: wait, watch again
//!    └──▶ not known there: what is not told is lost      away for too long: given up
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use moothall_actors::ports::ModelCall;
use moothall_actors::ports::executor::{Followed, Told, WaveCall};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::exchange::{Exchange, GOODBYE};
use super::hearing::{Heard, Hearing};
use super::request;
use super::result::{AgentResult, listed};
use super::trouble::Trouble;
use crate::grpc::proto::moothall::v1::executor_update::Update;

/// Results on their way to whoever tells them.
const ON_THE_WAY: usize = 8;

/// Follows a wave to its end.
pub(super) async fn follow(
    exchange: &Exchange,
    hearing: &Hearing,
    (name, wave): (&str, &WaveCall),
    to: mpsc::Sender<Told>,
) -> Followed {
    let (say, mut said) = mpsc::channel(ON_THE_WAY);
    let _listening = hearing.listen(request::task_id(wave), request::attempt(wave), say.clone());
    let open = wave.calls.iter().map(|call| (call.id.agent.as_str(), call)).collect();
    let mut teller = Teller { executor: exchange.shown(), open, to };
    let asking = Asking { exchange, name, say }.run();
    tokio::pin!(asking);
    // What is told is on its way: only the connection waits.
    let goodbye = sleep(Duration::MAX);
    tokio::pin!(goodbye);
    let followed = loop {
        tokio::select! {
            biased;
            Some(heard) = said.recv() => {
                let is_open = !teller.open.is_empty();
                teller.tell(heard).await;
                if is_open && teller.open.is_empty() {
                    goodbye.as_mut().reset(Instant::now() + GOODBYE);
                }
            }
            followed = &mut asking => break followed,
            () = &mut goodbye => return Followed::Ended,
        }
    };
    while let Ok(heard) = said.try_recv() {
        teller.tell(heard).await;
    }
    if teller.open.is_empty() { Followed::Ended } else { followed }
}

/// Tells each call's outcome once.
struct Teller<'a> {
    executor: &'a Arc<str>,
    /// Calls whose outcome is not told, by agent.
    open: BTreeMap<&'a str, &'a ModelCall>,
    to: mpsc::Sender<Told>,
}

impl Teller<'_> {
    async fn tell(&mut self, Heard { result, by, durable }: Heard) {
        let call = if result.is_final() { self.open.remove(result.agent_id.as_str()) } else { None };
        let Some(call) = call else {
            // It was told in another way: there is nothing to wait for.
            let _ = durable.map(|durable| durable.send(()));
            return;
        };
        counter!("moothall_executor_results_total", "by" => by).increment(1);
        let result = result.outcome(call, self.executor);
        // Whoever listened has gone: nobody needs it.
        drop(self.to.send(Told { call: call.id.clone(), result, durable }).await);
    }
}

/// The two ways of asking.
struct Asking<'a> {
    exchange: &'a Exchange,
    name: &'a str,
    say: mpsc::Sender<Heard>,
}

impl Asking<'_> {
    async fn run(self) -> Followed {
        let mut failures = 0;
        loop {
            let watched = self.exchange.is_watchable();
            let course = if watched { self.watch().await } else { self.poll().await };
            let trouble = match course {
                Ok(()) => return Followed::Ended,
                Err(trouble) => trouble,
            };
            let exchange = self.exchange;
            match trouble {
                Trouble::Unknown(what) => {
                    tracing::warn!(wave = self.name, executor = %exchange.shown(), what, "the executor lost a wave");
                    return Followed::Ended;
                }
                // From now on it is asked.
                Trouble::Lacking(_) if watched => continue,
                trouble if exchange.standing.away_for() >= exchange.settings.away_limit => {
                    return Followed::Away { why: trouble.named(exchange.shown()).into() };
                }
                Trouble::Refused(..) | Trouble::Lacking(_) => {
                    return Followed::Away { why: trouble.named(exchange.shown()).into() };
                }
                Trouble::Away(_) | Trouble::Busy(_) => {}
            }
            failures += 1;
            sleep(exchange.settings.retry.after(failures)).await;
        }
    }

    /// Until its end.
    async fn watch(&self) -> Result<(), Trouble> {
        let watching = self.exchange.watch(self.name);
        tokio::pin!(watching);
        let mut updates = loop {
            match timeout(self.exchange.settings.look_every, &mut watching).await {
                Ok(opened) => break opened?,
                Err(_) if self.look().await? => return Ok(()),
                Err(_) => {}
            }
        };
        loop {
            let update = match timeout(self.exchange.settings.look_every, self.exchange.next(&mut updates)).await {
                Ok(update) => update?,
                Err(_) if self.look().await? => return Ok(()),
                Err(_) => continue,
            };
            match update {
                Some(Update::Result(result)) => self.say("watch", result.into()).await,
                Some(Update::End(_)) => {
                    self.exchange.leave(updates).await;
                    return Ok(());
                }
                None => return Err(Trouble::Away("the watch ended before the wave did".into())),
            }
        }
    }

    /// Until its end.
    async fn poll(&self) -> Result<(), Trouble> {
        let mut asked = 0;
        while !self.look().await? {
            asked += 1;
            sleep(self.exchange.settings.poll.after(asked)).await;
        }
        Ok(())
    }

    /// Asks once what there is; whether that is all.
    async fn look(&self) -> Result<bool, Trouble> {
        let told = self.exchange.status(self.name).await?;
        for result in told.result.into_iter().flat_map(listed) {
            self.say("poll", result).await;
        }
        match told.status.as_str() {
            "not_found" => Err(Trouble::Unknown("it does not know this wave".into())),
            "completed" | "failed" | "cancelled" => Ok(true),
            _ => Ok(false),
        }
    }

    async fn say(&self, by: &'static str, result: AgentResult) {
        drop(self.say.send(Heard { result, by, durable: None }).await);
    }
}
