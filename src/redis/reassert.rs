//! What the journal knows, said anew in steps, so that a long journal holds up nobody for long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use moothall_actors::domain::id::{RunId, TaskId};
use moothall_actors::domain::queue::{Entry, QueueState};
use moothall_actors::ports::queue::{Consequence, QueueError};
use moothall_actors::ports::shared::{Ending, Reasserted};
use redis::Value;

use super::call::{About, garbled, unavailable};
use super::queue::{RedisQueue, once_each, push_entries};
use super::wire::{self, Args};

/// Tasks said in one step.
const STEP: usize = 256;
/// Epochs that may begin while it is said.
const TRIES: usize = 3;

/// The epoch in which this daemon has said what its journal knows; none yet is 0.
#[derive(Debug, Default)]
pub(super) struct Said(AtomicU64);

impl RedisQueue {
    /// The epoch that a claim must still find, or nothing if it does not matter who said what is known.
    pub(super) fn own_epoch(&self) -> String {
        if self.caller.settings.each_reasserts { self.said_in().to_string() } else { String::new() }
    }

    fn said_in(&self) -> u64 {
        self.said.0.load(Ordering::Acquire)
    }

    /// Says everything in one epoch, and then that it was everything.
    pub(super) async fn say_all(
        &self,
        entries: Vec<Entry>,
        ended: BTreeMap<RunId, Ending>,
    ) -> Result<Reasserted, QueueError> {
        let entries = needed_first(once_each(entries));
        // All that stands otherwise becomes as it is said.
        self.said.0.store(0, Ordering::Release);
        let mut news = Vec::new();
        for _ in 0..TRIES {
            let epoch = self.begin().await?;
            self.say_ended(&ended, &mut news).await?;
            // The latest run of each task is the last.
            let mut ended = ended.iter().map(|(run, ending)| (run.task.clone(), ending.state)).collect();
            for entries in entries.chunks(STEP) {
                self.say_entries(entries, &mut ended, &mut news).await?;
            }
            if self.caller.highest().epoch == epoch {
                self.say_that_was_all(epoch).await?;
                return Ok(Reasserted { epoch, changed: news });
            }
        }
        Err(unavailable("it began anew while it was told what the journal knows"))
    }

    async fn proven(&self, epoch: Option<u64>) -> Result<(), QueueError> {
        let mut args = Args::default();
        args.push(epoch.map(|epoch| epoch.to_string()).unwrap_or_default());
        self.caller.change(&self.caller.scripts.proven, &args, About::Tasks).await.map(drop)
    }

    /// Refuses what is not to be changed before the queue can be trusted.
    pub(super) async fn prove(&self) -> Result<(), QueueError> {
        self.proven(None).await
    }

    /// Has the queue look at itself, so that a new epoch begins now if one must.
    async fn begin(&self) -> Result<u64, QueueError> {
        let seen = self.proven(None).await;
        match self.caller.highest().epoch {
            0 => seen.map(|()| 0),
            epoch => Ok(epoch),
        }
    }

    async fn say_that_was_all(&self, epoch: u64) -> Result<(), QueueError> {
        self.proven(Some(epoch)).await?;
        self.said.0.store(epoch, Ordering::Release);
        Ok(())
    }

    pub(super) async fn say_ended(
        &self,
        ended: &BTreeMap<RunId, Ending>,
        news: &mut Vec<Consequence>,
    ) -> Result<(), QueueError> {
        let ended: Vec<_> = ended.iter().filter(|(_, ending)| ending.state.is_over()).collect();
        for ended in ended.chunks(STEP) {
            let mut args = Args::default();
            for (run, ending) in ended {
                args.push(run.task.as_str()).number(run.run).number(wire::state_number(ending.state));
                args.push(ending.event.as_bytes());
            }
            let answer = self.caller.change(&self.caller.scripts.ended, &args, About::Tasks).await?;
            news.extend(wire::consequences(answer).map_err(garbled)?);
        }
        Ok(())
    }

