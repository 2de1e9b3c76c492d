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
