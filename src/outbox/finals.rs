//! How runs of a shared queue ended, told to others once for all daemons: whichever looks first publishes an end, under an
//! id that is the same for all, and takes it out of the queue's outbox.
//!
//! With each connection to the server of events it looks first whether its stream still holds what was told, since a server
//! that was set back has lost the last of it: that is told again (`lost.rs`).

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use moothall_actors::domain::ended::Ended;
use moothall_actors::ports::JournalError;
use moothall_actors::ports::shared::{Final, Published, SharedQueue, Unpublished};
use uuid::Uuid;

use super::ends::Of;
use super::facts::Facts;
use super::lost::{self, Trouble};
use crate::nats::{Body, Publication, Speaker, Unavailable};
use crate::store::SqliteJournal;

/// Ends in flight at once.
const AT_ONCE: usize = 64;
/// Between two looks at a queue that had none.
const LOOK: Duration = Duration::from_millis(250);
/// After something could not be had.
const PAUSE: Duration = Duration::from_secs(1);

/// Empties the queue's outbox until it is dropped.
pub struct Finals {
    queue: Arc<dyn SharedQueue>,
    facts: Facts,
    /// `None` = events are switched off, and nobody is told.
    speaker: Option<Speaker>,
    /// The connection whose stream was looked at.
    looked_at: u64,
}

impl Finals {
    #[must_use]
    pub fn new(queue: Arc<dyn SharedQueue>, store: Arc<SqliteJournal>, speaker: Speaker) -> Self {
        Self { queue, facts: Facts::new(store), speaker: Some(speaker), looked_at: 0 }
    }

    /// Events are switched off: nothing is kept for others.
    #[must_use]
    pub fn unheard(queue: Arc<dyn SharedQueue>, store: Arc<SqliteJournal>) -> Self {
        Self { queue, facts: Facts::new(store), speaker: None, looked_at: 0 }
    }

    pub async fn run(mut self) {
        loop {
            match self.round().await {
                Ok(0) => tokio::time::sleep(LOOK).await,
                Ok(_) => {}
                Err(trouble) => {
                    tracing::debug!(%trouble, "ends of runs wait to be told");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// How many are out. What went out before another one failed is said to be out all the same.
    async fn round(&mut self) -> Result<usize, Trouble> {
        let connection = self.connection()?;
        if connection != self.looked_at {
            self.tell_lost().await?;
            self.looked_at = connection;
        }
        let Unpublished { epoch, finals } = self.queue.unpublished(AT_ONCE).await?;
        let told = join_all(finals.iter().map(|end| self.tell(end))).await;
        let (mut out, mut trouble) = (Vec::new(), None);
        for (end, told) in finals.into_iter().zip(told) {
            match told {
                Ok(sequence) => out.push(Published { run: end.run, id: end.id, sequence }),
                Err(error) => trouble = Some(error),
            }
        }
        // Behind another connection may be a server that has lost them.
        if !out.is_empty() && self.connection()? == connection {
            self.queue.published(epoch, &out).await?;
        }
        trouble.map_or(Ok(out.len()), Err)
    }

    /// 0 = nobody is to be told.
    fn connection(&self) -> Result<u64, Unavailable> {
        let Some(speaker) = &self.speaker else { return Ok(0) };
        speaker.connection().ok_or_else(|| Unavailable::new("there is no connection to the server"))
    }

    async fn tell_lost(&self) -> Result<(), Trouble> {
        let Some(speaker) = &self.speaker else { return Ok(()) };
        let Some(held) = lost::behind(&*self.queue, speaker).await? else { return Ok(()) };
        let ends = self.queue.unpublish(held).await?;
        tracing::warn!(ends, "the stream of events was set back: ends of runs are told again");
        Ok(())
    }

    /// Where it stands then; 0 = nobody is told.
    async fn tell(&self, end: &Final) -> Result<u64, Trouble> {
        let Some(speaker) = &self.speaker else { return Ok(0) };
        let Some(ended) = Ended::read(&end.event) else {
            tracing::error!(run = %end.run, "an end is kept in words that are not understood, and is told to nobody");
            return Ok(0);
        };
        match self.publication(end, &ended).await? {
            Some(publication) => Ok(speaker.publish(&publication).await?),
            None => Ok(0),
        }
    }

    async fn publication(&self, end: &Final, ended: &Ended) -> Result<Option<Publication>, JournalError> {
        let millis = i64::try_from(ended.at.0).unwrap_or_default();
        let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
        let of = Of { run: &end.run, story: &ended.story, role: &ended.role, time };
        let Some(outgoing) = of.end(&ended.event, ended.checks_passed) else { return Ok(None) };
        let payload = outgoing.payload();
        let payload =
            payload.inspect_err(|error| tracing::error!(run = %end.run, %error, "an end cannot be published"));
        let Ok(payload) = payload else { return Ok(None) };
        let cause = self.facts.of_plan(&ended.plan).await?;
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        Ok(Some(Publication {
            seq: end.place,
            event_id: Uuid::from_bytes(end.id.0),
            subject: outgoing.subject().to_owned(),
            ordering_key: outgoing.ordering_key().to_owned(),
            body: Body::Event(payload),
            correlation_id: text(&cause.correlation_id).or_else(|| Some(end.run.task.to_string())),
            causation_id: text(&cause.event_id),
            traceparent: text(&cause.traceparent),
            time,
        }))
    }
}
