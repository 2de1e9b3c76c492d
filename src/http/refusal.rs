//! What HTTP answers when it does not do what was asked: one table from causes to status and code, because clients decide
//! on both.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use moothall_actors::WorkflowError;
use moothall_actors::domain::problem::Problems;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::guard::MAX_BODY_BYTES;

/// When to come back while the daemon starts, stops or cannot write.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The body is JSON of another shape, or none.
    Misshapen,
    Invalid,
    WorkflowType,
    Uuid,
    Trigger,
    WrongState,
    NotAnApprover,
    UnknownWorkflow,
    UnknownAgent,
    UnknownPath,
    Method,
    VoteClosed,
    Precondition,
    TooLarge,
    KeyReused,
    Internal,
    Busy,
    Unavailable,
    TimedOut,
}

impl Cause {
    fn row(self) -> (StatusCode, &'static str) {
        match self {
            Self::Misshapen => (StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_ERROR"),
            Self::Invalid => (StatusCode::BAD_REQUEST, "VALIDATION_ERROR"),
            Self::WorkflowType => (StatusCode::BAD_REQUEST, "INVALID_WORKFLOW_TYPE"),
            Self::Uuid => (StatusCode::BAD_REQUEST, "INVALID_UUID"),
            Self::Trigger => (StatusCode::BAD_REQUEST, "INVALID_TRIGGER"),
            Self::WrongState => (StatusCode::BAD_REQUEST, "INVALID_STATE_TRANSITION"),
            Self::NotAnApprover => (StatusCode::FORBIDDEN, "NOT_AN_APPROVER"),
            Self::UnknownWorkflow => (StatusCode::NOT_FOUND, "WORKFLOW_NOT_FOUND"),
            Self::UnknownAgent => (StatusCode::NOT_FOUND, "AGENT_NOT_FOUND"),
            Self::UnknownPath => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::VoteClosed => (StatusCode::CONFLICT, "VOTE_CLOSED"),
            Self::Precondition => (StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE"),
            Self::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "BUSY"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            Self::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "TIMEOUT"),
        }
    }
}

/// A part of the way to a misfit.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is only described")]
enum Place {
    Field(String),
    Index(u64),
}

/// One thing in a request that has the wrong shape, in the words of FastAPI: clients read them by machine.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Misfit {
    /// Such as `missing`, `string_type`.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// Where it stands: `body` or `header`, then a field.
    #[schema(value_type = Vec<Place>)]
    pub(crate) loc: Vec<Value>,
    pub(crate) msg: String,
    /// What stands there.
    pub(crate) input: Value,
    /// More about it, where the type has more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ctx: Option<Value>,
}

impl Misfit {
    /// As a line among the details of an error.
    fn line(&self) -> String {
        let part = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
        format!("{}: {}", self.loc.iter().map(part).collect::<Vec<_>>().join("."), self.msg)
    }
}

/// The body of every answer that is an error.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody {
    error: ErrorShown,
    /// FastAPI's list; only with 422.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    detail: Vec<Misfit>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ErrorDescription)]
struct ErrorShown {
    /// One of a closed set; see the documentation of workflows.
    #[schema(example = "VALIDATION_ERROR")]
    code: &'static str,
    message: String,
    /// Every problem that was found, each a field and its rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    details: Vec<String>,
}

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Refusal {
    cause: Cause,
    message: String,
    details: Vec<String>,
    misfits: Vec<Misfit>,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into(), details: Vec::new(), misfits: Vec::new(), retry_after: None }
    }

    /// With every problem; `cause` says which of them comes first.
    pub(crate) fn because(cause: Cause, problems: &Problems) -> Self {
        let details = problems.0.iter().map(ToString::to_string).collect();
        Self { details, ..Self::new(cause, problems.to_string()) }
    }

    pub(crate) fn misshapen(misfits: Vec<Misfit>) -> Self {
        let details: Vec<_> = misfits.iter().map(Misfit::line).collect();
        Self { misfits, ..Self::new(Cause::Misshapen, details.join("; ")) }.with_details(details)
    }

    pub(crate) fn busy(message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(Cause::Busy, message) }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after: Some(UNAVAILABLE_RETRY), ..Self::new(Cause::Unavailable, message) }
    }

    /// A bug; `id` is in the log beside the details.
    pub(crate) fn internal(id: &str) -> Self {
        Self::new(Cause::Internal, format!("internal error {id}; the log says more"))
            .with_details(vec![format!("error_id {id}")])
    }

    fn with_details(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }

    pub(crate) fn key_reused(key: &str, message: String) -> Self {
        let misfit = Misfit {
            kind: "idempotency_key_reused",
            loc: vec!["header".into(), "idempotency-key".into()],
            msg: message.clone(),
            input: key.into(),
            ctx: None,
        };
        Self { misfits: vec![misfit], ..Self::new(Cause::KeyReused, message) }
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> &'static str {
        self.cause.row().1
    }
}

