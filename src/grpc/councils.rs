//! `moothall.v1.CouncilService`: looks after councils and shows how the system stands.

use moothall_actors::domain::id::Role;
use moothall_actors::view::ActorNode;
use tonic::{Request, Response, Status};

use super::door::Door;
use super::number::{int, long};
use super::orchestrator::parsed;
use super::proto::moothall::v1 as wire;
use super::proto::moothall::v1::council_service_server::CouncilService;
use super::queue::pauses;
use crate::error::status;
use crate::http::Health;
use crate::vllm::ReplicaState;

pub(super) struct Councils(pub(super) Door);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl CouncilService for Councils {
    async fn resume_council(
        &self,
        request: Request<wire::ResumeCouncilRequest>,
    ) -> Answer<wire::ResumeCouncilResponse> {
        let role = parsed(|problems| problems.keep(Role::parse("role", &request.get_ref().role)))?;
        self.0.system.resume_council(&role).await.map_err(|error| status(&error))?;
        Ok(Response::new(wire::ResumeCouncilResponse { council_id: role.council_id() }))
    }

    async fn get_tree(&self, _: Request<wire::GetTreeRequest>) -> Answer<wire::GetTreeResponse> {
        let actors = self.0.system.tree().into_iter().map(node).collect();
        Ok(Response::new(wire::GetTreeResponse { actors }))
    }

    async fn get_system_status(
        &self,
        _: Request<wire::GetSystemStatusRequest>,
    ) -> Answer<wire::GetSystemStatusResponse> {
        let report = self.0.readiness.report();
        let system = self.0.system.status();
        let councils = self.0.system.councils();
        let scripted = councils.iter().any(|view| &*view.council.agent_type == "MOCK");
        let amiss = report.components.iter().filter_map(|(part, health)| match health {
            Health::Healthy => None,
            Health::Degraded(why) | Health::Unhealthy(why) => Some((part.clone(), why.to_string())),
        });
        Ok(Response::new(wire::GetSystemStatusResponse {
            status: report.status.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: long(report.uptime.as_secs()),
            open: int(system.open),
            permits_free: int(system.permits_free),
            permits_total: int(system.permits_total),
            councils: int(councils.len()),
            degraded: amiss.collect(),
            journal: report.components.get("journal").map_or("unknown", Health::as_str).to_owned(),
            draining: system.draining,
            simulated: self.0.settings.simulated || scripted,
            model_servers: (self.0.models)().into_iter().map(model_server).collect(),
            // A journal that cannot be read says so above.
            paused: self.0.system.pauses().await.ok().map(pauses),
        }))
    }
}

fn model_server(state: ReplicaState) -> wire::ModelServer {
    wire::ModelServer {
        breaker: state.breaker.as_str().to_owned(),
        outstanding: int(state.outstanding),
        requests: long(state.requests),
        failures: long(state.failures),
        prompt_tokens: long(state.prefix.prompt_tokens),
        cached_tokens: long(state.prefix.cached_tokens),
        url: state.url,
    }
}

fn node(node: ActorNode) -> wire::ActorNode {
    wire::ActorNode {
        name: node.name,
        parent: node.parent.unwrap_or_default(),
        state: node.state.to_owned(),
        restarts: int(node.restarts),
        reason: node.reason.as_deref().unwrap_or_default().to_owned(),
    }
}
