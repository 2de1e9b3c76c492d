//! The store as the services see it: the actors' port, and what an operator asks for.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use moothall_actors::domain::event::Recorded;
use moothall_actors::domain::id::{StreamId, TaskId, Timestamp};
use moothall_actors::domain::receipt::Receipt;
use moothall_actors::domain::workflow::{Workflow, WorkflowId, WorkflowType};
use moothall_actors::ports::{
    Ack, Batch, Cursor, Journal, JournalError, JournalHealth, JournalStats, Recovery, TaskQuery, TaskRow, WorkflowQuery,
};

use super::AppError;
use super::retention;
use crate::config::{RetentionConfig, StoreConfig};
use crate::grpc::{
    Backup, BackupError, EventPage, EventQuery, JournalAdmin, PruneError, Pruned, Retained, Verification, Wish,
};
use crate::store::{self, DatabaseUrl, FaultHook, FaultPoint, SqliteJournal, StoreError, StoreOptions};

/// Names a point at which the process is to die, for tests of recovery: `before_commit:17` = at the 17th time.
const FAULT_VARIABLE: &str = "MOOTHALL_FAULT_POINT";

pub(super) struct StoredJournal {
    store: Arc<SqliteJournal>,
    backups: PathBuf,
    retention: RetentionConfig,
}

impl StoredJournal {
    /// Opens the store; waits for the disk, not on a runtime thread.
    pub(super) async fn open(config: &StoreConfig, retention: RetentionConfig) -> Result<Self, AppError> {
        let url = config.url.clone();
        let options = StoreOptions { fault: fault()?, ..StoreOptions::default() };
        let opening = tokio::task::spawn_blocking(move || match url {
            DatabaseUrl::File(path) => SqliteJournal::open(&path, options),
            DatabaseUrl::Memory => SqliteJournal::temporary(),
        });
        let store = opening.await.map_err(|error| AppError::Server(error.to_string()))??;
        Ok(Self { store: Arc::new(store), backups: config.backups.clone(), retention })
    }

    pub(super) fn store(&self) -> Arc<SqliteJournal> {
        self.store.clone()
    }

    pub(super) async fn close(&self) {
        self.store.close().await;
    }
}

fn fault() -> Result<Option<FaultHook>, AppError> {
    let Ok(text) = std::env::var(FAULT_VARIABLE) else { return Ok(None) };
    let wrong = || AppError::Configuration(format!("{FAULT_VARIABLE} is {text:?}; allowed is point:count"));
    let (point, count) = text.split_once(':').ok_or_else(wrong)?;
    let point = FaultPoint::from_str(point).map_err(|_| wrong())?;
    let left: u64 = count.parse().map_err(|_| wrong())?;
    tracing::warn!(point = point.as_str(), left, "THE PROCESS WILL ABORT at this point of the journal");
    let left = Mutex::new(left);
    Ok(Some(Arc::new(move |reached| {
        if reached == point {
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            *left = left.saturating_sub(1);
            if *left == 0 {
                std::process::abort();
            }
        }
    })))
}

#[async_trait]
impl Journal for StoredJournal {
    fn submit(&self, batch: Batch, ack: Ack) {
        self.store.submit(batch, ack);
    }

    async fn stream(&self, stream: &StreamId, after_version: u64, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        self.store.stream(stream, after_version, limit).await
    }

    async fn read(&self, after_seq: u64, limit: usize) -> Result<Vec<Recorded>, JournalError> {
        self.store.read(after_seq, limit).await
    }

    async fn task(&self, task: &TaskId) -> Result<Option<TaskRow>, JournalError> {
        self.store.task(task).await
    }

    async fn tombstone(&self, task: &TaskId) -> Result<Option<TaskRow>, JournalError> {
        self.store.tombstone(task).await
    }

    async fn received(&self, receipt: &Receipt) -> Result<bool, JournalError> {
        self.store.received(receipt).await
    }

    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, JournalError> {
        self.store.cursor(name).await
    }