impl From<WorkflowError> for Refusal {
    fn from(error: WorkflowError) -> Self {
        let message = error.to_string();
        match error {
            WorkflowError::Invalid(problems) => Self::because(Cause::Invalid, &problems),
            WorkflowError::Unknown { .. } => Self::new(Cause::UnknownWorkflow, message),
            WorkflowError::WrongState { .. } | WorkflowError::OtherArtifact { .. } => {
                Self::new(Cause::WrongState, message)
            }
            WorkflowError::VoteClosed { .. } => Self::new(Cause::VoteClosed, message),
            WorkflowError::NotAnApprover { .. } => Self::new(Cause::NotAnApprover, message),
            WorkflowError::Stale { .. } => Self::new(Cause::Precondition, message),
            WorkflowError::KeyReused { key } => Self::key_reused(&key, message),
            WorkflowError::Busy { retry_after, .. } => Self::busy(message, retry_after),
            WorkflowError::Unavailable(_) => Self::unavailable(message),
            WorkflowError::Internal { id } => Self::internal(&id),
        }
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::new(Cause::TooLarge, format!("the body is over {MAX_BODY_BYTES} bytes"));
        }
        Self::new(Cause::Invalid, format!("the body did not come whole: {rejection}"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.cause.row();
        let shown = ErrorShown { code, message: self.message, details: self.details };
        let mut response = (status, Json(ErrorBody { error: shown, detail: self.misfits })).into_response();
        if let Some(wait) = self.retry_after {
            let (name, seconds): (HeaderName, _) = (RETRY_AFTER, wait.as_millis().div_ceil(1000).max(1));
            response.headers_mut().insert(name, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use moothall_actors::domain::workflow::{Trigger, WorkflowId, WorkflowStatus as Status};

    use super::*;

    #[test]
    fn every_error_of_a_workflow_has_its_status_and_code() {
        let (key, id) = ("k".into(), "e1".into());
        let problems = Problems(vec![moothall_actors::domain::problem::Problem::new("actor", "is missing")]);
        let status = Status::Completed;
        let busy = WorkflowError::Busy { what: "full".into(), retry_after: Duration::from_millis(1500) };
        let table = [
            (WorkflowError::Invalid(problems), 400, "VALIDATION_ERROR"),
            (WorkflowError::Unknown { id: WorkflowId([0; 16]) }, 404, "WORKFLOW_NOT_FOUND"),
            (WorkflowError::WrongState { status, trigger: Trigger::Error }, 400, "INVALID_STATE_TRANSITION"),
            (WorkflowError::OtherArtifact { actual: "a".into(), given: "b".into() }, 400, "INVALID_STATE_TRANSITION"),
            (WorkflowError::VoteClosed { status }, 409, "VOTE_CLOSED"),
            (WorkflowError::NotAnApprover { actor: "eve".into(), allowed: Vec::new() }, 403, "NOT_AN_APPROVER"),
            (WorkflowError::Stale { actual: 3, expected: 2 }, 412, "PRECONDITION_FAILED"),
            (WorkflowError::KeyReused { key }, 422, "IDEMPOTENCY_KEY_REUSED"),
            (busy, 503, "BUSY"),
            (WorkflowError::Unavailable("stopping".into()), 503, "UNAVAILABLE"),
            (WorkflowError::Internal { id }, 500, "INTERNAL_ERROR"),
        ];
        for (error, status, code) in table {
            let refusal = Refusal::from(error);
            assert_eq!(refusal.code(), code);
            assert_eq!(refusal.into_response().status().as_u16(), status, "{code}");
        }
    }

    #[test]
    fn whoever_is_to_come_again_is_told_when() {
        let busy = WorkflowError::Busy { what: "full".into(), retry_after: Duration::from_millis(1500) };
        let after = |refusal: Refusal| refusal.into_response().headers().get(RETRY_AFTER).cloned();
        assert_eq!(after(busy.into()), Some(HeaderValue::from_static("2")));
        assert_eq!(after(Refusal::unavailable("stopping")), Some(HeaderValue::from_static("1")));
        assert_eq!(after(Refusal::internal("e1")), None);
    }
}
