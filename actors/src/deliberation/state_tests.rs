//! What a deliberation decides, tried on a table: folds, resumes, waits, deadlines, repeats.

use std::collections::BTreeSet;
use std::time::Duration;

use super::step::{Input, Timer};
use super::table::{Table, answer, call_of, chosen_by_architect, failure, plan, usual};
use crate::domain::answer::{Answer, Class, Finish, SCRIPTED_MODEL, SIMULATOR_MODEL};
use crate::domain::event::{Event, Plan};
use crate::domain::id::{Stage, Wave};
use crate::domain::verdict::{Selector, StopReason};
use crate::error::SystemError;

const PROPOSE: Wave = Wave { stage: Stage::Propose, round: 0 };

#[test]
fn three_agents_and_one_round_are_nine_calls_and_one_final() {
    let mut table = Table::begun(plan(3, 1));
    table.finish();
    assert_eq!((table.asked.len(), table.finals.len()), (9, 1));
    let verdict = table.outcome().verdict.clone();
    assert_eq!((verdict.calls, verdict.attempts, verdict.stop), (9, 9, StopReason::Complete));
    assert_eq!(verdict.waves.len(), 3);
}

#[test]
fn nothing_is_asked_before_the_start_is_durable() {
    let mut table = Table::begin(plan(3, 1));
    assert!(table.asks.is_empty());
    table.acknowledge();
    assert_eq!(table.asks.len(), 3);
}

#[test]
fn a_wave_is_decided_when_all_its_outcomes_are_durable() {
    let mut table = Table::begun(plan(2, 1));
    table.reply(|ask| Ok(usual(&ask.call)));
    table.reply(|ask| Ok(usual(&ask.call)));
    table.acknowledge();
    assert!(table.asks.is_empty(), "one answer is not on disk yet");
    table.acknowledge();
    assert_eq!(table.asks.len(), 2);
}

#[test]
fn a_decision_waits_for_pending_appends_and_inputs_wait_for_a_decision() {
    let mut table = Table::begun(plan(2, 1));
    table.reply(|ask| Ok(usual(&ask.call)));
    table.take(Input::CancelAsked { reason: "enough".into() });
    assert_eq!((table.pending.len(), table.withdrawn), (1, 0), "the answer comes first");
    table.acknowledge();
    assert_eq!((table.pending.len(), table.withdrawn), (1, 1));
    table.take(Input::WaveTimeUp { wave: PROPOSE });
    assert_eq!(table.pending.len(), 1, "the cancellation is being written");
    table.acknowledge();
    assert_eq!(table.kinds(), ["DeliberationStarted", "CallAnswered", "DeliberationCancelled"]);
    assert!(matches!(&table.finals[..], [Event::TaskCancelled { run: 1, .. }]));
    assert!(matches!(table.ending, Some(Err(SystemError::Cancelled { .. }))));
}

#[test]
fn an_answer_that_comes_while_its_wave_is_closed_changes_nothing() {
    let mut table = Table::begun(plan(3, 1));
    table.reply(|ask| Ok(usual(&ask.call)));
    table.reply(|ask| Ok(usual(&ask.call)));
    table.acknowledge_all();
    let late = table.asks[0].call.clone();
    table.take(Input::WaveTimeUp { wave: PROPOSE });
    table.take(Input::Answered { call: late, answer: answer("late"), draft: None });
    table.acknowledge_all();
    assert_eq!(table.state.record().missing.len(), 1);
    table.finish();
    assert_eq!(table.outcome().proposals.len(), 2);
}

#[test]
fn an_answer_that_comes_twice_is_written_once() {
    let mut table = Table::begun(plan(2, 0));
    let call = table.asks[0].call.clone();
    table.reply(|ask| Ok(usual(&ask.call)));
    table.take(Input::Answered { call, answer: answer("again"), draft: None });
    assert_eq!(table.pending.len(), 1);
}

#[test]
fn a_cut_off_answer_is_asked_again_once_and_the_second_counts() {
    let mut table = Table::begun(plan(1, 0));
    let cut = |text| move |_: &_| Ok(Answer { finish: Finish::Length, ..answer(text) });
    table.reply(cut("half"));
    table.acknowledge();
    assert_eq!(table.asks[0].call.ask, 2);
    table.reply(cut("more than half"));
    table.finish();
    assert_eq!(&*table.outcome().proposals[0].text, "more than half");
    assert_eq!(table.asked.len(), 2);
}

