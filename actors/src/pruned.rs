//! A task whose events were pruned, or stand in the journal of another daemon: how it ended is known, what was said is not.

use std::sync::Arc;
use std::time::Duration;

use crate::System;
use crate::attached::Attached;
use crate::domain::answer::Usage;
use crate::domain::check::CheckReport;
use crate::domain::task::{TaskDraft, TaskKind, TaskSpec};
use crate::domain::verdict::{Outcome, Ranked, Selection, StopReason, Verdict};
use crate::error::SystemError;
use crate::ports::{TaskRow, TaskStatus};

impl System {
    /// The ended task as if one had just waited for it; an outcome names its winner and has no proposals.
    pub(crate) fn pruned(&self, row: TaskRow) -> Result<Attached, SystemError> {
        let spec = Arc::new(spec(&row)?);
        let ending = match row.status {
            TaskStatus::Completed => Ok(Arc::new(outcome(&row))),
            TaskStatus::Failed | TaskStatus::Cancelled | TaskStatus::Skipped | TaskStatus::Open => {
                Err(row.ended_without())
            }
        };
        Ok(self.over(row, spec, ending))
    }
}

/// What it asked for is gone; whoever reads on needs its role and kind.
fn spec(row: &TaskRow) -> Result<TaskSpec, SystemError> {
    let draft = TaskDraft {
        role: row.role.to_string(),
        description: "pruned".to_owned(),
        orchestrate: row.kind == TaskKind::Orchestrate,
        ..TaskDraft::default()
    };
    Ok(draft.check()?)
}

/// Of a completed one, as far as its row says.
pub(crate) fn outcome(row: &TaskRow) -> Outcome {
    let winner = |agent: &_| Ranked {
        agent: Clone::clone(agent),
        rank: 1,
        text: None,
        dropped: Vec::new(),
        score: 0.0,
        quality: None,
        checks: Arc::new(CheckReport::not_run(&"pruned".into())),
    };
    let verdict = Verdict {
        ranking: row.winner.iter().map(winner).collect(),
        stop: StopReason::Complete,
        selection: Selection::default(),
        missing: Vec::new(),
        executor_left: None,
        calls: 0,
        attempts: 0,
        usage: Usage { prompt: 0, completion: 0 },
        waves: Vec::new(),
        duration: row.duration.unwrap_or(Duration::ZERO),
    };
    Outcome {
        verdict: Arc::new(verdict),
        proposals: Vec::new(),
        execution_id: "".into(),
        simulated: false,
        clamped: false,
        context: None,
        prompts_hash: "".into(),
        policy_hash: "".into(),
        ended_at: row.ended_at.unwrap_or(row.accepted_at),
    }
}
