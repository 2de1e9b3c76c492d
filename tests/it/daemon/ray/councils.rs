//! Councils whose calls are made through Ray: as many as ever, a wave at once, each once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use moothall::grpc::proto::fleet::orchestrator::v1::{
    CouncilConfig, CreateCouncilRequest, DeliberateRequest, DeliberationStatus, GetDeliberationResultRequest,
    RegisterAgentRequest,
};
use moothall::grpc::proto::fleet::ray_executor::v1::RayExecutorStats;

use super::super::harness::{Daemon, Home, LIMIT, until};
use super::super::request::{authors, task, with_metadata};
use super::stand::{Stand, assert_complete, deliberate, until_executor_is};

/// Long enough for the calls of a wave to meet.
const LATENCY: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_council_deliberates_through_ray_as_it_would_without() -> Result<()> {
    let stand = Stand::start(LATENCY).await?;
    let daemon = stand.home()?.start().await?;
    there_are_as_many_waves_as_rounds_ask_for(&stand, &daemon).await?;
    until_executor_is(&daemon, "healthy").await?;
    seats_of_one_council_go_both_ways(&stand, &daemon).await?;
    daemon.stop().await?;
    reviews_of_a_backlog_go_to_the_executor(&stand).await?;
    stand.stop().await
}

async fn there_are_as_many_waves_as_rounds_ask_for(stand: &Stand, daemon: &Daemon) -> Result<()> {
    // The wire's 0 means as many rounds as the council has, which is one.
    let council = DeliberateRequest { rounds: 0, ..task("council") };
    let once = DeliberateRequest { rounds: 1, ..task("once") };
    let twice = DeliberateRequest { rounds: 2, ..task("twice") };
    let never = with_metadata(task("never"), "rounds", "none");
    let mut seen = stand.executor.stats().await?;
    for (request, waves) in [(council, 3), (once, 3), (twice, 5), (never, 1)] {
        let (id, calls) = (request.task_id.clone(), 3 * waves);
        assert_complete(&deliberate(daemon, request).await?, calls)?;
        stand.assert_each_once(&id, calls)?;
        assert_waves_are_at_once(stand, &id)?;
        assert_eq!(stand.through_ray(&id).len(), calls, "{id}");
        seen = assert_grew(stand, &seen, waves).await?;
    }
    assert_eq!(stand.sim.stats().highest_concurrency, 3);
    Ok(())
}

/// The last call of each wave began before the first could have ended.
fn assert_waves_are_at_once(stand: &Stand, task: &str) -> Result<()> {
    let mut begun: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (call, count) in stand.calls(task) {
        let (wave, _agent) = call.rsplit_once('/').unwrap_or_default();
        begun.entry(wave.to_owned()).or_default().push(count.first_started_at_us);
    }
    for (wave, mut begun) in begun {
        begun.sort_unstable();
        let [first, _, last] = begun[..] else { anyhow::bail!("{wave}: {begun:?}") };
        ensure!(u128::from(last - first) < LATENCY.as_micros(), "{wave} was not asked at once: {begun:?}");
    }
    Ok(())
}

async fn seats_of_one_council_go_both_ways(stand: &Stand, daemon: &Daemon) -> Result<()> {
    create(daemon, "QA", "RAY_VLLM").await?;
    join(daemon, "QA", "direct", "pool").await?;
    create(daemon, "OPS", "VLLM").await?;
    join(daemon, "OPS", "there", "ray").await?;
    let mut seen = stand.executor.stats().await?;
    // The executor makes a part of each of the three waves.
    for (role, made_there) in [("QA", 2 * 3), ("OPS", 3)] {
        let request = DeliberateRequest { role: role.to_owned(), ..task(role) };
        assert_complete(&deliberate(daemon, request).await?, 9)?;
        stand.assert_each_once(role, 9)?;
        assert_waves_are_at_once(stand, role)?;
        seen = assert_grew(stand, &seen, 3).await?;
        let there = stand.through_ray(role);
        assert_eq!(there.len(), made_there, "{there:?}");
        for call in there {
            ensure!(!call.ends_with("/direct") && call.ends_with("/there") == (role == "OPS"), "{call}");
        }
    }
    Ok(())
}

/// Its agents are model servers' own; with an address of the executor their reviews go there all the same.
async fn reviews_of_a_backlog_go_to_the_executor(stand: &Stand) -> Result<()> {
    let home = Home::new(stand.sim.addr())?.with("EXECUTOR_ADDRESS", stand.executor.address().to_string());
    let daemon = home.start().await?;
    let before = stand.executor.stats().await?;
    assert_complete(&deliberate(&daemon, task("direct")).await?, 9)?;
    let before = assert_grew(stand, &before, 0).await?;
    let id = "ceremony-1:story-2:role-DEV";
    let mut client = daemon.client().await?;
    // Answered at once; the result comes later.
    client.deliberate_for_backlog_review(DeliberateRequest { rounds: 1, ..task(id) }).await?;
    let look = || async {
        let request = GetDeliberationResultRequest { task_id: id.to_owned() };
        let found = client.clone().get_deliberation_result(request).await?.into_inner();
        Ok((found.status() == DeliberationStatus::Completed).then_some(found))
    };
    let result = until("the review is done", LIMIT, look).await?;
    assert_eq!(authors(&result.results).len(), 3, "{result:?}");
    stand.assert_each_once(id, 9)?;
    assert_grew(stand, &before, 3).await?;
    assert_eq!(stand.through_ray(id).len(), 9);
    daemon.stop().await
}

/// So many waves more than before have completed there.
async fn assert_grew(stand: &Stand, before: &RayExecutorStats, waves: usize) -> Result<RayExecutorStats> {
    let waves = i64::try_from(waves)?;
    let now = stand.executor.stats().await?;
    let grown = |count: fn(&RayExecutorStats) -> i64| count(&now) - count(before);
    assert_eq!(grown(|stats| stats.total_deliberations), waves, "{now:?}");
    assert_eq!(grown(|stats| stats.completed_deliberations), waves, "{now:?}");
    assert_eq!((now.active_deliberations, now.failed_deliberations), (0, 0));
    Ok(now)
}

/// With two agents.
async fn create(daemon: &Daemon, role: &str, agent_type: &str) -> Result<()> {
    let config = CouncilConfig { agent_type: agent_type.to_owned(), ..CouncilConfig::default() };
    let request = CreateCouncilRequest { role: role.to_owned(), num_agents: 2, config: Some(config) };
    daemon.client().await?.create_council(request).await?;
    Ok(())
}

/// A third one.
async fn join(daemon: &Daemon, role: &str, agent: &str, endpoint: &str) -> Result<()> {
    let request = RegisterAgentRequest {
        agent_id: agent.to_owned(),
        role: role.to_owned(),
        endpoint: endpoint.to_owned(),
        ..RegisterAgentRequest::default()
    };
    daemon.client().await?.register_agent(request).await?;
    Ok(())
}
