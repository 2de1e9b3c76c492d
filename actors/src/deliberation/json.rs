//! The JSON object that an answer is, also inside a code fence.

use serde::Deserialize;

/// `None` when the answer is anything else.
pub(crate) fn object<'t, T: Deserialize<'t>>(answer: &'t str) -> Option<T> {
    let trimmed = answer.trim();
    let body = match trimmed.strip_prefix("```") {
        Some(fenced) => {
            let after_info = fenced.split_once('\n').map_or(fenced, |(_, rest)| rest);
            after_info.rsplit_once("```").map_or(after_info, |(inside, _)| inside).trim()
        }
        None => trimmed,
    };
    if !body.starts_with('{') {
        return None;
    }
    serde_json::from_str(body).ok()
}
