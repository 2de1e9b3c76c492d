//! What goes wrong at a server, and how often it is asked again.

use std::time::Duration;

use moothall::sim::{Fault, FaultKind, SimServer, SimSettings};
use moothall::vllm::{Balance, BreakerSettings, BreakerState, Retry, VllmSettings};
use moothall_actors::domain::answer::Class;
use moothall_actors::ports::{Model, ModelCall};

use super::{faults, model, model_of, proposal, settings, sim_with, until};

fn busy(times: Option<u64>, retry_after: Option<u64>) -> Fault {
    let status = FaultKind::Status { status: 429, retry_after, location: None, message: None };
    Fault { times, ..Fault::always(status) }
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    use FaultKind::{Cut, Drop, EmptyChoices, Garbage, HalfJson, NoContent};
    let sim = sim_with(Vec::new()).await;
    let model = model_of(&sim);
    for what in [FaultKind::status(500), FaultKind::status(503), Garbage, HalfJson, EmptyChoices, NoContent, Drop, Cut]
    {
        sim.reset();
        sim.set(faults(vec![Fault::first(2, what.clone())]));
        let answer = model.complete(&proposal()).await.unwrap();
        // A kept connection that is dropped is replaced at once; that request counts like the others.
        assert_eq!(u64::from(answer.attempts), sim.stats().calls, "{what:?}");
        assert_eq!(sim.stats().calls, 3, "{what:?}");
    }
}

#[tokio::test]
async fn what_does_not_pass_fails_with_its_cause() {
    let cases = [
        (FaultKind::status(500), "status 500 Internal Server Error: simulated failure"),
        (FaultKind::Garbage, "answered without a usable message"),
        (FaultKind::NoContent, "answered without a usable message"),
        (FaultKind::Cut, "connection lost"),
    ];
    for (what, cause) in cases {
        let sim = sim_with(vec![Fault::always(what)]).await;
        let failure = model_of(&sim).complete(&proposal()).await.unwrap_err();
        assert_eq!((failure.class, failure.attempts), (Class::Transient, 4), "{failure}");
        assert!(failure.message.contains(cause), "{failure}");
        assert!(failure.message.starts_with(sim.url().unwrap().as_str().trim_end_matches('/')), "{failure}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let gone = {
        let sim = sim_with(Vec::new()).await;
        let url = sim.url().unwrap();
        sim.shutdown().await;
        url
    };
    let failure = model(settings(&[gone])).complete(&proposal()).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts), (Class::Transient, 4));
    assert!(failure.message.contains("cannot connect: Connection refused"), "{failure}");
}

#[tokio::test]
async fn a_call_never_takes_more_requests_than_it_may() {
    let sim = sim_with(vec![Fault::always(FaultKind::status(500))]).await;
    let failure = model_of(&sim).complete(&ModelCall { most_attempts: 2, ..proposal() }).await.unwrap_err();
    assert_eq!((failure.attempts, sim.stats().calls), (2, 2));
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_said() {
    let sim = sim_with(vec![busy(Some(1), Some(1))]).await;
    let answer = model_of(&sim).complete(&proposal()).await.unwrap();
    assert_eq!(answer.attempts, 2);
    assert!(answer.duration >= Duration::from_secs(1), "asked again too early");
}

#[tokio::test]
async fn a_busy_server_is_not_asked_again_when_that_would_be_too_late() {
    let sim = sim_with(vec![busy(None, Some(3600))]).await;
    let failure = model_of(&sim).complete(&proposal()).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts), (Class::Busy, 1));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(3600)));
}

#[tokio::test]
async fn a_server_that_stays_busy_is_busy_and_no_failure_of_the_server() {
    let sim = sim_with(vec![busy(None, None)]).await;
    let model = model_of(&sim);
    for _ in 0..3 {
        let failure = model.complete(&proposal()).await.unwrap_err();
        assert_eq!((failure.class, failure.attempts), (Class::Busy, 4));
    }
    assert_eq!(model.replica_states()[0].breaker, BreakerState::Closed);
}

#[tokio::test]
async fn a_model_that_says_nothing_is_no_failure_of_the_server() {
    let sim = sim_with(vec![Fault::always(FaultKind::NoContent)]).await;
    let model = model_of(&sim);
    for _ in 0..3 {
        let failure = model.complete(&proposal()).await.unwrap_err();
        assert_eq!((failure.class, failure.attempts), (Class::Transient, 4));
    }
    assert_eq!(model.replica_states()[0].breaker, BreakerState::Closed);
}

/// A call that ends in time only by its own limit, over a connection that stands already.
async fn assert_times_out(what: FaultKind) {
    let sim = sim_with(Vec::new()).await;
    let model = model_of(&sim);
    model.complete(&proposal()).await.unwrap();
    sim.set(faults(vec![Fault::always(what)]));
    let call = ModelCall { timeout: Duration::from_millis(100), ..proposal() };
    let failure = model.complete(&call).await.unwrap_err();
    assert_eq!((failure.class, failure.attempts), (Class::TimedOut, 1));
    until("the server saw it go", || sim.stats().aborted == 1).await;
}

