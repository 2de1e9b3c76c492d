//! The port as the server's scripts carry it out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use moothall_actors::domain::id::{Role, TaskId, Timestamp};
use moothall_actors::domain::queue::{Entry, Fence, QueueState};
use moothall_actors::ports::queue::{
    Claim, Claimed, Consequence, Counts, Filter, Lease, QueueError, Report, Request, Row, TaskQueue,
};
use moothall_actors::ports::shared::Texts;

use super::address::AddressError;
use super::call::{About, Caller, garbled};
use super::reassert::Said;
use super::reports::Reports;
use super::script::Scripts;
use super::settings::Settings;
use super::wire::{self, Args, Garbled};

/// Leases kept by one script: what is done at once holds up everybody else.
const BEATS: usize = 1_000;
/// Tasks that one step of a list looks at.
const SCANNED: usize = 1_000;

/// A queue in a server, shared with all daemons that name the same server and prefix.
pub struct RedisQueue {
    pub(super) caller: Caller,
    pub(super) said: Said,
    /// What its own tasks are about; `None` = it is not asked to say.
    pub(super) texts: Option<Arc<dyn Texts>>,
    reports: Reports,
}

impl RedisQueue {
    /// Asks nothing of the network: the first call connects.
    pub fn new(settings: Settings) -> Result<Self, AddressError> {
        Ok(Self::with(Caller::new(settings, Scripts::new())?))
    }

    /// A queue whose time is the number under the key `{prefix}:now`.
    #[cfg(feature = "testing")]
    pub fn with_told_time(settings: Settings) -> Result<Self, AddressError> {
        Ok(Self::with(Caller::new(settings, Scripts::with_told_time())?))
    }

    fn with(caller: Caller) -> Self {
        Self { caller, said: Said::default(), texts: None, reports: Reports::default() }
    }

    /// Keeps beside each task what it is about, for other daemons.
    #[must_use]
    pub fn with_texts(self, texts: Arc<dyn Texts>) -> Self {
        Self { texts: Some(texts), ..self }
    }

    /// The highest fence in any answer; its epoch is the queue's as far as is known here.
    #[must_use]
    pub fn highest(&self) -> Fence {
        self.caller.highest()
    }

    pub(super) async fn tell(
        &self,
        lease: &Lease,
        report: &Report,
        event: Option<&[u8]>,
    ) -> Result<Vec<Consequence>, QueueError> {
        let told = self.reports.tell(&self.caller, report_args(lease, report, event)).await?;
        let stale = || QueueError::Stale { task: lease.task.clone(), fence: lease.fence };
        wire::consequences(told.ok_or_else(stale)?).map_err(garbled)
    }

    async fn page(&self, from: &str, limit: usize, filter: &Filter) -> Result<(String, Vec<Row>), QueueError> {
        let mut args = Args::default();
        args.push(from).number(as_i128(limit)).number(as_i128(SCANNED));
        args.push(filter.state.map(|state| wire::state_number(state).to_string()).unwrap_or_default());
        args.push(filter.role.as_ref().map(Role::as_str).unwrap_or_default());
        args.maybe(filter.story.as_deref()).maybe(filter.plan.as_deref());
        let answer = self.caller.look(&self.caller.scripts.list, &args).await?;
        let [next, rows] = wire::fields(answer).map_err(garbled)?;
        let rows = wire::list(rows).and_then(|rows| rows.into_iter().map(wire::row).collect());
        Ok((wire::text(next).map_err(garbled)?, rows.map_err(garbled)?))
    }
}

/// The latest run of each task, in the order in which they came.
pub(super) fn once_each(entries: Vec<Entry>) -> Vec<Entry> {
    let mut latest: BTreeMap<TaskId, u32> = BTreeMap::new();
    for entry in &entries {
        let run = latest.entry(entry.task.clone()).or_default();
        *run = entry.run.max(*run);
    }
    entries
        .into_iter()
        .filter(|entry| latest.get(&entry.task) == Some(&entry.run) && latest.remove(&entry.task).is_some())
        .collect()
}

