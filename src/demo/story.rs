//! What the demo ends with.

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

impl Summary {
    /// The sentence that the demo is about.
    #[must_use]
    pub fn promise(&self) -> String {
        match (self.repeated, self.asked_again) {
            (Some(repeated), Some(again)) => {
                format!(
                    "{repeated} finished calls repeated, {again} in flight asked again (counted at the model server)"
                )
            }
            _ => {
                "finished calls are in the journal and were not asked again (a real model server does not count)".into()
            }
        }
    }
}
