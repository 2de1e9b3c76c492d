//! An executor that stands still: it holds its connections and says nothing, while its workers go on.

use std::time::Duration;

use anyhow::{Result, ensure};
use moothall_actors::domain::event::Event;
use rustix::process::Signal;
use tokio::time::timeout;
use tonic::Code;

use super::super::harness::{Daemon, Home, LIMIT};
use super::super::record::Record;
use super::super::request::task;
use super::stand::{Stand, assert_complete, deliberate, events, start, until_executor_is};

fn home(stand: &Stand, limit: &str, fallback: &str) -> Result<Home> {
    let home = stand.home()?.with("MOOTHALL__EXECUTOR__AWAY_LIMIT", limit);
    Ok(home.with("MOOTHALL__EXECUTOR__RAY_FALLBACK", fallback))
}

#[tokio::test]
async fn an_executor_that_stands_still_is_waited_for_or_given_up_as_each_daemon_was_told() -> Result<()> {
    let stand = Stand::start(Duration::from_millis(1500)).await?;
    let homes = [home(&stand, "120", "direct")?, home(&stand, "1", "none")?, home(&stand, "1", "direct")?];
    let [patient, none, direct] = &homes;
    let [patient, none, direct] = [patient.start().await?, none.start().await?, direct.start().await?];
    let [waiting, named, alone] =
        [start(&patient, "waiting").await?, start(&none, "named").await?, start(&direct, "alone").await?];
    stand.until_in_flight(9).await?;
    stand.executor.signal(Signal::STOP)?;
    stand.answer_after(Duration::ZERO)?;
    // These find it so.
    let [late, refused, straight] =
        [start(&patient, "late").await?, start(&none, "refused").await?, start(&direct, "straight").await?];

    for running in [named, refused] {
        let status = timeout(LIMIT, running).await??.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        let cause = format!("executor http://{}: no answer within", stand.executor.address());
        ensure!(status.message().contains(&cause), "{status}");
    }
    for running in [alone, straight] {
        assert_complete(&timeout(LIMIT, running).await???, 9)?;
    }
    for daemon in [&patient, &none, &direct] {
        until_executor_is(daemon, "degraded").await?;
    }
    ensure!(!waiting.is_finished() && !late.is_finished(), "they do not wait");
    // Its workers answered meanwhile, and nobody who waits has asked anything again.
    stand.assert_each_once("waiting", 3)?;
    ensure!(stand.calls("late").is_empty(), "who made them?");

    stand.executor.signal(Signal::CONT)?;
    for (running, id) in [(waiting, "waiting"), (late, "late")] {
        assert_complete(&timeout(LIMIT, running).await???, 9)?;
        stand.assert_each_once(id, 9)?;
    }
    heals(&stand, [&patient, &none, &direct]).await?;
    for daemon in [patient, none, direct] {
        daemon.stop().await?;
    }
    assert_records(&homes).await?;
    stand.stop().await
}

/// At once, when it is needed again.
async fn heals(stand: &Stand, daemons: [&Daemon; 3]) -> Result<()> {
    for (daemon, id) in daemons.into_iter().zip(["patient-after", "none-after", "direct-after"]) {
        assert_complete(&deliberate(daemon, task(id)).await?, 9)?;
        stand.assert_each_once(id, 9)?;
        assert_eq!(stand.through_ray(id).len(), 9, "{id}");
        until_executor_is(daemon, "healthy").await?;
    }
    Ok(())
}

/// Who left it says so; each task has one end.
async fn assert_records(homes: &[Home; 3]) -> Result<()> {
    for (home, tasks, left) in [
        (&homes[0], ["waiting", "late"], 0),
        (&homes[1], ["named", "refused"], 0),
        (&homes[2], ["alone", "straight"], 1),
    ] {
        let record = Record::read(home.database()).await?;
        for (task, finals) in record.finals() {
            ensure!(finals.len() == 1, "{task}: {finals:?}");
        }
        for task in tasks {
            let leaving = events(&record, task).filter(|event| matches!(event, Event::ExecutorLeft { .. }));
            assert_eq!(leaving.count(), left, "{task}");
        }
    }
    Ok(())
}
