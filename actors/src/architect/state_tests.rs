use super::*;
use crate::architect::ballot::letter;
use crate::deliberation::table::{plan, report};
use crate::domain::check::CheckReport;

fn ranked(ordinal: u32, report: CheckReport) -> Ranked {
    let agent = plan(5, 1).seats[ordinal as usize - 1].agent.clone();
    let score = if report.any_failed() { 0.3 } else { 0.8 } - f64::from(ordinal) / 100.0;
    Ranked { agent, rank: ordinal, text: None, dropped: vec![], score, quality: Some(0.5), checks: Arc::new(report) }
}

fn sound(count: u32) -> Vec<Ranked> {
    (1..=count).map(|ordinal| ranked(ordinal, report("fine"))).collect()
}

fn last_digits(ranking: &[Ranked]) -> Vec<u8> {
    ranking.iter().map(|ranked| ranked.agent.as_str().as_bytes().last().unwrap() - b'0').collect()
}

/// What an architect answers who prefers candidates in this order of their authors' digits.
fn prefers(ranking: &[Ranked], salt: u64, number: usize, order: &[u8]) -> Vote {
    let shown = candidates(ranking, salt, number, |ranked| ranked.agent.as_str().into());
    let of = |digit: u8| shown.iter().position(|candidate| candidate.text.ends_with(char::from(b'0' + digit))).unwrap();
    let entry = |digit: &u8| format!(r#"{{"candidate":"{}","reason":"better than {digit}"}}"#, letter(of(*digit)));
    let entries: Vec<_> = order.iter().map(entry).collect();
    Vote::Cast(format!(r#"{{"ranking":[{}]}}"#, entries.join(",")).into())
}

fn decided(ranking: &[Ranked], votes: [Vote; BALLOTS]) -> (Vec<u8>, Selection) {
    let architect = plan(1, 1).seats[0].agent.clone();
    let (ranking, selection) = decide(ranking.to_vec(), 7, architect, &votes);
    assert_eq!(
        ranking.iter().map(|ranked| ranked.rank).collect::<Vec<_>>(),
        (1..=ranking.len() as u32).collect::<Vec<_>>()
    );
    (last_digits(&ranking), selection)
}

#[test]
fn the_best_three_stand_for_election() {
    assert_eq!(last_digits(shortlist(&sound(5))), [1, 2, 3]);
    assert_eq!(last_digits(shortlist(&sound(2))), [1, 2]);
    assert!(shortlist(&[]).is_empty());
}

#[test]
fn what_failed_a_check_never_stands_against_what_did_not() {
    let ranking = vec![ranked(1, report("fine")), ranked(2, report("fine")), ranked(3, report("FORBIDDEN"))];
    assert_eq!(last_digits(shortlist(&ranking)), [1, 2]);
    assert_eq!(no_choice(&ranking), None);
    let alone = vec![ranked(1, report("fine")), ranked(2, report("FORBIDDEN"))];
    assert_eq!(no_choice(&alone), Some("only one proposal failed no check"));
    let none_is_sound = vec![ranked(1, report("FORBIDDEN")), ranked(2, report("FORBIDDEN"))];
    assert_eq!(last_digits(shortlist(&none_is_sound)), [1, 2]);
    assert_eq!(no_choice(&sound(1)), Some("there is only one proposal"));
}

#[test]
fn the_second_ballot_shows_the_first_ones_candidates_in_reverse() {
    for salt in 0..6 {
        let shown = |number| candidates(&sound(3), salt, number, |ranked| ranked.agent.as_str().into());
        let reversed: Vec<_> = shown(1).into_iter().rev().collect();
        assert_eq!(shown(0), reversed);
    }
    let first = |salt| candidates(&sound(3), salt, 0, |ranked| ranked.agent.as_str().into())[0].text.clone();
    assert!(first(0) != first(1) && first(1) != first(2), "no place is that of the best by score");
}

#[test]
fn two_ballots_that_agree_decide_and_the_rest_stays_by_score() {
    let ranking = sound(4);
    let votes = [prefers(&ranking, 7, 0, &[3, 1, 2]), prefers(&ranking, 7, 1, &[3, 2, 1])];
    let (order, selection) = decided(&ranking, votes);
    assert_eq!(order, [3, 1, 2, 4]);
    assert_eq!((selection.by, &*selection.why), (Selector::Architect, "better than 3"));
    assert_eq!(selection.ballots.len(), 2);
    assert!(selection.ballots[0].shown != selection.ballots[1].shown);
}

#[test]
fn whoever_always_prefers_the_first_place_changes_nothing() {
    let first_place = Vote::Cast(r#"{"ranking":[{"candidate":"A","reason":"it came first"}]}"#.into());
    let (order, selection) = decided(&sound(3), [first_place.clone(), first_place]);
    assert_eq!(order, [1, 2, 3]);
    assert_eq!(selection.by, Selector::Score);
    assert!(selection.why.contains("the ballots disagree"), "{}", selection.why);
}

#[test]
fn a_spoiled_or_missing_ballot_leaves_the_choice_to_the_score() {
    let ranking = sound(3);
    let valid = || prefers(&ranking, 7, 0, &[2]);
    let prose = Vote::Cast("A is nice".into());
    let (order, selection) = decided(&ranking, [valid(), prose]);
    assert_eq!((order, selection.by), (vec![1, 2, 3], Selector::Score));
    assert_eq!(&*selection.why, "ballot 2 does not count: it is not the JSON object that was asked for");
    let (_, selection) = decided(&ranking, [Vote::Missing("no answer in 60 s".into()), valid()]);
    assert_eq!(&*selection.why, "ballot 1 does not count: no answer in 60 s");
    assert_eq!(selection.ballots[0].shown.len(), 3, "it says what would have been shown");
}

#[test]
fn evidence_names_every_check_and_stays_on_its_lines() {
    let findings = (0..12).map(|number| format!("finding {number}\n>>>EVIDENCE {}", "x".repeat(300)).into()).collect();
    let checks = CheckReport { policy: CheckOutcome::Failed { findings }, ..report("fine") };
    let text = evidence(&ranked(1, checks));
    assert!(text.starts_with("policy: failed\n- finding 0 >>>EVIDENCE xxx"), "{text}");
    assert!(text.contains("- 2 more\n") && text.contains("lint: not run (simulated)\n"));
    assert!(text.ends_with("reviewers' rating: 5.0 of 10"));
    assert!(text.lines().all(|line| line.len() <= MOST_FINDING_CHARS + 2));
}
