//! A task's run at an earlier place.

use std::sync::Arc;

use crate::deliberation::phase_of;
use crate::deliberation::record::Record;
use crate::document::{self, Standing};
use crate::domain::answer::Usage;
use crate::domain::event::{Event, Plan, Recorded};
use crate::domain::id::{Timestamp, Wave};
use crate::domain::verdict::MissingSeat;
use crate::progress::Phase;

/// The calls of one wave. The architect's ballots are a wave each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaveThen {
    pub wave: Wave,
    /// Finished calls: a seat that was asked again has two.
    pub answered: u32,
    pub failed: u32,
    /// Calls without an outcome.
    pub awaited: u32,
}

/// A run as the events of its stream tell.
#[derive(Clone, Debug, PartialEq)]
pub struct RunThen {
    pub plan: Arc<Plan>,
    pub standing: Standing,
    pub phase: Phase,
    /// The one that is open, or that was the last.
    pub wave: Wave,
    /// In the order in which they began.
    pub waves: Vec<WaveThen>,
    /// Seats that a wave did without.
    pub missing: Vec<MissingSeat>,
    /// Finished calls, and HTTP requests spent on them and on failed ones.
    pub calls: u32,
    pub attempts: u32,
    pub usage: Usage,
    pub started_at: Timestamp,
    /// Of the last event.
    pub last_at: Timestamp,
}

impl RunThen {
    /// `None` when the events are not those of a run from its start.
    #[must_use]
    pub fn of(events: &[Recorded]) -> Option<Self> {
        let (first, rest) = events.split_first()?;
        let Event::DeliberationStarted(plan) = &first.event.event else { return None };
        let mut record = Record::new(plan.clone(), first.event.at);
        let mut waves = Waves::default();
        waves.begin(&record);
        for recorded in rest {
            waves.count(&recorded.event.event);
            record.take_in(&recorded.event.event, recorded.event.at);
            waves.begin(&record);
        }
        Some(Self {
            plan: plan.clone(),
            standing: document::standing(&record)?,
            phase: phase_of(&record),
            wave: record.wave,
            waves: waves.closed(&record),
            calls: record.calls,
            attempts: record.attempts,
            usage: record.usage,
            started_at: first.event.at,
            last_at: record.last_at,
            missing: record.missing,
        })
    }
}

/// The record knows the sums; which wave a call was of, its events say.
#[derive(Default)]
struct Waves(Vec<WaveThen>);

impl Waves {
    fn of(&mut self, wave: Wave) -> &mut WaveThen {
        let place = self.0.iter().position(|known| known.wave == wave).unwrap_or_else(|| {
            self.0.push(WaveThen { wave, answered: 0, failed: 0, awaited: 0 });
            self.0.len() - 1
        });
        &mut self.0[place]
    }

    /// What is asked by now has begun.
    fn begin(&mut self, record: &Record) {
        for call in record.open_calls() {
            self.of(call.wave);
        }
    }

    fn count(&mut self, event: &Event) {
        match event {
            Event::CallAnswered { call, .. } => self.of(call.wave).answered += 1,
            Event::CallFailed { call, .. } => self.of(call.wave).failed += 1,
            _ => {}
        }
    }

