//! The board: every task of the queue, what it waits for, and who holds it. Pure: time and holder come with the call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::lanes::Lanes;
use super::needs::in_a_circle;
use super::slot::{Home, Need, NeedState, Slot};
use crate::domain::id::{Role, TaskId, Timestamp};
use crate::domain::queue::{Entry, QueueState};
use crate::ports::queue::{Consequence, Counts, Lease, QueueError, Report, Request};

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
    pub(super) limits: Limits,
    pub(super) epoch: u64,
    pub(super) fences: u64,
    arrivals: u64,
    /// Tasks that are over stay only as long as others wait for them.
    pub(super) slots: BTreeMap<TaskId, Slot>,
    /// Who waits for a task, in the order of their ids.
    pub(super) dependents: BTreeMap<TaskId, Vec<TaskId>>,
    homes: BTreeMap<Home, Arc<Home>>,
    pub(super) lanes: Lanes,
    /// Tasks whose time has not come.
    pub(super) later: BTreeSet<(Timestamp, TaskId)>,
    /// Leases by the time at which they run out.
    pub(super) leases: BTreeSet<(Timestamp, TaskId)>,
    pub(super) held: BTreeMap<(Role, Option<Arc<str>>), usize>,
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
        let ended = self.outcomes(&new, ended);
        let tasks: Vec<TaskId> = new.iter().map(|entry| entry.task.clone()).collect();
        for entry in new {
            self.clear(&entry.task);
            self.put(entry, &ended);
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
        let ended = self.outcomes(std::slice::from_ref(&entry), ended);
        self.clear(&task);
        self.put(entry, &ended);
        let mut changed = Vec::new();
        if self.settle(&task, &task, &mut changed) == Some(QueueState::Skipped) {
            self.spread(&task, &mut changed);
        }
        Ok(changed)
    }

    /// How needed tasks ended, those with them that the board may forget while entries take the places of others.
    fn outcomes(&self, new: &[Entry], ended: &BTreeMap<TaskId, QueueState>) -> BTreeMap<TaskId, QueueState> {
        let needs = new.iter().flat_map(|entry| &entry.needs);
        let over = needs.filter_map(|need| self.slots.get_key_value(need)).filter(|(_, slot)| slot.state.is_over());
        let over = over.map(|(need, slot)| (need.clone(), slot.state));
        ended.iter().map(|(need, state)| (need.clone(), *state)).chain(over).collect()
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
        let together: BTreeMap<&TaskId, &Entry> = new.iter().map(|entry| (&entry.task, entry)).collect();
        let is_open = |task: &TaskId| self.slots.get(task).is_some_and(|slot| !slot.state.is_over());
        let more = together.keys().filter(|task| !is_open(task)).count();
        if more > 0 && self.open + more > self.limits.most {
            return Err(QueueError::Full { most: self.limits.most });
        }
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
            _ => return Err(QueueError::WrongState { task: task.clone(), state }),
        }
        Ok(changed)
    }

    /// A task waits again: as it was, or under its next run.
    pub(super) fn again(
        &mut self,
        task: &TaskId,
        runs: u32,
        not_before: Option<Timestamp>,
        changed: &mut Vec<Consequence>,
    ) {
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
}
