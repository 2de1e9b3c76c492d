//! Requests that start work, parsed: every problem of a request is found before anything is answered.

use std::collections::BTreeMap;

use moothall_actors::domain::id::{Role, TaskId};
use moothall_actors::domain::problem::{Problem, Problems};
use moothall_actors::domain::task::{OptionsDraft, TaskDraft, TaskSpec};
use tonic::metadata::MetadataMap;

use super::proto::fleet::orchestrator::v1 as fleet;

/// Taken as `task_id` where the message has none.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Work to submit.
#[derive(Debug)]
pub(super) struct Work {
    /// `None` = the client cannot find it again.
    pub(super) task: Option<TaskId>,
    pub(super) spec: TaskSpec,
}

pub(super) fn deliberate(request: fleet::DeliberateRequest, metadata: &MetadataMap) -> Result<Work, Problems> {
    let task = task_id(&request.task_id, metadata);
    let draft = TaskDraft {
        role: request.role,
        description: request.task_description,
        rounds: request.rounds,
        num_agents: request.num_agents,
        ..constrained(request.constraints)
    };
    work(task, draft)
}

/// As Deliberate, but the id must say whose backlog it belongs to.
pub(super) fn backlog(request: fleet::DeliberateRequest, metadata: &MetadataMap) -> Result<Work, Problems> {
    let named = task_id(&request.task_id, metadata).and_then(|task| match task {
        Some(task) if is_backlog_id(task.as_str()) => Ok(()),
        _ => Err(Problem::new("task_id", "must look like ceremony-{id}:story-{id}:role-{role}")),
    });
    match (deliberate(request, metadata), named) {
        (work, Ok(())) => work.map(|work| Work { spec: TaskSpec { backlog: true, ..work.spec }, ..work }),
        (Ok(_), Err(problem)) => Err(Problems(vec![problem])),
        (Err(mut problems), Err(problem)) => {
            problems.0.retain(|other| other.field != problem.field);
            problems.0.insert(0, problem);
            Err(problems)
        }
    }
}

pub(super) fn orchestrate(request: fleet::OrchestrateRequest, metadata: &MetadataMap) -> Result<Work, Problems> {
    let task = task_id(&request.task_id, metadata);
    let mut draft = TaskDraft {
        orchestrate: true,
        role: request.role,
        description: request.task_description,
        options: request.options.map(options),
        ..constrained(request.constraints)
    };
    let origin = [("case_id", request.case_id), ("story_id", request.story_id), ("plan_id", request.plan_id)];
    for (key, value) in origin.into_iter().filter(|(_, value)| !value.is_empty()) {
        draft.metadata.insert(key.to_owned(), value);
    }
    work(task, draft)
}

fn work(task: Result<Option<TaskId>, Problem>, draft: TaskDraft) -> Result<Work, Problems> {
    let mut problems = Problems::default();
    let task = problems.keep(task);
    match (task, draft.check()) {
        (Some(task), Ok(spec)) => Ok(Work { task, spec }),
        (_, checked) => {
            problems.0.extend(checked.err().map(|found| found.0).unwrap_or_default());
            Err(problems)
        }
    }
}

fn constrained(constraints: Option<fleet::TaskConstraints>) -> TaskDraft {
    let constraints = constraints.unwrap_or_default();
    TaskDraft {
        rubric: constraints.rubric,
        requirements: constraints.requirements,
        metadata: constraints.metadata,
        max_iterations: constraints.max_iterations,
        timeout_seconds: constraints.timeout_seconds,
        ..TaskDraft::default()
    }
}

fn options(options: fleet::OrchestratorOptions) -> OptionsDraft {
    OptionsDraft {
        enable_peer_review: options.enable_peer_review,
        deliberation_rounds: options.deliberation_rounds,
        enable_architect_selection: options.enable_architect_selection,
        custom_params: options.custom_params,
    }
}

/// The field wins over the metadata.
fn task_id(field: &str, metadata: &MetadataMap) -> Result<Option<TaskId>, Problem> {
    if !field.is_empty() {
        return TaskId::parse("task_id", field).map(Some);
    }
    let Some(value) = metadata.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| Problem::new(IDEMPOTENCY_KEY, "is not ASCII text"))?;
    TaskId::parse(IDEMPOTENCY_KEY, text).map(Some)
}

fn is_backlog_id(text: &str) -> bool {
    let parts = text
        .strip_prefix("ceremony-")
        .and_then(|rest| rest.rsplit_once(":role-"))
        .and_then(|(front, role)| front.split_once(":story-").map(|(ceremony, story)| [ceremony, story, role]));
    parts.is_some_and(|[ceremony, story, role]| {
        !ceremony.is_empty() && !story.is_empty() && Role::parse("task_id", role).is_ok()
    })
}

