//! Requests that tests send, and what they look for in the answers.

use std::collections::{BTreeMap, BTreeSet};

use moothall::grpc::proto::fleet::orchestrator::v1::{DeliberateRequest, DeliberationResult, TaskConstraints};

/// A small task for council DEV. An empty id: nobody can find it again.
pub(super) fn task(id: &str) -> DeliberateRequest {
    DeliberateRequest {
        task_id: id.to_owned(),
        task_description: format!("parse a duration such as 1h30m (variant {id})"),
        role: "DEV".to_owned(),
        ..Default::default()
    }
}

pub(super) fn with_metadata(request: DeliberateRequest, key: &str, value: &str) -> DeliberateRequest {
    let metadata = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    DeliberateRequest { constraints: Some(TaskConstraints { metadata, ..Default::default() }), ..request }
}

pub(super) fn authors(results: &[DeliberationResult]) -> BTreeSet<&str> {
    results.iter().filter_map(|result| result.proposal.as_ref()).map(|proposal| proposal.author_id.as_str()).collect()
}

/// Every text, older ones too, is one that the simulator says: none was invented.
pub(super) fn assert_texts_are_the_models(results: &[DeliberationResult]) {
    for proposal in results.iter().filter_map(|result| result.proposal.as_ref()) {
        for text in proposal.revisions.iter().chain([&proposal.content]) {
            assert!(text.contains("This is what I call the ") && text.trim_end().ends_with(" way."), "{text:?}");
        }
    }
}
