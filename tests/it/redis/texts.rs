//! What tasks are about travels with them, and goes when they do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moothall::redis::{RedisQueue, Settings};
use moothall_actors::domain::id::{RunId, TaskId};
use moothall_actors::domain::queue::{OnDependencyFailure, QueueState};
use moothall_actors::ports::queue::{Report, Request, TaskQueue};
use moothall_actors::ports::shared::{Ending, SharedQueue, Texts};

use super::server::{Server, nobody_told, queue, settings, trust, unpublished, until, whose, word};
use crate::queue::told::{amend, claim, entry, id, lease, needing, put, request, run};

/// Knows tasks by their first letter, and counts what it was asked.
struct Told;

#[async_trait]
impl Texts for Told {
    async fn text(&self, task: &TaskId) -> Option<Arc<str>> {
        (!task.as_str().starts_with('x')).then(|| format!("about {task}\nin two lines").into())
    }

    fn journal(&self) -> Arc<str> {
        "store-1".into()
    }
}

fn telling(server: &Server) -> RedisQueue {
    queue(server.port).with_texts(Arc::new(Told))
}

async fn text(queue: &RedisQueue, name: &str) -> Option<String> {
    queue.origin(&id(name)).await.unwrap().map(|origin| origin.text.to_string())
}

fn about(name: &str) -> Option<String> {
    Some(format!("about {name}\nin two lines"))
}

async fn keys(server: &Server, pattern: &str) -> usize {
    let mut connection = server.connection().await;
    let found: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.unwrap();
    found.len()
}

#[tokio::test]
async fn another_daemon_hears_what_a_task_is_about_as_long_as_it_is_there() {
    let server = Server::start().await;
    let (one, two) = (telling(&server), queue(server.port));
    trust(&one).await;
    put(&one, vec![entry("a", 1), needing("b", &["a"], OnDependencyFailure::Block), entry("x", 9)]).await;
    assert_eq!((text(&two, "a").await, text(&two, "b").await, text(&two, "x").await), (about("a"), about("b"), None));
    assert_eq!(&*two.origin(&id("a")).await.unwrap().unwrap().journal, "store-1");
    let held = claim(&two, 1).await;
    two.report(&held[0].lease, Report::Retry { not_before: moothall_actors::domain::id::Timestamp(1) }).await.unwrap();
    assert_eq!(text(&two, "a").await, about("a"), "a later run is about the same");
    amend(&one, needing("b", &["a"], OnDependencyFailure::Skip)).await.unwrap();
    put(&one, vec![run(3, entry("a", 1))]).await;
    assert_eq!((text(&two, "a").await, text(&two, "b").await), (about("a"), about("b")));
    let held = claim(&two, 9).await;
    two.report(&lease(&held, "a"), Report::Completed).await.unwrap();
    assert_eq!(text(&two, "a").await, None, "nobody needs it any more");
    two.request(&id("b"), Request::Cancel).await.unwrap();
    assert_eq!(keys(&server, "*:x:*").await, 0);
}

#[tokio::test]
async fn what_is_said_anew_brings_its_text_where_that_is_missing() {
    let server = Server::start().await;
    let one = telling(&server);
    trust(&one).await;
    put(&one, vec![entry("a", 1)]).await;
    server.forget_everything().await;
    one.reassert(vec![entry("a", 1), entry("b", 2)], BTreeMap::new()).await.unwrap();
    one.reassert(vec![entry("a", 1), entry("b", 2)], BTreeMap::new()).await.unwrap();
    assert_eq!((text(&one, "a").await, text(&one, "b").await), (about("a"), about("b")));
}

#[tokio::test]
async fn who_lost_a_lease_is_known_to_whoever_takes_over_and_to_nobody_after_that_run() {
    let server = Server::start().await;
    let short = Settings { lease: Duration::from_millis(50), ..settings(server.port) };
    let one = RedisQueue::new(short).unwrap().with_texts(Arc::new(Told));
    let lost_by = |queue: RedisQueue| async move { queue.origin(&id("a")).await.unwrap().unwrap().lost_by };
    trust(&one).await;
    put(&one, vec![entry("a", 1)]).await;
    assert_eq!(lost_by(queue(server.port)).await, None);
    one.claim(&request("gone", 1)).await.unwrap();
    let other = queue(server.port);
    until("it can be taken over", || async { !other.claim(&request("other", 1)).await.unwrap().is_empty() }).await;
    assert_eq!(lost_by(queue(server.port)).await.as_deref(), Some("gone"));
    let held = other.adopt(&id("a"), 1, &"other".into()).await.unwrap();
    other.report(&held, Report::Parked).await.unwrap();
    assert_eq!(lost_by(queue(server.port)).await, None, "the next run was nobody's");
}

#[tokio::test]
async fn every_end_is_kept_once_whoever_brings_it_about() {
    let server = Server::start().await;
    let queue = telling(&server);
    trust(&queue).await;
    let skips = needing("skips", &["fails"], OnDependencyFailure::Skip);
    put(&queue, vec![entry("fails", 1), skips, entry("tried", 2), entry("ends", 3), entry("waits", 4)]).await;
    let held = claim(&queue, 3).await;
    queue.finish(&lease(&held, "fails"), Report::Failed, &word("one")).await.unwrap();
    let again = Report::Retry { not_before: moothall_actors::domain::id::Timestamp(1) };
    queue.finish(&lease(&held, "tried"), again, &word("one")).await.unwrap();
    let run = |name: &str| RunId { task: id(name), run: 1 };
    let ending = |by: &str| Ending { state: QueueState::Cancelled, event: word(by).to_json() };
    queue.end(&run("ends"), ending("two")).await.unwrap();
    queue.end(&run("ends"), ending("three")).await.unwrap();
    queue.end(&run("fails"), ending("three")).await.unwrap();
    let late = queue.finish(&lease(&held, "ends"), Report::Completed, &word("one")).await;
    assert!(late.is_err(), "it was ended under its holder");
    let ends = queue.ends(0, 9).await.unwrap();
    let kept: Vec<_> = ends.iter().map(|end| (end.run.task.as_str(), end.state, whose(end))).collect();
    let expected = [
        ("skips", QueueState::Skipped, String::new()),
        ("fails", QueueState::Failed, "one".to_owned()),
        ("tried", QueueState::Failed, "one".to_owned()),
        ("ends", QueueState::Cancelled, "two".to_owned()),
    ];
    assert_eq!(kept, expected);
    assert!(ends.is_sorted_by_key(|end| end.place));
    assert_eq!(queue.ends(ends[1].place, 9).await.unwrap(), ends[2..]);
    assert_eq!(queue.final_of(&run("ends")).await.unwrap().as_ref(), Some(&ends[3]));
    assert_eq!(queue.final_of(&run("waits")).await.unwrap(), None);
    queue.published(queue.epoch(), &[run("fails"), run("skips")].map(nobody_told)).await.unwrap();
    assert_eq!(unpublished(&queue).await, ends[2..]);
    assert_eq!(queue.ends(0, 9).await.unwrap(), ends, "published ones are still told");
    put(&queue, vec![entry("ends", 9)]).await;
    assert!(claim(&queue, 9).await.iter().all(|claimed| claimed.lease.task != id("ends")), "it has ended");
}
