//! A client that knows the wire tables and nothing else finds every call there is, and the daemon asks its models
//! exactly as often as the tables' page says.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use moothall::sim::{BehaviourChange, Fault, FaultKind, SimServer};
use moothall_actors::domain::id::Stage;
use serde_json::{Value, json};

use super::harness::{Home, LIMIT, simulator, until_in_flight};
use super::python::{self, NEWER, OLDER};
use super::request::task;

/// Long enough for calls of one wave to meet.
const LATENCY: Duration = Duration::from_millis(50);
const RUBRIC: &str = "Correct first, then short: RUBRIC-7f3a.";
const REQUIREMENTS: [&str; 2] = ["Accept hours and minutes: REQUIREMENT-19c2.", "Refuse the rest: REQUIREMENT-b84e."];

fn deliberate(id: &str, more: Value) -> Value {
    let mut request = json!({"task_id": id, "task_description": "parse a duration", "role": "DEV"});
    for (key, value) in more.as_object().into_iter().flatten() {
        request[key] = value.clone();
    }
    request
}

/// Its name, and how many calls it makes.
type Wave = (&'static str, usize);

/// How often each stage was asked; every call once.
fn calls_by_wave(sim: &SimServer) -> BTreeMap<String, usize> {
    let mut waves = BTreeMap::new();
    for (id, count) in sim.stats().by_call {
        assert_eq!((count.started, count.finished), (1, 1), "{id}");
        let wave = id.rsplit('/').nth(1).unwrap_or_default().to_owned();
        *waves.entry(wave).or_default() += 1;
    }
    waves
}

#[tokio::test]
async fn prose_is_deliberated_in_as_many_calls_as_the_rounds_and_agents_say() -> Result<()> {
    let sim = simulator(LATENCY).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let one_round = [("propose-0", 3), ("critique-1", 3), ("revise-1", 3)];
    let two_rounds = [("propose-0", 3), ("critique-1", 3), ("revise-1", 3), ("critique-2", 3), ("revise-2", 3)];
    let table: [(&str, Value, &[Wave]); 5] = [
        ("rounds-1", json!({"rounds": 1}), &one_round),
        ("rounds-0", json!({"rounds": 0}), &one_round),
        ("rounds-2", json!({"rounds": 2}), &two_rounds),
        ("no-rounds", json!({"constraints": {"metadata": {"rounds": "none"}}}), &[("propose-0", 3)]),
        ("two-agents", json!({"num_agents": 2}), &[("propose-0", 2), ("critique-1", 2), ("revise-1", 2)]),
    ];
    for (id, request, waves) in table {
        sim.reset();
        let answer = python::call(daemon.grpc, NEWER, "Deliberate", deliberate(id, request)).await?.answer()?;
        let expected: BTreeMap<_, _> = waves.iter().map(|(wave, calls)| ((*wave).to_owned(), *calls)).collect();
        assert_eq!(calls_by_wave(&sim), expected, "{id}");
        let (calls, at_once) = (expected.values().sum::<usize>(), expected["propose-0"]);
        assert_eq!(sim.stats().calls, u64::try_from(calls)?, "{id}");
        assert_eq!(sim.stats().highest_concurrency, u64::try_from(at_once)?, "{id}");
        let results = answer["results"].as_array().context("no results")?;
        assert_eq!((results.len(), &answer["task_id"]), (at_once, &json!(id)));
        assert_eq!(answer["winner_id"], results[0]["proposal"]["author_id"]);
        assert_eq!(answer["metadata"]["tags"]["calls"], calls.to_string());
    }
    daemon.stop().await
}

/// All three hang: had one waited for another, they would never meet.
#[tokio::test]
async fn every_wave_asks_its_three_agents_at_once() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    for (stage, before) in [(Stage::Propose, 0), (Stage::Critique, 3), (Stage::Revise, 6)] {
        sim.reset();
        let hang = Fault { stage: Some(stage), ..Fault::always(FaultKind::Hang) };
        sim.set(BehaviourChange { faults: Some(vec![hang]), ..BehaviourChange::default() });
        let mut stream = daemon.client().await?.stream_deliberation(task("")).await?.into_inner();
        ensure!(stream.next().await.is_some());
        until_in_flight(&sim, 3, LIMIT).await?;
        assert_eq!(sim.stats().finished, before, "{stage}");
        drop(stream);
        until_in_flight(&sim, 0, LIMIT).await?;
    }
    daemon.stop().await
}

