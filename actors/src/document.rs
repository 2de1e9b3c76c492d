//! A run as one document: what was decided, by whom, on which evidence. It is a fold over the run's events and nothing
//! else, so that any copy of the journal tells the same story.

use std::sync::Arc;

use crate::deliberation::critique::{Critique, Structured};
use crate::deliberation::json;
use crate::deliberation::record::{End, Record};
use crate::domain::answer::Class;
use crate::domain::event::{Event, Plan, Recorded};
use crate::domain::id::{AgentId, CallId, Stage, Timestamp};
use crate::domain::verdict::{Finding, Outcome};

/// How the run stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    Open,
    Completed(Arc<Outcome>),
    Failed { class: Class, message: Arc<str> },
    Cancelled { reason: Arc<str> },
}

/// One review that counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Review {
    pub round: u8,
    pub reviewer: AgentId,
    pub author: AgentId,
    /// 0 ≤ quality < 1; `None` = no rating was given.
    pub quality: Option<f64>,
    /// Prose is the summary as a whole.
    pub summary: Arc<str>,
    pub findings: Vec<Finding<'static>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub plan: Arc<Plan>,
    pub standing: Standing,
    /// In the order of rounds and arrival.
    pub reviews: Vec<Review>,
    pub started_at: Timestamp,
    /// Of the last event.
    pub last_at: Timestamp,
    /// Finished calls so far, when there is no verdict to say it.
    pub calls: u32,
}

impl Document {
    /// `None` when the events are not those of a run from its start.
    #[must_use]
    pub fn of(events: &[Recorded]) -> Option<Self> {
        let (first, rest) = events.split_first()?;
        let Event::DeliberationStarted(plan) = &first.event.event else { return None };
        let mut record = Record::new(plan.clone(), first.event.at);
        let mut reviews = Vec::new();
        for recorded in rest {
            let review = review(&record, &recorded.event.event);
            record.take_in(&recorded.event.event, recorded.event.at);
            // One that broke its form is asked for again: the last one counts.
            if let Some(review) = review {
                reviews.retain(|other: &Review| (other.round, &other.reviewer) != (review.round, &review.reviewer));
                reviews.push(review);
            }
        }
        let standing = standing(&record)?;
        let (started_at, last_at, calls) = (first.event.at, record.last_at, record.calls);
        Some(Self { plan: plan.clone(), standing, reviews, started_at, last_at, calls })
    }

    /// What speaks against the winner: serious findings of its last review, ballots that put another first.
    #[must_use]
    pub fn dissent(&self) -> Vec<String> {
        let Standing::Completed(outcome) = &self.standing else { return Vec::new() };
        let Some(winner) = outcome.verdict.winner() else { return Vec::new() };
        let last = self.reviews.iter().rfind(|review| review.author == winner.agent);
        let findings = last.into_iter().flat_map(|review| {
            let serious = review.findings.iter().filter(|finding| finding.is_serious());
            serious.map(|finding| format!("{} found a {}: {}", review.reviewer, finding.severity, finding.claim))
        });
        let ballots = (1..).zip(&outcome.verdict.selection.ballots).filter_map(|(number, ballot)| {
            let first = ballot.ranking.first().filter(|first| **first != winner.agent)?;
            Some(format!("ballot {number} of the architect put {first} first"))
        });
        findings.chain(ballots).collect()
    }
}

/// `None` = it has a verdict that does not fit its events.
pub(crate) fn standing(record: &Record) -> Option<Standing> {
    Some(match &record.end {
        None => Standing::Open,
        Some(End::Verdict(_)) => Standing::Completed(Arc::new(record.outcome()?)),
        Some(End::Failed { class, message }) => Standing::Failed { class: *class, message: message.clone() },
        Some(End::Cancelled { reason }) => Standing::Cancelled { reason: reason.clone() },
    })
}

/// The review that an event is, before the record has taken it in.
fn review(record: &Record, event: &Event) -> Option<Review> {
    let Event::CallAnswered { call, answer, .. } = event else { return None };
    let CallId { wave, agent: reviewer, .. } = call;
    if wave.stage != Stage::Critique {
        return None;
    }
    let author = record.plan.seats[record.reviewed_by(record.open_seat(call)?)?].agent.clone();
    let quality = Critique::read(&answer.text).quality;
    let (summary, findings) = match json::object::<Structured<'_>>(&answer.text) {
        Some(structured) => {
            let findings = structured.findings.into_iter().map(Finding::into_owned);
            (structured.summary.into(), findings.collect())
        }
        None => (answer.text.clone(), Vec::new()),
    };
    Some(Review { round: wave.round, reviewer: reviewer.clone(), author, quality, summary, findings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliberation::table::{Table, answer, chosen_by_architect, plan, usual};
    use crate::past::recorded;

    #[test]
    fn the_document_of_the_journal_says_what_clients_were_told() {
        let mut table = Table::begun(chosen_by_architect(plan(3, 1)));
        table.finish();
        let document = Document::of(&recorded(&table.log)).unwrap();
        assert_eq!(document.standing, Standing::Completed(table.outcome()));
        let ring: Vec<_> = document.reviews.iter().map(|review| (&review.reviewer, &review.author)).collect();
        let agents: Vec<_> = document.plan.seats.iter().map(|seat| &seat.agent).collect();
        assert_eq!(ring, [(agents[0], agents[1]), (agents[1], agents[2]), (agents[2], agents[0])]);
        assert_eq!(document.reviews[2].quality, Some(0.3));
        assert_eq!(document.dissent().len(), 1, "the ballots disagreed: {:?}", document.dissent());
    }

    #[test]
    fn serious_findings_against_the_winner_are_dissent() {
        let mut table = Table::begun(plan(2, 1));
        table.wave();
        let finding = r#"{"summary":"s","findings":[{"claim":"no tests","severity":"major"},{"claim":"a","severity":"nit"}],"ratings":[{"rating":9}]}"#;
        for _ in 0..2 {
            table.reply(|_| Ok(answer(finding)));
        }
        table.acknowledge_all();
        table.finish();
        let document = Document::of(&recorded(&table.log)).unwrap();
        assert_eq!(document.dissent(), ["agent-dev-002 found a major: no tests"]);
    }

    #[test]
    fn an_open_run_and_a_cancelled_one_say_how_they_stand() {
        let mut table = Table::begun(plan(2, 1));
        table.reply(|ask| Ok(usual(&ask.call)));
        table.acknowledge_all();
        let open = Document::of(&recorded(&table.log)).unwrap();
        assert_eq!((open.standing, open.calls), (Standing::Open, 1));
        table.take(crate::deliberation::Input::CancelAsked { reason: "enough".into() });
        table.acknowledge_all();
        let cancelled = Document::of(&recorded(&table.log)).unwrap();
        assert_eq!(cancelled.standing, Standing::Cancelled { reason: "enough".into() });
        assert_eq!(Document::of(&recorded(&table.log)[1..]), None, "no start");
    }
}
