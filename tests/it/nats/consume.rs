//! What arrives: every subject in both forms, again and again, in order, and the drain.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use async_nats::Subscriber;
use async_nats::jetstream::consumer::pull::Config as Pull;
use futures::StreamExt as _;
use moothall::nats::{CONSUMERS, Drained, Handled, Incoming, Kind, Start};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::server::Server;
use super::{Daemon, LIMIT, locked, millis, settings, until};

/// A payload of each kind that says all that is required.
fn payload(kind: Kind, id: &str) -> Value {
    match kind {
        Kind::PlanApproved => json!({"story_id": id, "plan_id": "p", "plan": {"tasks": []}}),
        Kind::StoryTransitioned => json!({"story_id": id, "from_phase": "PLAN", "to_phase": "BUILD"}),
        Kind::AgentCompleted => json!({"task_id": id, "agent_id": "a", "output": "text"}),
        Kind::AgentFailed => json!({"task_id": id, "agent_id": "a", "error": "e"}),
        Kind::AgentProgress => json!({"task_id": id, "agent_id": "a", "progress_pct": 50}),
        Kind::ContextUpdated => json!({"story_id": id, "version": 3}),
        Kind::ContextDecision => json!({"story_id": id, "decision_id": "d"}),
        Kind::ContextMilestone => json!({"story_id": id, "milestone_id": "m", "milestone_name": "n"}),
    }
}

fn kind(incoming: &Incoming) -> Kind {
    match incoming {
        Incoming::PlanApproved(_) => Kind::PlanApproved,
        Incoming::StoryTransitioned(_) => Kind::StoryTransitioned,
        Incoming::AgentCompleted(_) => Kind::AgentCompleted,
        Incoming::AgentFailed(_) => Kind::AgentFailed,
        Incoming::AgentProgress(_) => Kind::AgentProgress,
        Incoming::ContextUpdated(_) => Kind::ContextUpdated,
        Incoming::ContextDecision(_) => Kind::ContextDecision,
        Incoming::ContextMilestone(_) => Kind::ContextMilestone,
    }
}

fn wrapped(subject: &str, payload: &Value) -> String {
    let envelope = json!({
        "event_type": subject, "payload": payload, "idempotency_key": "k", "correlation_id": "c",
        "timestamp": "2026-01-02T03:04:05Z", "producer": "planning", "causation_id": "b", "metadata": {},
    });
    envelope.to_string()
}

/// Every consumed subject once bare and once wrapped; what was sent, as subject, kind and id.
async fn send_all(server: &Server) -> Result<BTreeSet<(String, Kind, String)>> {
    let mut sent = BTreeSet::new();
    for row in CONSUMERS {
        for subject in row.subjects {
            let subject = subject.replace('>', "agent-7.late");
            for form in ["bare", "wrapped"] {
                let id = format!("{form}-{}", sent.len());
                let payload = payload(row.kind, &id);
                let text = if form == "bare" { payload.to_string() } else { wrapped(&subject, &payload) };
                server.send(&subject, text).await?;
                sent.insert((subject.clone(), row.kind, id));
            }
        }
    }
    Ok(sent)
}

/// Returns when the server was told so often that a message is still in hand.
async fn progress(acks: &mut Subscriber, count: usize) -> Result<()> {
    let mut told = acks.filter(|ack| std::future::ready(ack.payload.starts_with(b"+WPI"))).take(count);
    while timeout(LIMIT, told.next()).await.context("nothing more is said of what is in hand")?.is_some() {}
    Ok(())
}

