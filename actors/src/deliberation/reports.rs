//! Brings what the checks found home, whatever becomes of them.

use ractor::ActorRef;
use tokio::time::error::Elapsed;

use super::message::Message;
use super::step::Input;
use crate::domain::check::CheckReport;

/// Told when it is dropped, also when the checks panicked: then nothing ran.
pub(super) struct Reports {
    pub(super) to: ActorRef<Message>,
    pub(super) count: usize,
    pub(super) outcome: Option<Result<Vec<CheckReport>, Elapsed>>,
}

impl Drop for Reports {
    fn drop(&mut self) {
        let input = match self.outcome.take() {
            Some(Err(_)) => Input::ChecksTimeUp,
            Some(Ok(reports)) if reports.len() == self.count => Input::Checked { reports },
            _ => Input::Checked { reports: vec![CheckReport::not_run(&"the checks broke down".into()); self.count] },
        };
        drop(self.to.cast(Message::Input(input)));
    }
}
