//! A daemon that stands still for a while: what was delivered meanwhile is not lost to the ack wait.

use std::sync::mpsc;

use anyhow::{Context as _, Result};
use moothall::nats::Handled;
use serde_json::json;
use tokio::runtime::Builder;

use super::server::Server;
use super::{Daemon, millis, settings, until};

const COUNT: usize = 5;

#[tokio::test]
async fn what_comes_while_the_daemon_stands_still_is_handled_when_it_goes_on() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.well().await?;
    let (begun, stands) = mpsc::channel();
    let (_never, nothing) = mpsc::channel::<()>();
    let nothing = std::sync::Mutex::new(nothing);
    daemon.inbox.answer(move |delivery, _| {
        if delivery.incoming.about() == "first" {
            let _ = begun.send(());
            // The one thread that everything here runs on, for longer than a pull lasts: what is shown is a standstill.
            let _ = super::locked(&nothing).recv_timeout(millis(9_000));
        }
        Handled::Done
    });
    let url = server.url();
    let others = std::thread::spawn(move || -> Result<()> {
        // Its own thread and runtime, which go on.
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            let js = async_nats::jetstream::new(async_nats::connect(url).await?);
            let plan = |story: &str| json!({"story_id": story, "plan_id": "p"}).to_string();
            js.publish("planning.plan.approved", plan("first").into()).await?.await?;
            stands.recv()?;
            for number in 1..COUNT {
                js.publish("planning.plan.approved", plan(&format!("s-{number}")).into()).await?.await?;
            }
            Ok(())
        })
    });
    until("all are handled", async || Ok(daemon.inbox.count() == COUNT)).await?;
    server.settled("PLANNING_EVENTS", "moothall-plan-approved").await?;
    others.join().ok().context("the other thread died")??;
    assert!(daemon.inbox.times().values().all(|times| *times == 1));
    Ok(())
}
