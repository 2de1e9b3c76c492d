//! `moothall.v1.JournalService`: reads the journal and looks after it.

use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{Stream, stream};
use moothall_actors::domain::event::{Event, Recorded};
use moothall_actors::domain::id::{RunId, StreamId, TaskId, Timestamp};
use moothall_actors::ports::{Journal, JournalError, whole_stream};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::deadline::Deadline;
use super::door::Door;
use super::guard::Guarded;
use super::number::{int, long};
use super::orchestrator::parsed;
use super::past;
use super::proto::moothall::v1 as wire;
use super::proto::moothall::v1::journal_service_server::JournalService;
use super::prune::{self, PruneError, Pruned, Retained, Wish};
use super::verdict;
use crate::error::{Kind, journal_status, refuse, status};
use crate::http::Stage;

/// Events read at once: one page is all that a reader holds.
pub(super) const PAGE: usize = 64;
/// How soon a following reader sees what was written to a journal that does not tell of it.
const FOLLOW_PAUSE: Duration = Duration::from_millis(100);
/// The least between two looks of one that is told: a busy journal has news a thousand times a second.
const LEAST_PAUSE: Duration = Duration::from_millis(5);
const MAX_PROBLEMS: usize = 100;
const MAX_FILE_NAME_BYTES: usize = 128;

/// Which events to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Exclusive.
    pub after_seq: u64,
    /// Most events looked at or found, at least 1.
    pub limit: usize,
    /// Of the stream's name; empty = all.
    pub stream_prefix: String,
    /// Of [`Event::KINDS`]; empty = all.
    pub types: Vec<String>,
    /// Inclusive; `None` = from the first.
    pub since: Option<Timestamp>,
    /// Exclusive; `None` = to the last.
    pub until: Option<Timestamp>,
    /// Whether what there is is wanted, over the gaps that pruning left.
    pub gaps: bool,
}

impl EventQuery {
    /// Whether an event is asked for.
    #[must_use]
    pub fn takes(&self, event: &Recorded) -> bool {
        let of_type = self.types.is_empty() || self.types.iter().any(|kind| kind == event.event.event.kind());
        let at = event.event.at;
        let in_time = self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until);
        of_type && in_time && event.stream.as_str().starts_with(&self.stream_prefix)
    }
}

/// Some events, and where to read on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventPage {
    pub events: Vec<Recorded>,
    /// Everything up to here was looked at.
    pub next_after: u64,
    /// Nothing stood after it.
    pub end: bool,
}

/// What reading everything back found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    pub events: u64,
    /// Empty = sound.
    pub problems: Vec<String>,
}

/// A copy that was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backup {
    pub bytes: u64,
    pub last_seq: u64,
}

/// Why no copy was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    #[error("a backup named {0} exists")]
    Exists(String),
    /// The store has no folder for backups, or is not on disk.
    #[error("backups are not possible: {0}")]
    NotPossible(Arc<str>),
    #[error("the backup failed: {0}")]
    Failed(Arc<str>),
}

/// What the daemon's store can do beyond the actor system's port.
#[async_trait]
pub trait JournalAdmin: Journal {
    /// Reads from all streams in order. This way works over any journal; a store that can filter by itself does.
    async fn select(&self, query: &EventQuery) -> Result<EventPage, JournalError> {
        let read = self.read(query.after_seq, query.limit).await?;
        let end = read.len() < query.limit;
        let next_after = read.last().map_or(query.after_seq, |event| event.seq);
        Ok(EventPage { events: read.into_iter().filter(|event| query.takes(event)).collect(), next_after, end })
    }

    /// Returns when there is something behind this place, or when it is time to look.
    async fn news(&self, after_seq: u64) {
        let _ = after_seq;
        tokio::time::sleep(FOLLOW_PAUSE).await;
    }

    /// Reads everything back.
    async fn verify(&self) -> Result<Verification, JournalError>;

    /// What pruning left; nothing, where nothing is ever pruned.
    async fn retained(&self) -> Result<Retained, JournalError> {
        Ok(Retained::default())
    }

    /// Prunes now; see [`wire::PruneRequest`].
    async fn prune(&self, wish: Wish) -> Result<Pruned, PruneError> {
        let _ = wish;
        Err(PruneError::NotPossible("this journal keeps everything".into()))
    }

    /// Copies the whole store into its backup folder. `file_name` is a plain name, see [`wire::BackupRequest`].
    async fn backup(&self, file_name: &str) -> Result<Backup, BackupError>;
}

