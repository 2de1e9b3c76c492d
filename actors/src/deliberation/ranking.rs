//! Who wins and why: checks first, ratings second, never praise over failed evidence.

use super::record::Record;
use super::scoring::Kept;
use crate::domain::check::CheckReport;
use crate::domain::id::Timestamp;
use crate::domain::verdict::{Ranked, Selection, StopReason, Verdict};

/// Half of the score is for no failed check; the other half is the quality, which stays below one.
const HALF: f64 = 0.5;

/// Ranks all proposals by score, then earlier finish, then agent id.
pub(super) fn ranking(record: &Record, kept: Vec<Kept>) -> Vec<Ranked> {
    let ranked = |kept: Kept| {
        let of_seat = &record.seats[kept.seat];
        let quality = of_seat.review.as_ref().and_then(|(_, critique)| critique.quality);
        let Kept { seat, text, checks, dropped } = kept;
        let text = (text + 1 < of_seat.texts.len()).then(|| u32::try_from(text).unwrap_or(u32::MAX));
        let (agent, score) = (record.plan.seats[seat].agent.clone(), score(&checks, quality));
        (of_seat.finished, Ranked { agent, rank: 0, text, dropped, score, quality, checks })
    };
    let mut judged: Vec<(u32, Ranked)> = kept.into_iter().map(ranked).collect();
    judged.sort_by(|(first, a), (second, b)| {
        b.score.total_cmp(&a.score).then(first.cmp(second)).then_with(|| a.agent.cmp(&b.agent))
    });
    (1..).zip(judged).map(|(rank, (_, ranked))| Ranked { rank, ..ranked }).collect()
}

/// The verdict, with what it cost.
pub(super) fn verdict(
    record: &Record,
    ranking: Vec<Ranked>,
    selection: Selection,
    stop: StopReason,
    now: Timestamp,
) -> Verdict {
    Verdict {
        ranking,
        stop,
        selection,
        missing: record.missing.clone(),
        executor_left: record.executor_left.clone(),
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
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::deliberation::critique::Critique;
    use crate::deliberation::seat::SeatRecord;
    use crate::deliberation::table::{plan, report};

    fn by_score(record: &Record, texts: &[&str]) -> Vec<Ranked> {
        let checked = texts.iter().enumerate().filter(|(_, text)| !text.is_empty());
        let kept =
            |(seat, text): (usize, &&str)| Kept { seat, text: 0, checks: Arc::new(report(text)), dropped: vec![] };
        ranking(record, checked.map(kept).collect())
    }

    /// Seats with (text, quality, place among the finished).
    fn judged(seats: &[(&str, Option<f64>, u32)]) -> Vec<Ranked> {
        let mut record = Record::new(Arc::new(plan(seats.len(), 1)), Timestamp(0));
        for (seat, (text, quality, finished)) in record.seats.iter_mut().zip(seats) {
            *seat = SeatRecord { finished: *finished, ..SeatRecord::of(&[text]) };
            seat.review = Some((1, Critique { text: "c".into(), quality: *quality, broken: false }));
        }
        by_score(&record, &seats.iter().map(|(text, _, _)| *text).collect::<Vec<_>>())
    }

    fn order(ranking: &[Ranked]) -> Vec<&str> {
        ranking.iter().map(|ranked| &ranked.agent.as_str()[10..]).collect()
    }

    #[test]
    fn praise_does_not_outrank_a_failed_check() {
        let ranking = judged(&[("FORBIDDEN", Some(0.999), 1), ("fine", Some(0.0), 2)]);
        assert_eq!(order(&ranking), ["002", "001"]);
        assert!(ranking[1].score < 0.5 && ranking[0].score >= 0.5);
    }

    #[test]
    fn the_better_rated_wins_and_nobodys_rating_is_a_half() {
        let ranking = judged(&[("a", Some(0.4), 1), ("b", None, 2), ("c", Some(0.6), 3)]);
        assert_eq!(order(&ranking), ["003", "002", "001"]);
        assert_eq!(ranking.iter().map(|ranked| ranked.rank).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_tie_goes_to_the_earlier_then_to_the_smaller_id() {
        assert_eq!(order(&judged(&[("a", None, 2), ("b", None, 1)])), ["002", "001"]);
        assert_eq!(order(&judged(&[("a", None, 1), ("b", None, 1)])), ["001", "002"]);
    }

    #[test]
    fn who_proposed_nothing_is_not_ranked() {
        let mut record = Record::new(Arc::new(plan(2, 1)), Timestamp(0));
        record.seats[1] = SeatRecord::of(&["b"]);
        assert_eq!(order(&by_score(&record, &["", "b"])), ["002"]);
    }

    proptest! {
        #[test]
        fn a_failed_check_never_reaches_half_and_nothing_reaches_one(quality in prop::option::of(0.0f64..0.9991)) {
            let ranking = judged(&[("FORBIDDEN", quality, 1), ("fine", quality, 2)]);
            prop_assert!(ranking[0].score >= 0.5 && ranking[0].score < 1.0);
            prop_assert!(ranking[1].score < 0.5);
        }
    }
}
