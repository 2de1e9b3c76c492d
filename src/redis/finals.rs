//! The ends of runs: of several daemons that worked on one, exactly one ends it.
//!
//! A report and what is told of it are one step. The end waits in the queue until any daemon has published it, and stays for
//! a while after that: it refuses a second one, and tells daemons whose journals know the task.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moothall_actors::domain::ended::Ended;
use moothall_actors::domain::id::{EventId, RunId, TaskId};
use moothall_actors::domain::queue::{Entry, Fence};
use moothall_actors::ports::queue::{Claimed, Consequence, Lease, QueueError, Report};
use moothall_actors::ports::shared::{
    Ending, Final, Origin, Published, QueueHealth, Reasserted, SharedQueue, Unpublished,
};
use redis::Value;

use super::call::{About, garbled};
use super::queue::{RedisQueue, as_i128, holder, millis};
use super::settings::Settings;
use super::wire::{self, Args, Garbled};

/// Finals said to be published, or to be so no more, in one step.
const PUBLISHED: usize = 1_000;
/// Those that nobody has said to be published, and all.
const UNPUBLISHED: &str = "u";
const ALL: &str = "a";

/// The namespace of [`final_id`], made up once.
const FINALS: [u8; 16] = [91, 12, 124, 30, 74, 87, 79, 11, 157, 62, 111, 111, 116, 104, 108, 193];

/// The id of the event that ends a run: the same in every daemon, so that it counts once however often it is published.
/// UUID version 5 of `<task>/<run>/final`.
#[must_use]
pub fn final_id(run: &RunId) -> EventId {
    let mut hash = sha1_smol::Sha1::from(FINALS);
    hash.update(format!("{run}/final").as_bytes());
    let digest = hash.digest().bytes();
    let mut id: [u8; 16] = std::array::from_fn(|place| digest[place]);
    id[6] = id[6] & 0x0f | 0x50;
    id[8] = id[8] & 0x3f | 0x80;
    EventId(id)
}

/// As the scripts name a run.
fn named(run: &RunId) -> String {
    format!("{}:{}", run.run, run.task)
}

impl RedisQueue {
    async fn finals(&self, set: &str, behind: u64, limit: usize) -> Result<Unpublished, QueueError> {
        let mut args = Args::default();
        args.push(set).number(behind).number(as_i128(limit.min(PUBLISHED)));
        let answer = self.caller.look(&self.caller.scripts.unpublished, &args).await?;
        let [epoch, finals] = wire::fields(answer).map_err(garbled)?;
        let epoch = wire::number(epoch).map_err(garbled)?;
        Ok(Unpublished { epoch, finals: read(finals).map_err(garbled)? })
    }
}

#[async_trait]
impl SharedQueue for RedisQueue {
    async fn reassert(&self, entries: Vec<Entry>, ended: BTreeMap<RunId, Ending>) -> Result<Reasserted, QueueError> {
        self.say_all(entries, ended).await
    }

    async fn renew(&self, by: &Arc<str>) -> Result<Vec<Claimed>, QueueError> {
        let (mut mark, mut renewed) = (String::new(), Vec::new());
        loop {
            let mut args = Args::default();
            args.push(holder(by)).number(millis(self.caller.settings.lease)).push(&mark);
            let answer = self.caller.change(&self.caller.scripts.renew, &args, About::Tasks).await?;
            let [since, some] = wire::fields(answer).map_err(garbled)?;
            let some = wire::claimed(some).map_err(garbled)?;
            if some.is_empty() {
                return Ok(renewed);
            }
            mark = wire::text(since).map_err(garbled)?;
            renewed.extend(some);
        }
    }

    async fn finish(&self, lease: &Lease, report: Report, end: &Ended) -> Result<Vec<Consequence>, QueueError> {
        if matches!(report, Report::Released | Report::Dispatched) {
            let state = moothall_actors::domain::queue::QueueState::InProgress;
            return Err(QueueError::WrongState { task: lease.task.clone(), state });
        }
        self.tell(lease, &report, Some(end.to_json().as_bytes())).await
    }

    async fn end(&self, run: &RunId, ending: Ending) -> Result<Vec<Consequence>, QueueError> {
        self.prove().await?;
        let mut news = Vec::new();
        self.say_ended(&BTreeMap::from([(run.clone(), ending)]), &mut news).await?;
        Ok(news)
    }

    async fn final_of(&self, run: &RunId) -> Result<Option<Final>, QueueError> {
        let mut args = Args::default();
        args.push(named(run));
        let answer = self.caller.look(&self.caller.scripts.final_of, &args).await?;
        Ok(read(answer).map_err(garbled)?.pop())
    }

    async fn ends(&self, behind: u64, limit: usize) -> Result<Vec<Final>, QueueError> {
        Ok(self.finals(ALL, behind, limit).await?.finals)
    }

    async fn unpublished(&self, limit: usize) -> Result<Unpublished, QueueError> {
        self.finals(UNPUBLISHED, 0, limit).await
    }

