//! Values that several tests need.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moothall_actors::domain::answer::{Class, Usage};
use moothall_actors::domain::check::{CheckOutcome, CheckReport};
use moothall_actors::domain::event::{Event, NewEvent};
use moothall_actors::domain::id::{AgentId, EventId, Role, Stage, StreamId, TaskId, Timestamp, Wave};
use moothall_actors::domain::task::TaskKind;
use moothall_actors::domain::verdict::{
    MissingSeat, Outcome, Proposal, Ranked, Selection, StopReason, Verdict, WaveTime,
};
use moothall_actors::ports::{Batch, Journal, JournalError, TaskRow, TaskStatus};
use moothall_actors::testing::MemoryJournal;

use super::journal::{Backup, BackupError, JournalAdmin, Verification};

pub(super) fn role() -> Role {
    Role::parse("role", "DEV").unwrap()
}

pub(super) fn agent(ordinal: usize) -> AgentId {
    AgentId::of_council(&role(), ordinal)
}

pub(super) fn report() -> CheckReport {
    CheckReport {
        policy: CheckOutcome::Passed,
        lint: CheckOutcome::not_run("no linter"),
        dry_run: CheckOutcome::Failed { findings: vec!["line 1".into(), "line 2".into()] },
        additional: BTreeMap::from([(
            "artifact".to_owned(),
            CheckOutcome::Failed { findings: vec!["no file".into()] },
        )]),
    }
}

pub(super) fn proposal(ordinal: usize) -> Proposal {
    Proposal {
        agent: agent(ordinal),
        text: format!("final {ordinal}").into(),
        revisions: vec!["first".into(), "second".into()],
        created_at: Timestamp(1_000),
    }
}

pub(super) fn ranked(ordinal: usize, rank: u32, score: f64) -> Ranked {
    Ranked {
        agent: agent(ordinal),
        rank,
        text: None,
        dropped: vec![],
        score,
        quality: Some(0.5),
        checks: Arc::new(report()),
    }
}

/// Agent 2 won before agent 1; agent 3 was missing.
pub(super) fn outcome() -> Outcome {
    let wave = Wave { stage: Stage::Critique, round: 1 };
    let missing = MissingSeat { agent: agent(3), wave, class: Class::TimedOut, reason: "no answer in 300 s".into() };
    let verdict = Verdict {
        ranking: vec![ranked(2, 1, 0.875), ranked(1, 2, 0.625)],
        stop: StopReason::Complete,
        selection: Selection::by_score("the task asked for no architect"),
        executor_left: None,
        missing: vec![missing],
        calls: 8,
        attempts: 11,
        usage: Usage { prompt: 100, completion: 20 },
        waves: vec![WaveTime { wave, duration: Duration::from_millis(70) }],
        duration: Duration::from_millis(1234),
    };
    Outcome {
        verdict: Arc::new(verdict),
        proposals: vec![proposal(2), proposal(1)],
        execution_id: "0123456789abcdef".into(),
        simulated: false,
        clamped: false,
        context: None,
        prompts_hash: "p".into(),
        policy_hash: "c".into(),
        ended_at: Timestamp(5_000),
    }
}

pub(super) fn row(status: TaskStatus) -> TaskRow {
    TaskRow {
        task: TaskId::parse("task_id", "T-1").unwrap(),
        role: role(),
        kind: TaskKind::Deliberate,
        status,
        run: 2,
        queue: None,
        keyed: true,
        content_hash: "h".into(),
        version: 3,
        story_id: Some("S-1".into()),
        winner: None,
        error: None,
        duration: None,
        accepted_at: Timestamp(2_000),
        ended_at: None,
    }
}

/// The `number`-th event of [`journal_of`], from 1: odd ones are a task's, even ones a council's.
pub(super) async fn write(journal: &MemoryJournal, number: u64) {
    let (stream, event) = match number % 2 {
        1 => ("task/T-1", Event::TaskRetried { run: 2 }),
        _ => ("council/DEV", Event::RoleResumed {}),
    };
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let event = NewEvent { id: EventId(id), at: Timestamp(number), correlation: None, causation: None, event };
    let batch = Batch::one(StreamId::named(stream), number.div_ceil(2) - 1, vec![event]);
    journal.commit(batch).await.unwrap();
}

pub(super) async fn journal_of(count: u64) -> MemoryJournal {
    let journal = MemoryJournal::new();
    for number in 1..=count {
        write(&journal, number).await;
    }
    journal
}

#[async_trait]
impl JournalAdmin for MemoryJournal {
    async fn verify(&self) -> Result<Verification, JournalError> {
        Ok(Verification { events: self.events().len() as u64, problems: Vec::new() })
    }

    async fn backup(&self, file_name: &str) -> Result<Backup, BackupError> {
        Err(BackupError::Exists(file_name.to_owned()))
    }
}
