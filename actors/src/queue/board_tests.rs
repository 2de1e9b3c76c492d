//! Stories of the board, one rule each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::board::{Board, Limits};
use crate::domain::id::{Role, TaskId, Timestamp};
use crate::domain::queue::{Entry, Fence, OnDependencyFailure, Priority, QueueState};
use crate::ports::queue::{Claim, Claimed, Consequence, Filter, Lease, QueueError, Report, Request};

const LIMITS: Limits = Limits { age: Duration::from_millis(10), most: 1_000, lease: None };

fn id(name: &str) -> TaskId {
    TaskId::parse("task", name).unwrap()
}

fn dev() -> Role {
    Role::dev()
}

fn entry(name: &str, at: u64) -> Entry {
    Entry {
        task: id(name),
        run: 1,
        role: dev(),
        story: None,
        plan: None,
        priority: Priority::MEDIUM,
        enqueued_at: Timestamp(at),
        not_before: None,
        needs: Vec::new(),
        on_failure: OnDependencyFailure::Block,
        hold: None,
        parked: false,
    }
}

fn needing(name: &str, needs: &[&str], on_failure: OnDependencyFailure) -> Entry {
    Entry { needs: needs.iter().map(|need| id(need)).collect(), on_failure, ..entry(name, 1) }
}

fn board(entries: Vec<Entry>) -> Board {
    let mut board = Board::new(LIMITS, 1);
    board.enqueue(entries, &BTreeMap::new()).unwrap();
    board
}

fn claim(board: &mut Board, most: usize) -> Vec<Claimed> {
    let claim = Claim { role: dev(), most, most_per_story: usize::MAX, holder: "here".into() };
    board.claim(&claim, Timestamp(1_000))
}

fn names(claimed: &[Claimed]) -> Vec<&str> {
    claimed.iter().map(|claimed| claimed.lease.task.as_str()).collect()
}

fn state(board: &Board, name: &str) -> Option<QueueState> {
    let all = board.list(&Filter { limit: usize::MAX, ..Filter::default() });
    all.iter().find(|row| row.entry.task == id(name)).map(|row| row.state)
}

fn lease(claimed: &[Claimed], name: &str) -> Lease {
    claimed.iter().find(|claimed| claimed.lease.task == id(name)).unwrap().lease.clone()
}

fn news(changed: &[Consequence]) -> Vec<(&str, QueueState, &str)> {
    changed.iter().map(|news| (news.task.as_str(), news.state, news.cause.as_str())).collect()
}

#[test]
fn the_highest_priority_is_first_and_the_oldest_within() {
    let with = |name, at, priority| Entry { priority, ..entry(name, at) };
    let mut board = board(vec![
        with("low", 1, Priority::LOW),
        with("second", 20, Priority::HIGH),
        with("first", 10, Priority::HIGH),
        with("same", 20, Priority::HIGH),
    ]);
    assert_eq!(names(&claim(&mut board, 9)), ["first", "second", "same", "low"]);
}

#[test]
fn the_lowest_priority_is_overtaken_only_by_what_came_within_a_hundred_ages() {
    let with = |name, at, priority| Entry { priority, ..entry(name, at) };
    let bound = 99 * 10;
    let one = Priority::read("1").unwrap();
    let mut board = board(vec![
        with("lowest", 1, one),
        with("within", bound, Priority::CRITICAL),
        with("beyond", 1 + bound + 1, Priority::CRITICAL),
    ]);
    assert_eq!(names(&claim(&mut board, 9)), ["within", "lowest", "beyond"]);
}

#[test]
fn stories_take_turns_however_many_tasks_they_have() {
    let of = |name: &str, story: &str| Entry { story: Some(story.into()), ..entry(name, 1) };
    let mut board = board(vec![of("a1", "A"), of("a2", "A"), of("a3", "A"), of("b1", "B"), entry("c1", 1)]);
    assert_eq!(names(&claim(&mut board, 2)), ["c1", "a1"]);
    assert_eq!(names(&claim(&mut board, 9)), ["b1", "a2", "a3"]);
}