#[tokio::test]
async fn an_answer_that_takes_too_long_has_timed_out() {
    assert_times_out(FaultKind::Hang).await;
}

#[tokio::test]
async fn a_dripping_answer_is_bounded_by_the_same_limit() {
    assert_times_out(FaultKind::Drip { every_ms: 50 }).await;
}

fn with_breaker(sim: &SimServer, open: Duration) -> VllmSettings {
    let breaker = BreakerSettings { failures: 5, open_first: open, open_most: open };
    VllmSettings { breaker, ..settings(&[sim.url().unwrap()]) }
}

#[tokio::test]
async fn a_broken_server_is_left_alone_after_five_failures() {
    let sim = sim_with(vec![Fault::always(FaultKind::status(500))]).await;
    let model = model(with_breaker(&sim, Duration::from_secs(3600)));
    for expected in [4, 5, 5] {
        let failure = model.complete(&proposal()).await.unwrap_err();
        assert_eq!(failure.class, Class::Transient);
        assert!(failure.message.contains("status 500"), "the cause is kept: {failure}");
        assert_eq!(sim.stats().calls, expected);
    }
    let state = &model.replica_states()[0];
    assert_eq!((state.breaker, state.requests, state.failures, state.outstanding), (BreakerState::Open, 5, 5, 0));
}

#[tokio::test]
async fn a_server_that_heals_is_asked_again_by_one_probe() {
    let sim = sim_with(vec![Fault::always(FaultKind::status(500))]).await;
    let model = model(with_breaker(&sim, Duration::from_millis(20)));
    model.complete(&proposal()).await.unwrap_err();
    model.complete(&proposal()).await.unwrap_err();
    sim.set(faults(Vec::new()));
    // Each of these calls may still find it open.
    let healed = async { while model.complete(&proposal()).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), healed).await.unwrap();
    assert_eq!(model.replica_states()[0].breaker, BreakerState::Closed);
}

#[tokio::test]
async fn a_server_that_comes_back_answers_the_calls_that_wait_for_it() {
    let first = sim_with(Vec::new()).await;
    let (addr, url) = (first.addr(), first.url().unwrap());
    let retry = Retry { times: 200, first: Duration::from_millis(20), last: Duration::from_millis(20) };
    let breaker =
        BreakerSettings { failures: 5, open_first: Duration::from_millis(20), open_most: Duration::from_millis(40) };
    let model = model(VllmSettings { retry, breaker, ..settings(&[url]) });
    model.complete(&proposal()).await.unwrap();
    first.shutdown().await;
    let asked = tokio::spawn({
        let model = model.clone();
        async move { model.complete(&ModelCall { most_attempts: 1000, ..proposal() }).await }
    });
    until("it was missed", || model.replica_states()[0].failures > 0).await;
    let second = SimServer::start(SimSettings { listen: addr, ..SimSettings::default() }).await.unwrap();
    asked.await.unwrap().unwrap();
    assert_eq!(second.stats().finished, 1);
}

fn least_outstanding(sims: &[&SimServer]) -> VllmSettings {
    let urls: Vec<_> = sims.iter().map(|sim| sim.url().unwrap()).collect();
    VllmSettings { balance: Balance::LeastOutstanding, ..settings(&urls) }
}

#[tokio::test]
async fn another_replica_is_asked_when_one_fails() {
    let (broken, well) = (sim_with(vec![Fault::always(FaultKind::status(500))]).await, sim_with(Vec::new()).await);
    let model = model(least_outstanding(&[&broken, &well]));
    for _ in 0..12 {
        assert!(model.complete(&proposal()).await.unwrap().attempts <= 2);
    }
    assert_eq!((broken.stats().calls, well.stats().finished), (5, 12));
}

#[tokio::test]
async fn calls_go_to_the_least_busy_replica() {
    let (slow, quick) = (sim_with(vec![Fault::first(1, FaultKind::Hang)]).await, sim_with(Vec::new()).await);
    let model = model(least_outstanding(&[&slow, &quick]));
    let held: Vec<_> = (0..2)
        .map(|_| {
            let model = model.clone();
            tokio::spawn(async move { model.complete(&proposal()).await })
        })
        .collect();
    until("one call hangs", || slow.stats().in_flight == 1 && quick.stats().finished == 1).await;
    until("its place is the only one taken", || model.replica_states()[1].outstanding == 0).await;
    for _ in 0..10 {
        model.complete(&proposal()).await.unwrap();
    }
    assert_eq!((slow.stats().calls, quick.stats().finished), (1, 11));
    held.iter().for_each(tokio::task::JoinHandle::abort);
}
