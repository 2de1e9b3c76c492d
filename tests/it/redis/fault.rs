//! What goes wrong around a queue: lost answers, silence, restarts, data that went back in time, no server at all.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use moothall::redis::{Address, RedisQueue, Settings};
use moothall_actors::domain::id::RunId;
use moothall_actors::domain::queue::{OnDependencyFailure, QueueState};
use moothall_actors::ports::queue::{QueueError, Report, Request, TaskQueue};
use moothall_actors::ports::shared::{Ending, QueueHealth as State, SharedQueue};
use tokio::time::Instant;

use super::proxy::Proxy;
use super::server::{Server, is_unavailable, queue, settings, trust, until, word};
use crate::place;
use crate::queue::told::{claim, entry, id, is_stale, names, needing, news, put, request, run, state};

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again_and_nothing_is_done_twice() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.port).await;
    let queue = queue(proxy.port);
    trust(&queue).await;
    proxy.lose(2);
    put(&queue, vec![entry("a", 1), entry("b", 2), needing("c", &["a"], OnDependencyFailure::Skip)]).await;
    assert_eq!(proxy.cuts(), 2);
    proxy.lose(3);
    let first = claim(&queue, 1).await;
    assert_eq!((names(&first), proxy.cuts()), (vec!["a"], 5));
    assert_eq!(names(&claim(&queue, 9).await), ["b"], "the lost claims took nothing else");
    proxy.lose(1);
    let changed = queue.report(&first[0].lease, Report::Failed).await.unwrap();
    assert_eq!(news(&changed), [("c", QueueState::Skipped, "a")], "not stale, although it had been done");
    proxy.lose(1);
    queue.request(&id("b"), Request::Cancel).await.unwrap();
    assert_eq!(proxy.cuts(), 7);
    assert!(queue.counts().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_is_silent_for_three_seconds_is_waited_for_and_does_nothing_twice() {
    let server = Server::start().await;
    let own = Settings { patience: Duration::from_millis(500), ..settings(server.port) };
    let queue = RedisQueue::new(own).unwrap();
    trust(&queue).await;
    put(&queue, (0..20).map(|number| entry(&format!("t{number:02}"), number)).collect()).await;
    server.stop();
    let silent_for = Duration::from_secs(3);
    let began = Instant::now();
    let wakes = async {
        tokio::time::sleep_until(began + silent_for).await;
        server.go_on();
    };
    let (claimed, ()) = tokio::join!(claim(&queue, 2), wakes);
    assert!(began.elapsed() >= silent_for, "nobody can have answered before");
    assert_eq!(names(&claimed), ["t00", "t01"]);
    // Tries that were given up reach the server late, and are not carried out again.
    until("all tries have arrived", || async { queue.counts().await.is_ok() }).await;
    assert_eq!(names(&claim(&queue, 1).await), ["t02"]);
    assert!(queue.heartbeat(&[claimed[0].lease.clone()]).await.unwrap().is_empty());
}

#[tokio::test]
async fn whoever_gives_up_its_report_holds_up_nobody_elses() {
    const TASKS: usize = 100;
    let server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    put(&queue, (0..TASKS).map(|number| entry(&format!("t{number:03}"), number as u64)).collect()).await;
    let held = claim(&queue, TASKS).await;
    // The server knows the script from here on, so that the next call is one request.
    queue.report(&held[0].lease, Report::Completed).await.unwrap();
    server.stop();
    let given_up = tokio::time::timeout(Duration::from_millis(200), queue.report(&held[1].lease, Report::Completed));
    let others = join_all(held[2..].iter().map(|claimed| queue.report(&claimed.lease, Report::Completed)));
    let wakes = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.go_on();
    };
    let (given_up, others, ()) = tokio::join!(given_up, others, wakes);
    assert!(given_up.is_err(), "nobody can have answered");
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    until("what was given up has arrived", || async { queue.counts().await.unwrap().is_empty() }).await;
}

#[tokio::test]
async fn a_start_without_a_server_waits_for_nothing_and_the_queue_comes_when_the_server_does() {
    let mut server = Server::start().await;
    server.kill();
    let own = Settings { deadline: Duration::from_millis(300), ..settings(server.port) };
    let queue = RedisQueue::new(own).unwrap();
    assert!(matches!(queue.health(), State::Degraded { .. }));
    let began = Instant::now();
    for _ in 0..5 {
        assert!(is_unavailable(&queue.claim(&request("here", 1)).await));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "a call ends by its deadline");
    let State::Degraded { why } = queue.health() else { panic!("it cannot be healthy") };
    assert!(why.contains("refused"), "{why}");
    server.run().await;
    until("the queue is found", || async { queue.reassert(Vec::new(), BTreeMap::new()).await.is_ok() }).await;
    put(&queue, vec![entry("a", 1)]).await;
    assert_eq!((names(&claim(&queue, 1).await), queue.health()), (vec!["a"], State::Healthy));
}

