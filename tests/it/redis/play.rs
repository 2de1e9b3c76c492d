//! Random plays on a board and on a real server at once: every answer, every row, every count must be the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moothall::redis::{RedisQueue, Settings};
use moothall_actors::domain::id::{Role, TaskId, Timestamp};
use moothall_actors::domain::queue::{Entry, OnDependencyFailure, Priority, QueueState};
use moothall_actors::ports::queue::{Claim, Consequence, Filter, Lease, QueueError, Report, Request, TaskQueue};
use moothall_actors::queue::{Board, Limits};
use proptest::prelude::*;

use super::server::{Server, settings, trust};

/// Few enough that a long play fills the queue.
const MOST: usize = 40;
const LIMITS: Limits = Limits { age: Duration::from_millis(7), most: MOST, lease: Some(Duration::from_millis(50)) };
const HOLDERS: [&str; 2] = ["me", "you"];
const ROLES: [&str; 2] = ["DEV", "QA"];

#[derive(Clone, Debug)]
struct New {
    role: u8,
    priority: u8,
    /// Earlier tasks, by number.
    needs: Vec<u8>,
    on_failure: u8,
    waits: u8,
}

#[derive(Clone, Debug)]
enum Act {
    Enqueue(Vec<New>),
    /// A later run of a task that came before, wanted as this one.
    Again(u8, New),
    /// The same run, wanted as this one.
    Amend(u8, New),
    /// What a holder takes of a role, and its room.
    Claim(u8, u8, u8, u8),
    Adopt(u8, u8),
    TakeBack(u8),
    /// What becomes of the n-th of those held.
    Report(u8, u8),
    Beat(u8),
    Ask(u8, u8),
    Phase(u8),
    Due,
    Pass(u16),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => prop::collection::vec(any_new(), 1..4).prop_map(Act::Enqueue),
        2 => (any::<u8>(), any_new()).prop_map(|(which, new)| Act::Again(which, new)),
        3 => (any::<u8>(), any_new()).prop_map(|(which, new)| Act::Amend(which, new)),
        4 => (0u8..2, 1u8..4, 1u8..4, 0u8..2).prop_map(|(role, most, room, by)| Act::Claim(role, most, room, by)),
        2 => (any::<u8>(), 0u8..2).prop_map(|(which, by)| Act::Adopt(which, by)),
        1 => (0u8..2).prop_map(Act::TakeBack),
        5 => (any::<u8>(), 0u8..8).prop_map(|(which, what)| Act::Report(which, what)),
        1 => any::<u8>().prop_map(Act::Beat),
        2 => (any::<u8>(), 0u8..3).prop_map(|(which, what)| Act::Ask(which, what)),
        1 => (1u8..3).prop_map(Act::Phase),
        1 => Just(Act::Due),
        2 => (1u16..60).prop_map(Act::Pass),
    ]
}

fn any_new() -> impl Strategy<Value = New> {
    let new = (0u8..2, 1u8..=100, prop::collection::vec(any::<u8>(), 0..3), 0u8..3, 0u8..8);
    new.prop_map(|(role, priority, needs, on_failure, waits)| New { role, priority, needs, on_failure, waits })
}

struct Play<'a> {
    server: &'a Server,
    board: Board,
    queue: RedisQueue,
    now: u64,
    /// Tells the time.
    clock: redis::aio::MultiplexedConnection,
    /// So many tasks came, each under its number.
    came: usize,
    held: Vec<Lease>,
    /// The last run of each: the queue remembers how earlier ones ended, and the board does not.
    runs: BTreeMap<TaskId, u32>,
    ended: BTreeMap<TaskId, QueueState>,
}

fn id(number: usize) -> TaskId {
    TaskId::parse("task", &format!("t-{number:04}")).unwrap()
}

const ALL: Filter = Filter { state: None, role: None, story: None, plan: None, after: None, limit: usize::MAX };

fn holder(number: u8) -> Arc<str> {
    HOLDERS[usize::from(number)].into()
}

fn role(number: u8) -> Role {
    Role::parse("role", ROLES[usize::from(number)]).unwrap()
}

