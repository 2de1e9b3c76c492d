//! A story for a test: councils, a model that behaves as told, a journal that may fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::executor::FakeExecutor;
use super::hub::FakeHub;
use super::journal::{JournalFaults, MemoryJournal};
use super::model::{FakeModel, Reaction};
use super::ports::{FakeChecks, FakeClock, FakeIds};
use super::random::Random;
use crate::deliberation::prompt::{Prompts, TEMPLATES};
use crate::domain::council::{Defaults, Endpoint, Sampling};
use crate::domain::id::{Role, TaskId};
use crate::domain::task::{TaskDraft, TaskSpec};
use crate::error::SystemError;
use crate::ports::{Checks, Clock, ContextSource, ModelCall, Ports};
use crate::queue::{Limits, MemoryQueue};
use crate::view::Drained;
use crate::{CouncilDraft, Settings, System};

/// The templates of the repository.
#[must_use]
pub fn embedded_prompts() -> BTreeMap<Arc<str>, Arc<str>> {
    let texts = [
        include_str!("../../../config/prompts/critique.md"),
        include_str!("../../../config/prompts/dialect.md"),
        include_str!("../../../config/prompts/dialect_files.md"),
        include_str!("../../../config/prompts/files.md"),
        include_str!("../../../config/prompts/persona.md"),
        include_str!("../../../config/prompts/propose.md"),
        include_str!("../../../config/prompts/refused.md"),
        include_str!("../../../config/prompts/revise.md"),
        include_str!("../../../config/prompts/seat.md"),
        include_str!("../../../config/prompts/select.md"),
        include_str!("../../../config/prompts/shared.md"),
    ];
    TEMPLATES.into_iter().map(Arc::from).zip(texts.into_iter().map(Arc::from)).collect()
}

/// A task for role DEV.
#[must_use]
pub fn draft(description: &str) -> TaskDraft {
    TaskDraft { role: "DEV".into(), description: description.into(), ..TaskDraft::default() }
}

/// The same, checked.
///
/// # Panics
/// When the draft is not valid: a mistake of the test.
#[must_use]
pub fn spec(draft: TaskDraft) -> TaskSpec {
    draft.check().unwrap_or_else(|problems| std::panic::panic_any(problems.to_string()))
}

/// How a story begins.
pub struct Scenario {
    councils: Vec<(&'static str, usize)>,
    model: FakeModel,
    checks: Arc<dyn Checks>,
    clock: Option<Arc<dyn Clock>>,
    context: Option<Arc<dyn ContextSource>>,
    journal: MemoryJournal,
    seed: u64,
    defaults: Defaults,
    executor: Option<FakeExecutor>,
    hub: Option<FakeHub>,
    endpoint: Endpoint,
    pub settings: Settings,
}

impl Default for Scenario {
    fn default() -> Self {
        Self::new()
    }
}

impl Scenario {
    #[must_use]
    pub fn new() -> Self {
        Self {
            councils: Vec::new(),
            model: FakeModel::instant(),
            checks: Arc::new(FakeChecks),
            clock: None,
            context: None,
            journal: MemoryJournal::new(),
            seed: 1,
            defaults: Defaults::default(),
            executor: None,
            hub: None,
            endpoint: Endpoint::Pool,
            settings: Settings::default(),
        }
    }

    #[must_use]
    pub fn council(mut self, role: &'static str, agents: usize) -> Self {
        self.councils.push((role, agents));
        self
    }

    /// What the tasks of all councils get.
    #[must_use]
    pub fn defaults(self, defaults: Defaults) -> Self {
        Self { defaults, ..self }
    }

    #[must_use]
    pub fn model(self, model: FakeModel) -> Self {
        Self { model, ..self }
    }

    /// The model does this with every call.
    #[must_use]
    pub fn reacts(self, script: impl Fn(&ModelCall, u32) -> (Duration, Reaction) + Send + Sync + 'static) -> Self {
        self.model(FakeModel::new(script))
    }

    #[must_use]
    pub fn checks(self, checks: Arc<dyn Checks>) -> Self {
        Self { checks, ..self }
    }

    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// Where the contexts of stories come from; nowhere unless told otherwise.
    #[must_use]
    pub fn context(self, source: Arc<dyn ContextSource>) -> Self {
        Self { context: Some(source), ..self }
    }

    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    #[must_use]
    pub fn journal(self, journal: MemoryJournal) -> Self {
        Self { journal, ..self }
    }

    #[must_use]
    pub fn journal_faults(self, faults: JournalFaults) -> Self {
        let journal = self.journal.clone().with_faults(faults);
        self.journal(journal)
    }

    /// All agents' calls go there.
    #[must_use]
    pub fn executor(self, executor: FakeExecutor) -> Self {
        Self { executor: Some(executor), endpoint: Endpoint::Ray, ..self }
    }

