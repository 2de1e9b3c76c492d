//! A real vLLM on CPU with a tiny random model (`scripts/soak-deps` makes both). What it says is noise; how it says it,
//! and what it makes of our requests, is what a simulator could have got wrong.

mod server;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use moothall::grpc::proto::fleet::orchestrator::v1::{DeliberateRequest, DeliberateResponse, OrchestrateRequest};
use moothall_actors::domain::answer::{Answer, Finish};
use moothall_actors::domain::event::Event;
use moothall_actors::domain::id::{CallId, Stage};
use serde::de::IgnoredAny;
use tokio::time::timeout;
use tonic::Code;

use self::server::{KEY, MODEL, Tokens, Vllm};
use super::harness::{Daemon, Home, LIMIT, until};
use super::record::Record;
use super::request::{authors, task};

/// Of one answer; usual ones have a few dozen.
const MOST_TOKENS: u32 = 4096;
/// How soon a generation must stop after nobody waits for it.
const STOPPED: Duration = Duration::from_secs(10);
/// Generates until it is stopped or its room is full.
const ENDLESS: &str = r#"{"ignore_eos": true}"#;

mod soak {
    use super::*;

    /// One server for all, since it takes so long to start.
    #[tokio::test]
    async fn a_real_server_answers_refuses_and_stops_as_the_adapter_expects() -> Result<()> {
        let server = Vllm::start().await?;
        deliberates(&server, home(&server)?).await.context("whole")?;
        let schema = home(&server)?.with("MOOTHALL__MODEL__RESPONSE_FORMAT", "json_schema");
        deliberates(&server, schema).await.context("whole, with a schema")?;
        deliberates(&server, home(&server)?.with("MOOTHALL__MODEL__STREAM", "true")).await.context("streamed")?;
        orchestrates(&server).await.context("orchestrated")?;
        asks_again_for_what_was_cut_off(&server).await.context("cut off")?;
        refuses(&server, "VLLM_MODEL", "absent", r#"model "absent" is not served here; served: tiny"#).await?;
        refuses(&server, "VLLM_API_KEY", "wrong", "401 Unauthorized").await?;
        for stream in ["false", "true"] {
            stops_when_nobody_waits(&server, stream).await.with_context(|| format!("stream={stream}"))?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_real_server_that_is_killed_and_started_again_is_found_again() -> Result<()> {
        let server = Vllm::start().await?;
        let daemon = home(&server)?.with("RUST_LOG", "error").start().await?;
        assert_eq!(deliberate(&daemon, task("before")).await?.results.len(), 3);
        let mut client = daemon.client().await?;
        let running = tokio::spawn(async move { client.deliberate(task("during")).await });
        server.until_running(|running| running > 0, LIMIT).await?;
        let address = server.kill().await?;
        // Whoever had proposed before it died is in the answer, the others are named.
        match timeout(LIMIT, running).await.context("nobody noticed that it died")?? {
            Ok(answer) => ensure!(answer.get_ref().metadata.as_ref().is_some_and(|m| m.tags.contains_key("missing"))),
            Err(lost) => assert_eq!(lost.code(), Code::Unavailable, "{lost}"),
        }
        let _server = Vllm::start_at(address).await?;
        let look = || async { Ok(deliberate(&daemon, task("")).await.ok().filter(|answer| answer.results.len() == 3)) };
        until("it heals", LIMIT, look).await?;
        daemon.stop().await
    }
}

fn home(server: &Vllm) -> Result<Home> {
    Ok(Home::new(server.address())?.with("VLLM_API_KEY", KEY).with("VLLM_MAX_TOKENS", MOST_TOKENS.to_string()))
}

async fn deliberate(daemon: &Daemon, request: DeliberateRequest) -> Result<DeliberateResponse> {
    Ok(daemon.client().await?.deliberate(request).await?.into_inner())
}

/// One task, its tags, and its calls as they stand in a sound journal. Tokens are counted as the server counts them.
async fn calls_of_one_task(server: &Vllm, home: Home) -> Result<Vec<(CallId, Answer)>> {
    let daemon = home.start().await?;
    let before = server.tokens().await?;
    let answer = deliberate(&daemon, task("T-1")).await?;
    assert_eq!(authors(&answer.results).len(), 3, "{answer:?}");
    let tags = answer.metadata.context("no metadata")?.tags;
    assert_eq!(tags.get("missing"), None, "{tags:?}");
    let told = Tokens { prompt: tags["prompt_tokens"].parse()?, completion: tags["completion_tokens"].parse()? };
    ensure!(told.prompt > 0 && told.completion > 0, "{told:?}");
    // Its counters follow its answers after a moment.
    let look = || async { Ok((server.tokens().await? - before == told).then_some(())) };
    until(&format!("the server counts {told:?}"), LIMIT, look).await?;
    daemon.stop().await?;
    let record = Record::read(home.database()).await?;
    let calls: Vec<_> = record.events.into_iter().filter_map(|recorded| answered(recorded.event.event)).collect();
    assert_eq!(tags["calls"], calls.len().to_string());
    assert!(calls.iter().all(|(_, answer)| &*answer.model == MODEL && answer.attempts == 1));
    Ok(calls)
}

fn answered(event: Event) -> Option<(CallId, Answer)> {
    let Event::CallAnswered { call, answer, .. } = event else { return None };
    Some((call, answer))
}

/// Nine calls, each asked once, and every critique is the JSON that it was asked to be.
async fn deliberates(server: &Vllm, home: Home) -> Result<()> {
    let calls = calls_of_one_task(server, home).await?;
    assert_eq!(calls.len(), 9);
    for (call, answer) in calls {
        assert_eq!(answer.finish, Finish::Stop, "{call}: {answer:?}");
        if call.wave.stage == Stage::Critique {
            ensure!(answer.text.starts_with('{') && is_json(&answer.text), "{call}: {}", answer.text);
        }
    }
    Ok(())
}

/// Eleven calls, whose shared prefix the server reads once: the prompts of the later ones are mostly in its cache.
async fn orchestrates(server: &Vllm) -> Result<()> {
    let daemon = home(server)?.with("MOOTHALL__COUNCILS__ROLES", "DEV,ARCHITECT").start().await?;
    let (asked, hit) = server.prefix_cache().await?;
    let request = OrchestrateRequest {
        task_id: "O-1".to_owned(),
        task_description: "say in a few words how to parse a duration such as 1h30m ".repeat(20),
        role: "DEV".to_owned(),
        ..OrchestrateRequest::default()
    };
    let answer = timeout(LIMIT, daemon.client().await?.orchestrate(request)).await??.into_inner();
    let tags = answer.metadata.context("no metadata")?.tags;
    assert_eq!(tags.get("missing"), None, "{tags:?}");
    assert_eq!((tags["calls"].as_str(), answer.candidates.len()), ("11", 2), "{tags:?}");
    ensure!(answer.winner.is_some_and(|winner| winner.rank == 1), "nobody won: {tags:?}");
    let look = || async {
        let (now_asked, now_hit) = server.prefix_cache().await?;
        let (asked, hit) = (now_asked - asked, now_hit - hit);
        Ok((asked > 0 && hit * 2 > asked).then_some((asked, hit)))
    };
    let (asked, hit) = until("more than half of the prompts is in the prefix cache", LIMIT, look).await?;
    eprintln!("{hit} of {asked} prompt tokens came from the prefix cache");
    daemon.stop().await
}

/// Whatever its numbers are: noise has some that no type holds.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whatever the model would say, four tokens end it, and eight the second time.
async fn asks_again_for_what_was_cut_off(server: &Vllm) -> Result<()> {
    let short = home(server)?.with("VLLM_MAX_TOKENS", "4").with("MOOTHALL__MODEL__EXTRA_BODY", ENDLESS);
    let calls = calls_of_one_task(server, short.with("MOOTHALL__MODEL__RESPONSE_FORMAT", "none")).await?;
    assert_eq!(calls.len(), 18);
    for (call, answer) in calls {
        assert_eq!((answer.finish, answer.usage.completion), (Finish::Length, u64::from(call.ask) * 4), "{call}");
    }
    Ok(())
}

/// The error says what the server said.
async fn refuses(server: &Vllm, setting: &str, value: &str, said: &str) -> Result<()> {
    let daemon = home(server)?.with(setting, value).with("RUST_LOG", "error").start().await?;
    let refused = daemon.client().await?.deliberate(task("T-1")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains(said), "{said:?} is not in {:?}", refused.message());
    daemon.stop().await
}

async fn stops_when_nobody_waits(server: &Vllm, stream: &str) -> Result<()> {
    let home = home(server)?.with("MOOTHALL__MODEL__EXTRA_BODY", ENDLESS).with("MOOTHALL__MODEL__STREAM", stream);
    let daemon = home.start().await?;
    let before = server.tokens().await?;
    let mut updates = daemon.client().await?.stream_deliberation(task("")).await?.into_inner();
    ensure!(updates.next().await.is_some());
    server.until_running(|running| running == 3, LIMIT).await?;
    drop(updates);
    server.until_running(|running| running == 0, STOPPED).await?;
    let spent = server.tokens().await? - before;
    ensure!(spent.completion < u64::from(MOST_TOKENS), "they ended by themselves: {spent:?}");
    daemon.stop().await
}
