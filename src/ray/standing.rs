//! How the executor stands, told by the exchanges that were made anyway: nobody is asked for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::trouble::Trouble;

/// How the executor stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RayState {
    Healthy,
    /// Its waves wait for it.
    Away {
        why: Arc<str>,
    },
}

/// What the last exchange said of it.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<Last>);

#[derive(Debug, Default)]
enum Last {
    #[default]
    Unused,
    Answered,
    Away {
        since: Instant,
        why: Arc<str>,
    },
}

impl Standing {
    /// `None` = it was not used yet.
    pub(super) fn state(&self) -> Option<RayState> {
        match &*self.lock() {
            Last::Unused => None,
            Last::Answered => Some(RayState::Healthy),
            Last::Away { why, .. } => Some(RayState::Away { why: why.clone() }),
        }
    }

    /// For how long it has been away now.
    pub(super) fn away_for(&self) -> Duration {
        match &*self.lock() {
            Last::Away { since, .. } => since.elapsed(),
            Last::Unused | Last::Answered => Duration::ZERO,
        }
    }

    pub(super) fn answered(&self, executor: &str) {
        let mut last = self.lock();
        if matches!(*last, Last::Away { .. }) {
            tracing::info!(executor, "the executor answers again");
        }
        *last = Last::Answered;
    }

    pub(super) fn tell<T>(&self, outcome: &Result<T, Trouble>, executor: &str) {
        let Err(Trouble::Away(what)) = outcome else { return self.answered(executor) };
        let mut last = self.lock();
        let since = match &*last {
            Last::Away { since, .. } => *since,
            Last::Unused | Last::Answered => {
                tracing::warn!(executor, why = %what, "the executor is away: its waves wait for it");
                Instant::now()
            }
        };
        *last = Last::Away { since, why: what.as_str().into() };
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_away_since_the_first_exchange_that_failed_in_a_row() {
        let standing = Standing::default();
        assert_eq!((standing.state(), standing.away_for()), (None, Duration::ZERO));
        let away = |what: &str| Err::<(), _>(Trouble::Away(what.into()));
        standing.tell(&away("gone"), "a");
        tokio::time::advance(Duration::from_secs(3)).await;
        standing.tell(&away("still gone"), "a");
        assert_eq!(standing.away_for(), Duration::from_secs(3));
        assert_eq!(standing.state(), Some(RayState::Away { why: "still gone".into() }));
        standing.tell(&Err::<(), _>(Trouble::Busy("full".into())), "a");
        assert_eq!((standing.state(), standing.away_for()), (Some(RayState::Healthy), Duration::ZERO));
    }
}
