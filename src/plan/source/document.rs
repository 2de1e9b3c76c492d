//! A whole plan in JSON or YAML: an object with `tasks`, a bare list of them, or the event that approves a plan.
//!
//! An event carries its tasks as `tasks`, as `plan` (a text of any source, an object or a list) or as `tasks_outline`;
//! the first that holds any is taken.

use moothall_actors::domain::id::{Role, TaskId};

use super::super::draft::{Draft, Drafts};
use super::super::header::Header;
use super::super::limit::{MAX_DESCRIPTION_BYTES, MAX_ID_BYTES, MAX_ROLES};
use super::super::place::Place;
use super::super::report::{Report, quote};
use super::super::task::Source;
use super::node::{Node, Value};
use super::object::Object;
use super::{Found, item, record};

/// How often a plan may hold a plan: an envelope, its payload, the plan in it, and no more.
const MAX_INNER: usize = 3;

const KEYS: [&str; 17] = [
    "tasks",
    "plan",
    "tasks_outline",
    "plan_id",
    "story_id",
    "roles",
    "hold_until_phase",
    "await_execution",
    "execution_timeout_seconds",
    "on_dependency_failure",
    "approved_by",
    "approved_at",
    "timestamp",
    "payload",
    "event_type",
    "id",
    "title",
];

/// The phases of a story that release what a plan holds back.
pub const PHASES: [&str; 3] = ["BUILD", "TEST", "IN_PROGRESS"];

/// Where a document stands: in the file itself, or how far inside.
#[derive(Clone, Debug)]
pub(crate) struct Inside {
    pub(crate) place: Place,
    pub(crate) level: usize,
}

impl Inside {
    pub(crate) fn nothing() -> Self {
        Self { place: Place::Plan, level: 0 }
    }

    fn deeper(&self, place: Place) -> Self {
        Self { place, level: self.level + 1 }
    }
}

pub(crate) fn read(node: &Node, source: Source, header: Header, inside: &Inside, report: &mut Report) -> Found {
    match &node.value {
        Value::List(entries) => tasks(entries, source, header, &inside.place, report),
        Value::Map(_) => match Object::read(node, inside.place.clone(), report) {
            Some(object) => read_object(&object, source, header, inside, report),
            None => Found::nothing(header),
        },
        Value::Null => Found::nothing(header),
        _ => {
            report.refuse(&inside.place, format!("is {}; a list of tasks or an object is allowed", node.kind()));
            Found::nothing(header)
        }
    }
}

fn read_object(object: &Object<'_>, source: Source, mut header: Header, inside: &Inside, report: &mut Report) -> Found {
    if let Some((payload, place)) = object.get("payload").filter(|_| !object.has("tasks") && inside.level < MAX_INNER) {
        return read(payload, source, header, &inside.deeper(place), report);
    }
    read_header(object, &mut header, report);
    object.note_unread(&KEYS, report);
    if let Some((node, place)) = object.get("tasks") {
        let Value::List(entries) = &node.value else {
            report.refuse(place, format!("is {}; a list of tasks is allowed", node.kind()));
            return Found::nothing(header);
        };
        if !entries.is_empty() {
            return tasks(entries, source, header, &place, report);
        }
    }
    if let Some((plan, place)) = object.get("plan").filter(|_| inside.level < MAX_INNER) {
        let found = inner_plan(plan, source, header.clone(), &inside.deeper(place), report);
        if !found.drafts.is_empty() {
            return found;
        }
        header = found.header;
    }
    match object.get("tasks_outline") {
        Some((outline, place)) => read_outline(outline, source, header, place, report),
        None => Found::nothing(header),
    }
}

/// The plan of an event: a text is read as a file would be, with its own lines and columns.
fn inner_plan(plan: &Node, source: Source, header: Header, inside: &Inside, report: &mut Report) -> Found {
    let Some(text) = plan.scalar() else { return read(plan, source, header, inside, report) };
    let mut own = Report::default();
    let found = super::read(text, header, inside.level, &mut own);
    report.absorb(own, &inside.place);
    found
}

