//! On the store: tasks are queued, or queued, claimed and completed, by some at once.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moothall_actors::NewTask;
use moothall_actors::domain::event::{Event, NewEvent};
use moothall_actors::domain::id::{AgentId, EventId, Role, StreamId, TaskId, Timestamp};
use moothall_actors::domain::queue::{Entry, OnDependencyFailure, Priority};
use moothall_actors::domain::task::TaskDraft;
use moothall_actors::ports::queue::{Claim, Report};
use moothall_actors::ports::{Append, Batch, Journal as _};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::super::BenchError;
use super::{Rate, failed};
use crate::app::{Bare, bare};
use crate::store::{SqliteJournal, StoreOptions};

/// Tasks of one call.
pub(super) const BATCH: usize = 64;
/// Callers at once, each with a role of its own.
const CALLERS: usize = 8;

/// Through the system, and then the same events committed by themselves.
pub(super) async fn enqueue(folder: &Path, tasks: usize) -> Result<Rate, BenchError> {
    let bare = Arc::new(bare(&folder.join("enqueue.db")).await.map_err(failed)?);
    let per_s = timed(tasks, |caller, batch| {
        let bare = bare.clone();
        async move { bare.system.enqueue(batch_of(caller, batch)?).await.map(drop).map_err(failed) }
    })
    .await?;
    let journal = Arc::new(SqliteJournal::open(&folder.join("bare.db"), StoreOptions::default()).map_err(failed)?);
    let floor_per_s = timed(tasks, |caller, batch| {
        let journal = journal.clone();
        async move {
            let appends = batch_of(caller, batch)?.iter().map(|new| append(&new.task, 0, queued(new))).collect();
            journal.commit(Batch::of(appends)).await.map(drop).map_err(failed)
        }
    })
    .await?;
    Ok(rate(per_s, floor_per_s))
}

/// Each batch is queued, claimed by its role's caller, and completed.
pub(super) async fn cycle(folder: &Path, tasks: usize) -> Result<Rate, BenchError> {
    let bare = Arc::new(bare(&folder.join("cycle.db")).await.map_err(failed)?);
    let per_s = timed(tasks, |caller, batch| {
        let bare = bare.clone();
        async move { one_cycle(&bare, caller, batch).await }
    })
    .await?;
    let journal = Arc::new(SqliteJournal::open(&folder.join("bare.db"), StoreOptions::default()).map_err(failed)?);
    let floor_per_s = timed(tasks, |caller, batch| {
        let journal = journal.clone();
        async move {
            let new = batch_of(CALLERS + caller, batch)?;
            let steps: [fn(&NewTask) -> Vec<Event>; 3] = [queued, |_| vec![claimed()], |_| vec![completed()]];
            for (version, step) in [0, 2, 3].into_iter().zip(steps) {
                let appends = new.iter().map(|new| append(&new.task, version, step(new))).collect();
                journal.commit(Batch::of(appends)).await.map_err(failed)?;
            }
            Ok(())
        }
    })
    .await?;
    Ok(rate(per_s, floor_per_s))
}

async fn one_cycle(bare: &Bare, caller: usize, batch: usize) -> Result<(), BenchError> {
    bare.system.enqueue(batch_of(caller, batch)?).await.map_err(failed)?;
    // Not the store's own name: whatever that holds, its dispatcher takes back when it starts.
    let claim = Claim { role: role(caller)?, most: BATCH, most_per_story: usize::MAX, holder: "bench".into() };
    let claims = bare.queue.claim(&claim).await.map_err(failed)?;
    let of_all = |version, event: fn() -> Event| {
        claims.iter().map(|claimed| append(&claimed.lease.task, version, vec![event()])).collect()
    };
    bare.journal.commit(Batch::of(of_all(2, claimed))).await.map_err(failed)?;
    bare.journal.commit(Batch::of(of_all(3, completed))).await.map_err(failed)?;
    for claimed in &claims {
        bare.queue.report(&claimed.lease, Report::Completed).await.map_err(failed)?;
    }
    if claims.len() == BATCH { Ok(()) } else { Err(failed(format!("{} tasks were claimed of {BATCH}", claims.len()))) }
}

