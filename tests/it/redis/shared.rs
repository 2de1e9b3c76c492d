//! Several daemons on one server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use moothall::redis::{RedisQueue, Settings};
use moothall_actors::domain::id::RunId;
use moothall_actors::domain::queue::{Entry, OnDependencyFailure, QueueState};
use moothall_actors::ports::queue::{QueueError, Report, Request, TaskQueue};
use moothall_actors::ports::shared::{Ending, Published, SharedQueue};

use super::server::{Server, is_unavailable, nobody_told, queue, settings, trust, unpublished, whose, word};
use crate::queue::told::{claim, entry, id, is_stale, lease, names, needing, news, put, request, state};

fn told(server: &Server) -> RedisQueue {
    RedisQueue::with_told_time(settings(server.port)).unwrap()
}

#[tokio::test]
async fn two_daemons_share_the_work_and_each_task_is_done_once() {
    const TASKS: usize = 400;
    let server = Server::start().await;
    let daemons = [queue(server.port), queue(server.port)].map(Arc::new);
    trust(&*daemons[0]).await;
    put(&*daemons[0], (0..TASKS).map(|number| entry(&format!("t{number}"), 1)).collect()).await;
    let work = |queue: Arc<RedisQueue>, holder: &'static str| async move {
        let mut done = Vec::new();
        loop {
            let claimed = queue.claim(&request(holder, 3)).await.unwrap();
            if claimed.is_empty() {
                return done;
            }
            for claimed in claimed {
                queue.report(&claimed.lease, Report::Completed).await.unwrap();
                done.push(claimed.lease.task);
            }
        }
    };
    let [one, two] = daemons.clone();
    let (one, two) = tokio::join!(work(one, "one"), work(two, "two"));
    assert!(!one.is_empty() && !two.is_empty());
    assert_eq!(one.len() + two.len(), TASKS);
    assert_eq!(one.iter().chain(&two).collect::<BTreeSet<_>>().len(), TASKS);
    assert!(daemons[1].counts().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lease_that_nobody_keeps_is_taken_over_and_its_result_is_refused() {
    let server = Server::start().await;
    let (one, two) = (told(&server), told(&server));
    server.tell_time(100_000).await;
    trust(&one).await;
    put(&one, vec![entry("a", 1), entry("b", 2), entry("c", 3)]).await;
    let held = one.claim(&request("one", 3)).await.unwrap();
    one.report(&lease(&held, "c"), Report::Dispatched).await.unwrap();
    server.tell_time(130_000).await;
    assert!(two.claim(&request("two", 9)).await.unwrap().is_empty(), "a lease holds for thirty seconds");
    assert!(one.heartbeat(&[lease(&held, "a")]).await.unwrap().is_empty());
    server.tell_time(130_001).await;
    let taken = two.claim(&request("two", 9)).await.unwrap();
    assert_eq!(names(&taken), ["b"], "one was kept, one is carried out elsewhere");
    assert!(is_stale(&one.report(&lease(&held, "b"), Report::Completed).await));
    assert!(is_stale(&one.finish(&lease(&held, "b"), Report::Completed, &word("mine")).await));
    assert!(unpublished(&one).await.is_empty());
    let all: Vec<_> = held.iter().map(|claimed| claimed.lease.clone()).collect();
    assert_eq!(one.heartbeat(&all).await.unwrap(), [lease(&held, "b")]);
    two.report(&taken[0].lease, Report::Completed).await.unwrap();
}

#[tokio::test]
async fn a_holder_with_many_leases_renews_or_gives_back_its_own_and_nobody_elses() {
    let server = Server::start().await;
    let (before, other) = (queue(server.port), queue(server.port));
    trust(&before).await;
    put(&before, (0..600).map(|number| entry(&format!("t{number:03}"), number)).collect()).await;
    let own = before.claim(&request("one", 300)).await.unwrap();
    let others = other.claim(&request("two", 300)).await.unwrap();
    let after = queue(server.port);
    let renewed = after.renew(&"one".into()).await.unwrap();
    let mut tasks: Vec<&str> = names(&renewed);
    tasks.sort_unstable();
    assert_eq!(tasks, names(&own));
    assert!(is_stale(&before.report(&own[0].lease, Report::Completed).await), "the old one may still be there");
    after.report(&renewed[0].lease, Report::Completed).await.unwrap();
    other.report(&others[0].lease, Report::Completed).await.unwrap();
    assert!(after.renew(&"nobody".into()).await.unwrap().is_empty());
    let back = after.take_back("one").await.unwrap();
    let expected: Vec<_> = own[1..].iter().map(|claimed| claimed.lease.task.clone()).collect();
    assert_eq!(back, expected, "in the order of their ids, however many steps it took");
    assert_eq!(other.take_back("two").await.unwrap().len(), 299);
}

#[tokio::test]
async fn the_queue_makes_one_final_of_each_run_and_any_daemon_publishes_it() {
    let server = Server::start().await;
    let (one, two) = (queue(server.port), queue(server.port));
    trust(&one).await;
    put(&one, vec![entry("a", 1), needing("b", &["a"], OnDependencyFailure::Block), entry("c", 9)]).await;
    let held = claim(&one, 9).await;
    let event = word("binary \0 and ü");
    let expected = [("b", QueueState::Queued, "a")];
    let changed = one.finish(&lease(&held, "a"), Report::Completed, &event).await.unwrap();
    assert_eq!(news(&changed), expected);
    let again = one.finish(&lease(&held, "a"), Report::Completed, &word("another")).await.unwrap();
    assert_eq!(news(&again), expected, "the same lease is answered the same");
    assert!(is_stale(&one.report(&lease(&held, "a"), Report::Failed).await));
    let released = one.finish(&lease(&held, "c"), Report::Released, &word("none")).await;
    assert!(matches!(released, Err(QueueError::WrongState { .. })), "{released:?}");
    two.finish(&lease(&held, "c"), Report::Failed, &word("failed")).await.unwrap();
    let finals = unpublished(&two).await;
    let runs: Vec<RunId> = finals.iter().map(|made| made.run.clone()).collect();
    assert_eq!(runs, [RunId { task: id("a"), run: 1 }, RunId { task: id("c"), run: 1 }]);
    assert_eq!(
        (whose(&finals[0]), finals[0].fence, finals[1].state),
        ("binary \0 and ü".to_owned(), held[0].lease.fence, QueueState::Failed)
    );
    assert_eq!(two.unpublished(1).await.unwrap().finals, finals[..1]);
    two.published(two.epoch(), &[nobody_told(runs[0].clone())]).await.unwrap();
    two.published(two.epoch(), &[nobody_told(runs[0].clone())]).await.unwrap();
    assert_eq!(unpublished(&one).await, finals[1..]);
    let again = one.finish(&lease(&held, "a"), Report::Completed, &word("another")).await.unwrap();
    assert_eq!(news(&again), expected, "also when it is published");
    assert_eq!(unpublished(&one).await.len(), 1);
}

#[tokio::test]
async fn ends_that_the_stream_of_events_has_lost_are_published_again() {
    let server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    put(&queue, ["a", "b", "c", "d"].map(|id| entry(id, 1)).to_vec()).await;
    for claimed in claim(&queue, 9).await {
        queue.finish(&claimed.lease, Report::Completed, &word("done")).await.unwrap();
    }
    let finals = unpublished(&queue).await;
    let place = |at: usize, sequence| Published { run: finals[at].run.clone(), id: finals[at].id, sequence };
    // Acknowledged out of turn; nobody is told of the last.
    let out = [place(0, 5), place(1, 9), place(2, 7), place(3, 0)];
    queue.published(queue.epoch(), &out).await.unwrap();
    let mut placed = Vec::new();
    while let Some(end) = queue.published_before(placed.len()).await.unwrap() {
        placed.push(end);
    }
    assert_eq!(placed, [place(1, 9), place(2, 7), place(0, 5)]);
    assert_eq!(queue.unpublish(9).await.unwrap(), 0);
    assert_eq!(queue.unpublish(5).await.unwrap(), 2);
    assert_eq!(unpublished(&queue).await, finals[1..3], "in the order in which they ended");
    assert_eq!(queue.published_before(0).await.unwrap(), Some(place(0, 5)));
    queue.published(queue.epoch(), &[place(1, 6), place(2, 7)]).await.unwrap();
    assert_eq!(queue.published_before(0).await.unwrap(), Some(place(2, 7)));
    assert!(unpublished(&queue).await.is_empty());
}

#[tokio::test]
async fn a_run_whose_final_stands_in_the_queue_is_not_put_back() {
    let mut server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    put(&queue, vec![entry("a", 1)]).await;
    let held = claim(&queue, 1).await;
    queue.finish(&held[0].lease, Report::Completed, &word("done")).await.unwrap();
    server.kill();
    server.run().await;
    // This journal has not heard of the end yet.
    let known = vec![entry("a", 1), needing("b", &["a"], OnDependencyFailure::Block)];
    queue.reassert(known, BTreeMap::new()).await.unwrap();
    assert_eq!(names(&claim(&queue, 9).await), ["b"]);
    assert_eq!(unpublished(&queue).await.len(), 1, "and its final is still there to be published");
}

#[tokio::test]
async fn daemons_with_journals_of_their_own_each_speak_before_they_claim() {
    let mut server = Server::start().await;
    let own = || RedisQueue::new(Settings { each_reasserts: true, ..settings(server.port) }).unwrap();
    let (one, two) = (own(), own());
    trust(&one).await;
    put(&one, vec![entry("a", 1), entry("b", 1)]).await;
    assert!(is_unavailable(&two.claim(&request("two", 1)).await));
    trust(&two).await;
    assert_eq!(names(&two.claim(&request("two", 1)).await.unwrap()), ["a"]);
    server.kill();
    server.run().await;
    trust(&two).await;
    assert!(is_unavailable(&one.claim(&request("one", 1)).await));
    let ending = Ending { state: QueueState::Completed, event: "".into() };
    let ended = BTreeMap::from([(RunId { task: id("b"), run: 1 }, ending)]);
    one.reassert(Vec::new(), ended).await.unwrap();
    assert!(one.claim(&request("one", 1)).await.unwrap().is_empty(), "its journal knew better");
}

#[tokio::test]
async fn a_long_journal_is_put_back_in_steps_in_any_order() {
    const TASKS: usize = 1_500;
    let server = Server::start().await;
    let queue = queue(server.port);
    let link = |number: usize| {
        let needs = number.checked_sub(1).map(|before| id(&format!("t{before:04}"))).into_iter().collect();
        Entry { needs, ..entry(&format!("t{number:04}"), 1) }
    };
    let mut known: Vec<Entry> = (0..TASKS).map(link).collect();
    known.reverse();
    queue.reassert(known.clone(), BTreeMap::new()).await.unwrap();
    queue.reassert(known, BTreeMap::new()).await.unwrap();
    assert_eq!(queue.counts().await.unwrap().values().sum::<usize>(), TASKS);
    assert_eq!(names(&claim(&queue, 9).await), ["t0000"]);
    let unknown = vec![needing("x", &["nobody"], OnDependencyFailure::Block)];
    let refused = queue.reassert(unknown, BTreeMap::new()).await;
    assert_eq!(refused, Err(QueueError::UnknownNeeds(vec![id("nobody")])));
}

#[tokio::test]
async fn a_chain_of_any_length_is_skipped_in_one_step() {
    const LENGTH: usize = 10_000;
    let server = Server::start().await;
    let patient = Duration::from_secs(120);
    let own = Settings { deadline: patient, patience: patient, ..settings(server.port) };
    let queue = RedisQueue::new(own).unwrap();
    trust(&queue).await;
    let link = |number: usize| {
        let needs = number.checked_sub(1).map(|before| id(&format!("t{before}"))).into_iter().collect();
        Entry { needs, on_failure: OnDependencyFailure::Skip, ..entry(&format!("t{number}"), 1) }
    };
    put(&queue, (0..LENGTH).map(link).collect()).await;
    let claimed = claim(&queue, 1).await;
    let changed = queue.report(&claimed[0].lease, Report::Failed).await.unwrap();
    assert_eq!(changed.len(), LENGTH - 1);
    assert!(queue.counts().await.unwrap().is_empty(), "nobody waits for any of them");
}

#[tokio::test]
async fn time_that_brings_more_than_fits_into_one_step_is_taken_in_several() {
    const TASKS: usize = 2_000;
    let server = Server::start().await;
    let queue = told(&server);
    server.tell_time(1_000).await;
    trust(&queue).await;
    put(&queue, (0..TASKS).map(|number| entry(&format!("t{number:04}"), 1)).collect()).await;
    assert_eq!(claim(&queue, TASKS).await.len(), TASKS);
    server.tell_time(100_000).await;
    assert_eq!(names(&claim(&queue, 1).await), ["t0000"], "the first of all that came back");
    let counts = queue.counts().await.unwrap();
    assert_eq!(counts.values().sum::<usize>(), TASKS);
    assert_eq!(counts.values().max(), Some(&(TASKS - 1)));
}

#[tokio::test]
async fn a_later_run_leaves_behind_what_only_the_earlier_one_needed() {
    let server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    put(&queue, vec![entry("a", 1), needing("b", &["a"], OnDependencyFailure::Block)]).await;
    let held = claim(&queue, 1).await;
    queue.report(&held[0].lease, Report::Failed).await.unwrap();
    put(&queue, vec![needing("waits", &["b"], OnDependencyFailure::Block)]).await;
    queue.request(&id("b"), Request::Cancel).await.unwrap();
    put(&queue, vec![Entry { run: 2, ..entry("b", 1) }]).await;
    assert_eq!(state(&queue, "a").await, None, "nobody waits for it any more");
    assert_eq!(names(&claim(&queue, 9).await), ["b"]);
}
