//! The files while the operations of an answer are carried out, one after the other, with every failure on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::base::Base;
use super::body::Block;
use super::bounds::{self, Effort};
use super::dialect::{Action, Operation};
use super::failure::{Code, Failure, Rejected};
use super::guard::Guard;
use super::path;
use super::placeholder;
use super::resolve;
use super::text::{Grade, Text};

/// A file as it is now.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) text: Arc<str>,
    /// The path that it has in the base.
    pub(super) origin: Option<String>,
    /// `None`: nobody wrote to it.
    pub(super) grade: Option<Grade>,
}

/// The files after all operations.
pub(super) struct Outcome {
    pub(super) files: BTreeMap<String, Entry>,
    pub(super) effort: Effort,
}

struct Tree<'b> {
    base: &'b Base,
    guard: &'b Guard,
    files: BTreeMap<String, Entry>,
    /// Paths written, edited or deleted, by the name of the last operation: each must end different.
    touched: BTreeMap<String, String>,
    /// Paths written whole by this answer: a second time is a mistake.
    written: BTreeSet<String>,
    /// Paths of failed operations: what fails only because of them is not reported.
    doubtful: BTreeSet<String>,
    failures: Vec<Failure>,
    /// Lines of the base that look like placeholders, once somebody asked.
    known: Option<BTreeSet<String>>,
    new_text: usize,
    effort: Effort,
}

/// Carries out all operations, or none.
pub(super) fn run(operations: Vec<Operation<'_>>, base: &Base, guard: &Guard) -> Result<Outcome, Rejected> {
    let entry = |(path, text): (&str, &Arc<str>)| {
        (path.to_owned(), Entry { text: text.clone(), origin: Some(path.to_owned()), grade: None })
    };
    let mut tree = Tree {
        base,
        guard,
        files: base.iter().map(entry).collect(),
        touched: BTreeMap::new(),
        written: BTreeSet::new(),
        doubtful: BTreeSet::new(),
        failures: Vec::new(),
        known: None,
        new_text: 0,
        effort: Effort::new(),
    };
    let blocks: usize = operations.iter().map(Operation::blocks).sum();
    if blocks > bounds::BLOCKS {
        return Err(Failure::new(Code::TooLarge, "", "too many edit blocks; allowed are 2,000").into());
    }
    for operation in merged(operations) {
        tree.carry_out(operation);
        if tree.new_text > bounds::NEW_TEXT {
            break;
        }
    }
    tree.check_whole();
    let Tree { files, effort, failures, .. } = tree;
    if failures.is_empty() { Ok(Outcome { files, effort }) } else { Err(Rejected { failures }) }
}

impl Operation<'_> {
    fn blocks(&self) -> usize {
        match &self.action {
            Action::Edit(blocks) => blocks.len(),
            Action::Write { .. } | Action::Move { .. } | Action::Delete | Action::Broken(_) => 0,
        }
    }
}

