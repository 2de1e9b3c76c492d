//! The model server fails behind a real executor: what passes is made up for there, what stays is said, and it heals.

use std::time::Duration;

use anyhow::{Result, ensure};
use moothall::sim::{Fault, FaultKind};
use moothall_actors::domain::id::Stage;
use tonic::Code;

use super::super::harness::LIMIT;
use super::super::request::{authors, task};
use super::stand::{Stand, assert_complete, assert_healed, deliberate, start, tags};

#[tokio::test]
async fn a_model_server_that_fails_for_a_while_costs_attempts_and_then_its_seats() -> Result<()> {
    let stand = Stand::start(Duration::ZERO).await?;
    let daemon = stand.home()?.start().await?;

    // Two failures for each seat of one wave: the executor asks again, and nobody is missing.
    let failing = |stage| Fault { stage: Some(stage), ..Fault::first(6, FaultKind::status(503)) };
    stand.misbehave(vec![failing(Stage::Critique)]);
    let answer = deliberate(&daemon, task("short")).await?;
    assert_complete(&answer, 9)?;
    assert_eq!(tags(&answer)?["attempts"], "15");
    for (call, count) in stand.calls("short") {
        assert_eq!(count.finished, 1, "{call}");
        ensure!(count.started == 1 || call.contains("/critique-1/"), "{call}: {count:?}");
    }

    // One seat is refused to the end: it is named, with what the executor said of it.
    let stuck = Fault { stage: Some(Stage::Revise), seat: Some("002".into()), ..Fault::always(FaultKind::status(503)) };
    stand.misbehave(vec![stuck]);
    let answer = deliberate(&daemon, task("seat")).await?;
    assert_eq!(authors(&answer.results).len(), 3);
    let why = &tags(&answer)?["missing.agent-dev-002.revise-1"];
    ensure!(why.contains("executor http://") && why.contains("503"), "{why}");
    assert_eq!(stand.calls("seat")["seat/1/revise-1/agent-dev-002"].started, 4, "the first time and three retries");

    // It goes while a wave is under way, for longer than anybody waits: what it answered stays, and who was not heard any
    // more is named. A task that it never answered says why it failed.
    stand.misbehave(Vec::new());
    stand.answer_after(Duration::from_millis(500))?;
    let running = start(&daemon, "long").await?;
    stand.until_in_flight(3).await?;
    stand.misbehave(vec![Fault::always(FaultKind::Drop)]);
    let answer = tokio::time::timeout(LIMIT, running).await???;
    assert_eq!(authors(&answer.results).len(), 3, "their proposals are there");
    ensure!(tags(&answer)?.contains_key("missing"), "{answer:?}");
    let nothing = daemon.client().await?.deliberate(task("none")).await.unwrap_err();
    assert_eq!(nothing.code(), Code::Unavailable, "{nothing}");
    ensure!(nothing.message().contains("executor http://"), "{nothing}");

    assert_healed(&stand, &daemon, "after").await?;
    for (call, count) in stand.sim.stats().by_call {
        ensure!(count.finished <= 1, "{call} was answered and asked again: {count:?}");
    }
    daemon.stop().await?;
    stand.stop().await
}
