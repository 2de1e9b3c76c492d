//! The board: every task of the queue, what it waits for, and who holds it. Pure: time and holder come with the call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::lanes::Lanes;
use super::needs::in_a_circle;
use super::slot::{Held, Home, Need, NeedState, Slot};
use crate::domain::id::{Role, TaskId, Timestamp};
use crate::domain::queue::{Entry, Fence, QueueState};
use crate::ports::queue::{Claim, Claimed, Consequence, Counts, Lease, QueueError, Report, Request};

/// The numbers of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How much earlier one step of priority makes a task.
    pub age: Duration,
    /// Most tasks that are not over.
    pub most: usize,
    /// How long a lease holds without a heartbeat; `None` = for ever.
    pub lease: Option<Duration>,
}

impl Default for Limits {
    /// 100 ages are a bit more than a quarter of an hour.
    fn default() -> Self {
        Self { age: Duration::from_secs(10), most: 1_000_000, lease: None }
    }
}

/// See the module's story.
#[derive(Clone, Debug)]
pub struct Board {
    limits: Limits,
    epoch: u64,
    fences: u64,
    arrivals: u64,
    /// Tasks that are over stay only as long as others wait for them.
    pub(super) slots: BTreeMap<TaskId, Slot>,
    /// Who waits for a task, in the order of their ids.
    pub(super) dependents: BTreeMap<TaskId, Vec<TaskId>>,
    homes: BTreeMap<Home, Arc<Home>>,
    lanes: Lanes,
    /// Tasks whose time has not come.
    pub(super) later: BTreeSet<(Timestamp, TaskId)>,
    /// Leases by the time at which they run out.
    leases: BTreeSet<(Timestamp, TaskId)>,
    held: BTreeMap<(Role, Option<Arc<str>>), usize>,
    pub(super) counts: Counts,
    pub(super) open: usize,
}

type Changed = Result<Vec<Consequence>, QueueError>;

impl Board {
    /// Fences of an epoch are above all of those before: give a higher one whenever some claim may be forgotten.
    #[must_use]
    pub fn new(limits: Limits, epoch: u64) -> Self {
        Self {
            limits,
            epoch,
            fences: 0,
            arrivals: 0,
            slots: BTreeMap::new(),
            dependents: BTreeMap::new(),
            homes: BTreeMap::new(),
            lanes: Lanes::default(),
            later: BTreeSet::new(),
            leases: BTreeSet::new(),
            held: BTreeMap::new(),
            counts: Counts::new(),
            open: 0,
        }
    }

    /// Takes all or none.
    pub fn enqueue(&mut self, entries: Vec<Entry>, ended: &BTreeMap<TaskId, QueueState>) -> Changed {
        let new: Vec<Entry> = entries.into_iter().filter(|entry| !self.has(entry)).collect();
        self.check(&new, ended)?;
        let tasks: Vec<TaskId> = new.iter().map(|entry| entry.task.clone()).collect();
        for entry in new {
            self.clear(&entry.task);
            self.put(entry, ended);
        }
        let mut changed = Vec::new();
        for task in tasks {
            self.settle(&task, &task, &mut changed);
            // Those that wait for an earlier run of it have one to wait for again.
            self.spread(&task, &mut changed);
        }
        Ok(changed)
    }

    /// Puts what is wanted by now into the place of what waits.
    pub fn amend(&mut self, entry: Entry, ended: &BTreeMap<TaskId, QueueState>) -> Changed {
        let task = entry.task.clone();
        let Some(slot) = self.slots.get(&task) else { return Err(QueueError::Unknown { task }) };
        let state = slot.state;
        if slot.run != entry.run || !(state.waits() || state == QueueState::Parked) {
            return Err(QueueError::WrongState { task, state });
        }
        self.check(std::slice::from_ref(&entry), ended)?;
        self.clear(&task);
        self.put(entry, ended);
        let mut changed = Vec::new();
        self.settle(&task, &task, &mut changed);
        Ok(changed)
    }

    /// Makes room for what takes a task's place.
    fn clear(&mut self, task: &TaskId) {
        self.let_go(task);
        self.take_down(task);
        let is_open = self.slots.get(task).is_some_and(|slot| !slot.state.is_over());
        if is_open {
            self.turn(task, QueueState::Blocked);
            self.open -= 1;
        }
    }

