//! The server's data went back in time: an older copy of it stands there when it starts. Nothing that was acknowledged is
//! lost once the journal has been said, and nothing happens twice.

use std::collections::BTreeMap;

use moothall::redis::RedisQueue;
use moothall_actors::domain::id::RunId;
use moothall_actors::domain::queue::{Entry, OnDependencyFailure, Priority, QueueState};
use moothall_actors::ports::queue::{Claim, Filter, Report, Request, TaskQueue};
use moothall_actors::ports::shared::{Ending, SharedQueue};
use tempfile::TempDir;

use super::server::{Server, is_unavailable, nobody_told, queue, trust, unpublished, whose, word};
use crate::queue::told::{
    amend, claim, entry, id, is_stale, lease, names, needing, news, of_story, put, request, run, state,
};

const BLOCK: OnDependencyFailure = OnDependencyFailure::Block;

/// A copy of all that the server has acknowledged by now.
async fn copied(server: &mut Server, queue: &RedisQueue) -> TempDir {
    server.kill();
    let copy = server.copy_data();
    server.run().await;
    trust(queue).await;
    copy
}

/// The server as it was when the copy was made.
async fn roll_back(server: &mut Server, copy: &TempDir) {
    server.kill();
    server.put_back(copy);
    server.run().await;
}

fn ended<const N: usize>(runs: [(&str, u32, QueueState); N]) -> BTreeMap<RunId, Ending> {
    let ending = |state| Ending { state, event: "".into() };
    runs.into_iter().map(|(task, run, state)| (RunId { task: id(task), run }, ending(state))).collect()
}

async fn entries(queue: &RedisQueue) -> Vec<Entry> {
    let rows = queue.list(&Filter { limit: 99, ..Filter::default() }).await.unwrap();
    rows.into_iter().map(|row| row.entry).collect()
}

#[tokio::test]
async fn data_that_went_back_is_found_and_told_what_it_forgot() {
    let mut server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    put(&queue, vec![entry("a", 1), entry("b", 2)]).await;
    let old = copied(&mut server, &queue).await;
    let claimed = claim(&queue, 1).await;
    queue.report(&claimed[0].lease, Report::Completed).await.unwrap();
    put(&queue, vec![entry("c", 3)]).await;
    let held = claim(&queue, 1).await;
    let highest = queue.highest();
    roll_back(&mut server, &old).await;
    assert_eq!(state(&queue, "c").await, None, "the data did not go back");
    assert!(is_unavailable(&queue.claim(&request("here", 1)).await));
    assert!(is_stale(&queue.report(&held[0].lease, Report::Completed).await));
    queue.reassert(vec![entry("b", 2), entry("c", 3)], ended([("a", 1, QueueState::Completed)])).await.unwrap();
    let again = claim(&queue, 9).await;
    assert_eq!(names(&again), ["b", "c"], "what has ended does not run again");
    assert!(again[0].lease.fence > highest);
}

