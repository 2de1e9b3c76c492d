//! From the words of a model to operations, in the order it wrote them.

use super::base::Base;
use super::body::{self, Block, Edit, Unreadable};
use super::bounds;
use super::failure::{Code, Failure};
use super::fence;
use super::guard::Guard;
use super::header::{self, Header, Verb};
use super::patch::{Act, Section};

/// What an operation does to its path.
#[derive(Debug)]
pub(super) enum Action<'a> {
    /// `fresh`: the file must not exist yet.
    Write {
        body: Vec<&'a str>,
        fresh: bool,
    },
    Edit(Vec<Block<'a>>),
    Move {
        to: String,
    },
    Delete,
    /// It could not be read; the others still are, so that all failures are listed.
    Broken(Unreadable),
}

/// One operation, with the path as written.
#[derive(Debug)]
pub(super) struct Operation<'a> {
    /// Such as `EDIT src/a.py`.
    pub(super) name: String,
    pub(super) path: String,
    pub(super) action: Action<'a>,
}

impl<'a> Operation<'a> {
    fn new(verb: Verb, path: &str, action: Action<'a>) -> Self {
        let shown: String = path.chars().take(bounds::EXCERPT_WIDTH).collect();
        Self { name: format!("{} {shown}", verb.as_str()), path: plain(path).to_owned(), action }
    }

    fn broken(verb: Verb, path: &str, unreadable: Unreadable) -> Self {
        Self::new(verb, path, Action::Broken(unreadable))
    }
}

/// A path without the `./` that some put in front, so that one file has one name.
fn plain(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Script<'a> {
    /// The prose before the first header.
    pub(super) rationale: String,
    pub(super) notes: String,
    pub(super) operations: Vec<Operation<'a>>,
}

/// Reads an answer.
pub(super) fn read<'a>(words: &'a str, nonce: &str, base: &Base, guard: &Guard) -> Result<Script<'a>, Failure> {
    let lines: Vec<&'a str> = words.strip_suffix('\n').unwrap_or(words).split('\n').collect();
    let headers = header::find(&lines, nonce);
    let Some((first, _)) = headers.first() else { return lone(&lines, base, guard) };
    if headers.len() > bounds::OPERATIONS {
        return Err(Failure::new(Code::TooLarge, "", "too many operations; allowed are 1,000"));
    }
    let (rationale, wrapper) = rationale(&lines[..*first]);
    let mut script = Script { rationale, notes: String::new(), operations: Vec::new() };
    for (place, (line, header)) in headers.iter().enumerate() {
        let end = headers.get(place + 1).map_or(lines.len(), |(next, _)| *next);
        let mut region = &lines[line + 1..end];
        if place + 1 == headers.len() {
            region = unwrapped(region, header.verb, wrapper);
        }
        script.add(header, region, base);
    }
    if script.operations.is_empty() {
        return Err(Failure::new(Code::NoArtifact, "", "the answer has notes but changes no file"));
    }
    Ok(script)
}

