//! Admission: the way of a task from a client to its council, durable before anybody works on it.
//!
//! It runs as a task of its own: a client that hangs up in the middle neither loses nor orphans what is already on
//! disk. Two clients with the same task id come one after the other, and the second attaches.

use std::sync::Arc;

use crate::System;
use crate::attached::{Attached, Hold};
use crate::context::Background;
use crate::council;
use crate::deliberation::{self, Begun, Closing};
use crate::dispatcher::{self, told};
use crate::domain::answer::Class;
use crate::domain::council::Council;
use crate::domain::event::{Event, NewEvent, Plan};
use crate::domain::id::{Role, RunId, StreamId, TaskId, Timestamp};
use crate::domain::queue::Entry;
use crate::domain::task::TaskSpec;
use crate::error::SystemError;
use crate::ports::{Append, Batch, JournalError, JournalHealth, TaskRow, TaskStatus};
use crate::running::Running;
use crate::supervisor::DeliberationsMessage;
use crate::world::{World, stopping};

/// What is known of a task id.
enum Known {
    Nothing,
    /// It runs, or has ended for good.
    Here(Attached),
    /// Its last run failed in a way that may have healed.
    WorthAnotherRun(TaskRow),
}

/// A run that is wanted.
struct Begin {
    task: TaskId,
    spec: Arc<TaskSpec>,
    hash: Arc<str>,
    keyed: bool,
    hold: Hold,
}

impl Begin {
    fn check_same(&self, known: &Arc<str>) -> Result<(), SystemError> {
        match *known == self.hash {
            true => Ok(()),
            false => Err(SystemError::OtherContent { task: self.task.clone() }),
        }
    }

    /// The first event of a new task, and its row.
    fn accepted(&self, at: Timestamp) -> (Event, TaskRow) {
        let Self { task, spec, hash, keyed, .. } = self;
        let row = TaskRow::accepted(task, spec, hash, *keyed, at);
        let (task, content_hash) = (task.clone(), hash.clone());
        (Event::TaskAccepted { task, content_hash, keyed: *keyed, spec: spec.clone() }, row)
    }
}

/// The row of a task's next run.
fn retried(row: TaskRow) -> TaskRow {
    let (run, version) = (row.run + 1, row.version + 1);
    TaskRow { run, version, status: TaskStatus::Open, error: None, ended_at: None, ..row }
}

/// Why a run was not begun; nothing of it is on disk.
pub(crate) enum NotBegun {
    /// The store knows the id.
    Taken,
    Refused(SystemError),
}

impl From<SystemError> for NotBegun {
    fn from(error: SystemError) -> Self {
        Self::Refused(error)
    }
}

impl From<NotBegun> for SystemError {
    fn from(refused: NotBegun) -> Self {
        match refused {
            NotBegun::Taken => Self::Unavailable("the task was just submitted elsewhere; try again".into()),
            NotBegun::Refused(error) => error,
        }
    }
}

impl System {
    /// Admits a task, or attaches to the one that has this id and content. Durable when it returns.
    ///
    /// Without an id one is made, and the task ends with its last client.
    pub async fn submit(&self, task: Option<TaskId>, spec: TaskSpec, hold: Hold) -> Result<Attached, SystemError> {
        let system = self.clone();
        self.apart("an admission", async move { system.admit(task, spec, hold).await }).await
    }

    async fn admit(&self, task: Option<TaskId>, spec: TaskSpec, hold: Hold) -> Result<Attached, SystemError> {
        let hash: Arc<str> = spec.content_hash().into();
        let spec = Arc::new(spec);
        let Some(task) = task else {
            let begin = Begin { task: self.new_task_id(), spec, hash, keyed: hold == Hold::Background, hold };
            return Ok(self.begin(&begin, None).await?);
        };
        let begin = Begin { task, spec, hash, keyed: true, hold };
        let _claim = self.world.registry.claimed(&begin.task).await;
        self.admit_claimed(&begin).await
    }

    /// Most ids are new: writing finds out, and saves those a question to the store. Only where a beginning asks for the
    /// context of a story the store is asked first: what is known already must not wait for that.
    async fn admit_claimed(&self, begin: &Begin) -> Result<Attached, SystemError> {
        if let Some(attached) = self.at_work(begin)? {
            return Ok(attached);
        }
        if Background::is_asked_for(&self.world, &begin.spec)
            && let Some(attached) = self.again(begin).await?
        {
            return Ok(attached);
        }
        match self.begin(begin, None).await {
            Ok(attached) => Ok(attached),
            Err(refused) => self.again(begin).await?.ok_or_else(|| refused.into()),
        }
    }