    /// Whether this run is there, or a later one.
    fn has(&self, entry: &Entry) -> bool {
        self.slots.get(&entry.task).is_some_and(|slot| slot.run >= entry.run)
    }

    fn check(&self, new: &[Entry], ended: &BTreeMap<TaskId, QueueState>) -> Result<(), QueueError> {
        if self.open + new.len() > self.limits.most {
            return Err(QueueError::Full { most: self.limits.most });
        }
        let together: BTreeMap<&TaskId, &Entry> = new.iter().map(|entry| (&entry.task, entry)).collect();
        let known =
            |need: &TaskId| together.contains_key(need) || self.slots.contains_key(need) || ended.contains_key(need);
        let needs = new.iter().flat_map(|entry| &entry.needs);
        let mut unknown: BTreeSet<TaskId> = needs.filter(|need| !known(need)).cloned().collect();
        unknown.extend(in_a_circle(&together));
        if unknown.is_empty() { Ok(()) } else { Err(QueueError::UnknownNeeds(unknown.into_iter().collect())) }
    }

    fn put(&mut self, entry: Entry, ended: &BTreeMap<TaskId, QueueState>) {
        let task = entry.task.clone();
        let mut needs: Vec<Need> = Vec::with_capacity(entry.needs.len());
        for need in entry.needs.iter().collect::<BTreeSet<_>>() {
            let state = self.slots.get(need).map(|slot| slot.state).or_else(|| ended.get(need).copied());
            needs.push(Need { task: need.clone(), came_to: NeedState::of(state) });
        }
        for need in needs.iter().filter(|need| need.came_to != NeedState::Completed) {
            let waiting = self.dependents.entry(need.task.clone()).or_default();
            if let Err(place) = waiting.binary_search(&task) {
                waiting.insert(place, task.clone());
            }
        }
        self.arrivals += 1;
        self.open += 1;
        let (home, parked) = (self.home(&entry), entry.parked);
        self.count(&home.role, QueueState::Blocked, 1);
        let before = self.slots.insert(task.clone(), Slot::new(entry, home, needs, self.arrivals));
        if let Some(before) = before {
            self.part_with(&task, before);
        }
        if parked {
            self.turn(&task, QueueState::Parked);
        }
    }

    /// One for all tasks that belong to the same.
    fn home(&mut self, entry: &Entry) -> Arc<Home> {
        let home = Home { role: entry.role.clone(), story: entry.story.clone(), plan: entry.plan.clone() };
        self.homes.entry(home).or_insert_with_key(|home| Arc::new(home.clone())).clone()
    }

    /// The last one to leave a home takes it down.
    pub(super) fn leave(&mut self, home: Arc<Home>) {
        if Arc::strong_count(&home) <= 2 {
            self.homes.remove(&*home);
        }
    }

    /// The most urgent tasks of a role.
    pub fn claim(&mut self, claim: &Claim, now: Timestamp) -> Vec<Claimed> {
        self.pass(now);
        let mut claimed = Vec::new();
        while claimed.len() < claim.most {
            let held = &self.held;
            let has_room = |story: &Option<Arc<str>>| {
                held.get(&(claim.role.clone(), story.clone())).copied().unwrap_or(0) < claim.most_per_story
            };
            let Some(task) = self.lanes.next(&claim.role, has_room) else { break };
            claimed.extend(self.hold(&task, &claim.holder, now));
        }
        claimed
    }

    fn hold(&mut self, task: &TaskId, holder: &Arc<str>, now: Timestamp) -> Option<Claimed> {
        self.fences += 1;
        let fence = Fence { epoch: self.epoch, number: self.fences };
        let until = self.limits.lease.map(|lease| later(now, lease));
        self.take_down(task);
        self.turn(task, QueueState::InProgress);
        let slot = self.slots.get_mut(task)?;
        slot.give_to(Held { fence, holder: holder.clone(), until });
        self.leases.extend(until.map(|until| (until, task.clone())));
        let entry = slot.entry(task);
        let lease = Lease { task: task.clone(), run: entry.run, fence };
        Some(Claimed { entry, lease })
    }

    /// What time brings: tasks whose time has come, leases that ran out.
    pub fn pass(&mut self, now: Timestamp) {
        while let Some((_, task)) = self.later.first().filter(|(due, _)| *due <= now).cloned() {
            self.take_down(&task);
            if let Some(slot) = self.slots.get_mut(&task) {
                slot.not_before = None;
            }
            self.place(&task);
        }
        while let Some((_, task)) = self.leases.first().filter(|(until, _)| *until < now).cloned() {
            self.let_go(&task);
            // What it was passed over may be tried again by now; nobody has to be told that it waits for that.
            self.turn(&task, QueueState::Blocked);
            self.settle(&task, &task, &mut Vec::new());
        }
    }

