//! Markdown: sections `## DEV Tasks` with items `- [ ] TASK-001: text`.
//!
//! Nested items say more of their task: `Depends on: …`, `Priority: …`, `Role: …`; all others belong to its
//! description. An item outside any section is a task if it names its role, and is skipped and reported if not, since
//! plans hold other lists too.

use std::ops::Range;

use moothall_actors::domain::id::{Role, TaskId};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::super::draft::{Draft, Drafts, Need};
use super::super::header::Header;
use super::super::limit::MAX_DESCRIPTION_BYTES;
use super::super::place::{Lines, Place};
use super::super::report::{Report, quote};
use super::super::task::{Priority, Source};
use super::{Found, item};

/// The first word of `DEV Tasks`.
pub(crate) fn role_word(heading: &str) -> Option<&str> {
    let mut words = heading.split_whitespace();
    let (first, second) = (words.next()?, words.next()?);
    let second = second.trim_end_matches([':', '.', ',']);
    let is_section = second.eq_ignore_ascii_case("tasks") || second.eq_ignore_ascii_case("task");
    is_section.then_some(first)
}

/// An item of the outermost list, as ranges of the text.
#[derive(Debug, Default)]
struct Item {
    range: Range<usize>,
    /// Behind the box, and whether it is ticked.
    ticked: Option<(usize, bool)>,
    nested: Vec<Range<usize>>,
    /// Which section it stands in, by number from 1.
    section: usize,
}

pub(crate) fn read(text: &str, header: Header, report: &mut Report) -> Found {
    let reader = Reader::default().read(text);
    let lines = Lines::new(text);
    let mut drafts = Drafts::new(header.max_tasks());
    for entry in &reader.items {
        let section = entry.section.checked_sub(1).and_then(|section| reader.sections.get(section));
        let context = Context { text, lines: &lines, header: &header, section: section.map(String::as_str) };
        if let Some(draft) = context.draft(entry, report) {
            drafts.push(draft);
        }
    }
    Found { header, drafts, source: Source::Markdown }
}

/// Gathers sections and items from the events of the parser, however deep these are nested.
#[derive(Default)]
struct Reader {
    items: Vec<Item>,
    /// The role words of sections, in order.
    sections: Vec<String>,
    open_section: Option<HeadingLevel>,
    heading: Option<String>,
    depth: usize,
    quotes: usize,
}

impl Reader {
    fn read(mut self, text: &str) -> Self {
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TASKLISTS).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { .. }) => self.heading = Some(String::new()),
                Event::End(TagEnd::Heading(level)) => self.end_heading(level),
                Event::Text(part) | Event::Code(part) => {
                    if let Some(heading) = &mut self.heading {
                        heading.push_str(&part);
                    }
                }
                Event::Start(Tag::BlockQuote(_)) => self.quotes += 1,
                Event::End(TagEnd::BlockQuote(_)) => self.quotes = self.quotes.saturating_sub(1),
                Event::Start(Tag::Item) => self.start_item(range),
                Event::End(TagEnd::Item) => self.depth = self.depth.saturating_sub(1),
                Event::TaskListMarker(ticked) if self.depth == 1 && self.quotes == 0 => {
                    if let Some(item) = self.items.last_mut() {
                        item.ticked.get_or_insert((range.end, ticked));
                    }
                }
                _ => {}
            }
        }
        self
    }

    /// A heading ends the sections of its level and below; one for a role begins a new one.
    fn end_heading(&mut self, level: HeadingLevel) {
        let Some(heading) = self.heading.take().filter(|_| self.depth == 0 && self.quotes == 0) else { return };
        if self.open_section.is_some_and(|open| level <= open) {
            self.open_section = None;
        }
        if let Some(role) = role_word(&heading) {
            self.sections.push(role.to_owned());
            self.open_section = Some(level);
        }
    }

    fn start_item(&mut self, range: Range<usize>) {
        self.depth += 1;
        if self.quotes > 0 {
            return;
        }
        if self.depth == 1 {
            let section = if self.open_section.is_some() { self.sections.len() } else { 0 };
            self.items.push(Item { range, section, ..Item::default() });
        } else if let Some(item) = self.items.last_mut().filter(|_| self.depth == 2) {
            item.nested.push(range);
        }
    }
}

/// What nested items said of a task.
#[derive(Default)]
struct Said {
    needs: Vec<Need>,
    priority: Option<Priority>,
    role: Option<Role>,
    /// Whether a role was named, well or badly.
    names_role: bool,
}

/// One item's surroundings.
struct Context<'a> {
    text: &'a str,
    lines: &'a Lines<'a>,
    header: &'a Header,
    section: Option<&'a str>,
}

