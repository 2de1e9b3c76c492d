//! Several replicas: whose prefix cache helps whom, and when that has to give way.

use std::collections::BTreeMap;
use std::sync::Arc;

use moothall::sim::{Behaviour, BehaviourChange, Fault, FaultKind, SimServer, SimSettings, SimStats};
use moothall::vllm::{Balance, PrefixCounts, StreamLimits, VllmModel, VllmSettings};
use moothall_actors::domain::id::{RunId, Stage, TaskId};
use moothall_actors::ports::{Model, ModelCall};
use tokio::task::JoinSet;

use super::{call, faults, model, settings, sim, until};

const REPLICAS: usize = 4;
const SEATS: u32 = 3;
const WAVES: [Stage; 3] = [Stage::Propose, Stage::Critique, Stage::Revise];
/// Every call of a deliberation but its first.
const IDEAL: f64 = 8.0 / 9.0;

/// A call of one deliberation: its prefix is its own.
fn call_of(task: usize, stage: Stage, seat: u32) -> ModelCall {
    let mut call = call(stage, seat);
    call.id.run = RunId { task: TaskId::parse("task", &format!("t-{task}")).unwrap(), run: 1 };
    ModelCall { shared: format!("You are one of three. The task is number {task}.\n").as_str().into(), ..call }
}

/// Servers with a prefix cache, and the adapter over all of them.
struct House {
    sims: Vec<SimServer>,
    model: Arc<VllmModel>,
}

impl House {
    async fn open(balance: Balance) -> Self {
        let mut sims = Vec::new();
        for _ in 0..REPLICAS {
            let behaviour = Behaviour { prefill_ms: 1, ..Behaviour::default() };
            sims.push(sim(SimSettings { behaviour, ..SimSettings::default() }).await);
        }
        let urls: Vec<_> = sims.iter().map(|sim| sim.url().unwrap()).collect();
        Self { sims, model: model(VllmSettings { balance, ..settings(&urls) }) }
    }

    /// All calls of one deliberation, wave by wave.
    async fn deliberate(self: Arc<Self>, task: usize) {
        for stage in WAVES {
            let calls = (1..=SEATS).map(|seat| {
                let (house, call) = (Arc::clone(&self), call_of(task, stage, seat));
                async move { house.model.complete(&call).await.unwrap() }
            });
            calls.collect::<JoinSet<_>>().join_all().await;
        }
    }

    fn stats(&self) -> Vec<SimStats> {
        self.sims.iter().map(SimServer::stats).collect()
    }

    /// Share of calls whose prefix the servers had, of the share that is possible.
    fn of_ideal(&self) -> f64 {
        let sum = |count: fn(&SimStats) -> u64| self.stats().iter().map(count).sum::<u64>() as f64;
        sum(|stats| stats.prefix_hits) / sum(|stats| stats.prefix_hits + stats.prefix_misses) / IDEAL
    }

    /// Which server each task's calls went to; a task that went to several is with each of them.
    fn tasks(&self) -> Vec<BTreeMap<usize, u64>> {
        let of = |stats: SimStats| {
            let mut tasks = BTreeMap::new();
            for (call, count) in stats.by_call {
                let task = call.split_once('/').and_then(|(task, _)| task.strip_prefix("t-")?.parse().ok()).unwrap();
                *tasks.entry(task).or_default() += count.started;
            }
            tasks
        };
        self.stats().into_iter().map(of).collect()
    }

    /// The place of the server that the task's first call went to.
    fn home(&self, task: usize) -> usize {
        self.tasks().iter().position(|tasks| tasks.contains_key(&task)).unwrap()
    }
}

#[tokio::test]
async fn a_deliberation_stays_with_one_replica_while_none_is_busy() {
    let house = Arc::new(House::open(Balance::Prefix).await);
    for task in 0..24 {
        Arc::clone(&house).deliberate(task).await;
    }
    let tasks = house.tasks();
    assert!(tasks.iter().flat_map(BTreeMap::values).all(|&calls| calls == 9), "{tasks:?}");
    assert!(tasks.iter().filter(|tasks| !tasks.is_empty()).count() > 1, "{tasks:?}");
    assert!((house.of_ideal() - 1.0).abs() < 1e-9);
    let states = house.model.replica_states();
    let sum = |count: fn(&PrefixCounts) -> u64| states.iter().map(|state| count(&state.prefix)).sum::<u64>();
    assert_eq!((sum(|counts| counts.home), sum(|counts| counts.moved)), (24 * 9, 0));
}