#[tokio::test]
async fn every_prompt_holds_the_brief_and_no_reviewer_learns_a_name() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let constraints = json!({"rubric": RUBRIC, "requirements": REQUIREMENTS});
    let request = deliberate("T-1", json!({"rounds": 2, "constraints": constraints}));
    python::call(daemon.grpc, NEWER, "Deliberate", request).await?.answer()?;
    let recorded = sim.recorded();
    assert_eq!(recorded.len(), 15);
    let mut systems = Vec::new();
    for request in &recorded {
        let body: Value = serde_json::from_str(&request.body)?;
        let prompt = body["messages"].to_string();
        for part in REQUIREMENTS.iter().chain([&RUBRIC, &"parse a duration"]) {
            assert!(prompt.contains(part), "{part} is missing in {}", request.call);
        }
        for name in ["agent-dev-", "moothall-sim"] {
            assert!(!prompt.contains(name), "{name} stands in {}", request.call);
        }
        systems.push(body["messages"][0]["content"].to_string());
    }
    systems.dedup();
    assert_eq!(systems.len(), 1, "the shared part of the prompts differs");
    daemon.stop().await
}

#[tokio::test]
async fn a_client_built_long_ago_finds_every_call_of_both_packages_health_and_reflection() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let seen = python::story(daemon.grpc).await?;
    let calls = json!({
        "one round": 9, "rounds=2": 15, "rounds=0": 9, "metadata.rounds=none": 3, "num_agents=2": 6
    });
    assert_eq!(seen["calls"], calls);
    for version in ["v1", "v1alpha"] {
        assert_eq!(seen["methods"][version][format!("{NEWER}.OrchestratorService")], 15, "{seen}");
        assert_eq!(seen["methods"][version][format!("{OLDER}.OrchestratorService")], 3, "{seen}");
    }
    daemon.stop().await
}

#[tokio::test]
async fn the_older_package_answers_with_its_own_numbers() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let request = json!({"task_description": "parse a duration", "role": "DEV", "rounds": 2, "num_agents": 2});
    let answer = python::call(daemon.grpc, OLDER, "Deliberate", request).await?.answer()?;
    assert_eq!(answer["results"].as_array().map(Vec::len), Some(2));
    assert_eq!(answer["winner_id"], answer["results"][0]["proposal"]["author_id"]);
    assert_eq!((sim.stats().calls, &answer["metadata"]["tags"]["calls"]), (10, &json!("10")));
    let asked = deliberate("T-1", json!({"rubric": "Short."}));
    assert!(python::call(daemon.grpc, OLDER, "Orchestrate", asked).await.is_err(), "the tables know no such field");
    let orchestrated = python::call(daemon.grpc, OLDER, "Orchestrate", deliberate("T-1", json!({}))).await?.answer()?;
    assert_eq!(orchestrated["winner"]["rank"], 1);
    let status = python::call(daemon.grpc, OLDER, "GetStatus", json!({"include_stats": true})).await?.answer()?;
    assert_eq!(status["stats"]["role_counts"]["DEV"], "2");
    daemon.stop().await
}

#[tokio::test]
async fn a_stream_names_its_task_first_and_ends_complete() -> Result<()> {
    let sim = simulator(Duration::ZERO).await?;
    let daemon = Home::new(sim.addr())?.start().await?;
    let stream = python::call(daemon.grpc, NEWER, "StreamDeliberation", deliberate("T-1", json!({}))).await?;
    assert_eq!(stream.end.code, "OK", "{:?}", stream.end.details);
    assert_eq!(stream.end.initial_metadata["moothall-task-id"], "T-1");
    let status: Vec<_> = stream.answers.iter().filter_map(|update| update["status"].as_str()).collect();
    assert_eq!((status.first(), status.last()), (Some(&"generating"), Some(&"complete")));
    let stored =
        python::call(daemon.grpc, NEWER, "GetDeliberationResult", json!({"task_id": "T-1"})).await?.answer()?;
    assert_eq!(stored["status"], "DELIBERATION_STATUS_COMPLETED");
    let last = stream.answers.last().context("no update")?;
    assert_eq!(stored["results"][0], last["partial_result"]);
    daemon.stop().await
}