impl Context<'_> {
    fn slice(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or("")
    }

    /// `None` for what is no task, with a note or problem if it could have been meant as one.
    fn draft(&self, item: &Item, report: &mut Report) -> Option<Draft> {
        let Some((begin, done)) = item.ticked else {
            self.note_odd_box(item, report);
            return None;
        };
        let before = report.count();
        let place = self.lines.place(item.range.start);
        let description = self.own_text(begin, item);
        let Some((id, description)) = item::split_id(&description) else {
            return self.without_id(&place, report);
        };
        let said = self.said(item, report);
        let Some(role) = self.role(&said, &place, report) else {
            if !said.names_role && self.section.is_none() {
                report.note(
                    &place,
                    format!("is skipped: {} stands under no `## ROLE Tasks` and names no role", quote(id)),
                );
                return None;
            }
            return self.refused(id, place, said);
        };
        check_description(description, &place, report);
        let id = report.keep(&place, |field| TaskId::parse(field, id))?;
        let mut task = self.header.task(id.clone(), role, description.to_owned());
        task.done = done;
        task.priority = said.priority.unwrap_or_default();
        let task = (report.count() == before).then_some(task);
        Some(Draft { id, place, task, needs: said.needs })
    }

    /// Keeps the id of a refused task, so that others may depend on it.
    fn refused(&self, id: &str, place: Place, said: Said) -> Option<Draft> {
        let id = TaskId::parse("id", id).ok()?;
        Some(Draft { id, place, task: None, needs: said.needs })
    }

    fn without_id(&self, place: &Place, report: &mut Report) -> Option<Draft> {
        if self.section.is_some() {
            report.refuse(place, "has no id; a task is written `- [ ] TASK-001: text`");
        } else {
            report.note(place, "is skipped: it has no id such as `TASK-001:`");
        }
        None
    }

    fn note_odd_box(&self, item: &Item, report: &mut Report) {
        let text = self.slice(item.range.clone());
        let rest = bare(text);
        if self.section.is_some() && rest.starts_with('[') && rest.chars().nth(2) == Some(']') {
            report.note(self.lines.place(item.range.start), "is skipped: a box is [ ], [x] or [X]");
        } else if self.section.is_some() && item::split_id(first_line(rest)).is_some_and(|(id, _)| id.contains('-')) {
            report.note(self.lines.place(item.range.start), "is skipped: a task has a box, `- [ ]`");
        }
    }

    /// Everything behind the box but what nested items say of the task, without the indentation of the list.
    fn own_text(&self, begin: usize, item: &Item) -> String {
        let mut own = String::new();
        let mut at = begin;
        for nested in item.nested.iter().filter(|nested| field(self.slice((*nested).clone())).is_some()) {
            own.push_str(self.slice(at..nested.start).trim_end_matches([' ', '\t']));
            at = nested.end.max(at);
        }
        own.push_str(self.slice(at..item.range.end));
        let indent = self.lines.position(begin).column.saturating_sub(4);
        dedent(own.trim(), indent)
    }

    fn said(&self, item: &Item, report: &mut Report) -> Said {
        let mut said = Said::default();
        for range in &item.nested {
            let Some((key, value)) = field(self.slice(range.clone())) else { continue };
            let place = self.lines.place(range.start);
            match key {
                Key::DependsOn => said.needs.extend(needs(&value, &place, report)),
                Key::Priority if said.priority.is_some() => report.refuse(&place, "is a second priority"),
                Key::Priority => {
                    said.priority = Priority::read(&value);
                    if said.priority.is_none() {
                        report.refuse(&place, format!("has the priority {}; {}", quote(&value), Priority::RULE));
                    }
                }
                Key::Role if said.names_role => report.refuse(&place, "is a second role"),
                Key::Role => {
                    said.names_role = true;
                    said.role = report.keep(&place, |field| Role::parse(field, &value));
                }
            }
        }
        said
    }

    /// The task's own role, else that of its section.
    fn role(&self, said: &Said, place: &Place, report: &mut Report) -> Option<Role> {
        if said.names_role {
            return said.role.clone();
        }
        let section = self.section?;
        report.keep(place, |field| Role::parse(field, section))
    }
}

fn check_description(description: &str, place: &Place, report: &mut Report) {
    if description.is_empty() {
        report.refuse(place, "has no description; a task is written `- [ ] TASK-001: text`");
    }
    if description.len() > MAX_DESCRIPTION_BYTES {
        let rule = format!("has {} bytes; at most {MAX_DESCRIPTION_BYTES} are allowed", description.len());
        report.refuse(place, rule);
    }
}

enum Key {
    DependsOn,
    Priority,
    Role,
}

/// `- Depends on: TASK-000`, read from the text of a nested item.
fn field(text: &str) -> Option<(Key, String)> {
    let (key, value) = first_line(bare(text)).split_once(':')?;
    let key = match key.trim_matches(['*', '_', '`', ' ']).to_ascii_lowercase().as_str() {
        "depends on" | "depends-on" | "depends_on" | "dependencies" => Key::DependsOn,
        "priority" => Key::Priority,
        "role" => Key::Role,
        _ => return None,
    };
    let rest = match key {
        Key::DependsOn => bare(text).split_once(':').map_or(value, |(_, rest)| rest),
        Key::Priority | Key::Role => value,
    };
    Some((key, rest.trim_matches(['*', '`', ' ', '\t', '\n', '\r']).to_owned()))
}

fn needs(value: &str, place: &Place, report: &mut Report) -> Vec<Need> {
    let mut needs = Vec::new();
    for id in value.split([',', ';', '\n']) {
        let id = id.trim().trim_start_matches("- ").trim_matches(['*', '`', '.', ' ']);
        if id.is_empty() || ["none", "-", "n/a"].iter().any(|none| id.eq_ignore_ascii_case(none)) {
            continue;
        }
        if id.contains(char::is_whitespace) {
            report.refuse(place, format!("depends on {}; ids stand between commas", quote(id)));
        } else if let Some(id) = report.keep(place, |field| TaskId::parse(field, id)) {
            needs.push(Need { id, place: place.clone() });
        }
    }
    needs
}

/// An item without its bullet.
fn bare(text: &str) -> &str {
    let text = text.trim();
    text.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(['-', '*', '+', '.', ')']).trim_start()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

/// Takes up to `indent` blanks off every line but the first.
fn dedent(text: &str, indent: usize) -> String {
    let cut = |line: &str| {
        let blanks = line.bytes().take(indent).take_while(|byte| *byte == b' ').count();
        line.get(blanks..).unwrap_or("").trim_end().to_owned()
    };
    let lines: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(at, line)| if at == 0 { line.trim_end().to_owned() } else { cut(line) })
        .collect();
    lines.join("\n")
}
