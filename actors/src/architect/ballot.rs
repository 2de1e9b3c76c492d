//! A ballot as the architect filled it in: an order of letters with reasons, or why it does not count.

use std::sync::Arc;

use serde::Deserialize;

use crate::deliberation::json;
use crate::domain::id::AgentId;
use crate::domain::verdict::Ballot;

/// Longest reason that is kept, in characters: it is one sentence.
const MOST_REASON: usize = 500;

#[derive(Deserialize)]
struct Filled {
    ranking: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    candidate: String,
    #[serde(default)]
    reason: String,
}

/// The letter of a place in the shown order.
pub(crate) fn letter(place: usize) -> char {
    char::from(b'A' + u8::try_from(place % 26).unwrap_or_default())
}

/// Reads an answer to a ballot that showed these candidates.
pub(crate) fn read(answer: &str, shown: Vec<AgentId>) -> Ballot {
    match ranking(answer, &shown) {
        Ok((ranking, reasons)) => Ballot { shown, ranking, reasons, spoiled: None },
        Err(why) => Ballot { shown, spoiled: Some(why.into()), ..Ballot::default() },
    }
}

fn ranking(answer: &str, shown: &[AgentId]) -> Result<(Vec<AgentId>, Vec<Arc<str>>), String> {
    let filled: Filled = json::object(answer).ok_or("it is not the JSON object that was asked for")?;
    let (mut ranking, mut reasons) = (Vec::with_capacity(shown.len()), Vec::with_capacity(shown.len()));
    for entry in filled.ranking {
        let named = entry.candidate.trim();
        let place = (0..shown.len()).find(|&place| named.len() == 1 && named.starts_with(letter(place)));
        let Some(place) = place else { return Err(off_the_list(named, shown.len())) };
        if ranking.contains(&shown[place]) {
            return Err(format!("it ranks candidate {named} twice"));
        }
        ranking.push(shown[place].clone());
        reasons.push(entry.reason.chars().take(MOST_REASON).collect::<String>().into());
    }
    if ranking.is_empty() {
        return Err("it ranks nobody".to_owned());
    }
    Ok((ranking, reasons))
}

fn off_the_list(named: &str, candidates: usize) -> String {
    let shown: String = named.chars().take(32).collect();
    format!("it names candidate {shown:?}; allowed are A to {}", letter(candidates.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Role;

    fn shown() -> Vec<AgentId> {
        let role = Role::parse("role", "DEV").unwrap();
        (1..=3).map(|ordinal| AgentId::of_council(&role, ordinal)).collect()
    }

    fn spoiled(answer: &str) -> String {
        read(answer, shown()).spoiled.unwrap().to_string()
    }

    #[test]
    fn letters_stand_for_the_order_that_was_shown() {
        let ballot = read(r#"{"ranking":[{"candidate":"C","reason":"right"},{"candidate":"A"}]}"#, shown());
        assert_eq!(ballot.ranking, [shown()[2].clone(), shown()[0].clone()]);
        assert_eq!(ballot.reasons, [Arc::from("right"), Arc::from("")]);
        assert_eq!(ballot.spoiled, None);
    }

    #[test]
    fn a_fenced_answer_counts() {
        assert!(read("```json\n{\"ranking\":[{\"candidate\":\"B\"}]}\n```", shown()).spoiled.is_none());
    }

    #[test]
    fn a_choice_outside_the_shortlist_never_counts() {
        assert_eq!(spoiled(r#"{"ranking":[{"candidate":"D"}]}"#), "it names candidate \"D\"; allowed are A to C");
        assert!(spoiled(r#"{"ranking":[{"candidate":"agent-dev-001"}]}"#).contains("agent-dev-001"));
        assert!(spoiled(r#"{"ranking":[{"candidate":""}]}"#).contains("allowed are A to C"));
    }

    #[test]
    fn prose_doubles_and_nobody_are_spoiled() {
        assert!(spoiled("I like A best.").contains("not the JSON object"));
        assert!(spoiled(r#"{"ranking":[{"candidate":"A"},{"candidate":"A"}]}"#).contains("twice"));
        assert!(spoiled(r#"{"ranking":[]}"#).contains("nobody"));
    }

    #[test]
    fn an_endless_reason_is_cut() {
        let answer = format!(r#"{{"ranking":[{{"candidate":"A","reason":"{}"}}]}}"#, "ä".repeat(5_000));
        assert_eq!(read(&answer, shown()).reasons[0].chars().count(), MOST_REASON);
    }
}