#[test]
fn a_story_has_no_more_in_progress_than_it_may() {
    let of = |name: &str, story: &str| Entry { story: Some(story.into()), ..entry(name, 1) };
    let mut board = board(vec![of("a1", "A"), of("a2", "A"), of("a3", "A"), of("b1", "B")]);
    let two = Claim { role: dev(), most: 9, most_per_story: 2, holder: "here".into() };
    let first = board.claim(&two, Timestamp(1));
    assert_eq!(names(&first), ["a1", "b1", "a2"]);
    assert!(board.claim(&two, Timestamp(1)).is_empty());
    board.report(&lease(&first, "a2"), &Report::Dispatched).unwrap();
    assert_eq!(names(&board.claim(&two, Timestamp(1))), ["a3"], "a dispatched task needs no agent");
}

#[test]
fn a_task_runs_when_all_that_it_needs_is_completed() {
    let mut board = board(vec![entry("a", 1), entry("b", 1), needing("c", &["a", "b"], OnDependencyFailure::Block)]);
    assert_eq!(state(&board, "c"), Some(QueueState::Blocked));
    let claimed = claim(&mut board, 9);
    assert_eq!(names(&claimed), ["a", "b"]);
    assert!(board.report(&lease(&claimed, "a"), &Report::Completed).unwrap().is_empty());
    let changed = board.report(&lease(&claimed, "b"), &Report::Completed).unwrap();
    assert_eq!(news(&changed), [("c", QueueState::Queued, "b")]);
    assert_eq!(names(&claim(&mut board, 9)), ["c"]);
    assert_eq!((state(&board, "a"), state(&board, "b")), (None, None), "nobody waits for them any more");
}

#[test]
fn a_failed_need_blocks_skips_or_is_passed_over() {
    let mut board = board(vec![
        entry("a", 1),
        needing("blocked", &["a"], OnDependencyFailure::Block),
        needing("skipped", &["a"], OnDependencyFailure::Skip),
        needing("run", &["a"], OnDependencyFailure::Run),
        needing("behind", &["skipped"], OnDependencyFailure::Skip),
    ]);
    let claimed = claim(&mut board, 9);
    let changed = board.report(&lease(&claimed, "a"), &Report::Failed).unwrap();
    let expected = [
        ("blocked", QueueState::Blocked, "a"),
        ("run", QueueState::Queued, "a"),
        ("skipped", QueueState::Skipped, "a"),
        ("behind", QueueState::Skipped, "skipped"),
    ];
    assert_eq!(news(&changed), expected);
    assert_eq!(names(&claim(&mut board, 9)), ["run"]);
}

#[test]
fn a_retry_of_the_failed_one_releases_those_that_it_blocked() {
    let mut board = board(vec![entry("a", 1), needing("b", &["a"], OnDependencyFailure::Block)]);
    let claimed = claim(&mut board, 9);
    board.report(&lease(&claimed, "a"), &Report::Failed).unwrap();
    board.enqueue(vec![Entry { run: 2, ..entry("a", 1) }], &BTreeMap::new()).unwrap();
    let again = claim(&mut board, 9);
    assert_eq!((names(&again), again[0].lease.run), (vec!["a"], 2));
    let changed = board.report(&again[0].lease, &Report::Completed).unwrap();
    assert_eq!(news(&changed), [("b", QueueState::Queued, "a")]);
}

#[test]
fn what_ended_before_counts_as_its_caller_says() {
    let mut board = Board::new(LIMITS, 1);
    let ended = BTreeMap::from([(id("done"), QueueState::Completed), (id("bad"), QueueState::Cancelled)]);
    let entries = vec![
        needing("a", &["done"], OnDependencyFailure::Block),
        needing("b", &["done", "bad"], OnDependencyFailure::Block),
    ];
    board.enqueue(entries, &ended).unwrap();
    assert_eq!((state(&board, "a"), state(&board, "b")), (Some(QueueState::Queued), Some(QueueState::Blocked)));
    board.enqueue(vec![Entry { run: 2, ..entry("bad", 1) }], &BTreeMap::new()).unwrap();
    let claimed = claim(&mut board, 9);
    let changed = board.report(&lease(&claimed, "bad"), &Report::Completed).unwrap();
    assert_eq!(news(&changed), [("b", QueueState::Queued, "bad")]);
}

