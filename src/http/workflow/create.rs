//! `POST /workflows`: what is wanted, checked as a whole before anything is made of it.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use moothall_actors::NewWorkflow;
use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::workflow::{
    ApprovalRule, MAX_FEATURE_BYTES, MAX_PAYLOAD_BYTES, MIN_FEATURE_CHARS, WorkflowType,
};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::Door;
use super::super::body::{Body, Passing};
use super::super::doors::WorkflowDoor;
use super::super::refusal::{Cause, ErrorBody, Refusal};
use super::shown::{Shown, answer};
use super::{approval, condition, slug};

/// As clients send it; read field by field, so that every misfit is told at once.
#[derive(ToSchema)]
#[schema(as = NewWorkflow)]
#[expect(dead_code, reason = "it is only described")]
struct CreateBody {
    /// One of specify, plan, tasks, implement.
    #[schema(example = "specify", pattern = "^(specify|plan|tasks|implement)$")]
    workflow_type: String,
    /// At least 10 characters without the blanks at its ends, at most 65,536 bytes.
    #[schema(example = "Users log in with a passkey", min_length = 10)]
    feature_description: String,
    /// The client's own, handed to the agents; `chain` and `approval` in it mean something here. At most 1 MiB.
    context: Option<Map<String, Value>>,
}

/// Begins a workflow.
///
/// With `Idempotency-Key` the same request made again answers with the workflow that the first one made.
#[utoipa::path(post, path = "/workflows", tag = "workflows", request_body = CreateBody,
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$", description = "1 to 255 visible ASCII characters")),
    responses((status = 201, description = "It has begun", body = Shown),
        (status = 400, description = "INVALID_WORKFLOW_TYPE, VALIDATION_ERROR", body = ErrorBody),
        (status = 413, description = "PAYLOAD_TOO_LARGE", body = ErrorBody),
        (status = 422, description = "VALIDATION_ERROR, IDEMPOTENCY_KEY_REUSED", body = ErrorBody),
        (status = 503, description = "BUSY, UNAVAILABLE", body = ErrorBody)))]