/// Tasks in a second, done in batches by all callers at once.
pub(super) async fn timed<F>(tasks: usize, mut call: impl FnMut(usize, usize) -> F) -> Result<f64, BenchError>
where
    F: Future<Output = Result<(), BenchError>> + Send + 'static,
{
    let batches = tasks.div_ceil(BATCH * CALLERS);
    let began = Instant::now();
    let mut callers: JoinSet<Result<(), BenchError>> = JoinSet::new();
    for caller in 0..CALLERS {
        let calls: Vec<F> = (0..batches).map(|batch| call(caller, batch)).collect();
        callers.spawn(async move {
            for call in calls {
                call.await?;
            }
            Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.map_err(failed)??;
    }
    Ok((batches * BATCH * CALLERS) as f64 / began.elapsed().as_secs_f64())
}

pub(super) fn rate(per_s: f64, floor_per_s: f64) -> Rate {
    Rate { per_s, floor_per_s, ratio: per_s / floor_per_s }
}

pub(super) fn role(caller: usize) -> Result<Role, BenchError> {
    Role::parse("role", &format!("R{caller}")).map_err(failed)
}

pub(super) fn task(name: &str) -> Result<TaskId, BenchError> {
    TaskId::parse("task", name).map_err(failed)
}

fn batch_of(caller: usize, batch: usize) -> Result<Vec<NewTask>, BenchError> {
    let of = |place: usize| {
        let draft = TaskDraft {
            orchestrate: true,
            role: format!("R{caller}"),
            description: "Write a function that parses a duration such as 1h30m.".to_owned(),
            metadata: [("story_id".to_owned(), format!("story-{caller}"))].into(),
            ..TaskDraft::default()
        };
        Ok(NewTask {
            task: task(&format!("bench-{caller}-{batch}-{place}"))?,
            spec: draft.check().map_err(failed)?,
            priority: Priority::MEDIUM,
            needs: Vec::new(),
            on_failure: OnDependencyFailure::Block,
            hold: None,
            parked: None,
        })
    };
    (0..BATCH).map(of).collect()
}

fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn entry(task: &TaskId, role: &Role, story: &Arc<str>) -> Entry {
    Entry {
        task: task.clone(),
        run: 1,
        role: role.clone(),
        story: Some(story.clone()),
        plan: None,
        priority: Priority::MEDIUM,
        enqueued_at: now(),
        not_before: None,
        needs: Vec::new(),
        on_failure: OnDependencyFailure::Block,
        hold: None,
        parked: false,
    }
}

fn queued(new: &NewTask) -> Vec<Event> {
    let spec = Arc::new(new.spec.clone());
    let story: Arc<str> = spec.story_id().unwrap_or_default().into();
    let entry = Event::TaskQueued(Arc::new(entry(&new.task, &spec.role, &story)));
    let content_hash = spec.content_hash().into();
    vec![Event::TaskAccepted { task: new.task.clone(), content_hash, keyed: true, spec }, entry]
}

fn claimed() -> Event {
    Event::TaskClaimed { run: 1 }
}

fn completed() -> Event {
    let winner = AgentId::of_council(&Role::dev(), 1);
    Event::TaskCompleted { run: 1, winner, duration: Duration::ZERO }
}

fn append(task: &TaskId, version: u64, events: Vec<Event>) -> Append {
    let stamp = |event| {
        let (id, correlation) = (EventId(*Uuid::now_v7().as_bytes()), Some(task.as_str().into()));
        NewEvent { id, at: now(), correlation, causation: None, event }
    };
    let events = events.into_iter().map(stamp).collect();
    Append { stream: StreamId::task(task), expected_version: version, events }
}