impl<'a> Play<'a> {
    async fn new(server: &'a Server) -> Self {
        server.forget_everything().await;
        server.tell_time(1_000).await;
        let own =
            Settings { age: LIMITS.age, most: LIMITS.most, lease: LIMITS.lease.unwrap(), ..settings(server.port) };
        let queue = RedisQueue::with_told_time(own).unwrap();
        trust(&queue).await;
        let board = Board::new(LIMITS, queue.highest().epoch);
        let clock = server.connection().await;
        Self {
            server,
            board,
            queue,
            now: 1_000,
            clock,
            came: 0,
            held: Vec::new(),
            runs: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Enqueue(tasks) => self.enqueue(tasks).await,
            Act::Again(which, new) => self.again(*which, new).await,
            Act::Amend(which, new) => self.amend(*which, new).await,
            Act::Claim(of, most, room, by) => self.claim(*of, usize::from(*most), usize::from(*room), *by).await,
            Act::Adopt(which, by) => self.adopt(*which, *by).await,
            Act::TakeBack(by) => self.take_back(*by).await,
            Act::Report(which, what) => self.report(*which, *what).await,
            Act::Beat(which) => self.beat(*which).await,
            Act::Ask(which, what) => self.ask(*which, *what).await,
            Act::Phase(story) => self.phase(*story).await,
            Act::Due => self.due().await,
            Act::Pass(time) => self.pass(u64::from(*time)).await,
        }
        self.compare().await;
    }

    async fn pass(&mut self, time: u64) {
        self.now += time;
        let told = redis::cmd("SET").arg("{moothall}:now").arg(self.now).query_async(&mut self.clock).await;
        let () = told.unwrap();
    }

    async fn put(&mut self, entries: Vec<Entry>) {
        let told = self.board.enqueue(entries.clone(), &self.ended);
        assert_eq!(self.queue.enqueue(entries.clone(), self.ended.clone()).await, told);
        if told.is_ok() {
            // Also of one that is skipped as it comes: the board never lists it.
            entries.into_iter().for_each(|entry| self.came_to_run(entry.task, entry.run));
        }
        self.note(&told);
    }

    fn came_to_run(&mut self, task: TaskId, run: u32) {
        let last = self.runs.entry(task).or_default();
        *last = run.max(*last);
    }

    fn note(&mut self, told: &Result<Vec<Consequence>, QueueError>) {
        let news = told.iter().flatten();
        self.ended.extend(news.filter(|news| news.state.is_over()).map(|news| (news.task.clone(), news.state)));
    }

    /// A task as it is wanted, which may need any that came before and itself.
    fn wanted(&self, number: usize, run: u32, new: &New) -> Entry {
        let New { role: of, priority, needs, on_failure, waits } = new;
        let before = self.came.max(1);
        let on_failure =
            [OnDependencyFailure::Block, OnDependencyFailure::Skip, OnDependencyFailure::Run][usize::from(*on_failure)];
        Entry {
            task: id(number),
            run,
            role: role(*of),
            story: (priority % 3 > 0).then(|| format!("S-{}", priority % 3).into()),
            plan: None,
            priority: Priority::read(&priority.to_string()).unwrap(),
            enqueued_at: Timestamp(self.now),
            not_before: (*waits == 1).then_some(Timestamp(self.now + 30)),
            needs: needs.iter().map(|need| id(usize::from(*need) % before)).collect(),
            on_failure,
            hold: (*waits == 2).then(|| "BUILD".into()),
            parked: *waits == 3,
        }
    }

    async fn enqueue(&mut self, tasks: &[New]) {
        let entries = tasks.iter().enumerate().map(|(place, new)| self.wanted(self.came + place, 1, new)).collect();
        self.came += tasks.len();
        self.put(entries).await;
    }

    /// One that came before, and the run that is there by now.
    fn one_of(&self, which: u8) -> (usize, u32) {
        let number = usize::from(which) % self.came.max(1);
        (number, self.runs.get(&id(number)).copied().unwrap_or(1))
    }

    async fn again(&mut self, which: u8, new: &New) {
        let (number, run) = self.one_of(which);
        self.put(vec![self.wanted(number, run + 1, new)]).await;
    }

    async fn amend(&mut self, which: u8, new: &New) {
        let (number, run) = self.one_of(which);
        let entry = self.wanted(number, run, new);
        let told = self.board.amend(entry.clone(), &self.ended);
        assert_eq!(self.queue.amend(entry, self.ended.clone()).await, told);
        self.note(&told);
    }

    async fn claim(&mut self, of: u8, most: usize, most_per_story: usize, by: u8) {
        let claim = Claim { role: role(of), most, most_per_story, holder: holder(by) };
        let claimed = self.board.claim(&claim, Timestamp(self.now));
        assert_eq!(self.queue.claim(&claim).await.unwrap(), claimed);
        self.held.extend(claimed.into_iter().map(|claimed| claimed.lease));
    }

