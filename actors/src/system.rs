//! The running actor system: the one door that every adapter uses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::runtime::Handle;

use crate::attached::{self, Attached};
use crate::deliberation::prompt::Prompts;
use crate::deliberation::read_ending;
use crate::dispatcher::{Told, told};
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{RunId, StreamId, TaskId};
use crate::domain::queue::QueueState;
use crate::domain::task::TaskSpec;
use crate::error::SystemError;
use crate::ports::{Batch, JournalError, Ports, TaskQuery, TaskRow, TaskStatus, commit_patiently};
use crate::pruned;
use crate::running::{Ending, Running};
use crate::settings::Settings;
use crate::supervisor::{Root, RootMessage};
use crate::view::{Drained, TaskState, TaskView};
use crate::world::{Fault, World};

/// Longest wait for the actors to stop once the deadline of a drain is over.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Why the system did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the journal cannot be read")]
    Journal(#[from] JournalError),
    #[error("the root actor did not start: {0}")]
    Root(String),
}

/// A handle to the running system; cheap to clone.
#[derive(Clone, Debug)]
pub struct System {
    pub(crate) world: Arc<World>,
    pub(crate) root: ActorRef<RootMessage>,
}

impl System {
    /// Starts the actors and waits until everything that was open is known again.
    pub async fn start(ports: Ports, settings: Settings, prompts: Prompts) -> Result<Self, StartError> {
        adopt_prompts(&ports, &prompts).await?;
        let numbers = ports.journal.feature_numbers().await?;
        let world = Arc::new(World::new(ports, settings, prompts));
        world.workflows.adopt_numbers(numbers);
        let mut recovered = world.recovered.subscribe();
        let mut fault = world.fault.subscribe();
        let (root, _) =
            Actor::spawn(None, Root, world.clone()).await.map_err(|error| StartError::Root(error.to_string()))?;
        tokio::select! {
            biased;
            _ = recovered.wait_for(|done| *done) => Ok(Self { world, root }),
            fault = fault.wait_for(Option::is_some) => {
                root.stop(None);
                let why = fault.ok().and_then(|fault| (*fault).clone());
                Err(StartError::Root(format!("it died while it read the journal: {why:?}")))
            }
        }
    }

    /// Resolves when the process must end, and why.
    pub async fn fault(&self) -> Fault {
        let mut fault = self.world.fault.subscribe();
        match fault.wait_for(Option::is_some).await.ok().and_then(|fault| (*fault).clone()) {
            Some(fault) => fault,
            None => std::future::pending().await,
        }
    }

