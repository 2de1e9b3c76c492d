//! What the stories share: a simulator, an executor, and daemons whose agents are the executor's.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moothall::grpc::proto::fleet::orchestrator::v1::{DeliberateRequest, DeliberateResponse};
use moothall::sim::{BehaviourChange, CallCount, Fault, FaultKind, Latency, SimServer};
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::Stage;
use serde_json::Value;
use tokio::task::JoinHandle;
use tonic::Status;

use super::super::harness::{Daemon, Home, LIMIT, simulator, until};
use super::super::record::Record;
use super::super::request::{assert_texts_are_the_models, authors, task};
use super::executor::{Executor, KEY};

pub(super) struct Stand {
    pub(super) sim: SimServer,
    pub(super) executor: Executor,
}

impl Stand {
    /// `latency`: of each model call.
    pub(super) async fn start(latency: Duration) -> Result<Self> {
        Ok(Self { sim: simulator(latency).await?, executor: Executor::start().await? })
    }

    /// Council DEV, with three agents of type RAY_VLLM.
    pub(super) fn home(&self) -> Result<Home> {
        Ok(Home::new(self.sim.addr())?
            .with("AGENT_TYPE", "RAY_VLLM")
            .with("EXECUTOR_ADDRESS", self.executor.address().to_string())
            .with("RUST_LOG", "error"))
    }

    pub(super) fn answer_after(&self, latency: Duration) -> Result<()> {
        let fixed_ms = u64::try_from(latency.as_millis())?;
        self.sim.set(BehaviourChange { latency: Some(Latency::Fixed { fixed_ms }), ..BehaviourChange::default() });
        Ok(())
    }

    pub(super) fn misbehave(&self, faults: Vec<Fault>) {
        self.sim.set(BehaviourChange { faults: Some(faults), ..BehaviourChange::default() });
    }

    /// No answer ever comes to these seats in this stage.
    pub(super) fn hang(&self, stage: Stage, seats: &[&str]) {
        let hang =
            |seat: &&str| Fault { stage: Some(stage), seat: Some((*seat).into()), ..Fault::always(FaultKind::Hang) };
        self.misbehave(seats.iter().map(hang).collect());
    }

    /// Until so many calls are at the model server at once.
    pub(super) async fn until_in_flight(&self, calls: u64) -> Result<()> {
        super::super::harness::until_in_flight(&self.sim, calls, LIMIT).await
    }

    /// The calls of one task.
    pub(super) fn calls(&self, task: &str) -> BTreeMap<String, CallCount> {
        let calls = self.sim.stats().by_call.into_iter();
        calls.filter(|(call, _)| is_of(call, task)).collect()
    }

    /// The calls of one task that the executor made, by the key that it alone has.
    pub(super) fn through_ray(&self, task: &str) -> Vec<String> {
        let key = format!("Bearer {KEY}");
        let made = self.sim.recorded().into_iter().filter(|request| request.authorization.as_ref() == Some(&key));
        made.map(|request| request.call).filter(|call| is_of(call, task)).collect()
    }

    /// As many calls as are told, each made once and answered once.
    pub(super) fn assert_each_once(&self, task: &str, calls: usize) -> Result<()> {
        let made = self.calls(task);
        ensure!(made.len() == calls, "{calls} calls were expected, there were {}: {made:?}", made.len());
        for (call, count) in made {
            ensure!((count.started, count.finished) == (1, 1), "{call}: {count:?}");
        }
        Ok(())
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.executor.stop().await?;
        self.sim.shutdown().await;
        Ok(())
    }
}

fn is_of(call: &str, task: &str) -> bool {
    call.strip_prefix(task).is_some_and(|rest| rest.starts_with('/'))
}

/// A small task beside the test.
pub(super) async fn start(daemon: &Daemon, id: &str) -> Result<JoinHandle<Result<DeliberateResponse, Status>>> {
    let (mut client, request) = (daemon.client().await?, task(id));
    Ok(tokio::spawn(async move { client.deliberate(request).await.map(tonic::Response::into_inner) }))
}

pub(super) async fn deliberate(daemon: &Daemon, request: DeliberateRequest) -> Result<DeliberateResponse> {
    let mut client = daemon.client().await?;
    Ok(tokio::time::timeout(LIMIT, client.deliberate(request)).await.context("no answer")??.into_inner())
}

pub(super) fn tags(answer: &DeliberateResponse) -> Result<&BTreeMap<String, String>> {
    Ok(&answer.metadata.as_ref().context("no metadata")?.tags)
}

/// Three agents answered, nobody is missing, and no text was invented.
pub(super) fn assert_complete(answer: &DeliberateResponse, calls: usize) -> Result<()> {
    let tags = tags(answer)?;
    ensure!(tags.get("missing").is_none(), "{tags:?}");
    ensure!(tags["calls"] == calls.to_string(), "{calls} calls were expected: {tags:?}");
    assert_eq!(authors(&answer.results).len(), 3, "{answer:?}");
    assert_texts_are_the_models(&answer.results);
    Ok(())
}

/// Until `/health` says this of the executor.
pub(super) async fn until_executor_is(daemon: &Daemon, status: &str) -> Result<()> {
    let look = || async {
        let (_, body) = daemon.page("/health").await?;
        let body: Value = serde_json::from_str(&body)?;
        Ok((body["components"]["executor"]["status"] == status).then_some(()))
    };
    until(&format!("the executor is {status}"), LIMIT, look).await
}

/// All is well again: so it says, and a deliberation makes nine calls of which each is answered at once.
pub(super) async fn assert_healed(stand: &Stand, daemon: &Daemon, id: &str) -> Result<()> {
    until_executor_is(daemon, "healthy").await?;
    stand.misbehave(Vec::new());
    stand.answer_after(Duration::ZERO)?;
    assert_complete(&deliberate(daemon, task(id)).await?, 9)?;
    stand.assert_each_once(id, 9)
}

/// Until these calls' answers are durable.
pub(super) async fn until_durable(home: &Home, calls: &[&str]) -> Result<()> {
    let look = || async {
        let answered = Record::read(home.database()).await?.answered()?;
        Ok(calls.iter().all(|call| answered.contains(*call)).then_some(()))
    };
    until("the answers are durable", LIMIT, look).await
}

/// Of one task, in order.
pub(super) fn events<'a>(record: &'a Record, task: &'a str) -> impl Iterator<Item = &'a Event> {
    let stream = format!("deliberation/{task}/1");
    record.events.iter().filter(move |recorded| recorded.stream.to_string() == stream).map(|one| &one.event.event)
}
