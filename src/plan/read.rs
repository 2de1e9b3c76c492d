//! The two ways in: a plan's text, and the event that approves a plan.

use moothall_actors::domain::id::Role;
use moothall_actors::domain::problem::Problems;

use super::header::{Header, Origin};
use super::limit::{MAX_ID_BYTES, MAX_PLAN_BYTES};
use super::place::Place;
use super::report::Report;
use super::source::{self, Found, Node, Object};
use super::task::{Plan, Source};

/// Reads a plan of any source. Text without tasks gives one task per role of `origin`.
pub fn parse(bytes: &[u8], origin: &Origin) -> Result<Plan, Problems> {
    let mut report = Report::default();
    let header = Header::new(origin);
    let found = text(bytes, &mut report).map(|text| source::read(text, header, 0, &mut report));
    conclude(found, report)
}

/// The payload of `planning.plan.approved`, in its envelope or bare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub approved_by: Option<String>,
    /// As sent.
    pub approved_at: Option<String>,
    pub roles: Vec<Role>,
    /// With the `plan_id` and `story_id` of the event.
    pub plan: Plan,
}

/// Reads the event that approves a plan, which must name story and plan.
pub fn approval(bytes: &[u8], origin: &Origin) -> Result<Approval, Problems> {
    let mut report = Report::default();
    let Some(text) = text(bytes, &mut report) else { return Err(refused(report)) };
    let (found, node) = source::read_event(text, Header::new(origin), &mut report);
    let said = node.as_ref().and_then(|node| said(node, &mut report));
    let roles = found.header.origin.roles.clone();
    let plan = conclude(Some(found), report)?;
    let (approved_by, approved_at) = said.unwrap_or_default();
    Ok(Approval { approved_by, approved_at, roles, plan })
}

fn text<'b>(bytes: &'b [u8], report: &mut Report) -> Option<&'b str> {
    if bytes.len() > MAX_PLAN_BYTES {
        report.refuse(Place::Plan, format!("has {} bytes; at most {MAX_PLAN_BYTES} are allowed", bytes.len()));
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let line = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
            report.refuse(format!("line {line}"), "is not UTF-8");
            None
        }
    }
}

/// Who approved it and when. What the event lacks is a problem.
fn said(node: &Node, report: &mut Report) -> Option<(Option<String>, Option<String>)> {
    let payload = node.get("payload").filter(|_| node.get("tasks").is_none());
    let place = payload.map_or(Place::Plan, |payload| Place::Plan.key("payload", payload.at));
    let own = payload.unwrap_or(node);
    if !matches!(own.value, source::Value::Map(_)) {
        report.refuse(place, format!("is {}; an object is allowed", own.kind()));
        return None;
    }
    // Keys that come twice have been refused before.
    let object = Object::read(own, place, &mut Report::default())?;
    for key in ["story_id", "plan_id"] {
        if object.text(key, MAX_ID_BYTES, &mut Report::default()).is_none_or(|id| id.trim().is_empty()) {
            report.refuse(object.place_of(key), "is missing or empty");
        }
    }
    let mut own = |key| object.text(key, MAX_ID_BYTES, report).map(str::to_owned);
    Some((own("approved_by"), own("approved_at").or_else(|| own("timestamp"))))
}

fn conclude(found: Option<Found>, mut report: Report) -> Result<Plan, Problems> {
    let Some(Found { header, drafts, source }) = found else { return Err(refused(report)) };
    let is_empty = drafts.is_empty();
    let mut tasks = drafts.assemble(&mut report);
    if is_empty && report.is_clean() {
        report.note(Place::Plan, "holds no task that can be used; it becomes one task per role");
        tasks = header.tasks_per_role();
    }
    let notes = report.finish()?;
    Ok(Plan {
        plan_id: header.origin.plan_id,
        story_id: header.origin.story_id,
        source: if is_empty { Source::Roles } else { source },
        hold_until_phase: header.hold_until_phase,
        tasks,
        notes,
    })
}

fn refused(report: Report) -> Problems {
    report.finish().err().unwrap_or_default()
}
