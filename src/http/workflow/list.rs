//! `GET /workflows`: those that match, newest first, a page at a time.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use moothall_actors::domain::problem::Problems;
use moothall_actors::domain::workflow::{Workflow, WorkflowId, WorkflowStatus, WorkflowType};
use moothall_actors::ports::WorkflowQuery;
use moothall_actors::{System, WorkflowError};
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::Door;
use super::super::refusal::{Cause, ErrorBody, Refusal};
use super::shown::Shown;

/// Workflows in a page: unless asked otherwise, and most.
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;
/// Contexts and results may be large: a page ends early once it has so many bytes of them.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;
/// Read at once, so that few large ones are in memory beyond that.
const STEP: usize = 32;

const KEYS: [&str; 5] = ["status", "type", "feature_id", "limit", "cursor"];

#[derive(Serialize, ToSchema)]
#[schema(as = Workflows)]
struct Page<'a> {
    workflows: Vec<Shown<'a>>,
    /// Hand it in as `cursor` for the next page; null = there is none.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Workflows that match, newest first.
#[utoipa::path(get, path = "/workflows", tag = "workflows",
    params(("status" = Option<String>, Query,
            pattern = "^(pending|in_progress|waiting_approval|completed|failed)$", description = "pending, in_progress, waiting_approval, completed, failed"),
        ("type" = Option<String>, Query, pattern = "^(specify|plan|tasks|implement)$", description = "specify, plan, tasks, implement"),
        ("feature_id" = Option<String>, Query, description = "All of a chain have the same"),
        ("limit" = Option<u32>, Query, description = "1 to 500, 50 if not given; a page may end before it", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, format = "uuid", description = "next_cursor of the page before")),
    responses((status = 200, body = Page, description = "A page of them"),
        (status = 400, description = "VALIDATION_ERROR", body = ErrorBody),
        (status = 503, description = "UNAVAILABLE", body = ErrorBody)))]
pub(super) async fn list(State(door): State<Door>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let door = door.doors.workflows()?;
    let mut problems = Problems::default();
    let query = read(query.as_deref().unwrap_or_default(), &mut problems);
    if !problems.0.is_empty() {
        return Err(Refusal::because(Cause::Invalid, &problems));
    }
    let (found, has_more) = page(&door.system, query).await?;
    let next_cursor = found.last().filter(|_| has_more).map(|last| last.id.to_string());
    Ok(Json(Page { workflows: found.iter().map(Shown::of).collect(), next_cursor }).into_response())
}

/// What was found, and whether there is more.
async fn page(system: &System, mut query: WorkflowQuery) -> Result<(Vec<Workflow>, bool), WorkflowError> {
    let most = query.limit;
    let mut found: Vec<Workflow> = Vec::new();
    let mut bytes = 0;
    loop {
        let wanted = STEP.min(most + 1 - found.len());
        query.limit = wanted;
        let step = system.workflows(&query).await?;
        let is_last = step.len() < wanted;
        for workflow in step {
            if found.len() == most || (bytes >= MAX_PAGE_BYTES && !found.is_empty()) {
                return Ok((found, true));
            }
            bytes += size(&workflow);
            found.push(workflow);
        }
        if is_last {
            return Ok((found, false));
        }
        query.before = found.last().map(|last| last.id);
    }
}

fn size(workflow: &Workflow) -> usize {
    let texts = [&workflow.context, &workflow.result];
    workflow.description.len() + texts.into_iter().flatten().map(|text| text.as_str().len()).sum::<usize>()
}

fn read(text: &str, problems: &mut Problems) -> WorkflowQuery {
    let mut query = WorkflowQuery { limit: DEFAULT_LIMIT, ..WorkflowQuery::default() };
    let mut seen = Vec::new();
    for (key, value) in form_urlencoded::parse(text.as_bytes()) {
        if seen.contains(&key) {
            problems.push(key, "is given twice");
            continue;
        }
        match &*key {
            "status" => query.status = one_of(&key, &value, WorkflowStatus::ALL, WorkflowStatus::as_str, problems),
            "type" => query.workflow_type = one_of(&key, &value, WorkflowType::ALL, WorkflowType::as_str, problems),
            "feature_id" => query.feature_id = Some(value.into_owned()),
            "limit" => match value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)) {
                Some(limit) => query.limit = limit,
                None => problems.push("limit", format!("is {:?}; allowed are 1 to {MAX_LIMIT}", cut(&value))),
            },
            "cursor" => match Uuid::try_parse(&value) {
                Ok(id) => query.before = Some(WorkflowId(id.into_bytes())),
                Err(_) => problems.push("cursor", "is none that a page gave"),
            },
            unknown => problems.push(cut(unknown), format!("is unknown; known are {}", KEYS.join(", "))),
        }
        seen.push(key);
    }
    query
}

fn one_of<T: Copy>(
    key: &str,
    value: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
    problems: &mut Problems,
) -> Option<T> {
    let found = all.iter().copied().find(|word| name(*word) == value);
    if found.is_none() {
        let names: Vec<_> = all.iter().map(|word| name(*word)).collect();
        problems.push(key, format!("is {:?}; allowed are {}", cut(value), names.join(", ")));
    }
    found
}

fn cut(text: &str) -> String {
    crate::error::cut(text, 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let mut problems = Problems::default();
        read(text, &mut problems);
        problems.0.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn a_query_says_what_it_wants() {
        let mut problems = Problems::default();
        let id = "00000000-0000-0000-0000-000000000007";
        let query = read(&format!("status=failed&type=plan&feature_id=001-x%2Dy&limit=500&cursor={id}"), &mut problems);
        assert_eq!(problems.to_string(), "");
        assert_eq!((query.status, query.workflow_type), (Some(WorkflowStatus::Failed), Some(WorkflowType::Plan)));
        assert_eq!((query.feature_id.as_deref(), query.limit), (Some("001-x-y"), MAX_LIMIT));
        assert_eq!(query.before.map(|id| id.to_string()).as_deref(), Some(id));
        assert_eq!(read("", &mut problems).limit, DEFAULT_LIMIT);
    }

    #[test]
    fn every_problem_of_a_query_is_told() {
        let wrong = "status=done&type=test&limit=501&cursor=x&page=2&limit=7";
        assert_eq!(problems(wrong), ["status", "type", "limit", "cursor", "page", "limit"]);
        for wrong in ["limit=0", "limit=", "limit=-1", "limit=1.5"] {
            assert_eq!(problems(wrong), ["limit"], "{wrong}");
        }
    }
}
