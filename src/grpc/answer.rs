//! Outcomes as messages: the ranking with its evidence, and in the tags what the messages lack.

use std::collections::BTreeMap;

use moothall_actors::domain::check::{CheckOutcome, CheckReport};
use moothall_actors::domain::context::Informed;
use moothall_actors::domain::id::Role;
use moothall_actors::domain::verdict::{MissingSeat, Outcome, Proposal, Ranked};
use moothall_actors::progress::Partial;

use super::fit::fit;
use super::number::{int, long, millis};
use super::proto::fleet::orchestrator::v1 as fleet;
use crate::error::cut;

/// Most findings of one check in an answer: they are for reading.
const MAX_FINDINGS: usize = 100;
const MAX_REASON_BYTES: usize = 256;

/// A finished run, as every answer that holds one needs it.
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// Best first.
    pub(super) results: Vec<fleet::DeliberationResult>,
    pub(super) winner_id: String,
    pub(super) duration_ms: i64,
    pub(super) metadata: fleet::OrchestratorMetadata,
}

impl Finished {
    pub(super) fn of(outcome: &Outcome, role: &Role) -> Self {
        let verdict = &outcome.verdict;
        let mut results: Vec<_> = (outcome.proposals.iter().zip(&verdict.ranking))
            .map(|(proposal, ranked)| result(proposal, Some(ranked), role))
            .collect();
        let mut metadata = fleet::OrchestratorMetadata {
            orchestrator_version: env!("CARGO_PKG_VERSION").to_owned(),
            timestamp_ms: long(outcome.ended_at.0),
            execution_id: outcome.execution_id.to_string(),
            tags: tags(outcome),
        };
        fit(&mut results, &mut metadata.tags);
        let winner_id = verdict.winner().map(|winner| winner.agent.to_string()).unwrap_or_default();
        Self { results, winner_id, duration_ms: millis(verdict.duration), metadata }
    }
}

/// A text that exists by now, judged or not.
pub(super) fn partial(partial: &Partial, role: &Role) -> fleet::DeliberationResult {
    let mut results = [result(&partial.proposal, partial.ranked.as_ref(), role)];
    fit(&mut results, &mut BTreeMap::new());
    let [result] = results;
    result
}

fn result(proposal: &Proposal, ranked: Option<&Ranked>, role: &Role) -> fleet::DeliberationResult {
    fleet::DeliberationResult {
        proposal: Some(fleet::Proposal {
            author_id: proposal.agent.to_string(),
            author_role: role.to_string(),
            content: String::from(&*proposal.text),
            created_at_ms: long(proposal.created_at.0),
            revisions: proposal.revisions.iter().map(|text| String::from(&**text)).collect(),
        }),
        checks: ranked.map(|ranked| checks(&ranked.checks)),
        score: ranked.map_or(0.0, |ranked| ranked.score),
        rank: ranked.map_or(0, |ranked| int(ranked.rank)),
    }
}

fn checks(report: &CheckReport) -> fleet::CheckSuite {
    fleet::CheckSuite {
        policy: Some(fleet::PolicyResult {
            passed: report.policy.passed(),
            violations: findings(&report.policy),
            message: message(&report.policy),
        }),
        lint: Some(lint(&report.lint)),
        dryrun: Some(dry_run(&report.dry_run)),
        additional_checks: report.additional.iter().map(|(name, outcome)| additional(name, outcome)).collect(),
        all_passed: !report.any_failed(),
    }
}

fn lint(outcome: &CheckOutcome) -> fleet::LintResult {
    // There is no message: why it did not run stands where the errors do, and is not counted as one.
    let errors = match outcome {
        CheckOutcome::NotRun { .. } => vec![message(outcome)],
        CheckOutcome::Passed | CheckOutcome::Failed { .. } => findings(outcome),
    };
    fleet::LintResult { passed: outcome.passed(), error_count: int(count(outcome)), warning_count: 0, errors }
}

fn dry_run(outcome: &CheckOutcome) -> fleet::DryRunResult {
    let exit_code = match outcome {
        CheckOutcome::Passed => 0,
        CheckOutcome::Failed { .. } => 1,
        CheckOutcome::NotRun { .. } => -1,
    };
    let output = findings(outcome).join("\n");
    fleet::DryRunResult { passed: outcome.passed(), output, exit_code, message: message(outcome) }
}

fn additional(name: &str, outcome: &CheckOutcome) -> fleet::CheckResult {
    let details = findings(outcome).into_iter().enumerate();
    fleet::CheckResult {
        check_type: name.to_owned(),
        passed: outcome.passed(),
        score: if outcome.passed() { 1.0 } else { 0.0 },
        message: message(outcome),
        details: details.map(|(place, finding)| (format!("finding.{:03}", place + 1), finding)).collect(),
    }
}