#[test]
fn one_scripted_answer_makes_the_outcome_a_simulated_one() {
    for (model, simulated) in [("m", false), (SIMULATOR_MODEL, true), (SCRIPTED_MODEL, true)] {
        let mut table = Table::begun(plan(2, 0));
        table.reply(|_| Ok(Answer { model: model.into(), ..answer("x") }));
        table.finish();
        assert_eq!(table.outcome().simulated, simulated, "{model}");
    }
}

#[test]
fn when_the_second_ask_fails_the_first_answer_counts() {
    let mut table = Table::begun(plan(1, 0));
    table.reply(|_| Ok(Answer { finish: Finish::Length, ..answer("half") }));
    table.acknowledge();
    table.reply(|_| Err(failure(Class::Refused)));
    table.finish();
    assert_eq!(&*table.outcome().proposals[0].text, "half");
}

fn critiques_asked(structured: bool, text: &str) -> usize {
    let mut table = Table::begun(Plan { structured, ..plan(2, 1) });
    table.wave();
    table.reply(|_| Ok(answer(text)));
    table.reply(|_| Ok(answer(text)));
    table.acknowledge_all();
    table.finish();
    table.asked.iter().filter(|ask| ask.call.wave.stage == Stage::Critique).count()
}

#[test]
fn broken_json_is_asked_again_only_when_it_was_asked_for_and_prose_never() {
    assert_eq!(critiques_asked(true, "{\"summary\": \"cut"), 4);
    assert_eq!(critiques_asked(false, "{\"summary\": \"cut"), 2);
    assert_eq!(critiques_asked(true, "I like it."), 2);
    assert_eq!(critiques_asked(true, "{\"summary\": \"whole\"}"), 2);
}

#[test]
fn a_seat_whose_agent_restarts_is_asked_again_with_the_same_call() {
    let mut table = Table::begun(plan(1, 0));
    table.reply(|_| Err(failure(Class::Gone)));
    assert!(table.pending.is_empty(), "that is no outcome");
    let call = table.repeats.pop_front().unwrap();
    table.take(Input::RepeatDue { call });
    assert_eq!(table.asked[0].call, table.asked[1].call);
    table.finish();
    assert_eq!(table.outcome().verdict.attempts, 2, "the lost request counts");
}

#[test]
fn a_seat_that_stays_away_is_missing_with_the_reason() {
    let mut table = Table::begun(plan(2, 1));
    table.reply(|_| Err(failure(Class::Refused)));
    table.finish();
    let verdict = table.outcome().verdict.clone();
    assert_eq!(verdict.stop, StopReason::Single);
    assert_eq!((verdict.missing.len(), &*verdict.missing[0].reason), (1, "as told"));
}

#[test]
fn no_answer_at_all_is_an_error_with_its_causes() {
    let mut table = Table::begun(plan(2, 1));
    table.reply(|_| Err(failure(Class::Refused)));
    table.reply(|_| Err(failure(Class::Transient)));
    table.acknowledge_all();
    let Some(Err(SystemError::Failed { class, message })) = &table.ending else { panic!("{:?}", table.ending) };
    assert_eq!(*class, Class::Transient, "it may heal");
    assert_eq!(&**message, "no agent answered (agent-dev-001: as told; agent-dev-002: as told)");
    assert!(matches!(&table.finals[..], [Event::TaskFailed(_)]));
}

#[test]
fn the_deadline_ends_a_run_with_what_there_is() {
    let mut table = Table::begun(plan(3, 1));
    table.wave();
    table.take(Input::TimeUp);
    table.finish();
    let verdict = table.outcome().verdict.clone();
    assert_eq!((verdict.stop, verdict.ranking.len()), (StopReason::Deadline, 3));
    assert_eq!(verdict.missing.len(), 3, "nobody reviewed");
}

#[test]
fn the_deadline_without_a_proposal_is_a_failure_of_its_class() {
    let mut table = Table::begun(plan(3, 1));
    table.take(Input::TimeUp);
    table.acknowledge_all();
    assert!(matches!(table.ending, Some(Err(SystemError::Failed { class: Class::TimedOut, .. }))));
}