/// Edits of one path with nothing else to it in between are one edit: their anchors come from the same file.
fn merged(operations: Vec<Operation<'_>>) -> Vec<Operation<'_>> {
    let mut kept: Vec<Operation<'_>> = Vec::with_capacity(operations.len());
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for mut operation in operations {
        if let Action::Edit(more) = &mut operation.action
            && let Some(Action::Edit(blocks)) = last.get(&operation.path).map(|place| &mut kept[*place].action)
        {
            blocks.append(more);
            continue;
        }
        last.insert(operation.path.clone(), kept.len());
        if let Action::Move { to } = &operation.action {
            last.insert(to.clone(), kept.len());
        }
        kept.push(operation);
    }
    kept
}

impl Tree<'_> {
    fn carry_out(&mut self, operation: Operation<'_>) {
        let Operation { name, path, action } = operation;
        let to = match &action {
            Action::Move { to } => Some(self.usable(&name, to)),
            Action::Write { .. } | Action::Edit(_) | Action::Delete | Action::Broken(_) => None,
        };
        let Some(path) = self.usable(&name, &path) else { return };
        let done = match (action, to) {
            (Action::Broken(it), _) => Err(vec![Failure::new(it.code, &*name, it.message)]),
            (Action::Write { body, fresh }, _) => self.write(&name, &path, &body, fresh).map_err(|it| vec![it]),
            (Action::Edit(blocks), _) => self.edit(&name, &path, &blocks),
            (Action::Delete, _) => self.delete(&name, &path).map_err(|it| vec![it]),
            (Action::Move { .. }, Some(Some(to))) => self.rename(&name, &path, to).map_err(|it| vec![it]),
            (Action::Move { .. }, _) => Ok(()),
        };
        if let Err(failures) = done {
            let doubted = self.doubtful.contains(&path);
            let follows = |it: &Failure| doubted && matches!(it.code, Code::MissingFile | Code::TargetExists);
            let failures = failures.into_iter().filter(|it| !follows(it));
            self.failures.extend(failures.map(|it| if it.path.is_none() { it.at(&path) } else { it }));
            self.doubtful.insert(path);
        }
    }

    /// The path if it may be used at all.
    fn usable(&mut self, name: &str, written: &str) -> Option<String> {
        let failure = match path::check(written) {
            Err(why) => Failure::new(Code::UnsafePath, name, why),
            Ok(()) => match self.guard.objection(written) {
                None => return Some(written.to_owned()),
                Some(why) => Failure::new(Code::ProtectedPath, name, why),
            },
        };
        self.failures.push(failure.at(written));
        self.doubtful.insert(written.to_owned());
        None
    }

    fn write(&mut self, name: &str, path: &str, body: &[&str], fresh: bool) -> Result<(), Failure> {
        if (fresh && self.files.contains_key(path)) || !self.written.insert(path.to_owned()) {
            return Err(Failure::new(Code::TargetExists, name, "the file exists already, or is written twice"));
        }
        let bytes = body.iter().map(|line| line.len() + 1).sum();
        self.count(name, bytes)?;
        let before = self.files.get(path).cloned();
        if let Some(message) = self.placeholder(body) {
            return Err(Failure::new(Code::Placeholder, name, message));
        }
        let text = match &before {
            None => body.iter().flat_map(|line| [line, "\n"]).collect(),
            Some(before) => {
                self.afford(name, &before.text)?;
                let mut text = Text::new(&before.text);
                text.rewrite(body, &mut self.effort);
                text.render()
            }
        };
        let there = self.base.get(path).map(|_| path.to_owned());
        let origin = before.and_then(|it| it.origin).or(there);
        self.put(name, path, Entry { text: text.into(), origin, grade: Some(Grade::Whole) })
    }

    /// What is wrong if a line of new text is a placeholder that the base does not contain.
    fn placeholder(&mut self, new: &[&str]) -> Option<String> {
        placeholder::first(new, |_| false)?;
        let base = self.base;
        let lines = || base.iter().flat_map(|(_, text)| text.lines());
        let known =
            || lines().filter(|line| placeholder::is_placeholder(line)).map(|line| line.trim().to_owned()).collect();
        let known: &BTreeSet<String> = self.known.get_or_insert_with(known);
        let line = placeholder::first(new, |line| known.contains(line))?;
        Some(format!("{:?} stands for text that is missing", line.trim()))
    }

    fn edit(&mut self, name: &str, path: &str, blocks: &[Block<'_>]) -> Result<(), Vec<Failure>> {
        let Some(entry) = self.files.get(path).cloned() else { return Err(vec![self.missing(name, path)]) };
        let bytes =
            |block: &Block<'_>| block.readings.first().map_or(0, |it| it.new.iter().map(|line| line.len() + 1).sum());
        self.count(name, blocks.iter().map(bytes).sum()).map_err(|it| vec![it])?;
        let label = |block: usize| if blocks.len() == 1 { name.to_owned() } else { format!("{name}, block {block}") };
        self.afford(name, &entry.text).map_err(|it| vec![it])?;
        let mut text = Text::new(&entry.text);
        let grade = resolve::edit(&mut text, blocks, &mut self.effort).map_err(|misses| {
            let failure = |miss: resolve::Miss| Failure {
                excerpt: miss.excerpt,
                ..Failure::new(miss.code, label(miss.block), miss.message)
            };
            misses.into_iter().map(failure).collect::<Vec<_>>()
        });
        let held = |(place, block): (usize, &Block<'_>)| {
            let message = self.placeholder(&block.readings.first()?.new)?;
            Some(Failure::new(Code::Placeholder, label(place + 1), message))
        };
        let held: Vec<Failure> = blocks.iter().enumerate().filter_map(held).collect();
        let grade = match grade {
            Ok(grade) if held.is_empty() => grade.max(entry.grade.unwrap_or(Grade::Exact)),
            Ok(_) => return Err(held),
            Err(misses) => return Err(misses.into_iter().chain(held).collect()),
        };
        let text = text.render().into();
        self.put(name, path, Entry { text, grade: Some(grade), ..entry }).map_err(|it| vec![it])
    }

    fn delete(&mut self, name: &str, path: &str) -> Result<(), Failure> {
        if self.files.remove(path).is_none() {
            return Err(self.missing(name, path));
        }
        self.written.remove(path);
        self.touched.insert(path.to_owned(), name.to_owned());
        Ok(())
    }

    fn rename(&mut self, name: &str, path: &str, to: String) -> Result<(), Failure> {
        if path == to {
            return Err(Failure::new(Code::NoChange, name, "the file is there already"));
        }
        if self.files.contains_key(&to) {
            return Err(Failure::new(Code::TargetExists, name, format!("{to} exists already")).at(&to));
        }
        let Some(entry) = self.files.remove(path) else {
            self.doubtful.insert(to);
            return Err(self.missing(name, path));
        };
        if let Some(writer) = self.touched.remove(path) {
            self.touched.insert(to.clone(), writer);
        }
        if self.written.remove(path) {
            self.written.insert(to.clone());
        }
        self.files.insert(to, entry);
        Ok(())
    }

    fn missing(&self, name: &str, path: &str) -> Failure {
        let message = match self.base.get(path) {
            Some(_) => "the file was moved or deleted by an operation before",
            None => "there is no such file; a new one is a FILE",
        };
        Failure::new(Code::MissingFile, name, message)
    }

    /// Whether going over a whole file can still be afforded.
    fn afford(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        /// Splitting, comparing and joining a line.
        const STEPS: usize = 8;
        let lines = text.bytes().filter(|it| *it == b'\n').count();
        if self.effort.spend(STEPS * lines) && self.effort.spend_bytes(text.len()) {
            return Ok(());
        }
        Err(Failure::new(Code::TooLarge, name, "too many operations on long files"))
    }

    /// Counts new text; the failure that ends the translation when it is too much.
    fn count(&mut self, name: &str, bytes: usize) -> Result<(), Failure> {
        self.new_text = self.new_text.saturating_add(bytes);
        if self.new_text <= bounds::NEW_TEXT && self.effort.spend_bytes(bytes) {
            return Ok(());
        }
        Err(Failure::new(Code::TooLarge, name, "the new text is too long; allowed are 1,048,576 bytes together"))
    }

    fn put(&mut self, name: &str, path: &str, entry: Entry) -> Result<(), Failure> {
        if entry.text.len() > bounds::FILE {
            return Err(Failure::new(Code::TooLarge, name, "the file is too long; allowed are 524,288 bytes"));
        }
        self.touched.insert(path.to_owned(), name.to_owned());
        self.files.insert(path.to_owned(), entry);
        Ok(())
    }

    /// What can only be said of the outcome.
    fn check_whole(&mut self) {
        let mut found = Vec::new();
        for (path, name) in &self.touched {
            let same = self.base.get(path) == self.files.get(path).map(|it| &it.text);
            if same && !self.doubtful.contains(path) {
                found.push(Failure::new(Code::NoChange, name, "the outcome is what was there before").at(path));
            }
        }
        // A new path may be in the way of many old ones; it is told once.
        let mut told = BTreeSet::new();
        for clash in path::clashes(self.files.keys().map(String::as_str)) {
            let new = self.base.get(clash.path).is_none();
            let (path, other) = if new { (clash.path, clash.other) } else { (clash.other, clash.path) };
            if told.insert(path) {
                found.push(Failure::new(clash.code, path, format!("it cannot stand beside {other}")).at(path));
            }
        }
        let same = |(path, entry): (&String, &Entry)| self.base.get(path) == Some(&entry.text);
        let same = self.files.len() == self.base.len() && self.files.iter().all(same);
        if same && found.is_empty() && self.failures.is_empty() {
            found.push(Failure::new(Code::NoChange, "", "the outcome is what was there before"));
        }
        self.failures.append(&mut found);
    }
}