#[test]
fn all_are_taken_or_none() {
    let mut board = board(vec![entry("old", 1)]);
    let block = OnDependencyFailure::Block;
    let unknown = vec![entry("a", 1), needing("b", &["nobody"], block)];
    assert_eq!(board.enqueue(unknown, &BTreeMap::new()), Err(QueueError::UnknownNeeds(vec![id("nobody")])));
    let circle = vec![needing("a", &["b"], block), needing("b", &["a"], block), needing("c", &["b"], block)];
    let error = board.enqueue(circle, &BTreeMap::new()).unwrap_err();
    assert_eq!(error, QueueError::UnknownNeeds(vec![id("a"), id("b"), id("c")]));
    let many = (0..1_000).map(|number| entry(&number.to_string(), 1)).collect();
    assert_eq!(board.enqueue(many, &BTreeMap::new()), Err(QueueError::Full { most: 1_000 }));
    assert_eq!((state(&board, "a"), state(&board, "old")), (None, Some(QueueState::Queued)));
}

#[test]
fn a_later_run_takes_the_place_of_an_earlier_one_and_its_lease() {
    let mut board = board(vec![entry("a", 1), needing("b", &["a"], OnDependencyFailure::Block)]);
    let first = claim(&mut board, 1);
    board.enqueue(vec![Entry { run: 2, ..entry("a", 1) }], &BTreeMap::new()).unwrap();
    assert!(board.report(&first[0].lease, &Report::Completed).is_err());
    let second = claim(&mut board, 9);
    assert_eq!((names(&second), second[0].lease.run), (vec!["a"], 2));
    board.report(&second[0].lease, &Report::Completed).unwrap();
    assert_eq!(names(&claim(&mut board, 9)), ["b"]);
    assert_eq!(board.counts().values().sum::<usize>(), 1);
}

#[test]
fn what_waits_can_be_wanted_otherwise() {
    let mut board = board(vec![entry("a", 1), entry("b", 2), needing("c", &["b"], OnDependencyFailure::Block)]);
    let amended = Entry { priority: Priority::CRITICAL, ..entry("b", 2) };
    board.amend(amended, &BTreeMap::new()).unwrap();
    board.amend(needing("a", &["c"], OnDependencyFailure::Block), &BTreeMap::new()).unwrap();
    let parked = Entry { parked: true, ..needing("c", &["b"], OnDependencyFailure::Block) };
    board.amend(parked, &BTreeMap::new()).unwrap();
    let claimed = claim(&mut board, 9);
    assert_eq!(names(&claimed), ["b"]);
    let error = board.amend(entry("b", 2), &BTreeMap::new()).unwrap_err();
    assert_eq!(error, QueueError::WrongState { task: id("b"), state: QueueState::InProgress });
    assert_eq!(board.amend(entry("d", 2), &BTreeMap::new()), Err(QueueError::Unknown { task: id("d") }));
    board.report(&claimed[0].lease, &Report::Completed).unwrap();
    assert_eq!(state(&board, "c"), Some(QueueState::Parked));
    board.request(&id("c"), &Request::Release).unwrap();
    let claimed = claim(&mut board, 9);
    board.report(&claimed[0].lease, &Report::Completed).unwrap();
    assert_eq!(names(&claim(&mut board, 9)), ["a"]);
    assert_eq!(board.counts().values().sum::<usize>(), 1);
}

