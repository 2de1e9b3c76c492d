//! How the service stands, told by the calls that were made anyway: nobody is asked for it.

use std::sync::{Arc, Mutex, PoisonError};

use super::trouble::Trouble;

/// How the service stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextState {
    Healthy,
    /// Tasks go on without context.
    Degraded {
        why: Arc<str>,
    },
}

/// What the last call that said anything of the service said of it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    last: Mutex<Option<ContextState>>,
}

impl Standing {
    /// `None` = no call has ended yet.
    pub(super) fn state(&self) -> Option<ContextState> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn tell<T>(&self, outcome: &Result<T, Trouble>, address: &str) {
        let state = match outcome {
            // It is there and answers, if not this query.
            Err(trouble) if trouble.is_outage => ContextState::Degraded { why: trouble.what.as_str().into() },
            Ok(_) | Err(_) => ContextState::Healthy,
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let was_degraded = matches!(*last, Some(ContextState::Degraded { .. }));
        match &state {
            ContextState::Degraded { why } if !was_degraded => {
                tracing::warn!(address, %why, "the context service is degraded: tasks go on without context");
            }
            ContextState::Healthy if was_degraded => tracing::info!(address, "the context service answers again"),
            ContextState::Degraded { .. } | ContextState::Healthy => {}
        }
        *last = Some(state);
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn the_last_call_decides() {
        let standing = Standing::default();
        let failed = |status: &Status| Err::<(), _>(Trouble::of(status, 9));
        assert_eq!(standing.state(), None);
        standing.tell(&failed(&Status::unavailable("starting")), "a");
        let why = "status UNAVAILABLE: starting".into();
        assert_eq!(standing.state(), Some(ContextState::Degraded { why }));
        standing.tell(&Ok(()), "a");
        assert_eq!(standing.state(), Some(ContextState::Healthy));
    }

    #[test]
    fn a_story_that_is_not_known_says_nothing_against_the_service() {
        let standing = Standing::default();
        standing.tell(&Err::<(), _>(Trouble::of(&Status::not_found("no such story"), 9)), "a");
        assert_eq!(standing.state(), Some(ContextState::Healthy));
    }
}
