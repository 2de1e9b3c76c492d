//! What comes into the queue, what takes its place, and what is asked of it.

use std::collections::BTreeMap;

use moothall_actors::domain::id::Timestamp;
use moothall_actors::domain::queue::{Entry, OnDependencyFailure, Priority, QueueState};
use moothall_actors::ports::queue::{Filter, QueueError, Report, Request};

use super::told::{amend, claim, entry, id, is_stale, known, lease, names, needing, news, put, run, state};
use super::{BEGIN, Stage};

const BLOCK: OnDependencyFailure = OnDependencyFailure::Block;

pub(crate) async fn all_are_taken_or_none(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("old", 1)]).await;
    let unknown = vec![entry("a", 1), needing("b", &["nobody"], BLOCK)];
    assert_eq!(queue.enqueue(unknown, BTreeMap::new()).await, Err(QueueError::UnknownNeeds(vec![id("nobody")])));
    let circle = vec![needing("a", &["b"], BLOCK), needing("b", &["a"], BLOCK), needing("c", &["b"], BLOCK)];
    let error = queue.enqueue(circle, BTreeMap::new()).await.unwrap_err();
    assert_eq!(error, QueueError::UnknownNeeds(vec![id("a"), id("b"), id("c")]));
    let many = (0..1_000).map(|number| entry(&number.to_string(), 1)).collect();
    assert_eq!(queue.enqueue(many, BTreeMap::new()).await, Err(QueueError::Full { most: 1_000 }));
    let both = vec![run(2, entry("old", 1)), needing("c", &["nobody"], BLOCK)];
    assert!(queue.enqueue(both, BTreeMap::new()).await.is_err());
    let claimed = claim(queue, 9).await;
    assert_eq!((names(&claimed), claimed[0].lease.run), (vec!["old"], 1));
    queue.report(&claimed[0].lease, Report::Completed).await.unwrap();
    assert_eq!(known(queue).await, 0);
}

pub(crate) async fn the_same_again_changes_nothing(stage: &dyn Stage) {
    let queue = stage.queue();
    let entries = || vec![entry("a", 1), needing("b", &["a"], BLOCK)];
    put(queue, entries()).await;
    let claimed = claim(queue, 9).await;
    assert!(queue.enqueue(entries(), BTreeMap::new()).await.unwrap().is_empty());
    assert!(claim(queue, 9).await.is_empty());
    assert_eq!(known(queue).await, 2);
    queue.report(&lease(&claimed, "a"), Report::Parked).await.unwrap();
    for request in [Request::Release, Request::Release, Request::Park, Request::Park] {
        assert!(queue.request(&id("a"), request).await.unwrap().is_empty());
    }
    assert_eq!(state(queue, "a").await, Some(QueueState::Parked));
    queue.enqueue(entries(), BTreeMap::new()).await.unwrap();
    assert_eq!(state(queue, "a").await, Some(QueueState::Parked), "an earlier run by now");
}

pub(crate) async fn a_later_run_takes_the_place_of_an_earlier_one_and_its_lease(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("a", 1), needing("b", &["a"], BLOCK)]).await;
    let first = claim(queue, 1).await;
    put(queue, vec![run(2, entry("a", 1))]).await;
    assert!(is_stale(&queue.report(&first[0].lease, Report::Completed).await));
    let second = claim(queue, 9).await;
    assert_eq!((names(&second), second[0].lease.run), (vec!["a"], 2));
    queue.report(&second[0].lease, Report::Completed).await.unwrap();
    assert_eq!(names(&claim(queue, 9).await), ["b"]);
    assert_eq!(known(queue).await, 1);
}

pub(crate) async fn a_later_run_takes_the_place_whatever_became_of_the_earlier_one(stage: &dyn Stage) {
    let queue = stage.queue();
    let tasks = ["blocked", "cancelled", "dispatched", "later", "parked", "queued"];
    let mut entries: Vec<Entry> = tasks.iter().map(|name| entry(name, 1)).collect();
    entries.extend([needing("waits", &tasks, BLOCK), entry("x", 1)]);
    entries[0].needs = vec![id("x")];
    entries[3].not_before = Some(Timestamp(BEGIN + 1));
    put(queue, entries).await;
    let claimed = claim(queue, 9).await;
    queue.report(&lease(&claimed, "dispatched"), Report::Dispatched).await.unwrap();
    queue.report(&lease(&claimed, "parked"), Report::Released).await.unwrap();
    queue.report(&lease(&claimed, "queued"), Report::Released).await.unwrap();
    queue.request(&id("parked"), Request::Park).await.unwrap();
    queue.request(&id("cancelled"), Request::Cancel).await.unwrap();
    put(queue, tasks.iter().map(|name| run(2, entry(name, 1))).collect()).await;
    let again = claim(queue, 9).await;
    let mut claimed: Vec<&str> = names(&again);
    claimed.sort_unstable();
    assert_eq!(claimed, tasks);
    assert!(again.iter().all(|claimed| claimed.lease.run == 2));
    for claimed in &again {
        queue.report(&claimed.lease, Report::Completed).await.unwrap();
    }
    assert_eq!(names(&claim(queue, 9).await), ["waits"]);
    assert_eq!(known(queue).await, 2, "that one, and x");
}