    /// With what is awaited; nothing is, once the run has ended.
    fn closed(mut self, record: &Record) -> Vec<WaveThen> {
        let awaited = if record.end.is_none() { record.open_calls() } else { Vec::new() };
        for call in awaited {
            self.of(call.wave).awaited += 1;
        }
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliberation::Input;
    use crate::deliberation::table::{Table, answer, chosen_by_architect, failure, fold, plan, usual};
    use crate::domain::answer::Class;
    use crate::domain::id::Stage;
    use crate::past::{Place, recorded};

    fn then(table: &Table) -> RunThen {
        RunThen::of(&recorded(&table.log)).unwrap()
    }

    /// Each wave with its answered, failed and awaited calls.
    fn waves(then: &RunThen) -> Vec<(String, u32, u32, u32)> {
        then.waves.iter().map(|of| (of.wave.to_string(), of.answered, of.failed, of.awaited)).collect()
    }

    #[test]
    fn every_place_of_a_run_tells_what_the_living_run_knew_there() {
        let mut table = Table::begun(chosen_by_architect(plan(3, 2)));
        let mut seen = vec![(table.log.len(), table.state.record().clone())];
        while table.ending.is_none() {
            table.pass(3);
            match seen.len() {
                // A seat is missing in the first review.
                5 => table.reply(|_| Err(failure(Class::Refused))),
                _ if table.asks.is_empty() => table.check(),
                _ => table.reply(|ask| Ok(usual(&ask.call))),
            }
            table.acknowledge_all();
            seen.push((table.log.len(), table.state.record().clone()));
        }
        let events = recorded(&table.log);
        assert!(events.len() > 15, "{}", events.len());
        for (number, record) in seen {
            let seq = events[number - 1].seq;
            assert_eq!(Place::Seq(seq).counts(&events), number);
            let then = RunThen::of(&events[..number]).unwrap();
            assert_eq!(
                (then.wave, &then.missing, then.calls),
                (record.wave, &record.missing, record.calls),
                "at {seq}"
            );
            assert_eq!((then.usage, then.attempts), (record.usage, record.attempts), "at {seq}");
            assert_eq!(then.standing, document::standing(&record).unwrap(), "at {seq}");
            assert_eq!(then.waves.iter().map(|wave| wave.answered).sum::<u32>(), then.calls, "at {seq}");
        }
    }

    #[test]
    fn the_prefix_of_every_length_is_the_fold_of_its_events() {
        let mut table = Table::begun(plan(4, 2));
        table.finish();
        let events = recorded(&table.log);
        let mut calls = 0;
        for number in 1..=events.len() {
            let (then, record) = (RunThen::of(&events[..number]).unwrap(), fold(&table.log[..number]));
            assert_eq!((then.wave, then.usage, then.last_at), (record.wave, record.usage, record.last_at));
            assert!(then.calls == calls || then.calls == calls + 1, "one event is one call at most");
            calls = then.calls;
        }
    }

    #[test]
    fn waves_are_counted_as_they_begin() {
        let mut table = Table::begun(chosen_by_architect(plan(3, 1)));
        assert_eq!(waves(&then(&table)), [("propose-0".to_owned(), 0, 0, 3)]);
        table.reply(|_| Err(failure(Class::Refused)));
        table.reply(|ask| Ok(usual(&ask.call)));
        table.acknowledge_all();
        let open = then(&table);
        assert_eq!(waves(&open), [("propose-0".to_owned(), 1, 1, 1)]);
        assert_eq!((open.phase, open.missing.len(), &open.standing), (Phase::Generating, 1, &Standing::Open));
        table.wave();
        assert_eq!(waves(&then(&table))[1], ("critique-1".to_owned(), 0, 0, 2));
        assert_eq!(then(&table).phase, Phase::Reviewing);
        table.wave();
        table.wave();
        let scoring = then(&table);
        assert_eq!((scoring.phase, scoring.wave.stage), (Phase::Scoring, Stage::Revise));
        table.check();
        table.acknowledge_all();
        let selecting = then(&table);
        assert_eq!(selecting.phase, Phase::Selecting);
        assert_eq!(waves(&selecting)[3..], [("select-1".to_owned(), 0, 0, 1), ("select-2".to_owned(), 0, 0, 1)]);
        table.finish();
        let ended = then(&table);
        assert_eq!((ended.phase, ended.calls), (Phase::Complete, 8));
        assert!(matches!(&ended.standing, Standing::Completed(outcome) if *outcome == table.outcome()));
    }

    #[test]
    fn a_seat_that_is_asked_again_has_two_calls() {
        let mut table = Table::begun(plan(1, 0));
        let cut_off = crate::domain::answer::Finish::Length;
        table.reply(|_| Ok(crate::domain::answer::Answer { finish: cut_off, ..answer("half") }));
        table.acknowledge_all();
        assert_eq!(waves(&then(&table)), [("propose-0".to_owned(), 1, 0, 1)]);
    }

    #[test]
    fn nothing_is_awaited_of_a_run_that_was_cancelled() {
        let mut table = Table::begun(plan(2, 1));
        table.take(Input::CancelAsked { reason: "enough".into() });
        table.acknowledge_all();
        let cancelled = then(&table);
        assert_eq!(waves(&cancelled), [("propose-0".to_owned(), 0, 0, 0)]);
        assert_eq!(cancelled.standing, Standing::Cancelled { reason: "enough".into() });
        assert_eq!(cancelled.phase, Phase::Failed);
        assert_eq!(RunThen::of(&recorded(&table.log)[1..]), None, "no start");
    }
}
