//! Outcomes as messages, field by field.

use std::sync::Arc;

use moothall_actors::domain::verdict::Verdict;

use super::super::fixtures::{outcome, proposal, ranked, report, role};
use super::*;

#[test]
fn results_stand_best_first_with_their_authors_and_evidence() {
    let finished = Finished::of(&outcome(), &role());
    assert_eq!(finished.winner_id, "agent-dev-002");
    assert_eq!(finished.duration_ms, 1234);
    let [first, second] = &finished.results[..] else { panic!("two results") };
    assert_eq!((first.rank, second.rank), (1, 2));
    assert!(first.score > second.score);
    let proposal = first.proposal.as_ref().unwrap();
    assert_eq!((proposal.author_id.as_str(), proposal.author_role.as_str()), ("agent-dev-002", "DEV"));
    assert_eq!(proposal.content, "final 2");
    assert_eq!(proposal.revisions, ["first", "second"]);
    assert_eq!(proposal.created_at_ms, 1_000);
}

#[test]
fn what_was_pruned_says_so_and_makes_nothing_up() {
    let finished = Finished::of(&Outcome { proposals: Vec::new(), ..outcome() }, &role());
    assert!(finished.results.is_empty());
    assert_eq!(finished.winner_id, "agent-dev-002");
    assert_eq!(finished.metadata.tags.into_iter().collect::<Vec<_>>(), [("pruned".to_owned(), "true".to_owned())]);
}

#[test]
fn a_check_that_did_not_run_never_looks_passed() {
    let checks = checks(&report());
    let (policy, lint, dry_run) = (checks.policy.unwrap(), checks.lint.unwrap(), checks.dryrun.unwrap());
    assert!(policy.passed && policy.violations.is_empty());
    assert!(!lint.passed);
    assert_eq!((lint.error_count, lint.errors), (0, vec!["not run: no linter".to_owned()]));
    assert_eq!((dry_run.passed, dry_run.exit_code, dry_run.output.as_str()), (false, 1, "line 1\nline 2"));
    let artifact = &checks.additional_checks[0];
    assert_eq!(
        (artifact.check_type.as_str(), artifact.passed, artifact.message.as_str()),
        ("artifact", false, "1 finding")
    );
    assert_eq!(artifact.details["finding.001"], "no file");
    assert!(!checks.all_passed);
}

#[test]
fn all_passed_counts_only_checks_that_ran() {
    let report = CheckReport { policy: CheckOutcome::Passed, ..CheckReport::not_run(&"switched off".into()) };
    assert!(checks(&report).all_passed);
}

#[test]
fn a_flood_of_findings_is_cut_with_a_count() {
    let findings: Vec<_> = (0..250).map(|number| Arc::from(format!("finding {number}"))).collect();
    let lint = lint(&CheckOutcome::Failed { findings });
    assert_eq!((lint.error_count, lint.errors.len()), (250, MAX_FINDINGS + 1));
    assert_eq!(lint.errors.last().unwrap(), "150 more findings");
}

#[test]
fn tags_hold_what_the_messages_lack() {
    let metadata = Finished::of(&outcome(), &role()).metadata;
    assert_eq!(metadata.execution_id, "0123456789abcdef");
    assert_eq!(metadata.timestamp_ms, 5_000);
    let expected = [
        ("attempts", "11"),
        ("calls", "8"),
        ("completion_tokens", "20"),
        ("confidence", "0.2500"),
        ("duration_ms.critique-1", "70"),
        ("missing", "1"),
        ("missing.agent-dev-003.critique-1", "timed_out: no answer in 300 s"),
        ("policy_hash", "c"),
        ("prompt_tokens", "100"),
        ("prompts_hash", "p"),
        ("quality.agent-dev-001", "0.5000"),
        ("quality.agent-dev-002", "0.5000"),
        ("selected_by", "score"),
        ("selection", "the task asked for no architect"),
        ("stop_reason", "complete"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(metadata.tags, BTreeMap::from(expected));
}

#[test]
fn what_is_out_of_the_ordinary_is_tagged() {
    let odd = Outcome { simulated: true, clamped: true, ..outcome() };
    let tags = Finished::of(&odd, &role()).metadata.tags;
    assert_eq!((tags["simulated"].as_str(), tags["num_agents.clamped"].as_str()), ("true", "true"));
    assert!(!tags.contains_key("executor_left"));
    let mut left = outcome();
    Arc::make_mut(&mut left.verdict).executor_left = Some("it is away".into());
    assert_eq!(Finished::of(&left, &role()).metadata.tags["executor_left"], "it is away");
}

#[test]
fn what_the_prompts_were_told_of_the_story_is_tagged() {
    let tags = |context| Finished::of(&Outcome { context, ..outcome() }, &role()).metadata.tags;
    let told = tags(Some(Informed::With { version_hash: "abc".into(), tokens: 7 }));
    assert_eq!((told["context.version_hash"].as_str(), told["context.tokens"].as_str()), ("abc", "7"));
    assert!(!told.contains_key("context.missing"));
    let untold = tags(Some(Informed::Without { why: "no connection".into() }));
    assert_eq!(untold["context.missing"], "no connection");
    assert!(!untold.contains_key("context.tokens"));
    assert!(tags(None).keys().all(|name| !name.starts_with("context")));
}

#[test]
fn one_proposal_alone_has_no_confidence() {
    let whole = outcome();
    let verdict = Verdict { ranking: vec![ranked(2, 1, 0.875)], ..(*whole.verdict).clone() };
    let alone = Outcome { verdict: Arc::new(verdict), proposals: vec![proposal(2)], ..whole };
    let finished = Finished::of(&alone, &role());
    assert!(!finished.metadata.tags.contains_key("confidence"));
    assert_eq!(finished.results.len(), 1);
}

#[test]
fn a_partial_text_has_no_rank_until_it_is_judged() {
    let early = Partial { proposal: proposal(1), ranked: None };
    let shown = partial(&early, &role());
    assert_eq!((shown.rank, shown.checks), (0, None));
    let judged = Partial { ranked: Some(ranked(1, 2, 0.625)), ..early };
    assert_eq!(partial(&judged, &role()).rank, 2);
}
