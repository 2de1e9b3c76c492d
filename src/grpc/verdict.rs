//! A run's document on the wire.

use std::sync::Arc;

use moothall_actors::document::{Document, Review, Standing};
use moothall_actors::domain::check::{CheckOutcome, CheckReport};
use moothall_actors::domain::context::Informed;
use moothall_actors::domain::event::Recorded;
use moothall_actors::domain::id::RunId;
use moothall_actors::domain::task::TaskKind;
use moothall_actors::domain::verdict::{Ballot, Dropped, MissingSeat, Outcome, Proposal, Ranked, Selection};

use super::number::{int, long, millis};
use super::proto::moothall::v1 as wire;

/// The document of one run; `None` when the events are not those of a run from its start.
pub(crate) fn document(run: &RunId, events: &[Recorded]) -> Option<wire::VerdictDocument> {
    let document = Document::of(events)?;
    let plan = &document.plan;
    let mut shown = wire::VerdictDocument {
        task_id: run.task.to_string(),
        run: int(run.run),
        role: plan.spec.role.to_string(),
        kind: match plan.spec.kind {
            TaskKind::Deliberate => "deliberate",
            TaskKind::Orchestrate => "orchestrate",
        }
        .to_owned(),
        reviews: document.reviews.iter().map(review).collect(),
        dissent: document.dissent(),
        calls: int(document.calls),
        prompts_hash: plan.prompts_hash.to_string(),
        policy_hash: plan.policy_hash.to_string(),
        execution_id: plan.execution_id.to_string(),
        clamped: plan.clamped,
        context: plan.context.as_ref().map(context),
        started_at_ms: long(document.started_at.0),
        ..Default::default()
    };
    if let Standing::Completed(outcome) = &document.standing {
        tell(outcome, &mut shown);
    }
    let (status, error) = stands(&document.standing);
    (shown.status, shown.error) = (status.to_owned(), error);
    if document.standing != Standing::Open {
        shown.ended_at_ms = long(document.last_at.0);
    }
    Some(shown)
}

/// A run's status, and why it has no winner though it ended.
pub(super) fn stands(standing: &Standing) -> (&'static str, String) {
    match standing {
        Standing::Open => ("open", String::new()),
        Standing::Completed(_) => ("completed", String::new()),
        Standing::Failed { class, message } => ("failed", format!("{}: {message}", super::class::word(*class))),
        Standing::Cancelled { reason } => ("cancelled", reason.to_string()),
    }
}

fn context(informed: &Informed) -> wire::StoryContext {
    match informed {
        Informed::With { version_hash, tokens } => {
            let (version_hash, tokens) = (version_hash.to_string(), int(*tokens));
            wire::StoryContext { version_hash, tokens, ..Default::default() }
        }
        Informed::Without { why } => wire::StoryContext { missing: why.to_string(), ..Default::default() },
    }
}

/// What only a verdict says.
fn tell(outcome: &Arc<Outcome>, shown: &mut wire::VerdictDocument) {
    let verdict = &outcome.verdict;
    shown.winner_id = verdict.winner().map(|winner| winner.agent.to_string()).unwrap_or_default();
    shown.selection = Some(selection(&verdict.selection));
    shown.ranking = verdict.ranking.iter().zip(&outcome.proposals).map(|(of, text)| candidate(of, text)).collect();
    shown.missing = verdict.missing.iter().map(missing).collect();
    shown.calls = int(verdict.calls);
    shown.attempts = int(verdict.attempts);
    shown.prompt_tokens = long(verdict.usage.prompt);
    shown.completion_tokens = long(verdict.usage.completion);
    let stage = |time: &moothall_actors::domain::verdict::WaveTime| wire::StageTime {
        wave: time.wave.to_string(),
        duration_ms: millis(time.duration),
    };
    shown.stages = verdict.waves.iter().map(stage).collect();
    shown.duration_ms = millis(verdict.duration);
    shown.stop_reason = verdict.stop.as_str().to_owned();
    shown.simulated = outcome.simulated;
    shown.executor_left = verdict.executor_left.as_deref().unwrap_or_default().to_owned();
}

fn selection(selection: &Selection) -> wire::Selection {
    wire::Selection {
        by: selection.by.as_str().to_owned(),
        why: selection.why.to_string(),
        architect_id: selection.architect.as_ref().map(ToString::to_string).unwrap_or_default(),
        ballots: selection.ballots.iter().map(ballot).collect(),
    }
}

fn ballot(ballot: &Ballot) -> wire::Ballot {
    wire::Ballot {
        shown: ballot.shown.iter().map(ToString::to_string).collect(),
        ranking: ballot.ranking.iter().map(ToString::to_string).collect(),
        reasons: ballot.reasons.iter().map(ToString::to_string).collect(),
        spoiled: ballot.spoiled.as_deref().unwrap_or_default().to_owned(),
    }
}

fn candidate(ranked: &Ranked, proposal: &Proposal) -> wire::Candidate {
    let texts = proposal.revisions.len() + 1;
    wire::Candidate {
        agent_id: ranked.agent.to_string(),
        rank: int(ranked.rank),
        score: ranked.score,
        quality: ranked.quality,
        checks: checks(&ranked.checks).collect(),
        text: proposal.text.to_string(),
        texts: int(texts),
        kept: ranked.text.map_or_else(|| int(texts - 1), int),
        dropped: ranked.dropped.iter().map(dropped).collect(),
    }
}

fn dropped(dropped: &Dropped) -> wire::DroppedRevision {
    let failed = checks(&dropped.checks).filter(|check| check.outcome == "failed");
    wire::DroppedRevision { text: int(dropped.text), checks: failed.collect() }
}

fn checks(report: &CheckReport) -> impl Iterator<Item = wire::Check> {
    report.named().map(|(name, outcome)| {
        let (outcome, findings, why) = match outcome {
            CheckOutcome::Passed => ("passed", Vec::new(), String::new()),
            CheckOutcome::Failed { findings } => {
                ("failed", findings.iter().map(ToString::to_string).collect(), String::new())
            }
            CheckOutcome::NotRun { why } => ("not_run", Vec::new(), why.to_string()),
        };
        wire::Check { name: name.to_owned(), outcome: outcome.to_owned(), findings, why }
    })
}

fn review(review: &Review) -> wire::Review {
    let finding = |finding: &moothall_actors::domain::verdict::Finding<'_>| wire::Finding {
        severity: finding.severity.to_string(),
        claim: finding.claim.to_string(),
        location: finding.location.to_string(),
        evidence: finding.evidence.to_string(),
    };
    wire::Review {
        round: int(review.round),
        reviewer_id: review.reviewer.to_string(),
        author_id: review.author.to_string(),
        quality: review.quality,
        summary: review.summary.to_string(),
        findings: review.findings.iter().map(finding).collect(),
    }
}

pub(super) fn missing(missing: &MissingSeat) -> wire::MissingVote {
    wire::MissingVote {
        agent_id: missing.agent.to_string(),
        wave: missing.wave.to_string(),
        class: super::class::word(missing.class).to_owned(),
        reason: missing.reason.to_string(),
    }
}