pub(crate) async fn what_waits_can_be_wanted_otherwise(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("a", 1), entry("b", 2), needing("c", &["b"], BLOCK)]).await;
    amend(queue, Entry { priority: Priority::CRITICAL, ..entry("b", 2) }).await.unwrap();
    amend(queue, needing("a", &["c"], BLOCK)).await.unwrap();
    amend(queue, Entry { parked: true, ..needing("c", &["b"], BLOCK) }).await.unwrap();
    let claimed = claim(queue, 9).await;
    assert_eq!((names(&claimed), claimed[0].entry.priority), (vec!["b"], Priority::CRITICAL));
    queue.report(&claimed[0].lease, Report::Completed).await.unwrap();
    assert_eq!(state(queue, "c").await, Some(QueueState::Parked));
    amend(queue, needing("c", &[], BLOCK)).await.unwrap();
    let claimed = claim(queue, 9).await;
    assert_eq!(names(&claimed), ["c"], "what is no longer wanted parked waits no longer");
    let changed = queue.report(&claimed[0].lease, Report::Completed).await.unwrap();
    assert_eq!(news(&changed), [("a", QueueState::Queued, "c")]);
    assert_eq!(names(&claim(queue, 9).await), ["a"]);
    assert_eq!(known(queue).await, 1);
}

pub(crate) async fn what_is_amended_in_vain_stays_as_it_was(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("a", 1), needing("b", &["a"], BLOCK)]).await;
    assert_eq!(amend(queue, entry("d", 2)).await, Err(QueueError::Unknown { task: id("d") }));
    let error = amend(queue, needing("b", &["nobody"], BLOCK)).await.unwrap_err();
    assert_eq!(error, QueueError::UnknownNeeds(vec![id("nobody")]));
    let error = amend(queue, needing("b", &["b"], BLOCK)).await.unwrap_err();
    assert_eq!(error, QueueError::UnknownNeeds(vec![id("b")]), "it cannot wait for itself");
    let error = amend(queue, run(2, entry("a", 1))).await.unwrap_err();
    assert_eq!(error, QueueError::WrongState { task: id("a"), state: QueueState::Queued }, "another run");
    let rows = queue.list(&Filter { limit: 9, ..Filter::default() }).await.unwrap();
    let entries: Vec<Entry> = rows.into_iter().map(|row| row.entry).collect();
    assert_eq!(entries, [entry("a", 1), needing("b", &["a"], BLOCK)]);
    let claimed = claim(queue, 9).await;
    for (report, now) in [(Report::Dispatched, QueueState::InProgress), (Report::Failed, QueueState::Dispatched)] {
        let error = amend(queue, entry("a", 1)).await.unwrap_err();
        assert_eq!(error, QueueError::WrongState { task: id("a"), state: now });
        queue.report(&claimed[0].lease, report).await.unwrap();
    }
    let error = amend(queue, entry("a", 1)).await.unwrap_err();
    assert_eq!(error, QueueError::WrongState { task: id("a"), state: QueueState::Failed });
}

pub(crate) async fn what_comes_parked_waits_until_it_is_released(stage: &dyn Stage) {
    let queue = stage.queue();
    let parked = Entry { parked: true, ..needing("b", &["a"], BLOCK) };
    put(queue, vec![Entry { parked: true, ..entry("a", 1) }, parked]).await;
    assert!(claim(queue, 9).await.is_empty());
    let rows = queue.list(&Filter { state: Some(QueueState::Parked), limit: 9, ..Filter::default() }).await.unwrap();
    assert!(rows.iter().all(|row| row.entry.parked), "{rows:?}");
    let changed = queue.request(&id("b"), Request::Release).await.unwrap();
    assert_eq!(news(&changed), []);
    assert_eq!(state(queue, "b").await, Some(QueueState::Blocked), "it needs the other one");
    queue.request(&id("a"), Request::Release).await.unwrap();
    let claimed = claim(queue, 9).await;
    assert_eq!((names(&claimed), claimed[0].entry.parked), (vec!["a"], false));
}

pub(crate) async fn only_what_can_be_asked_of_a_state_is_done(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("a", 1), needing("b", &["a"], BLOCK)]).await;
    let wrong = |state| Err(QueueError::WrongState { task: id("a"), state });
    claim(queue, 1).await;
    for request in [Request::Park, Request::Release] {
        assert_eq!(queue.request(&id("a"), request.clone()).await, wrong(QueueState::InProgress), "{request:?}");
    }
    assert_eq!(queue.request(&id("x"), Request::Park).await, Err(QueueError::Unknown { task: id("x") }));
    let changed = queue.request(&id("a"), Request::Cancel).await.unwrap();
    assert_eq!(news(&changed), [("b", QueueState::Blocked, "a")]);
    assert!(queue.request(&id("a"), Request::Cancel).await.unwrap().is_empty(), "it is so already");
    for request in [Request::Park, Request::Release] {
        assert_eq!(queue.request(&id("a"), request.clone()).await, wrong(QueueState::Cancelled), "{request:?}");
    }
}