/// What the scripts need to take them, behind what else they need.
pub(super) fn push_entries(
    args: &mut Args,
    settings: &Settings,
    (entries, texts): (&[Entry], &[String]),
    ended: &BTreeMap<TaskId, QueueState>,
) {
    let needs: BTreeSet<&TaskId> = entries.iter().flat_map(|entry| &entry.needs).collect();
    let ended: Vec<(&TaskId, QueueState)> =
        needs.into_iter().filter_map(|need| Some((need, *ended.get(need)?))).collect();
    args.number(as_i128(settings.most)).number(as_i128(ended.len())).number(as_i128(entries.len()));
    for (need, state) in ended {
        args.push(need.as_str()).number(wire::state_number(state));
    }
    for (entry, text) in entries.iter().zip(texts) {
        args.entry(entry, settings.age).push(text);
    }
}

/// As the scripts name whoever holds a lease: never empty.
pub(super) fn holder(name: &str) -> String {
    format!("={name}")
}

/// Lengths fit.
pub(super) fn as_i128(number: usize) -> i128 {
    i128::try_from(number).unwrap_or(i128::MAX)
}

/// With an event it makes a final.
fn report_args(lease: &Lease, report: &Report, event: Option<&[u8]>) -> Args {
    let (name, due) = match report {
        Report::Completed => ("completed", None),
        Report::Failed => ("failed", None),
        Report::Cancelled => ("cancelled", None),
        Report::Retry { not_before } => ("retry", Some(*not_before)),
        Report::Released => ("released", None),
        Report::Parked => ("parked", None),
        Report::Dispatched => ("dispatched", None),
    };
    let mut args = Args::default();
    args.lease(lease).push(name).due(due);
    args.push(if event.is_some() { "final" } else { "" }).push(event.unwrap_or_default());
    args
}

#[async_trait]
impl TaskQueue for RedisQueue {
    async fn enqueue(
        &self,
        entries: Vec<Entry>,
        ended: BTreeMap<TaskId, QueueState>,
    ) -> Result<Vec<Consequence>, QueueError> {
        let entries = once_each(entries);
        let mut args = Args::default();
        args.push("enqueue").push("");
        push_entries(&mut args, &self.caller.settings, (&entries, &self.texts(&entries).await), &ended);
        let answer = self.caller.change(&self.caller.scripts.enqueue, &args, About::Tasks).await?;
        let [news, _finals] = wire::fields(answer).map_err(garbled)?;
        wire::consequences(news).map_err(garbled)
    }