pub(super) struct JournalDoor {
    pub(super) door: Door,
    pub(super) journal: Arc<dyn JournalAdmin>,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl JournalService for JournalDoor {
    type ReadStream = Guarded<wire::JournalEvent>;

    async fn read(&self, request: Request<wire::ReadRequest>) -> Answer<Self::ReadStream> {
        let deadline = request.extensions().get::<Deadline>().copied();
        let message = request.into_inner();
        let (query, left) = query(&message)?;
        let cursor = Cursor { left, ..Cursor::new(&self.door, &self.journal, query, message.follow) };
        Ok(Response::new(self.door.guards.guard(deadline, cursor.events(shown).await?)))
    }

    async fn stats(&self, _: Request<wire::StatsRequest>) -> Answer<wire::StatsResponse> {
        let stats = self.journal.stats().await.map_err(|error| journal_status(&error))?;
        let retained = self.journal.retained().await.map_err(|error| journal_status(&error))?;
        Ok(Response::new(prune::stats(&stats, &retained)))
    }

    async fn prune(&self, request: Request<wire::PruneRequest>) -> Answer<wire::PruneResponse> {
        let wish = prune::wish(request.get_ref())?;
        let pruned = self.journal.prune(wish).await.map_err(|error| prune::refused(&error))?;
        Ok(Response::new(prune::answer(&pruned)))
    }

    async fn verify(&self, _: Request<wire::VerifyRequest>) -> Answer<wire::VerifyResponse> {
        let Verification { events, mut problems } = self.journal.verify().await.map_err(|e| journal_status(&e))?;
        let sound = problems.is_empty();
        problems.truncate(MAX_PROBLEMS);
        Ok(Response::new(wire::VerifyResponse { sound, events: long(events), problems }))
    }

    async fn get_verdict(&self, request: Request<wire::GetVerdictRequest>) -> Answer<wire::VerdictDocument> {
        let message = request.into_inner();
        let (task, run) = parsed(|problems| {
            let run = u32::try_from(message.run);
            if run.is_err() {
                problems.push("run", format!("is {}; allowed are 0 (the last one) and above", message.run));
            }
            Some((problems.keep(TaskId::parse("task_id", &message.task_id))?, run.ok()?))
        })?;
        let last = self.door.system.task(&task).await.map_err(|error| status(&error))?.row.run;
        let run = RunId { run: if run == 0 { last } else { run }, task };
        if run.run > last {
            return Err(refuse(Kind::NotFound, &format!("task {} has {last} runs", run.task)));
        }
        let stream = StreamId::deliberation(&run);
        let events = whole_stream(&*self.journal, &stream).await.map_err(|error| journal_status(&error))?;
        let document = verdict::document(&run, &events);
        document.map(Response::new).ok_or_else(|| refuse(Kind::WrongState, &format!("run {run} has not begun")))
    }

    async fn state_at(&self, request: Request<wire::StateAtRequest>) -> Answer<wire::StateAtResponse> {
        past::state_at(&*self.journal, request.get_ref()).await.map(Response::new)
    }

    async fn backup(&self, request: Request<wire::BackupRequest>) -> Answer<wire::BackupResponse> {
        let mut file_name = parsed(|problems| {
            let name = request.into_inner().file_name;
            if !name.is_empty() && !is_plain_name(&name) {
                let shown = crate::error::cut(&name, 64);
                let rule = format!("is {shown:?}; allowed is a plain name, [A-Za-z0-9][A-Za-z0-9._-]{{0,127}}");
                problems.push("file_name", rule);
            }
            Some(name)
        })?;
        if file_name.is_empty() {
            let stats = self.journal.stats().await.map_err(|error| journal_status(&error))?;
            file_name = format!("moothall-{}.db", stats.last_seq);
        }
        let made = self.journal.backup(&file_name).await.map_err(|error| not_made(&error))?;
        Ok(Response::new(wire::BackupResponse { file_name, bytes: long(made.bytes), last_seq: long(made.last_seq) }))
    }
}

fn not_made(error: &BackupError) -> Status {
    let kind = match error {
        BackupError::Exists(_) => Kind::Exists,
        BackupError::NotPossible(_) => Kind::WrongState,
        BackupError::Failed(_) => Kind::Unavailable,
    };
    refuse(kind, &error.to_string())
}

/// One component, nothing that a shell or a file system reads as more than a name.
fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let mut components = Path::new(name).components();
    name.len() <= MAX_FILE_NAME_BYTES
        && name.bytes().all(plain)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
}

