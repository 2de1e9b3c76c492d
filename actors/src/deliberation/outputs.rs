//! Where agents of others have carried the task out: what they made stands in the place of proposals.
//!
//! Nobody is asked to propose, and nobody revises: it is made. It is reviewed once, checked and ranked.

use super::record::Record;
use super::seat::{Slot, Written};
use crate::domain::check::{CheckOutcome, CheckReport};
use crate::domain::execution::Output;
use crate::domain::id::Timestamp;

/// The name under which an agent's word of its own checks stands among ours.
const EXECUTION: &str = "execution";

impl Record {
    /// What was made is there already, and wants to be judged only.
    pub(super) fn is_made(&self) -> bool {
        !self.plan.outputs.is_empty()
    }

    /// The first wave is over before anybody is asked.
    pub(super) fn take_outputs(&mut self) {
        if !self.is_made() {
            return;
        }
        let plan = self.plan.clone();
        let mut made: Vec<(Timestamp, usize)> = Vec::new();
        for (seat, output) in plan.outputs.iter().enumerate().take(plan.seats.len()) {
            match output {
                Output::Made { text, at, .. } => {
                    self.slots[seat] = Slot::Done;
                    self.seats[seat].texts.push(Written::made(self.wave, text));
                    self.seats[seat].proposed_at = *at;
                    made.push((*at, seat));
                }
                Output::Missing { class, reason } => {
                    self.slots[seat] = Slot::Missing;
                    self.miss(seat, *class, reason);
                }
            }
        }
        made.sort_unstable();
        for (place, (_, seat)) in (1..).zip(made) {
            self.seats[seat].finished = place;
        }
        self.advance();
    }

    /// What the author said of its own checks stands among the reports on its text.
    pub(super) fn with_own_word(&self, seat: usize, mut report: CheckReport) -> CheckReport {
        let word = match self.plan.outputs.get(seat) {
            Some(Output::Made { checks_passed: Some(true), .. }) => CheckOutcome::Passed,
            Some(Output::Made { checks_passed: Some(false), .. }) => {
                CheckOutcome::Failed { findings: vec!["its own checks failed, says the agent that made it".into()] }
            }
            _ => return report,
        };
        report.additional.insert(EXECUTION.to_owned(), word);
        report
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::deliberation::table::{Table, plan, usual};
    use crate::domain::answer::Class;
    use crate::domain::event::Plan;
    use crate::domain::id::{Stage, Wave};
    use crate::domain::verdict::StopReason;

    fn made(text: &str, at: u64, checks_passed: Option<bool>) -> Output {
        Output::Made { text: text.into(), at: Timestamp(at), checks_passed }
    }

    fn carried_out(outputs: Vec<Output>, rounds: u8) -> Plan {
        Plan { outputs, ..plan(3, rounds) }
    }

    fn missing() -> Output {
        Output::Missing { class: Class::TimedOut, reason: "no answer within 60 s".into() }
    }

    #[test]
    fn what_is_made_is_reviewed_and_never_revised() {
        let outputs = vec![made("a", 3, None), missing(), made("b", 2, Some(true))];
        let mut table = Table::begun(carried_out(outputs, 1));
        let review = Wave { stage: Stage::Critique, round: 1 };
        let asked: Vec<_> = table.asked.iter().map(|ask| (ask.seat, ask.call.wave)).collect();
        assert_eq!(asked, [(0, review), (2, review)], "only whoever made something reviews");
        table.finish();
        let (verdict, calls) = (&table.outcome().verdict, table.asked.len());
        assert_eq!((verdict.stop, calls), (StopReason::Complete, 2));
        assert_eq!(verdict.missing.iter().map(|seat| &*seat.reason).collect::<Vec<_>>(), ["no answer within 60 s"]);
        assert_eq!(verdict.ranking.len(), 2);
    }

    #[test]
    fn the_word_of_the_author_stands_among_the_checks() {
        let outputs = vec![made("a", 1, Some(false)), made("b", 3, Some(true)), made("c", 2, None)];
        let mut table = Table::begun(carried_out(outputs, 0));
        assert_eq!(table.asked, [], "no review is wanted");
        table.finish();
        let ranking = &table.outcome().verdict.ranking;
        let words: Vec<_> = ranking.iter().map(|ranked| ranked.checks.additional.get(EXECUTION).cloned()).collect();
        assert_eq!(words[..2], [None, Some(CheckOutcome::Passed)], "the one that was made first is before its equal");
        assert!(words[2].as_ref().is_some_and(CheckOutcome::failed), "whose own checks failed is the last");
    }

    #[test]
    fn a_resume_goes_on_with_what_was_made() {
        let outputs = vec![made("a", 1, None), made("b", 2, None), missing()];
        let mut before = Table::begun(carried_out(outputs, 1));
        before.reply(|ask| Ok(usual(&ask.call)));
        before.acknowledge();
        for log in [&before.log[..1], &before.log[..]] {
            let mut table = Table::resumed(log, Duration::from_secs(9));
            table.finish();
            let verdict = &table.outcome().verdict;
            assert_eq!((verdict.ranking.len(), verdict.missing.len(), verdict.calls), (2, 1, 2));
        }
    }
}
