//! A daemon that has done a hundred thousand deliberations is no larger than one that has done twenty thousand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use moothall::sim::{Answers, Behaviour, SimServer, SimSettings};
use tokio::task::JoinSet;

use super::harness::{Daemon, Home, LIMIT, until};
use super::request::task;

/// What is done before the memory counts: caches fill, the allocator takes what it needs.
const WARM_UP: u64 = 20_000;
const ALL: u64 = 100_000;
const CLIENTS: u64 = 64;
/// What it may have grown meanwhile, in bytes: 200 for each deliberation would be 16 MiB.
const MOST_GROWTH: u64 = 16 << 20;

/// Does deliberations up to this number, 64 at once.
async fn deliberate_until(daemon: &Daemon, next: &Arc<AtomicU64>, last: u64) -> Result<()> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (mut client, next) = (daemon.client().await?, next.clone());
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= last {
                    return Ok(());
                }
                let answer = client.deliberate(task(&format!("T-{number}"))).await?.into_inner();
                ensure!(answer.results.len() == 3, "{answer:?}");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    next.store(last, Ordering::Relaxed);
    Ok(())
}

mod soak {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn memory_is_flat_over_a_hundred_thousand_deliberations() -> Result<()> {
        let behaviour = Behaviour { answers: Answers::Bench, ..Behaviour::default() };
        let sim = SimServer::start(SimSettings { behaviour, ..SimSettings::default() }).await?;
        let daemon = Home::new(sim.addr())?.start().await?;
        let next = Arc::new(AtomicU64::new(0));
        let mut sizes = Vec::new();
        for last in (WARM_UP..=ALL).step_by(usize::try_from(WARM_UP)?) {
            deliberate_until(&daemon, &next, last).await?;
            sizes.push(daemon.resident().await?);
        }
        eprintln!("resident bytes after each {WARM_UP} deliberations: {sizes:?}");
        let most = sizes[0] + MOST_GROWTH;
        // What was on its way out at the last deliberation may take a moment to leave.
        let look = || async { Ok((daemon.resident().await? <= most).then_some(())) };
        until("it is hardly larger than after the first", LIMIT, look).await?;
        daemon.stop().await
    }
}