    /// Runs to its end, whether the caller waits for it or not.
    pub(crate) async fn apart<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, SystemError>> + Send + 'static,
    ) -> Result<T, SystemError> {
        let presence = self.world.census.enter();
        let working = Handle::current().spawn(async move {
            let _presence = presence;
            work.await
        });
        working.await.unwrap_or_else(|error| {
            let id = format!("{:016x}", self.world.ports.ids.random());
            tracing::error!(error_id = id, %error, "{what} broke down");
            Err(SystemError::Internal { id: id.into() })
        })
    }

    /// A finished run as if one had just waited for it.
    pub(crate) async fn ended(&self, row: TaskRow) -> Result<Attached, SystemError> {
        let run = RunId { task: row.task.clone(), run: row.run };
        let journal = &*self.world.ports.journal;
        let ending = match row.status {
            TaskStatus::Completed => match read_ending(journal, &run).await? {
                // Another daemon of the same queue completed it: who won is known here, what was said is not.
                None | Some(Err(_)) if self.world.ports.shared.is_some() => Some(Ok(Arc::new(pruned::outcome(&row)))),
                ending => ending,
            },
            TaskStatus::Failed | TaskStatus::Cancelled | TaskStatus::Skipped | TaskStatus::Open => {
                Some(Err(row.ended_without()))
            }
        };
        let spec = told(journal, &row.task).await?.spec;
        match (ending, spec) {
            (Some(ending), Some(spec)) => Ok(self.over(row, spec, ending)),
            // Its events went while they were read, or cannot be read at all.
            (_, spec) => match (journal.tombstone(&row.task).await?, spec) {
                (Some(left), _) => self.pruned(left),
                (None, Some(spec)) => {
                    let error = row.ended_without();
                    Ok(self.over(row, spec, Err(error)))
                }
                (None, None) => Err(SystemError::UnknownTask { task: row.task }),
            },
        }
    }

    /// A run that is over, for whoever comes now.
    pub(crate) fn over(&self, row: TaskRow, spec: Arc<TaskSpec>, ending: Ending) -> Attached {
        let running = Running::new(row, spec);
        running.finish(ending);
        Attached::joined_to(&self.world, running)
    }

    /// To a task that runs or has ended, to see how it goes: that neither holds the task nor ends it.
    pub async fn attach(&self, task: &TaskId) -> Result<Attached, SystemError> {
        if let Some(running) = self.world.registry.running.get(task).map(|running| running.clone()) {
            return Ok(Attached::watching(&self.world, running));
        }
        Ok(self.stored(task).await?.1)
    }

    /// A task that nobody works on: its row, and how it ended.
    async fn stored(&self, task: &TaskId) -> Result<(TaskRow, Attached), SystemError> {
        let journal = &self.world.ports.journal;
        if let Some(row) = journal.task(task).await? {
            return Ok((row.clone(), self.ended(row).await?));
        }
        match journal.tombstone(task).await? {
            Some(row) => Ok((row.clone(), self.pruned(row)?)),
            None => Err(SystemError::UnknownTask { task: task.clone() }),
        }
    }

    /// Ends a task that runs or waits for its turn, and waits until that is durable.
    pub async fn cancel(&self, task: &TaskId, reason: &str) -> Result<(), SystemError> {
        let mut running = self.world.registry.running.get(task).map(|running| running.clone());
        if running.is_none() {
            if self.cancel_waiting(task, reason).await? {
                return Ok(());
            }
            // It has just begun, perhaps.
            running = self.world.registry.running.get(task).map(|running| running.clone());
        }
        let Some(running) = running else {
            let (row, _) = self.stored(task).await?;
            if row.status == TaskStatus::Open {
                return Err(row.ended_without());
            }
            return Err(SystemError::WrongState(format!("task {task} has ended: {:?}", row.status).into()));
        };
        attached::cancel(&self.world, &running, reason);
        match running.ended().await {
            Err(SystemError::Cancelled { .. }) => Ok(()),
            Err(error @ SystemError::Unavailable(_)) => Err(error),
            Ok(_) => Err(SystemError::WrongState(format!("task {task} completed before it was cancelled").into())),
            Err(error) => Err(SystemError::WrongState(format!("task {task} ended before: {error}").into())),
        }
    }

    /// A task as it stands, its outcome included once it has one.
    pub async fn task(&self, task: &TaskId) -> Result<TaskView, SystemError> {
        if let Some(running) = self.world.registry.running.get(task).map(|running| running.clone()) {
            let state = match running.ending() {
                Some(Ok(outcome)) => TaskState::Completed(outcome),
                Some(Err(error)) => TaskState::Ended(error),
                None if !running.is_admitted() => TaskState::Pending,
                None => TaskState::Running { last: running.progress.last() },
            };
            return Ok(TaskView { row: running.row.clone(), state });
        }
        let (row, ended) = self.stored(task).await?;
        if let Some(state) = row.queue.filter(|_| row.status == TaskStatus::Open) {
            let Told { entry, reason, .. } = told(&*self.world.ports.journal, task).await?;
            let underway = Some(task).filter(|_| state == QueueState::Dispatched).and_then(|task| self.underway(task));
            return Ok(TaskView { row, state: TaskState::Waiting { state, entry, reason, underway } });
        }
        let state = match ended.outcome().await {
            Ok(outcome) => TaskState::Completed(outcome),
            Err(error) => TaskState::Ended(error),
        };
        Ok(TaskView { row, state })
    }

    /// Newest first.
    pub async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>, SystemError> {
        Ok(self.world.ports.journal.tasks(query).await?)
    }

    /// What is known of each of these tasks, as its row; those that are not known are left out.
    pub async fn find(&self, tasks: &[TaskId]) -> Result<Vec<TaskRow>, SystemError> {
        Ok(self.world.ports.journal.find(tasks).await?)
    }

    /// Admits nothing more, lets running work finish until the deadline, then stops every actor. What is left goes on
    /// at the next start.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.world.draining.store(true, Ordering::Release);
        let finished = tokio::time::timeout(deadline, self.world.gate.all_free()).await.is_ok();
        if let Err(error) = self.root.stop_and_wait(None, Some(STOP_LIMIT)).await {
            tracing::warn!(%error, "the actors did not stop in time");
            self.root.kill();
        }
        let open: Vec<_> = self.world.registry.all_open().iter().map(|running| running.run.task.clone()).collect();
        self.world.leave_open();
        let stopped = tokio::time::timeout(STOP_LIMIT, self.world.census.empty()).await.is_ok();
        tracing::info!(finished, stopped, open = open.len(), "drained");
        Drained { open }
    }
}

#[cfg(any(test, feature = "testing"))]
impl System {
    /// Kills every actor where it stands, and waits until none lives.
    pub async fn kill(&self) {
        self.world.draining.store(true, Ordering::Release);
        drop(self.root.kill_and_wait(None).await);
        self.world.leave_open();
        self.world.census.empty().await;
    }

    /// Kills one actor by its name in the tree; answers whether there is one.
    #[must_use]
    pub fn kill_actor(&self, name: &str) -> bool {
        let cell = self.world.registry.cells.get(name).map(|cell| cell.clone());
        cell.map(|cell| cell.kill()).is_some()
    }

    /// Permits that open runs hold.
    #[must_use]
    pub fn permits_held(&self) -> u32 {
        let held = self.world.registry.running.iter().filter(|running| running.is_admitted()).count();
        u32::try_from(held).unwrap_or(u32::MAX)
    }

    /// Workflows that have an actor now.
    #[must_use]
    pub fn workflows_present(&self) -> usize {
        self.world.workflows.present.len()
    }

    /// Actors and admissions that live.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.world.census.alive()
    }
}

/// Keeps the templates in the journal, so that a resume after their change renders what the start would have.
async fn adopt_prompts(ports: &Ports, prompts: &Prompts) -> Result<(), JournalError> {
    let event = Event::PromptsAdopted { hash: prompts.hash().clone(), sources: prompts.sources() };
    let new = NewEvent { id: ports.ids.event_id(), at: ports.clock.now(), correlation: None, causation: None, event };
    let batch = Batch::one(StreamId::prompts(prompts.hash()), 0, vec![new]);
    match commit_patiently(&*ports.journal, batch).await {
        Ok(_) | Err(JournalError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
