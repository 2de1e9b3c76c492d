use super::*;
use crate::grpc::proto::moothall::v1::{Ballot, DroppedRevision, MissingVote, Review, Selection, StageTime};

fn check(name: &str, outcome: &str, finding: &str) -> Check {
    let findings = if finding.is_empty() { vec![] } else { vec![finding.to_owned()] };
    Check { name: name.into(), outcome: outcome.into(), findings, why: String::new() }
}

fn candidate(rank: i32, agent: &str, quality: f64, checks: Vec<Check>) -> Candidate {
    Candidate {
        agent_id: agent.into(),
        rank,
        score: 1.0 - f64::from(rank) / 10.0,
        quality: Some(quality),
        checks,
        text: format!("text of {agent}"),
        texts: 2,
        kept: 1,
        dropped: vec![],
    }
}

fn document() -> VerdictDocument {
    let broken = vec![check("lint", "failed", "line 3, column 1: unexpected `)`")];
    let saved = Candidate {
        kept: 0,
        dropped: vec![DroppedRevision { text: 1, checks: vec![check("policy", "failed", "secret")] }],
        ..candidate(2, "a-2", 0.6, vec![check("policy", "passed", "")])
    };
    let selection = Selection {
        by: "architect".into(),
        why: "it handles 45m".into(),
        architect_id: "arch".into(),
        ballots: vec![
            Ballot {
                shown: vec!["a-1".into(), "a-2".into()],
                ranking: vec!["a-1".into(), "a-2".into()],
                ..Default::default()
            },
            Ballot { spoiled: "it ranks nobody".into(), ..Default::default() },
        ],
    };
    VerdictDocument {
        task_id: "T-1".into(),
        run: 1,
        role: "DEV".into(),
        kind: "orchestrate".into(),
        status: "completed".into(),
        winner_id: "a-1".into(),
        selection: Some(selection),
        ranking: vec![
            candidate(1, "a-1", 0.7, vec![check("policy", "passed", ""), check("dry_run", "not_run", "")]),
            saved,
            candidate(3, "a-3", 0.9, broken),
        ],
        reviews: vec![Review {
            round: 1,
            reviewer_id: "a-2".into(),
            author_id: "a-1".into(),
            quality: Some(0.7),
            summary: "fine\nmostly".into(),
            findings: vec![],
        }],
        missing: vec![MissingVote {
            agent_id: "a-4".into(),
            wave: "critique-1".into(),
            class: "timed_out".into(),
            reason: "no answer".into(),
        }],
        dissent: vec!["a-2 found a major: no tests".into()],
        calls: 11,
        prompt_tokens: 12_000,
        completion_tokens: 900,
        stages: vec![StageTime { wave: "propose-0".into(), duration_ms: 1_500 }],
        duration_ms: 3_200,
        stop_reason: "complete".into(),
        executor_left: "executor http://ray:50056: no connection".into(),
        prompts_hash: "0123456789abcdef".into(),
        policy_hash: "off".into(),
        ..Default::default()
    }
}

#[test]
fn the_story_names_the_choice_the_losers_and_the_cost() {
    insta::assert_snapshot!(story(&document()), @r#"
    Task T-1, run 1: completed (orchestrate, DEV).
    3 proposals were made, reviewed by a peer and revised.
    The architect chose a-1: it handles 45m.
    It passed policy.
    a-2 came behind: its reviewers gave it 6.0 of 10, the winner 7.0.
    a-3 came behind because it failed lint: line 3, column 1: unexpected `)`.
    a-2 broke its own work when it revised (policy): the text before that counts.
    missing: a-4 in critique-1 (timed_out: no answer)
    asked directly, without the executor: executor http://ray:50056: no connection
    against it: a-2 found a major: no tests
    It took 11 calls, 12,000 + 900 tokens, 3.2 s (propose-0 1.5 s), ended by complete.
    "#);
}

#[test]
fn the_markdown_holds_the_evidence_and_the_winners_text() {
    insta::assert_snapshot!(markdown(&document()), @r#"
    # Task T-1, run 1: completed (orchestrate, DEV)

    The architect chose a-1: it handles 45m

    | rank | agent | score | quality | checks | text |
    |---|---|---|---|---|---|
    | 1 | a-1 | 0.900 | 0.700 | policy passed, dry_run not run | 2 of 2 |
    | 2 | a-2 | 0.800 | 0.600 | policy passed | 1 of 2 |
    | 3 | a-3 | 0.700 | 0.900 | lint failed | 2 of 2 |

    ## Evidence

    - a-2: its text 2 was dropped, it broke policy
    - a-3: lint failed: line 3, column 1: unexpected `)`

    ## Votes

    - ballot 1, shown a-1, a-2: a-1 before a-2
    - ballot 2 does not count: it ranks nobody

    ## What is missing, and what speaks against it

    - missing: a-4 in critique-1 (timed_out: no answer)
    - asked directly, without the executor: executor http://ray:50056: no connection
    - against it: a-2 found a major: no tests

    ## Reviews

    - round 1, a-2 on a-1 (7.0 of 10): fine mostly

    ## Cost

    11 calls, 12,000 + 900 tokens, 3.2 s (propose-0 1.5 s), ended by complete

    Prompts `0123456789abcdef`, policy `off`.

    ## The winner's text

    text of a-1
    "#);
}

#[test]
fn a_run_without_a_verdict_says_why() {
    let failed = VerdictDocument {
        task_id: "T-2".into(),
        run: 1,
        status: "failed".into(),
        error: "timed_out: no agent answered".into(),
        ..Default::default()
    };
    assert!(story(&failed).contains("There is no winner: timed_out: no agent answered."));
    assert!(markdown(&failed).contains("timed_out: no agent answered"));
    let open = VerdictDocument { status: "open".into(), ..Default::default() };
    assert!(story(&open).contains("has not come to a verdict yet"));
}

#[test]
fn scripted_answers_are_called_so_in_every_form() {
    let simulated = VerdictDocument { simulated: true, ..document() };
    assert!(story(&simulated).contains("SIMULATED") && markdown(&simulated).contains("SIMULATED"));
}

#[test]
fn a_winner_that_failed_itself_is_not_praised() {
    let failing = candidate(1, "a-1", 0.9, vec![check("policy", "failed", "secret: a key (line 2)")]);
    assert_eq!(standing(&failing), "It failed checks itself (policy: secret: a key (line 2)), as did all others.");
    assert_eq!(standing(&candidate(1, "a-1", 0.9, vec![check("policy", "not_run", "")])), "No check ran on it.");
}

#[test]
fn two_documents_differ_where_they_differ() {
    assert!(compared(&document(), &document()).is_empty());
    let other = VerdictDocument { winner_id: "a-2".into(), calls: 9, ..document() };
    let fields: Vec<_> = compared(&document(), &other).into_iter().map(|[field, _, _]| field).collect();
    assert_eq!(fields, ["winner", "cost"]);
}