#[test]
fn what_keeps_failing_is_parked_under_its_next_run() {
    let mut board = board(vec![entry("a", 1)]);
    let claimed = claim(&mut board, 1);
    board.report(&claimed[0].lease, &Report::Parked).unwrap();
    assert!(claim(&mut board, 1).is_empty());
    board.request(&id("a"), &Request::Release).unwrap();
    assert_eq!(claim(&mut board, 1)[0].lease.run, 2);
}

#[test]
fn the_same_again_changes_nothing() {
    let entries = || vec![entry("a", 1), needing("b", &["a"], OnDependencyFailure::Block)];
    let mut board = board(entries());
    let claimed = claim(&mut board, 9);
    assert!(board.enqueue(entries(), &BTreeMap::new()).unwrap().is_empty());
    assert!(claim(&mut board, 9).is_empty());
    assert_eq!(board.counts().values().sum::<usize>(), 2);
    board.report(&lease(&claimed, "a"), &Report::Parked).unwrap();
    for request in [Request::Release, Request::Release, Request::Park, Request::Park] {
        board.request(&id("a"), &request).unwrap();
    }
    assert_eq!(state(&board, "a"), Some(QueueState::Parked));
}

#[test]
fn an_old_fence_is_refused_whatever_it_says() {
    let mut board = board(vec![entry("a", 1)]);
    let first = claim(&mut board, 1)[0].lease.clone();
    board.report(&first, &Report::Released).unwrap();
    let second = claim(&mut board, 1)[0].lease.clone();
    assert!(second.fence > first.fence);
    let stale = Err(QueueError::Stale { task: id("a"), fence: Fence { epoch: 1, number: 1 } });
    for report in [Report::Completed, Report::Failed, Report::Released, Report::Parked, Report::Dispatched] {
        assert_eq!(board.report(&first, &report), stale, "{report:?}");
    }
    board.request(&id("a"), &Request::Cancel).unwrap();
    assert!(matches!(board.report(&second, &Report::Completed), Err(QueueError::Stale { .. })));
}

#[test]
fn a_lease_without_a_heartbeat_runs_out_and_the_task_is_claimed_anew() {
    let limits = Limits { lease: Some(Duration::from_millis(30)), ..LIMITS };
    let mut board = Board::new(limits, 1);
    board.enqueue(vec![entry("a", 1), entry("b", 2)], &BTreeMap::new()).unwrap();
    let request = |holder: &str, most| Claim { role: dev(), most, most_per_story: 9, holder: holder.into() };
    let held = board.claim(&request("one", 2), Timestamp(100));
    assert!(board.heartbeat(&[lease(&held, "a")], Timestamp(120)).is_empty());
    let taken = board.claim(&request("two", 2), Timestamp(140));
    assert_eq!(names(&taken), ["b"]);
    let leases: Vec<_> = held.iter().map(|claimed| claimed.lease.clone()).collect();
    assert_eq!(board.heartbeat(&leases, Timestamp(145)), [lease(&held, "b")]);
    assert!(board.report(&lease(&held, "b"), &Report::Completed).is_err());
    board.report(&lease(&held, "a"), &Report::Dispatched).unwrap();
    assert!(board.claim(&request("two", 2), Timestamp(10_000)).iter().all(|claimed| claimed.lease.task != id("a")));
}

#[test]
fn a_holder_that_starts_anew_gets_its_own_leases_back() {
    let mut board = board(vec![entry("a", 1), entry("b", 2)]);
    let request = |holder: &str| Claim { role: dev(), most: 1, most_per_story: 9, holder: holder.into() };
    board.claim(&request("one"), Timestamp(1));
    board.claim(&request("two"), Timestamp(1));
    assert_eq!(board.take_back("one"), [id("a")]);
    assert_eq!(names(&board.claim(&request("one"), Timestamp(2))), ["a"]);
}