impl<'a> Script<'a> {
    fn add(&mut self, header: &Header<'a>, region: &[&'a str], base: &Base) {
        let path = header::argument(header.rest);
        match header.verb {
            Verb::Notes => {
                let gap = if self.notes.is_empty() { "" } else { "\n\n" };
                self.notes.push_str(gap);
                self.notes.push_str(region.join("\n").trim());
            }
            Verb::File => self.operations.push(match body::fenced(region) {
                Ok(body) => Operation::new(Verb::File, path, Action::Write { body: body.to_vec(), fresh: false }),
                Err(unreadable) => Operation::broken(Verb::File, path, unreadable),
            }),
            Verb::Edit => match body::fenced(region).and_then(body::edit) {
                Ok(edit) => self.add_edit(path, edit),
                Err(unreadable) => self.operations.push(Operation::broken(Verb::Edit, path, unreadable)),
            },
            Verb::Delete => self.operations.push(Operation::new(Verb::Delete, path, Action::Delete)),
            Verb::Move => self.add_move(header.rest, region, base),
        }
    }

    fn add_edit(&mut self, path: &str, edit: Edit<'a>) {
        match edit {
            Edit::Blocks(blocks) => self.operations.push(Operation::new(Verb::Edit, path, Action::Edit(blocks))),
            Edit::Sections(sections) => {
                let meant =
                    |it: &Section<'_>| it.path == path || matches!(it.act, Act::Update { to, .. } if to == Some(path));
                if !sections.iter().any(meant) {
                    let unreadable =
                        Unreadable::new(Code::MissingFile, "the patch does not touch the path of its header");
                    self.operations.push(Operation::broken(Verb::Edit, path, unreadable));
                }
                sections.into_iter().for_each(|section| self.add_section(section));
            }
        }
    }

    fn add_section(&mut self, Section { path, act }: Section<'a>) {
        let (verb, action) = match act {
            Act::Add(body) => (Verb::File, Action::Write { body, fresh: true }),
            Act::Delete => (Verb::Delete, Action::Delete),
            Act::Update { to, blocks } => {
                if !blocks.is_empty() {
                    self.operations.push(Operation::new(Verb::Edit, path, Action::Edit(blocks)));
                }
                let Some(to) = to else { return };
                (Verb::Move, Action::Move { to: plain(to).to_owned() })
            }
        };
        self.operations.push(Operation::new(verb, path, action));
    }

    /// A move; an edit below it is one of the file at its new place.
    fn add_move(&mut self, rest: &str, region: &[&'a str], base: &Base) {
        let Some((from, to)) = header::arguments(rest, |path| base.get(path).is_some()) else {
            let unreadable = Unreadable::new(Code::UnsafePath, "a move names two paths: old/path -> new/path");
            return self.operations.push(Operation::broken(Verb::Move, rest, unreadable));
        };
        self.operations.push(Operation::new(Verb::Move, from, Action::Move { to: plain(to).to_owned() }));
        match body::fenced(region) {
            Ok(body) if body::is_edit(body) => match body::edit(body) {
                Ok(edit) => self.add_edit(to, edit),
                Err(unreadable) => self.operations.push(Operation::broken(Verb::Edit, to, unreadable)),
            },
            Err(unreadable) if unreadable.code == Code::Truncated => {
                self.operations.push(Operation::broken(Verb::Move, from, unreadable));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// The prose before the first header. A block that stays open in it would swallow the diff for readers, so it is closed;
/// one that opens just before the header wraps the whole answer.
fn rationale<'a>(lines: &[&'a str]) -> (String, Option<fence::Fence<'a>>) {
    let Some(open) = fence::dangling(lines) else { return (lines.join("\n").trim().to_owned(), None) };
    let (before, inside) = lines.split_at(open.opens);
    if inside.iter().skip(1).all(|line| line.trim().is_empty()) {
        return (before.join("\n").trim().to_owned(), Some(open.fence));
    }
    (format!("{}\n{}", lines.join("\n").trim(), open.fence.closing()), Some(open.fence))
}

/// The last region without the fence that closes the wrapper of the whole answer. Fences come in pairs, also nested ones:
/// only an odd one at the end is the wrapper's, so a model that forgot to close the wrapper loses nothing.
fn unwrapped<'r, 'a>(region: &'r [&'a str], verb: Verb, wrapper: Option<fence::Fence<'a>>) -> &'r [&'a str] {
    let last = region.iter().rposition(|line| !line.trim().is_empty());
    let Some((last, wrapper)) = last.zip(wrapper) else { return region };
    let inside = &region[..last];
    let odd = region.iter().filter(|line| fence::Fence::read(line).is_some()).count() % 2 == 1;
    let whole = !matches!(verb, Verb::File | Verb::Edit) || body::fenced(inside).is_ok();
    if odd && whole && wrapper.closed_by(region[last]) { inside } else { region }
}

/// An answer without headers: its only block is the file, if the task names one path.
fn lone<'a>(lines: &[&'a str], base: &Base, guard: &Guard) -> Result<Script<'a>, Failure> {
    let refused = |message: &str| Err(Failure::new(Code::NoArtifact, "", message));
    let blocks = fence::blocks(lines, 1);
    let [block] = blocks.as_slice() else {
        return refused("the answer has no header that says which file a block is");
    };
    let Some(path) = only_path(base, guard) else {
        return refused("the answer has a block without a header, and the task does not name exactly one path");
    };
    let verb = Verb::File;
    let operation = match block.closes.map(|end| &lines[block.opens + 1..end]) {
        None => Operation::broken(verb, path, Unreadable::new(Code::Truncated, "the block is not closed")),
        Some(body) if body::is_edit(body) => match body::edit(body) {
            Ok(Edit::Blocks(blocks)) => Operation::new(Verb::Edit, path, Action::Edit(blocks)),
            Ok(Edit::Sections(_)) => return refused("a patch of several files needs a header"),
            Err(unreadable) => Operation::broken(Verb::Edit, path, unreadable),
        },
        Some(body) => Operation::new(verb, path, Action::Write { body: body.to_vec(), fresh: false }),
    };
    let rationale = lines[..block.opens].join("\n").trim().to_owned();
    Ok(Script { rationale, notes: String::new(), operations: vec![operation] })
}

/// The path that a task names: the only one it may change, or the only file that it carries.
fn only_path<'p>(base: &'p Base, guard: &'p Guard) -> Option<&'p str> {
    let mut carried = base.iter().map(|(path, _)| path);
    let single = carried.next().filter(|_| carried.next().is_none() && !guard.names_paths());
    guard.only_path().or(single)
}
