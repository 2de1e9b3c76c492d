//! A plan as people see it: waves of tasks as text, and the graph for Graphviz.

use std::fmt::Write as _;

use super::graph::Graph;
use super::task::{Plan, PlannedTask};

/// Longest piece of a description on one line, in characters.
const MAX_SHOWN: usize = 60;

impl Plan {
    /// Open tasks in waves: those of one can run side by side once the waves before are done.
    #[must_use]
    pub fn waves(&self) -> Vec<Vec<&PlannedTask>> {
        let open: Vec<&PlannedTask> = self.tasks.iter().filter(|task| !task.done).collect();
        let task = |place: usize| open.get(place).copied();
        Graph::of_open(&open).waves().into_iter().map(|wave| wave.into_iter().filter_map(task).collect()).collect()
    }

    /// Open tasks that wait for nothing.
    #[must_use]
    pub fn roots(&self) -> Vec<&PlannedTask> {
        self.waves().into_iter().next().unwrap_or_default()
    }

    #[must_use]
    pub fn task(&self, id: &str) -> Option<&PlannedTask> {
        self.tasks.iter().find(|task| task.id.as_str() == id)
    }

    /// The plan as text: waves, then what is done, then notes.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.title();
        let id_width = self.tasks.iter().map(|task| plain(task.id.as_str()).chars().count()).max().unwrap_or(0);
        let role_width = self.tasks.iter().map(|task| task.role.as_str().len()).max().unwrap_or(0);
        let mut section = |name: &str, tasks: &[&PlannedTask]| {
            let _ = write!(text, "\n{name}\n");
            for task in tasks {
                let (id, role) = (plain(task.id.as_str()), task.role.as_str());
                let shown = summary(&task.description);
                let _ = write!(text, "  {id:id_width$}  {role:role_width$}  {:>3}  {shown}", task.priority);
                if !task.dependencies.is_empty() {
                    let needs: Vec<String> = task.dependencies.iter().map(|id| plain(id.as_str())).collect();
                    let _ = write!(text, "  ← {}", needs.join(", "));
                }
                text.push('\n');
            }
        };
        for (number, wave) in self.waves().iter().enumerate() {
            section(&format!("wave {}", number + 1), wave);
        }
        let done: Vec<&PlannedTask> = self.tasks.iter().filter(|task| task.done).collect();
        if !done.is_empty() {
            section("done", &done);
        }
        if !self.notes.is_empty() {
            text.push_str("\nnotes\n");
            self.notes.iter().for_each(|note| text.push_str(&format!("  {}\n", plain(note))));
        }
        text
    }

    fn title(&self) -> String {
        let named =
            |name: &str, id: &str| if id.is_empty() { String::new() } else { format!("{name} {}, ", plain(id)) };
        let done = self.tasks.iter().filter(|task| task.done).count();
        let done = if done > 0 { format!(", {done} done") } else { String::new() };
        let held = self.hold_until_phase.as_ref().map_or_else(String::new, |phase| format!(", held until {phase}"));
        let (count, waves) = (self.tasks.len(), self.waves().len());
        let tasks = if count == 1 { "task" } else { "tasks" };
        let in_waves = if waves == 1 { "wave" } else { "waves" };
        let origin = named("plan", &self.plan_id) + &named("story", &self.story_id);
        format!("{origin}{}: {count} {tasks}{done}, {waves} {in_waves}{held}\n", self.source)
    }

    /// The graph in Graphviz' language, an arrow from each task to those that wait for it.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let name = if self.plan_id.is_empty() { "plan" } else { &self.plan_id };
        let mut dot =
            format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n", quoted(name));
        for task in &self.tasks {
            let head = format!("{} · {} · {}", task.id, task.role, task.priority);
            let style = if task.done { ", style=dashed, fontcolor=gray40" } else { "" };
            let label = format!("{}\\n{}", escaped(&head), escaped(&summary(&task.description)));
            let _ = writeln!(dot, "  {} [label=\"{label}\"{style}];", quoted(task.id.as_str()));
        }
        for task in &self.tasks {
            for needed in &task.dependencies {
                let _ = writeln!(dot, "  {} -> {};", quoted(needed.as_str()), quoted(task.id.as_str()));
            }
        }
        dot.push_str("}\n");
        dot
    }
}

