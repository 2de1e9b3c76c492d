//! A stream that was set back holds what was told up to some place, and nothing behind it.

use async_trait::async_trait;
use moothall_actors::ports::JournalError;
use moothall_actors::ports::queue::QueueError;
use moothall_actors::ports::shared::{Published, SharedQueue};
use uuid::Uuid;

use crate::nats::{Speaker, Unavailable};

/// Why nothing goes out now; what waits is kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Server(#[from] Unavailable),
}

/// What the queue says to be out, and whether it still is.
#[async_trait]
trait Told: Sync {
    async fn before(&self, last: usize) -> Result<Option<Published>, Trouble>;
    async fn stands(&self, end: &Published) -> Result<bool, Trouble>;
}

struct Stream<'a>(&'a dyn SharedQueue, &'a Speaker);

#[async_trait]
impl Told for Stream<'_> {
    async fn before(&self, last: usize) -> Result<Option<Published>, Trouble> {
        Ok(self.0.published_before(last).await?)
    }

    async fn stands(&self, end: &Published) -> Result<bool, Trouble> {
        Ok(self.1.holds(end.sequence, Uuid::from_bytes(end.id.0)).await?)
    }
}

/// The place behind which what was told is lost; `None` = all of it stands there.
pub(super) async fn behind(queue: &dyn SharedQueue, speaker: &Speaker) -> Result<Option<u64>, Trouble> {
    search(&Stream(queue, speaker)).await
}

/// Back from the last in steps that double, then between the last two steps: few looks, however much there is.
async fn search(told: &dyn Told) -> Result<Option<u64>, Trouble> {
    let (mut lost, mut step) = (None, 0);
    // Counted from the last: those before `lost` are known to be lost, `step` is looked at.
    let (mut held, mut place) = loop {
        match told.before(step).await? {
            None => break (step, 0),
            Some(end) if told.stands(&end).await? => break (step, end.sequence),
            Some(_) => (lost, step) = (Some(step), step * 2 + 1),
        }
    };
    let Some(mut lost) = lost else { return Ok(None) };
    while held - lost > 1 {
        let middle = lost.midpoint(held);
        match told.before(middle).await? {
            Some(end) if !told.stands(&end).await? => lost = middle,
            end => (held, place) = (middle, end.map_or(0, |end| end.sequence)),
        }
    }
    Ok(Some(place))
}

#[cfg(test)]
mod tests {
    use moothall_actors::domain::id::{EventId, RunId, TaskId};

    use super::*;

    /// So many were told, in places of their own, and the stream ends at one.
    struct SetBack {
        places: Vec<u64>,
        end: u64,
    }

    #[async_trait]
    impl Told for SetBack {
        async fn before(&self, last: usize) -> Result<Option<Published>, Trouble> {
            let run = RunId { task: TaskId::parse("task", "t").unwrap(), run: 1 };
            let id = EventId([0; 16]);
            Ok(self.places.iter().rev().nth(last).map(|&sequence| Published { run, id, sequence }))
        }

        async fn stands(&self, end: &Published) -> Result<bool, Trouble> {
            Ok(end.sequence <= self.end)
        }
    }

    #[tokio::test]
    async fn it_finds_the_last_that_stands_wherever_the_stream_was_cut() {
        for many in 0..40 {
            let places: Vec<u64> = (1..=many).map(|place| place * 3).collect();
            for end in 0..=many * 3 {
                let expected = (end < many * 3).then_some(end / 3 * 3);
                let found = search(&SetBack { places: places.clone(), end }).await.unwrap();
                assert_eq!(found, expected, "{many} told, the stream ends at {end}");
            }
        }
    }
}
