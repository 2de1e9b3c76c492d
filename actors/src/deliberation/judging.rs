//! From the last texts to the verdict: checks, keep-best, the ranking, and who chooses. None of it waits for the disk alone.

use std::sync::Arc;
use std::time::Duration;

use super::record::{Next, Record};
use super::scoring::Scoring;
use super::state::State;
use super::step::Effect;
use super::{ranking, show};
use crate::architect;
use crate::domain::check::CheckReport;
use crate::domain::event::Event;
use crate::domain::id::Timestamp;
use crate::domain::verdict::{Ranked, Scored, Selection, StopReason};

/// Checks have what is left of the deadline, and at least this.
const LEAST_CHECKS: Duration = Duration::from_secs(5);

impl State {
    /// Whether something is decided right behind the outcomes that are on their way.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead.is_some()
    }

    /// What decisions after the last wave stand on.
    pub(super) fn ground(&self) -> &Record {
        self.ahead.as_deref().unwrap_or(&self.record)
    }

    /// All outcomes of the last wave are on their way. What follows from them is on the disk with them or not at all.
    pub(super) fn go_ahead(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut ahead = Box::new(self.record.clone());
        self.unwritten.iter().for_each(|event| ahead.apply(event, now));
        if !ahead.is_settled() {
            return;
        }
        match ahead.next() {
            Next::Score(stop) => {
                self.ahead = Some(ahead);
                self.check(stop, effects);
            }
            Next::Conclude => {
                self.ahead = Some(ahead);
                self.conclude(now, effects);
            }
            Next::Wave(_) | Next::Nothing => {}
        }
    }

    pub(super) fn score(&mut self, stop: StopReason, effects: &mut Vec<Effect>) {
        effects.push(Effect::Show(show::scoring(&self.record)));
        self.check(stop, effects);
    }

    /// The last texts go to the checks.
    pub(super) fn check(&mut self, stop: StopReason, effects: &mut Vec<Effect>) {
        let scoring = Scoring::new(self.ground(), stop);
        effects.push(check(self.ground(), &scoring));
        self.scoring = Some(scoring);
    }

    /// Checks that do not end have not run: the verdict says so.
    pub(super) fn checks_late(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(scoring) = &mut self.scoring else { return };
        scoring.give_up(&"the checks did not end in time".into());
        self.judge(now, effects);
    }

    pub(super) fn checked(&mut self, now: Timestamp, reports: Vec<CheckReport>, effects: &mut Vec<Effect>) {
        let Some(mut scoring) = self.scoring.take() else { return };
        let reports = scoring.asked().into_iter().zip(reports);
        let reports = reports.map(|(seat, report)| self.record.with_own_word(seat, report)).collect();
        let goes_on = scoring.take(reports);
        if goes_on {
            effects.push(check(self.ground(), &scoring));
        }
        self.scoring = Some(scoring);
        if !goes_on {
            self.judge(now, effects);
        }
    }

    /// All evidence is there: the architect chooses, or the score does.
    fn judge(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(scoring) = &self.scoring else { return };
        let (ranking, stop) = (ranking::ranking(self.ground(), scoring.kept()), scoring.stop);
        match self.unasked(&ranking) {
            None => self.decide(Event::ProposalsScored(Arc::new(Scored { ranking, stop })), None, effects),
            Some(why) => self.reach(now, ranking, Selection::by_score(why), stop, effects),
        }
    }

    /// Why the architect is not asked; `None` = it is.
    fn unasked(&self, ranking: &[Ranked]) -> Option<&'static str> {
        match &self.record.plan {
            plan if !plan.spec.architect => Some("the task asked for no architect"),
            plan if plan.architect.is_none() => Some("no agent of an ARCHITECT council was ready to choose"),
            _ if self.out_of_time => Some("no time was left for the architect"),
            _ if self.ground().budget_spent() => Some("no tokens were left for the architect"),
            _ => architect::no_choice(ranking),
        }
    }

    /// The votes are counted.
    pub(super) fn conclude(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let record = self.ground();
        let (Some(scored), Some(seat)) = (record.scored.clone(), &record.plan.architect) else { return };
        let (salt, votes) = (record.plan.salt, record.votes());
        let (ranking, selection) = architect::decide(scored.ranking.clone(), salt, seat.agent.clone(), &votes);
        self.reach(now, ranking, selection, scored.stop, effects);
    }

    fn reach(
        &mut self,
        now: Timestamp,
        ranking: Vec<Ranked>,
        selection: Selection,
        stop: StopReason,
        effects: &mut Vec<Effect>,
    ) {
        let verdict = ranking::verdict(self.ground(), ranking, selection, stop, now);
        let Some(winner) = verdict.winner() else { return self.fail(effects) };
        let (run, winner, duration) = (self.record.plan.run.run, winner.agent.clone(), verdict.duration);
        let task = match self.record.plan.spec.awaits_execution() {
            true => Event::TaskDispatched { run, winner, duration },
            false => Event::TaskCompleted { run, winner, duration },
        };
        self.decide(Event::VerdictReached(Arc::new(verdict)), Some(task), effects);
    }
}

fn check(record: &Record, scoring: &Scoring) -> Effect {
    let left = record.plan.deadline.saturating_sub(record.running);
    Effect::Check { subjects: scoring.subjects(record), within: left.max(LEAST_CHECKS) }
}
