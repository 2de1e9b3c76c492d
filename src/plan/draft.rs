//! From the tasks of one source to a plan: ids, dependencies and order, checked over all tasks at once.

use std::collections::{BTreeMap, BTreeSet};

use moothall_actors::domain::id::TaskId;

use super::graph::Graph;
use super::limit::{MAX_CYCLE_SHOWN, MAX_DEPENDENCIES};
use super::place::Place;
use super::report::{Report, quote};
use super::task::PlannedTask;

/// A task as its source gave it. What is wrong with its own fields has been said; its id still counts.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) id: TaskId,
    pub(crate) place: Place,
    /// `None` if some field is wrong. `dependencies` are not filled in yet.
    pub(crate) task: Option<PlannedTask>,
    pub(crate) needs: Vec<Need>,
}

/// A dependency and where it is written.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub(crate) id: TaskId,
    pub(crate) place: Place,
}

/// The drafts of a plan, at most as many as it may have; further ones are counted.
#[derive(Debug)]
pub(crate) struct Drafts {
    kept: Vec<Draft>,
    seen: usize,
    most: usize,
    /// Dependencies so far, those that come twice included.
    needs: usize,
}

impl Drafts {
    pub(crate) fn new(most: usize) -> Self {
        Self { kept: Vec::new(), seen: 0, most, needs: 0 }
    }

    pub(crate) fn push(&mut self, draft: Draft) {
        self.seen += 1;
        self.needs += draft.needs.len();
        if self.kept.len() < self.most && !self.is_overfull() {
            self.kept.push(draft);
        }
    }

    /// Whether there are more dependencies than a plan may have: then it is refused, and need not be read on.
    pub(crate) fn is_overfull(&self) -> bool {
        self.needs > MAX_DEPENDENCIES
    }

