//! `moothall bench events`: how fast events are taken in and go out, over what a bare client does at the same server.
//!
//! The server is a real one that runs already, and that nothing else uses: the streams are emptied.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull::Config as Pull;
use async_nats::jetstream::{self, Context};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::json;
use tonic::transport::Channel;

use super::BenchError;
use super::home::Home;
use super::queue::{Rate, failed};
use crate::grpc::proto::moothall::v1::task_service_client::TaskServiceClient;
use crate::grpc::proto::moothall::v1::{PauseDispatchRequest, SubmitPlanRequest};
use crate::process::Process;

/// Stories that the events are spread over: those of one story wait for each other.
const STORIES: usize = 500;
/// Of a plan; each is an event on its way out.
const OF_A_PLAN: usize = 10_000;
/// Publications of the bare client that are not acknowledged yet: as many as the daemon's.
const IN_FLIGHT: usize = 256;
const LOOK: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_secs(120);

/// Where, and how many.
#[derive(Clone, Debug)]
pub struct EventsPlan {
    pub server: String,
    pub events: usize,
    pub rounds: u32,
}

/// Events in a second; floors are pull and ack, and publish and ack, of a bare client.
#[derive(Clone, Debug, Serialize)]
pub struct EventsReport {
    pub version: &'static str,
    pub cores: usize,
    pub events: usize,
    pub intake: Vec<Rate>,
    pub outbox: Vec<Rate>,
}

/// A round after the other.
pub async fn events(plan: &EventsPlan) -> Result<EventsReport, BenchError> {
    let client = async_nats::connect(&plan.server).await.map_err(failed)?;
    let js = jetstream::new(client);
    let (mut intake, mut outbox) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        intake.push(taken_in(plan, &js).await?);
        outbox.push(gone_out(plan, &js).await?);
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    Ok(EventsReport { version: env!("CARGO_PKG_VERSION"), cores, events: plan.events, intake, outbox })
}

/// With events over this server.
async fn start(home: &Home, plan: &EventsPlan) -> Result<Process, BenchError> {
    home.start(&[("ENABLE_NATS", "true"), ("NATS_URL", &plan.server)]).await
}

/// Events wait in the stream when the daemon starts: until the last one is acknowledged.
async fn taken_in(plan: &EventsPlan, js: &Context) -> Result<Rate, BenchError> {
    let home = Home::new("0").await?;
    let daemon = start(&home, plan).await?;
    let durable = "moothall-context-decision";
    until(async || consumer(js, "CONTEXT", durable).await.map(|left| (left == 0).then_some(()))).await?;
    daemon.stop().await?;
    let sending = (0..plan.events).map(|number| {
        let event = json!({"story_id": format!("s-{}", number % STORIES), "decision_id": format!("d-{number}")});
        publish(js, "context.decision.added", event.to_string())
    });
    in_flight(sending).await?;
    let floor_per_s = pull_and_ack(js, plan.events).await?;
    let _daemon = start(&home, plan).await?;
    let (all, began) = (plan.events, Instant::now());
    until(async || consumer(js, "CONTEXT", durable).await.map(|left| (left == 0).then_some(()))).await?;
    let per_s = all as f64 / began.elapsed().as_secs_f64();
    empty(js, "CONTEXT").await?;
    Ok(Rate { per_s, floor_per_s, ratio: per_s / floor_per_s })
}

/// A plan is approved at once: until the last of its tasks is published, from the first one on.
async fn gone_out(plan: &EventsPlan, js: &Context) -> Result<Rate, BenchError> {
    let stream = "ORCHESTRATOR_EVENTS";
    let home = Home::new("0").await?;
    let daemon = start(&home, plan).await?;
    let address = format!("http://{}", daemon.told("grpc")?);
    let mut client = TaskServiceClient::connect(address).await.map_err(failed)?;
    client.pause_dispatch(PauseDispatchRequest { role: String::new() }).await.map_err(failed)?;
    empty(js, stream).await?;
    let submitting = tokio::spawn(async move { submit(&mut client).await });
    let first = until(async || messages(js, stream).await.map(|count| (count > 0).then_some(count))).await?;
    let began = Instant::now();
    until(async || messages(js, stream).await.map(|count| (count > OF_A_PLAN as u64).then_some(()))).await?;
    let per_s = (OF_A_PLAN as u64 + 1 - first) as f64 / began.elapsed().as_secs_f64();
    submitting.await.map_err(failed)??;
    daemon.stop().await?;
    let payload = "x".repeat(600);
    let began = Instant::now();
    in_flight((0..OF_A_PLAN).map(|_| publish(js, "orchestration.bench", payload.clone()))).await?;
    let floor_per_s = OF_A_PLAN as f64 / began.elapsed().as_secs_f64();
    empty(js, stream).await?;
    Ok(Rate { per_s, floor_per_s, ratio: per_s / floor_per_s })
}

async fn submit(client: &mut TaskServiceClient<Channel>) -> Result<(), BenchError> {
    let task = |number: usize| json!({"id": format!("t-{number}"), "role": "DEV", "description": "do it"});
    let tasks: Vec<_> = (0..OF_A_PLAN).map(task).collect();
    let plan = json!({"plan_id": "bench", "story_id": "bench", "tasks": tasks}).to_string();
    client.submit_plan(SubmitPlanRequest { plan: plan.into(), ..Default::default() }).await.map_err(failed)?;
    Ok(())
}

async fn publish(js: &Context, subject: &'static str, payload: String) -> Result<(), BenchError> {
    js.publish(subject, payload.into()).await.map_err(failed)?.await.map(drop).map_err(failed)
}

async fn in_flight(all: impl Iterator<Item = impl Future<Output = Result<(), BenchError>>>) -> Result<(), BenchError> {
    let mut sending = futures::stream::iter(all).buffer_unordered(IN_FLIGHT);
    while let Some(sent) = sending.next().await {
        sent?;
    }
    Ok(())
}

/// What a client does that keeps nothing.
async fn pull_and_ack(js: &Context, events: usize) -> Result<f64, BenchError> {
    let stream = js.get_stream("CONTEXT").await.map_err(failed)?;
    let config = Pull { filter_subject: "context.decision.added".to_owned(), ..Pull::default() };
    let consumer = stream.create_consumer(config).await.map_err(failed)?;
    let mut messages = consumer.messages().await.map_err(failed)?;
    let began = Instant::now();
    for _ in 0..events {
        let message = messages.next().await.ok_or_else(|| failed("the messages ended"))?.map_err(failed)?;
        message.ack().await.map_err(failed)?;
    }
    Ok(events as f64 / began.elapsed().as_secs_f64())
}

/// Messages that a consumer has yet to have acknowledged.
async fn consumer(js: &Context, stream: &str, name: &str) -> Result<u64, BenchError> {
    let Ok(found) = js.get_consumer_from_stream::<Pull, _, _>(name, stream).await else { return Ok(u64::MAX) };
    let info = found.cached_info();
    Ok(info.num_pending + info.num_ack_pending as u64)
}

async fn messages(js: &Context, stream: &str) -> Result<u64, BenchError> {
    let found = js.get_stream(stream).await.map_err(failed)?;
    Ok(found.cached_info().state.messages)
}

async fn empty(js: &Context, stream: &str) -> Result<(), BenchError> {
    let found = js.get_stream(stream).await.map_err(failed)?;
    found.purge().await.map(drop).map_err(failed)
}

async fn until<T>(mut look: impl AsyncFnMut() -> Result<Option<T>, BenchError>) -> Result<T, BenchError> {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(failed(format!("the server does not come to it within {LIMIT:?}")))
}
