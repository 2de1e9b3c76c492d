//! One message in hand, from its bytes to its acknowledgement.
//!
//! While its handling lasts, or it waits for its turn, the server is told so before the ack wait of the durable runs out:
//! the one that the durable has, which the settings only gave to it if it was made with them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{AckKind, Message};
use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::time::sleep;

use super::super::cut;
use super::super::envelope;
use super::super::failures::Failures;
use super::super::fields::FormatError;
use super::super::gate::Held;
use super::super::incoming::Incoming;
use super::super::phase::Phase;
use super::super::port::{Delivery, Handled, InboxKey, Origin, Rejection, Unavailable};
use super::super::subject::{ConsumerRow, covered};
use super::Shared;
use super::turns::{Turn, Wait, come};

/// Told three times in each ack wait, but no faster than this.
const LEAST_KEEP: Duration = Duration::from_millis(10);

/// What the server says of this connection and this durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// In bytes.
    pub(super) max_payload: usize,
    /// What is not spoken of so long is delivered again.
    pub(super) ack_wait: Duration,
}

pub(super) struct Hand {
    shared: Arc<Shared>,
    failures: Arc<Failures>,
    message: Message,
    terms: Terms,
    key: InboxKey,
    origin: Origin,
    parsed: Parsed,
}

enum Parsed {
    Event(Box<Delivery>),
    Wrong(FormatError),
    /// Of a subject that this consumer does not ask for.
    Foreign,
}

/// What the server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ack,
    Terminate,
    Again(Duration),
    /// Untouched: for whoever is there.
    Back,
}

impl Hand {
    /// `None` = it has no place in a stream.
    pub(super) fn new(
        row: &ConsumerRow,
        shared: &Arc<Shared>,
        failures: &Arc<Failures>,
        terms: Terms,
        message: Message,
    ) -> Option<Self> {
        let key = key(&message)?;
        let headers = message.headers.as_ref().map(origin).unwrap_or_default();
        let limit = shared.settings.consume.max_message;
        let (parsed, origin) = match parse(row, &message, &key, headers.clone(), limit) {
            None => (Parsed::Foreign, headers),
            Some(Ok(delivery)) => {
                let origin = delivery.origin.clone();
                (Parsed::Event(Box::new(delivery)), origin)
            }
            Some(Err(error)) => (Parsed::Wrong(error), headers),
        };
        let (shared, failures) = (Arc::clone(shared), Arc::clone(failures));
        Some(Self { shared, failures, message, terms, key, origin, parsed })
    }

    /// What it takes its turn by. A message that says nothing waits for none.
    pub(super) fn about(&self) -> &str {
        match &self.parsed {
            Parsed::Event(delivery) => delivery.incoming.about(),
            Parsed::Wrong(_) | Parsed::Foreign => "",
        }
    }

    pub(super) async fn run(self, wait: Wait, turn: Turn, phase: watch::Receiver<Phase>) -> Turn {
        let wait = if self.about().is_empty() { None } else { wait };
        let verdict = tokio::select! {
            verdict = self.decide(wait) => verdict,
            () = self.keep() => Verdict::Back,
            () = Phase::given_up(&phase) => Verdict::Back,
        };
        self.tell(verdict).await;
        turn
    }

    /// Never returns.
    async fn keep(&self) {
        loop {
            sleep((self.terms.ack_wait / 3).max(LEAST_KEEP)).await;
            if let Err(error) = self.message.ack_with(AckKind::Progress).await {
                tracing::debug!(%error, "the NATS server could not be told that a message is still in hand");
            }
        }
    }

    async fn decide(&self, wait: Wait) -> Verdict {
        come(wait).await;
        match &self.parsed {
            Parsed::Foreign => self.not_ours(),
            Parsed::Wrong(error) => self.reject(error.to_string()).await,
            Parsed::Event(delivery) => self.receive(delivery).await,
        }
    }

    async fn receive(&self, delivery: &Delivery) -> Verdict {
        let mut holding = Holding::new(&self.shared);
        loop {
            // A panic in a handling is a failed handling: the message must not be lost to the count.
            let handled = AssertUnwindSafe(self.shared.inbox.receive(delivery.clone())).catch_unwind().await;
            let handled = handled.unwrap_or_else(|_| Handled::Later { why: "its handling panicked".into() });
            match handled {
                Handled::Done => return self.done(),
                Handled::NotOurs => return self.not_ours(),
                Handled::Rejected { reason } => {
                    drop(holding);
                    return self.reject(reason).await;
                }
                Handled::Later { why } => {
                    drop(holding);
                    return self.later(&why).await;
                }
                Handled::Unavailable { why } => holding.hold(&why).await,
            }
        }
    }

