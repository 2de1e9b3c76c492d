//! A deliberation under any sequence of turns: what holds whatever happens.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::step::Input;
use super::table::{Table, answer, call_of, chosen_by_architect, failure, fold, plan, usual};
use crate::domain::answer::{Answer, Class, Finish};
use crate::domain::event::Plan;

/// One thing that happens to a run; the numbers choose among what is possible.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Acknowledge,
    Answer { attempts: u32 },
    CutOff { attempts: u32 },
    Broken,
    Fail(Class),
    Repeat,
    Check,
    StageOver,
    TimeUp,
    Cancel,
    Crash,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        8 => Just(Turn::Acknowledge),
        6 => (1u32..5).prop_map(|attempts| Turn::Answer { attempts }),
        2 => (1u32..5).prop_map(|attempts| Turn::CutOff { attempts }),
        1 => Just(Turn::Broken),
        1 => Just(Turn::Fail(Class::Refused)),
        2 => Just(Turn::Fail(Class::Gone)),
        1 => Just(Turn::Fail(Class::Busy)),
        3 => Just(Turn::Repeat),
        3 => Just(Turn::Check),
        1 => Just(Turn::StageOver),
        1 => Just(Turn::Crash),
    ];
    let last = prop_oneof![3 => Just(Turn::Acknowledge), 1 => Just(Turn::TimeUp), 1 => Just(Turn::Cancel)];
    (prop::collection::vec(turn, 0..80), last).prop_map(|(mut turns, last)| {
        turns.push(last);
        turns
    })
}

fn play(table: &mut Table, turn: Turn) {
    table.pass(7);
    match turn {
        Turn::Acknowledge => table.acknowledge(),
        Turn::Answer { attempts } => table.reply(|ask| {
            let attempts = attempts.min(ask.most_attempts);
            Ok(Answer { attempts, ..usual(&ask.call) })
        }),
        Turn::CutOff { attempts } => table.reply(|ask| {
            let attempts = attempts.min(ask.most_attempts);
            Ok(Answer { attempts, finish: Finish::Length, ..usual(&ask.call) })
        }),
        Turn::Broken => table.reply(|_| Ok(answer("{\"broken"))),
        Turn::Fail(class) => table.reply(|_| Err(failure(class))),
        Turn::Repeat => {
            if let Some(call) = table.repeats.pop_front() {
                table.take(Input::RepeatDue { call });
            }
        }
        Turn::Check => table.check(),
        Turn::StageOver => {
            let wave = table.state.record().wave;
            table.take(Input::WaveTimeUp { wave });
        }
        Turn::TimeUp => table.take(Input::TimeUp),
        Turn::Cancel => table.take(Input::CancelAsked { reason: "enough".into() }),
        Turn::Crash => crash(table),
    }
}

fn crash(table: &mut Table) {
    if table.log.len() > 1 && table.ending.is_none() {
        let (finals, asked) = (std::mem::take(&mut table.finals), std::mem::take(&mut table.asked));
        *table = Table::resumed(&table.log, Duration::from_millis(500));
        (table.finals, table.asked) = (finals, asked);
    }
}

/// An architect may choose in the end.
fn plan_with(seats: usize, rounds: u8, architect: bool) -> Plan {
    if architect { chosen_by_architect(plan(seats, rounds)) } else { plan(seats, rounds) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_fold_is_the_record_and_there_is_one_final(
        seats in 1usize..5, rounds in 0u8..3, architect in any::<bool>(), turns in turns(),
    ) {
        let mut table = Table::begun(plan_with(seats, rounds, architect));
        let mut out_of_time = false;
        for turn in turns {
            let before: BTreeSet<_> = table.log.iter().filter_map(|new| call_of(&new.event)).collect();
            let asked = table.asked.len();
            out_of_time |= matches!(turn, Turn::TimeUp);
            play(&mut table, turn);
            let again = table.asked.iter().skip(asked).find(|ask| before.contains(&ask.call.to_string()));
            prop_assert!(again.is_none(), "{again:?} was answered before");
            if !out_of_time && table.ending.is_none() {
                prop_assert_eq!(table.state.record(), &fold(&table.log));
            }
        }
        table.finish();
        prop_assert_eq!(table.finals.len(), 1);
        if let Some(Ok(outcome)) = &table.ending {
            prop_assert!(!outcome.verdict.ranking.is_empty());
        }
    }

    #[test]
    fn all_requests_together_are_at_most_three_times_the_nominal_calls(
        seats in 1usize..5, rounds in 0u8..3, architect in any::<bool>(), turns in turns(),
    ) {
        let mut table = Table::begun(plan_with(seats, rounds, architect));
        for turn in turns.into_iter().filter(|turn| !matches!(turn, Turn::Crash)) {
            play(&mut table, turn);
        }
        table.finish();
        let nominal = seats as u32 * (1 + 2 * u32::from(rounds)) + if architect { 2 } else { 0 };
        prop_assert!(table.requests <= 3 * nominal, "{} for {nominal}", table.requests);
    }
}