#[test]
fn the_deadline_in_the_last_wave_is_said_too() {
    let mut table = Table::begun(plan(2, 1));
    table.wave();
    table.wave();
    table.reply(|ask| Ok(usual(&ask.call)));
    table.take(Input::TimeUp);
    table.finish();
    assert_eq!(table.outcome().verdict.stop, StopReason::Deadline);
}

#[test]
fn checks_that_do_not_end_have_not_run() {
    let mut table = Table::begun(plan(2, 0));
    table.wave();
    table.take(Input::ChecksTimeUp);
    table.acknowledge_all();
    let verdict = table.outcome().verdict.clone();
    assert!(verdict.ranking.iter().all(|ranked| !ranked.checks.policy.passed() && !ranked.checks.any_failed()));
    table.check();
    assert_eq!(table.finals.len(), 1, "and come too late");
}

#[test]
fn a_stage_has_its_share_of_the_time_and_at_least_one_call() {
    let shares = |call_timeout| {
        let mut table = Table::begun(Plan { call_timeout: Duration::from_secs(call_timeout), ..plan(2, 1) });
        table.wave();
        let waves = table.timers.iter().filter_map(|(timer, after)| match timer {
            Timer::Wave(_) => Some(after.as_secs()),
            Timer::Whole | Timer::Repeat(_) => None,
        });
        waves.collect::<Vec<_>>()
    };
    assert_eq!(shares(10), [100, 150], "a third of 300 s, then half of what is left");
    assert_eq!(shares(200), [200, 200]);
    assert!(shares(300).is_empty(), "the deadline of the whole is enough");
}

#[test]
fn a_spent_budget_ends_the_run_before_the_next_wave() {
    let mut plan = plan(3, 1);
    let spec = crate::domain::task::TaskSpec { budget_tokens: Some(450), ..(*plan.spec).clone() };
    plan.spec = spec.into();
    let mut table = Table::begun(plan);
    table.finish();
    let verdict = table.outcome().verdict.clone();
    assert_eq!((verdict.stop, verdict.calls, verdict.usage.total()), (StopReason::Budget, 3, 450));
}

#[test]
fn down_time_does_not_count() {
    let mut table = Table::begun(plan(2, 1));
    table.pass(100);
    table.wave();
    let mut later = Table::resumed(&table.log, Duration::from_secs(3_600));
    let whole = later.timers.iter().find(|(timer, _)| *timer == Timer::Whole).unwrap().1;
    assert_eq!(whole, Duration::from_millis(300_000 - 100));
    later.acknowledge();
    later.pass(50);
    later.wave();
    later.wave();
    later.check();
    later.acknowledge();
    let verdict = later.outcome().verdict.clone();
    assert_eq!(verdict.duration, Duration::from_millis(150));
    assert_eq!(verdict.waves[0].duration, Duration::from_millis(100));
    assert_eq!(verdict.waves[1].duration, Duration::from_millis(50));
}

#[test]
fn a_resume_asks_exactly_who_is_missing_and_ends_with_one_final() {
    let mut whole = Table::begun(plan(3, 2));
    whole.finish();
    let ranking = &whole.outcome().verdict.ranking;
    for length in 1..whole.log.len() {
        let prefix = &whole.log[..length];
        let answered: BTreeSet<_> = prefix.iter().filter_map(|new| call_of(&new.event)).collect();
        let mut table = Table::resumed(prefix, Duration::from_secs(9));
        assert!(table.asks.is_empty(), "nothing is asked before the resume is durable");
        table.acknowledge();
        let wave = answered.len() / 3;
        let expected: BTreeSet<_> = whole.asked.iter().skip(3 * wave).take(3).map(|ask| ask.call.to_string()).collect();
        let asked: BTreeSet<_> = table.asks.iter().map(|ask| ask.call.to_string()).collect();
        assert_eq!(asked, expected.difference(&answered).cloned().collect(), "after {length} events");
        table.finish();
        assert_eq!((&table.outcome().verdict.ranking, table.finals.len()), (ranking, 1), "after {length} events");
    }
}

