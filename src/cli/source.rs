//! Where `journal` reads: the daemon, or a store's file. Both answer in the words of the wire.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use moothall_actors::domain::event::Recorded;
use moothall_actors::domain::id::{RunId, StreamId, TaskId, Timestamp};
use moothall_actors::ports::JournalError;
use tokio_stream::StreamExt as _;
use uuid::Uuid;

use super::daemon::Daemon;
use super::exit::{Exit, Failure};
use crate::grpc::past::{self, Kept, Streams};
use crate::grpc::proto::moothall::v1::{
    BackupRequest, BackupResponse, GetVerdictRequest, JournalEvent, PruneRequest, PruneResponse, ReadRequest,
    StateAtRequest, StateAtResponse, StatsRequest, StatsResponse, VerdictDocument, VerifyRequest, VerifyResponse,
};
use crate::grpc::verdict;
use crate::store::{
    DatabaseUrl, EventQuery, PruneOrder, Pruned, SqliteJournal, StoreOptions, StoreReader, StoredEvent, before,
};

/// Events read from a file at once.
const PAGE: usize = 512;

pub(crate) enum Source {
    Daemon(Daemon),
    Store(StoreReader),
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    /// Exclusive; 0 = all that are kept, over the gaps that pruning left.
    pub(crate) after: i64,
    /// Inclusive; `None` = to the end.
    pub(crate) until: Option<i64>,
    /// Prefix of the stream's name.
    pub(crate) stream: String,
    pub(crate) types: Vec<String>,
    /// Of this time or later, and of earlier ones, in milliseconds; `None` = no bound.
    pub(crate) since: Option<i64>,
    pub(crate) before: Option<i64>,
    pub(crate) follow: bool,
}

impl Source {
    pub(crate) async fn open(store: Option<&str>, server: &str) -> Result<Self, Failure> {
        match store {
            Some(store) => Ok(Self::Store(SqliteJournal::open_read_only(&file(store)?)?)),
            None => Ok(Self::Daemon(Daemon::connect(server).await?)),
        }
    }

    /// Hands on every event in order.
    pub(crate) async fn each(
        &self,
        query: &Query,
        mut take: impl FnMut(JournalEvent) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let is_beyond = |event: &JournalEvent| query.until.is_some_and(|until| event.seq > until);
        match self {
            Self::Daemon(daemon) => {
                let request = ReadRequest {
                    after_seq: query.after,
                    limit: 0,
                    stream_prefix: query.stream.clone(),
                    types: query.types.clone(),
                    follow: query.follow,
                    since_ms: query.since.unwrap_or_default(),
                    until_ms: query.before.unwrap_or_default(),
                };
                let mut events = daemon.journal().read(request).await?.into_inner();
                while let Some(event) = events.next().await.transpose()?.filter(|event| !is_beyond(event)) {
                    take(event)?;
                }
                Ok(())
            }
            Self::Store(_) if query.follow => Err(Failure::usage("--follow needs a daemon; leave --store out")),
            Self::Store(store) => read(store, query, take).await,
        }
    }

    /// What a run came to; `run` 0 = the last one.
    pub(crate) async fn verdict(&self, task: &str, run: i32) -> Result<VerdictDocument, Failure> {
        match self {
            Self::Daemon(daemon) => {
                let request = GetVerdictRequest { task_id: task.to_owned(), run };
                Ok(daemon.journal().get_verdict(request).await?.into_inner())
            }
            Self::Store(store) => {
                let (run, events) = run_of(store, task, run).await?;
                let begun = verdict::document(&run, &events);
                begun.ok_or_else(|| Failure::new(Exit::NO_INPUT, format!("run {run} is not in this store")))
            }
        }
    }

    /// What something was at an earlier place.
    pub(crate) async fn state(&self, request: StateAtRequest) -> Result<StateAtResponse, Failure> {
        match self {
            Self::Daemon(daemon) => Ok(daemon.journal().state_at(request).await?.into_inner()),
            Self::Store(store) => Ok(past::state_at(store, &request).await?),
        }
    }

    pub(crate) async fn stats(&self) -> Result<StatsResponse, Failure> {
        match self {
            Self::Daemon(daemon) => Ok(daemon.journal().stats(StatsRequest {}).await?.into_inner()),
            Self::Store(store) => {
                let (stats, kept) = (store.stats().await?, store.retained().await?);
                let millis = |at: Option<Timestamp>| at.map(|at| long(at.0)).unwrap_or_default();
                Ok(StatsResponse {
                    first_seq: long(stats.first_seq),
                    last_seq: long(stats.last_seq),
                    events: long(stats.events),
                    streams: long(stats.streams),
                    tasks: long(stats.tasks),
                    open_tasks: long(stats.open_tasks),
                    bytes: long(stats.bytes),
                    first_kept: long(kept.first_kept),
                    oldest_at_ms: millis(kept.oldest),
                    tombstones: long(kept.tombstones),
                    last_prune_at_ms: millis(kept.last_prune),
                    last_prune_tasks: long(kept.last_tasks),
                })
            }
        }
    }

    pub(crate) async fn verify(&self) -> Result<VerifyResponse, Failure> {
        match self {
            Self::Daemon(daemon) => Ok(daemon.journal().verify(VerifyRequest {}).await?.into_inner()),
            Self::Store(store) => {
                let report = store.verify().await?;
                let sound = report.is_sound();
                Ok(VerifyResponse { sound, events: long(report.events), problems: report.first_problems })
            }
        }
    }

