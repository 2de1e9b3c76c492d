//! Words for stories: entries, claims and what is seen of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use moothall_actors::domain::id::{Role, TaskId, Timestamp};
use moothall_actors::domain::queue::{Entry, OnDependencyFailure, Priority, QueueState};
use moothall_actors::ports::queue::{Claim, Claimed, Consequence, Filter, Lease, QueueError, TaskQueue};

pub(crate) fn id(name: &str) -> TaskId {
    TaskId::parse("task", name).unwrap()
}

pub(crate) fn entry(name: &str, at: u64) -> Entry {
    Entry {
        task: id(name),
        run: 1,
        role: Role::dev(),
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

pub(crate) fn run(number: u32, of: Entry) -> Entry {
    Entry { run: number, ..of }
}

pub(crate) fn needing(name: &str, needs: &[&str], on_failure: OnDependencyFailure) -> Entry {
    Entry { needs: needs.iter().map(|need| id(need)).collect(), on_failure, ..entry(name, 1) }
}

pub(crate) fn of_story(name: &str, story: &str) -> Entry {
    Entry { story: Some(story.into()), ..entry(name, 1) }
}

pub(crate) fn request(holder: &str, most: usize) -> Claim {
    Claim { role: Role::dev(), most, most_per_story: 1_000_000, holder: Arc::from(holder) }
}

pub(crate) async fn put(queue: &dyn TaskQueue, entries: Vec<Entry>) {
    queue.enqueue(entries, BTreeMap::new()).await.unwrap();
}

pub(crate) async fn amend(queue: &dyn TaskQueue, entry: Entry) -> Result<Vec<Consequence>, QueueError> {
    queue.amend(entry, BTreeMap::new()).await
}

pub(crate) async fn claim(queue: &dyn TaskQueue, most: usize) -> Vec<Claimed> {
    queue.claim(&request("here", most)).await.unwrap()
}

pub(crate) async fn state(queue: &dyn TaskQueue, name: &str) -> Option<QueueState> {
    let all = queue.list(&Filter { limit: usize::MAX, ..Filter::default() }).await.unwrap();
    all.iter().find(|row| row.entry.task == id(name)).map(|row| row.state)
}

pub(crate) async fn known(queue: &dyn TaskQueue) -> usize {
    queue.counts().await.unwrap().values().sum()
}

pub(crate) fn names(claimed: &[Claimed]) -> Vec<&str> {
    claimed.iter().map(|claimed| claimed.lease.task.as_str()).collect()
}

pub(crate) fn lease(claimed: &[Claimed], name: &str) -> Lease {
    claimed.iter().find(|claimed| claimed.lease.task == id(name)).unwrap().lease.clone()
}

pub(crate) fn news(changed: &[Consequence]) -> Vec<(&str, QueueState, &str)> {
    changed.iter().map(|news| (news.task.as_str(), news.state, news.cause.as_str())).collect()
}

pub(crate) fn is_stale<T>(answer: &Result<T, QueueError>) -> bool {
    matches!(answer, Err(QueueError::Stale { .. }))
}