    /// A run whose final stands in the queue is over, and counts as that for those that need it.
    async fn say_entries(
        &self,
        entries: &[Entry],
        ended: &mut BTreeMap<TaskId, QueueState>,
        news: &mut Vec<Consequence>,
    ) -> Result<(), QueueError> {
        let mut args = Args::default();
        args.push("reassert").number(self.said_in());
        push_entries(&mut args, &self.caller.settings, (entries, &self.lacking_texts(entries).await?), ended);
        let answer = self.caller.change(&self.caller.scripts.enqueue, &args, About::Tasks).await?;
        let [some, finals] = wire::fields(answer).map_err(garbled)?;
        news.extend(wire::consequences(some).map_err(garbled)?);
        for made in wire::list(finals).map_err(garbled)? {
            let [task, state]: [Value; 2] = wire::fields(made).map_err(garbled)?;
            ended.insert(wire::task(task).map_err(garbled)?, wire::state(state).map_err(garbled)?);
        }
        Ok(())
    }
}

/// As they came, but none before one that it needs. Those that wait for each other come last and are refused.
fn needed_first(entries: Vec<Entry>) -> Vec<Entry> {
    let places: BTreeMap<&TaskId, usize> =
        entries.iter().enumerate().map(|(place, entry)| (&entry.task, place)).collect();
    let (mut open, mut waiting) = (Vec::with_capacity(entries.len()), vec![Vec::<usize>::new(); entries.len()]);
    for (place, entry) in entries.iter().enumerate() {
        let needs: BTreeSet<usize> = entry.needs.iter().filter_map(|need| places.get(need).copied()).collect();
        open.push(needs.len());
        for need in needs {
            if let Some(waiting) = waiting.get_mut(need) {
                waiting.push(place);
            }
        }
    }
    in_order(entries, open, &waiting)
}

/// `open`: how many each one needs; `waiting`: who waits for each one.
fn in_order(entries: Vec<Entry>, mut open: Vec<usize>, waiting: &[Vec<usize>]) -> Vec<Entry> {
    let mut ready: BTreeSet<usize> = (0..open.len()).filter(|place| open.get(*place) == Some(&0)).collect();
    let mut left: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    let mut sorted = Vec::with_capacity(left.len());
    while let Some(place) = ready.pop_first() {
        for other in waiting.get(place).into_iter().flatten() {
            let Some(open) = open.get_mut(*other) else { continue };
            *open -= 1;
            if *open == 0 {
                ready.insert(*other);
            }
        }
        sorted.extend(left.get_mut(place).and_then(Option::take));
    }
    sorted.extend(left.into_iter().flatten());
    sorted
}

#[cfg(test)]
mod tests {
    use moothall_actors::domain::id::{Role, Timestamp};
    use moothall_actors::domain::queue::{OnDependencyFailure, Priority};

    use super::*;

    fn entry(name: &str, needs: &[&str]) -> Entry {
        let id = |name: &str| TaskId::parse("task", name).unwrap();
        Entry {
            task: id(name),
            run: 1,
            role: Role::dev(),
            story: None,
            plan: None,
            priority: Priority::MEDIUM,
            enqueued_at: Timestamp(1),
            not_before: None,
            needs: needs.iter().map(|need| id(need)).collect(),
            on_failure: OnDependencyFailure::Block,
            hold: None,
            parked: false,
        }
    }

    #[test]
    fn what_is_needed_comes_first_and_all_else_as_it_came() {
        let entries = vec![
            entry("z", &[]),
            entry("c", &["b", "b"]),
            entry("x", &["y"]),
            entry("y", &["x"]),
            entry("b", &["elsewhere"]),
            entry("a", &[]),
        ];
        let sorted = needed_first(entries);
        let names: Vec<&str> = sorted.iter().map(|entry| entry.task.as_str()).collect();
        assert_eq!(names, ["z", "b", "c", "a", "x", "y"]);
    }
}
