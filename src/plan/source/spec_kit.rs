//! Spec Kit's `tasks.md`: lines such as `- [ ] T001 [P] [US1] text with path`.
//!
//! A task is a line at column 0 outside code and comments. Everything between its box and its text may be bold and in
//! any order. What looks like a task but cannot be one is skipped and reported, never guessed at.

use std::collections::BTreeMap;

use moothall_actors::domain::id::TaskId;
use pulldown_cmark::HeadingLevel;

use super::super::draft::{Draft, Drafts, Need, too_many_dependencies};
use super::super::header::Header;
use super::super::limit::{MAX_DESCRIPTION_BYTES, MAX_TAGS};
use super::super::place::{Lines, Place};
use super::super::report::{Report, quote};
use super::super::task::Source;
use super::outline::Outline;
use super::{Found, markdown, mention, order};

/// Longest bracket label, in bytes; a longer one is part of the text.
const MAX_LABEL: usize = 32;

/// A task as its line says it.
#[derive(Clone, Debug)]
pub(crate) struct Item<'t> {
    pub(crate) offset: usize,
    pub(crate) id: &'t str,
    pub(crate) text: &'t str,
    pub(crate) done: bool,
    pub(crate) parallel: bool,
    pub(crate) tags: Vec<&'t str>,
    /// Whether a colon follows the id, as in other kinds of list.
    pub(crate) colon: bool,
    /// Which phase it stands in, by number of headings before.
    pub(crate) phase: usize,
}

/// The box of a list item at column 0, and what follows it.
fn checkbox(line: &str) -> Option<(char, &str)> {
    let rest = line.strip_prefix(['-', '*', '+'])?.strip_prefix(' ')?.trim_start().strip_prefix('[')?;
    let mut chars = rest.chars();
    let mark = chars.next()?;
    let rest = chars.as_str().strip_prefix(']')?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| (mark, rest.trim()))
}

pub(crate) fn has_checkbox(line: &str) -> bool {
    checkbox(line).is_some_and(|(mark, _)| matches!(mark, ' ' | 'x' | 'X'))
}

/// Whether a text has tasks of this kind. `T001: text` under a heading of a role is the other kind of list.
pub(crate) fn is_one(outline: &Outline<'_>) -> bool {
    let by_role = outline.headings.iter().any(|heading| markdown::role_word(&heading.text).is_some());
    let items = outline.lines().filter_map(|(offset, line)| item(offset, checkbox(line)?));
    items.into_iter().any(|item| !item.colon || !by_role)
}

/// The item after a box, if it has an id.
fn item(offset: usize, (mark, rest): (char, &str)) -> Option<Item<'_>> {
    let mut item = Item {
        offset,
        id: "",
        text: rest,
        done: mark != ' ',
        parallel: false,
        tags: Vec::new(),
        colon: false,
        phase: 0,
    };
    loop {
        let rest = item.text.trim_start_matches(['*', '`', ' ']);
        if let Some((label, after)) = label(rest).filter(|_| item.tags.len() < MAX_TAGS) {
            match label {
                "P" => item.parallel = true,
                _ => item.tags.push(label),
            }
            item.text = after;
        } else if let Some(id) = mention::leading_id(rest).filter(|_| item.id.is_empty()) {
            item.id = id;
            item.text = rest.get(id.len()..).unwrap_or("").trim_start_matches(['*', '`']);
            item.colon = item.text.starts_with(':');
            item.text = item.text.trim_start_matches(':');
        } else {
            break;
        }
    }
    let text = item.text.trim_start_matches([' ', ':', '-', '–', '—']);
    item.text = if text.matches("**").count() % 2 == 1 { text.trim_end_matches("**") } else { text };
    item.text = item.text.strip_prefix("** ").filter(|rest| rest.matches("**").count() % 2 == 0).unwrap_or(item.text);
    (!item.id.is_empty()).then_some(item)
}