    /// Keeps leases; those that are lost.
    pub fn heartbeat(&mut self, leases: &[Lease], now: Timestamp) -> Vec<Lease> {
        self.pass(now);
        let mut lost = Vec::new();
        for lease in leases {
            if self.check_lease(lease).is_err() {
                lost.push(lease.clone());
                continue;
            }
            let Some(held) = self.slots.get_mut(&lease.task).and_then(Slot::held_mut) else { continue };
            if let (Some(until), Some(length)) = (&mut held.until, self.limits.lease) {
                self.leases.remove(&(*until, lease.task.clone()));
                *until = later(now, length);
                self.leases.insert((*until, lease.task.clone()));
            }
        }
        lost
    }

    /// What became of a task that is held.
    pub fn report(&mut self, lease: &Lease, report: &Report) -> Changed {
        self.check_lease(lease)?;
        let task = &lease.task;
        if *report == Report::Dispatched {
            self.keep_for_ever(task);
            self.turn(task, QueueState::Dispatched);
            return Ok(Vec::new());
        }
        self.let_go(task);
        let mut changed = Vec::new();
        match report {
            Report::Completed => self.end(task, QueueState::Completed, &mut changed),
            Report::Failed => self.end(task, QueueState::Failed, &mut changed),
            Report::Cancelled => self.end(task, QueueState::Cancelled, &mut changed),
            Report::Parked => self.park_next_run(task),
            Report::Retry { not_before } => self.again(task, 1, Some(*not_before), &mut changed),
            Report::Released | Report::Dispatched => self.again(task, 0, None, &mut changed),
        }
        Ok(changed)
    }

    fn check_lease(&self, lease: &Lease) -> Result<(), QueueError> {
        let slot = self.slots.get(&lease.task).filter(|slot| slot.run == lease.run);
        let held = slot.and_then(Slot::held).is_some_and(|held| held.fence == lease.fence);
        if held { Ok(()) } else { Err(QueueError::Stale { task: lease.task.clone(), fence: lease.fence }) }
    }

    /// What is asked of a task, whoever holds it. What is so already is no error.
    pub fn request(&mut self, task: &TaskId, request: &Request) -> Changed {
        use QueueState as State;
        let Some(slot) = self.slots.get(task) else { return Err(QueueError::Unknown { task: task.clone() }) };
        let state = slot.state;
        let mut changed = Vec::new();
        match (request, state) {
            (Request::Cancel, State::Cancelled) | (Request::Park, State::Parked) => {}
            (Request::Release, State::Queued | State::Blocked) => {}
            (Request::Cancel, state) if !state.is_over() => {
                self.let_go(task);
                self.take_down(task);
                self.end(task, State::Cancelled, &mut changed);
            }
            (Request::Park, State::Queued | State::Blocked) => {
                self.take_down(task);
                self.turn(task, State::Parked);
            }
            (Request::Release, State::Parked) => self.again(task, 0, None, &mut changed),
            (Request::Retry { not_before }, State::Failed | State::Cancelled | State::Skipped) => {
                self.open += 1;
                self.again(task, 1, *not_before, &mut changed);
            }
            _ => return Err(QueueError::WrongState { task: task.clone(), state }),
        }
        Ok(changed)
    }

    /// A task waits again: as it was, or under its next run.
    fn again(&mut self, task: &TaskId, runs: u32, not_before: Option<Timestamp>, changed: &mut Vec<Consequence>) {
        if let Some(slot) = self.slots.get_mut(task) {
            slot.run += runs;
            slot.not_before = not_before;
        }
        self.turn(task, QueueState::Blocked);
        self.settle(task, task, changed);
        self.spread(task, changed);
    }

    fn park_next_run(&mut self, task: &TaskId) {
        if let Some(slot) = self.slots.get_mut(task) {
            slot.run += 1;
        }
        self.turn(task, QueueState::Parked);
    }

