//! A critique as its reviewer wrote it: structured findings where it kept to the form, prose where it did not.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use super::json;
use crate::domain::verdict::Finding;

/// Highest rating a reviewer can give.
const TOP_RATING: f64 = 10.0;
/// Quality stays below one, so that a score of one is never reached by praise.
const BEST_QUALITY: f64 = 0.999;

/// What a reviewer said of a proposal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Critique {
    /// For the author: findings as a list, or the prose itself.
    pub(crate) text: Arc<str>,
    /// Mean rating, 0 ≤ quality < 1; `None` when none was given.
    pub(crate) quality: Option<f64>,
    /// It set out to be JSON and is not: worth asking once more.
    pub(crate) broken: bool,
}

#[derive(Deserialize)]
pub(crate) struct Structured<'t> {
    #[serde(borrow, default)]
    pub(crate) summary: Cow<'t, str>,
    #[serde(borrow, default)]
    pub(crate) findings: Vec<Finding<'t>>,
    #[serde(default)]
    ratings: Vec<Rating>,
}

#[derive(Deserialize)]
struct Rating {
    rating: f64,
}

impl Critique {
    /// Reads an answer; prose is taken as it is.
    pub(crate) fn read(answer: &Arc<str>) -> Self {
        match json::object::<Structured<'_>>(answer) {
            Some(parsed) => {
                Self { text: parsed.for_author(answer.len()).into(), quality: parsed.quality(), broken: false }
            }
            None => {
                let begins = answer.trim_start();
                let broken = begins.starts_with('{') || begins.starts_with("```");
                Self { text: answer.clone(), quality: None, broken }
            }
        }
    }
}

impl Structured<'_> {
    fn quality(&self) -> Option<f64> {
        let rated: Vec<f64> = self.ratings.iter().map(|r| r.rating).filter(|rating| rating.is_finite()).collect();
        if rated.is_empty() {
            return None;
        }
        let mean = rated.iter().map(|rating| rating.clamp(0.0, TOP_RATING)).sum::<f64>() / rated.len() as f64;
        Some((mean / TOP_RATING).min(BEST_QUALITY))
    }

    /// `room`: of the answer that it was, which has about as much text.
    fn for_author(&self, room: usize) -> String {
        let mut text = String::with_capacity(room);
        text.push_str(&self.summary);
        for finding in &self.findings {
            let severity = if finding.severity.is_empty() { "finding" } else { &finding.severity };
            for part in ["\n- [", severity, "] ", &finding.claim] {
                text.push_str(part);
            }
            for (label, part) in [("; at ", &finding.location), ("; evidence: ", &finding.evidence)] {
                if !part.is_empty() {
                    text.push_str(label);
                    text.push_str(part);
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Critique {
        Critique::read(&Arc::from(text))
    }

    #[test]
    fn structured_findings_become_a_list_for_the_author() {
        let critique = read(
            r#"{"summary":"Misses minutes.","findings":[{"claim":"45m fails","location":"parse","evidence":"parse('45m') raises","severity":"major"}],
               "ratings":[{"requirement":1,"rating":6},{"requirement":0,"rating":4}]}"#,
        );
        assert_eq!(&*critique.text, "Misses minutes.\n- [major] 45m fails; at parse; evidence: parse('45m') raises");
        assert_eq!(critique.quality, Some(0.5));
    }

    #[test]
    fn a_fenced_object_is_read_too() {
        assert_eq!(
            read("```json\n{\"summary\":\"ok\",\"ratings\":[{\"rating\":10}]}\n```").quality,
            Some(BEST_QUALITY)
        );
    }

    #[test]
    fn prose_is_kept_and_never_broken() {
        let prose = "The proposal is fine, but {braces} matter.";
        assert_eq!(&*read(prose).text, prose);
        assert!(!read(prose).broken);
    }

    #[test]
    fn half_an_object_is_broken() {
        assert!(read("{\"summary\": \"cut of").broken);
        assert!(read("```json\n{\"summary\": ").broken);
        assert!(!read("{\"summary\": \"whole\"}").broken);
    }

    #[test]
    fn wild_ratings_are_clamped() {
        assert_eq!(read(r#"{"ratings":[{"rating":1e9},{"rating":-5}]}"#).quality, Some(0.5));
        assert_eq!(read(r#"{"ratings":[]}"#).quality, None);
    }
}