/// The query for one page, and how many events the reader wants.
pub(super) fn query(message: &wire::ReadRequest) -> Result<(EventQuery, u64), Status> {
    parsed(|problems| {
        let mut number = |field: &str, given: i64| {
            u64::try_from(given).unwrap_or_else(|_| {
                problems.push(field, format!("is {given}; allowed are 0 and above"));
                0
            })
        };
        let after_seq = number("after_seq", message.after_seq);
        let limit = number("limit", message.limit);
        let mut time = |field, given| Some(Timestamp(number(field, given))).filter(|time| time.0 > 0);
        let (since, until) = (time("since_ms", message.since_ms), time("until_ms", message.until_ms));
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            problems.push("until_ms", format!("is {}; allowed is a time after since_ms, {}", until.0, since.0));
        }
        if until.is_some() && message.follow {
            problems.push("until_ms", "has an end, and follow has none; allowed is one of them");
        }
        for (place, kind) in message.types.iter().enumerate().filter(|(_, kind)| !Event::KINDS.contains(&kind.as_str()))
        {
            let shown = crate::error::cut(kind, 64);
            problems.push(
                format!("types[{place}]"),
                format!("{shown:?} is no event; there are: {}", Event::KINDS.join(", ")),
            );
        }
        let (stream_prefix, types) = (message.stream_prefix.clone(), message.types.clone());
        let left = if limit == 0 { u64::MAX } else { limit };
        let gaps = after_seq == 0;
        Some((EventQuery { after_seq, limit: PAGE, stream_prefix, types, since, until, gaps }, left))
    })
}

/// A reader's place in the journal.
pub(super) struct Cursor {
    journal: Arc<dyn JournalAdmin>,
    query: EventQuery,
    left: u64,
    follow: bool,
    stage: watch::Receiver<Stage>,
    page: std::vec::IntoIter<Recorded>,
    end: bool,
    read_at: Instant,
}

impl Cursor {
    pub(super) fn new(door: &Door, journal: &Arc<dyn JournalAdmin>, query: EventQuery, follow: bool) -> Self {
        let (journal, stage) = (journal.clone(), door.readiness.subscribe());
        Self {
            journal,
            query,
            left: u64::MAX,
            follow,
            stage,
            page: Vec::new().into_iter(),
            end: false,
            read_at: Instant::now(),
        }
    }

    /// The first page is read before it answers, so that a pruned place is the call's error.
    pub(super) async fn events<T: Send + 'static>(
        mut self,
        shown: fn(Recorded) -> Result<T, Status>,
    ) -> Result<impl Stream<Item = Result<T, Status>> + Send + 'static, Status> {
        self.turn().await.map_err(|error| journal_status(&error))?;
        Ok(stream::unfold(Some(self), move |cursor| async move {
            let mut cursor = cursor?;
            match cursor.next().await.and_then(|event| event.map(shown).transpose()) {
                Ok(event) => Some((Ok(event?), Some(cursor))),
                Err(status) => Some((Err(status), None)),
            }
        }))
    }

    async fn next(&mut self) -> Result<Option<Recorded>, Status> {
        while self.left > 0 {
            if let Some(event) = self.page.next() {
                self.left -= 1;
                return Ok(Some(event));
            }
            if self.end {
                if !self.follow {
                    return Ok(None);
                }
                self.pause().await?;
            }
            self.turn().await.map_err(|error| journal_status(&error))?;
        }
        Ok(None)
    }

    async fn turn(&mut self) -> Result<(), JournalError> {
        self.read_at = Instant::now();
        let page = self.journal.select(&self.query).await?;
        self.query.after_seq = page.next_after;
        self.page = page.events.into_iter();
        self.end = page.end;
        Ok(())
    }

    /// A daemon that drains waits for its streams: one without an end must end itself.
    async fn pause(&mut self) -> Result<(), Status> {
        let news = async {
            tokio::time::sleep_until(self.read_at + LEAST_PAUSE).await;
            self.journal.news(self.query.after_seq).await;
        };
        tokio::select! {
            biased;
            _ = self.stage.wait_for(|&stage| stage == Stage::Draining) => {
                Err(Status::unavailable("the daemon is stopping"))
            }
            () = news => Ok(()),
        }
    }
}

fn shown(recorded: Recorded) -> Result<wire::JournalEvent, Status> {
    let Recorded { seq, stream, version, schema, event } = recorded;
    let payload = event.event.encode().map_err(|error| refuse(Kind::Internal, &error.to_string()))?;
    Ok(wire::JournalEvent {
        seq: long(seq),
        event_id: event.id.to_string(),
        stream: stream.to_string(),
        version: long(version),
        r#type: event.event.kind().to_owned(),
        schema: int(schema),
        at_ms: long(event.at.0),
        correlation_id: event.correlation.as_deref().unwrap_or_default().to_owned(),
        causation_id: event.causation.map(|id| id.to_string()).unwrap_or_default(),
        payload: payload.into(),
    })
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
