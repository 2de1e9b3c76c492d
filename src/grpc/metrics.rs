//! `GetMetrics`: percentiles over a window, agents and councils in numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::task::TaskKind;
use moothall_actors::view::{AgentStatus, CouncilStatus, CouncilView, Sample, SystemMetrics};

use super::number::{int, long};
use super::proto::fleet::orchestrator::v1 as fleet;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query {
    performance: bool,
    agents: bool,
    councils: bool,
    /// `None` = since start.
    pub(super) window: Option<Duration>,
}

impl Query {
    pub(super) fn parse(request: &fleet::GetMetricsRequest) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let kind = request.metric_type.as_str();
        if !matches!(kind, "" | "performance" | "agents" | "councils") {
            let shown = crate::error::cut(kind, 64);
            let rule = format!("is {shown:?}; allowed are performance, agents, councils, and empty for all");
            problems.push("metric_type", rule);
        }
        let window = u64::try_from(request.time_range_ms).ok();
        if window.is_none() {
            problems
                .push("time_range_ms", format!("is {}; allowed are 0 (since start) and above", request.time_range_ms));
        }
        if !problems.0.is_empty() {
            return Err(problems);
        }
        let wants = |name| kind.is_empty() || kind == name;
        Ok(Self {
            performance: wants("performance"),
            agents: wants("agents"),
            councils: wants("councils"),
            window: window.filter(|&millis| millis > 0).map(Duration::from_millis),
        })
    }

    pub(super) fn answer(&self, metrics: &SystemMetrics, councils: &[CouncilView]) -> fleet::GetMetricsResponse {
        fleet::GetMetricsResponse {
            performance: self.performance.then(|| performance(&metrics.samples)),
            agents: self.agents.then(|| agents(metrics, councils)),
            councils: self.councils.then(|| of_councils(councils)),
        }
    }
}

fn performance(samples: &[Sample]) -> fleet::PerformanceMetrics {
    let of = |kind| samples.iter().filter(move |sample| sample.kind == kind).map(|sample| sample.took);
    let mut took: Vec<_> = samples.iter().map(|sample| sample.took).collect();
    took.sort_unstable();
    fleet::PerformanceMetrics {
        avg_deliberation_ms: mean(of(TaskKind::Deliberate)),
        avg_orchestration_ms: mean(of(TaskKind::Orchestrate)),
        p50_latency_ms: percentile(&took, 50),
        p95_latency_ms: percentile(&took, 95),
        p99_latency_ms: percentile(&took, 99),
    }
}

pub(super) fn in_millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn mean(took: impl Iterator<Item = Duration>) -> f64 {
    let (count, total) = took.fold((0_u32, Duration::ZERO), |(count, total), one| (count + 1, total + one));
    if count == 0 { 0.0 } else { in_millis(total / count) }
}

/// Nearest rank: a value that was measured, never one between two. 0 = nothing was.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().map_or(0.0, in_millis)
}

fn agents(metrics: &SystemMetrics, councils: &[CouncilView]) -> fleet::AgentMetrics {
    let all = councils.iter().flat_map(|view| &view.agents);
    let per_role = councils.iter().map(|view| (view.council.role.to_string(), long(view.agents.len())));
    fleet::AgentMetrics {
        total_agents: long(all.clone().count()),
        active_agents: long(all.filter(|agent| agent.status != AgentStatus::Offline).count()),
        agents_per_role: per_role.collect(),
        avg_agent_response_time_ms: in_millis(metrics.mean_call),
    }
}

fn of_councils(councils: &[CouncilView]) -> fleet::CouncilMetrics {
    let health: BTreeMap<_, _> = councils.iter().map(|view| (view.council.role.council_id(), health(view))).collect();
    fleet::CouncilMetrics {
        total_councils: long(councils.len()),
        active_councils: long(active(councils)),
        health_per_council: health,
    }
}

/// Those that take work.
pub(super) fn active(councils: &[CouncilView]) -> usize {
    councils.iter().filter(|view| view.status != CouncilStatus::Parked).count()
}

fn health(view: &CouncilView) -> fleet::CouncilHealth {
    let agents = |status| int(view.agents.iter().filter(|agent| agent.status == status).count());
    let ended = view.completed + view.failed;
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
    let success_rate = if ended == 0 { 1.0 } else { view.completed as f64 / ended as f64 };
    fleet::CouncilHealth {
        status: view.status.as_str().to_owned(),
        available_agents: agents(AgentStatus::Ready),
        busy_agents: agents(AgentStatus::Busy),
        success_rate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(metric_type: &str, time_range_ms: i64) -> fleet::GetMetricsRequest {
        fleet::GetMetricsRequest { metric_type: metric_type.into(), time_range_ms }
    }

    #[test]
    fn the_type_selects_and_all_problems_are_named() {
        let parts = |kind| {
            let answer = Query::parse(&request(kind, 0)).unwrap().answer(&SystemMetrics::default(), &[]);
            (answer.performance.is_some(), answer.agents.is_some(), answer.councils.is_some())
        };
        assert_eq!(parts(""), (true, true, true));
        assert_eq!(parts("performance"), (true, false, false));
        assert_eq!(parts("agents"), (false, true, false));
        assert_eq!(parts("councils"), (false, false, true));
        assert_eq!(Query::parse(&request("speed", -1)).unwrap_err().0.len(), 2);
        assert_eq!(Query::parse(&request("", 5)).unwrap().window, Some(Duration::from_millis(5)));
        assert_eq!(Query::parse(&request("", 0)).unwrap().window, None);
    }

    #[test]
    fn percentiles_are_measured_values() {
        let took: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let close = |given: f64, expected: f64| assert!((given - expected).abs() < 1e-9, "{given} {expected}");
        close(percentile(&took, 50), 50.0);
        close(percentile(&took, 95), 95.0);
        close(percentile(&took, 99), 99.0);
        close(percentile(&took[..1], 99), 1.0);
        close(percentile(&took[..3], 50), 2.0);
        close(percentile(&[], 50), 0.0);
    }

    #[test]
    fn kinds_have_their_own_mean_and_share_the_percentiles() {
        let sample = |kind, millis| Sample { at: Duration::ZERO, kind, took: Duration::from_millis(millis) };
        let samples =
            [sample(TaskKind::Deliberate, 10), sample(TaskKind::Deliberate, 20), sample(TaskKind::Orchestrate, 100)];
        let metrics = performance(&samples);
        assert!((metrics.avg_deliberation_ms - 15.0).abs() < 1e-9);
        assert!((metrics.avg_orchestration_ms - 100.0).abs() < 1e-9);
        assert!((metrics.p99_latency_ms - 100.0).abs() < 1e-9);
    }
}
