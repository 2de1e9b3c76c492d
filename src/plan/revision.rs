//! A plan approved again: what is new, what changed, what is left alone. And ids that other plans use already.

use std::collections::{BTreeMap, BTreeSet};

use moothall_actors::domain::id::TaskId;
use moothall_actors::domain::problem::Problems;
use sha2::{Digest, Sha256};

use super::place::Place;
use super::report::{Report, quote};
use super::task::{Plan, PlannedTask};

/// A task of the plan as it was approved before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub id: TaskId,
    /// Its [`PlannedTask::content_hash`].
    pub content: String,
    /// Whether work on it has begun, or ended.
    pub started: bool,
}

/// What becomes of each task. New ones are added, unstarted ones updated, started ones left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<TaskId>,
    pub updated: Vec<TaskId>,
    /// Changed in the plan, but started before.
    pub left: Vec<TaskId>,
    pub unchanged: Vec<TaskId>,
    /// No longer in the plan. Nobody said that they are to be cancelled.
    pub gone: Vec<TaskId>,
}

impl PlannedTask {
    /// SHA-256 of everything the plan says of the task, in hex.
    #[must_use]
    pub fn content_hash(&self) -> String {
        // Texts, numbers and a map by text: there is nothing that JSON could refuse.
        hex(&Sha256::digest(serde_json::to_vec(self).unwrap_or_default()))
    }
}

impl Plan {
    /// SHA-256 of what the plan asks for, in hex: the same for the same tasks, however they are written down.
    #[must_use]
    pub fn content_hash(&self) -> String {
        let mut hasher = Sha256::new();
        for text in [&self.plan_id, &self.story_id, self.hold_until_phase.as_deref().unwrap_or("")].map(str::as_bytes) {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        self.tasks.iter().for_each(|task| hasher.update(task.content_hash()));
        hex(&hasher.finalize())
    }

    /// What this plan changes of the one approved before.
    #[must_use]
    pub fn changes(&self, before: &[Known]) -> Changes {
        let mut known: BTreeMap<&TaskId, &Known> = before.iter().map(|known| (&known.id, known)).collect();
        let mut changes = Changes::default();
        for task in &self.tasks {
            let list = match known.remove(&task.id) {
                None => &mut changes.added,
                Some(known) if known.content == task.content_hash() => &mut changes.unchanged,
                Some(known) if known.started => &mut changes.left,
                Some(_) => &mut changes.updated,
            };
            list.push(task.id.clone());
        }
        changes.gone = before.iter().filter(|task| known.contains_key(&task.id)).map(|task| task.id.clone()).collect();
        changes
    }

    /// Renames each task whose id another plan has taken to `{plan_id}/{id}`, wherever it is named.
    pub fn make_unique(mut self, is_taken: impl Fn(&TaskId) -> bool) -> Result<Self, Problems> {
        let own: BTreeSet<&TaskId> = self.tasks.iter().map(|task| &task.id).collect();
        let mut report = Report::default();
        let mut names: BTreeMap<TaskId, TaskId> = BTreeMap::new();
        for task in self.tasks.iter().filter(|task| is_taken(&task.id)) {
            let place = Place::Plan.key("tasks", None).key(task.id.as_str(), None);
            let longer = format!("{}/{}", self.plan_id, task.id);
            match report.keep(&place, |field| TaskId::parse(field, &longer)) {
                Some(name) if own.contains(&name) || is_taken(&name) || self.plan_id.is_empty() => {
                    report.refuse(place, format!("has an id that is taken, as is {}", quote(&longer)));
                }
                Some(name) => drop(names.insert(task.id.clone(), name)),
                None => {}
            }
        }
        report.finish()?;
        let rename = |id: &mut TaskId| {
            if let Some(name) = names.get(id) {
                *id = name.clone();
            }
        };
        for task in &mut self.tasks {
            rename(&mut task.id);
            task.dependencies.iter_mut().for_each(rename);
        }
        Ok(self)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::testing::{plan, shape};
    use super::*;

    fn known(plan: &Plan, started: &[&str]) -> Vec<Known> {
        let one = |task: &PlannedTask| Known {
            id: task.id.clone(),
            content: task.content_hash(),
            started: started.contains(&task.id.as_str()),
        };
        plan.tasks.iter().map(one).collect()
    }

    #[test]
    fn how_a_plan_is_written_down_does_not_change_its_content() {
        let markdown = plan("## DEV Tasks\n- [ ] A: x\n- [ ] B: y\n  - Depends on: A\n");
        let yaml = plan(
            "tasks:\n- {id: A, role: dev, description: x}\n- {id: B, role: DEV, description: y, depends_on: [A]}\n",
        );
        assert_eq!(markdown.content_hash(), yaml.content_hash());
        assert_eq!(markdown.content_hash().len(), 64);
        for other in ["- [x] A: x\n", "- [ ] A: z\n", "- [ ] A: x\n  - Priority: LOW\n", "- [ ] C: x\n"] {
            let other = plan(&format!("## DEV Tasks\n{other}"));
            assert_ne!(other.content_hash(), plan("## DEV Tasks\n- [ ] A: x\n").content_hash());
        }
    }

    #[test]
    fn a_plan_approved_again_adds_updates_and_leaves() {
        let before = plan("## DEV Tasks\n- [ ] A: a\n- [ ] B: b\n- [ ] C: c\n- [ ] D: d\n");
        let after = plan("## DEV Tasks\n- [ ] A: a\n- [ ] B: other\n- [ ] C: other\n- [ ] E: e\n");
        let changes = after.changes(&known(&before, &["A", "C"]));
        let ids = |ids: &[TaskId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let lists = [&changes.added, &changes.updated, &changes.left, &changes.unchanged, &changes.gone];
        assert_eq!(lists.map(|list| ids(list)), ["E", "B", "C", "A", "D"]);
        let again = before.changes(&known(&before, &[]));
        assert_eq!(again, Changes { unchanged: again.unchanged.clone(), ..Changes::default() });
    }

    #[test]
    fn ids_that_others_use_get_the_plan_before_them() {
        let own = Plan { plan_id: "P".into(), ..plan("## DEV Tasks\n- [ ] A: a\n- [ ] B: b\n  - Depends on: A\n") };
        let renamed = own.clone().make_unique(|id| id.as_str() == "A").unwrap();
        assert_eq!(shape(&renamed), "P/A B<P/A");
        assert_eq!(own.clone().make_unique(|_| false).unwrap(), own);
        let problem = own.clone().make_unique(|id| id.as_str() != "B").unwrap_err().to_string();
        assert_eq!(problem, "tasks.A has an id that is taken, as is \"P/A\"");
        let long = Plan { plan_id: "P".repeat(255), ..own };
        assert!(long.make_unique(|id| id.as_str() == "A").unwrap_err().to_string().contains("has 257 bytes"));
    }
}
