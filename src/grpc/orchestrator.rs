//! `fleet.orchestrator.v1.OrchestratorService`: every call parses, asks the system and maps.

use futures::{StreamExt, stream};
use moothall_actors::Hold;
use moothall_actors::domain::id::{AgentId, Role, TaskId};
use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::task::TaskKind;
use moothall_actors::progress::Phase;
use moothall_actors::view::{SystemStatus, TaskState, TaskView};
use tonic::{Request, Response, Status};

use super::answer::{self, Finished};
use super::context;
use super::council;
use super::deadline::Deadline;
use super::door::{Door, named};
use super::events::{Event, events};
use super::guard::Guarded;
use super::metrics::{self, in_millis};
use super::number::{int, long, millis};
use super::planning;
use super::proto::fleet::orchestrator::v1 as fleet;
use super::proto::fleet::orchestrator::v1::DeliberationStatus as Wire;
use super::proto::fleet::orchestrator::v1::orchestrator_service_server::OrchestratorService;
use super::request;
use crate::error::{Kind, Kinded, invalid, status};

pub(super) struct Orchestrator(pub(super) Door);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl OrchestratorService for Orchestrator {
    async fn deliberate(&self, request: Request<fleet::DeliberateRequest>) -> Answer<fleet::DeliberateResponse> {
        let (metadata, _, message) = request.into_parts();
        let (finished, task) = self.0.finish(request::deliberate(message, &metadata)).await?;
        Ok(named(deliberated(finished, &task), &task))
    }

    async fn deliberate_for_backlog_review(
        &self,
        request: Request<fleet::DeliberateRequest>,
    ) -> Answer<fleet::DeliberateResponse> {
        let (metadata, _, message) = request.into_parts();
        let (attached, _) = self.0.submit(request::backlog(message, &metadata), Hold::Background).await?;
        let task = attached.task();
        Ok(named(fleet::DeliberateResponse { task_id: task.to_string(), ..Default::default() }, task))
    }

    async fn orchestrate(&self, request: Request<fleet::OrchestrateRequest>) -> Answer<fleet::OrchestrateResponse> {
        let (metadata, _, message) = request.into_parts();
        let (finished, task) = self.0.finish(request::orchestrate(message, &metadata)).await?;
        Ok(named(orchestrated(finished), &task))
    }

    type StreamDeliberationStream = Guarded<fleet::DeliberationUpdate>;

    async fn stream_deliberation(
        &self,
        request: Request<fleet::DeliberateRequest>,
    ) -> Answer<Self::StreamDeliberationStream> {
        let deadline = request.extensions().get::<Deadline>().copied();
        let (metadata, _, message) = request.into_parts();
        let (attached, role) = self.0.submit(request::deliberate(message, &metadata), Hold::Stream).await?;
        let task = attached.task().clone();
        let updates = events(attached).flat_map(move |event| stream::iter(updates(event, &role)));
        Ok(named(self.0.guards.guard(deadline, updates), &task))
    }

    async fn get_deliberation_result(
        &self,
        request: Request<fleet::GetDeliberationResultRequest>,
    ) -> Answer<fleet::GetDeliberationResultResponse> {
        let task = parsed(|problems| problems.keep(TaskId::parse("task_id", &request.get_ref().task_id)))?;
        let view = self.0.system.task(&task).await.map_err(|error| status(&error))?;
        Ok(Response::new(standing(&view)))
    }

    async fn register_agent(
        &self,
        request: Request<fleet::RegisterAgentRequest>,
    ) -> Answer<fleet::RegisterAgentResponse> {
        let system = &self.0.system;
        let type_of = |role: &Role| {
            let council = system.councils().into_iter().find(|view| view.council.role == *role);
            council.map(|view| view.council.agent_type.clone())
        };
        let (role, seat) = council::seat(request.into_inner(), &self.0.settings.agents, type_of)?;
        let message = format!("agent {} joined council {role}", seat.agent);
        system.register_agent(&role, seat).await.map_err(|error| status(&error))?;
        Ok(Response::new(fleet::RegisterAgentResponse { success: true, message, council_id: role.council_id() }))
    }

