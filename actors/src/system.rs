//! The running actor system: the one door that every adapter uses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::attached::{self, Attached, Hold};
use crate::budget::DailyTokens;
use crate::council::{Change, Message as CouncilMessage};
use crate::deliberation::prompt::Prompts;
use crate::deliberation::read_ending;
use crate::domain::council::{Capabilities, Council, Endpoint, Sampling, Seat};
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{AgentId, Role, RunId, StreamId, TaskId, Timestamp};
use crate::domain::task::TaskSpec;
use crate::error::SystemError;
use crate::gate::Gate;
use crate::ports::{Batch, JournalError, JournalHealth, Ports, TaskQuery, TaskRow, TaskStatus};
use crate::running::Running;
use crate::supervisor::{Root, RootMessage};
use crate::view::{Drained, TaskState, TaskView};
use crate::world::{Fault, Registry, Settings, World};

/// Agents of a council that is asked for without a number.
const DEFAULT_AGENTS: usize = 3;
/// How long a change of a council may take before its caller is told to look again.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

/// Why the system did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the journal cannot be read")]
    Journal(#[from] JournalError),
    #[error("the root actor did not start: {0}")]
    Root(String),
}

/// A council to create; its agents are made with it.
#[derive(Clone, Debug)]
pub struct CouncilDraft {
    pub role: Role,
    /// 0 = 3; at most 32.
    pub num_agents: usize,
    pub rounds: u8,
    pub review: bool,
    pub agent_type: Arc<str>,
    pub model: Arc<str>,
    pub endpoint: Endpoint,
    pub sampling: Sampling,
}

impl CouncilDraft {
    fn into_council(self, created_at: Timestamp) -> Council {
        let number = if self.num_agents == 0 { DEFAULT_AGENTS } else { self.num_agents };
        let seat = |ordinal| Seat {
            agent: AgentId::of_council(&self.role, ordinal),
            endpoint: self.endpoint.clone(),
            model: self.model.clone(),
            sampling: self.sampling.clone(),
            capabilities: Capabilities { model_profile: self.model.to_string(), ..Capabilities::default() },
            metadata: std::collections::BTreeMap::new(),
        };
        Council {
            seats: (1..=number).map(seat).collect(),
            role: self.role,
            rounds: self.rounds,
            review: self.review,
            agent_type: self.agent_type,
            model: self.model,
            created_at,
            parked: None,
        }
    }
}

/// A handle to the running system; cheap to clone.
#[derive(Clone, Debug)]
pub struct System {
    pub(crate) world: Arc<World>,
    root: ActorRef<RootMessage>,
}

