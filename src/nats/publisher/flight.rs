//! One publication on its way: sent until the server has it, refuses it for good, or may have it.
//!
//! | what comes back | means |
//! |---|---|
//! | an acknowledgement | it stands in the stream |
//! | an error of class 4xx, too large, not permitted | refused: journaled, and the others go on |
//! | an error of class 5xx | not stored: again after a while |
//! | nobody takes the subject | the same, and refused when that lasts |
//! | nothing | doubt: the stream's tail says what became of it |

use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, Context};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::super::connection::Link;
use super::super::port::{Outbox, Publication};
use super::super::settings::Settings;
use super::super::status::{Board, Part};
use super::message::{Form, message};

/// What all flights of one connection share.
pub(super) struct Route {
    pub(super) js: Context,
    pub(super) settings: Arc<Settings>,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) link: watch::Receiver<Link>,
    pub(super) board: Board,
    pub(super) max_payload: usize,
    /// Subjects that nobody took for as long as patience lasts: the next ones are not waited for.
    pub(super) untaken: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
pub(super) enum Landing {
    Acked(PublishAck),
    /// Told to the outbox.
    Refused,
    Doubt(String),
}

enum Outcome {
    Acked(PublishAck),
    Refused(String),
    NotStored(String),
    Untaken,
    Doubt(String),
}

/// Returns when it is known what became of it, or that nothing is known.
pub(super) async fn fly(route: Arc<Route>, publication: Arc<Publication>) -> (u64, Landing) {
    let seq = publication.seq;
    let landing = match route.send(&publication).await {
        Ok(ack) => Landing::Acked(ack),
        Err(Outcome::Refused(why)) => {
            route.refuse(&publication, &why).await;
            Landing::Refused
        }
        Err(Outcome::Doubt(why)) => Landing::Doubt(why),
        Err(_) => Landing::Doubt("no outcome".into()),
    };
    (seq, landing)
}

impl Route {
    /// The error is a refusal or a doubt.
    async fn send(&self, publication: &Publication) -> Result<PublishAck, Outcome> {
        let form = Form {
            envelope: self.settings.envelope,
            longest_text: self.settings.publish.longest_text,
            max_payload: self.max_payload,
        };
        let message = message(publication, form).map_err(Outcome::Refused)?;
        let started = Instant::now();
        let mut tries = 0;
        loop {
            let sent = self.js.send_publish(publication.subject.clone(), message.clone());
            let outcome = tokio::select! {
                outcome = async { outcome(async { sent.await?.await }.await) } => outcome,
                () = self.denied(&publication.subject) => {
                    Outcome::Refused(format!("this user may not publish to {}", publication.subject))
                }
            };
            match outcome {
                Outcome::Acked(ack) => {
                    // It may have waited on a flight before this one, whose end was a doubt.
                    self.board.well(&Part::Subject(publication.subject.clone()));
                    return Ok(ack);
                }
                Outcome::NotStored(why) => self.board.degraded(Part::Subject(publication.subject.clone()), why),
                Outcome::Untaken => self.untaken(publication, started)?,
                decided => return Err(decided),
            }
            tries += 1;
            sleep(self.settings.publish.retry.after(tries)).await;
        }
    }

    /// Waits for the server's word that this subject is not ours.
    async fn denied(&self, subject: &str) {
        let mut link = self.link.clone();
        if link.wait_for(|link| link.denied.contains(subject)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn untaken(&self, publication: &Publication, started: Instant) -> Result<(), Outcome> {
        let subject = &publication.subject;
        let mut untaken = self.untaken.lock().unwrap_or_else(PoisonError::into_inner);
        let why = format!("no stream takes {subject}");
        self.board.degraded(Part::Subject(subject.clone()), why.clone());
        if untaken.contains(subject) || started.elapsed() >= self.settings.publish.patience {
            untaken.insert(subject.clone());
            return Err(Outcome::Refused(why));
        }
        Ok(())
    }

    /// Until the outbox has it: what nobody knows of must not be passed over.
    async fn refuse(&self, publication: &Publication, why: &str) {
        tracing::error!(seq = publication.seq, subject = publication.subject, why, "an event is not published");
        let mut tries = 0;
        while let Err(error) = self.outbox.refused(publication.seq, why).await {
            self.board.degraded(Part::Outbox, error.why);
            tries += 1;
            sleep(self.settings.publish.retry.after(tries)).await;
        }
    }
}

fn outcome(result: Result<PublishAck, PublishError>) -> Outcome {
    let error = match result {
        Ok(ack) => return Outcome::Acked(ack),
        Err(error) => error,
    };
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => Outcome::Refused(chain(&error)),
        PublishErrorKind::StreamNotFound => Outcome::Untaken,
        PublishErrorKind::MaxAckPending => Outcome::NotStored(chain(&error)),
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Outcome::Doubt(chain(&error)),
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence | PublishErrorKind::Other => {
            answered(&error)
        }
    }
}

/// By the class of the server's answer; anything else is no answer.
fn answered(error: &PublishError) -> Outcome {
    let answer = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    match answer.map(jetstream::Error::code) {
        None => Outcome::Doubt(chain(error)),
        Some(400..=407 | 409..=428 | 430..=499) => Outcome::Refused(chain(error)),
        Some(_) => Outcome::NotStored(chain(error)),
    }
}

fn chain(error: &PublishError) -> String {
    // The client's own text names its source.
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: usize) -> Outcome {
        let json = format!(r#"{{"code":{code},"err_code":10054,"description":"told"}}"#);
        let answer: jetstream::Error = serde_json::from_str(&json).unwrap();
        outcome(Err(PublishError::with_source(PublishErrorKind::Other, answer)))
    }

    #[test]
    fn the_class_of_an_answer_decides() {
        assert!(matches!(told(400), Outcome::Refused(why) if why.contains("told")));
        assert!(matches!(told(403), Outcome::Refused(_)));
        assert!(matches!(told(408), Outcome::NotStored(_)));
        assert!(matches!(told(429), Outcome::NotStored(_)));
        assert!(matches!(told(503), Outcome::NotStored(_)));
    }

    #[test]
    fn silence_is_doubt() {
        for kind in [PublishErrorKind::TimedOut, PublishErrorKind::BrokenPipe, PublishErrorKind::Other] {
            assert!(matches!(outcome(Err(PublishError::new(kind))), Outcome::Doubt(_)), "{kind:?}");
        }
        assert!(matches!(outcome(Err(PublishError::new(PublishErrorKind::StreamNotFound))), Outcome::Untaken));
        let large = PublishError::new(PublishErrorKind::MaxPayloadExceeded);
        assert!(matches!(outcome(Err(large)), Outcome::Refused(_)));
    }
}
