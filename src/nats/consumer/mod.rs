//! One durable: made where it is missing, pulled from while there is room, its messages handled side by side.
//!
//! Pulls ask for no more than there is room in hand, so that no message waits here unseen while its ack wait runs out.
//!
//! # What order is promised
//!
//! Of one durable in one daemon, messages about one story or task take their turns: never two at once, begun in the order
//! in which the server delivered them. That is all. A later message of a story can be handled before an earlier one:
//!
//! - A failed handling ([`Handled::Later`](super::Handled::Later)) gives up its place: the newer ones of its story go on
//!   while it waits for its next try. One message that fails ten times must not hold a story for five minutes.
//! - So does whatever the server delivers again: after a lost acknowledgement, a lost connection, a restart, or given
//!   back in a pause or a drain.
//! - Two durables know nothing of each other: a plan and a phase of one story, an answer and a failure of one task may be
//!   handled at the same time.
//! - Replicas share a durable: each has its own turns.
//!
//! So an effect must go by what a message says (phases, times, versions, attempts) and by what the journal holds, not by
//! when it comes. A message that waits for journal or queue ([`Handled::Unavailable`](super::Handled::Unavailable)) keeps
//! its place.

mod durable;
mod hand;
mod pull;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{self, Link};
use super::failures::Failures;
use super::gate::Gate;
use super::phase::Phase;
use super::port::Inbox;
use super::settings::Settings;
use super::status::{Board, Part};
use super::streams::Topology;
use super::subject::ConsumerRow;
use crate::backoff::Backoff;
use hand::{Hand, Terms};
use pull::Pull;
use turns::{Turn, Turns};

pub(super) use durable::{filters, find};

/// How long a pull waits for more room: it costs the same for one message as for many.
const GATHER: Duration = Duration::from_millis(1);

/// Between two tries to find or make the durable.
const MAKE_AGAIN: Backoff = Backoff { first: Duration::from_millis(250), most: Duration::from_secs(30) };

/// What all consumers share.
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) gate: Gate,
    pub(super) board: Board,
}

pub(super) struct Pump {
    row: &'static ConsumerRow,
    shared: Arc<Shared>,
    link: watch::Receiver<Link>,
    topology: watch::Receiver<Topology>,
    phase: watch::Receiver<Phase>,
    failures: Arc<Failures>,
    hands: JoinSet<Turn>,
    load: Load,
    turns: Turns,
}

/// The bytes of all that is in hand.
#[derive(Clone, Debug, Default)]
struct Load(Arc<AtomicUsize>);

/// The bytes of one message, until it is dropped.
struct Weight(Load, usize);

