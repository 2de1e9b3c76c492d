//! What the architect decides: who stands for election, in which order, and who won. Pure.

use std::fmt::Write as _;
use std::sync::Arc;

use super::ballot;
use super::message::Paper;
use crate::deliberation::prompt::{Candidate as Shown, Derived, PromptError};
use crate::domain::check::CheckOutcome;
use crate::domain::council::Endpoint;
use crate::domain::id::AgentId;
use crate::domain::verdict::{Ballot, Ranked, Selection, Selector};
use crate::ports::{AnswerForm, ModelCall};

/// Votes over one shortlist: the second shows it in reverse.
pub(crate) const BALLOTS: usize = 2;
/// Most candidates: each one's whole text stands in the prompt.
const MOST_CANDIDATES: usize = 3;
/// Most findings of one check that are shown, and the longest one in characters.
const MOST_FINDINGS: usize = 10;
const MOST_FINDING_CHARS: usize = 200;
/// A judge is not meant to be inventive.
const TEMPERATURE: f32 = 0.0;

/// One who stands for election, without a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) text: Arc<str>,
    pub(crate) evidence: String,
}

/// What became of one ballot.
#[derive(Clone, Debug)]
pub(crate) enum Vote {
    Cast(Arc<str>),
    /// Why there is none.
    Missing(Arc<str>),
}

/// The best by score, as long as their evidence is equally sound: what failed a check never stands against what did not.
pub(crate) fn shortlist(ranking: &[Ranked]) -> &[Ranked] {
    let sound = ranking.first().is_some_and(|first| !first.checks.any_failed());
    let equal = ranking.iter().take_while(|ranked| ranked.checks.any_failed() != sound);
    &ranking[..equal.count().min(MOST_CANDIDATES)]
}

/// Why there is nothing to choose; `None` = there is.
pub(crate) fn no_choice(ranking: &[Ranked]) -> Option<&'static str> {
    match shortlist(ranking).len() {
        0 | 1 if ranking.len() > 1 => Some("only one proposal failed no check"),
        0 | 1 => Some("there is only one proposal"),
        _ => None,
    }
}

/// The shortlist as ballot `number`, from 0, shows it. The first begins where the salt says, so that no place is that of
/// the best by score.
fn order(candidates: usize, salt: u64, number: usize) -> Vec<usize> {
    let first = usize::try_from(salt % candidates.max(1) as u64).unwrap_or_default();
    let mut order: Vec<usize> = (0..candidates).map(|place| (first + place) % candidates).collect();
    if number % 2 == 1 {
        order.reverse();
    }
    order
}

/// The candidates of one ballot, in the order in which it shows them; `text` finds the text of an author.
pub(crate) fn candidates(
    ranking: &[Ranked],
    salt: u64,
    number: usize,
    text: impl Fn(&Ranked) -> Arc<str>,
) -> Vec<Candidate> {
    let shortlist = shortlist(ranking);
    let shown = order(shortlist.len(), salt, number).into_iter().map(|place| &shortlist[place]);
    shown.map(|ranked| Candidate { text: text(ranked), evidence: evidence(ranked) }).collect()
}

/// What is known of a proposal, in a few lines.
fn evidence(ranked: &Ranked) -> String {
    let mut text = String::new();
    for (name, outcome) in ranked.checks.named() {
        let _ = match outcome {
            CheckOutcome::Passed => writeln!(text, "{name}: passed"),
            CheckOutcome::NotRun { why } => writeln!(text, "{name}: not run ({why})"),
            CheckOutcome::Failed { findings } => write!(text, "{name}: failed\n{}", listed(findings)),
        };
    }
    match ranked.quality {
        Some(quality) => {
            let _ = write!(text, "reviewers' rating: {:.1} of 10", quality * 10.0);
        }
        None => text.push_str("reviewers' rating: none"),
    }
    text
}

fn listed(findings: &[Arc<str>]) -> String {
    let line = |finding: &Arc<str>| -> String {
        let shown: String = finding.chars().take(MOST_FINDING_CHARS).map(plain).collect();
        format!("- {shown}\n")
    };
    let mut text: String = findings.iter().take(MOST_FINDINGS).map(line).collect();
    if findings.len() > MOST_FINDINGS {
        let _ = writeln!(text, "- {} more", findings.len() - MOST_FINDINGS);
    }
    text
}