fn read_header(object: &Object<'_>, header: &mut Header, report: &mut Report) {
    let origin = &mut header.origin;
    for (key, known) in [("plan_id", &mut origin.plan_id), ("story_id", &mut origin.story_id)] {
        let Some(given) = object.text(key, MAX_ID_BYTES, report) else { continue };
        if known.is_empty() {
            given.clone_into(known);
        } else if given != known {
            let rule = format!("is {}, but the plan was approved as {}", quote(given), quote(known));
            report.refuse(object.place_of(key), rule);
        }
    }
    let given = object.texts("roles", MAX_ROLES, MAX_ID_BYTES, report);
    let roles = given.into_iter().filter_map(|(text, place)| report.keep(&place, |field| Role::parse(field, text)));
    let mut seen = std::collections::BTreeSet::new();
    let roles: Vec<Role> = roles.filter(|role| seen.insert(role.clone())).collect();
    if !roles.is_empty() {
        origin.roles = roles;
    }
    if let Some(phase) = object.word("hold_until_phase", &PHASES.map(|phase| (phase, phase)), report) {
        header.hold_until_phase = Some(phase.to_owned());
    }
    header.await_execution = object.truth("await_execution", report).unwrap_or(header.await_execution);
    header.execution_timeout = record::execution_timeout(object, report).or(header.execution_timeout);
    let on_failure = object.word("on_dependency_failure", &record::ON_DEPENDENCY_FAILURE, report);
    header.on_dependency_failure = on_failure.or(header.on_dependency_failure);
}

fn tasks(entries: &[Node], source: Source, header: Header, place: &Place, report: &mut Report) -> Found {
    let mut drafts = Drafts::new(header.max_tasks());
    if entries.len() > header.max_tasks() {
        drafts.count_only(entries.len());
        return Found { header, drafts, source };
    }
    for (index, entry) in entries.iter().enumerate() {
        if let Some(draft) = record::read(entry, place.entry(index, entry.at), &header, report) {
            drafts.push(draft);
        }
    }
    Found { header, drafts, source }
}

/// Lines such as `TASK-001: text`, `DEV: text` or plain text; objects are whole tasks.
fn read_outline(node: &Node, source: Source, header: Header, place: Place, report: &mut Report) -> Found {
    let Value::List(entries) = &node.value else {
        report.refuse(place, format!("is {}; a list of texts is allowed", node.kind()));
        return Found::nothing(header);
    };
    if entries.iter().any(|entry| matches!(entry.value, Value::Map(_))) || entries.len() > header.max_tasks() {
        return tasks(entries, source, header, &place, report);
    }
    let mut drafts = Drafts::new(header.max_tasks());
    for (index, entry) in entries.iter().enumerate() {
        let place = place.entry(index, entry.at);
        if let Some(text) = super::object::text(entry, &place, MAX_DESCRIPTION_BYTES, report)
            && let Some(draft) = outline_task(text, index, place, &header, report)
        {
            drafts.push(draft);
        }
    }
    Found { header, drafts, source: Source::Outline }
}

fn outline_task(text: &str, index: usize, place: Place, header: &Header, report: &mut Report) -> Option<Draft> {
    let (before, after) = item::split_id(text).unwrap_or(("", text));
    let role = header.origin.roles.iter().find(|role| role.as_str().eq_ignore_ascii_case(before));
    let (id, description) = match role {
        _ if before.is_empty() => (format!("TASK-{:03}", index + 1), text),
        Some(_) => (format!("TASK-{:03}", index + 1), after),
        None if before.bytes().any(|byte| byte.is_ascii_digit()) => (before.to_owned(), after),
        None => (format!("TASK-{:03}", index + 1), text),
    };
    if description.trim().is_empty() {
        report.refuse(&place, "is empty");
        return None;
    }
    let id = report.keep(&place, |field| TaskId::parse(field, &id))?;
    let role = role.cloned().unwrap_or_else(|| header.default_role());
    let task = header.task(id.clone(), role, description.trim().to_owned());
    Some(Draft { id, place, task: Some(task), needs: Vec::new() })
}