impl Load {
    fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) -> Weight {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Weight(self.clone(), bytes)
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.0.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// Why pulling ended.
enum End {
    /// The connection is gone, or the daemon stops.
    Over,
    Trouble(String),
}

impl Pump {
    pub(super) fn new(
        row: &'static ConsumerRow,
        shared: Arc<Shared>,
        link: watch::Receiver<Link>,
        topology: watch::Receiver<Topology>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let (failures, hands, load, turns) = Default::default();
        Self { row, shared, link, topology, phase, failures, hands, load, turns }
    }

    /// Returns when the daemon stops and nothing is in hand.
    pub(super) async fn run(mut self) {
        while let Some((epoch, client)) = connection::live(&self.link, &self.phase).await {
            self.serve(epoch, &client).await;
        }
        while self.hands.join_next().await.is_some() {}
    }

    async fn serve(&mut self, epoch: u64, client: &Client) {
        let part = Part::Consumer(self.row.durable.into());
        let mut failures = 0;
        loop {
            let subjects = tokio::select! {
                () = interrupted(&self.link, &self.phase, epoch) => return,
                subjects = subjects(&self.topology, epoch, self.row.stream) => subjects,
            };
            let js = async_nats::jetstream::new(client.clone());
            let why = match durable::ensure(&js, self.row, &self.shared.settings, &subjects).await {
                // Found on the connection before; on this one nobody has looked yet.
                Ok(_) if self.link.borrow().epoch != epoch => return,
                Ok(consumer) => {
                    self.shared.board.well(&part);
                    let began = Instant::now();
                    match self.pull(epoch, client, &consumer).await {
                        End::Over => return,
                        End::Trouble(why) => {
                            // A durable that can be made but not pulled from must not be tried four times a second.
                            failures = if began.elapsed() > MAKE_AGAIN.most { 0 } else { failures };
                            why
                        }
                    }
                }
                Err(why) => why,
            };
            failures += 1;
            self.shared.board.degraded(part.clone(), why);
            tokio::select! {
                () = interrupted(&self.link, &self.phase, epoch) => return,
                () = sleep(MAKE_AGAIN.after(failures)) => {}
            }
        }
    }

    async fn pull(&mut self, epoch: u64, client: &Client, consumer: &PullConsumer) -> End {
        let (link, phase) = (self.link.clone(), self.phase.clone());
        let terms = Terms {
            max_payload: client.max_payload(),
            ack_wait: durable::ack_wait(&consumer.cached_info().config, self.shared.settings.consume.ack_wait),
        };
        let over = interrupted(&link, &phase, epoch);
        tokio::pin!(over);
        loop {
            let room = tokio::select! {
                () = &mut over => return End::Over,
                room = self.room() => room,
            };
            let consume = &self.shared.settings.consume;
            let mut pull = match Pull::ask(client, consumer, room, consume.pull_wait).await {
                Ok(pull) => pull,
                Err(error) => return End::Trouble(format!("pulling failed: {error}")),
            };
            let gate = self.shared.gate.clone();
            loop {
                tokio::select! {
                    biased;
                    () = &mut over => {
                        give_back(pull).await;
                        return End::Over;
                    }
                    () = gate.closed() => {
                        give_back(pull).await;
                        break;
                    }
                    Some(ended) = self.hands.join_next() => self.ended(ended),
                    message = pull.next() => match message {
                        Some(Ok(message)) => self.take(terms, message),
                        Some(Err(error)) => return End::Trouble(format!("pulling failed: {error}")),
                        None => break,
                    },
                }
            }
        }
    }

    /// How many more may be pulled, once there is room and the gate is open.
    async fn room(&mut self) -> usize {
        let mut patient = true;
        loop {
            while let Some(ended) = self.hands.try_join_next() {
                self.ended(ended);
            }
            let room = self.free();
            if room >= self.shared.settings.consume.a_pull.div_ceil(2) || (room > 0 && !patient) {
                self.shared.gate.opened().await;
                return room;
            }
            let limit = if room > 0 { GATHER } else { Duration::MAX };
            match timeout(limit, self.hands.join_next()).await {
                Ok(Some(ended)) => self.ended(ended),
                // Nobody else makes room, or not soon.
                Ok(None) | Err(_) => patient = false,
            }
        }
    }

    fn free(&self) -> usize {
        let consume = &self.shared.settings.consume;
        match self.load.bytes() < consume.in_hand_bytes {
            true => consume.in_hand.saturating_sub(self.hands.len()).min(consume.a_pull),
            false => 0,
        }
    }

    fn take(&mut self, terms: Terms, message: Message) {
        self.shared.board.count(|counts| counts.received += 1);
        let weight = self.load.add(message.payload.len());
        let Some(hand) = Hand::new(self.row, &self.shared, &self.failures, terms, message) else {
            return tracing::warn!(consumer = self.row.durable, "the server delivered what is no JetStream message");
        };
        let (turn, wait) = self.turns.take(hand.about());
        let phase = self.phase.clone();
        self.hands.spawn(async move {
            let _weight = weight;
            hand.run(wait, turn, phase).await
        });
    }

    fn ended(&mut self, ended: Result<Turn, tokio::task::JoinError>) {
        match ended {
            Ok(turn) => self.turns.ended(turn),
            Err(error) => tracing::error!(%error, "handling of a NATS message died; it comes again"),
        }
    }
}

/// Returns when there is nothing more to pull in this epoch.
async fn interrupted(link: &watch::Receiver<Link>, phase: &watch::Receiver<Phase>, epoch: u64) {
    tokio::select! {
        () = connection::over(link, epoch) => {}
        () = Phase::stopping(phase) => {}
    }
}

/// The subjects of a stream, once it is there.
async fn subjects(topology: &watch::Receiver<Topology>, epoch: u64, stream: &str) -> Vec<String> {
    let mut topology = topology.clone();
    let there = topology.wait_for(|topology| topology.epoch == epoch && topology.streams.contains_key(stream)).await;
    there.ok().and_then(|topology| topology.streams.get(stream).cloned()).unwrap_or_default()
}

/// What was delivered and not looked at: others may have it at once, without waiting for the ack wait to run out.
async fn give_back(mut pull: Pull) {
    while let Some(Some(Ok(message))) = pull.next().now_or_never() {
        if let Err(error) = message.ack_with(AckKind::Nak(None)).await {
            tracing::debug!(%error, "a NATS message could not be given back; it comes again later");
        }
    }
}
