//! Answers stay under what clients take: the oldest revisions go first, then the ends of texts, the worst
//! ranked before the winner's. A tag says what is missing; the journal has it all.

use std::collections::BTreeMap;

use prost::Message;

use super::codec::MAX_ANSWER_BYTES;
use super::proto::fleet::orchestrator::v1::DeliberationResult;

/// Left for everything in an answer that is not a result.
const ENVELOPE_BYTES: usize = 256 * 1024;
/// A cut text keeps at least this much.
const MIN_CONTENT_BYTES: usize = 16 * 1024;

/// Makes the results fit into one answer; they are ordered best first.
pub(super) fn fit(results: &mut [DeliberationResult], tags: &mut BTreeMap<String, String>) {
    fit_into(results, tags, MAX_ANSWER_BYTES - ENVELOPE_BYTES);
}

fn fit_into(results: &mut [DeliberationResult], tags: &mut BTreeMap<String, String>, room: usize) {
    let mut dropped = 0_u32;
    while size(results) > room && drop_oldest(results) {
        dropped += 1;
    }
    if dropped > 0 {
        tags.insert("revisions.dropped".to_owned(), dropped.to_string());
    }
    let mut cut = 0_u32;
    for place in (0..results.len()).rev() {
        let over = size(results).saturating_sub(room);
        if over == 0 {
            break;
        }
        cut += u32::from(shorten(&mut results[place], over));
    }
    if cut > 0 {
        tags.insert("contents.cut".to_owned(), cut.to_string());
    }
}

fn size(results: &[DeliberationResult]) -> usize {
    // The length of a nested message takes up to five bytes, its tag one.
    results.iter().map(|result| result.encoded_len() + 6).sum()
}

/// Who was revised most often has the oldest text; of equals the worst ranked one.
fn drop_oldest(results: &mut [DeliberationResult]) -> bool {
    let proposals = results.iter_mut().filter_map(|result| result.proposal.as_mut());
    match proposals.filter(|proposal| !proposal.revisions.is_empty()).max_by_key(|proposal| proposal.revisions.len()) {
        Some(proposal) => {
            proposal.revisions.remove(0);
            true
        }
        None => false,
    }
}

fn shorten(result: &mut DeliberationResult, over: usize) -> bool {
    let Some(proposal) = &mut result.proposal else {
        return false;
    };
    let before = proposal.content.len();
    if before <= MIN_CONTENT_BYTES {
        return false;
    }
    let keep = before.saturating_sub(over).max(MIN_CONTENT_BYTES);
    proposal.content = crate::error::cut(&proposal.content, keep);
    true
}

#[cfg(test)]
mod tests {
    use super::super::proto::fleet::orchestrator::v1::Proposal;
    use super::*;

    fn results(contents: &[usize], revisions: usize) -> Vec<DeliberationResult> {
        let one = |&bytes: &usize| DeliberationResult {
            proposal: Some(Proposal {
                content: "x".repeat(bytes),
                revisions: (0..revisions).map(|round| format!("{round}{}", "y".repeat(9_999))).collect(),
                ..Default::default()
            }),
            ..Default::default()
        };
        contents.iter().map(one).collect()
    }

    #[test]
    fn what_fits_is_left_alone() {
        let mut tags = BTreeMap::new();
        let mut given = results(&[1000, 1000], 2);
        let before = given.clone();
        fit(&mut given, &mut tags);
        assert_eq!((given, tags.len()), (before, 0));
    }

    #[test]
    fn the_oldest_revisions_go_first_from_the_worst_up() {
        let mut tags = BTreeMap::new();
        let mut given = results(&[1000, 1000], 3);
        fit_into(&mut given, &mut tags, 50_000);
        assert_eq!(tags["revisions.dropped"], "2");
        let first_left: Vec<_> =
            given.iter().map(|result| result.proposal.as_ref().unwrap().revisions[0].as_bytes()[0]).collect();
        assert_eq!(first_left, b"11");
    }

    #[test]
    fn the_worst_texts_are_cut_before_the_winner() {
        let mut tags = BTreeMap::new();
        let mut given = results(&[100_000, 100_000, 100_000], 1);
        fit_into(&mut given, &mut tags, 150_000);
        let lengths: Vec<_> = given.iter().map(|result| result.proposal.as_ref().unwrap().content.len()).collect();
        assert_eq!((lengths[0], lengths[2], tags["contents.cut"].as_str()), (100_000, MIN_CONTENT_BYTES, "2"));
        assert!(size(&given) <= 150_000);
    }

    #[test]
    fn the_largest_council_with_the_longest_answers_fits() {
        let mut tags = BTreeMap::new();
        let mut given = results(&[1024 * 1024; 32], 8);
        fit(&mut given, &mut tags);
        assert!(size(&given) <= MAX_ANSWER_BYTES - ENVELOPE_BYTES);
    }
}
