//! What arrives broken, and handlings that fail: one dead letter, no loop, nobody else delayed.

use std::panic::resume_unwind;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use moothall::nats::{Handled, Part, dead_letter, sha256};
use serde_json::json;

use super::server::Server;
use super::{Daemon, settings, until};

const PLANS: (&str, &str) = ("PLANNING_EVENTS", "moothall-plan-approved");

fn plan(story: &str) -> String {
    json!({"story_id": story, "plan_id": "p"}).to_string()
}

#[tokio::test]
async fn poison_makes_one_dead_letter_each_and_delays_nobody() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.well().await?;
    let large = format!(r#"{{"story_id":"s","plan_id":"p","plan":"{}"}}"#, "x".repeat(10 << 20));
    let poison = [
        ("no json at all".to_owned(), "not JSON: "),
        ("[1]".to_owned(), "not a JSON object but a list"),
        (r#"{"story_id": "s"}"#.to_owned(), r#"field "plan_id" is missing"#),
        (r#"{"event_type": "x", "payload": {"plan_id": "p"}}"#.to_owned(), r#"field "story_id" is missing"#),
        (large, "bytes are more than the 8388608 that are taken"),
    ];
    for (text, _) in &poison {
        server.send("planning.plan.approved", text.clone()).await?;
        server.send("planning.plan.approved", plan("good")).await?;
    }
    until("the good ones are done", async || Ok(daemon.inbox.count() == poison.len())).await?;
    until("all are rejected", async || Ok(daemon.inbox.rejected().len() == poison.len())).await?;
    server.settled(PLANS.0, PLANS.1).await?;
    daemon.published().await?;
    assert_eq!(server.consumer(PLANS.0, PLANS.1).await?.num_redelivered, 0);
    let mut rejections = daemon.inbox.rejected();
    rejections.sort_by_key(|rejection| rejection.key.sequence);
    let mut letters = server.all("MOOTHALL_DLQ").await?;
    assert_eq!((rejections.len(), letters.len()), (poison.len(), poison.len()));
    for ((text, reason), rejection) in poison.iter().zip(&rejections) {
        assert!(rejection.reason.contains(reason), "{}", rejection.reason);
        let hash = sha256(text.as_bytes());
        let at = letters.iter().position(|letter| letter.header(dead_letter::SHA256) == Some(&hash));
        let letter = letters.remove(at.with_context(|| format!("no letter for {reason}"))?);
        assert_eq!(letter.subject, "moothall.dlq.planning.plan.approved");
        assert_eq!(letter.header(dead_letter::REASON), Some(rejection.reason.as_str()));
        assert_eq!(letter.header(dead_letter::LENGTH), Some(text.len().to_string().as_str()));
        assert_eq!(letter.payload, text.as_bytes());
    }
    Ok(())
}

#[tokio::test]
async fn a_dead_letter_is_cut_to_what_the_server_takes() -> Result<()> {
    // Here the largest message that can be sent is larger than what a dead letter with its headers may have.
    let server = Server::start_with("max_payload: 128KB").await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.well().await?;
    server.send("planning.plan.approved", "x".repeat(131_000)).await?;
    until("it is rejected", async || Ok(daemon.inbox.rejected().len() == 1)).await?;
    daemon.published().await?;
    let letters = server.all("MOOTHALL_DLQ").await?;
    assert_eq!(letters[0].payload.len(), 131_072 - 16_384);
    assert_eq!(letters[0].header(dead_letter::LENGTH), Some("131000"));
    Ok(())
}

#[tokio::test]
async fn a_message_is_terminated_only_when_its_rejection_is_journaled() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.well().await?;
    daemon.inbox.up.store(false, Ordering::Relaxed);
    server.send("planning.plan.approved", "no json").await?;
    daemon.told("pulling pauses", |status| status.degraded.contains_key(&Part::Inbox)).await?;
    daemon.told("it is asked again", |status| status.counts.unavailable >= 3).await?;
    assert_eq!(server.consumer(PLANS.0, PLANS.1).await?.num_ack_pending, 1);
    daemon.inbox.up.store(true, Ordering::Relaxed);
    server.settled(PLANS.0, PLANS.1).await?;
    daemon.well().await?;
    assert_eq!(daemon.inbox.rejected().len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_its_meaning_shows_to_be_wrong_is_rejected_too() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.inbox.answer(|_, _| Handled::Rejected { reason: "tasks: a cycle".into() });
    daemon.well().await?;
    server.send("planning.plan.approved", plan("s")).await?;
    server.settled(PLANS.0, PLANS.1).await?;
    assert_eq!(daemon.inbox.rejected()[0].reason, "tasks: a cycle");
    assert_eq!(daemon.inbox.count(), 1);
    Ok(())
}

#[tokio::test]
async fn ten_failed_handlings_make_a_dead_letter_while_others_go_on() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.inbox.answer(|delivery, times| match delivery.incoming.about() {
        // Past the hook: to write a backtrace costs ten times what this test does, on the thread that everything runs on,
        // and on a slow machine all its time limits were over by then.
        "bad" if times % 2 == 0 => resume_unwind(Box::new("as told")),
        "bad" => Handled::Later { why: "as told".into() },
        _ => Handled::Done,
    });
    daemon.well().await?;
    server.send("planning.plan.approved", plan("bad")).await?;
    for number in 0..5 {
        server.send("planning.plan.approved", plan(&format!("good-{number}"))).await?;
    }
    daemon.told("the good ones are done", |status| status.counts.done == 5).await?;
    daemon.told("the bad one is rejected", |status| status.counts.rejected == 1).await?;
    server.settled(PLANS.0, PLANS.1).await?;
    let times: Vec<usize> = daemon.inbox.times().into_values().collect();
    assert_eq!(times, [10, 1, 1, 1, 1, 1]);
    let reason = daemon.inbox.rejected()[0].reason.clone();
    assert_eq!(reason, "its handling failed 10 times, at last: its handling panicked");
    Ok(())
}

#[tokio::test]
async fn while_journal_or_queue_is_down_pulling_pauses_and_nothing_counts() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.inbox.answer(|_, _| Handled::Unavailable { why: "the queue is down".into() });
    daemon.well().await?;
    server.send("planning.plan.approved", plan("s-0")).await?;
    daemon.told("pulling pauses", |status| status.degraded.contains_key(&Part::Inbox)).await?;
    // More often than ten failures would make a dead letter.
    daemon.told("it is tried again", |status| status.counts.unavailable >= 12).await?;
    server.send("planning.plan.approved", plan("s-1")).await?;
    server.send("context.updated", json!({"story_id": "s-2"}).to_string()).await?;
    let before = daemon.status().counts.unavailable;
    daemon.told("it goes on", |status| status.counts.unavailable >= before + 3).await?;
    // Nothing else was taken, of any consumer, and the one is still in hand.
    assert_eq!(daemon.inbox.times().len(), 1);
    let info = server.consumer(PLANS.0, PLANS.1).await?;
    assert_eq!((info.num_ack_pending, info.num_pending, info.num_redelivered), (1, 1, 0));
    daemon.inbox.answer(|_, _| Handled::Done);
    daemon.told("all three are done", |status| status.counts.done == 3).await?;
    daemon.well().await?;
    assert_eq!((daemon.status().counts.later, daemon.inbox.rejected().len()), (0, 0));
    Ok(())
}
