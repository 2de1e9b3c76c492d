//! One task of JSON or YAML.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use moothall_actors::domain::id::{Role, TaskId};

use super::super::draft::{Draft, Need};
use super::super::header::Header;
use super::super::limit::{
    MAX_AGENTS, MAX_DEPENDENCIES, MAX_DESCRIPTION_BYTES, MAX_EXECUTION_SECONDS, MAX_ID_BYTES, MAX_METADATA,
    MAX_METADATA_BYTES, MAX_REQUIREMENTS, MAX_ROUNDS, MAX_RUBRIC_BYTES, MAX_TIMEOUT_SECONDS,
};
use super::super::place::Place;
use super::super::report::Report;
use super::super::task::{Constraints, OnDependencyFailure, PlannedTask, Priority};
use super::node::{Node, Value};
use super::object::{Object, shown, text};

const KEYS: [&str; 16] = [
    "id",
    "role",
    "description",
    "story_id",
    "plan_id",
    "dependencies",
    "depends_on",
    "priority",
    "constraints",
    "requires_pre_deliberation",
    "requires_deliberation",
    "num_agents",
    "rounds",
    "await_execution",
    "execution_timeout_seconds",
    "on_dependency_failure",
];
const CONSTRAINT_KEYS: [&str; 5] = ["rubric", "requirements", "timeout_seconds", "max_iterations", "metadata"];

pub(crate) const ON_DEPENDENCY_FAILURE: [(&str, OnDependencyFailure); 3] =
    [("block", OnDependencyFailure::Block), ("skip", OnDependencyFailure::Skip), ("run", OnDependencyFailure::Run)];

/// `None`, with the problem noted, for what has no id.
pub(crate) fn read(node: &Node, place: Place, header: &Header, report: &mut Report) -> Option<Draft> {
    let before = report.count();
    let object = Object::read(node, place, report)?;
    let id = required(&object, "id", MAX_ID_BYTES, report)
        .and_then(|text| report.keep(&object.place_of("id"), |field| TaskId::parse(field, text)));
    let role = required(&object, "role", MAX_ID_BYTES, report)
        .and_then(|text| report.keep(&object.place_of("role"), |field| Role::parse(field, text)));
    let description = required(&object, "description", MAX_DESCRIPTION_BYTES, report).unwrap_or_default().trim();
    let needs = needs(&object, report);
    // A task without one of the three is still read, for what else is wrong with it.
    let own_id = id.clone().or_else(|| TaskId::parse("id", "?").ok())?;
    let mut task = header.task(own_id, role.unwrap_or_else(Role::dev), description.to_owned());
    fill(&mut task, &object, report);
    object.note_unread(&KEYS, report);
    let task = (report.count() == before).then_some(task);
    Some(Draft { id: id?, place: object.place, task, needs })
}

fn required<'n>(object: &Object<'n>, key: &str, most: usize, report: &mut Report) -> Option<&'n str> {
    if !object.has(key) {
        report.refuse(object.place_of(key), "is missing");
        return None;
    }
    let text = object.text(key, most, report)?;
    if text.trim().is_empty() {
        report.refuse(object.place_of(key), "is empty");
        return None;
    }
    Some(text)
}

/// `dependencies`, or `depends_on`, or both; a text may list several.
fn needs(object: &Object<'_>, report: &mut Report) -> Vec<Need> {
    let mut needs = Vec::new();
    for key in ["dependencies", "depends_on"] {
        let given = object.texts(key, MAX_DEPENDENCIES, MAX_METADATA_BYTES, report);
        let is_list = object.get(key).is_some_and(|(node, _)| matches!(node.value, Value::List(_)));
        for (text, place) in given {
            let ids: Vec<&str> = if is_list { vec![text] } else { text.split(',').map(str::trim).collect() };
            for id in ids.into_iter().filter(|id| is_list || !id.is_empty()) {
                if let Some(id) = report.keep(&place, |field| TaskId::parse(field, id)) {
                    needs.push(Need { id, place: place.clone() });
                }
            }
        }
    }
    needs
}