#[test]
fn a_task_that_is_tried_again_waits_for_its_time() {
    let mut board = board(vec![entry("a", 1)]);
    let first = claim(&mut board, 1)[0].lease.clone();
    board.report(&first, &Report::Retry { not_before: Timestamp(2_000) }).unwrap();
    assert_eq!((state(&board, "a"), board.next_due()), (Some(QueueState::Queued), Some(Timestamp(2_000))));
    assert!(claim(&mut board, 1).is_empty());
    let request = Claim { role: dev(), most: 1, most_per_story: 9, holder: "here".into() };
    let again = board.claim(&request, Timestamp(2_000));
    assert_eq!((again[0].lease.run, again[0].entry.not_before, board.next_due()), (2, None, None));
}

#[test]
fn a_phase_releases_what_waited_for_it() {
    let held =
        |name: &str, story: &str| Entry { story: Some(story.into()), hold: Some(Arc::from("BUILD")), ..entry(name, 1) };
    let mut board = board(vec![held("a", "A"), held("b", "B")]);
    assert!(claim(&mut board, 9).is_empty());
    assert!(board.open_phase("A", "TEST").is_empty());
    assert_eq!(board.open_phase("A", "BUILD"), [id("a")]);
    assert_eq!(names(&claim(&mut board, 9)), ["a"]);
}

#[test]
fn only_what_can_be_asked_of_a_state_is_done() {
    let mut board = board(vec![entry("a", 1), needing("b", &["a"], OnDependencyFailure::Block)]);
    let wrong = |state| Err(QueueError::WrongState { task: id("a"), state });
    claim(&mut board, 1);
    for request in [Request::Park, Request::Release] {
        assert_eq!(board.request(&id("a"), &request), wrong(QueueState::InProgress), "{request:?}");
    }
    assert_eq!(board.request(&id("x"), &Request::Park), Err(QueueError::Unknown { task: id("x") }));
    let changed = board.request(&id("a"), &Request::Cancel).unwrap();
    assert_eq!(news(&changed), [("b", QueueState::Blocked, "a")]);
    assert_eq!(board.request(&id("a"), &Request::Release), wrong(QueueState::Cancelled));
}

#[test]
fn lists_go_on_behind_a_task_and_hold_what_was_asked_for() {
    let mut board = board((0..10).map(|number| entry(&format!("t{number}"), number)).collect());
    claim(&mut board, 3);
    let page = |after: Option<&str>, state| Filter { after: after.map(id), state, limit: 4, ..Filter::default() };
    let shown =
        |filter: &Filter| -> Vec<String> { board.list(filter).iter().map(|row| row.entry.task.to_string()).collect() };
    assert_eq!(shown(&page(None, None)), ["t0", "t1", "t2", "t3"]);
    assert_eq!(shown(&page(Some("t7"), None)), ["t8", "t9"]);
    assert_eq!(shown(&page(None, Some(QueueState::InProgress))), ["t0", "t1", "t2"]);
    let counts = board.counts();
    assert_eq!((counts[&(dev(), QueueState::InProgress)], counts[&(dev(), QueueState::Queued)]), (3, 7));
}

#[test]
fn a_chain_of_any_length_is_skipped_and_forgotten_without_a_deep_stack() {
    const LENGTH: usize = 10_000;
    let link = |number: usize| {
        let needs = number.checked_sub(1).map(|before| id(&format!("t{before}"))).into_iter().collect();
        Entry { needs, on_failure: OnDependencyFailure::Skip, ..entry(&format!("t{number}"), 1) }
    };
    let mut board = Board::new(Limits { most: LENGTH, ..LIMITS }, 1);
    board.enqueue((0..LENGTH).map(link).collect(), &BTreeMap::new()).unwrap();
    let claimed = claim(&mut board, 1);
    let changed = board.report(&claimed[0].lease, &Report::Failed).unwrap();
    assert_eq!(changed.len(), LENGTH - 1);
    assert!(board.counts().is_empty(), "nobody waits for any of them");
}

