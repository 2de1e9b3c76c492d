//! What follows from the last wave, tried on a table: written right behind it, and never before all of it is there.

use super::table::{Table, plan, usual};
use crate::domain::answer::{Answer, Finish};
use crate::domain::event::Event;

#[test]
fn what_follows_from_the_last_wave_is_written_right_behind_it() {
    let mut table = Table::begun(plan(2, 1));
    table.wave();
    assert!(table.subjects.is_none(), "more waves follow");
    table.wave();
    table.reply(|ask| Ok(usual(&ask.call)));
    assert!(table.subjects.is_none(), "one is still to come");
    table.reply(|ask| Ok(usual(&ask.call)));
    table.check();
    assert_eq!(table.pending.len(), 3, "two revisions and the verdict");
    assert!(table.ending.is_none(), "nothing of it is on disk");
    let verdict = table.pending.back().unwrap().0[0].event.clone();
    table.acknowledge_all();
    let Event::VerdictReached(verdict) = verdict else { panic!("{verdict:?}") };
    assert_eq!((verdict.calls, verdict.waves.len()), (6, 3));
    assert_eq!(table.outcome().verdict, verdict);
}

#[test]
fn a_last_answer_that_is_cut_off_is_asked_for_again_before_anything_follows() {
    let mut table = Table::begun(plan(2, 0));
    table.reply(|ask| Ok(usual(&ask.call)));
    table.reply(|ask| Ok(Answer { finish: Finish::Length, ..usual(&ask.call) }));
    assert!(table.subjects.is_none());
    table.acknowledge_all();
    table.reply(|ask| Ok(usual(&ask.call)));
    assert!(table.subjects.is_some());
}
