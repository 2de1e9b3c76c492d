//! What waits for what.

use std::collections::BTreeMap;
use std::sync::Arc;

use moothall_actors::domain::queue::{Entry, OnDependencyFailure, QueueState};
use moothall_actors::ports::queue::{Report, Request};

use super::Stage;
use super::told::{claim, entry, id, lease, names, needing, news, of_story, put, run, state};

const BLOCK: OnDependencyFailure = OnDependencyFailure::Block;
const SKIP: OnDependencyFailure = OnDependencyFailure::Skip;

pub(crate) async fn a_task_runs_when_all_that_it_needs_is_completed(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("a", 1), entry("b", 1), needing("c", &["a", "b"], BLOCK)]).await;
    assert_eq!(state(queue, "c").await, Some(QueueState::Blocked));
    let claimed = claim(queue, 9).await;
    assert_eq!(names(&claimed), ["a", "b"]);
    assert!(queue.report(&lease(&claimed, "a"), Report::Completed).await.unwrap().is_empty());
    let changed = queue.report(&lease(&claimed, "b"), Report::Completed).await.unwrap();
    assert_eq!(news(&changed), [("c", QueueState::Queued, "b")]);
    assert_eq!(names(&claim(queue, 9).await), ["c"]);
    assert_eq!((state(queue, "a").await, state(queue, "b").await), (None, None), "nobody waits for them any more");
}

pub(crate) async fn a_failed_need_blocks_skips_or_is_passed_over(stage: &dyn Stage) {
    let queue = stage.queue();
    let entries = vec![
        entry("a", 1),
        needing("blocked", &["a"], BLOCK),
        needing("skipped", &["a"], SKIP),
        needing("run", &["a"], OnDependencyFailure::Run),
        needing("behind", &["skipped"], SKIP),
    ];
    put(queue, entries).await;
    let claimed = claim(queue, 9).await;
    let changed = queue.report(&lease(&claimed, "a"), Report::Failed).await.unwrap();
    let expected = [
        ("blocked", QueueState::Blocked, "a"),
        ("run", QueueState::Queued, "a"),
        ("skipped", QueueState::Skipped, "a"),
        ("behind", QueueState::Skipped, "skipped"),
    ];
    assert_eq!(news(&changed), expected);
    assert_eq!(names(&claim(queue, 9).await), ["run"]);
}

pub(crate) async fn what_was_cancelled_counts_as_failed(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("a", 1), entry("b", 2), needing("c", &["a", "b"], SKIP), needing("d", &["b"], BLOCK)]).await;
    let claimed = claim(queue, 9).await;
    let changed = queue.report(&lease(&claimed, "a"), Report::Cancelled).await.unwrap();
    assert_eq!(news(&changed), [("c", QueueState::Skipped, "a")]);
    let changed = queue.request(&id("b"), Request::Cancel).await.unwrap();
    assert_eq!(news(&changed), [("d", QueueState::Blocked, "b")], "and with it its lease");
    assert!(queue.report(&lease(&claimed, "b"), Report::Completed).await.is_err());
    assert_eq!((state(queue, "a").await, state(queue, "b").await), (None, Some(QueueState::Cancelled)));
}

pub(crate) async fn a_later_run_of_the_failed_one_releases_those_that_it_blocked(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("a", 1), needing("b", &["a"], BLOCK)]).await;
    let claimed = claim(queue, 9).await;
    queue.report(&lease(&claimed, "a"), Report::Failed).await.unwrap();
    let changed = queue.enqueue(vec![run(2, entry("a", 1))], BTreeMap::new()).await.unwrap();
    assert!(changed.is_empty(), "it waits as before");
    let again = claim(queue, 9).await;
    assert_eq!((names(&again), again[0].lease.run), (vec!["a"], 2));
    let changed = queue.report(&again[0].lease, Report::Completed).await.unwrap();
    assert_eq!(news(&changed), [("b", QueueState::Queued, "a")]);
}

pub(crate) async fn what_ended_before_counts_as_its_caller_says(stage: &dyn Stage) {
    let queue = stage.queue();
    let ended = BTreeMap::from([(id("done"), QueueState::Completed), (id("bad"), QueueState::Cancelled)]);
    let entries = vec![needing("a", &["done"], BLOCK), needing("b", &["done", "bad"], BLOCK)];
    queue.enqueue(entries, ended).await.unwrap();
    let states = (state(queue, "a").await, state(queue, "b").await);
    assert_eq!(states, (Some(QueueState::Queued), Some(QueueState::Blocked)));
    put(queue, vec![run(2, entry("bad", 1))]).await;
    let claimed = claim(queue, 9).await;
    let changed = queue.report(&lease(&claimed, "bad"), Report::Completed).await.unwrap();
    assert_eq!(news(&changed), [("b", QueueState::Queued, "bad")]);
}

pub(crate) async fn a_phase_releases_what_waited_for_it(stage: &dyn Stage) {
    let queue = stage.queue();
    let held = |name: &str, story: &str| Entry { hold: Some(Arc::from("BUILD")), ..of_story(name, story) };
    let held_and_needing = Entry { needs: vec![id("b")], ..held("c", "A") };
    put(queue, vec![held("a", "A"), held("b", "B"), held_and_needing]).await;
    assert!(claim(queue, 9).await.is_empty());
    assert!(queue.open_phase("A", "TEST").await.unwrap().is_empty());
    assert_eq!(queue.open_phase("A", "BUILD").await.unwrap(), [id("a"), id("c")]);
    assert!(queue.open_phase("A", "BUILD").await.unwrap().is_empty());
    let claimed = claim(queue, 9).await;
    assert_eq!((names(&claimed), claimed[0].entry.hold.clone()), (vec!["a"], None));
    assert_eq!(state(queue, "c").await, Some(QueueState::Blocked), "it needs one that waits for a phase itself");
}

pub(crate) async fn a_next_run_with_other_needs_leaves_nothing_of_the_old_ones(stage: &dyn Stage) {
    let queue = stage.queue();
    let entries = vec![entry("x", 1), entry("y", 1), needing("a", &["x", "y"], BLOCK), needing("b", &["a"], BLOCK)];
    put(queue, entries).await;
    queue.request(&id("a"), Request::Cancel).await.unwrap();
    queue.request(&id("x"), Request::Cancel).await.unwrap();
    put(queue, vec![run(2, needing("a", &["x"], BLOCK))]).await;
    assert_eq!(state(queue, "a").await, Some(QueueState::Blocked), "x was cancelled");
    let claimed = claim(queue, 9).await;
    queue.report(&lease(&claimed, "y"), Report::Completed).await.unwrap();
    assert_eq!((state(queue, "y").await, state(queue, "x").await), (None, Some(QueueState::Cancelled)));
    put(queue, vec![run(2, entry("x", 1))]).await;
    let claimed = claim(queue, 9).await;
    let changed = queue.report(&lease(&claimed, "x"), Report::Completed).await.unwrap();
    assert_eq!(news(&changed), [("a", QueueState::Queued, "x")]);
}