/// The optional fields.
fn fill(task: &mut PlannedTask, object: &Object<'_>, report: &mut Report) {
    if let Some(story) = object.text("story_id", MAX_ID_BYTES, report) {
        task.story_id = story.to_owned();
    }
    if let Some(plan) = object.text("plan_id", MAX_ID_BYTES, report)
        && plan != task.plan_id
    {
        let rule = format!("is {plan:?}, but the plan is {:?}; a task has its plan's or none", task.plan_id);
        report.refuse(object.place_of("plan_id"), rule);
    }
    if let Some(priority) = priority(object, report) {
        task.priority = priority;
    }
    let truth = |key, value: &mut bool, report: &mut Report| *value = object.truth(key, report).unwrap_or(*value);
    truth("requires_pre_deliberation", &mut task.requires_pre_deliberation, report);
    truth("requires_deliberation", &mut task.requires_deliberation, report);
    truth("await_execution", &mut task.await_execution, report);
    task.num_agents = object.whole("num_agents", u32::from(MAX_AGENTS), report).and_then(NonZeroU16::new);
    task.rounds = object.whole("rounds", u32::from(MAX_ROUNDS), report).filter(|rounds| *rounds > 0);
    task.execution_timeout = execution_timeout(object, report).or(task.execution_timeout);
    task.on_dependency_failure =
        object.word("on_dependency_failure", &ON_DEPENDENCY_FAILURE, report).or(task.on_dependency_failure);
    if let Some((node, place)) = object.get("constraints") {
        task.constraints = constraints(node, place, report);
    }
}

fn priority(object: &Object<'_>, report: &mut Report) -> Option<Priority> {
    let (node, place) = object.get("priority")?;
    let priority = node.scalar().and_then(Priority::read);
    if priority.is_none() {
        report.refuse(place, format!("is {}; {}", shown(node), Priority::RULE));
    }
    priority
}

/// 0 is «not set», as on the wire.
pub(crate) fn execution_timeout(object: &Object<'_>, report: &mut Report) -> Option<Duration> {
    seconds(object, "execution_timeout_seconds", MAX_EXECUTION_SECONDS, report)
}

fn seconds(object: &Object<'_>, key: &str, most: u32, report: &mut Report) -> Option<Duration> {
    let seconds: u64 = object.whole(key, most, report)?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn constraints(node: &Node, place: Place, report: &mut Report) -> Constraints {
    let Some(object) = Object::read(node, place, report) else { return Constraints::default() };
    object.note_unread(&CONSTRAINT_KEYS, report);
    let rubric = object.text("rubric", MAX_RUBRIC_BYTES, report).unwrap_or_default().to_owned();
    let given = object.texts("requirements", MAX_REQUIREMENTS, MAX_RUBRIC_BYTES, report);
    for (_, place) in given.iter().filter(|(text, _)| text.trim().is_empty()) {
        report.refuse(place, "is empty");
    }
    Constraints {
        rubric,
        requirements: given.into_iter().map(|(text, _)| text.to_owned()).collect(),
        metadata: object.get("metadata").map(|(node, place)| metadata(node, place, report)).unwrap_or_default(),
        max_iterations: object.whole("max_iterations", u32::from(MAX_ROUNDS), report).filter(|most| *most > 0),
        timeout: seconds(&object, "timeout_seconds", MAX_TIMEOUT_SECONDS, report),
    }
}

fn metadata(node: &Node, place: Place, report: &mut Report) -> BTreeMap<String, String> {
    let Some(object) = Object::read(node, place, report) else { return BTreeMap::new() };
    let Value::Map(entries) = &node.value else { return BTreeMap::new() };
    if entries.len() > MAX_METADATA {
        let rule = format!("has {} entries; at most {MAX_METADATA} are allowed", entries.len());
        report.refuse(&object.place, rule);
        return BTreeMap::new();
    }
    let mut metadata = BTreeMap::new();
    for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
        let place = object.place.key(key, value.at);
        if key.len() > MAX_METADATA_BYTES {
            report.refuse(&place, format!("has {} bytes; at most {MAX_METADATA_BYTES} are allowed", key.len()));
        } else if let Some(text) = text(value, &place, MAX_METADATA_BYTES, report) {
            metadata.insert(key.clone(), text.to_owned());
        }
    }
    metadata
}
