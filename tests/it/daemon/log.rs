//! What the daemon logs at the default level: nothing for work that goes well, little for work that goes badly.

use std::time::Duration;

use anyhow::{Result, ensure};
use moothall::sim::{BehaviourChange, Fault, FaultKind};

use super::harness::{Home, simulator};
use super::request::task;

/// Deliberations that go well, of nine calls each.
const GOOD: usize = 200;
/// Deliberations that fail because no model answers.
const BAD: usize = 60;

#[tokio::test]
async fn two_hundred_deliberations_log_nothing_and_failing_ones_little() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let home = Home::new(sim.addr())?
        .with("RUST_LOG", "info")
        .with("MOOTHALL__MODEL__RETRIES", "0")
        .with("MOOTHALL__MODEL__BREAKER_OPEN_MIN", "0.01")
        .with("MOOTHALL__MODEL__BREAKER_OPEN_MAX", "0.01")
        .logged();
    let daemon = home.start().await?;
    let mut client = daemon.client().await?;
    client.deliberate(task("first")).await?;
    let before = home.log()?.lines().count();
    for n in 0..GOOD {
        client.deliberate(task(&format!("good-{n}"))).await?;
    }
    let after = home.log()?;
    let lines = after.lines().count() - before;
    ensure!(lines == 0, "{lines} lines for {GOOD} deliberations:\n{after}");

    let faults = Some(vec![Fault::always(FaultKind::Drop)]);
    sim.set(BehaviourChange { faults, ..BehaviourChange::default() });
    let mut failed = 0;
    for n in 0..BAD {
        failed += usize::from(client.deliberate(task(&format!("bad-{n}"))).await.is_err());
    }
    ensure!(failed == BAD, "{failed} of {BAD} failed");
    let log = home.log()?;
    let lines = log.lines().count() - before;
    // The model server is told to be down when that is noticed, and once when a look at it fails.
    ensure!(lines <= 4, "{lines} lines for {BAD} failed deliberations:\n{log}");
    daemon.stop().await
}