    async fn amend(&self, entry: Entry, ended: BTreeMap<TaskId, QueueState>) -> Result<Vec<Consequence>, QueueError> {
        let mut args = Args::default();
        let entries = std::slice::from_ref(&entry);
        push_entries(&mut args, &self.caller.settings, (entries, &self.texts(entries).await), &ended);
        let answer = self.caller.change(&self.caller.scripts.amend, &args, About::Task(&entry.task)).await?;
        wire::consequences(answer).map_err(garbled)
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, QueueError> {
        let settings = &self.caller.settings;
        let mut args = Args::default();
        args.push(claim.role.as_str()).number(as_i128(claim.most)).number(as_i128(claim.most_per_story));
        args.push(holder(&claim.holder)).number(millis(settings.lease)).push(self.own_epoch());
        let answer = self.caller.change(&self.caller.scripts.claim, &args, About::Tasks).await?;
        wire::claimed(answer).map_err(garbled)
    }

    async fn adopt(&self, task: &TaskId, run: u32, by: &Arc<str>) -> Result<Lease, QueueError> {
        let mut args = Args::default();
        args.push(task.as_str()).number(run).push(holder(by)).number(millis(self.caller.settings.lease));
        let answer = self.caller.change(&self.caller.scripts.adopt, &args, About::Task(task)).await?;
        wire::lease(answer, task, run).map_err(garbled)
    }

    /// In steps: each is whole, and what is claimed between two of them stays with its holder.
    async fn take_back(&self, by: &str) -> Result<Vec<TaskId>, QueueError> {
        let (mut behind, mut mark, mut back) = ("0".to_owned(), String::new(), Vec::new());
        loop {
            let mut args = Args::default();
            args.push(holder(by)).push(&behind).push(&mark);
            let answer = self.caller.change(&self.caller.scripts.take_back, &args, About::Tasks).await?;
            let [next, last, some] = wire::fields(answer).map_err(garbled)?;
            back.extend(wire::tasks(some).map_err(garbled)?);
            (mark, behind) = (wire::text(next).map_err(garbled)?, wire::text(last).map_err(garbled)?);
            if mark.is_empty() {
                back.sort_unstable();
                return Ok(back);
            }
        }
    }

    async fn heartbeat(&self, leases: &[Lease]) -> Result<Vec<Lease>, QueueError> {
        let mut lost = Vec::new();
        // Time passes for everybody, even when there is nothing to keep.
        let nothing: [&[Lease]; 1] = [&[]];
        let steps = leases.chunks(BEATS).chain(nothing.into_iter().filter(|_| leases.is_empty()));
        for leases in steps {
            let mut args = Args::default();
            args.number(millis(self.caller.settings.lease));
            for lease in leases {
                args.lease(lease);
            }
            let answer = self.caller.change(&self.caller.scripts.heartbeat, &args, About::Tasks).await?;
            for place in wire::list(answer).map_err(garbled)? {
                let place: usize = wire::number(place).map_err(garbled)?;
                lost.push(leases.get(place).cloned().ok_or(Garbled).map_err(garbled)?);
            }
        }
        Ok(lost)
    }

    async fn report(&self, lease: &Lease, report: Report) -> Result<Vec<Consequence>, QueueError> {
        self.tell(lease, &report, None).await
    }

    async fn request(&self, task: &TaskId, request: Request) -> Result<Vec<Consequence>, QueueError> {
        let name = match request {
            Request::Cancel => "cancel",
            Request::Release => "release",
            Request::Park => "park",
        };
        let mut args = Args::default();
        args.push(task.as_str()).push(name);
        let answer = self.caller.change(&self.caller.scripts.request, &args, About::Task(task)).await?;
        wire::consequences(answer).map_err(garbled)
    }

    async fn open_phase(&self, story: &str, phase: &str) -> Result<Vec<TaskId>, QueueError> {
        let mut args = Args::default();
        args.maybe(Some(story)).maybe(Some(phase));
        let answer = self.caller.change(&self.caller.scripts.open_phase, &args, About::Tasks).await?;
        wire::tasks(answer).map_err(garbled)
    }

    /// In steps: tasks that change meanwhile may be missed or stand there as they were.
    async fn list(&self, filter: &Filter) -> Result<Vec<Row>, QueueError> {
        let mut from = filter.after.as_ref().map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let mut rows = Vec::new();
        while rows.len() < filter.limit {
            let (next, page) = self.page(&from, filter.limit - rows.len(), filter).await?;
            rows.extend(page);
            if next.is_empty() {
                break;
            }
            from = next;
        }
        Ok(rows)
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        let answer = self.caller.look(&self.caller.scripts.counts, &Args::default()).await?;
        let mut values = wire::list(answer).map_err(garbled)?.into_iter();
        let mut counts = Counts::new();
        while let (Some(field), Some(count)) = (values.next(), values.next()) {
            let count: usize = wire::number(count).map_err(garbled)?;
            if count > 0 {
                counts.insert(wire::counted(field).map_err(garbled)?, count);
            }
        }
        Ok(counts)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, QueueError> {
        let due = self.caller.change(&self.caller.scripts.next_due, &Args::default(), About::Tasks).await?;
        wire::due(due).map_err(garbled)
    }
}

pub(super) fn millis(length: std::time::Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
