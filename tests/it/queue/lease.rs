//! Who holds what, and what time does to it.

use std::sync::Arc;

use moothall_actors::domain::id::Timestamp;
use moothall_actors::domain::queue::{Entry, Fence, OnDependencyFailure, QueueState};
use moothall_actors::ports::queue::{Lease, QueueError, Report, Request};

use super::told::{claim, entry, id, is_stale, lease, names, needing, put, request, run, state};
use super::{BEGIN, Stage};

/// The length of a lease.
const LEASE: u64 = 30_000;

pub(crate) async fn an_old_fence_is_refused_whatever_it_says(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("a", 1)]).await;
    let first = claim(queue, 1).await[0].lease.clone();
    queue.report(&first, Report::Released).await.unwrap();
    let second = claim(queue, 1).await[0].lease.clone();
    assert!(second.fence > first.fence);
    let stale = Err(QueueError::Stale { task: id("a"), fence: first.fence });
    let retry = Report::Retry { not_before: Timestamp(1) };
    let end = [Report::Completed, Report::Failed, Report::Cancelled];
    for report in end.into_iter().chain([Report::Released, Report::Parked, Report::Dispatched, retry]) {
        assert_eq!(queue.report(&first, report.clone()).await, stale, "{report:?}");
    }
    assert_eq!(queue.heartbeat(&[first.clone(), second.clone()]).await.unwrap(), [first]);
    let never = Fence { epoch: u64::MAX, number: u64::MAX };
    let made_up = Lease { fence: never, ..second.clone() };
    assert!(is_stale(&queue.report(&made_up, Report::Completed).await));
    let other_run = Lease { run: 2, ..second.clone() };
    assert!(is_stale(&queue.report(&other_run, Report::Completed).await));
    queue.request(&id("a"), Request::Cancel).await.unwrap();
    assert!(is_stale(&queue.report(&second, Report::Completed).await));
}

pub(crate) async fn a_lease_without_a_heartbeat_runs_out_and_the_task_is_claimed_anew(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("a", 1), entry("b", 2)]).await;
    let held = queue.claim(&request("one", 2)).await.unwrap();
    stage.tell_time(BEGIN + LEASE).await;
    assert!(queue.claim(&request("two", 2)).await.unwrap().is_empty(), "so long it holds");
    assert!(queue.heartbeat(&[lease(&held, "a")]).await.unwrap().is_empty());
    stage.tell_time(BEGIN + LEASE + 1).await;
    let taken = queue.claim(&request("two", 2)).await.unwrap();
    assert_eq!(names(&taken), ["b"]);
    assert!(taken[0].lease.fence > held[1].lease.fence);
    let leases: Vec<Lease> = held.iter().map(|claimed| claimed.lease.clone()).collect();
    assert_eq!(queue.heartbeat(&leases).await.unwrap(), [lease(&held, "b")]);
    assert!(is_stale(&queue.report(&lease(&held, "b"), Report::Completed).await));
    queue.report(&lease(&held, "a"), Report::Completed).await.unwrap();
    queue.report(&taken[0].lease, Report::Completed).await.unwrap();
}

pub(crate) async fn what_is_dispatched_is_held_for_ever(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("a", 1)]).await;
    let held = claim(queue, 1).await;
    queue.report(&held[0].lease, Report::Dispatched).await.unwrap();
    stage.tell_time(BEGIN + 100 * LEASE).await;
    assert!(queue.claim(&request("two", 9)).await.unwrap().is_empty());
    assert!(queue.heartbeat(&[held[0].lease.clone()]).await.unwrap().is_empty());
    assert!(queue.take_back("here").await.unwrap().is_empty(), "it is carried out elsewhere");
    queue.report(&held[0].lease, Report::Completed).await.unwrap();
}

pub(crate) async fn a_holder_goes_on_with_its_own_task_under_a_new_lease(stage: &dyn Stage) {
    let queue = stage.queue();
    let one: Arc<str> = "one".into();
    put(queue, vec![entry("held", 1), entry("waits", 2), needing("blocked", &["waits"], OnDependencyFailure::Block)])
        .await;
    let before = queue.claim(&request(&one, 1)).await.unwrap();
    let again = queue.adopt(&id("held"), 1, &one).await.unwrap();
    assert!(again.fence > before[0].lease.fence);
    assert!(is_stale(&queue.report(&before[0].lease, Report::Completed).await));
    for task in ["blocked", "waits"] {
        let lease = queue.adopt(&id(task), 1, &one).await.unwrap();
        assert_eq!(state(queue, task).await, Some(QueueState::InProgress));
        assert!(queue.heartbeat(&[lease]).await.unwrap().is_empty());
    }
    assert!(queue.claim(&request("two", 9)).await.unwrap().is_empty());
    stage.tell_time(BEGIN + LEASE / 2).await;
    let last = queue.adopt(&id("held"), 1, &one).await.unwrap();
    stage.tell_time(BEGIN + LEASE + 1).await;
    let taken = queue.claim(&request("two", 9)).await.unwrap();
    assert_eq!(names(&taken), ["waits"], "only what was adopted again is kept");
    queue.report(&last, Report::Completed).await.unwrap();
}