    /// A story has reached a phase.
    pub fn open_phase(&mut self, story: &str, phase: &str) -> Vec<TaskId> {
        let waits =
            |slot: &Slot| slot.home.story.as_deref() == Some(story) && slot.hold().is_some_and(|hold| &**hold == phase);
        let mut opened = Vec::new();
        for (task, slot) in self.slots.iter_mut().filter(|(_, slot)| waits(slot)) {
            slot.release_hold();
            opened.push(task.clone());
        }
        for task in &opened {
            self.settle(task, task, &mut Vec::new());
        }
        opened
    }

    /// A run has ended: it counts for those who wait for it.
    fn end(&mut self, task: &TaskId, state: QueueState, changed: &mut Vec<Consequence>) {
        self.turn(task, state);
        self.open -= 1;
        self.spread(task, changed);
    }

    /// What is carried out elsewhere may take days, and whoever holds it has nothing to say meanwhile.
    fn keep_for_ever(&mut self, task: &TaskId) {
        let held = self.slots.get_mut(task).and_then(Slot::held_mut);
        if let Some(until) = held.and_then(|held| held.until.take()) {
            self.leases.remove(&(until, task.clone()));
        }
    }

    fn let_go(&mut self, task: &TaskId) {
        let Some(slot) = self.slots.get_mut(task) else { return };
        let Some(held) = slot.take_back() else { return };
        if let Some(until) = held.until {
            self.leases.remove(&(until, task.clone()));
        }
    }

    pub(super) fn turn(&mut self, task: &TaskId, state: QueueState) {
        let Some(slot) = self.slots.get_mut(task) else { return };
        let before = std::mem::replace(&mut slot.state, state);
        let (role, story) = (slot.home.role.clone(), slot.home.story.clone());
        // A dispatched task needs no agent of the council any more.
        let works = |state| usize::from(state == QueueState::InProgress);
        if works(before) != works(state) {
            let held = self.held.entry((role.clone(), story.clone())).or_default();
            *held = *held + works(state) - works(before);
            if *held == 0 {
                self.held.remove(&(role.clone(), story));
            }
        }
        self.count(&role, before, -1);
        self.count(&role, state, 1);
    }

    pub(super) fn count(&mut self, role: &Role, state: QueueState, by: isize) {
        let key = (role.clone(), state);
        let count = self.counts.entry(key.clone()).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            self.counts.remove(&key);
        }
    }

    /// Where a QUEUED task can be claimed from, now or later.
    pub(super) fn place(&mut self, task: &TaskId) {
        let Some(slot) = self.slots.get_mut(task) else { return };
        slot.placed = true;
        match slot.not_before {
            Some(due) => drop(self.later.insert((due, task.clone()))),
            None => {
                let place = slot.place(self.limits.age);
                self.lanes.insert(&slot.home.role, &slot.home.story, place, task.clone());
            }
        }
    }

    pub(super) fn take_down(&mut self, task: &TaskId) {
        let Some(slot) = self.slots.get_mut(task) else { return };
        if !std::mem::take(&mut slot.placed) {
            return;
        }
        match slot.not_before {
            Some(due) => drop(self.later.remove(&(due, task.clone()))),
            None => self.lanes.remove(&slot.home.role, &slot.home.story, slot.place(self.limits.age), task),
        }
    }

    /// A new lease on a task that its holder works on already, as the journal says.
    pub fn adopt(&mut self, task: &TaskId, run: u32, holder: &Arc<str>, now: Timestamp) -> Result<Lease, QueueError> {
        let Some(slot) = self.slots.get(task) else { return Err(QueueError::Unknown { task: task.clone() }) };
        let is_own = slot.state == QueueState::InProgress && slot.held().is_none_or(|held| held.holder == *holder);
        if slot.run != run || !(slot.state.waits() || is_own) {
            return Err(QueueError::WrongState { task: task.clone(), state: slot.state });
        }
        self.let_go(task);
        self.hold(task, holder, now).map(|claimed| claimed.lease).ok_or(QueueError::Unknown { task: task.clone() })
    }

    /// Gives back all leases of a holder that has started anew; they were its own.
    pub fn take_back(&mut self, holder: &str) -> Vec<TaskId> {
        let own = |slot: &Slot| {
            slot.state == QueueState::InProgress && slot.held().is_some_and(|held| &*held.holder == holder)
        };
        let tasks: Vec<TaskId> =
            self.slots.iter().filter(|(_, slot)| own(slot)).map(|(task, _)| task.clone()).collect();
        for task in &tasks {
            self.let_go(task);
            self.again(task, 0, None, &mut Vec::new());
        }
        tasks
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}
