//! What holds on any board, whatever happens to it: checked against the plainest description there is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::board::{Board, Limits};
use crate::domain::id::{Role, TaskId, Timestamp};
use crate::domain::queue::{Entry, OnDependencyFailure, Priority, QueueState};
use crate::ports::queue::{Claim, Filter, Lease, Report, Request, Row};

const LIMITS: Limits = Limits { age: Duration::from_millis(7), most: 10_000, lease: Some(Duration::from_millis(50)) };
const ROLES: [&str; 2] = ["DEV", "QA"];

#[derive(Clone, Debug)]
enum Act {
    /// Tasks that may need earlier ones, by number.
    Enqueue(Vec<(u8, u8, Vec<u8>, u8)>),
    Claim(u8, u8),
    /// What becomes of the n-th of those held.
    Report(u8, u8),
    Beat(u8),
    Ask(u8, u8),
    Pass(u16),
}

fn any_act() -> impl Strategy<Value = Act> {
    let task = (0u8..2, 1u8..=100, prop::collection::vec(any::<u8>(), 0..3), 0u8..3);
    prop_oneof![
        3 => prop::collection::vec(task, 1..4).prop_map(Act::Enqueue),
        4 => (0u8..2, 1u8..4).prop_map(|(role, most)| Act::Claim(role, most)),
        5 => (any::<u8>(), 0u8..6).prop_map(|(which, what)| Act::Report(which, what)),
        1 => any::<u8>().prop_map(Act::Beat),
        2 => (any::<u8>(), 0u8..3).prop_map(|(which, what)| Act::Ask(which, what)),
        2 => (1u16..60).prop_map(Act::Pass),
    ]
}

struct Play {
    board: Board,
    now: u64,
    tasks: u32,
    held: Vec<Lease>,
    /// Runs that completed: never claimed again.
    completed: BTreeSet<(TaskId, u32)>,
    /// How each task that was told over ended last.
    ended: BTreeMap<TaskId, QueueState>,
    needs: BTreeMap<TaskId, (Vec<TaskId>, OnDependencyFailure)>,
}

fn id(number: u32) -> TaskId {
    TaskId::parse("task", &format!("t-{number:04}")).unwrap()
}

fn role(number: u8) -> Role {
    Role::parse("role", ROLES[usize::from(number)]).unwrap()
}