    async fn published(&self, epoch: u64, ends: &[Published]) -> Result<(), QueueError> {
        for ends in ends.chunks(PUBLISHED) {
            let mut args = Args::default();
            args.number(epoch).number(self.caller.settings.finals_kept.as_secs().max(1));
            for end in ends {
                args.push(named(&end.run)).number(end.sequence);
            }
            self.caller.change(&self.caller.scripts.published, &args, About::Tasks).await?;
        }
        Ok(())
    }

    async fn published_before(&self, last: usize) -> Result<Option<Published>, QueueError> {
        let mut args = Args::default();
        args.number(as_i128(last));
        let answer = self.caller.look(&self.caller.scripts.published_before, &args).await?;
        read_published(answer).map_err(garbled)
    }

    async fn unpublish(&self, behind: u64) -> Result<usize, QueueError> {
        let mut all = 0;
        loop {
            let mut args = Args::default();
            args.number(behind).number(as_i128(PUBLISHED));
            let answer = self.caller.change(&self.caller.scripts.unpublish, &args, About::Tasks).await?;
            let some: usize = wire::number(answer).map_err(garbled)?;
            all += some;
            if some < PUBLISHED {
                return Ok(all);
            }
        }
    }

    async fn origin(&self, task: &TaskId) -> Result<Option<Origin>, QueueError> {
        let mut args = Args::default();
        args.push(task.as_str());
        let answer = self.caller.look(&self.caller.scripts.origin, &args).await?;
        read_origin(answer).map_err(garbled)
    }

    fn health(&self) -> QueueHealth {
        self.caller.link.state()
    }

    fn epoch(&self) -> u64 {
        self.highest().epoch
    }

    fn heartbeat_every(&self) -> Duration {
        heartbeat_every(&self.caller.settings)
    }
}

/// A lease may miss two heartbeats.
#[must_use]
pub fn heartbeat_every(settings: &Settings) -> Duration {
    settings.lease / 3
}

fn read_origin(answer: Value) -> Result<Option<Origin>, Garbled> {
    let fields = wire::list(answer)?;
    if fields.is_empty() {
        return Ok(None);
    }
    let [text, lost_by]: [Value; 2] = fields.try_into().map_err(|_| Garbled)?;
    let (text, lost_by) = (wire::text(text)?, wire::text(lost_by)?);
    let (journal, text) = text.split_once('\n').ok_or(Garbled)?;
    let lost_by = lost_by.strip_prefix('=').map(Arc::from);
    Ok(Some(Origin { text: text.into(), journal: journal.into(), lost_by }))
}

fn read(answer: Value) -> Result<Vec<Final>, Garbled> {
    wire::list(answer)?.into_iter().map(one_final).collect()
}

fn read_published(answer: Value) -> Result<Option<Published>, Garbled> {
    let fields = wire::list(answer)?;
    if fields.is_empty() {
        return Ok(None);
    }
    let [id, sequence]: [Value; 2] = fields.try_into().map_err(|_| Garbled)?;
    let run = run(id)?;
    Ok(Some(Published { id: final_id(&run), run, sequence: wire::number(sequence)? }))
}

/// See [`named`].
fn run(value: Value) -> Result<RunId, Garbled> {
    let id = wire::text(value)?;
    let (run, task) = id.split_once(':').ok_or(Garbled)?;
    let task = TaskId::parse("task", task).map_err(|_| Garbled)?;
    Ok(RunId { task, run: run.parse().map_err(|_| Garbled)? })
}

fn one_final(value: Value) -> Result<Final, Garbled> {
    let [id, epoch, number, _consequences, state, event, place] = wire::fields(value)?;
    let run = run(id)?;
    Ok(Final {
        place: wire::number(place)?,
        id: final_id(&run),
        run,
        fence: Fence { epoch: wire::number(epoch)?, number: wire::number(number)? },
        state: wire::state(state)?,
        event: wire::text(event)?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_final_is_that_of_its_run_for_everybody() {
        let run = |run| RunId { task: TaskId::parse("task", "T-1").unwrap(), run };
        assert_eq!(final_id(&run(2)).to_string(), "736f6344-b472-5a50-81e1-d24b1b252251");
        assert_ne!(final_id(&run(1)), final_id(&run(2)));
    }

    #[test]
    fn a_text_comes_with_the_journal_that_it_is_from() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let answer = Value::Array(vec![bulk("store-1\n{\"a\":1}"), bulk("=store-2")]);
        let origin = read_origin(answer).unwrap().unwrap();
        assert_eq!(
            (&*origin.journal, &*origin.text, origin.lost_by.as_deref()),
            ("store-1", "{\"a\":1}", Some("store-2"))
        );
        assert_eq!(read_origin(Value::Array(Vec::new())), Ok(None));
        assert_eq!(read_origin(Value::Array(vec![bulk("x"), bulk("")])), Err(Garbled));
    }
}
