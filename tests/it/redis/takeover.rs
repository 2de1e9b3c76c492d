//! A daemon that is gone with leases held: another one takes over within the bound, by the server's own time.

use std::sync::Mutex;
use std::time::Duration;

use moothall::redis::{RedisQueue, Settings, heartbeat_every};
use moothall_actors::domain::queue::QueueState;
use moothall_actors::ports::queue::{Lease, Report, TaskQueue};
use moothall_actors::ports::shared::SharedQueue;
use tokio::time::Instant;

use super::server::{Server, settings, trust, unpublished, until, whose, word};
use crate::queue::told::{entry, is_stale, names, put, request, state};

/// How soon the tasks of a daemon that is gone are to be at work again.
const TAKEN_OVER: Duration = Duration::from_secs(60);
/// Short enough to be waited for.
const LEASE: Duration = Duration::from_millis(1_500);

#[test]
fn a_lease_may_miss_two_heartbeats_and_runs_out_well_before_the_bound() {
    let Settings { lease, deadline, .. } = settings(1);
    let heartbeat = heartbeat_every(&settings(1));
    assert_eq!((lease, heartbeat), (Duration::from_secs(30), Duration::from_secs(10)));
    // Whoever takes over looks at least with each heartbeat, and may have to wait for an answer.
    assert!(lease + heartbeat + deadline < TAKEN_OVER);
}

#[tokio::test]
async fn what_a_daemon_held_that_is_gone_is_taken_over_within_the_time_of_its_leases() {
    let server = Server::start().await;
    let short = || RedisQueue::new(Settings { lease: LEASE, ..settings(server.port) }).unwrap();
    let (gone, other) = (short(), short());
    trust(&gone).await;
    put(&gone, vec![entry("a", 1), entry("b", 2), entry("c", 3)]).await;
    let held = gone.claim(&request("gone", 2)).await.unwrap();
    let began = Instant::now();
    let own = other.claim(&request("other", 9)).await.unwrap();
    assert_eq!((names(&held), names(&own)), (vec!["a", "b"], vec!["c"]), "they share the work");
    let leases: Vec<Lease> = held.iter().map(|claimed| claimed.lease.clone()).collect();
    drop(gone);
    let taken = Mutex::new(Vec::new());
    until("the other one takes over", || async {
        assert!(other.heartbeat(&[own[0].lease.clone()]).await.unwrap().is_empty(), "whoever keeps a lease has it");
        let claimed = other.claim(&request("other", 9)).await.unwrap();
        let mut taken = taken.lock().unwrap();
        taken.extend(claimed);
        taken.len() == 2
    })
    .await;
    let (taken, waited) = (taken.into_inner().unwrap(), began.elapsed());
    assert!(waited < 2 * LEASE, "it took {waited:?}");
    assert!(waited + Duration::from_millis(200) >= LEASE, "taken from whoever held it, after {waited:?}");
    assert_eq!(names(&taken), ["a", "b"]);
    // It was only away for a while, and comes back with its results.
    let back = short();
    assert!(is_stale(&back.report(&leases[0], Report::Completed).await));
    assert!(is_stale(&back.finish(&leases[1], Report::Completed, &word("late")).await));
    assert_eq!(back.heartbeat(&leases).await.unwrap(), leases);
    for claimed in taken.iter().chain(&own) {
        other.finish(&claimed.lease, Report::Completed, &word("in time")).await.unwrap();
    }
    let finals = unpublished(&back).await;
    assert!(finals.iter().all(|made| whose(made) == "in time"));
    assert_eq!(finals.len(), 3, "exactly one for each run");
}

#[tokio::test]
async fn a_heartbeat_alone_gives_back_what_others_have_lost() {
    let server = Server::start().await;
    let short = || RedisQueue::new(Settings { lease: Duration::from_millis(50), ..settings(server.port) }).unwrap();
    let (gone, other) = (short(), short());
    trust(&gone).await;
    put(&gone, vec![entry("a", 1)]).await;
    let held = gone.claim(&request("gone", 1)).await.unwrap();
    until("the lease runs out", || async {
        assert!(other.heartbeat(&[]).await.unwrap().is_empty());
        state(&other, "a").await == Some(QueueState::Queued)
    })
    .await;
    assert!(is_stale(&gone.report(&held[0].lease, Report::Completed).await));
}