fn count(outcome: &CheckOutcome) -> usize {
    match outcome {
        CheckOutcome::Failed { findings } => findings.len(),
        CheckOutcome::Passed | CheckOutcome::NotRun { .. } => 0,
    }
}

fn findings(outcome: &CheckOutcome) -> Vec<String> {
    let CheckOutcome::Failed { findings } = outcome else {
        return Vec::new();
    };
    let mut lines: Vec<_> = findings.iter().take(MAX_FINDINGS).map(ToString::to_string).collect();
    if findings.len() > MAX_FINDINGS {
        lines.push(format!("{} more findings", findings.len() - MAX_FINDINGS));
    }
    lines
}

fn message(outcome: &CheckOutcome) -> String {
    match outcome {
        CheckOutcome::Passed => "passed".to_owned(),
        CheckOutcome::Failed { findings } if findings.len() == 1 => "1 finding".to_owned(),
        CheckOutcome::Failed { findings } => format!("{} findings", findings.len()),
        CheckOutcome::NotRun { why } => format!("not run: {why}"),
    }
}

fn tags(outcome: &Outcome) -> BTreeMap<String, String> {
    let verdict = &outcome.verdict;
    // Every verdict ranks a proposal. Where there is none its events were pruned, and what they said is not known.
    if outcome.proposals.is_empty() {
        return BTreeMap::from([("pruned".to_owned(), "true".to_owned())]);
    }
    let mut tags = BTreeMap::from([
        ("calls".to_owned(), verdict.calls.to_string()),
        ("attempts".to_owned(), verdict.attempts.to_string()),
        ("prompt_tokens".to_owned(), verdict.usage.prompt.to_string()),
        ("completion_tokens".to_owned(), verdict.usage.completion.to_string()),
        ("stop_reason".to_owned(), verdict.stop.as_str().to_owned()),
        ("selected_by".to_owned(), verdict.selection.by.as_str().to_owned()),
        ("selection".to_owned(), cut(&verdict.selection.why, MAX_REASON_BYTES).to_string()),
        ("prompts_hash".to_owned(), outcome.prompts_hash.to_string()),
        ("policy_hash".to_owned(), outcome.policy_hash.to_string()),
    ]);
    // How far the first stands out. One proposal alone has nothing to stand out from.
    if let [first, second, ..] = &verdict.ranking[..] {
        tags.insert("confidence".to_owned(), format!("{:.4}", (first.score - second.score).max(0.0)));
    }
    if outcome.simulated {
        tags.insert("simulated".to_owned(), "true".to_owned());
    }
    if outcome.clamped {
        tags.insert("num_agents.clamped".to_owned(), "true".to_owned());
    }
    if let Some(architect) = &verdict.selection.architect {
        tags.insert("architect".to_owned(), architect.to_string());
    }
    if let Some(why) = &verdict.executor_left {
        tags.insert("executor_left".to_owned(), cut(why, MAX_REASON_BYTES));
    }
    tags.extend(outcome.context.iter().flat_map(context));
    for ranked in &verdict.ranking {
        if !ranked.dropped.is_empty() {
            tags.insert(format!("dropped_revisions.{}", ranked.agent), ranked.dropped.len().to_string());
        }
        if let Some(quality) = ranked.quality {
            tags.insert(format!("quality.{}", ranked.agent), format!("{quality:.4}"));
        }
    }
    for wave in &verdict.waves {
        tags.insert(format!("duration_ms.{}", wave.wave), wave.duration.as_millis().to_string());
    }
    if !verdict.missing.is_empty() {
        tags.insert("missing".to_owned(), verdict.missing.len().to_string());
    }
    tags.extend(verdict.missing.iter().map(missing));
    tags
}

/// What the prompts were told of the task's story, or why they were not.
fn context(informed: &Informed) -> Vec<(String, String)> {
    let tags = match informed {
        Informed::With { version_hash, tokens } => {
            vec![("version_hash", version_hash.to_string()), ("tokens", tokens.to_string())]
        }
        Informed::Without { why } => vec![("missing", cut(why, MAX_REASON_BYTES))],
    };
    tags.into_iter().map(|(name, value)| (format!("context.{name}"), value)).collect()
}

/// `missing.<agent>.<wave>` = why.
fn missing(seat: &MissingSeat) -> (String, String) {
    let reason = cut(&seat.reason, MAX_REASON_BYTES);
    (format!("missing.{}.{}", seat.agent, seat.wave), format!("{}: {reason}", super::class::word(seat.class)))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