    /// A task that the store knows: its answer, or its next run.
    async fn again(&self, begin: &Begin) -> Result<Option<Attached>, SystemError> {
        match self.known(begin).await? {
            Known::Nothing => Ok(None),
            Known::Here(attached) => Ok(Some(attached)),
            Known::WorthAnotherRun(row) => Ok(Some(self.begin(begin, Some(row)).await?)),
        }
    }

    fn at_work(&self, begin: &Begin) -> Result<Option<Attached>, SystemError> {
        let running = self.world.registry.running.get(&begin.task).map(|running| running.clone());
        let Some(running) = running.filter(|running| !running.has_ended()) else { return Ok(None) };
        begin.check_same(&running.row.content_hash)?;
        Ok(Some(Attached::joined_to(&self.world, running)))
    }

    /// What the store has under this id: then its content must be the same.
    async fn known(&self, begin: &Begin) -> Result<Known, SystemError> {
        let journal = &self.world.ports.journal;
        let Some(row) = journal.task(&begin.task).await? else {
            let Some(row) = journal.tombstone(&begin.task).await? else { return Ok(Known::Nothing) };
            begin.check_same(&row.content_hash)?;
            return self.pruned(row).map(Known::Here);
        };
        begin.check_same(&row.content_hash)?;
        let may_heal = row.failure().is_none_or(|failure| failure.class.may_heal());
        if row.status == TaskStatus::Failed && may_heal {
            return Ok(Known::WorthAnotherRun(row));
        }
        self.ended(row).await.map(Known::Here)
    }

    async fn begin(&self, begin: &Begin, earlier: Option<TaskRow>) -> Result<Attached, NotBegun> {
        let council = self.world.open_council(&begin.spec.role)?;
        self.world.check_tokens()?;
        let permit = self.world.gate.try_admit()?;
        let run = RunId { task: begin.task.clone(), run: earlier.as_ref().map_or(1, |row| row.run + 1) };
        let background = Background::of(&self.world, &begin.spec).await;
        let plan = council::plan(
            &self.world,
            &council,
            (run.clone(), begin.spec.clone()),
            (background, council::Made::default()),
        );
        let plan = Arc::new(plan.map_err(SystemError::Unavailable)?);
        let now = self.world.ports.clock.now();
        let entry = match &earlier {
            Some(row) => told(&*self.world.ports.journal, &row.task).await.map_err(SystemError::from)?.entry,
            None => None,
        };
        let entry = entry.map(|entry| Entry { run: run.run, needs: Vec::new(), hold: None, ..Entry::clone(&entry) });
        let (mut events, mut row) = match earlier {
            Some(row) => (vec![Event::TaskRetried { run: run.run }], retried(row)),
            None => {
                let (event, row) = begin.accepted(now);
                (vec![event], row)
            }
        };
        let version = row.version - 1;
        if let Some(entry) = entry.clone() {
            events.extend([Event::TaskQueued(Arc::new(entry)), Event::TaskClaimed { run: run.run }]);
            row.version += 2;
        }
        let begun = self.world.write(&run, version, events, plan.clone(), now).await?;
        let running = Running::new(row, begin.spec.clone());
        running.hold(permit);
        let attached = Attached::started(&self.world, running.clone(), begin.hold);
        self.world.launch(&running, plan, Some(begun)).await;
        if let Some(entry) = entry {
            self.world.registry.tell_dispatcher(dispatcher::Message::Overtaken { entry: Box::new(entry), running });
        }
        Ok(attached)
    }

    /// A name for a task whose client gave it none.
    #[must_use]
    pub fn new_task_id(&self) -> TaskId {
        TaskId::made_up(self.world.ports.ids.random())
    }

    /// Before a task is taken there is a council that may work on it one day.
    pub fn check_role(&self, role: &Role) -> Result<(), SystemError> {
        self.world.council(role).map(drop)
    }
}