pub(super) async fn create(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let door = door.doors.workflows()?;
    let new = wanted(door, &headers, Body::read(&body?)?)?;
    let workflow = door.system.create_workflow(new).await?;
    let mut response = answer(StatusCode::CREATED, &workflow);
    if let Ok(location) = HeaderValue::from_str(&format!("/workflows/{}", workflow.id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn wanted(door: &WorkflowDoor, headers: &HeaderMap, mut body: Body) -> Result<NewWorkflow, Refusal> {
    let workflow_type = body.text("workflow_type");
    let description = body.text("feature_description");
    let context = body.maybe_object("context");
    body.check()?;
    let mut problems = Problems::default();
    let named = WorkflowType::named(&workflow_type);
    if named.is_none() {
        let given = crate::error::cut(&workflow_type, 64);
        problems.push("workflow_type", format!("is {given:?}; allowed are {}", words(WorkflowType::ALL)));
    }
    check_description(&description, &mut problems);
    let (chain, approval) = terms(door, named, context.as_ref(), &mut problems);
    let request = condition::request(headers, ("create", body.whole()), &mut problems);
    let Some(workflow_type) = named else { return Err(Refusal::because(Cause::WorkflowType, &problems)) };
    if !problems.0.is_empty() {
        return Err(Refusal::because(Cause::Invalid, &problems));
    }
    Ok(NewWorkflow {
        id: request.as_ref().map(|request| condition::keyed_id(&request.key)),
        workflow_type,
        slug: slug::slug(&description),
        description: description.into(),
        context: context.map(|context| context.raw),
        dispatch: door.dispatch,
        approval,
        chain,
        request,
    })
}

fn check_description(description: &str, problems: &mut Problems) {
    let characters = description.trim().chars().count();
    if characters < MIN_FEATURE_CHARS {
        let rule =
            format!("has {characters} characters; at least {MIN_FEATURE_CHARS} are needed, blanks at its ends aside");
        problems.push("feature_description", rule);
    }
    if description.len() > MAX_FEATURE_BYTES {
        let rule = format!("has {} bytes; at most {MAX_FEATURE_BYTES} are allowed", description.len());
        problems.push("feature_description", rule);
    }
}

type Terms = (Vec<WorkflowType>, ApprovalRule);

/// What the context says that means something here.
fn terms(door: &WorkflowDoor, of: Option<WorkflowType>, context: Option<&Passing>, problems: &mut Problems) -> Terms {
    let Some(context) = context else { return (Vec::new(), door.approval.clone()) };
    let bytes = context.raw.as_str().len();
    if bytes > MAX_PAYLOAD_BYTES {
        problems.push("context", format!("has {bytes} bytes; at most {MAX_PAYLOAD_BYTES} are allowed"));
    }
    let chain = chain(of, context.fields.get("chain"), problems);
    (chain, approval::rule(&context.fields, &door.approval, problems))
}

/// What follows when this workflow has completed: types that come behind it, in their order.
fn chain(of: Option<WorkflowType>, given: Option<&Value>, problems: &mut Problems) -> Vec<WorkflowType> {
    let given = match given {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(given)) => given,
        Some(_) => {
            problems.push("context.chain", "is not a list of workflow types");
            return Vec::new();
        }
    };
    let named = |name: &Value| WorkflowType::named(name.as_str()?);
    let Some(mut chain) = given.iter().map(named).collect::<Option<Vec<_>>>() else {
        problems.push("context.chain", format!("names something else than {}", words(WorkflowType::ALL)));
        return Vec::new();
    };
    if chain.first().copied() == of {
        chain.drain(..chain.len().min(1));
    }
    let in_order = chain.windows(2).all(|pair| pair[0] < pair[1]);
    if !in_order || of.is_some_and(|of| chain.first().is_some_and(|first| *first <= of)) {
        let rule =
            format!("is not in the order {}, from this workflow's type on, without repeats", words(WorkflowType::ALL));
        problems.push("context.chain", rule);
    }
    chain
}

fn words(types: &[WorkflowType]) -> String {
    types.iter().map(|of| of.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(of: WorkflowType, given: Value) -> Result<Vec<&'static str>, String> {
        let mut problems = Problems::default();
        let chain = chain(Some(of), Some(&given), &mut problems);
        if problems.0.is_empty() {
            return Ok(chain.into_iter().map(WorkflowType::as_str).collect());
        }
        Err(problems.to_string())
    }

    #[test]
    fn a_chain_goes_forward_only() {
        use WorkflowType::{Plan, Specify};
        assert_eq!(read(Specify, json!(["specify", "plan", "implement"])), Ok(vec!["plan", "implement"]));
        assert_eq!(read(Plan, json!(["tasks"])), Ok(vec!["tasks"]));
        assert_eq!(read(Plan, json!(["plan"])), Ok(Vec::new()));
        assert_eq!(read(Plan, json!([])), Ok(Vec::new()));
        assert_eq!(read(Plan, Value::Null), Ok(Vec::new()));
        let wrong =
            [json!(["specify"]), json!(["tasks", "tasks"]), json!(["plan", "plan"]), json!(["implement", "tasks"])];
        for wrong in wrong.into_iter().chain([json!("tasks"), json!([7]), json!(["test"])]) {
            assert!(read(Plan, wrong.clone()).is_err_and(|why| why.starts_with("context.chain ")), "{wrong}");
        }
    }

    #[test]
    fn a_description_is_held_to_its_edges() {
        let problems = |description: &str| {
            let mut problems = Problems::default();
            check_description(description, &mut problems);
            problems.0.len()
        };
        assert_eq!(problems("  ten chars "), 1);
        assert_eq!(problems("  ten charsx "), 0);
        assert_eq!(problems("十个字符的功能描述呢"), 0);
        assert_eq!(problems(&"x".repeat(MAX_FEATURE_BYTES)), 0);
        assert_eq!(problems(&"x".repeat(MAX_FEATURE_BYTES + 1)), 1);
    }
}
