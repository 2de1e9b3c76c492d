//! A server that is away, killed, stopped, set back: nothing published is missing or doubled, nothing consumed is lost.
//!
//! The streams' window for duplicates is a tenth of a second here, so that it hides nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use moothall::nats::Part;
use rustix::process::Signal;
use serde_json::json;

use super::publish::exactly_once;
use super::server::Server;
use super::{Daemon, locked, millis, settings, until};

async fn outcome(daemon: &Daemon, server: &Server) -> Result<()> {
    daemon.published().await?;
    exactly_once(&daemon.outbox, &server.all("ORCHESTRATOR_EVENTS").await?);
    assert!(locked(&daemon.outbox.refused).is_empty());
    Ok(())
}

async fn some_are_out(daemon: &Daemon, count: u64) -> Result<()> {
    daemon.told("some are out", |status| status.counts.published >= count).await
}

#[tokio::test]
async fn a_start_without_a_server_waits_for_none_and_connects_later() -> Result<()> {
    let mut server = Server::prepare("")?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.outbox.events(10, 3);
    daemon.told("it says so", |status| !status.connected && status.degraded.contains_key(&Part::Connection)).await?;
    server.run().await?;
    daemon.well().await?;
    outcome(&daemon, &server).await
}

#[tokio::test]
async fn a_server_killed_while_publishing_has_everything_once() -> Result<()> {
    let mut server = Server::start().await?;
    server.make_streams().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.well().await?;
    for round in 1..=3_u64 {
        let before = daemon.status().counts.published;
        daemon.outbox.events(400, 23);
        some_are_out(&daemon, before + 50).await?;
        server.kill().await?;
        daemon.told("the loss is seen", |status| !status.connected).await?;
        server.run().await?;
        daemon.told("it is back", |status| status.counts.connects > round).await?;
    }
    daemon.well().await?;
    outcome(&daemon, &server).await
}

#[tokio::test]
async fn a_server_that_stands_still_for_three_seconds_has_everything_once() -> Result<()> {
    let server = Server::start().await?;
    server.make_streams().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.well().await?;
    daemon.outbox.events(600, 23);
    some_are_out(&daemon, 50).await?;
    server.signal(Signal::STOP)?;
    // The length of the stop is what is shown here: acknowledgements are waited for one second.
    tokio::time::sleep(millis(3_000)).await;
    server.signal(Signal::CONT)?;
    outcome(&daemon, &server).await?;
    daemon.well().await
}

#[tokio::test]
async fn a_server_set_back_to_older_data_gets_what_it_lost() -> Result<()> {
    let mut server = Server::start().await?;
    server.make_streams().await?;
    let mut settings = settings(&server);
    settings.publish.save_every = millis(20);
    let daemon = Daemon::start(settings)?;
    daemon.outbox.events(100, 7);
    daemon.published().await?;
    server.kill().await?;
    let old = server.snapshot()?;
    server.run().await?;
    daemon.outbox.events(150, 7);
    daemon.published().await?;
    assert_eq!(server.all("ORCHESTRATOR_EVENTS").await?.len(), 250);
    server.kill().await?;
    server.restore(&old)?;
    server.run().await?;
    daemon.told("it is back", |status| status.counts.connects >= 3).await?;
    until("what was lost is back", async || Ok(server.all("ORCHESTRATOR_EVENTS").await?.len() >= 250)).await?;
    daemon.outbox.events(20, 7);
    daemon.well().await?;
    outcome(&daemon, &server).await
}

#[tokio::test]
async fn a_server_set_back_while_the_daemon_was_away_gets_what_it_lost() -> Result<()> {
    let mut server = Server::start().await?;
    server.make_streams().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.outbox.events(80, 7);
    daemon.published().await?;
    server.kill().await?;
    let old = server.snapshot()?;
    server.run().await?;
    daemon.outbox.events(80, 7);
    daemon.published().await?;
    let (inbox, outbox) = (Arc::clone(&daemon.inbox), Arc::clone(&daemon.outbox));
    daemon.nats.drain(super::LIMIT).await;
    server.kill().await?;
    server.restore(&old)?;
    server.run().await?;
    // Others take the lost sequences.
    for _ in 0..30 {
        server.send("orchestration.foreign", "{}").await?;
    }
    let daemon = Daemon::start_with(settings(&server), inbox, outbox)?;
    daemon.outbox.events(1, 1);
    daemon.published().await?;
    let mut stored = server.all("ORCHESTRATOR_EVENTS").await?;
    stored.retain(|message| message.subject != "orchestration.foreign");
    exactly_once(&daemon.outbox, &stored);
    Ok(())
}

#[tokio::test]
async fn a_daemon_that_dies_again_and_again_publishes_everything_once() -> Result<()> {
    let server = Server::start().await?;
    server.make_streams().await?;
    let mut daemon = Daemon::start(settings(&server))?;
    for _ in 0..4 {
        daemon.outbox.events(200, 11);
        some_are_out(&daemon, 40).await?;
        // Dropped: nothing is ended or saved.
        let (inbox, outbox) = (Arc::clone(&daemon.inbox), Arc::clone(&daemon.outbox));
        drop(daemon);
        daemon = Daemon::start_with(settings(&server), inbox, outbox)?;
    }
    daemon.well().await?;
    outcome(&daemon, &server).await
}

#[tokio::test]
async fn a_journal_that_is_away_is_waited_for() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.well().await?;
    daemon.outbox.up.store(false, Ordering::Relaxed);
    daemon.outbox.events(30, 3);
    daemon.told("it says so", |status| status.degraded.contains_key(&Part::Outbox)).await?;
    daemon.outbox.up.store(true, Ordering::Relaxed);
    outcome(&daemon, &server).await?;
    daemon.well().await
}

#[tokio::test]
async fn consuming_goes_on_after_the_server_was_killed_and_set_back() -> Result<()> {
    let mut server = Server::start().await?;
    server.make_streams().await?;
    server.kill().await?;
    let without_durables = server.snapshot()?;
    server.run().await?;
    let mut settings = settings(&server);
    // A killed server may have forgotten an acknowledgement, but not the delivery: it delivers again after the ack wait.
    settings.consume.ack_wait = millis(1_000);
    let daemon = Daemon::start(settings)?;
    daemon.well().await?;
    // What comes again comes under its key.
    let known = || daemon.inbox.times().len();
    let plan = |story: &str| json!({"story_id": story, "plan_id": "p"}).to_string();
    server.send("planning.plan.approved", plan("s-1")).await?;
    until("the first is there", async || Ok(known() == 1)).await?;
    server.settled("PLANNING_EVENTS", "moothall-plan-approved").await?;
    server.kill().await?;
    server.run().await?;
    daemon.told("it is back", |status| status.counts.connects == 2).await?;
    server.send("planning.plan.approved", plan("s-2")).await?;
    until("the second is there", async || Ok(known() == 2)).await?;
    server.settled("PLANNING_EVENTS", "moothall-plan-approved").await?;
    server.kill().await?;
    server.restore(&without_durables)?;
    server.run().await?;
    daemon.told("it is back again", |status| status.counts.connects == 3).await?;
    // The first sequence once more: another message, and the key says so.
    server.send("planning.plan.approved", plan("s-3")).await?;
    until("the third is there", async || Ok(known() == 3)).await?;
    let keys = daemon.inbox.times();
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert_eq!(keys.keys().filter(|key| key.sequence == 1).count(), 2);
    Ok(())
}