    async fn adopt(&mut self, which: u8, by: u8) {
        let (number, run) = self.one_of(which);
        let (task, by) = (id(number), holder(by));
        let adopted = self.board.adopt(&task, run, &by, Timestamp(self.now));
        assert_eq!(self.queue.adopt(&task, run, &by).await, adopted);
        self.held.extend(adopted);
    }

    async fn take_back(&mut self, by: u8) {
        let back = self.board.take_back(&holder(by));
        assert_eq!(self.queue.take_back(&holder(by)).await.unwrap(), back);
    }

    async fn report(&mut self, which: u8, what: u8) {
        if self.held.is_empty() {
            return;
        }
        let lease = self.held[usize::from(which) % self.held.len()].clone();
        let report = match what {
            0 | 1 => Report::Completed,
            2 => Report::Failed,
            3 => Report::Retry { not_before: Timestamp(self.now + 20) },
            4 => Report::Released,
            5 => Report::Dispatched,
            6 => Report::Cancelled,
            _ => Report::Parked,
        };
        let told = self.board.report(&lease, &report);
        assert_eq!(self.queue.report(&lease, report.clone()).await, told);
        if told.is_ok() {
            match report {
                Report::Completed => drop(self.ended.insert(lease.task, QueueState::Completed)),
                Report::Failed => drop(self.ended.insert(lease.task, QueueState::Failed)),
                Report::Cancelled => drop(self.ended.insert(lease.task, QueueState::Cancelled)),
                _ => {}
            }
        }
        self.note(&told);
    }

    async fn beat(&mut self, which: u8) {
        let leases: Vec<Lease> = self.held.iter().skip(usize::from(which) % 4).cloned().collect();
        let lost = self.board.heartbeat(&leases, Timestamp(self.now));
        assert_eq!(self.queue.heartbeat(&leases).await.unwrap(), lost);
    }

    async fn ask(&mut self, which: u8, what: u8) {
        let (number, _) = self.one_of(which);
        let task = id(number);
        let request = match what {
            0 => Request::Cancel,
            1 => Request::Park,
            _ => Request::Release,
        };
        let told = self.board.request(&task, &request);
        assert_eq!(self.queue.request(&task, request.clone()).await, told);
        if told.is_ok() && request == Request::Cancel {
            self.ended.entry(task).or_insert(QueueState::Cancelled);
        }
        self.note(&told);
    }

    async fn phase(&mut self, story: u8) {
        let story = format!("S-{story}");
        let opened = self.board.open_phase(&story, "BUILD");
        assert_eq!(self.queue.open_phase(&story, "BUILD").await.unwrap(), opened);
    }

    async fn compare(&mut self) {
        assert_eq!(self.queue.list(&ALL).await.unwrap(), self.board.list(&ALL));
        assert_eq!(&self.queue.counts().await.unwrap(), self.board.counts());
        for row in self.board.list(&ALL) {
            self.came_to_run(row.entry.task, row.entry.run);
        }
    }

    /// The board is asked twice: a lease that runs out may bring back a task that was adopted before its time, which
    /// stands with those that wait until time passes again.
    async fn due(&mut self) {
        self.board.pass(Timestamp(self.now));
        self.board.pass(Timestamp(self.now));
        assert_eq!(self.queue.next_due().await.unwrap(), self.board.next_due());
    }

    /// Nothing that is over and forgotten, and nothing of an empty lane, is left behind.
    async fn finish(mut self) {
        self.pass(1_000).await;
        for row in self.board.list(&ALL) {
            let told = self.board.request(&row.entry.task, &Request::Cancel);
            assert_eq!(self.queue.request(&row.entry.task, Request::Cancel).await, told);
        }
        self.compare().await;
        if !self.board.list(&ALL).is_empty() {
            return;
        }
        let mut connection = self.server.connection().await;
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
        // How runs ended is kept for those that were away.
        let lasting = ["", ":now", ":c", ":v", ":a", ":u"].map(|name| format!("{{moothall}}{name}"));
        let left: Vec<&String> =
            keys.iter().filter(|key| !lasting.contains(key) && !key.contains(":r:") && !key.contains(":f:")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_server_does_what_the_board_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Arc::new(runtime.block_on(Server::start()));
    let acts = prop::collection::vec(any_act(), 1..60);
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }, |(acts in acts)| {
        runtime.block_on(async {
            let mut play = Play::new(&server).await;
            for act in &acts {
                play.act(act).await;
            }
            play.finish().await;
        });
    });
}