#[tokio::test]
async fn a_restart_refuses_old_fences_and_claims_until_the_journal_has_spoken() {
    let mut server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    put(&queue, vec![entry("a", 1), entry("b", 2), entry("c", 3), entry("d", 4)]).await;
    let before = queue.claim(&request("one", 2)).await.unwrap();
    queue.report(&before[1].lease, Report::Dispatched).await.unwrap();
    server.kill();
    server.run().await;
    assert!(is_stale(&queue.report(&before[0].lease, Report::Completed).await));
    assert!(is_stale(&queue.finish(&before[0].lease, Report::Completed, &word("done")).await));
    assert_eq!(queue.heartbeat(&[before[0].lease.clone()]).await.unwrap(), [before[0].lease.clone()]);
    let Err(QueueError::Unavailable { why, .. }) = queue.claim(&request("two", 1)).await else { panic!("claimed") };
    assert!(why.contains("started anew"), "{why}");
    assert!(is_unavailable(&queue.enqueue(vec![entry("e", 5)], BTreeMap::new()).await));
    assert!(is_unavailable(&queue.renew(&"one".into()).await));
    // What is missing comes back, what has ended goes, a later run goes on as that.
    let ending = Ending { state: QueueState::Completed, event: "".into() };
    let ended = BTreeMap::from([(RunId { task: id("c"), run: 1 }, ending)]);
    let known = vec![entry("a", 1), entry("b", 2), run(2, entry("d", 4)), entry("missing", 5)];
    queue.reassert(known, ended).await.unwrap();
    assert_eq!(queue.health(), State::Healthy);
    let back = queue.renew(&"one".into()).await.unwrap();
    assert_eq!(names(&back), ["a", "b"]);
    assert!(back.iter().all(|claimed| claimed.lease.fence > before[1].lease.fence));
    assert_eq!(state(&queue, "b").await, Some(QueueState::Dispatched));
    let others = queue.claim(&request("two", 9)).await.unwrap();
    assert_eq!((names(&others), others[0].lease.run), (vec!["d", "missing"], 2));
    queue.report(&back[1].lease, Report::Completed).await.unwrap();
}

#[tokio::test]
async fn data_that_vanishes_under_a_running_server_is_missed() {
    let server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    put(&queue, vec![entry("a", 1)]).await;
    let held = claim(&queue, 1).await;
    server.forget_everything().await;
    assert!(is_stale(&queue.report(&held[0].lease, Report::Completed).await));
    let Err(QueueError::Unavailable { why, .. }) = queue.claim(&request("here", 1)).await else { panic!("claimed") };
    assert!(why.contains("nothing is known"), "{why}");
    queue.reassert(vec![entry("a", 1)], BTreeMap::new()).await.unwrap();
    assert!(claim(&queue, 1).await[0].lease.fence > held[0].lease.fence);
}

#[tokio::test]
async fn a_number_below_ones_own_highest_begins_a_new_epoch() {
    let server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    put(&queue, vec![entry("a", 1), entry("b", 1)]).await;
    let held = claim(&queue, 2).await;
    let mut connection = server.connection().await;
    let _: () = redis::cmd("HSET").arg("{moothall}").arg("fence").arg(1).query_async(&mut connection).await.unwrap();
    let Err(QueueError::Unavailable { why, .. }) = queue.claim(&request("here", 1)).await else { panic!("claimed") };
    assert!(why.contains("went back"), "{why}");
    trust(&queue).await;
    assert!(is_stale(&queue.report(&held[1].lease, Report::Completed).await));
    assert!(queue.renew(&"here".into()).await.unwrap().iter().all(|back| back.lease.fence > held[1].lease.fence));
}

#[tokio::test]
async fn a_wrong_password_is_said_and_never_shown() {
    let server = Server::start().await;
    let mut connection = server.connection().await;
    let set = ["SET", "requirepass", "right-secret"];
    let _: () = redis::cmd("CONFIG").arg(&set).query_async(&mut connection).await.unwrap();
    let with = |password: &str| {
        let address = Address::parse(&format!("redis://:{password}@{}:{}", place::own(), server.port)).unwrap();
        RedisQueue::new(Settings { deadline: Duration::from_millis(500), ..Settings::new(address) }).unwrap()
    };
    let error = with("wrong-secret").claim(&request("here", 1)).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    let queue = with("right-secret");
    until("the queue is found", || async { queue.reassert(Vec::new(), BTreeMap::new()).await.is_ok() }).await;
}