    fn done(&self) -> Verdict {
        self.failures.forget(&self.key);
        self.shared.board.count(|counts| counts.done += 1);
        Verdict::Ack
    }

    fn not_ours(&self) -> Verdict {
        self.failures.forget(&self.key);
        self.shared.board.count(|counts| counts.not_ours += 1);
        Verdict::Ack
    }

    async fn later(&self, why: &str) -> Verdict {
        self.shared.board.count(|counts| counts.later += 1);
        let failures = self.failures.add(&self.key);
        tracing::warn!(subject = %self.message.subject, failures, why, "handling of a NATS message failed");
        let consume = &self.shared.settings.consume;
        if failures < consume.most_failures {
            return Verdict::Again(consume.later.after(failures));
        }
        self.reject(format!("its handling failed {failures} times, at last: {why}")).await
    }

    /// Terminates only after the daemon has it.
    async fn reject(&self, reason: String) -> Verdict {
        let payload = &self.message.payload;
        let rejection = Rejection {
            key: self.key.clone(),
            subject: self.message.subject.to_string(),
            raw: cut::raw(payload, self.terms.max_payload),
            length: payload.len() as u64,
            sha256: cut::sha256(payload),
            origin: self.origin.clone(),
            reason,
        };
        let mut holding = Holding::new(&self.shared);
        loop {
            // A panic here must not end the hand: nobody would count it, and the message would come again for ever.
            let journaled = AssertUnwindSafe(self.shared.inbox.rejected(rejection.clone())).catch_unwind().await;
            match journaled.unwrap_or_else(|_| Err(Unavailable::new("journaling a rejection panicked"))) {
                Ok(()) => break,
                Err(unavailable) => holding.hold(&unavailable.why).await,
            }
        }
        self.failures.forget(&self.key);
        self.shared.board.count(|counts| counts.rejected += 1);
        Verdict::Terminate
    }

    async fn tell(&self, verdict: Verdict) {
        let kind = match verdict {
            Verdict::Ack => AckKind::Ack,
            Verdict::Terminate => AckKind::Term,
            Verdict::Again(delay) => AckKind::Nak(Some(delay)),
            Verdict::Back => AckKind::Nak(None),
        };
        if let Err(error) = self.message.ack_with(kind).await {
            tracing::debug!(%error, "a NATS message could not be acknowledged; it comes again");
        }
    }
}

/// Keeps the gate closed from the first try that found journal or queue down to the first that did not.
struct Holding<'a> {
    shared: &'a Shared,
    held: Option<Held>,
    tries: u32,
}

impl<'a> Holding<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, held: None, tries: 0 }
    }

    /// Returns when it is to be tried again.
    async fn hold(&mut self, why: &str) {
        self.tries += 1;
        self.shared.board.count(|counts| counts.unavailable += 1);
        self.held.get_or_insert_with(|| self.shared.gate.close(why));
        sleep(self.shared.settings.consume.unavailable.after(self.tries)).await;
    }
}

fn key(message: &Message) -> Option<InboxKey> {
    let info = message.info().ok()?;
    let published_ns = i64::try_from(info.published.unix_timestamp_nanos()).ok()?;
    Some(InboxKey { stream: info.stream.into(), sequence: info.stream_sequence, published_ns })
}

fn origin(headers: &HeaderMap) -> Origin {
    let text = |name: &str| headers.get_last(name).map(|value| value.as_str().to_owned());
    Origin { event_id: text("Nats-Msg-Id"), traceparent: text("traceparent"), ..Origin::default() }
}

fn parse(
    row: &ConsumerRow,
    message: &Message,
    key: &InboxKey,
    headers: Origin,
    limit: usize,
) -> Option<Result<Delivery, FormatError>> {
    if !covered(row.subjects, &message.subject) {
        return None;
    }
    let length = message.payload.len();
    if length > limit {
        return Some(Err(FormatError::TooLarge { length, limit }));
    }
    let opened = match envelope::open(&message.payload, headers) {
        Ok(opened) => opened,
        Err(error) => return Some(Err(error)),
    };
    let incoming = Incoming::parse(row.kind, &opened.payload);
    Some(incoming.map(|incoming| Delivery {
        key: key.clone(),
        subject: message.subject.to_string(),
        incoming,
        origin: opened.origin,
    }))
}