pub(crate) async fn a_task_that_has_moved_on_is_not_adopted(stage: &dyn Stage) {
    let queue = stage.queue();
    let one: Arc<str> = "one".into();
    put(queue, vec![entry("a", 1), run(3, entry("b", 2)), Entry { parked: true, ..entry("c", 3) }]).await;
    let wrong = |name, state| Err(QueueError::WrongState { task: id(name), state });
    assert_eq!(queue.adopt(&id("x"), 1, &one).await, Err(QueueError::Unknown { task: id("x") }));
    assert_eq!(queue.adopt(&id("b"), 2, &one).await, wrong("b", QueueState::Queued));
    assert_eq!(queue.adopt(&id("c"), 1, &one).await, wrong("c", QueueState::Parked));
    let others = queue.claim(&request("two", 1)).await.unwrap();
    assert_eq!(queue.adopt(&id("a"), 1, &one).await, wrong("a", QueueState::InProgress));
    queue.report(&others[0].lease, Report::Dispatched).await.unwrap();
    assert_eq!(queue.adopt(&id("a"), 1, &one).await, wrong("a", QueueState::Dispatched));
    let back = queue.adopt(&id("a"), 1, &"two".into()).await.unwrap();
    assert_eq!(state(queue, "a").await, Some(QueueState::InProgress), "its own comes back to work");
    assert!(is_stale(&queue.report(&others[0].lease, Report::Completed).await));
    queue.report(&back, Report::Completed).await.unwrap();
    assert_eq!(queue.adopt(&id("a"), 1, &one).await, Err(QueueError::Unknown { task: id("a") }));
}

pub(crate) async fn a_holder_that_starts_anew_gives_its_own_leases_back(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, (0..6).map(|number| entry(&format!("t{number}"), number)).collect()).await;
    let mut own = queue.claim(&request("one", 2)).await.unwrap();
    let others = queue.claim(&request("two", 1)).await.unwrap();
    own.extend(queue.claim(&request("one", 2)).await.unwrap());
    queue.report(&lease(&own, "t4"), Report::Dispatched).await.unwrap();
    assert_eq!(queue.take_back("one").await.unwrap(), [id("t0"), id("t1"), id("t3")]);
    assert!(queue.take_back("one").await.unwrap().is_empty());
    assert!(queue.take_back("nobody").await.unwrap().is_empty());
    assert!(is_stale(&queue.report(&own[0].lease, Report::Completed).await), "the old one may still be there");
    assert_eq!(names(&queue.claim(&request("one", 9)).await.unwrap()), ["t0", "t1", "t3", "t5"]);
    queue.report(&others[0].lease, Report::Completed).await.unwrap();
    queue.report(&lease(&own, "t4"), Report::Completed).await.unwrap();
}

pub(crate) async fn a_task_that_is_tried_again_waits_for_its_time(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("a", 1), entry("b", 2)]).await;
    let first = claim(queue, 2).await;
    let never = Timestamp(u64::MAX);
    queue.report(&first[0].lease, Report::Retry { not_before: never }).await.unwrap();
    assert_eq!((state(queue, "a").await, queue.next_due().await), (Some(QueueState::Queued), Ok(Some(never))));
    assert!(claim(queue, 1).await.is_empty());
    let soon = Timestamp(BEGIN + 20);
    queue.report(&first[1].lease, Report::Retry { not_before: soon }).await.unwrap();
    assert!(claim(queue, 9).await.is_empty());
    assert_eq!(queue.next_due().await, Ok(Some(soon)));
    stage.tell_time(soon.0).await;
    let again = claim(queue, 9).await;
    assert_eq!((names(&again), again[0].lease.run, again[0].entry.not_before), (vec!["b"], 2, None));
    assert_eq!(queue.next_due().await, Ok(Some(never)));
}

pub(crate) async fn what_keeps_failing_is_parked_under_its_next_run(stage: &dyn Stage) {
    let queue = stage.queue();
    put(queue, vec![entry("a", 1), needing("b", &["a"], OnDependencyFailure::Skip)]).await;
    let claimed = claim(queue, 1).await;
    assert!(queue.report(&claimed[0].lease, Report::Parked).await.unwrap().is_empty(), "what needs it waits on");
    assert!(claim(queue, 1).await.is_empty());
    assert!(queue.adopt(&id("a"), 2, &"here".into()).await.is_err());
    queue.request(&id("a"), Request::Release).await.unwrap();
    assert_eq!(claim(queue, 1).await[0].lease.run, 2);
}

pub(crate) async fn the_next_time_is_never_one_that_has_come(stage: &dyn Stage) {
    let queue = stage.queue();
    let at = |name: &str, due: u64| Entry { not_before: Some(Timestamp(due)), ..entry(name, 1) };
    put(queue, vec![at("past", BEGIN - 1), at("now", BEGIN), at("soon", BEGIN + 10), at("late", BEGIN + 20)]).await;
    assert_eq!(queue.next_due().await, Ok(Some(Timestamp(BEGIN + 10))));
    stage.tell_time(BEGIN + 10).await;
    assert_eq!(queue.next_due().await, Ok(Some(Timestamp(BEGIN + 20))));
    stage.tell_time(BEGIN + 21).await;
    assert_eq!(queue.next_due().await, Ok(None));
    let mut claimed = claim(queue, 9).await;
    claimed.sort_by(|one, other| one.lease.task.cmp(&other.lease.task));
    assert_eq!(names(&claimed), ["late", "now", "past", "soon"]);
}
