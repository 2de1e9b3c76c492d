//! A daemon that is told of an agent hub elsewhere starts without it, and says how it is.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::harness::{Daemon, Home, LIMIT, simulator, until};

async fn component(daemon: &Daemon, name: &str) -> Result<Value> {
    let (_, body) = daemon.page("/health").await?;
    Ok(serde_json::from_str::<Value>(&body)?["components"][name].clone())
}

#[tokio::test]
async fn a_hub_that_is_away_stops_no_start_and_is_seen_in_health() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    ensure!(component(&daemon, "hub").await?.is_null(), "a hub that is not configured is no part");
    daemon.stop().await?;
    // Nobody listens at the discard port of this machine.
    let home = Home::new(sim.addr())?.with("AGENT_HUB_URL", "http://127.0.0.1:9");
    let daemon = home.start().await?;
    let look = async || Ok(component(&daemon, "hub").await?.to_string().contains("degraded").then_some(()));
    until("the hub is degraded", LIMIT, look).await?;
    let told = component(&daemon, "hub").await?.to_string();
    ensure!(told.contains("http://127.0.0.1:9: cannot connect"), "{told}");
    daemon.stop().await
}