impl World {
    /// `begun`: it was just written; a run without has begun before and is read. A supervisor that is just restarting
    /// finds the run by itself; where none will come back, the run ends here.
    pub(crate) async fn launch(self: &Arc<Self>, running: &Arc<Running>, plan: Arc<Plan>, begun: Option<Begun>) {
        let registry = &self.registry;
        registry.running.insert(running.run.task.clone(), running.clone());
        if self.has_stopped() {
            return running.finish(Err(stopping()));
        }
        let role = &running.spec.role;
        let standing = registry.councils.get(role).map(|entry| entry.council.parked.clone());
        let (class, message): (_, Arc<str>) = match standing {
            Some(None) => {
                let start = DeliberationsMessage::Start { running: running.clone(), plan: Ok(plan), begun };
                let deliberations = registry.deliberations.get(role).map(|entry| entry.value().clone());
                if let Some(deliberations) = deliberations {
                    drop(deliberations.cast(start));
                }
                return;
            }
            Some(Some(reason)) => (Class::Transient, format!("role {role} is parked: {reason}").into()),
            None => (Class::Refused, format!("no council has the role {role} any more").into()),
        };
        running.finish(deliberation::close(self, running, Closing::Failed { class, message }).await);
        registry.finished(running, self.uptime());
    }

    /// Writes that the task is admitted or tried again, and in the same batch what its run will be.
    pub(crate) async fn write(
        &self,
        run: &RunId,
        version: u64,
        events: Vec<Event>,
        plan: Arc<Plan>,
        at: Timestamp,
    ) -> Result<Begun, NotBegun> {
        let ids = &self.ports.ids;
        let correlation: Option<Arc<str>> = Some(run.task.as_str().into());
        let mut causation = None;
        let stamp = |event| {
            let id = ids.event_id();
            NewEvent { id, at, correlation: correlation.clone(), causation: causation.replace(id), event }
        };
        let admitted: Vec<NewEvent> = events.into_iter().map(stamp).collect();
        let begun = Begun { event: ids.event_id(), at };
        let event = Event::DeliberationStarted(plan);
        let started = NewEvent { id: begun.event, at, correlation, causation, event };
        let mut batch = Batch::one(StreamId::task(&run.task), version, admitted);
        let stream = StreamId::deliberation(run);
        batch.appends.push(Append { stream, expected_version: 0, events: [started].into() });
        match self.ports.journal.commit(batch).await {
            Ok(_) => Ok(begun),
            Err(JournalError::Conflict { .. }) => Err(NotBegun::Taken),
            Err(error) => Err(NotBegun::Refused(error.into())),
        }
    }

    /// Before anything is admitted there is a journal to write it to, and somebody to write.
    pub(crate) fn check_open(&self) -> Result<(), SystemError> {
        if self.is_draining() {
            return Err(SystemError::Unavailable("the daemon is stopping".into()));
        }
        match self.ports.journal.health() {
            JournalHealth::Writable => Ok(()),
            JournalHealth::Stalled { why } | JournalHealth::Lost { why, .. } => {
                Err(SystemError::Unavailable(format!("the journal cannot be written: {why}").into()))
            }
        }
    }

    /// Before a task is admitted there is somebody who could work on it.
    pub(crate) fn open_council(&self, role: &Role) -> Result<Arc<Council>, SystemError> {
        self.check_open()?;
        let unavailable = |why: String| Err(SystemError::Unavailable(why.into()));
        let council = self.council(role)?;
        if let Some(reason) = &council.parked {
            return Err(SystemError::Parked { role: role.clone(), reason: reason.clone() });
        }
        if council.seats.is_empty() {
            let why = format!("council {role} has no agents; register one");
            return Err(SystemError::WrongState(why.into()));
        }
        match council.seats.iter().any(|seat| self.registry.agent(role, &seat.agent).is_some()) {
            true => Ok(council),
            false => unavailable(format!("no agent of council {role} is ready; they are restarting")),
        }
    }

    pub(crate) fn check_tokens(&self) -> Result<(), SystemError> {
        match self.tokens().closed_for(self.ports.clock.now()) {
            Some(retry_after) => {
                Err(SystemError::Busy { what: "the tokens of this day are used up".into(), retry_after })
            }
            None => Ok(()),
        }
    }

    pub(crate) fn council(&self, role: &Role) -> Result<Arc<Council>, SystemError> {
        if let Some(entry) = self.registry.councils.get(role) {
            return Ok(entry.council.clone());
        }
        let mut existing: Vec<_> = self.registry.councils.iter().map(|entry| entry.key().clone()).collect();
        existing.sort();
        match existing.is_empty() {
            true => Err(SystemError::NoCouncils),
            false => Err(SystemError::UnknownRole { role: role.clone(), existing }),
        }
    }
}