/// All that can be done to what waits, done behind the copy.
#[tokio::test]
async fn every_change_that_was_acknowledged_is_there_again() {
    let mut server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    let held = Entry { hold: Some("BUILD".into()), ..of_story("phase", "S") };
    let parked = |name| Entry { parked: true, ..entry(name, 2) };
    let before =
        ["amended", "cancelled", "given_back", "later", "parks", "retried", "skips"].map(|name| entry(name, 2));
    let mut before = before.to_vec();
    before.extend([entry("need", 9), needing("waits", &["need"], BLOCK), held, parked("released")]);
    put(&queue, before).await;
    let claimed = queue.claim(&request("one", 7)).await.unwrap();
    for claimed in claimed.iter().filter(|claimed| claimed.lease.task != id("given_back")) {
        queue.report(&claimed.lease, Report::Released).await.unwrap();
    }
    let old = copied(&mut server, &queue).await;
    queue.take_back("one").await.unwrap();
    let critical = |name| Entry { priority: Priority::CRITICAL, ..entry(name, 2) };
    amend(&queue, needing("amended", &["need"], BLOCK)).await.unwrap();
    amend(&queue, critical("given_back")).await.unwrap();
    queue.request(&id("cancelled"), Request::Cancel).await.unwrap();
    put(&queue, vec![run(2, entry("later", 2))]).await;
    queue.request(&id("parks"), Request::Park).await.unwrap();
    put(&queue, vec![run(2, entry("retried", 2))]).await;
    queue.request(&id("released"), Request::Release).await.unwrap();
    queue.open_phase("S", "BUILD").await.unwrap();
    amend(&queue, needing("waits", &["need", "later"], BLOCK)).await.unwrap();
    put(&queue, vec![entry("new", 3)]).await;
    let now = entries(&queue).await;
    let counts = queue.counts().await.unwrap();
    roll_back(&mut server, &old).await;
    assert_ne!(entries(&queue).await, now, "the data did not go back");
    queue.reassert(now.clone(), ended([("cancelled", 1, QueueState::Cancelled)])).await.unwrap();
    // What was at work in the old data is so until its lease is given back.
    queue.take_back("one").await.unwrap();
    assert_eq!(entries(&queue).await, now);
    assert_eq!(queue.counts().await.unwrap(), counts);
    queue.reassert(now.clone(), BTreeMap::new()).await.unwrap();
    assert_eq!(entries(&queue).await, now, "said again, it changes nothing");
    let claimed = queue.claim(&request("two", 99)).await.unwrap();
    assert_eq!(names(&claimed)[..2], ["phase", "given_back"], "as urgent as it was made, behind the story in turn");
    let mut tasks = names(&claimed);
    tasks.sort_unstable();
    assert_eq!(tasks, ["given_back", "later", "need", "new", "phase", "released", "retried", "skips"]);
}

#[tokio::test]
async fn needs_that_ended_since_the_copy_count_for_those_that_wait() {
    let mut server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    let before = ["done", "healed", "lost"].map(|name| entry(name, 1)).to_vec();
    put(&queue, before).await;
    let waits = ["done", "healed", "lost"].map(|need| needing(&format!("by-{need}"), &[need], BLOCK));
    put(&queue, waits.to_vec()).await;
    // Known from its caller alone, and failed when it was asked for.
    let elsewhere = BTreeMap::from([(id("elsewhere"), QueueState::Failed)]);
    queue.enqueue(vec![needing("by-elsewhere", &["elsewhere"], BLOCK)], elsewhere).await.unwrap();
    let claimed = claim(&queue, 9).await;
    queue.report(&lease(&claimed, "healed"), Report::Failed).await.unwrap();
    let old = copied(&mut server, &queue).await;
    let known = ended([
        ("done", 1, QueueState::Completed),
        ("healed", 2, QueueState::Completed),
        ("elsewhere", 2, QueueState::Completed),
        ("lost", 1, QueueState::Failed),
    ]);
    roll_back(&mut server, &old).await;
    let entries: Vec<Entry> = entries(&queue).await.into_iter().filter(|entry| !entry.needs.is_empty()).collect();
    assert_eq!(entries.len(), 4);
    let told = queue.reassert(entries, known).await.unwrap().changed;
    let expected = [
        ("by-done", QueueState::Queued, "done"),
        ("by-elsewhere", QueueState::Queued, "elsewhere"),
        ("by-healed", QueueState::Queued, "healed"),
        ("by-lost", QueueState::Blocked, "lost"),
    ];
    assert_eq!(news(&told), expected);
    assert_eq!(names(&claim(&queue, 9).await), ["by-done", "by-healed", "by-elsewhere"]);
}

#[tokio::test]
async fn what_ended_in_an_earlier_run_does_not_end_the_one_that_is_there() {
    let server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    put(&queue, vec![run(2, entry("a", 1))]).await;
    queue.reassert(Vec::new(), ended([("a", 1, QueueState::Failed)])).await.unwrap();
    let held = claim(&queue, 9).await;
    assert_eq!(held[0].lease.run, 2);
    queue.reassert(vec![entry("a", 1)], ended([("a", 1, QueueState::Failed)])).await.unwrap();
    queue.report(&held[0].lease, Report::Completed).await.unwrap();
}

