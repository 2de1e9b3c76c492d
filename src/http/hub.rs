//! The built-in agent hub for others: the same that this daemon's own workflows are executed by.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use moothall_actors::domain::problem::Problems;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Door;
use super::body::Body;
use super::refusal::{Cause, ErrorBody, Refusal};
use super::workflow::idempotency_key;
use crate::hub::{AgentView, InvokeError, InvokeResponse};

pub(super) fn routes() -> OpenApiRouter<Door> {
    OpenApiRouter::new().routes(routes!(invoke)).routes(routes!(agents))
}

/// As clients send it; no key has to be there but the feature's description.
#[derive(ToSchema)]
#[schema(as = Invocation)]
#[expect(dead_code, reason = "it is only described")]
struct InvokeBody {
    /// If it is there, the agent's name.
    workflow_type: Option<String>,
    /// `feature_description` (text), and maybe `feature_id`, `phase`, `additional_context`, `previous_result`,
    /// `rejection_reason`, `rejected_result`, `input`.
    #[schema(value_type = Object)]
    context: Value,
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
    session_id: Option<String>,
}

/// What came of it, or why nothing did.
#[derive(ToSchema)]
#[schema(as = InvocationAnswer)]
#[expect(dead_code, reason = "it is only described")]
struct InvokeAnswer {
    success: bool,
    /// `content`, `artifact`, `agent_id`, `task_id`, `run`.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// 0 to 100.
    confidence: Option<f64>,
    /// The evidence of the verdict.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    error: Option<String>,
    escalation_id: Option<String>,
}

/// Those that can be invoked.
#[derive(Serialize, ToSchema)]
struct Agents {
    #[schema(value_type = Vec<Object>)]
    agents: Vec<AgentView>,
}

/// Has a council deliberate on a phase, and answers when it has.
///
/// That may take minutes. With `Idempotency-Key` the same request comes to the same deliberation, however often it is sent;
/// without one it ends with its caller.
#[utoipa::path(post, path = "/invoke/{agent}", tag = "hub", request_body = InvokeBody,
    params(("agent" = String, Path, description = "The type of workflow: specify, plan, tasks or implement"),
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$", description = "1 to 255 visible ASCII characters")),
    responses((status = 200, description = "It ended, well or not: `success` says which", body = InvokeAnswer),
        (status = 400, description = "VALIDATION_ERROR", body = ErrorBody),
        (status = 404, description = "AGENT_NOT_FOUND", body = ErrorBody),
        (status = 413, description = "PAYLOAD_TOO_LARGE", body = ErrorBody),
        (status = 422, description = "VALIDATION_ERROR, IDEMPOTENCY_KEY_REUSED", body = ErrorBody),
        (status = 503, description = "BUSY, UNAVAILABLE", body = ErrorBody)))]
async fn invoke(
    State(door): State<Door>,
    Path(agent): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<InvokeResponse>, Refusal> {
    let hub = &door.doors.workflows()?.hub;
    let body = body?;
    // The shape first, in the words that clients know.
    let mut shape = Body::read(&body)?;
    shape.maybe_text("workflow_type");
    shape.maybe_object("context");
    shape.maybe_text("session_id");
    shape.check()?;
    let request = serde_json::from_slice(&body).map_err(|error| Refusal::new(Cause::Invalid, error.to_string()))?;
    let mut problems = Problems::default();
    let key = idempotency_key(&headers, &mut problems);
    if !problems.0.is_empty() {
        return Err(Refusal::because(Cause::Invalid, &problems));
    }
    Ok(Json(hub.answer(&agent, request, key.as_deref()).await?))
}

/// The agents of the built-in hub, with the council and the artifact of each phase.
#[utoipa::path(get, path = "/agents", tag = "hub",
    responses((status = 200, body = Agents), (status = 503, description = "UNAVAILABLE", body = ErrorBody)))]
async fn agents(State(door): State<Door>) -> Result<Json<Agents>, Refusal> {
    Ok(Json(Agents { agents: door.doors.workflows()?.hub.agents() }))
}

impl From<InvokeError> for Refusal {
    fn from(error: InvokeError) -> Self {
        let message = error.to_string();
        match error {
            InvokeError::UnknownAgent { .. } => Self::new(Cause::UnknownAgent, message),
            InvokeError::Invalid(problems) => Self::because(Cause::Invalid, &problems),
            InvokeError::KeyReused { key } => Self::key_reused(&key, message),
            InvokeError::Busy { retry_after, .. } => Self::busy(message, retry_after),
            InvokeError::Unavailable(_) => Self::unavailable(message),
        }
    }
}