/// Most entries of a list or map that is only kept and shown, and the longest of them in bytes.
pub(super) const MAX_ENTRIES: usize = 128;
pub(super) const MAX_ENTRY_BYTES: usize = 4096;

pub(super) fn texts(problems: &mut Problems, field: &str, texts: &[String]) {
    if texts.len() > MAX_ENTRIES {
        problems.push(field, format!("has {} entries; at most {MAX_ENTRIES} are allowed", texts.len()));
    }
    for (place, text) in texts.iter().enumerate().filter(|(_, text)| text.len() > MAX_ENTRY_BYTES) {
        problems.push(format!("{field}[{place}]"), too_long(text.len()));
    }
}

pub(super) fn map(problems: &mut Problems, field: &str, map: &BTreeMap<String, String>) {
    if map.len() > MAX_ENTRIES {
        problems.push(field, format!("has {} entries; at most {MAX_ENTRIES} are allowed", map.len()));
    }
    for (key, value) in map {
        let bytes = key.len().max(value.len());
        if bytes > MAX_ENTRY_BYTES {
            problems.push(format!("{field}[{}]", crate::error::cut(key, 64)), too_long(bytes));
        }
    }
}

fn too_long(bytes: usize) -> String {
    format!("has {bytes} bytes; at most {MAX_ENTRY_BYTES} are allowed")
}

#[cfg(test)]
mod tests {
    use moothall_actors::domain::task::{Review, TaskKind};

    use super::*;

    fn request() -> fleet::DeliberateRequest {
        fleet::DeliberateRequest {
            task_id: "T-1".into(),
            task_description: "parse a duration".into(),
            role: "dev".into(),
            ..Default::default()
        }
    }

    fn key(value: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert(IDEMPOTENCY_KEY, value.parse().unwrap());
        metadata
    }

    fn fields(problems: Problems) -> Vec<String> {
        problems.0.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn the_task_id_comes_from_the_field_else_from_the_metadata_else_there_is_none() {
        let task = |field: &str, metadata| {
            let request = fleet::DeliberateRequest { task_id: field.into(), ..request() };
            deliberate(request, &metadata).unwrap().task.map(|task| task.to_string())
        };
        assert_eq!(task("T-1", key("K-1")), Some("T-1".into()));
        assert_eq!(task("", key("K-1")), Some("K-1".into()));
        assert_eq!(task("", MetadataMap::new()), None);
    }

    #[test]
    fn a_bad_id_and_a_bad_field_are_named_together() {
        let bad = fleet::DeliberateRequest { task_id: "a\u{7}".into(), rounds: 99, ..request() };
        assert_eq!(fields(deliberate(bad, &MetadataMap::new()).unwrap_err()), ["task_id", "rounds"]);
        let bad = fleet::DeliberateRequest { task_id: String::new(), role: String::new(), ..request() };
        assert_eq!(fields(deliberate(bad, &key("")).unwrap_err()), [IDEMPOTENCY_KEY, "role"]);
    }

    #[test]
    fn a_backlog_id_names_ceremony_story_and_role() {
        let table = [
            ("ceremony-1:story-2:role-DEV", true),
            ("ceremony-a:b:story-c:d:role-qa", true),
            ("ceremony-:story-2:role-DEV", false),
            ("ceremony-1:story-:role-DEV", false),
            ("ceremony-1:story-2:role-", false),
            ("ceremony-1:story-2:role-a b", false),
            ("story-2:ceremony-1:role-DEV", false),
            ("T-1", false),
            ("", false),
        ];
        for (id, good) in table {
            let request = fleet::DeliberateRequest { task_id: id.into(), ..request() };
            assert_eq!(backlog(request, &MetadataMap::new()).is_ok(), good, "{id}");
        }
        let bad = fleet::DeliberateRequest { task_id: "T-1".into(), num_agents: -1, ..request() };
        assert_eq!(fields(backlog(bad, &MetadataMap::new()).unwrap_err()), ["task_id", "num_agents"]);
    }

    #[test]
    fn where_a_task_comes_from_is_kept_with_it() {
        let request = fleet::OrchestrateRequest {
            task_description: "parse a duration".into(),
            role: "DEV".into(),
            story_id: "S-1".into(),
            case_id: "C-1".into(),
            ..Default::default()
        };
        let spec = orchestrate(request, &MetadataMap::new()).unwrap().spec;
        assert_eq!((spec.kind, spec.review, spec.architect), (TaskKind::Orchestrate, Review::Council, true));
        assert_eq!(spec.story_id(), Some("S-1"));
        assert_eq!(spec.metadata["case_id"], "C-1");
        assert!(!spec.metadata.contains_key("plan_id"));
    }
}