#[test]
fn a_next_run_with_other_needs_leaves_nothing_of_the_old_ones() {
    let mut board = board(vec![
        entry("x", 1),
        entry("y", 1),
        needing("a", &["x", "y"], OnDependencyFailure::Block),
        needing("b", &["a"], OnDependencyFailure::Block),
    ]);
    board.request(&id("a"), &Request::Cancel).unwrap();
    board.request(&id("x"), &Request::Cancel).unwrap();
    let next = Entry { run: 2, needs: vec![id("x")], ..entry("a", 1) };
    board.enqueue(vec![next], &BTreeMap::new()).unwrap();
    assert_eq!(state(&board, "a"), Some(QueueState::Blocked), "x was cancelled");
    let claimed = claim(&mut board, 9);
    board.report(&lease(&claimed, "y"), &Report::Completed).unwrap();
    assert_eq!((state(&board, "y"), state(&board, "x")), (None, Some(QueueState::Cancelled)));
    board.enqueue(vec![Entry { run: 2, ..entry("x", 1) }], &BTreeMap::new()).unwrap();
    let claimed = claim(&mut board, 9);
    let changed = board.report(&lease(&claimed, "x"), &Report::Completed).unwrap();
    assert_eq!(news(&changed), [("a", QueueState::Queued, "x")]);
}

#[test]
fn a_task_that_is_skipped_by_an_amendment_skips_those_behind_it() {
    let mut board = board(vec![
        entry("a", 1),
        entry("b", 1),
        needing("c", &["a"], OnDependencyFailure::Skip),
        needing("d", &["c"], OnDependencyFailure::Skip),
    ]);
    board.request(&id("b"), &Request::Cancel).unwrap();
    let ended = BTreeMap::from([(id("b"), QueueState::Cancelled)]);
    let changed = board.amend(needing("c", &["b"], OnDependencyFailure::Skip), &ended).unwrap();
    assert_eq!(news(&changed), [("c", QueueState::Skipped, "c"), ("d", QueueState::Skipped, "c")]);
    assert_eq!(state(&board, "d"), None, "nobody waits for it");
}

#[test]
fn a_full_queue_still_takes_what_takes_the_place_of_others() {
    let mut board = Board::new(Limits { most: 2, ..LIMITS }, 1);
    board.enqueue(vec![entry("a", 1), entry("b", 1)], &BTreeMap::new()).unwrap();
    board.amend(Entry { priority: Priority::HIGH, ..entry("a", 1) }, &BTreeMap::new()).unwrap();
    board.enqueue(vec![Entry { run: 2, ..entry("b", 1) }], &BTreeMap::new()).unwrap();
    assert_eq!(board.enqueue(vec![entry("c", 1)], &BTreeMap::new()), Err(QueueError::Full { most: 2 }));
    assert_eq!(names(&claim(&mut board, 9)), ["a", "b"]);
}

#[test]
fn what_became_of_a_need_is_known_although_the_last_that_waited_for_it_leaves_in_the_same_call() {
    let mut board = board(vec![entry("a", 1), needing("b", &["a"], OnDependencyFailure::Block)]);
    board.request(&id("a"), &Request::Cancel).unwrap();
    let again = Entry { run: 2, ..entry("b", 1) };
    board.enqueue(vec![again, needing("c", &["a"], OnDependencyFailure::Run)], &BTreeMap::new()).unwrap();
    assert_eq!(names(&claim(&mut board, 9)), ["b", "c"]);
}

#[test]
fn an_adopted_task_whose_lease_runs_out_can_be_claimed_at_once() {
    let mut board = Board::new(Limits { lease: Some(Duration::from_millis(50)), ..LIMITS }, 1);
    let later = Entry { not_before: Some(Timestamp(500)), ..entry("a", 1) };
    board.enqueue(vec![later], &BTreeMap::new()).unwrap();
    board.adopt(&id("a"), 1, &"here".into(), Timestamp(100)).unwrap();
    board.pass(Timestamp(200));
    assert_eq!(board.next_due(), None);
    assert_eq!(names(&claim(&mut board, 1)), ["a"]);
}