#[test]
fn the_architect_costs_two_calls_in_one_wave_after_the_evidence_is_durable() {
    let mut table = Table::begun(chosen_by_architect(plan(3, 0)));
    table.wave();
    table.check();
    assert!(table.asks.is_empty(), "nobody votes before the evidence is on disk");
    table.acknowledge_all();
    let votes: Vec<_> = table.asks.iter().map(|ask| ask.call.to_string()).collect();
    assert_eq!(votes, ["t/1/select-1/agent-architect-001", "t/1/select-2/agent-architect-001"]);
    table.finish();
    let outcome = table.outcome();
    assert_eq!(outcome.verdict.calls, 5);
    assert_eq!(
        outcome.verdict.selection.by,
        Selector::Score,
        "the first place of both ballots is not the same candidate"
    );
    assert_eq!(outcome.verdict.selection.ballots.len(), 2);
}

#[test]
fn a_ballot_that_was_answered_is_not_asked_again_after_a_crash() {
    let mut table = Table::begun(chosen_by_architect(plan(3, 0)));
    table.wave();
    table.check();
    table.acknowledge_all();
    table.reply(|ask| Ok(usual(&ask.call)));
    table.acknowledge_all();
    let mut resumed = Table::resumed(&table.log, Duration::from_secs(5));
    resumed.acknowledge_all();
    let votes: Vec<_> = resumed.asks.iter().map(|ask| ask.call.to_string()).collect();
    assert_eq!(votes, ["t/1/select-2/agent-architect-001"]);
    assert!(resumed.subjects.is_none(), "the evidence is not gathered twice");
    resumed.finish();
    assert_eq!(resumed.outcome().verdict.calls, 5);
}

#[test]
fn an_architect_who_does_not_vote_in_time_leaves_the_choice_to_the_score() {
    let mut table = Table::begun(chosen_by_architect(plan(3, 0)));
    table.wave();
    table.check();
    table.acknowledge_all();
    table.take(Input::TimeUp);
    table.acknowledge_all();
    let outcome = table.outcome();
    assert_eq!(outcome.verdict.selection.by, Selector::Score);
    assert_eq!(&*outcome.verdict.selection.why, "ballot 1 does not count: no answer before the deadline");
    assert_eq!(outcome.verdict.missing.len(), 2);
}

#[test]
fn a_cut_off_ballot_is_not_asked_for_again() {
    let mut table = Table::begun(chosen_by_architect(plan(2, 0)));
    table.wave();
    table.check();
    table.acknowledge_all();
    for _ in 0..2 {
        table.reply(|ask| Ok(Answer { finish: Finish::Length, ..usual(&ask.call) }));
    }
    table.acknowledge_all();
    assert_eq!(table.outcome().verdict.calls, 4);
}

#[test]
fn one_sound_proposal_needs_no_architect() {
    let mut table = Table::begun(chosen_by_architect(plan(2, 0)));
    table.reply(|_| Ok(answer("FORBIDDEN")));
    table.reply(|_| Ok(answer("fine")));
    table.acknowledge_all();
    table.finish();
    let outcome = table.outcome();
    assert_eq!(outcome.verdict.calls, 2);
    assert_eq!(&*outcome.verdict.selection.why, "only one proposal failed no check");
}

#[test]
fn a_revision_that_breaks_a_check_gives_way_to_its_original_and_both_are_shown() {
    let mut table = Table::begun(plan(2, 1));
    table.wave();
    table.wave();
    table.reply(|_| Ok(answer("FORBIDDEN")));
    table.reply(|ask| Ok(usual(&ask.call)));
    table.acknowledge_all();
    table.check();
    assert_eq!(table.subjects.as_ref().map(Vec::len), Some(1), "the original of the one that failed");
    table.finish();
    let outcome = table.outcome();
    let kept = outcome.proposals.iter().find(|proposal| proposal.agent.as_str().ends_with("001")).unwrap();
    assert_eq!((&*kept.text, &*kept.revisions), ("propose of 1 in 0", &["FORBIDDEN".into()][..]));
    let ranked = outcome.verdict.ranking.iter().find(|ranked| ranked.agent == kept.agent).unwrap();
    assert_eq!((ranked.text, ranked.dropped.len()), (Some(0), 1));
    assert!(ranked.dropped[0].checks.any_failed() && !ranked.checks.any_failed());
}