impl System {
    /// Starts the actors and waits until everything that was open is known again.
    pub async fn start(ports: Ports, settings: Settings, prompts: Prompts) -> Result<Self, StartError> {
        adopt_prompts(&ports, &prompts).await?;
        let world = Arc::new(World {
            gate: Gate::new(settings.open_deliberations),
            tokens: Mutex::new(DailyTokens::new(settings.tokens_per_day)),
            registry: Registry::default(),
            ports,
            settings,
            prompts: Arc::new(prompts),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            recovered: watch::Sender::new(false),
            fault: watch::Sender::new(None),
        });
        let mut recovered = world.recovered.subscribe();
        let mut fault = world.fault.subscribe();
        let (root, _) =
            Actor::spawn(None, Root, world.clone()).await.map_err(|error| StartError::Root(error.to_string()))?;
        tokio::select! {
            _ = recovered.wait_for(|done| *done) => Ok(Self { world, root }),
            _ = fault.wait_for(Option::is_some) => Err(StartError::Root("it died while it read the journal".into())),
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

    /// Admits a task, or attaches to the one that has this id and content. Durable when it returns.
    ///
    /// Without an id one is made, and the task ends with its last client.
    pub async fn submit(&self, task: Option<TaskId>, spec: TaskSpec, hold: Hold) -> Result<Attached, SystemError> {
        self.check_open(&spec.role)?;
        let keyed = task.is_some() || hold == Hold::Background;
        let task = match task {
            Some(task) => task,
            None => self.new_task_id()?,
        };
        let hash: Arc<str> = spec.content_hash().into();
        if let Some(known) = self.known(&task, &hash).await? {
            return Ok(known);
        }
        self.check_ready(&spec.role)?;
        self.check_tokens()?;
        let permit = self.world.gate.try_admit()?;
        let spec = Arc::new(spec);
        let accepted = self.accept(&task, &spec, &hash, keyed).await?;
        let running = Running::new(accepted, spec);
        running.hold(permit);
        Ok(self.launch(running, hold))
    }

    fn launch(&self, running: Arc<Running>, hold: Hold) -> Attached {
        self.world.registry.running.insert(running.run.task.clone(), running.clone());
        let attached = Attached::started(&self.world, running.clone(), hold);
        let council = self.world.registry.councils.get(&running.spec.role).and_then(|entry| entry.actor.clone());
        let fresh = running.row.run == 1;
        match council {
            Some(council) => drop(council.cast(CouncilMessage::Start { running, fresh })),
            None => tracing::warn!(run = %running.run, "the council is restarting; the run starts with it"),
        }
        attached
    }

    /// The task of this id, when its content is the same and it needs no new run.
    async fn known(&self, task: &TaskId, hash: &Arc<str>) -> Result<Option<Attached>, SystemError> {
        let same = |known: &Arc<str>| match known == hash {
            true => Ok(()),
            false => Err(SystemError::OtherContent { task: task.clone() }),
        };
        if let Some(running) = self.world.registry.running.get(task).map(|running| running.clone()) {
            same(&running.row.content_hash)?;
            return Ok(Some(Attached::joined_to(&self.world, running)));
        }
        let Some(row) = self.world.ports.journal.task(task).await.map_err(unavailable)? else { return Ok(None) };
        same(&row.content_hash)?;
        if worth_another_run(&row) {
            return Ok(None);
        }
        self.ended(row).await.map(Some)
    }

    /// A finished run as if one had just waited for it.
    async fn ended(&self, row: TaskRow) -> Result<Attached, SystemError> {
        let run = RunId { task: row.task.clone(), run: row.run };
        let spec = self.spec_of(&row.task).await?;
        let ending = match row.status {
            TaskStatus::Completed => read_ending(&*self.world.ports.journal, &run).await.map_err(unavailable)?,
            TaskStatus::Failed | TaskStatus::Cancelled | TaskStatus::Open => None,
        };
        let ending = ending.unwrap_or_else(|| Err(ended_without(&row)));
        let running = Running::new(row, spec);
        running.finish(ending);
        Ok(Attached::joined_to(&self.world, running))
    }

    async fn spec_of(&self, task: &TaskId) -> Result<Arc<TaskSpec>, SystemError> {
        let first = self.world.ports.journal.stream(&StreamId::task(task), 0, 1).await.map_err(unavailable)?;
        let spec = first.into_iter().find_map(|recorded| match recorded.event.event {
            Event::TaskAccepted { spec, .. } => Some(spec),
            _ => None,
        });
        spec.ok_or_else(|| SystemError::UnknownTask { task: task.clone() })
    }

    /// Writes that the task is admitted, or that its next run begins.
    async fn accept(
        &self,
        task: &TaskId,
        spec: &Arc<TaskSpec>,
        hash: &Arc<str>,
        keyed: bool,
    ) -> Result<TaskRow, SystemError> {
        let journal = &self.world.ports.journal;
        let now = self.world.ports.clock.now();
        let mut row = TaskRow {
            task: task.clone(),
            role: spec.role.clone(),
            kind: spec.kind,
            status: TaskStatus::Open,
            run: 1,
            keyed,
            content_hash: hash.clone(),
            version: 1,
            story_id: spec.story_id().map(Into::into),
            winner: None,
            error: None,
            duration: None,
            accepted_at: now,
            ended_at: None,
        };
        let accepted =
            Event::TaskAccepted { task: task.clone(), content_hash: hash.clone(), keyed, spec: spec.clone() };
        match journal.commit(self.task_batch(task, 0, accepted, now)).await {
            Ok(_) => return Ok(row),
            Err(JournalError::Conflict { .. }) => {}
            Err(error) => return Err(unavailable(error)),
        }
        let known = journal.task(task).await.map_err(unavailable)?.filter(worth_another_run);
        let known = known.ok_or_else(|| SystemError::Unavailable("the task was just submitted; try again".into()))?;
        (row.run, row.version, row.accepted_at) = (known.run + 1, known.version + 1, known.accepted_at);
        let retried = self.task_batch(task, known.version, Event::TaskRetried { run: row.run }, now);
        journal.commit(retried).await.map_err(unavailable)?;
        Ok(row)
    }

    fn task_batch(&self, task: &TaskId, version: u64, event: Event, at: Timestamp) -> Batch {
        let id = self.world.ports.ids.event_id();
        let new = NewEvent { id, at, correlation: Some(task.as_str().into()), causation: None, event };
        Batch::one(StreamId::task(task), version, vec![new])
    }

    fn new_task_id(&self) -> Result<TaskId, SystemError> {
        let text = format!("task-{:016x}", self.world.ports.ids.random());
        TaskId::parse("task_id", &text).map_err(|problem| SystemError::WrongState(problem.to_string().into()))
    }

    fn check_open(&self, role: &Role) -> Result<(), SystemError> {
        if self.world.is_draining() {
            return Err(SystemError::Unavailable("the daemon is stopping".into()));
        }
        if let JournalHealth::Stalled { why } | JournalHealth::Lost { why, .. } = self.world.ports.journal.health() {
            return Err(SystemError::Unavailable(format!("the journal cannot be written: {why}").into()));
        }
        let council = self.council(role)?;
        match &council.parked {
            Some(reason) => Err(SystemError::Parked { role: role.clone(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Before a task is admitted there is somebody who could work on it.
    fn check_ready(&self, role: &Role) -> Result<(), SystemError> {
        let council = self.council(role)?;
        if council.seats.is_empty() {
            let why = format!("council {role} has no agents; register one");
            return Err(SystemError::WrongState(why.into()));
        }
        let ready = council.seats.iter().any(|seat| self.world.registry.agent(role, &seat.agent).is_some());
        let why =
            || SystemError::Unavailable(format!("no agent of council {role} is ready; they are restarting").into());
        if ready { Ok(()) } else { Err(why()) }
    }

    fn check_tokens(&self) -> Result<(), SystemError> {
        match self.world.tokens().closed_for(self.world.ports.clock.now()) {
            Some(retry_after) => {
                Err(SystemError::Busy { what: "the tokens of this day are used up".into(), retry_after })
            }
            None => Ok(()),
        }
    }

    fn council(&self, role: &Role) -> Result<Arc<Council>, SystemError> {
        if let Some(entry) = self.world.registry.councils.get(role) {
            return Ok(entry.council.clone());
        }
        let mut existing: Vec<_> = self.world.registry.councils.iter().map(|entry| entry.key().clone()).collect();
        existing.sort();
        match existing.is_empty() {
            true => Err(SystemError::NoCouncils),
            false => Err(SystemError::UnknownRole { role: role.clone(), existing }),
        }
    }

    /// To a task that runs or has ended. Leaving changes nothing for the task, unless nobody could find it again.
    pub async fn attach(&self, task: &TaskId) -> Result<Attached, SystemError> {
        if let Some(running) = self.world.registry.running.get(task).map(|running| running.clone()) {
            return Ok(Attached::joined_to(&self.world, running));
        }
        let row = self.row(task).await?;
        self.ended(row).await
    }

    async fn row(&self, task: &TaskId) -> Result<TaskRow, SystemError> {
        let row = self.world.ports.journal.task(task).await.map_err(unavailable)?;
        row.ok_or_else(|| SystemError::UnknownTask { task: task.clone() })
    }

    /// Ends a running task and waits until that is durable.
    pub async fn cancel(&self, task: &TaskId, reason: &str) -> Result<(), SystemError> {
        let running = self.world.registry.running.get(task).map(|running| running.clone());
        let Some(running) = running else {
            let row = self.row(task).await?;
            return Err(SystemError::WrongState(format!("task {task} has ended: {:?}", row.status).into()));
        };
        attached::cancel(&self.world, &running, reason);
        match running.ended().await {
            Err(SystemError::Cancelled { .. }) => Ok(()),
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
        let row = self.row(task).await?;
        let ended = self.ended(row.clone()).await?;
        let state = match ended.outcome().await {
            Ok(outcome) => TaskState::Completed(outcome),
            Err(error) => TaskState::Ended(error),
        };
        Ok(TaskView { row, state })
    }

    /// Newest first.
    pub async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>, SystemError> {
        self.world.ports.journal.tasks(query).await.map_err(unavailable)
    }

    /// Durable and at work when it returns.
    pub async fn create_council(&self, draft: CouncilDraft) -> Result<Arc<Council>, SystemError> {
        let council = Box::new(draft.into_council(self.world.ports.clock.now()));
        let (reply, answer) = oneshot::channel();
        drop(self.root.cast(RootMessage::CreateCouncil { council, reply }));
        answered(answer).await
    }

    /// New tasks are refused at once; running ones finish with the agents they have. Answers how many agents leave.
    pub async fn delete_council(&self, role: &Role) -> Result<u32, SystemError> {
        let council = self.change(role, Change::Delete).await?;
        Ok(u32::try_from(council.seats.len()).unwrap_or(u32::MAX))
    }

    /// Takes a parked role back to work.
    pub async fn resume_council(&self, role: &Role) -> Result<(), SystemError> {
        self.council(role)?;
        let supervisor = self.world.registry.councils.get(role).map(|entry| entry.supervisor.clone());
        let (reply, answer) = oneshot::channel();
        if let Some(supervisor) = supervisor {
            drop(supervisor.cast(crate::supervisor::RoleMessage::Resume { reply }));
        }
        answered(answer).await
    }

    pub async fn register_agent(&self, role: &Role, seat: Seat) -> Result<(), SystemError> {
        self.change(role, Change::Join { seat: Box::new(seat) }).await.map(drop)
    }

    /// Calls in flight finish, and so do runs that have the agent's seat.
    pub async fn unregister_agent(&self, role: &Role, agent: &AgentId) -> Result<(), SystemError> {
        self.change(role, Change::Leave { agent: agent.clone() }).await.map(drop)
    }

    async fn change(&self, role: &Role, change: Change) -> Result<Arc<Council>, SystemError> {
        self.council(role)?;
        let actor = self.world.registry.councils.get(role).and_then(|entry| entry.actor.clone());
        let (reply, answer) = oneshot::channel();
        if let Some(actor) = actor {
            drop(actor.cast(CouncilMessage::Change { change, reply }));
        }
        answered(answer).await
    }

    /// Admits nothing more, lets running work finish until the deadline, then stops every actor. What is left goes on
    /// at the next start.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.world.draining.store(true, Ordering::Release);
        let idle = self.world.gate.all_free();
        let finished = tokio::time::timeout(deadline, idle).await.is_ok();
        let mut open: Vec<_> = self
            .world
            .registry
            .running
            .iter()
            .filter(|running| !running.has_ended())
            .map(|running| running.run.task.clone())
            .collect();
        open.sort();
        tracing::info!(finished, open = open.len(), "drained");
        if let Err(error) = self.root.stop_and_wait(None, Some(deadline.max(Duration::from_secs(1)))).await {
            tracing::warn!(%error, "the actors did not stop in time");
            self.root.kill();
        }
        let stopping = || SystemError::Unavailable("the daemon is stopping; send the task again with its id".into());
        for running in &self.world.registry.running {
            running.finish(Err(stopping()));
        }
        Drained { open }
    }
}

#[cfg(feature = "testing")]
impl System {
    /// Kills every actor where it stands.
    pub async fn kill(&self) {
        self.world.draining.store(true, Ordering::Release);
        drop(self.root.kill_and_wait(None).await);
    }

    /// Kills one standing actor by its name in the tree; answers whether there is one.
    #[must_use]
    pub fn kill_actor(&self, name: &str) -> bool {
        let cell = self.world.registry.cells.get(name).map(|cell| cell.clone());
        cell.map(|cell| cell.kill()).is_some()
    }
}

/// Keeps the templates in the journal, so that a resume after their change renders what the start would have.
async fn adopt_prompts(ports: &Ports, prompts: &Prompts) -> Result<(), JournalError> {
    let event = Event::PromptsAdopted { hash: prompts.hash().clone(), sources: prompts.sources() };
    let new = NewEvent { id: ports.ids.event_id(), at: ports.clock.now(), correlation: None, causation: None, event };
    let batch = Batch::one(StreamId::prompts(prompts.hash()), 0, vec![new]);
    match ports.journal.commit(batch).await {
        Ok(_) | Err(JournalError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn answered<T>(answer: oneshot::Receiver<Result<T, SystemError>>) -> Result<T, SystemError> {
    match tokio::time::timeout(CHANGE_LIMIT, answer).await {
        Ok(Ok(told)) => told,
        Ok(Err(_)) => {
            Err(SystemError::Unavailable("the council is restarting; look whether the change was made".into()))
        }
        Err(_) => Err(SystemError::Unavailable("the change is not written yet; look again later".into())),
    }
}

fn unavailable(error: JournalError) -> SystemError {
    match error {
        JournalError::Busy { retry_after } => {
            SystemError::Busy { what: "the journal has too much to write".into(), retry_after }
        }
        other => SystemError::Unavailable(other.to_string().into()),
    }
}

/// A failure that may heal is tried again when the same task is sent again.
fn worth_another_run(row: &TaskRow) -> bool {
    row.status == TaskStatus::Failed && row.failure().is_none_or(|failure| failure.class.may_heal())
}

/// What a task that ended without a verdict tells its clients.
fn ended_without(row: &TaskRow) -> SystemError {
    match (row.status, row.failure()) {
        (TaskStatus::Failed, Some(failure)) => SystemError::Failed { class: failure.class, message: failure.message },
        (TaskStatus::Cancelled, _) => SystemError::Cancelled { reason: row.error.clone().unwrap_or_else(|| "".into()) },
        (TaskStatus::Open, _) => SystemError::Unavailable(format!("task {} waits for its restart", row.task).into()),
        (TaskStatus::Completed | TaskStatus::Failed, _) => {
            SystemError::WrongState(format!("the outcome of task {} cannot be read", row.task).into())
        }
    }
}
