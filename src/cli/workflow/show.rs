//! Workflows for people: what stands where, what waits for whom.

use serde_json::Value;

use crate::cli::exit::Failure;
use crate::cli::output::{Output, brief};

/// A field's text; empty where there is none.
fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// To the second, in UTC.
fn time(value: &Value, name: &str) -> String {
    let text = text(value, name);
    text.split(['.', 'Z']).next().unwrap_or_default().replace('T', " ")
}

pub(super) fn one(workflow: &Value, artifacts: Option<&Value>, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(output.document(workflow)?);
    }
    let phase = match text(workflow, "phase_title") {
        title if title.is_empty() => text(workflow, "current_phase"),
        title => format!("{} ({title}), attempt {}", text(workflow, "current_phase"), text(workflow, "attempt")),
    };
    let rows = [
        ("workflow", text(workflow, "id")),
        ("type", text(workflow, "workflow_type")),
        ("feature", text(workflow, "feature_id")),
        ("status", text(workflow, "status")),
        ("phase", phase),
        ("approval", workflow.get("approval").map(waiting).unwrap_or_default()),
        ("error", text(workflow, "error")),
        ("next", text(workflow, "next")),
        ("created", time(workflow, "created_at")),
        ("updated", time(workflow, "updated_at")),
        ("completed", time(workflow, "completed_at")),
    ];
    let told = rows.into_iter().filter(|(_, text)| !text.is_empty());
    output.pairs(told.map(|(name, text)| vec![name.to_owned(), text]).collect())?;
    match artifacts.and_then(Value::as_array).and_then(|all| all.last()) {
        Some(artifact) => artifact_text(artifact, output),
        None => Ok(()),
    }
}

/// What an approver wants to know before anything else.
fn waiting(approval: &Value) -> String {
    if approval.is_null() {
        return String::new();
    }
    let votes = approval.get("votes").and_then(Value::as_array).map_or(0, Vec::len);
    let mut said = vec![format!("{votes} of {} votes", text(approval, "quorum"))];
    let confidence = text(approval, "confidence");
    if !confidence.is_empty() {
        let low = approval.get("below_threshold").and_then(Value::as_bool).unwrap_or_default();
        said.push(format!("confidence {confidence}{}", if low { ", LOW: look twice" } else { "" }));
    }
    let due = time(approval, "due_at");
    if !due.is_empty() {
        said.push(format!("until {due}"));
    }
    said.push(format!("artifact {}", text(approval, "artifact_hash")));
    said.join("; ")
}

fn artifact_text(artifact: &Value, output: &Output) -> Result<(), Failure> {
    let edited = if artifact.get("edited") == Some(&Value::Bool(true)) { ", edited" } else { "" };
    let is_simulated = artifact.pointer("/metadata/simulated") == Some(&Value::Bool(true));
    let simulated = if is_simulated { ", SIMULATED: the answers are scripted" } else { "" };
    let (phase, attempt) = (text(artifact, "phase"), text(artifact, "attempt"));
    output.heading(&format!("\n{phase}, attempt {attempt}{edited}{simulated}"))?;
    let content = artifact.get("content").unwrap_or(&Value::Null);
    let shown = match content.get("content").and_then(Value::as_str).or(content.as_str()) {
        Some(text) => text.to_owned(),
        None => serde_json::to_string_pretty(content).unwrap_or_default(),
    };
    Ok(output.line(&shown)?)
}

pub(super) fn many(page: &Value, output: &Output) -> Result<(), Failure> {
    let workflows = page.get("workflows").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if output.is_json() {
        return Ok(output.document(page)?);
    }
    let row = |workflow: &Value| {
        let columns = ["status", "workflow_type", "current_phase", "feature_id", "id"];
        let mut row: Vec<_> = columns.iter().map(|name| text(workflow, name)).collect();
        row.push(time(workflow, "updated_at"));
        row
    };
    let headers = ["STATUS", "TYPE", "PHASE", "FEATURE", "WORKFLOW", "UPDATED"];
    output.table(&headers, workflows.iter().map(row).collect())?;
    match text(page, "next_cursor") {
        cursor if cursor.is_empty() => Ok(()),
        cursor => Ok(output.line(&format!("more with --cursor {cursor}"))?),
    }
}

pub(super) fn history(answer: &Value, output: &Output) -> Result<(), Failure> {
    let steps = answer.get("history").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if output.is_json() {
        return steps.iter().try_for_each(|step| Ok(output.document(step)?));
    }
    steps.iter().try_for_each(|step| event(step, output))
}

/// A line for each step.
pub(super) fn event(step: &Value, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(output.document(step)?);
    }
    let (from, to) = (text(step, "from"), text(step, "to"));
    let moved = if from == to { to } else { format!("{from} → {to}") };
    let actor = match text(step, "actor") {
        actor if actor.is_empty() => actor,
        actor => format!("by {actor}"),
    };
    let why = brief(&[text(step, "reason"), text(step, "error")].join(" "), 100);
    let (phase, trigger) = (text(step, "phase"), text(step, "trigger"));
    let at = time(step, "at");
    Ok(output.line(format!("{at}  {trigger:<15} {phase:<8} {moved:<32} {actor} {why}").trim_end())?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_approver_sees_what_is_low_and_until_when() {
        let approval = json!({ "quorum": 2, "votes": [{ "actor": "ann" }], "confidence": 61.5, "below_threshold": true,
            "due_at": "2026-01-02T03:04:05.000Z", "artifact_hash": "ba78" });
        let expected = "1 of 2 votes; confidence 61.5, LOW: look twice; until 2026-01-02 03:04:05; artifact ba78";
        assert_eq!(waiting(&approval), expected);
        assert_eq!(waiting(&Value::Null), "");
    }
}
