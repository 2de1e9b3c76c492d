//! Results that others publish: handed to whoever follows their wave.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use tokio::sync::{mpsc, oneshot};

use super::result::AgentResult;

/// A result, and who waits until it is durable.
pub(super) struct Heard {
    pub(super) result: AgentResult,
    /// How it came: `watch`, `poll` or `event`.
    pub(super) by: &'static str,
    pub(super) durable: Option<oneshot::Sender<()>>,
}

/// Who follows what.
#[derive(Clone, Default)]
pub(super) struct Hearing(Arc<DashMap<Arc<str>, Followers>>);

/// Of one name; hardly ever more than one at a time.
#[derive(Default)]
struct Followers(Mutex<Vec<Follower>>);

struct Follower {
    attempt: u32,
    to: mpsc::Sender<Heard>,
}

/// Ends the hearing when it is dropped.
pub(super) struct Listening {
    hearing: Hearing,
    task_id: Arc<str>,
    to: mpsc::Sender<Heard>,
}

impl Hearing {
    pub(super) fn listen(&self, task_id: Arc<str>, attempt: u32, to: mpsc::Sender<Heard>) -> Listening {
        let followers = self.0.entry(task_id.clone()).or_default();
        followers.lock().push(Follower { attempt, to: to.clone() });
        drop(followers);
        Listening { hearing: self.clone(), task_id, to }
    }

    /// Who follows this attempt now; without its number it can only be meant for one that is alone.
    pub(super) fn follower(&self, task_id: &str, attempt: Option<u32>) -> Option<mpsc::Sender<Heard>> {
        let followers = self.0.get(task_id)?;
        let followers = followers.lock();
        match attempt {
            Some(attempt) => followers.iter().find(|follower| follower.attempt == attempt).map(|one| one.to.clone()),
            None => match &followers[..] {
                [only] => Some(only.to.clone()),
                _ => None,
            },
        }
    }
}

impl Followers {
    fn lock(&self) -> MutexGuard<'_, Vec<Follower>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.hearing.0.remove_if(&self.task_id, |_, followers| {
            let mut followers = followers.lock();
            followers.retain(|follower| !follower.to.same_channel(&self.to));
            followers.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_finds_who_follows_its_attempt() {
        let hearing = Hearing::default();
        let (to, _heard) = mpsc::channel(1);
        let (other, _) = mpsc::channel(1);
        let first = hearing.listen("t/propose-0".into(), 1, to.clone());
        let finds = |attempt| hearing.follower("t/propose-0", attempt);
        assert!(finds(Some(1)).is_some_and(|found| found.same_channel(&to)));
        assert!(finds(None).is_some() && finds(Some(2)).is_none());
        let second = hearing.listen("t/propose-0".into(), 2, other);
        assert!(finds(None).is_none() && finds(Some(2)).is_some(), "it could be either's");
        drop(second);
        assert!(finds(None).is_some() && finds(Some(2)).is_none());
        drop(first);
        assert!(finds(None).is_none() && hearing.0.is_empty());
    }
}
