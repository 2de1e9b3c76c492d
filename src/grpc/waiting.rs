//! A task that nobody here works on, as whoever watches it sees it: its turn comes, or others carry its winner out.

use std::time::Duration;

use futures::{Stream, stream};
use moothall_actors::domain::id::TaskId;
use moothall_actors::error::SystemError;
use moothall_actors::view::TaskState;
use moothall_actors::{Attached, System};
use tokio::sync::watch;

use super::proto::moothall::v1 as wire;
use super::shown::executing;
use crate::http::Stage;

/// How soon whoever watches sees that something has changed.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// What comes of waiting.
pub(super) enum Turn {
    CarriedOut(Box<wire::TaskUpdate>),
    /// It is at work or has ended; with the updates that came before.
    Begun(Attached, u64),
}

struct Watcher {
    system: System,
    task: TaskId,
    stage: watch::Receiver<Stage>,
    last: Option<wire::TaskUpdate>,
    index: u64,
}

/// Ends with the turn of the task, or with an error. A daemon that drains waits for its streams: this one ends itself.
pub(super) fn turns(
    system: System,
    task: TaskId,
    stage: watch::Receiver<Stage>,
) -> impl Stream<Item = Result<Turn, SystemError>> + Send + 'static {
    let watcher = Watcher { system, task, stage, last: None, index: 0 };
    stream::unfold(Some(watcher), |watcher| async move {
        let mut watcher = watcher?;
        let turn = watcher.next().await;
        let goes_on = matches!(turn, Ok(Turn::CarriedOut(_)));
        Some((turn, goes_on.then_some(watcher)))
    })
}

impl Watcher {
    async fn next(&mut self) -> Result<Turn, SystemError> {
        loop {
            let view = self.system.task(&self.task).await?;
            if !matches!(view.state, TaskState::Waiting { .. }) {
                return Ok(Turn::Begun(self.system.attach(&self.task).await?, self.index));
            }
            if let Some(update) = executing(self.index + 1, &view).and_then(|update| self.news(update)) {
                return Ok(Turn::CarriedOut(Box::new(update)));
            }
            let draining = self.stage.wait_for(|&stage| stage == Stage::Draining);
            if tokio::time::timeout(LOOK_PAUSE, draining).await.is_ok() {
                return Err(SystemError::Unavailable("the daemon is stopping".into()));
            }
        }
    }

    /// `None` = it was said before. The percentage never falls, whatever an agent says.
    fn news(&mut self, mut update: wire::TaskUpdate) -> Option<wire::TaskUpdate> {
        let before = self.last.as_ref();
        update.progress_percent = update.progress_percent.max(before.map_or(0, |before| before.progress_percent));
        let is_same = before.is_some_and(|before| wire::TaskUpdate { index: update.index, ..before.clone() } == update);
        if is_same {
            return None;
        }
        self.index += 1;
        self.last = Some(update.clone());
        Some(update)
    }
}
