//! Who wins and why: checks first, ratings second, never praise over failed evidence.

use std::sync::Arc;

use super::record::Record;
use crate::domain::check::CheckReport;
use crate::domain::id::Timestamp;
use crate::domain::verdict::{Ranked, StopReason, Verdict};

/// Half of the score is for no failed check; the other half is the quality, which stays below one.
const HALF: f64 = 0.5;

/// Ranks all proposals by score, then earlier finish, then agent id.
pub(super) fn verdict(record: &Record, reports: Vec<Arc<CheckReport>>, stop: StopReason, now: Timestamp) -> Verdict {
    let seats = (0..record.seats.len()).filter(|&seat| !record.seats[seat].texts.is_empty());
    let mut judged: Vec<(u32, Ranked)> = seats
        .zip(reports)
        .map(|(seat, checks)| {
            let of_seat = &record.seats[seat];
            let quality = of_seat.review.as_ref().and_then(|(_, critique)| critique.quality);
            let score = score(&checks, quality);
            let agent = record.plan.seats[seat].agent.clone();
            (of_seat.finished, Ranked { agent, rank: 0, score, quality, checks })
        })
        .collect();
    judged.sort_by(|(first, a), (second, b)| {
        b.score.total_cmp(&a.score).then(first.cmp(second)).then_with(|| a.agent.cmp(&b.agent))
    });
    let ranking = (1..).zip(judged).map(|(rank, (_, ranked))| Ranked { rank, ..ranked }).collect();
    Verdict {
        ranking,
        stop,
        missing: record.missing.clone(),
        calls: record.calls,
        attempts: record.attempts,
        usage: record.usage,
        waves: record.wave_times(),
        duration: record.running + now.since(record.last_at),
    }
}

fn score(checks: &CheckReport, quality: Option<f64>) -> f64 {
    let sound = if checks.any_failed() { 0.0 } else { HALF };
    sound + HALF * quality.unwrap_or(HALF)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::deliberation::critique::Critique;
    use crate::deliberation::table::{plan, report};

    /// Seats with (text, quality, place among the finished).
    fn judged(seats: &[(&str, Option<f64>, u32)]) -> Verdict {
        let mut record = Record::new(Arc::new(plan(seats.len(), 1)), Timestamp(0));
        for (seat, (text, quality, finished)) in record.seats.iter_mut().zip(seats) {
            seat.texts = vec![Arc::from(*text)];
            seat.finished = *finished;
            seat.review = Some((1, Critique { text: "c".into(), quality: *quality, broken: false }));
        }
        let reports = seats.iter().map(|(text, _, _)| Arc::new(report(text))).collect();
        verdict(&record, reports, StopReason::Complete, Timestamp(0))
    }

    fn order(verdict: &Verdict) -> Vec<&str> {
        verdict.ranking.iter().map(|ranked| &ranked.agent.as_str()[10..]).collect()
    }

    #[test]
    fn praise_does_not_outrank_a_failed_check() {
        let verdict = judged(&[("FORBIDDEN", Some(0.999), 1), ("fine", Some(0.0), 2)]);
        assert_eq!(order(&verdict), ["002", "001"]);
        assert!(verdict.ranking[1].score < 0.5 && verdict.ranking[0].score >= 0.5);
    }

    #[test]
    fn the_better_rated_wins_and_nobodys_rating_is_a_half() {
        let verdict = judged(&[("a", Some(0.4), 1), ("b", None, 2), ("c", Some(0.6), 3)]);
        assert_eq!(order(&verdict), ["003", "002", "001"]);
        assert_eq!(verdict.ranking.iter().map(|ranked| ranked.rank).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_tie_goes_to_the_earlier_then_to_the_smaller_id() {
        assert_eq!(order(&judged(&[("a", None, 2), ("b", None, 1)])), ["002", "001"]);
        assert_eq!(order(&judged(&[("a", None, 1), ("b", None, 1)])), ["001", "002"]);
    }

    #[test]
    fn who_proposed_nothing_is_not_ranked() {
        let mut record = Record::new(Arc::new(plan(2, 1)), Timestamp(0));
        record.seats[1].texts = vec!["b".into()];
        let verdict = verdict(&record, vec![Arc::new(report("b"))], StopReason::Single, Timestamp(0));
        assert_eq!(order(&verdict), ["002"]);
    }

    proptest! {
        #[test]
        fn a_failed_check_never_reaches_half_and_nothing_reaches_one(quality in prop::option::of(0.0f64..0.9991)) {
            let verdict = judged(&[("FORBIDDEN", quality, 1), ("fine", quality, 2)]);
            prop_assert!(verdict.ranking[0].score >= 0.5 && verdict.ranking[0].score < 1.0);
            prop_assert!(verdict.ranking[1].score < 0.5);
        }
    }
}
