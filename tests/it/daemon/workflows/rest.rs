//! The contract, by a client in Python that was made from it alone.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::daemon::harness::{Home, simulator};
use crate::daemon::python;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_made_from_the_contract_finds_all_of_it_kept() -> Result<()> {
    let home = Home::new(simulator(Duration::ZERO).await?.addr())?.with("WORKFLOW_DISPATCH", "manual");
    let daemon = home.start().await?;
    let seen = python::workflows(daemon.http).await?;
    ensure!(seen["slugs"].as_object().is_some_and(|slugs| slugs.len() == 8), "{seen}");
    daemon.stop().await
}