#[tokio::test]
async fn under_load_four_fifths_of_the_possible_hits_are_left() {
    let house = Arc::new(House::open(Balance::Prefix).await);
    for round in 0..4 {
        let together: JoinSet<_> = (0..32).map(|task| Arc::clone(&house).deliberate(round * 32 + task)).collect();
        together.join_all().await;
    }
    assert!(house.of_ideal() >= 0.8, "{}", house.of_ideal());
    // No server is left out or swamped.
    assert!(house.stats().iter().all(|stats| stats.calls >= 4 * 32 * 9 / 16), "{:?}", house.tasks());
}

#[tokio::test]
async fn a_busy_home_gives_its_calls_to_the_next_in_order() {
    let house = Arc::new(House::open(Balance::Prefix).await);
    house.model.complete(&call_of(0, Stage::Propose, 1)).await.unwrap();
    let home = house.home(0);
    house.sims[home].set(faults(vec![Fault::always(FaultKind::Hang)]));
    let held: Vec<_> = (1..=12)
        .map(|seat| {
            let model = Arc::clone(&house.model);
            tokio::spawn(async move { model.complete(&call_of(0, Stage::Revise, seat)).await })
        })
        .collect();
    // Four more than the mean of all that are under way.
    until("the bound was met", || {
        let states = house.model.replica_states();
        let finished: u64 = house.stats().iter().map(|stats| stats.finished).sum();
        finished + states[home].outstanding as u64 == 13
    })
    .await;
    let states = house.model.replica_states();
    assert!((5..=8).contains(&states[home].outstanding), "{states:?}");
    assert_eq!(states.iter().map(|state| state.prefix.moved).sum::<u64>(), 12 - states[home].outstanding as u64);
    // The others went to one and the same.
    assert_eq!(house.tasks().iter().filter(|tasks| !tasks.is_empty()).count(), 2, "{:?}", house.tasks());
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn only_the_deliberations_of_a_replica_that_is_gone_move() {
    let house = Arc::new(House::open(Balance::Prefix).await);
    for task in 0..24 {
        house.model.complete(&call_of(task, Stage::Propose, 1)).await.unwrap();
    }
    let homes: Vec<_> = (0..24).map(|task| house.home(task)).collect();
    let gone = homes[0];
    house.sims[gone].set(faults(vec![Fault::always(FaultKind::Drop)]));
    house.sims.iter().for_each(SimServer::reset);
    for task in 0..24 {
        house.model.complete(&call_of(task, Stage::Critique, 1)).await.unwrap();
    }
    let finished: Vec<u64> = house.stats().iter().map(|stats| stats.finished).collect();
    assert_eq!((finished[gone], finished.iter().sum::<u64>()), (0, 24));
    for (task, home) in homes.into_iter().enumerate().filter(|(_, home)| *home != gone) {
        assert!(house.tasks()[home].contains_key(&task), "task {task} left its home");
    }
}

#[tokio::test]
async fn each_call_goes_to_the_least_busy_replica_when_told_so() {
    let house = Arc::new(House::open(Balance::LeastOutstanding).await);
    for task in 0..4 {
        Arc::clone(&house).deliberate(task).await;
    }
    // Four replicas in turn: each reads nearly every prefix.
    assert!(house.tasks().iter().all(|tasks| tasks.len() == 4), "{:?}", house.tasks());
    let states = house.model.replica_states();
    assert!(states.iter().all(|state| (state.prefix.home, state.prefix.moved) == (0, 0)), "{states:?}");
}

#[tokio::test]
async fn cached_tokens_are_counted_as_the_server_says_them() {
    let sim = sim(SimSettings::default()).await;
    for stream in [None, Some(StreamLimits::default())] {
        let model = model(VllmSettings { stream, ..settings(&[sim.url().unwrap()]) });
        let counts = || model.replica_states()[0].prefix;
        sim.set(BehaviourChange { prefill_ms: Some(0), ..BehaviourChange::default() });
        model.complete(&call_of(1, Stage::Propose, 1)).await.unwrap();
        let (silent, prompt) = (counts(), counts().prompt_tokens);
        assert_eq!((silent.cached_tokens, silent.home, prompt > 0), (0, 0, true));
        sim.set(BehaviourChange { prefill_ms: Some(1), ..BehaviourChange::default() });
        // One prefix each, whatever the cache held before.
        let task = 2 + usize::from(stream.is_some());
        for seat in 1..=3 {
            model.complete(&call_of(task, Stage::Propose, seat)).await.unwrap();
        }
        let shared = call_of(task, Stage::Propose, 1).shared.len().div_ceil(4) as u64;
        assert_eq!(counts().cached_tokens, 2 * shared);
        assert!(counts().prompt_tokens > prompt + 3 * shared);
    }
}