/// The final stood in the queue's own outbox alone, and went with it; the verdict stands in a journal.
/// The word that an end is out may be on its way while the servers fall, those of the events among them.
#[tokio::test]
async fn an_end_that_was_published_before_the_data_went_back_is_published_again() {
    let mut server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    put(&queue, vec![entry("a", 1)]).await;
    let old = copied(&mut server, &queue).await;
    let held = claim(&queue, 1).await;
    queue.finish(&held[0].lease, Report::Completed, &word("of a")).await.unwrap();
    let seen = queue.unpublished(9).await.unwrap();
    assert_eq!((seen.epoch, seen.finals.len()), (held[0].lease.fence.epoch, 1));
    roll_back(&mut server, &old).await;
    let a = seen.finals[0].run.clone();
    let ending = Ending { state: QueueState::Completed, event: seen.finals[0].event.clone() };
    queue.reassert(Vec::new(), BTreeMap::from([(a.clone(), ending)])).await.unwrap();
    queue.published(seen.epoch, &[nobody_told(a.clone())]).await.unwrap();
    let again = queue.unpublished(9).await.unwrap();
    assert_eq!(again.finals.iter().map(|end| &end.run).collect::<Vec<_>>(), [&a], "it is to be published anew");
    queue.published(again.epoch, &[nobody_told(a)]).await.unwrap();
    assert!(unpublished(&queue).await.is_empty());
}

#[tokio::test]
async fn a_final_that_went_with_the_data_is_made_again_and_one_that_stayed_is_not() {
    let mut server = Server::start().await;
    let queue = queue(server.port);
    trust(&queue).await;
    put(&queue, vec![entry("a", 1), entry("b", 2), needing("c", &["a"], BLOCK)]).await;
    let held = queue.claim(&request("one", 9)).await.unwrap();
    queue.finish(&lease(&held, "b"), Report::Completed, &word("of b")).await.unwrap();
    let old = copied(&mut server, &queue).await;
    let renewed = queue.renew(&"one".into()).await.unwrap();
    queue.finish(&lease(&renewed, "a"), Report::Completed, &word("of a")).await.unwrap();
    let b = RunId { task: id("b"), run: 1 };
    queue.published(queue.epoch(), &[nobody_told(b.clone())]).await.unwrap();
    roll_back(&mut server, &old).await;
    let offered = unpublished(&queue).await;
    assert_eq!(
        (offered.len(), &offered[0].run, whose(&offered[0])),
        (1, &b, "of b".to_owned()),
        "the same event again"
    );
    // This journal knows of no end: it has the verdict of a, and nothing of b.
    let known = vec![entry("a", 1), entry("b", 2), needing("c", &["a"], BLOCK)];
    queue.reassert(known, BTreeMap::new()).await.unwrap();
    assert!(is_stale(&queue.finish(&lease(&renewed, "a"), Report::Completed, &word("of a")).await));
    let again = queue.adopt(&id("a"), 1, &"one".into()).await.unwrap();
    assert!(again.fence > lease(&renewed, "a").fence);
    let changed = queue.finish(&again, Report::Completed, &word("of a")).await.unwrap();
    assert_eq!(news(&changed), [("c", QueueState::Queued, "a")]);
    assert!(queue.adopt(&id("b"), 1, &"one".into()).await.is_err(), "it has ended");
    let offered: Vec<RunId> = unpublished(&queue).await.into_iter().map(|made| made.run).collect();
    assert_eq!(offered, [b, RunId { task: id("a"), run: 1 }], "one final for each run");
    let everything = Claim { holder: "two".into(), ..request("two", 9) };
    assert_eq!(names(&queue.claim(&everything).await.unwrap()), ["c"]);
}
