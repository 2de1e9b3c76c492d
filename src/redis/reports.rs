//! Reports go together: while some are under way, those that come wait for the next script.
//!
//! A script costs as much to begin as a report costs to carry out, so that under load many reports go for the price of few;
//! a report that comes alone waits for nobody. Whoever waits sends for all. When that one goes away half-way, the next sends
//! the same again under the same number, and it is answered as it was.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::{Mutex, PoisonError};

use moothall_actors::ports::queue::QueueError;
use redis::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::call::{About, Caller, garbled, unavailable};
use super::place::Stamp;
use super::wire::{self, Args, Garbled};

/// In one script: what is done at once holds up everybody else.
const TOGETHER: usize = 64;
/// As many as runs may be open at once.
const MOST_WAITING: usize = 16_384;

/// What a report brought about; nothing if its lease is an old one.
type Told = Result<Option<Value>, QueueError>;

struct Waiting {
    report: Args,
    tell: oneshot::Sender<Told>,
}

/// What is under way: nothing, unless whoever sent it went away.
#[derive(Default)]
struct Sending {
    sequence: u64,
    batch: Vec<Waiting>,
}

/// All reports of one client.
#[derive(Default)]
pub(super) struct Reports {
    waiting: Mutex<VecDeque<Waiting>>,
    /// Held by the one who sends; the others wait for what comes of it.
    sending: tokio::sync::Mutex<Sending>,
}

impl Reports {
    pub(super) async fn tell(&self, caller: &Caller, report: Args) -> Told {
        let deadline = Instant::now() + caller.settings.deadline;
        let mut told = self.join(report)?;
        loop {
            let turn = tokio::select! {
                biased;
                answer = &mut told => return answer.unwrap_or_else(|_| Err(unavailable("it did not answer in time"))),
                turn = timeout_at(deadline, self.sending.lock()) => turn,
            };
            let Ok(mut sending) = turn else { return Err(unavailable("too many calls wait for it")) };
            self.next(&mut sending);
            let answer = send(caller, &sending, deadline).await;
            share(take(&mut sending.batch), answer);
        }
    }

    fn join(&self, report: Args) -> Result<oneshot::Receiver<Told>, QueueError> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST_WAITING {
            return Err(unavailable("too many calls wait for it"));
        }
        waiting.push_back(Waiting { report, tell });
        Ok(told)
    }

    /// The same again if somebody still waits for it, else the next that wait. What was given up is left out.
    fn next(&self, sending: &mut Sending) {
        if sending.batch.iter().any(|one| !one.tell.is_closed()) {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let open = std::iter::from_fn(|| waiting.pop_front()).filter(|one| !one.tell.is_closed());
        sending.batch = open.take(TOGETHER).collect();
        sending.sequence += 1;
    }
}

async fn send(caller: &Caller, sending: &Sending, deadline: Instant) -> Result<Vec<Value>, QueueError> {
    let mut args = Args::default();
    sending.batch.iter().for_each(|one| args.extend(&one.report));
    let stamp = Stamp { place: caller.own_place(), sequence: sending.sequence };
    let answer = caller.change_at(stamp, &caller.scripts.report, &args, About::Tasks, deadline).await?;
    let answers = wire::list(answer).map_err(garbled)?;
    if answers.len() == sending.batch.len() { Ok(answers) } else { Err(garbled(Garbled)) }
}

/// To each its own; those that went away do not hear it.
fn share(batch: Vec<Waiting>, answer: Result<Vec<Value>, QueueError>) {
    match answer {
        Ok(answers) => {
            for (one, answer) in batch.into_iter().zip(answers) {
                let _ = one.tell.send(told(answer).map_err(garbled));
            }
        }
        Err(error) => {
            for one in batch {
                let _ = one.tell.send(Err(error.clone()));
            }
        }
    }
}

fn told(answer: Value) -> Result<Option<Value>, Garbled> {
    let mut answer = wire::list(answer)?.into_iter();
    match (wire::text(answer.next().ok_or(Garbled)?)?.as_str(), answer.next()) {
        ("ok", Some(news)) => Ok(Some(news)),
        ("stale", None) => Ok(None),
        _ => Err(Garbled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: usize) -> Args {
        let mut args = Args::default();
        args.push(number.to_string());
        args
    }

    fn sent(sending: &Sending) -> Vec<String> {
        let each = sending.batch.iter().flat_map(|one| one.report.each());
        each.map(|arg| String::from_utf8(arg.to_vec()).unwrap()).collect()
    }

    #[test]
    fn so_many_go_together_and_what_was_given_up_stays_behind() {
        let (reports, mut sending) = (Reports::default(), Sending::default());
        let mut told: Vec<_> = (0..TOGETHER + 3).map(|number| reports.join(numbered(number)).unwrap()).collect();
        drop(told.remove(1));
        reports.next(&mut sending);
        assert_eq!((sending.batch.len(), sent(&sending)[1].as_str()), (TOGETHER, "2"));
        share(take(&mut sending.batch), Err(unavailable("away")));
        assert!(told.iter_mut().take(TOGETHER).all(|told| told.try_recv().unwrap().is_err()));
        reports.next(&mut sending);
        assert_eq!((sent(&sending), sending.sequence), (vec!["65".to_owned(), "66".to_owned()], 2));
    }

    #[test]
    fn what_is_under_way_is_sent_again_as_long_as_somebody_waits_for_it() {
        let (reports, mut sending) = (Reports::default(), Sending::default());
        let first = reports.join(numbered(1)).unwrap();
        reports.next(&mut sending);
        let _second = reports.join(numbered(2)).unwrap();
        reports.next(&mut sending);
        assert_eq!((sent(&sending), sending.sequence), (vec!["1".to_owned()], 1));
        drop(first);
        reports.next(&mut sending);
        assert_eq!((sent(&sending), sending.sequence), (vec!["2".to_owned()], 2));
    }

    #[test]
    fn no_more_wait_than_runs_may_be_open() {
        let reports = Reports::default();
        let waiting: Vec<_> = (0..MOST_WAITING).map(|number| reports.join(numbered(number)).unwrap()).collect();
        assert!(reports.join(numbered(0)).is_err());
        assert_eq!(waiting.len(), MOST_WAITING);
    }
}