    async fn find(&self, tasks: &[TaskId]) -> Result<Vec<TaskRow>, JournalError> {
        self.store.find(tasks).await
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>, JournalError> {
        self.store.tasks(query).await
    }

    async fn workflow(&self, workflow: WorkflowId) -> Result<Option<Workflow>, JournalError> {
        self.store.workflow(workflow).await
    }

    async fn workflows(&self, query: &WorkflowQuery) -> Result<Vec<Workflow>, JournalError> {
        self.store.workflows(query).await
    }

    async fn waking(&self) -> Result<Vec<(WorkflowId, Timestamp)>, JournalError> {
        self.store.waking().await
    }

    async fn feature_numbers(&self) -> Result<Vec<(WorkflowType, u64)>, JournalError> {
        self.store.feature_numbers().await
    }

    async fn recovery(&self) -> Result<Recovery, JournalError> {
        self.store.recovery().await
    }

    async fn stats(&self) -> Result<JournalStats, JournalError> {
        self.store.stats().await
    }

    fn health(&self) -> JournalHealth {
        self.store.health()
    }
}

/// The same question in the store's words.
fn asked(query: &EventQuery) -> store::EventQuery {
    let EventQuery { after_seq, limit, stream_prefix, types, since, until, gaps } = query.clone();
    store::EventQuery { after_seq, limit, stream_prefix, kinds: types, since, until, gaps }
}

#[async_trait]
impl JournalAdmin for StoredJournal {
    async fn select(&self, query: &EventQuery) -> Result<EventPage, JournalError> {
        // Asked first: at the end of the page all events up to it were looked at, also those that did not match.
        let head = self.store.stats().await?.last_seq;
        let stored = self.store.reader().select(asked(query)).await?;
        let end = stored.len() < query.limit;
        let last = stored.last().map_or(query.after_seq, |event| event.seq);
        let next_after = if end { last.max(head) } else { last };
        let events = stored.into_iter().map(|event| event.decode()).collect::<Result<_, _>>();
        let events = events.map_err(|error| JournalError::Unusable(error.to_string().into()))?;
        Ok(EventPage { events, next_after, end })
    }

    async fn news(&self, after_seq: u64) {
        // A store that is lost has no more.
        if self.store.watch_head().wait_for(|head| *head > after_seq).await.is_err() {
            std::future::pending().await
        }
    }

    async fn verify(&self) -> Result<Verification, JournalError> {
        let report = self.store.verify().await?;
        Ok(Verification { events: report.events, problems: report.first_problems })
    }

    async fn retained(&self) -> Result<Retained, JournalError> {
        let crate::store::Retained { first_kept, oldest, tombstones, last_prune, last_tasks, .. } =
            self.store.reader().retained().await?;
        Ok(Retained { first_kept, oldest, tombstones, last_prune, last_tasks })
    }

    async fn prune(&self, wish: Wish) -> Result<Pruned, PruneError> {
        let order = retention::order(&self.retention, wish.older_than);
        let Some(ended_before) = order.ended_before else {
            let why = "finished tasks are kept for ever (retention.days is 0); say how old those are that may go";
            return Err(PruneError::NotPossible(why.into()));
        };
        if wish.dry_run {
            return Ok(Pruned { tasks: self.store.prunable(ended_before).await?, ..Pruned::default() });
        }
        let crate::store::Pruned { tasks, events, tombstones, bytes, .. } = self.store.prune(&order).await?;
        Ok(Pruned { tasks, events, tombstones, bytes })
    }

    async fn backup(&self, file_name: &str) -> Result<Backup, BackupError> {
        let failed = |error: std::io::Error| BackupError::Failed(error.to_string().into());
        tokio::fs::create_dir_all(&self.backups).await.map_err(failed)?;
        let to = self.backups.join(file_name);
        let last_seq =
            self.store.stats().await.map_err(|error| BackupError::Failed(error.to_string().into()))?.last_seq;
        match self.store.backup(&to).await {
            Ok(()) => {}
            Err(StoreError::Exists { .. }) => return Err(BackupError::Exists(file_name.to_owned())),
            Err(error) => return Err(BackupError::Failed(error.to_string().into())),
        }
        let bytes = tokio::fs::metadata(&to).await.map_err(failed)?.len();
        Ok(Backup { bytes, last_seq })
    }
}
