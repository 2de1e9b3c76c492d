//! What each phase is to bring: the one table of Spec Kit's stages.

use moothall_actors::artifact::Wanted;
use moothall_actors::domain::workflow::{Phase, WorkflowType};

/// What is wanted of one phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Artefact {
    /// The file that it would be.
    pub(super) name: &'static str,
    /// How its text is checked.
    pub(super) kind: Wanted,
    /// For whoever writes it.
    pub(super) task: &'static str,
    /// For whoever judges it.
    pub(super) rubric: &'static str,
}

impl Artefact {
    pub(super) fn of(workflow_type: WorkflowType, phase: Phase) -> Self {
        match (workflow_type, phase) {
            (WorkflowType::Specify, Phase::One) => DRAFT,
            (WorkflowType::Specify, Phase::Two) => CLARIFY,
            (WorkflowType::Plan, Phase::One) => RESEARCH,
            (WorkflowType::Plan, Phase::Two) => DESIGN,
            (WorkflowType::Tasks, Phase::One) => GENERATE,
            (WorkflowType::Tasks, Phase::Two) => ANALYZE,
            (WorkflowType::Implement, Phase::One) => EXECUTE,
            (WorkflowType::Implement, Phase::Two) => VERIFY,
        }
    }
}

const DRAFT: Artefact = Artefact {
    name: "spec.md",
    kind: Wanted::Document,
    task: "Write the first spec.md of the feature: user stories in the order of their priority, each with the reason for its \
           priority and with acceptance scenarios (given, when, then); edge cases; functional requirements FR-001, FR-002, \
           and so on; the key entities; success criteria SC-001, SC-002, and so on, that can be measured. Say what is \
           wanted and why, not how it is built. Mark each thing that the material leaves open with [NEEDS CLARIFICATION: \
           the question], and nothing else.",
    rubric: "Every wish of the material is covered by a requirement that can be tested. Nothing is invented. No technology \
             is prescribed that the material does not name.",
};

const CLARIFY: Artefact = Artefact {
    name: "spec.md",
    kind: Wanted::Document,
    task: "Write the whole spec.md again with its open questions resolved: answer each [NEEDS CLARIFICATION] from the \
           material, or choose the most usual answer, and list what you chose in a section Clarifications with question, \
           answer and reason. Keep the numbers of requirements and criteria as they are.",
    rubric: "No question is left open, and each answer follows from the material or is named as chosen. Nothing of the \
             specification before was lost.",
};

const RESEARCH: Artefact = Artefact {
    name: "research.md",
    kind: Wanted::Document,
    task: "Write research.md: what has to be known before the feature can be designed. For each question: the decision, its \
           reasons, the alternatives that were weighed and why they were not taken, and what stays uncertain.",
    rubric: "Every decision that the design depends on is made, with reasons that can be checked and real alternatives.",
};

const DESIGN: Artefact = Artefact {
    name: "plan.md",
    kind: Wanted::Document,
    task: "Write plan.md: a summary, the technical context, the structure of the project with real paths, the data model, the \
           interfaces with their errors, how it is tested, and what is risky. Follow the decisions of the research.",
    rubric: "Every requirement has a place in the design. Paths and interfaces are concrete enough to derive tasks from. \
             Nothing is more complicated than the requirements ask for.",
};

const GENERATE: Artefact = Artefact {
    name: "tasks.md",
    kind: Wanted::Document,
    task: "Write tasks.md in Spec Kit's form: headings «## Phase 1: Setup», «## Phase 2: Foundational», then one phase for \
           each user story in the order of priority, and a last one for polish. Under them one line for each task, at the \
           beginning of the line: «- [ ] T001 [P] [US1] what is to be done, with the path of the file». T001, T002 and so \
           on count in the order of execution; [P] only where a task can run beside its neighbours, since it touches other \
           files and waits for none of them; [US1] names the user story.",
    rubric: "Every requirement and user story is covered. The order can be carried out. Each task names its file and can be \
             done without asking back.",
};

const ANALYZE: Artefact = Artefact {
    name: "tasks.md",
    kind: Wanted::Document,
    task: "Check tasks.md for coverage, order and contradictions, and write the whole list again, corrected, in the same form \
           («- [ ] T001 [P] [US1] text»): tasks that are missing are added, doubles go, [P] goes where two tasks touch the \
           same file. After the list a section Analysis says what was changed and why.",
    rubric: "Each requirement has a task and each task a reason. No task comes before what it needs. The form is kept.",
};

const EXECUTE: Artefact = Artefact {
    name: "changes",
    kind: Wanted::Auto,
    task: "Carry the feature out: bring every file that is new or changed, whole, each in a code block of its own with its path \
           before it, tests included. Then say in a few sentences what was done and what was left out.",
    rubric: "The code is complete and does what was specified. Tests show it. Nothing else is changed.",
};

const VERIFY: Artefact = Artefact {
    name: "report.md",
    kind: Wanted::Document,
    task: "Write report.md: verify what was carried out against what was specified. For each requirement: met, not met or not \
           shown, with the evidence. Then defects in the order of their weight, tests that are missing, and a last line \
           «Recommendation: accept» or «Recommendation: rework», with the reason.",
    rubric: "Every requirement is judged on evidence. Nothing is called met that the material does not show.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_artefact() {
        let mut names = Vec::new();
        for workflow_type in WorkflowType::ALL {
            for phase in Phase::ALL {
                let artefact = Artefact::of(*workflow_type, *phase);
                assert!(artefact.task.contains(artefact.name) || artefact.kind == Wanted::Auto, "{}", artefact.task);
                names.push(artefact.name);
            }
        }
        let expected = ["spec.md", "spec.md", "research.md", "plan.md", "tasks.md", "tasks.md", "changes", "report.md"];
        assert_eq!(names, expected);
    }
}
