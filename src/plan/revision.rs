//! By what a plan approved again is known to be the same, and what becomes of ids that other plans use already.

use std::collections::{BTreeMap, BTreeSet};

use moothall_actors::domain::id::TaskId;
use moothall_actors::domain::problem::Problems;
use sha2::{Digest, Sha256};

use super::place::Place;
use super::report::{Report, quote};
use super::task::{Plan, PlannedTask};

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