    async fn unregister_agent(
        &self,
        request: Request<fleet::UnregisterAgentRequest>,
    ) -> Answer<fleet::UnregisterAgentResponse> {
        let message = request.get_ref();
        let (agent, role) = parsed(|problems| {
            let agent = problems.keep(AgentId::parse("agent_id", &message.agent_id));
            let role = problems.keep(Role::parse("role", &message.role));
            agent.zip(role)
        })?;
        self.0.system.unregister_agent(&role, &agent).await.map_err(|error| status(&error))?;
        let message = format!("agent {agent} left council {role}; its calls in flight finish");
        Ok(Response::new(fleet::UnregisterAgentResponse { success: true, message }))
    }

    async fn create_council(
        &self,
        request: Request<fleet::CreateCouncilRequest>,
    ) -> Answer<fleet::CreateCouncilResponse> {
        let draft = council::draft(request.into_inner(), &self.0.settings.agents)?;
        let council = self.0.system.create_council(draft).await.map_err(|error| status(&error))?;
        Ok(Response::new(fleet::CreateCouncilResponse {
            council_id: council.role.council_id(),
            agents_created: int(council.seats.len()),
            agent_ids: council.seats.iter().map(|seat| seat.agent.to_string()).collect(),
        }))
    }

    async fn list_councils(&self, request: Request<fleet::ListCouncilsRequest>) -> Answer<fleet::ListCouncilsResponse> {
        let message = request.get_ref();
        let filter = parsed(|problems| match message.role_filter.as_str() {
            "" => Some(None),
            role => problems.keep(Role::parse("role_filter", role)).map(Some),
        })?;
        let mut views = self.0.system.councils();
        views.retain(|view| filter.as_ref().is_none_or(|role| view.council.role == *role));
        views.sort_by(|a, b| a.council.role.cmp(&b.council.role));
        let info = |view| council::info(view, message.include_agents, &self.0.settings.agents);
        Ok(Response::new(fleet::ListCouncilsResponse { councils: views.iter().map(info).collect() }))
    }

    async fn delete_council(
        &self,
        request: Request<fleet::DeleteCouncilRequest>,
    ) -> Answer<fleet::DeleteCouncilResponse> {
        let role = parsed(|problems| problems.keep(Role::parse("role", &request.get_ref().role)))?;
        let removed = self.0.system.delete_council(&role).await.map_err(|error| status(&error))?;
        let message = format!("council {role} is deleted; its running deliberations finish");
        Ok(Response::new(fleet::DeleteCouncilResponse { success: true, message, agents_removed: int(removed) }))
    }

    async fn process_planning_event(
        &self,
        request: Request<fleet::PlanningEventRequest>,
    ) -> Answer<fleet::PlanningEventResponse> {
        planning::process(&self.0.system, &self.0.intake, request.into_inner()).await.map(Response::new)
    }

    async fn derive_subtasks(
        &self,
        request: Request<fleet::DeriveSubtasksRequest>,
    ) -> Answer<fleet::DeriveSubtasksResponse> {
        planning::derive(&self.0.intake, request.into_inner()).await.map(Response::new)
    }

    async fn get_task_context(
        &self,
        request: Request<fleet::GetTaskContextRequest>,
    ) -> Answer<fleet::GetTaskContextResponse> {
        context::get(&self.0.system, request.get_ref()).await.map(Response::new)
    }

    async fn get_status(&self, request: Request<fleet::GetStatusRequest>) -> Answer<fleet::GetStatusResponse> {
        Ok(Response::new(overall(&self.0, request.get_ref().include_stats)))
    }

    async fn get_metrics(&self, request: Request<fleet::GetMetricsRequest>) -> Answer<fleet::GetMetricsResponse> {
        let query = metrics::Query::parse(request.get_ref()).map_err(|problems| invalid(&problems))?;
        let system = &self.0.system;
        Ok(Response::new(query.answer(&system.metrics(query.window), &system.councils())))
    }
}

/// What `parse` found, or INVALID_ARGUMENT with every problem.
pub(super) fn parsed<T>(parse: impl FnOnce(&mut Problems) -> Option<T>) -> Result<T, Status> {
    let mut problems = Problems::default();
    parse(&mut problems).filter(|_| problems.0.is_empty()).ok_or_else(|| invalid(&problems))
}

fn deliberated(finished: Finished, task: &TaskId) -> fleet::DeliberateResponse {
    fleet::DeliberateResponse {
        task_id: task.to_string(),
        results: finished.results,
        winner_id: finished.winner_id,
        duration_ms: finished.duration_ms,
        metadata: Some(finished.metadata),
    }
}

