//! Who is next.

use moothall_actors::domain::id::Role;
use moothall_actors::domain::queue::{Entry, Priority};
use moothall_actors::ports::queue::{Claim, Report};

use super::Stage;
use super::told::{claim, entry, lease, names, of_story, put, request};

pub(crate) async fn the_highest_priority_is_first_and_the_oldest_within(stage: &dyn Stage) {
    let with = |name, at, priority| Entry { priority, ..entry(name, at) };
    let entries = vec![
        with("low", 1, Priority::LOW),
        with("second", 20, Priority::HIGH),
        with("first", 10, Priority::HIGH),
        with("same", 20, Priority::HIGH),
    ];
    put(stage.queue(), entries).await;
    assert_eq!(names(&claim(stage.queue(), 9).await), ["first", "second", "same", "low"]);
}

pub(crate) async fn the_lowest_priority_is_overtaken_only_by_what_came_within_a_hundred_ages(stage: &dyn Stage) {
    let with = |name, at, priority| Entry { priority, ..entry(name, at) };
    let bound = 99 * 10;
    let one = Priority::read("1").unwrap();
    let entries = vec![
        with("lowest", 1, one),
        with("within", bound, Priority::CRITICAL),
        with("beyond", 1 + bound + 1, Priority::CRITICAL),
    ];
    put(stage.queue(), entries).await;
    assert_eq!(names(&claim(stage.queue(), 9).await), ["within", "lowest", "beyond"]);
}

pub(crate) async fn stories_take_turns_however_many_tasks_they_have(stage: &dyn Stage) {
    let (queue, of) = (stage.queue(), of_story);
    put(queue, vec![of("a1", "A"), of("a2", "A"), of("a3", "A"), of("b1", "B"), entry("c1", 1)]).await;
    assert_eq!(names(&claim(queue, 2).await), ["c1", "a1"]);
    assert_eq!(names(&claim(queue, 9).await), ["b1", "a2", "a3"]);
}

pub(crate) async fn a_story_has_no_more_in_progress_than_it_may(stage: &dyn Stage) {
    let (queue, of) = (stage.queue(), of_story);
    put(queue, vec![of("a1", "A"), of("a2", "A"), of("a3", "A"), of("b1", "B")]).await;
    let two = Claim { most_per_story: 2, ..request("here", 9) };
    let first = queue.claim(&two).await.unwrap();
    assert_eq!(names(&first), ["a1", "b1", "a2"]);
    assert!(queue.claim(&two).await.unwrap().is_empty());
    queue.report(&lease(&first, "a2"), Report::Dispatched).await.unwrap();
    assert_eq!(names(&queue.claim(&two).await.unwrap()), ["a3"], "a dispatched task needs no agent");
    assert!(queue.claim(&Claim { most_per_story: 0, ..two }).await.unwrap().is_empty());
}

pub(crate) async fn each_role_is_claimed_for_itself(stage: &dyn Stage) {
    let queue = stage.queue();
    let qa = Role::parse("role", "QA").unwrap();
    put(queue, vec![Entry { role: qa.clone(), ..of_story("q", "A") }, of_story("d", "A")]).await;
    let of_qa = Claim { role: qa, most_per_story: 1, ..request("here", 9) };
    assert_eq!(names(&queue.claim(&of_qa).await.unwrap()), ["q"]);
    let of_dev = Claim { most_per_story: 1, ..request("here", 9) };
    assert_eq!(names(&queue.claim(&of_dev).await.unwrap()), ["d"], "another role's work takes no room");
    let architect = Claim { role: Role::architect(), ..request("here", 9) };
    assert!(queue.claim(&architect).await.unwrap().is_empty());
}