    pub(crate) async fn backup(&self, name: String) -> Result<BackupResponse, Failure> {
        match self {
            Self::Daemon(daemon) => Ok(daemon.journal().backup(BackupRequest { file_name: name }).await?.into_inner()),
            Self::Store(store) => {
                let last_seq = store.stats().await?.last_seq;
                let name = if name.is_empty() { format!("moothall-{last_seq}.db") } else { name };
                store.backup(Path::new(&name)).await?;
                let bytes = tokio::fs::metadata(&name).await?.len();
                Ok(BackupResponse { file_name: name, bytes: long(bytes), last_seq: long(last_seq) })
            }
        }
    }
}

/// The events of a run, from a file.
async fn run_of(store: &StoreReader, task: &str, run: i32) -> Result<(RunId, Vec<Recorded>), Failure> {
    let task = TaskId::parse("TASK", task).map_err(|problem| Failure::usage(problem.to_string()))?;
    let Some(row) = store.task(&task).await? else {
        return Err(Failure::new(Exit::NO_INPUT, format!("task {task} is not in this store")));
    };
    let run = RunId { task, run: u32::try_from(run).ok().filter(|run| *run > 0).unwrap_or(row.run) };
    let events = whole(store, &StreamId::deliberation(&run)).await?;
    Ok((run, events))
}

/// One stream to its end, from a file.
async fn whole(store: &StoreReader, stream: &StreamId) -> Result<Vec<Recorded>, JournalError> {
    let mut events: Vec<Recorded> = Vec::new();
    loop {
        let page = store.stream(stream, events.last().map_or(0, |last| last.version), PAGE).await?;
        let is_last = page.len() < PAGE;
        events.extend(page);
        if is_last {
            return Ok(events);
        }
    }
}

#[async_trait]
impl Streams for StoreReader {
    async fn whole(&self, stream: &StreamId) -> Result<Vec<Recorded>, JournalError> {
        whole(self, stream).await
    }

    async fn was_pruned(&self, task: &TaskId) -> Result<bool, JournalError> {
        Ok(self.tombstone(task).await?.is_some())
    }

    async fn kept(&self) -> Result<Kept, JournalError> {
        let retained = self.retained().await?;
        Ok(Kept { first: retained.first_kept, oldest: retained.oldest })
    }
}

/// Asks the daemon to prune, or does it in a store that no daemon has.
pub(crate) async fn prune(
    store: Option<&str>,
    server: &str,
    age: Option<Duration>,
    dry_run: bool,
) -> Result<PruneResponse, Failure> {
    let Some(store) = store else {
        let older_than_seconds = age.map(|age| long(age.as_secs()));
        let request = PruneRequest { older_than_seconds, dry_run };
        return Ok(Daemon::connect(server).await?.journal().prune(request).await?.into_inner());
    };
    let age = age.ok_or_else(|| Failure::usage("with --store, --older-than must say how old the tasks are that go"))?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let order = PruneOrder::older_than(age, Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)));
    let path = file(store)?;
    if !path.exists() || dry_run {
        let tasks = StoreReader::open(&path)?.prunable(before(order.now, age)).await?;
        return Ok(PruneResponse { tasks: long(tasks), ..PruneResponse::default() });
    }
    let journal = SqliteJournal::open(&path, StoreOptions::default())?;
    let pruned = journal.prune(&order).await;
    journal.close().await;
    let Pruned { tasks, events, tombstones, bytes, .. } = pruned?;
    Ok(PruneResponse { tasks: long(tasks), events: long(events), tombstones: long(tombstones), bytes: long(bytes) })
}

async fn read(
    store: &StoreReader,
    query: &Query,
    mut take: impl FnMut(JournalEvent) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let time = |at: Option<i64>| at.map(|at| Timestamp(u64::try_from(at).unwrap_or_default()));
    let mut events = EventQuery {
        after_seq: u64::try_from(query.after).unwrap_or_default(),
        limit: PAGE,
        stream_prefix: query.stream.clone(),
        kinds: query.types.clone(),
        since: time(query.since),
        until: time(query.before),
        gaps: query.after == 0,
    };
    loop {
        let page = store.select(events.clone()).await?;
        let Some(last) = page.last() else { return Ok(()) };
        events.after_seq = last.seq;
        let is_last = page.len() < PAGE || query.until.is_some_and(|until| long(events.after_seq) >= until);
        let wanted = |event: &StoredEvent| query.until.is_none_or(|until| long(event.seq) <= until);
        page.into_iter().filter(wanted).try_for_each(|event| take(wire(event)))?;
        if is_last {
            return Ok(());
        }
    }
}

fn wire(event: StoredEvent) -> JournalEvent {
    let id = |id: moothall_actors::domain::id::EventId| Uuid::from_bytes(id.0).to_string();
    JournalEvent {
        seq: long(event.seq),
        event_id: id(event.id),
        stream: event.stream.to_string(),
        version: long(event.version),
        r#type: event.kind,
        schema: i32::try_from(event.schema).unwrap_or(i32::MAX),
        at_ms: long(event.at.0),
        correlation_id: event.correlation.as_deref().unwrap_or_default().to_owned(),
        causation_id: event.causation.map(id).unwrap_or_default(),
        payload: event.payload.into(),
    }
}

pub(crate) fn file(store: &str) -> Result<PathBuf, Failure> {
    if !store.contains("://") {
        return Ok(PathBuf::from(store));
    }
    match DatabaseUrl::parse("--store", store) {
        Ok(DatabaseUrl::File(path)) => Ok(path),
        Ok(DatabaseUrl::Memory) => Err(Failure::new(Exit::NO_INPUT, "a store in memory is gone with its daemon")),
        Err(problem) => Err(Failure::usage(problem.to_string())),
    }
}

fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