/// The first is the winner, the others are the candidates.
pub(super) fn orchestrated(finished: Finished) -> fleet::OrchestrateResponse {
    let mut results = finished.results.into_iter();
    fleet::OrchestrateResponse {
        winner: results.next(),
        candidates: results.collect(),
        execution_id: finished.metadata.execution_id.clone(),
        duration_ms: finished.duration_ms,
        metadata: Some(finished.metadata),
    }
}

/// What a reader is told of one event: a failed run ends with an update that says so, and then with its error.
fn updates(event: Event, role: &Role) -> Vec<Result<fleet::DeliberationUpdate, Status>> {
    match event {
        // The contract's words begin when work does.
        Event::Updated(_, update) if update.phase == Phase::Pending => Vec::new(),
        Event::Updated(_, update) => vec![Ok(fleet::DeliberationUpdate {
            status: update.phase.as_str().to_owned(),
            progress_percent: i32::from(update.percent),
            current_step: update.step.to_string(),
            current_agent: update.agent.as_ref().map(ToString::to_string).unwrap_or_default(),
            partial_result: update.partial.as_ref().map(|partial| answer::partial(partial, role)),
        })],
        Event::Ended { result: Ok(outcome), .. } => {
            let finished = Finished::of(&outcome, role);
            vec![Ok(fleet::DeliberationUpdate {
                status: "complete".to_owned(),
                progress_percent: 100,
                current_step: format!("{} wins", finished.winner_id),
                current_agent: finished.winner_id,
                partial_result: finished.results.into_iter().next(),
            })]
        }
        Event::Ended { result: Err(error), percent, .. } => {
            let failed = fleet::DeliberationUpdate {
                status: "failed".to_owned(),
                progress_percent: i32::from(percent),
                current_step: crate::error::cut(&error.to_string(), 4096),
                ..Default::default()
            };
            vec![Ok(failed), Err(status(&error))]
        }
    }
}

fn standing(view: &TaskView) -> fleet::GetDeliberationResultResponse {
    let task_id = view.row.task.to_string();
    let plain = |status: Wire| fleet::GetDeliberationResultResponse {
        task_id: task_id.clone(),
        status: status.into(),
        duration_ms: view.row.duration.map(millis).unwrap_or_default(),
        ..Default::default()
    };
    match &view.state {
        TaskState::Pending | TaskState::Waiting { .. } => plain(Wire::Pending),
        TaskState::Running { .. } => plain(Wire::InProgress),
        TaskState::Completed(outcome) => {
            let finished = Finished::of(outcome, &view.row.role);
            fleet::GetDeliberationResultResponse {
                results: finished.results,
                winner_id: finished.winner_id,
                duration_ms: finished.duration_ms,
                metadata: Some(finished.metadata),
                ..plain(Wire::Completed)
            }
        }
        TaskState::Ended(error) => {
            let ended = if error.kind() == Kind::TimedOut { Wire::Timeout } else { Wire::Failed };
            fleet::GetDeliberationResultResponse { error_message: error.to_string(), ..plain(ended) }
        }
    }
}

/// How the orchestrator is; both packages answer alike.
pub(super) fn overall(door: &Door, include_stats: bool) -> fleet::GetStatusResponse {
    let report = door.readiness.report();
    let active = metrics::active(&door.system.councils());
    fleet::GetStatusResponse {
        status: report.status.to_owned(),
        uptime_seconds: long(report.uptime.as_secs()),
        stats: include_stats.then(|| stats(&door.system.status(), active)),
    }
}

fn stats(status: &SystemStatus, active: usize) -> fleet::OrchestratorStats {
    let mut stats = fleet::OrchestratorStats { active_councils: long(active), ..Default::default() };
    let mut total = std::time::Duration::ZERO;
    for ((role, kind), finished) in &status.finished {
        let count = long(finished.count);
        match kind {
            TaskKind::Deliberate => stats.total_deliberations += count,
            TaskKind::Orchestrate => stats.total_orchestrations += count,
        }
        *stats.role_counts.entry(role.to_string()).or_default() += count;
        total += finished.total;
    }
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 52 bits")]
    let ended = (stats.total_deliberations + stats.total_orchestrations) as f64;
    if ended > 0.0 {
        stats.avg_deliberation_time_ms = in_millis(total) / ended;
    }
    stats
}

#[cfg(test)]
#[path = "orchestrator_tests.rs"]
mod tests;
