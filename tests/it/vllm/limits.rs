//! Bounds: calls at once, calls that wait, and calls that nobody waits for any more.

use std::sync::Arc;
use std::time::Duration;

use moothall::sim::{BehaviourChange, Fault, FaultKind, Latency, SimServer};
use moothall::vllm::{VllmModel, VllmSettings};
use moothall_actors::domain::answer::{Answer, Class, Failure};
use moothall_actors::domain::id::Stage;
use moothall_actors::ports::{Model, ModelCall};
use tokio::task::JoinHandle;

use super::{call, faults, model, model_of, proposal, settings, sim_with, until};

fn spawn(model: &Arc<VllmModel>, call: ModelCall) -> JoinHandle<Result<Answer, Failure>> {
    let model = Arc::clone(model);
    tokio::spawn(async move { model.complete(&call).await })
}

fn narrow(sim: &SimServer, calls: usize, waiting: usize) -> Arc<VllmModel> {
    model(VllmSettings { calls_per_replica: calls, waiting_per_replica: waiting, ..settings(&[sim.url().unwrap()]) })
}

#[tokio::test]
async fn a_cancelled_call_closes_its_connection() {
    let sim = sim_with(vec![Fault::always(FaultKind::Hang)]).await;
    let model = model_of(&sim);
    let asked = spawn(&model, proposal());
    until("the server has it", || sim.stats().in_flight == 1).await;
    asked.abort();
    until("the server saw it go", || sim.stats().aborted == 1 && sim.stats().in_flight == 0).await;
    let state = &model.replica_states()[0];
    assert_eq!((state.outstanding, state.failures), (0, 0), "leaving is no failure of the server");
}

#[tokio::test]
async fn no_more_calls_are_at_a_replica_than_it_may_have() {
    let sim = sim_with(Vec::new()).await;
    sim.set(BehaviourChange { latency: Some(Latency::Fixed { fixed_ms: 5 }), ..BehaviourChange::default() });
    let model = narrow(&sim, 3, 100);
    let asked: Vec<_> = (0..20).map(|seat| spawn(&model, call(Stage::Propose, seat))).collect();
    for one in asked {
        one.await.unwrap().unwrap();
    }
    assert_eq!((sim.stats().finished, sim.stats().highest_concurrency), (20, 3));
}

#[tokio::test]
async fn one_call_too_many_is_busy_at_once() {
    let sim = sim_with(vec![Fault::always(FaultKind::Hang)]).await;
    let model = narrow(&sim, 1, 1);
    let first = spawn(&model, proposal());
    until("the server has the first", || sim.stats().in_flight == 1).await;
    let second = spawn(&model, proposal());
    until("the second waits", || model.replica_states()[0].waiting == 1).await;
    let failure = model.complete(&proposal()).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts), (Class::Busy, 0));
    assert!(failure.retry_after.is_some());
    sim.set(faults(Vec::new()));
    first.abort();
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_that_waits_too_long_has_timed_out() {
    let sim = sim_with(vec![Fault::always(FaultKind::Hang)]).await;
    let model = narrow(&sim, 1, 1);
    let first = spawn(&model, proposal());
    until("the server has the first", || sim.stats().in_flight == 1).await;
    let late = ModelCall { timeout: Duration::from_millis(20), ..proposal() };
    let failure = model.complete(&late).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts), (Class::TimedOut, 0));
    first.abort();
}