/// The first line of a description, cut.
fn summary(text: &str) -> String {
    let line = plain(text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or(""));
    let cut: String = line.chars().take(MAX_SHOWN).collect();
    if cut.len() < line.len() { cut.trim_end().to_owned() + "…" } else { cut }
}

/// Plans are data: what would steer a terminal is shown as a blank, as are the marks that turn writing round.
fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// Inside quotes of Graphviz only these two mean something; in labels a backslash means more, so it is doubled.
fn escaped(text: &str) -> String {
    plain(text).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::super::source::testing::plan;
    use super::*;

    const PLAN: &str = "## DEV Tasks\n- [ ] TASK-001: Implement login endpoint\n  - Depends on: TASK-000\n  \
                        - Priority: HIGH\n- [x] TASK-000: Set up\n- [ ] TASK-003: Log \"in\" \\ out\n## QA Tasks\n\
                        - [ ] TASK-002: Test it\n  - Depends on: TASK-001, TASK-003\n- [-] TASK-004: no\n";

    fn named() -> Plan {
        Plan { plan_id: "P-1".into(), story_id: "S-1".into(), hold_until_phase: Some("BUILD".into()), ..plan(PLAN) }
    }

    #[test]
    fn the_text_shows_waves_what_is_done_and_notes() {
        let expected = "\
plan P-1, story S-1, Markdown: 4 tasks, 1 done, 2 waves, held until BUILD

wave 1
  TASK-001  DEV   80  Implement login endpoint  ← TASK-000
  TASK-003  DEV   50  Log \"in\" \\ out

wave 2
  TASK-002  QA    50  Test it  ← TASK-001, TASK-003

done
  TASK-000  DEV   50  Set up

notes
  line 10, column 1 is skipped: a box is [ ], [x] or [X]
";
        assert_eq!(named().to_text(), expected);
        assert_eq!(named().roots().len(), 2);
        assert!(named().task("TASK-002").is_some());
    }

    #[test]
    fn the_graph_is_graphviz() {
        let expected = r#"digraph "P-1" {
  rankdir=LR;
  node [shape=box, fontname="sans-serif"];
  "TASK-000" [label="TASK-000 · DEV · 50\nSet up", style=dashed, fontcolor=gray40];
  "TASK-001" [label="TASK-001 · DEV · 80\nImplement login endpoint"];
  "TASK-003" [label="TASK-003 · DEV · 50\nLog \"in\" \\ out"];
  "TASK-002" [label="TASK-002 · QA · 50\nTest it"];
  "TASK-000" -> "TASK-001";
  "TASK-001" -> "TASK-002";
  "TASK-003" -> "TASK-002";
}
"#;
        assert_eq!(named().to_dot(), expected);
    }

    #[test]
    fn nothing_steers_the_terminal_or_leaves_its_quotes() {
        let hostile = "{\"plan_id\": \"\\\"];\", \"tasks\": [{\"id\": \"a\\\"b\\\\\", \"role\": \"DEV\", \
                       \"description\": \"\\u001b[31mred\\u0007 \\u202eback\\nsecond\"}]}";
        let plan = plan(hostile);
        assert!(!plan.to_text().chars().any(|c| c.is_control() && c != '\n'), "{}", plan.to_text());
        assert!(plan.to_text().contains(" [31mred   back\n") && !plan.to_text().contains("second"));
        assert!(
            plan.to_dot().contains(r#"  "a\"b\\" [label="a\"b\\ · DEV · 50\n [31mred   back"];"#),
            "{}",
            plan.to_dot()
        );
    }

    #[test]
    fn long_descriptions_are_cut() {
        assert_eq!(summary(&"x".repeat(MAX_SHOWN)), "x".repeat(MAX_SHOWN));
        assert_eq!(summary(&"x".repeat(MAX_SHOWN + 1)), "x".repeat(MAX_SHOWN) + "…");
        assert_eq!(summary("\n\n  a\nb"), "a");
    }
}