/// A finding stays on its line.
fn plain(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

/// The call that a ballot is; the same paper gives the same bytes.
pub(crate) fn call(paper: Paper) -> Result<(AgentId, ModelCall), PromptError> {
    let Paper { plan, prompts, candidates, call, most_attempts } = paper;
    let derived = Derived::of(plan.salt, &call);
    let lettered = candidates.into_iter().enumerate().map(|(place, candidate)| Shown {
        letter: ballot::letter(place),
        text: candidate.text,
        evidence: candidate.evidence,
    });
    let ask = prompts.select(&derived.nonce, lettered.collect())?;
    let seat = plan.architect.as_ref();
    let sampling = seat.map(|seat| seat.sampling.clone()).unwrap_or_default();
    let model_call = ModelCall {
        endpoint: seat.map_or(Endpoint::Pool, |seat| seat.endpoint.asked_alone()),
        model: seat.map(|seat| seat.model.clone()).unwrap_or_default(),
        shared: plan.prefix.clone(),
        ask: ask.into(),
        form: AnswerForm::Ballot,
        temperature: sampling.temperature.or(Some(TEMPERATURE)),
        top_p: sampling.top_p,
        seed: Some(sampling.seed.unwrap_or(derived.seed)),
        max_tokens: sampling.max_tokens,
        room: 1,
        timeout: plan.call_timeout,
        most_attempts,
        id: call,
    };
    Ok((model_call.id.agent.clone(), model_call))
}

/// Counts the votes: two that agree on the first decide; otherwise the score does, and it is said why.
pub(crate) fn decide(ranking: Vec<Ranked>, salt: u64, architect: AgentId, votes: &[Vote]) -> (Vec<Ranked>, Selection) {
    let ballots: Vec<Ballot> =
        votes.iter().enumerate().map(|(number, vote)| read(&ranking, salt, number, vote)).collect();
    let architect = Some(architect);
    let (by, why, ranking) = match agreed(&ballots) {
        Ok((winner, reason)) => (Selector::Architect, reason, with_first(ranking, &winner)),
        Err(why) => (Selector::Score, why, ranking),
    };
    (ranking, Selection { by, why, architect, ballots })
}

fn read(ranking: &[Ranked], salt: u64, number: usize, vote: &Vote) -> Ballot {
    let shortlist = shortlist(ranking);
    let shown = order(shortlist.len(), salt, number).into_iter().map(|place| shortlist[place].agent.clone()).collect();
    match vote {
        Vote::Cast(answer) => ballot::read(answer, shown),
        Vote::Missing(why) => Ballot { shown, spoiled: Some(why.clone()), ..Ballot::default() },
    }
}

/// The winner of both ballots and why, or why there is none.
fn agreed(ballots: &[Ballot]) -> Result<(AgentId, Arc<str>), Arc<str>> {
    let spoiled = |(number, ballot): (usize, &Ballot)| Some((number + 1, ballot.spoiled.clone()?));
    if let Some((number, why)) = ballots.iter().enumerate().find_map(spoiled) {
        return Err(format!("ballot {number} does not count: {why}").into());
    }
    let mut firsts = ballots.iter().filter_map(|ballot| ballot.ranking.first());
    let Some(winner) = firsts.next() else { return Err("nobody voted".into()) };
    if firsts.any(|other| other != winner) {
        return Err("the ballots disagree: with the order reversed another candidate came first".into());
    }
    let reason = ballots.iter().filter_map(|ballot| ballot.reasons.first()).find(|reason| !reason.trim().is_empty());
    Ok((winner.clone(), reason.cloned().unwrap_or_else(|| "both ballots put it first".into())))
}

/// The winner first, the others by score.
fn with_first(ranking: Vec<Ranked>, winner: &AgentId) -> Vec<Ranked> {
    let (first, rest): (Vec<_>, Vec<_>) = ranking.into_iter().partition(|ranked| ranked.agent == *winner);
    (1..).zip(first.into_iter().chain(rest)).map(|(rank, ranked)| Ranked { rank, ..ranked }).collect()
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