    /// There are so many that none is read.
    pub(crate) fn count_only(&mut self, seen: usize) {
        self.seen = seen;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Checks what concerns several tasks and puts them in order. The report says if anything was wrong.
    pub(crate) fn assemble(self, report: &mut Report) -> Vec<PlannedTask> {
        if self.seen > self.most {
            let rule = format!("has {} tasks; at most {} are allowed (plans.max_tasks)", self.seen, self.most);
            report.refuse(Place::Plan, rule);
            return Vec::new();
        }
        if self.is_overfull() {
            report.refuse(Place::Plan, too_many_dependencies());
            return Vec::new();
        }
        let places = places(&self.kept, report);
        let needs = self.resolve(&places, report);
        let graph = Graph::new(&needs);
        for cycle in graph.cycles() {
            self.refuse_cycle(&cycle, report);
        }
        let Some(order) = graph.order().filter(|_| report.is_clean()) else { return Vec::new() };
        let ids: Vec<TaskId> = self.kept.iter().map(|draft| draft.id.clone()).collect();
        let with_needs = |(draft, needed): (Draft, &Vec<usize>)| {
            let mut task = draft.task?;
            task.dependencies = needed.iter().filter_map(|place| ids.get(*place).cloned()).collect();
            Some(task)
        };
        let mut tasks: Vec<Option<PlannedTask>> = self.kept.into_iter().zip(&needs).map(with_needs).collect();
        order.into_iter().filter_map(|place| tasks.get_mut(place)?.take()).collect()
    }

    /// Each task's dependencies as places, each once; what cannot be is named.
    fn resolve(&self, places: &BTreeMap<TaskId, usize>, report: &mut Report) -> Vec<Vec<usize>> {
        let mut all = Vec::with_capacity(self.kept.len());
        for draft in &self.kept {
            let mut seen = BTreeSet::new();
            let mut needed = Vec::new();
            for need in draft.needs.iter().filter(|need| seen.insert(&need.id)) {
                if need.id == draft.id {
                    report.refuse(&need.place, format!("makes {} depend on itself", quote(draft.id.as_str())));
                    continue;
                }
                match places.get(&need.id) {
                    Some(place) => needed.push(*place),
                    None => {
                        let known = nearest(&need.id, places);
                        let id = quote(need.id.as_str());
                        report.refuse(&need.place, format!("depends on {id}, which is no task of this plan{known}"));
                    }
                }
            }
            all.push(needed);
        }
        all
    }

    fn refuse_cycle(&self, cycle: &[usize], report: &mut Report) {
        let drafts: Vec<&Draft> = cycle.iter().filter_map(|place| self.kept.get(*place)).collect();
        let Some(first) = drafts.first() else { return };
        let mut way: Vec<String> = drafts.iter().take(MAX_CYCLE_SHOWN).map(|draft| draft.id.to_string()).collect();
        if drafts.len() > MAX_CYCLE_SHOWN {
            way.push(format!("… {} more …", drafts.len() - MAX_CYCLE_SHOWN));
        }
        way.push(first.id.to_string());
        let rule = "none of these tasks can start, each waits for the next";
        report.refuse(&first.place, format!("is part of a cycle: {} ({rule})", way.join(" → ")));
    }
}

pub(crate) fn too_many_dependencies() -> String {
    format!("has more than {MAX_DEPENDENCIES} dependencies, those of its order included")
}

/// Where each id stands; one that is used twice is refused and means its first task.
fn places(drafts: &[Draft], report: &mut Report) -> BTreeMap<TaskId, usize> {
    let mut places = BTreeMap::new();
    for (place, draft) in drafts.iter().enumerate() {
        if let Some(first) = places.get(&draft.id).and_then(|first: &usize| drafts.get(*first)) {
            let id = quote(draft.id.as_str());
            report.refuse(&draft.place, format!("has the id {id}, which {} already has; ids are unique", first.place));
        } else {
            places.insert(draft.id.clone(), place);
        }
    }
    places
}

/// A known id that differs from this one only in case, for the message.
fn nearest(id: &TaskId, places: &BTreeMap<TaskId, usize>) -> String {
    let alike = places.keys().find(|known| known.as_str().eq_ignore_ascii_case(id.as_str()));
    alike.map_or_else(String::new, |known| format!("; did you mean {}", quote(known.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use moothall_actors::domain::id::Role;
    use moothall_actors::domain::problem::Problems;

    fn draft(line: usize, id: &str, needs: &[&str]) -> Draft {
        let place = Place::Text(super::super::place::Position { line, column: 1 });
        let id = TaskId::parse("id", id).unwrap();
        let need = |id: &&str| Need { id: TaskId::parse("id", id).unwrap(), place: place.clone() };
        let task = PlannedTask::new(id.clone(), Role::dev(), format!("do {id}"));
        Draft { id, needs: needs.iter().map(need).collect(), task: Some(task), place: place.clone() }
    }

    fn assembled(drafts: Vec<Draft>, most: usize) -> Result<Vec<PlannedTask>, Vec<String>> {
        let mut all = Drafts::new(most);
        drafts.into_iter().for_each(|draft| all.push(draft));
        let mut report = Report::default();
        let tasks = all.assemble(&mut report);
        let shown = |problems: Problems| problems.0.iter().map(ToString::to_string).collect();
        report.finish().map(|_| tasks).map_err(shown)
    }

    #[test]
    fn tasks_stand_after_what_they_need_else_as_written() {
        let tasks = assembled(vec![draft(1, "b", &["a", "a"]), draft(2, "a", &[]), draft(3, "c", &[])], 9).unwrap();
        assert_eq!(tasks.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(tasks[1].dependencies.len(), 1);
    }

    #[test]
    fn duplicates_unknown_self_and_cycles_are_named_at_once() {
        let drafts =
            vec![draft(1, "a", &["c", "x"]), draft(2, "b", &["b", "A"]), draft(3, "c", &["a"]), draft(4, "b", &[])];
        let problems = assembled(drafts, 9).unwrap_err();
        let expected = [
            r#"line 4, column 1 has the id "b", which line 2, column 1 already has; ids are unique"#,
            r#"line 1, column 1 depends on "x", which is no task of this plan"#,
            r#"line 2, column 1 makes "b" depend on itself"#,
            r#"line 2, column 1 depends on "A", which is no task of this plan; did you mean "a""#,
            "line 1, column 1 is part of a cycle: a → c → a (none of these tasks can start, each waits for the next)",
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn the_number_of_tasks_ends_at_its_limit() {
        let some = |count| (0..count).map(|n| draft(n, &format!("t{n}"), &[])).collect::<Vec<_>>();
        assert_eq!(assembled(some(3), 3).unwrap().len(), 3);
        let problems = assembled(some(4), 3).unwrap_err();
        assert_eq!(problems, ["plan has 4 tasks; at most 3 are allowed (plans.max_tasks)"]);
    }

    #[test]
    fn the_number_of_dependencies_ends_at_its_limit() {
        let wide = 400;
        let ids: Vec<String> = (0..wide).map(|n| format!("a{n}")).collect();
        let needs: Vec<&str> = ids.iter().map(String::as_str).collect();
        let plan = |waiting: usize| {
            let first = ids.iter().map(|id| draft(1, id, &[]));
            first.chain((0..waiting).map(|n| draft(2, &format!("b{n}"), &needs))).collect::<Vec<_>>()
        };
        assert!(assembled(plan(MAX_DEPENDENCIES / wide), 9_999).is_ok());
        let problems = assembled(plan(MAX_DEPENDENCIES / wide + 1), 9_999).unwrap_err();
        assert!(problems[0].contains("more than 100000 dependencies"), "{problems:?}");
    }

    #[test]
    fn a_long_cycle_is_cut() {
        let cycle = |count: usize| {
            let one = |n: usize| draft(n + 1, &format!("t{n}"), &[&format!("t{}", (n + 1) % count)]);
            assembled((0..count).map(one).collect(), 9_999).unwrap_err()[0].clone()
        };
        assert!(!cycle(MAX_CYCLE_SHOWN).contains('…'));
        assert!(cycle(MAX_CYCLE_SHOWN + 5).contains("→ … 5 more … → t0"));
    }
}