async fn all_settled(server: &Server) -> Result<()> {
    for row in CONSUMERS {
        server.settled(row.stream, &row.name("one")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_consumed_subject_arrives_bare_and_wrapped() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.well().await?;
    let sent = send_all(&server).await?;
    // Fourteen subjects, each in both forms.
    assert_eq!(sent.len(), 28);
    until("all are delivered", async || Ok(daemon.inbox.count() >= sent.len())).await?;
    all_settled(&server).await?;
    let deliveries = locked(&daemon.inbox.deliveries).clone();
    let seen: BTreeSet<_> =
        deliveries.iter().map(|d| (d.subject.clone(), kind(&d.incoming), d.incoming.about().to_owned())).collect();
    assert_eq!(seen, sent);
    assert_eq!(deliveries.len(), sent.len());
    for delivery in deliveries {
        let of_envelope = delivery.incoming.about().starts_with("wrapped");
        assert_eq!(delivery.origin.correlation_id.as_deref(), of_envelope.then_some("c"));
        assert_eq!(delivery.origin.causation_id.as_deref(), of_envelope.then_some("b"));
        assert_eq!(delivery.origin.event_id.as_deref(), of_envelope.then_some("k"));
        assert_eq!(delivery.origin.producer.as_deref(), of_envelope.then_some("planning"));
        assert!(delivery.key.published_ns > 1_700_000_000_000_000_000);
    }
    Ok(())
}

#[tokio::test]
async fn each_comes_again_under_the_same_key_until_it_is_done() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.inbox.answer(|_, times| if times <= 2 { Handled::Later { why: "not yet".into() } } else { Handled::Done });
    daemon.well().await?;
    let sent = send_all(&server).await?;
    until("all are done", async || Ok(daemon.status().counts.done == sent.len() as u64)).await?;
    all_settled(&server).await?;
    let times = daemon.inbox.times();
    assert_eq!(times.len(), sent.len());
    assert!(times.values().all(|times| *times == 3), "{times:?}");
    assert_eq!(daemon.status().counts.later, 2 * sent.len() as u64);
    assert!(daemon.inbox.rejected().is_empty());
    Ok(())
}

#[tokio::test]
async fn what_is_not_ours_is_acknowledged_and_what_nobody_asked_for_ignored() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.inbox.answer(|_, _| Handled::NotOurs);
    daemon.well().await?;
    server.send("agent.response.unheard.of", "no json").await?;
    server.send("agent.response.completed", payload(Kind::AgentCompleted, "t").to_string()).await?;
    until("it is acknowledged", async || Ok(daemon.status().counts.not_ours == 1)).await?;
    all_settled(&server).await?;
    assert_eq!((daemon.inbox.count(), daemon.inbox.rejected().len()), (1, 0));
    Ok(())
}

