//! Whether the prompts of a run say what is known of its story, as journal and verdict tell it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How it stood with the context of a run's story when the run began. The text itself stands in the plan's prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Informed {
    /// It stands in every prompt.
    With {
        /// SHA-256 of the version that the context service named, in hexadecimal.
        version_hash: Arc<str>,
        tokens: u32,
    },
    /// The run goes on without it.
    Without { why: Arc<str> },
}
