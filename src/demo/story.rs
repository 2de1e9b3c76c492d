//! What the demo ends with.

use serde::Serialize;

use crate::grpc::proto::fleet::orchestrator::v1::DeliberateResponse;

/// The answer, and what the model server counted.
#[derive(Clone, Debug)]
pub struct Summary {
    pub answer: DeliberateResponse,
    /// Finished calls that were made a second time; `None` = a real model server, which does not count.
    pub repeated: Option<usize>,
    /// Calls that were in flight when the daemon died, and were asked again.
    pub asked_again: Option<usize>,
    /// Calls that had finished when the daemon died.
    pub finished_before: Option<u64>,
}

/// One line of the ranking.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    pub rank: i32,
    pub agent: String,
    pub score: f64,
    pub checks: &'static str,
    pub reviewers: String,
}

impl Summary {
    /// The sentence that the demo is about.
    #[must_use]
    pub fn promise(&self) -> String {
        match (self.repeated, self.asked_again) {
            (Some(repeated), Some(again)) => format!(
                "{repeated} finished calls repeated, {again} in flight asked again (counted at the model server)"
            ),
            _ => "finished calls are in the journal and were not asked again (a real model server does not count)"
                .to_owned(),
        }
    }

    /// Best first.
    #[must_use]
    pub fn ranking(&self) -> Vec<Place> {
        let tags = self.answer.metadata.as_ref().map(|metadata| &metadata.tags);
        let place = |result: &crate::grpc::proto::fleet::orchestrator::v1::DeliberationResult| {
            let agent = result.proposal.as_ref().map(|proposal| proposal.author_id.clone()).unwrap_or_default();
            let rating = tags.and_then(|tags| tags.get(&format!("quality.{agent}")));
            let passed = result.checks.as_ref().and_then(|checks| checks.policy.as_ref()).map(|policy| policy.passed);
            Place {
                rank: result.rank,
                score: result.score,
                checks: match passed {
                    Some(true) => "policy passed; lint and dry-run not run",
                    Some(false) => "policy failed or not run",
                    None => "not run",
                },
                reviewers: rating.map_or_else(|| "no rating".to_owned(), |rating| format!("rated {rating}")),
                agent,
            }
        };
        self.answer.results.iter().map(place).collect()
    }

    /// One of the answer's tags, or a dash.
    #[must_use]
    pub fn tag(&self, name: &str) -> &str {
        let tags = self.answer.metadata.as_ref().map(|metadata| &metadata.tags);
        tags.and_then(|tags| tags.get(name)).map_or("-", String::as_str)
    }

    /// The winner's text.
    #[must_use]
    pub fn winner(&self) -> &str {
        let first = self.answer.results.first().and_then(|result| result.proposal.as_ref());
        first.map_or("", |proposal| &proposal.content)
    }
}