#[tokio::test]
async fn what_is_about_one_story_is_handled_in_its_order() -> Result<()> {
    let server = Server::start().await?;
    server.make_streams().await?;
    for number in 0..60 {
        let story = format!("s-{}", number % 3);
        server.send("planning.story.transitioned", payload(Kind::StoryTransitioned, &story).to_string()).await?;
    }
    let daemon = Daemon::start(settings(&server))?;
    daemon.inbox.hold(true);
    // One of each story, however many are in hand.
    until("three are begun", async || Ok(daemon.inbox.count() == 3)).await?;
    daemon.inbox.hold(false);
    server.settled("PLANNING_EVENTS", "moothall-story-transitioned").await?;
    let ended = locked(&daemon.inbox.ended).clone();
    assert_eq!(ended.len(), 60);
    for story in 0..3 {
        let of_story: Vec<u64> = ended.iter().map(|key| key.sequence).filter(|at| (at - 1) % 3 == story).collect();
        assert!(of_story.is_sorted() && of_story.len() == 20, "{of_story:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_failed_lets_newer_ones_of_its_story_pass_but_never_two_at_once() -> Result<()> {
    let server = Server::start().await?;
    server.make_streams().await?;
    for _ in 0..3 {
        server.send("planning.story.transitioned", payload(Kind::StoryTransitioned, "s").to_string()).await?;
    }
    let daemon = Daemon::start(settings(&server))?;
    // The first fails until the newest is done: it would never come to that if it kept its place.
    let done = Arc::new(AtomicBool::new(false));
    daemon.inbox.answer(move |delivery, _| match delivery.key.sequence {
        1 if !done.load(Ordering::Relaxed) => Handled::Later { why: "not yet".into() },
        3 => {
            done.store(true, Ordering::Relaxed);
            Handled::Done
        }
        _ => Handled::Done,
    });
    daemon.told("all are done", |status| status.counts.done == 3).await?;
    let ended: Vec<u64> = locked(&daemon.inbox.ended).iter().map(|key| key.sequence).collect();
    let first_of = |sequence| ended.iter().position(|at| *at == sequence);
    assert!(first_of(1) < first_of(2) && first_of(2) < first_of(3), "{ended:?}");
    assert_eq!((ended.last(), daemon.inbox.rejected().len()), (Some(&1), 0), "{ended:?}");
    assert_eq!(daemon.inbox.most_at_once(), 1);
    Ok(())
}

#[tokio::test]
async fn no_more_are_in_hand_than_may_be_and_a_long_handling_is_not_repeated() -> Result<()> {
    let server = Server::start().await?;
    server.make_streams().await?;
    for number in 0..12 {
        server.send("planning.plan.approved", payload(Kind::PlanApproved, &format!("s-{number}")).to_string()).await?;
    }
    let mut acks = server.acks().await?;
    let mut settings = settings(&server);
    settings.consume.in_hand = 5;
    settings.consume.ack_wait = millis(2_000);
    let daemon = Daemon::start(settings)?;
    daemon.inbox.hold(true);
    until("five are begun", async || Ok(daemon.inbox.count() == 5)).await?;
    // Each says so four times: longer than the ack wait.
    progress(&mut acks, 20).await?;
    let info = server.consumer("PLANNING_EVENTS", "moothall-plan-approved").await?;
    assert_eq!((info.num_ack_pending, info.num_redelivered, daemon.inbox.count()), (5, 0, 5));
    daemon.inbox.hold(false);
    server.settled("PLANNING_EVENTS", "moothall-plan-approved").await?;
    assert!(daemon.inbox.times().values().all(|times| *times == 1));
    Ok(())
}

#[tokio::test]
async fn nothing_more_is_pulled_while_what_is_in_hand_is_too_large() -> Result<()> {
    let server = Server::start().await?;
    server.make_streams().await?;
    let large = |number: u32| {
        let mut event = payload(Kind::PlanApproved, &format!("s-{number}"));
        event["approved_by"] = "x".repeat(1_000).into();
        event.to_string()
    };
    for number in 0..9 {
        server.send("planning.plan.approved", large(number)).await?;
    }
    let mut settings = settings(&server);
    (settings.consume.a_pull, settings.consume.in_hand_bytes) = (2, 3_500);
    let daemon = Daemon::start(settings)?;
    daemon.inbox.hold(true);
    // Two, two more behind 2,000 bytes, none behind 4,000.
    until("four are begun", async || Ok(daemon.inbox.count() == 4)).await?;
    let info = server.consumer("PLANNING_EVENTS", "moothall-plan-approved").await?;
    assert_eq!((info.num_ack_pending, info.num_pending, info.num_waiting), (4, 5, 0));
    daemon.inbox.hold(false);
    server.settled("PLANNING_EVENTS", "moothall-plan-approved").await?;
    assert_eq!(daemon.inbox.times().len(), 9);
    Ok(())
}

#[tokio::test]
async fn a_long_handling_keeps_to_the_ack_wait_that_the_durable_has() -> Result<()> {
    let server = Server::start().await?;
    server.make_streams().await?;
    // Made by somebody with a short wait; by the settings nothing would be said for twenty minutes.
    let older = Pull {
        durable_name: Some("moothall-plan-approved".into()),
        filter_subject: "planning.plan.approved".into(),
        ack_wait: millis(2_000),
        ..Pull::default()
    };
    server.js().await?.create_consumer_on_stream(older, "PLANNING_EVENTS").await?;
    let mut acks = server.acks().await?;
    server.send("planning.plan.approved", payload(Kind::PlanApproved, "s").to_string()).await?;
    let mut settings = settings(&server);
    settings.consume.ack_wait = millis(3_600_000);
    let daemon = Daemon::start(settings)?;
    daemon.inbox.hold(true);
    progress(&mut acks, 4).await?;
    daemon.inbox.hold(false);
    server.settled("PLANNING_EVENTS", "moothall-plan-approved").await?;
    assert_eq!(daemon.inbox.count(), 1);
    let info = server.consumer("PLANNING_EVENTS", "moothall-plan-approved").await?;
    assert_eq!(info.config.ack_wait, millis(2_000));
    Ok(())
}

#[tokio::test]
async fn a_start_says_from_when_on() -> Result<()> {
    let server = Server::start().await?;
    server.make_streams().await?;
    server.send("context.decision.added", payload(Kind::ContextDecision, "old").to_string()).await?;
    let mut settings = settings(&server);
    settings.start = Start::At(jiff::Timestamp::now());
    let daemon = Daemon::start(settings)?;
    daemon.well().await?;
    server.send("context.decision.added", payload(Kind::ContextDecision, "new").to_string()).await?;
    until("the new one is there", async || Ok(daemon.inbox.count() == 1)).await?;
    server.settled("CONTEXT", "moothall-context-decision").await?;
    let about = locked(&daemon.inbox.deliveries)[0].incoming.about().to_owned();
    assert_eq!((daemon.inbox.count(), about.as_str()), (1, "new"));
    Ok(())
}

#[tokio::test]
async fn replicas_share_plans_and_each_hears_all_responses() -> Result<()> {
    let server = Server::start().await?;
    let one = Daemon::start(settings(&server))?;
    let two = Daemon::start({
        let mut settings = settings(&server);
        settings.instance = "two".into();
        settings
    })?;
    one.well().await?;
    two.well().await?;
    for number in 0..20 {
        let id = format!("x-{number}");
        server.send("planning.plan.approved", payload(Kind::PlanApproved, &id).to_string()).await?;
        server.send("agent.response.completed", payload(Kind::AgentCompleted, &id).to_string()).await?;
    }
    server.settled("PLANNING_EVENTS", "moothall-plan-approved").await?;
    server.settled("AGENT_RESPONSES", "moothall-agent-completed-one").await?;
    server.settled("AGENT_RESPONSES", "moothall-agent-completed-two").await?;
    let of = |daemon: &Daemon, stream: &str| {
        locked(&daemon.inbox.deliveries).iter().filter(|d| d.key.stream == stream).count()
    };
    assert_eq!(of(&one, "PLANNING_EVENTS") + of(&two, "PLANNING_EVENTS"), 20);
    assert_eq!((of(&one, "AGENT_RESPONSES"), of(&two, "AGENT_RESPONSES")), (20, 20));
    let info = server.consumer("AGENT_RESPONSES", "moothall-agent-completed-two").await?;
    assert_eq!(info.config.inactive_threshold.as_secs(), 3_600);
    Ok(())
}

#[tokio::test]
async fn a_drain_ends_what_is_in_hand() -> Result<()> {
    let server = Server::start().await?;
    server.make_streams().await?;
    for number in 0..8 {
        server.send("planning.plan.approved", payload(Kind::PlanApproved, &format!("s-{number}")).to_string()).await?;
    }
    let daemon = Daemon::start(settings(&server))?;
    daemon.inbox.hold(true);
    until("all are begun", async || Ok(daemon.inbox.count() == 8)).await?;
    daemon.outbox.events(50, 5);
    let inbox = Arc::clone(&daemon.inbox);
    let draining = tokio::spawn(daemon.nats.drain(LIMIT));
    inbox.hold(false);
    assert_eq!(draining.await?, Drained::Clean);
    server.settled("PLANNING_EVENTS", "moothall-plan-approved").await?;
    assert!(inbox.times().values().all(|times| *times == 1));
    Ok(())
}

#[tokio::test]
async fn what_a_drain_cannot_end_is_given_to_others_at_once() -> Result<()> {
    let server = Server::start().await?;
    let daemon = Daemon::start(settings(&server))?;
    daemon.well().await?;
    daemon.inbox.hold(true);
    server.send("planning.plan.approved", payload(Kind::PlanApproved, "s").to_string()).await?;
    until("it is begun", async || Ok(daemon.inbox.count() == 1)).await?;
    assert_eq!(daemon.nats.drain(millis(50)).await, Drained::Cut);
    // Long before the ack wait, which would be four times the limit of this test.
    let other = Daemon::start(settings(&server))?;
    until("the other one has it", async || Ok(other.inbox.count() == 1)).await?;
    Ok(())
}