impl Play {
    fn new() -> Self {
        let board = Board::new(LIMITS, 1);
        let (held, completed, ended, needs) = Default::default();
        Self { board, now: 1_000, tasks: 0, held, completed, ended, needs }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Enqueue(tasks) => self.enqueue(tasks),
            Act::Claim(of, most) => self.claim(*of, usize::from(*most)),
            Act::Report(which, what) => self.report(*which, *what),
            Act::Beat(which) => self.beat(*which),
            Act::Ask(which, what) => self.ask(*which, *what),
            Act::Pass(time) => self.now += u64::from(*time),
        }
        self.check();
    }

    fn enqueue(&mut self, tasks: &[(u8, u8, Vec<u8>, u8)]) {
        let mut entries = Vec::new();
        for (of, priority, needs, on_failure) in tasks {
            let before = self.tasks;
            let needs: Vec<TaskId> =
                needs.iter().filter(|_| before > 0).map(|need| id(u32::from(*need) % before)).collect();
            let on_failure = [OnDependencyFailure::Block, OnDependencyFailure::Skip, OnDependencyFailure::Run]
                [usize::from(*on_failure)];
            let task = id(self.tasks);
            self.tasks += 1;
            self.needs.insert(task.clone(), (needs.clone(), on_failure));
            let story = (priority % 3 > 0).then(|| format!("S-{}", priority % 3).into());
            entries.push(Entry {
                task,
                run: 1,
                role: role(*of),
                story,
                plan: None,
                priority: Priority::read(&priority.to_string()).unwrap(),
                enqueued_at: Timestamp(self.now),
                not_before: None,
                needs,
                on_failure,
                hold: None,
                parked: false,
            });
        }
        let changed = self.board.enqueue(entries, &self.ended.clone()).unwrap();
        self.note(changed.iter().map(|news| (news.task.clone(), news.state)));
    }

    fn note(&mut self, news: impl Iterator<Item = (TaskId, QueueState)>) {
        self.ended.extend(news.filter(|(_, state)| state.is_over()));
    }

    fn claim(&mut self, of: u8, most: usize) {
        let claim = Claim { role: role(of), most, most_per_story: 3, holder: "me".into() };
        let could: BTreeSet<TaskId> = self.could_be_claimed(of);
        let claimed = self.board.claim(&claim, Timestamp(self.now));
        assert!(claimed.len() <= most);
        for claimed in claimed {
            let lease = claimed.lease;
            assert!(could.contains(&lease.task), "{lease:?} was claimed although it waits");
            assert!(!self.completed.contains(&(lease.task.clone(), lease.run)), "{lease:?} was completed");
            assert!(self.held.iter().all(|held| held.fence < lease.fence));
            self.held.push(lease);
        }
    }

    /// Tasks of the role whose needs are as they must be, by what was told to us alone.
    fn could_be_claimed(&self, of: u8) -> BTreeSet<TaskId> {
        let rows = self.rows();
        let of_role = rows.iter().filter(|row| row.entry.role == role(of));
        let ready = |row: &&Row| {
            let (needs, on_failure) = &self.needs[&row.entry.task];
            needs.iter().all(|need| match self.ended.get(need) {
                Some(QueueState::Completed) => true,
                Some(_) => *on_failure == OnDependencyFailure::Run,
                None => false,
            })
        };
        of_role.filter(ready).map(|row| row.entry.task.clone()).collect()
    }

    fn report(&mut self, which: u8, what: u8) {
        if self.held.is_empty() {
            return;
        }
        let lease = self.held[usize::from(which) % self.held.len()].clone();
        let report = match what {
            0 | 1 => Report::Completed,
            2 => Report::Failed,
            3 => Report::Retry { not_before: Timestamp(self.now + 20) },
            4 => Report::Released,
            _ => Report::Parked,
        };
        let newest = self.held.iter().filter(|held| held.task == lease.task).map(|held| held.fence).max();
        let told = self.board.report(&lease, &report);
        assert!(told.is_err() || newest == Some(lease.fence), "an old fence was taken: {lease:?}");
        let Ok(changed) = told else { return };
        assert!(self.board.report(&lease, &Report::Completed).is_err(), "{lease:?} was taken twice");
        match report {
            Report::Completed => {
                assert!(self.completed.insert((lease.task.clone(), lease.run)));
                self.ended.insert(lease.task.clone(), QueueState::Completed);
            }
            Report::Failed => drop(self.ended.insert(lease.task.clone(), QueueState::Failed)),
            _ => {}
        }
        self.note(changed.iter().map(|news| (news.task.clone(), news.state)));
    }

    fn beat(&mut self, which: u8) {
        if let Some(lease) = self.held.get(usize::from(which)).cloned() {
            self.board.heartbeat(&[lease], Timestamp(self.now));
        }
    }

    fn ask(&mut self, which: u8, what: u8) {
        if self.tasks == 0 {
            return;
        }
        let task = id(u32::from(which) % self.tasks);
        let request = match what {
            0 => Request::Cancel,
            1 => Request::Park,
            _ => Request::Release,
        };
        let was_over = self.ended.contains_key(&task);
        let Ok(changed) = self.board.request(&task, &request) else { return };
        if request == Request::Cancel && !was_over {
            self.ended.insert(task, QueueState::Cancelled);
        }
        self.note(changed.iter().map(|news| (news.task.clone(), news.state)));
    }

    fn rows(&self) -> Vec<Row> {
        self.board.list(&Filter { limit: usize::MAX, ..Filter::default() })
    }

    fn check(&self) {
        let rows = self.rows();
        let mut counts = BTreeMap::new();
        for row in &rows {
            *counts.entry((row.entry.role.clone(), row.state)).or_insert(0) += 1;
            assert_eq!(row.fence.is_some(), row.state.is_held(), "{row:?}");
            let over = self.ended.get(&row.entry.task);
            assert_eq!(row.state.is_over(), over.is_some(), "{row:?} {over:?}");
        }
        assert_eq!(self.board.counts(), &counts);
        let known: BTreeSet<&TaskId> = rows.iter().map(|row| &row.entry.task).collect();
        for number in 0..self.tasks {
            let task = id(number);
            assert!(known.contains(&task) || self.ended.contains_key(&task), "{task} is lost");
        }
    }

    /// Everything that is not in somebody's way is claimed in the end.
    fn finish(mut self) {
        let parked: Vec<TaskId> = self.rows().iter().map(|row| row.entry.task.clone()).collect();
        for task in parked {
            let _ = self.board.request(&task, &Request::Release);
        }
        for _ in 0..=self.tasks {
            self.now += 1_000;
            let mut claimed = Vec::new();
            for of in 0..2 {
                let claim = Claim { role: role(of), most: 100, most_per_story: 100, holder: "me".into() };
                claimed.extend(self.board.claim(&claim, Timestamp(self.now)));
            }
            for claimed in claimed {
                let changed = self.board.report(&claimed.lease, &Report::Completed).unwrap();
                self.ended.insert(claimed.lease.task, QueueState::Completed);
                self.note(changed.iter().map(|news| (news.task.clone(), news.state)));
            }
        }
        for row in self.rows() {
            let blocked = row.state == QueueState::Blocked && !row.failed_needs.is_empty();
            let behind_blocked = row.state == QueueState::Blocked && row.open_needs > 0;
            assert!(row.state.is_over() || blocked || behind_blocked, "{row:?} was never claimed");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

    #[test]
    fn nothing_is_lost_claimed_twice_or_claimed_before_its_time(acts in prop::collection::vec(any_act(), 1..60)) {
        let mut play = Play::new();
        acts.iter().for_each(|act| play.act(act));
        play.finish();
    }
}

/// Under a load that never ends, the lowest priority waits for 99 ages, no longer.
#[test]
fn the_lowest_priority_starts_within_its_bound_under_constant_load() {
    let mut board = Board::new(LIMITS, 1);
    let entry = |number: u32, priority: &str, at: u64| Entry {
        task: id(number),
        run: 1,
        role: role(0),
        story: None,
        plan: None,
        priority: Priority::read(priority).unwrap(),
        enqueued_at: Timestamp(at),
        not_before: None,
        needs: Vec::new(),
        on_failure: OnDependencyFailure::Block,
        hold: None,
        parked: false,
    };
    board.enqueue(vec![entry(0, "1", 0)], &BTreeMap::new()).unwrap();
    let claim = Claim { role: role(0), most: 1, most_per_story: 1, holder: "me".into() };
    // One urgent task comes and one is done in each millisecond.
    for now in 0..10_000 {
        board.enqueue(vec![entry(u32::try_from(now).unwrap() + 1, "100", now)], &BTreeMap::new()).unwrap();
        let claimed = board.claim(&claim, Timestamp(now)).remove(0);
        board.report(&claimed.lease, &Report::Completed).unwrap();
        if claimed.lease.task == id(0) {
            assert_eq!(now, 99 * 7, "neither sooner nor later");
            return;
        }
    }
    panic!("it never started");
}
