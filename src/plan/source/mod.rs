//! Where plans come from, and which of them a text is.
//!
//! ```text
//! text ─▶ begins with { or [{          ─▶ json      ─▶ document
//!         tasks: at column 0           ─▶ yaml      ─▶ document
//!         - [ ] T001 text at column 0  ─▶ spec_kit
//!         anything else                ─▶ markdown  ─▶ tasks, or nothing usable
//! ```

mod document;
mod item;
mod json;
mod markdown;
mod mention;
mod node;
mod object;
mod order;
mod outline;
mod path;
mod record;
mod spec_kit;
mod yaml;

#[cfg(test)]
mod document_tests;
#[cfg(test)]
mod markdown_tests;
#[cfg(test)]
mod spec_kit_tests;
#[cfg(test)]
pub(crate) mod testing;

use moothall_actors::domain::problem::Problem;

use super::draft::Drafts;
use super::header::Header;
use super::limit::MAX_PLAN_BYTES;
use super::place::Place;
use super::report::Report;
use super::task::Source;
pub(crate) use document::Inside;
pub use document::PHASES;
pub(crate) use node::{Node, Value};
pub(crate) use object::Object;
use outline::Outline;

/// What reading a source gave; without drafts nothing was usable.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) drafts: Drafts,
    pub(crate) source: Source,
}

impl Found {
    fn nothing(header: Header) -> Self {
        let drafts = Drafts::new(header.max_tasks());
        Self { header, drafts, source: Source::Roles }
    }
}

/// Reads a plan's text, `level` documents deep inside others.
pub(crate) fn read(text: &str, header: Header, level: usize, report: &mut Report) -> Found {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let inside = Inside { place: Place::Plan, level };
    if looks_like_json(text) {
        return match json_or_flow(text) {
            Ok((node, source)) => document::read(&node, source, header, &inside, report),
            Err(problem) => refused(problem, header, report),
        };
    }
    let outline = Outline::of(text);
    if looks_like_yaml(&outline) {
        return match yaml::read(text) {
            Ok(node) => document::read(&node, Source::Yaml, header, &inside, report),
            Err(problem) => refused(problem, header, report),
        };
    }
    if spec_kit::is_one(&outline) {
        return spec_kit::read(text, &outline, header, report);
    }
    markdown::read(text, header, report)
}

/// Whether it would be read as a task list of Spec Kit, right or wrong.
#[must_use]
pub fn is_task_list(text: &str) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_PLAN_BYTES || looks_like_json(text) {
        return false;
    }
    let outline = Outline::of(text);
    !looks_like_yaml(&outline) && spec_kit::is_one(&outline)
}

/// Reads the event that approves a plan: JSON, and nothing else.
pub(crate) fn read_event(text: &str, header: Header, report: &mut Report) -> (Found, Option<Node>) {
    match json::read(text) {
        Ok(node) => (document::read(&node, Source::Json, header, &Inside::nothing(), report), Some(node)),
        Err(problem) => (refused(problem, header, report), None),
    }
}

fn refused(problem: Problem, header: Header, report: &mut Report) -> Found {
    report.refuse(problem.field, problem.message);
    Found::nothing(header)
}

fn looks_like_json(text: &str) -> bool {
    let text = text.trim_start();
    let in_list = text.strip_prefix('[').map(str::trim_start);
    text.starts_with('{') || in_list.is_some_and(|rest| rest.starts_with('{'))
}

/// `{tasks: […]}` is YAML that begins like JSON. What is neither is named as JSON.
fn json_or_flow(text: &str) -> Result<(Node, Source), Problem> {
    json::read(text).map(|node| (node, Source::Json)).or_else(|problem| match yaml::read(text) {
        Ok(node) if matches!(node.value, Value::Map(_) | Value::List(_)) => Ok((node, Source::Yaml)),
        _ => Err(problem),
    })
}

fn looks_like_yaml(outline: &Outline<'_>) -> bool {
    let mut lines = outline.lines();
    let is_key = |line: &str| {
        let key = line.split_once(':').filter(|(_, rest)| rest.is_empty() || rest.starts_with(' '));
        let key = key.map(|(key, _)| key.trim_matches(['"', '\'']));
        matches!(key, Some("tasks" | "tasks_outline")) || line.starts_with("- id:")
    };
    lines.any(|(_, line)| is_key(line)) && !outline.lines().any(|(_, line)| spec_kit::has_checkbox(line))
}
