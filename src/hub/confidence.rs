//! How sure a council is of what it decided, as a number from 0 to 100 that an approver can read.
//!
//! ```text
//! 100 × the winner's score              half: no check failed; half: what reviewers gave it (unreviewed: one half of that)
//!     × (1 − missing seats ÷ 2·seats)   half of the weight is lost when everybody else was missing
//!     × 0.9                             if the architect chose against the score
//!     × 0.9                             if a ballot was spoiled or put another first
//! below 50                              if a check of the winner failed
//! ```
//!
//! It rises with the score and falls with each of the others, and nothing but the verdict goes into it.

use std::collections::BTreeSet;

use moothall_actors::domain::verdict::{Ranked, Verdict};

/// What each doubt about the choice leaves.
const DOUBT: f64 = 0.9;
/// The most when a check failed: nobody may take it for sound.
const MOST_WITH_FAILURE: f64 = 49.9;

/// With one digit behind the point; without a winner 0.
pub(super) fn confidence(verdict: &Verdict) -> f64 {
    let Some(winner) = verdict.winner() else { return 0.0 };
    let doubts = [is_against_score(verdict, winner), is_split(verdict, winner)];
    let doubt: f64 = doubts.into_iter().filter(|doubt| *doubt).map(|_| DOUBT).product();
    let sure = 100.0 * winner.score * (1.0 - missing(verdict) / 2.0) * doubt;
    let most = if winner.checks.any_failed() { MOST_WITH_FAILURE } else { 100.0 };
    (sure.clamp(0.0, most) * 10.0).round() / 10.0
}

/// The share of seats that were missing in some wave.
fn missing(verdict: &Verdict) -> f64 {
    let missing: BTreeSet<_> = verdict.missing.iter().map(|missing| &missing.agent).collect();
    let seats = verdict.ranking.iter().map(|ranked| &ranked.agent).chain(missing.iter().copied());
    let seats = seats.collect::<BTreeSet<_>>().len().max(1);
    missing.len() as f64 / seats as f64
}

fn is_against_score(verdict: &Verdict, winner: &Ranked) -> bool {
    verdict.ranking.iter().any(|other| other.score > winner.score)
}

fn is_split(verdict: &Verdict, winner: &Ranked) -> bool {
    let ballots = &verdict.selection.ballots;
    ballots.iter().any(|ballot| ballot.spoiled.is_some() || ballot.ranking.first() != Some(&winner.agent))
}

/// Whether every check of the winner that ran passed; `None` = none ran.
pub(super) fn checks_passed(verdict: &Verdict) -> Option<bool> {
    let checks = &verdict.winner()?.checks;
    match checks.any_failed() {
        true => Some(false),
        false => checks.named().any(|(_, outcome)| outcome.passed()).then_some(true),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use moothall_actors::domain::answer::{Class, Usage};
    use moothall_actors::domain::check::{CheckOutcome, CheckReport};
    use moothall_actors::domain::id::{AgentId, Stage, Wave};
    use moothall_actors::domain::verdict::{Ballot, MissingSeat, Selection, StopReason};

    use super::*;

    fn agent(name: &str) -> AgentId {
        AgentId::parse("agent", name).unwrap()
    }

    fn ranked(name: &str, score: f64) -> Ranked {
        let checks = CheckReport { policy: CheckOutcome::Passed, ..CheckReport::not_run(&"test".into()) };
        Ranked {
            agent: agent(name),
            rank: 1,
            text: None,
            dropped: Vec::new(),
            score,
            quality: None,
            checks: Arc::new(checks),
        }
    }

    fn verdict(scores: &[f64]) -> Verdict {
        let ranking = ["a", "b", "c", "d"].into_iter().zip(scores).map(|(name, score)| ranked(name, *score)).collect();
        Verdict {
            ranking,
            stop: StopReason::Complete,
            selection: Selection::default(),
            missing: Vec::new(),
            executor_left: None,
            calls: 1,
            attempts: 1,
            usage: Usage::default(),
            waves: Vec::new(),
            duration: Duration::ZERO,
        }
    }

    fn missing(name: &str) -> MissingSeat {
        let wave = Wave { stage: Stage::Critique, round: 1 };
        MissingSeat { agent: agent(name), wave, class: Class::TimedOut, reason: "late".into() }
    }

    fn ballot(first: &str, spoiled: bool) -> Ballot {
        let ranking = if spoiled { Vec::new() } else { vec![agent(first)] };
        Ballot { ranking, spoiled: spoiled.then(|| "no JSON".into()), ..Ballot::default() }
    }

    #[test]
    fn it_follows_the_table() {
        let usual = || verdict(&[0.9, 0.8, 0.7]);
        let lost = |names: &[&str]| Verdict { missing: names.iter().map(|name| missing(name)).collect(), ..usual() };
        let voted =
            |ballots: Vec<Ballot>| Verdict { selection: Selection { ballots, ..Selection::default() }, ..usual() };
        let rows = [
            ("reviewed well", usual(), 90.0),
            ("nobody reviewed it", verdict(&[0.75]), 75.0),
            ("no winner", verdict(&[]), 0.0),
            ("one of four seats was missing", lost(&["d"]), 78.8),
            ("twice missing is once", lost(&["d", "d"]), 78.8),
            ("who answered once and then not is missing too", lost(&["c"]), 75.0),
            ("all but one missing", Verdict { missing: vec![missing("b")], ..verdict(&[0.8]) }, 60.0),
            ("both ballots agree", voted(vec![ballot("a", false), ballot("a", false)]), 90.0),
            ("one puts another first", voted(vec![ballot("a", false), ballot("b", false)]), 81.0),
            ("one is spoiled", voted(vec![ballot("a", false), ballot("", true)]), 81.0),
            ("the architect chose against the score", verdict(&[0.8, 0.9]), 72.0),
        ];
        for (what, verdict, expected) in rows {
            assert_eq!(confidence(&verdict), expected, "{what}");
        }
    }

    #[test]
    fn a_failed_check_keeps_it_below_fifty() {
        let mut failed = verdict(&[0.999]);
        let report = CheckReport {
            lint: CheckOutcome::Failed { findings: vec!["line 1".into()] },
            ..CheckReport::not_run(&"test".into())
        };
        failed.ranking[0].checks = Arc::new(report);
        assert_eq!((confidence(&failed), checks_passed(&failed)), (49.9, Some(false)));
    }

    #[test]
    fn a_check_that_did_not_run_never_counts_as_passed() {
        let mut unchecked = verdict(&[0.9]);
        assert_eq!(checks_passed(&unchecked), Some(true));
        unchecked.ranking[0].checks = Arc::new(CheckReport::not_run(&"test".into()));
        assert_eq!(checks_passed(&unchecked), None);
        assert_eq!(checks_passed(&verdict(&[])), None);
    }

    #[test]
    fn it_rises_with_the_score_and_stays_within_its_bounds() {
        let of = |score: f64| confidence(&verdict(&[score]));
        let scores = (0..=100).map(|percent| f64::from(percent) / 100.0);
        let all: Vec<f64> = scores.map(of).collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]) && all[0] == 0.0 && all[100] == 100.0);
    }
}
