//! Which text of each seat counts: the last one, unless it broke what an earlier one had right.
//!
//! ```text
//!  last texts ─▶ checks ─▶ none failed ─────────────────────────▶ each seat's last text counts
//!                     └──▶ some failed ─▶ their earlier texts ─▶ checks ─▶ keep-best
//! ```
//!
//! Earlier texts are checked only where the last one failed something: usually none has to be.

use std::sync::Arc;

use super::record::Record;
use crate::domain::check::CheckReport;
use crate::domain::verdict::{Dropped, StopReason};
use crate::ports::Subject;

/// One text: its seat, and its place among the seat's texts.
type Place = (usize, usize);

/// The texts of a run and what is known of them.
#[derive(Debug)]
pub(super) struct Scoring {
    pub(super) stop: StopReason,
    reports: Vec<Vec<Option<Arc<CheckReport>>>>,
    /// With the checks, in this order.
    asked: Vec<Place>,
}

/// The text of a seat that counts.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) seat: usize,
    pub(super) text: usize,
    pub(super) checks: Arc<CheckReport>,
    pub(super) dropped: Vec<Dropped>,
}

impl Scoring {
    /// Of all seats that proposed anything.
    pub(super) fn new(record: &Record, stop: StopReason) -> Self {
        let reports: Vec<_> = record.seats.iter().map(|seat| vec![None; seat.texts.len()]).collect();
        let last = |(seat, texts): (usize, &Vec<_>)| Some((seat, texts.len().checked_sub(1)?));
        let asked = reports.iter().enumerate().filter_map(last).collect();
        Self { stop, reports, asked }
    }

    /// What is to be checked now.
    pub(super) fn subjects(&self, record: &Record) -> Vec<Subject> {
        self.asked.iter().map(|&(seat, text)| record.subject(&record.seats[seat].texts[text])).collect()
    }

    /// Whose texts are with the checks, in their order.
    pub(super) fn asked(&self) -> Vec<usize> {
        self.asked.iter().map(|(seat, _)| *seat).collect()
    }

    /// Takes the reports in the order of the texts; whether more texts are to be checked.
    pub(super) fn take(&mut self, reports: Vec<CheckReport>) -> bool {
        let first = self.reports.iter().flatten().all(Option::is_none);
        for ((seat, text), report) in std::mem::take(&mut self.asked).into_iter().zip(reports) {
            self.reports[seat][text] = Some(Arc::new(report));
        }
        if first {
            let failed = |texts: &Vec<Option<Arc<CheckReport>>>| {
                texts.last().is_some_and(|last| last.as_ref().is_some_and(|report| report.any_failed()))
            };
            let failing = self.reports.iter().enumerate().filter(|(_, texts)| failed(texts));
            self.asked = failing.flat_map(|(seat, texts)| (0..texts.len() - 1).map(move |text| (seat, text))).collect();
        }
        !self.asked.is_empty()
    }

    /// The checks have had their time: what they did not look at has not been checked.
    pub(super) fn give_up(&mut self, why: &Arc<str>) {
        let reports = vec![CheckReport::not_run(why); self.asked.len()];
        self.take(reports);
        self.asked.clear();
    }

    /// The text that counts of every seat that has one, in seat order.
    pub(super) fn kept(&self) -> Vec<Kept> {
        self.reports.iter().enumerate().filter_map(|(seat, texts)| kept(seat, texts)).collect()
    }
}

/// Walks from the first text to the last: one that breaks what the best so far has right is dropped.
fn kept(seat: usize, texts: &[Option<Arc<CheckReport>>]) -> Option<Kept> {
    let mut best: Option<Kept> = None;
    for (text, report) in texts.iter().enumerate() {
        let Some(checks) = report.clone() else { continue };
        best = Some(match best {
            Some(mut best) if checks.broken_since(&best.checks).next().is_some() => {
                best.dropped.push(Dropped { text: u32::try_from(text).unwrap_or(u32::MAX), checks });
                best
            }
            earlier => {
                let dropped = earlier.map(|earlier| earlier.dropped).unwrap_or_default();
                Kept { seat, text, checks, dropped }
            }
        });
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliberation::seat::SeatRecord;
    use crate::deliberation::table::{plan, report};
    use crate::domain::check::CheckOutcome;
    use crate::domain::id::Timestamp;

    fn record(seats: &[&[&str]]) -> Record {
        let mut record = Record::new(Arc::new(plan(seats.len(), 2)), Timestamp(0));
        for (seat, texts) in record.seats.iter_mut().zip(seats) {
            *seat = SeatRecord::of(texts);
        }
        record
    }

    /// What counts of each seat, and how many of its texts were dropped.
    fn judged(seats: &[&[&str]]) -> (Vec<(usize, usize)>, usize) {
        let record = record(seats);
        let mut scoring = Scoring::new(&record, StopReason::Complete);
        let mut checked = 0;
        loop {
            let subjects = scoring.subjects(&record);
            checked += subjects.len();
            if !scoring.take(subjects.iter().map(|subject| report(&subject.text)).collect()) {
                break;
            }
        }
        (scoring.kept().iter().map(|kept| (kept.text, kept.dropped.len())).collect(), checked)
    }

    #[test]
    fn the_last_text_counts_and_nothing_else_is_checked() {
        assert_eq!(judged(&[&["a", "b", "c"], &["d"]]), (vec![(2, 0), (0, 0)], 2));
    }

    #[test]
    fn a_revision_that_breaks_what_was_right_is_dropped() {
        assert_eq!(judged(&[&["a", "FORBIDDEN"], &["c", "d"]]), (vec![(0, 1), (1, 0)], 3));
        assert_eq!(judged(&[&["a", "b", "FORBIDDEN"]]), (vec![(1, 1)], 3));
        assert_eq!(judged(&[&["a", "FORBIDDEN", "FORBIDDEN too"]]), (vec![(0, 2)], 3));
    }

    #[test]
    fn what_never_passed_is_not_broken_by_a_revision() {
        assert_eq!(judged(&[&["FORBIDDEN", "FORBIDDEN again"]]), (vec![(1, 0)], 2));
    }

    #[test]
    fn a_seat_without_a_text_does_not_count() {
        assert_eq!(judged(&[&[], &["a"]]), (vec![(0, 0)], 1));
    }

    #[test]
    fn a_revision_whose_original_was_not_checked_is_kept() {
        let record = record(&[&["a", "FORBIDDEN"]]);
        let mut scoring = Scoring::new(&record, StopReason::Complete);
        assert!(scoring.take(vec![report("FORBIDDEN")]));
        scoring.give_up(&"too late".into());
        let kept = scoring.kept();
        assert_eq!((kept[0].text, kept[0].dropped.len()), (1, 0));
        assert!(kept[0].checks.any_failed());
    }

    #[test]
    fn only_what_ran_and_passed_can_be_broken() {
        let (passed, failed) = (report("fine"), report("FORBIDDEN"));
        let not_run = CheckReport { policy: CheckOutcome::not_run("too large"), ..report("fine") };
        assert_eq!(failed.broken_since(&passed).collect::<Vec<_>>(), ["policy"]);
        assert_eq!(failed.broken_since(&not_run).count() + not_run.broken_since(&passed).count(), 0);
    }
}