    /// There is one, and agents' calls go to model servers.
    #[must_use]
    pub fn executor_beside(self, executor: FakeExecutor) -> Self {
        Self { executor: Some(executor), ..self }
    }

    /// It executes the phases of workflows.
    #[must_use]
    pub fn hub(self, hub: FakeHub) -> Self {
        Self { hub: Some(hub), ..self }
    }

    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Starts the system and creates the councils that are not there yet.
    ///
    /// # Panics
    /// When the system does not start: the test has nothing to test then.
    pub async fn start(self) -> Stage {
        let ids = Arc::new(FakeIds::new(Random::new(self.seed)));
        let clock = self.clock.unwrap_or_else(|| Arc::new(FakeClock::default()));
        let (model, journal) = (self.model, self.journal);
        let ports = Ports {
            model: Arc::new(model.clone()),
            executor: self.executor.map(|executor| Arc::new(executor) as _),
            hub: self.hub.map(|hub| Arc::new(hub) as _),
            checks: self.checks,
            journal: Arc::new(journal.clone()),
            queue: Arc::new(MemoryQueue::new(Limits::default(), clock.clone())),
            shared: None,
            context: self.context,
            clock,
            ids,
        };
        model.watch(&journal);
        let mut stage = Stage { system: None, journal, model, ports, settings: self.settings };
        stage.rise().await;
        for (role, agents) in self.councils {
            let role = Role::parse("role", role).unwrap_or_else(|problem| std::panic::panic_any(problem.to_string()));
            let draft = CouncilDraft {
                role,
                num_agents: agents,
                rounds: 1,
                review: true,
                agent_type: "VLLM".into(),
                model: "fake".into(),
                endpoint: self.endpoint.clone(),
                sampling: Sampling::default(),
                defaults: self.defaults.clone(),
            };
            stage.council(draft).await;
        }
        stage
    }
}

/// The running story.
pub struct Stage {
    system: Option<System>,
    pub journal: MemoryJournal,
    pub model: FakeModel,
    ports: Ports,
    /// In force from the next [`Stage::rise`] on.
    pub settings: Settings,
}

/// A story that leaves actors behind has not been told to its end.
impl Drop for Stage {
    fn drop(&mut self) {
        let alive = self.system.as_ref().map_or(0, System::alive);
        if alive > 0 && !std::thread::panicking() {
            std::panic::panic_any(format!("{alive} actors live: close the stage"));
        }
    }
}

impl Stage {
    /// # Panics
    /// After [`Stage::crash`] and before [`Stage::rise`].
    #[must_use]
    pub fn system(&self) -> &System {
        match &self.system {
            Some(system) => system,
            None => std::panic::panic_any("the system is down"),
        }
    }

    /// Creates a council unless it is there, as soon as the journal has room.
    async fn council(&self, draft: CouncilDraft) {
        loop {
            match self.system().create_council(draft.clone()).await {
                Ok(_) | Err(SystemError::CouncilExists { .. }) => return,
                Err(SystemError::Busy { retry_after, .. }) => tokio::time::sleep(retry_after).await,
                Err(error) => std::panic::panic_any(error.to_string()),
            }
        }
    }

    /// Kills every actor at once and cuts the journal off, as kill -9 does.
    pub async fn crash(&mut self) {
        self.journal = self.journal.crash();
        self.ports.journal = Arc::new(self.journal.clone());
        if let Some(system) = self.system.take() {
            system.kill().await;
        }
    }

    /// Ends the story: every actor stops, and what stays open is answered.
    pub async fn close(mut self) -> Drained {
        self.drain(Duration::from_secs(60)).await
    }

    /// Drains, and checks that nothing lives any more.
    ///
    /// # Panics
    /// When something lives.
    pub async fn drain(&mut self, deadline: Duration) -> Drained {
        let Some(system) = self.system.take() else { return Drained::default() };
        let drained = system.drain(deadline).await;
        if system.alive() > 0 {
            std::panic::panic_any(format!("{} actors live after the drain", system.alive()));
        }
        drained
    }

    /// Starts again on the same journal.
    ///
    /// # Panics
    /// When the system does not start.
    pub async fn rise(&mut self) {
        // What a queue in memory knows is gone with its process.
        self.ports.queue = Arc::new(MemoryQueue::new(Limits::default(), self.ports.clock.clone()));
        let prompts = Prompts::compile(embedded_prompts());
        let started = match prompts {
            Ok(prompts) => System::start(self.ports.clone(), self.settings.clone(), prompts).await,
            Err(error) => std::panic::panic_any(error.to_string()),
        };
        match started {
            Ok(system) => self.system = Some(system),
            Err(error) => std::panic::panic_any(error.to_string()),
        }
    }

    /// A task id.
    ///
    /// # Panics
    /// When the text is none.
    #[must_use]
    pub fn task(text: &str) -> TaskId {
        TaskId::parse("task_id", text).unwrap_or_else(|problem| std::panic::panic_any(problem.to_string()))
    }
}
