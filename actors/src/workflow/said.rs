//! What was said with a wish, and what is made of it: results, edited artifacts.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::id::Timestamp;
use crate::domain::json::Json;
use crate::domain::workflow::{Artifact, FinalApproval, Transition};

/// The output of the last phase, and how it was approved.
pub(super) fn result(artifact: &Artifact, step: &Transition, now: Timestamp) -> Json {
    #[derive(Serialize)]
    struct Whole<'a> {
        output: &'a Json,
        approval: FinalApproval,
    }
    let approval = FinalApproval {
        trigger: step.trigger,
        actor: step.actor.clone(),
        reason: step.reason.clone(),
        phase_result: step.metadata.clone(),
        artifact_hash: artifact.hash.clone(),
        at: now,
    };
    Json::of(&Whole { output: &artifact.content, approval }).unwrap_or_else(|_| artifact.content.clone())
}

/// The artifact with the approver's text in the place of its own; `None` = it says the same.
pub(super) fn edited(current: &Artifact, content: Value) -> Option<Arc<Artifact>> {
    let mut whole = Said::of(Some(&current.content));
    let is_same = match whole.0.get_mut("content") {
        Some(own) if *own == content => true,
        Some(own) => {
            *own = content.clone();
            false
        }
        None => current.content.read::<Value>().is_ok_and(|own| own == content),
    };
    if is_same {
        return None;
    }
    let content = if whole.0.contains_key("content") { Json::of(&whole.0) } else { Json::of(&content) };
    content.ok().map(|content| Arc::new(Artifact::of(content)))
}

/// The fields of an object; of anything else there are none.
pub(super) struct Said(pub(super) Map<String, Value>);

impl Said {
    pub(super) fn of(json: Option<&Json>) -> Self {
        Self(json.and_then(|json| json.read().ok()).unwrap_or_default())
    }

    /// The first of these that is a text.
    pub(super) fn text(&self, names: &[&str]) -> Option<Arc<str>> {
        names.iter().find_map(|name| self.0.get(*name)?.as_str()).map(Into::into)
    }

    pub(super) fn json(&self) -> Option<Json> {
        Some(&self.0).filter(|fields| !fields.is_empty()).and_then(|fields| Json::of(fields).ok())
    }
}