/// `[US1]`, but neither `[text](link)` nor a whole sentence.
fn label(text: &str) -> Option<(&str, &str)> {
    let (label, after) = text.strip_prefix('[')?.split_once(']')?;
    let plain = !label.trim().is_empty() && label.len() <= MAX_LABEL && !label.contains('[') && !after.starts_with('(');
    plain.then(|| (label.trim(), after))
}

pub(crate) fn read(text: &str, outline: &Outline<'_>, header: Header, report: &mut Report) -> Found {
    let lines = Lines::new(text);
    let (items, phases) = items(outline, &lines, report);
    let mut drafts = Drafts::new(header.max_tasks());
    if items.len() > header.max_tasks() {
        drafts.count_only(items.len());
        return Found { header, drafts, source: Source::SpecKit };
    }
    let waits = order::needs(&items).unwrap_or_else(|| {
        report.refuse(Place::Plan, too_many_dependencies());
        Vec::new()
    });
    let by_number: BTreeMap<(u64, &str), &str> = items.iter().map(|item| (mention::number(item.id), item.id)).collect();
    for (at, item) in items.iter().enumerate() {
        if drafts.is_overfull() {
            break;
        }
        let place = lines.place(item.offset);
        let Some(id) = report.keep(&place, |field| TaskId::parse(field, item.id)) else { continue };
        let before = waits.get(at).into_iter().flatten().filter_map(|other| items.get(*other)).map(|other| other.id);
        let said = mention::depends_on(item.text, &by_number);
        let need = |id: &str| TaskId::parse("id", id).ok().map(|id| Need { id, place: place.clone() });
        let needs = said.iter().copied().chain(before).filter_map(need).collect();
        let phase = phases.get(item.phase).cloned().flatten();
        let task = task(&header, item, id.clone(), phase, &place, report);
        drafts.push(Draft { id, place, task, needs });
    }
    Found { header, drafts, source: Source::SpecKit }
}

fn task(
    header: &Header,
    item: &Item<'_>,
    id: TaskId,
    phase: Option<String>,
    place: &Place,
    report: &mut Report,
) -> Option<super::super::task::PlannedTask> {
    if item.text.is_empty() {
        report.refuse(place, format!("gives {} no description", quote(item.id)));
        return None;
    }
    if item.text.len() > MAX_DESCRIPTION_BYTES {
        let rule = format!("has {} bytes; at most {MAX_DESCRIPTION_BYTES} are allowed", item.text.len());
        report.refuse(place, rule);
        return None;
    }
    let mut task = header.task(id, header.default_role(), item.text.to_owned());
    task.done = item.done;
    task.tags = item.tags.iter().map(|tag| (*tag).to_owned()).collect();
    task.phase = phase;
    Some(task)
}

/// All tasks with their phases, and the names of those. What is skipped is reported.
fn items<'t>(outline: &Outline<'t>, lines: &Lines<'_>, report: &mut Report) -> (Vec<Item<'t>>, Vec<Option<String>>) {
    let is_phase = |level: HeadingLevel, text: &str| {
        level <= HeadingLevel::H2 || text.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("phase "))
    };
    let mut headings = outline.headings.iter().filter(|heading| is_phase(heading.level, &heading.text)).peekable();
    let mut phases = vec![None];
    let mut items = Vec::new();
    for (offset, line) in outline.lines() {
        while let Some(heading) = headings.next_if(|heading| heading.offset <= offset) {
            phases.push(Some(heading.text.trim().to_owned()).filter(|text| !text.is_empty()));
        }
        let Some((mark, rest)) = checkbox(line) else { continue };
        match item(offset, (mark, rest)) {
            Some(item) if matches!(mark, ' ' | 'x' | 'X') => items.push(Item { phase: phases.len() - 1, ..item }),
            Some(item) => {
                let rule = format!("is skipped: {} is marked [{mark}]; a box is [ ], [x] or [X]", item.id);
                report.note(lines.place(offset), rule);
            }
            None => report.note(lines.place(offset), "is skipped: it has no id such as T001"),
        }
    }
    (items, phases)
}
